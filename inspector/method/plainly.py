"""What became of a weight that is stored without codes."""

from __future__ import annotations

import numpy as np

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.pairs import Pair
from qinspect.inspector.method.judge import Judged, Method
from qinspect.inspector.method.share import Share

_BLOCK_ELEMENTS = 1 << 22


def judge_plain(pair: Pair) -> Judged:
    """Copied, cast, or of other values; every element is read."""
    a, b = pair.a.tensor, pair.b.tensor
    if pair.derived is not None:
        return Judged(Method.NOT_KNOWN, f"stored as {pair.derived.said}")
    same, total = 0, 0
    try:
        rows = pair.shape[0] if pair.shape else 1
        step = max(1, _BLOCK_ELEMENTS // max(1, pair.n // max(1, rows)))
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            x = np.asarray(a.read_rows(start, stop) if pair.shape else a.read())
            y = np.asarray(b.read_rows(start, stop) if pair.shape else b.read())
            with np.errstate(all="ignore"):
                cast = x.astype(y.dtype)
            same += int(np.count_nonzero((cast == y) | (np.isnan(cast) & np.isnan(y))))
            total += y.size
    except QinspectError as e:
        return Judged(Method.NOT_KNOWN, str(e))
    if same < total:
        return Judged(
            Method.CHANGED, f"{Share(total - same, total)} of values are others than the base's in {b.dtype.name}"
        )
    if a.dtype.name == b.dtype.name:
        return Judged(Method.COPIED, "every value is the base's")
    return Judged(Method.CAST, f"every value is the base's in {b.dtype.name}, which has {a.dtype.name}")
