"""Stored values as text: all that tells one from another, whatever they are.

Integers have all their digits, truths are `true` and `false`. A float has the six digits of every number that qinspect
prints, and more where it takes more to read back the same number in the type that it is stored in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from qinspect.inspector.checkpoint.tensor import Described
from qinspect.inspector.text import SIGNIFICANT_DIGITS, brief, number, some, visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_DIGITS = 17
"""Tell any two float64 apart."""
_MAX_CHARACTERS = 120
_SHOWN_BYTES = 24
_SHOWN_ITEMS = 8


def value_text(value: object) -> str:
    """A Python value of a checkpoint, in at most a line: long ones are cut, and say how long they are."""
    if hasattr(value, "dtype"):  # a number of numpy's
        import numpy as np

        return array_texts(np.asarray(value))[0]
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "None"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return _float(value, value, float)
    if isinstance(value, complex):
        return _complex(_float(value.real, value.real, float), _float(value.imag, value.imag, float))
    if isinstance(value, str):
        return visible(value, _MAX_CHARACTERS)
    if isinstance(value, (bytes, bytearray)):
        more = " ..." if len(value) > _SHOWN_BYTES else ""
        return f"{bytes(value[:_SHOWN_BYTES]).hex(' ')}{more} ({some(len(value), 'byte')})".lstrip()
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{_joined(map(_item, islice(value, _SHOWN_ITEMS)), len(value))}"
    if isinstance(value, Described):
        return visible(str(value), _MAX_CHARACTERS)
    if isinstance(value, dict):
        pairs = (f"{_item(k)}: {_item(v)}" for k, v in islice(value.items(), _SHOWN_ITEMS))
        return f"{{{_joined(pairs, len(value), '}')}"
    return visible(type(value).__name__, _MAX_CHARACTERS)


def array_texts(values: NDArray[Any]) -> list[str]:
    """The elements in C order, each as text. Any dtype that `Tensor.read` gives."""
    import numpy as np

    flat = values.reshape(-1)
    kind = flat.dtype.kind
    if kind == "b":
        return ["true" if v else "false" for v in flat]
    if kind in "iu":
        return [str(v) for v in flat.tolist()]
    if kind == "c":
        real, imaginary = array_texts(np.ascontiguousarray(flat.real)), array_texts(np.ascontiguousarray(flat.imag))
        return [_complex(r, i) for r, i in zip(real, imaginary, strict=True)]
    with np.errstate(all="ignore"):  # the first digits of the largest number may round to infinity
        return [_float(float(v), v, flat.dtype.type) for v in flat]


def _float(x: float, stored: Any, element: Callable[[float], Any]) -> str:
    """The fewest digits from six on that read back as `stored`, whose value is `x`."""
    if math.isnan(x):
        return "nan"
    for digits in range(SIGNIFICANT_DIGITS, _MAX_DIGITS):
        text = f"{x:.{digits}g}"
        if element(float(text)) == stored:
            return text
    return f"{x:.{_MAX_DIGITS}g}"


def _complex(real: str, imaginary: str) -> str:
    return f"{real}{'' if imaginary.startswith('-') else '+'}{imaginary}j"


def _item(value: object) -> str:
    """One inside another: containers are only named, for they may nest without end."""
    return value_text(value) if value is None or isinstance(value, (bool, int, float, complex)) else brief(value)


def _joined(texts: Iterable[str], n: int, end: str = "]") -> str:
    """The first of `n` items, closed by `end`."""
    more = f", ...{end} ({n:,} items)" if n > _SHOWN_ITEMS else end
    return ", ".join(texts) + more
