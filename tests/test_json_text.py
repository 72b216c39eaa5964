"""The text is that of the standard library, to the byte."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.json_text import json_text, large_json_text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
KEYS = st.text(max_size=5) | st.sampled_from(["%s", "%", "a b", "\x1b", "\ud800"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@given(JSON)
def test_it_is_what_json_writes(content: Any) -> None:
    expected = json.dumps(content, indent=1, allow_nan=False)
    assert json_text(content) == expected
    assert large_json_text(content) == expected


@pytest.mark.parametrize("content", [{1: 2, None: 3, False: 4, 1.5: [()]}, (), ({},), [[]], {"a": (1, (2,))}])
def test_python_things_that_json_takes(content: Any) -> None:
    assert json_text(content) == json.dumps(content, indent=1)
    assert large_json_text(content) == json.dumps(content, indent=1)


@pytest.mark.parametrize("text", ["\x7f", "\x00", "\u00e9", "\ud800", "a/b", ":1.5", "[-2e3", '"', "\\"])
def test_letters_that_writers_disagree_on(text: str) -> None:
    content = {text: [text, 1, {"a": text}]}
    assert large_json_text(content) == json.dumps(content, indent=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_not_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_text({"a": [value]})
    with pytest.raises(TypeError):
        json_text({"a": object()})
