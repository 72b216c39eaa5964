"""Dicts that trainers and quantizers print as Python does: `{'loss': '0.11000', 'epoch': 1.0, 'grad_norm': nan}`."""

from __future__ import annotations

import ast
import re
from typing import Any

from qinspect.inspector.logs.blocks import jsonable

MAX_CHARACTERS = 4_000
_NUMBER = re.compile(r"[+-]?(?:\d{1,18}|(?:\d{1,18}\.\d{0,18}|\.\d{1,18}|\d{1,18}(?=[eE]))(?:[eE][+-]?\d{1,3})?)")
_NOT_FINITE = re.compile(r"(?<=[:\[(, ])([+-]?)(nan|inf)(?=[,}\]) ])")
_WRAPPED = re.compile(
    r"\b(?:np|numpy)\.(?:float|int)\d{1,3}\(([^()']{1,60})\)"
    r"|\btensor\((-?[\d.eE+-]{1,40}|nan|inf)(?:, [^()]{0,80})?\)"
)


def python_dict(text: str) -> dict[str, Any] | None:
    """The dict that a text is; None if it is none. Numbers in quotes are numbers; inf and nan are texts, for JSON has
    none."""
    if len(text) > MAX_CHARACTERS or not text.endswith("}"):
        return None
    plain = _WRAPPED.sub(lambda m: m[1] or m[2], text)
    plain = _NOT_FINITE.sub(r"'\1\2'", plain)
    try:
        made = ast.literal_eval(plain)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(made, dict) or not made:
        return None
    return {k: _number(v) for k, v in jsonable(made).items()}


def _number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if any(c in value for c in ".eE") else int(value)
    return value
