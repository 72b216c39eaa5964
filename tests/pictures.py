"""Pictures of the screen as they are compared."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path


def normalized(svg: str) -> str:
    """Without what depends on the run: the identifier that rich makes of the content."""
    return re.sub(r"terminal-\d+", "terminal", svg).replace("\u00a0", " ")


def assert_none_left_over(stored: Path, names: Iterable[str], source_root: Path) -> None:
    """Every stored picture is compared by some test, and none knows where it was made."""
    assert {p.stem for p in stored.glob("*.svg")} == set(names)
    for path in stored.glob("*.svg"):
        content = path.read_text(encoding="utf-8")
        assert str(source_root) not in content
        assert "/tmp/" not in content


def text_of(svg: str) -> str:
    """The letters in a picture, for the message of a failure."""
    rows: dict[str, list[str]] = {}
    for y, text in re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        rows.setdefault(y, []).append(text.replace("&#160;", " "))
    return "\n".join("".join(parts) for parts in rows.values())


def assert_looks_as_stored(made: str, stored: Path, tmp_path: Path) -> None:
    """Compare with the stored picture; QINSPECT_UPDATE_SNAPSHOTS=1 stores it. Another one is left in `tmp_path`."""
    if os.environ.get("QINSPECT_UPDATE_SNAPSHOTS"):
        stored.parent.mkdir(exist_ok=True)
        stored.write_text(made, encoding="utf-8")
        return
    assert stored.exists(), f"there is no {stored.name}: QINSPECT_UPDATE_SNAPSHOTS=1 makes it"
    if made != (expected := stored.read_text(encoding="utf-8")):
        new = tmp_path / stored.name
        new.write_text(made, encoding="utf-8")
        assert text_of(made) == text_of(expected), f"the new picture is {new}"
        raise AssertionError(f"the same text in other colours or places: {new}")
