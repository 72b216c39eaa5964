"""Many numbers of a few bytes each, read in one sweep of each file: twenty thousand scales are twenty thousand seeks
otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import QinspectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Located = tuple[Source, int, DType]
"""A file, where the number begins in it, and its dtype: one of numpy's, not packed, not complex."""


def is_sweepable(dtype: DType) -> bool:
    """Whether numbers of this dtype can be read so."""
    return bool(dtype.numpy) and not dtype.packed and not dtype.is_complex


def single_numbers(located: Sequence[Located]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """float64[n] and bool[n]: the numbers, and which of them could be read. One that cannot be read costs no other."""
    import numpy as np

    values, read = np.full(len(located), np.nan), np.zeros(len(located), bool)
    by_file: dict[Source, list[int]] = {}
    for i, (source, _, _) in enumerate(located):
        by_file.setdefault(source, []).append(i)
    for places in by_file.values():
        places.sort(key=lambda i: located[i][1])
        try:
            _read(located, places, values)
            read[places] = True
        except QinspectError:  # which of them it is, is found one by one
            for i in places:
                try:
                    _read(located, [i], values)
                    read[i] = True
                except QinspectError:
                    continue
    return values, read


def _read(located: Sequence[Located], places: Sequence[int], values: NDArray[np.float64]) -> None:
    """Put in the values of some numbers of one file."""
    import numpy as np

    source = located[places[0]][0]
    raw = source.read_ranges([(located[i][1], located[i][2].nbytes(1)) for i in places])
    of_dtype: dict[str, list[int]] = {}
    for at, i in enumerate(places):
        of_dtype.setdefault(located[i][2].name, []).append(at)
    for rows in of_dtype.values():
        dtype = located[places[rows[0]]][2]
        with np.errstate(all="ignore"):  # a signalling NaN in the file is no event
            found = np.frombuffer(b"".join([raw[at] for at in rows]), dtype.to_numpy()).astype(np.float64)
        values[[places[at] for at in rows]] = found
