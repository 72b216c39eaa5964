"""Objects of JSON with one thing in them that should not be there, or is not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


def damaged(content: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """The same object: somewhere, as deep as may be, another value, or none."""
    at: Any = content
    while True:
        name = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[name]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            at = inner
            continue
        if data.draw(st.booleans()):
            del at[name]
        else:
            at[name] = data.draw(_VALUES)
        return content
