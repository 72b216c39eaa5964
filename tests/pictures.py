"""Pictures of the screen as they are compared."""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.color import Color
from rich.console import COLOR_SYSTEMS, Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style
from textual.app import App


def normalized(svg: str) -> str:
    """Without what depends on the run: the identifier that rich makes of the content."""
    return re.sub(r"terminal-\d+", "terminal", svg).replace("\u00a0", " ")


def picture(app: App[Any]) -> str:
    """What is on the screen, in the colours that its terminal has: those of the 256 or of the 16 that are written."""
    width, height = app.size
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True,
        legacy_windows=False, safe_box=False,
    )  # fmt: skip
    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    console.print(_Reduced(update, app.console.color_system))
    return normalized(console.export_svg(title="qinspect"))


class _Reduced:
    """What is painted with the colours of a terminal."""

    def __init__(self, painted: Any, system: str | None) -> None:
        self._painted = painted
        self._system = None if system is None else COLOR_SYSTEMS[system]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._painted, options):
            style = segment.style
            yield segment if style is None else segment._replace(style=self._written(style))

    def _written(self, style: Style) -> Style:
        if self._system is None:
            return style.without_color
        color, ground = (None if c is None else self._nearest(c) for c in (style.color, style.bgcolor))
        return style.without_color + Style(color=color, bgcolor=ground)

    def _nearest(self, color: Color) -> Color:
        assert self._system is not None
        return color.downgrade(self._system)


def stored_pictures(folder: Path) -> dict[str, Path]:
    """By name, packed or not."""
    return {p.name.partition(".svg")[0]: p for p in folder.glob("*.svg*")}


def read(path: Path) -> str:
    """A stored picture."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def write(path: Path, svg: str) -> None:
    """Store one. The same picture is the same bytes."""
    path.parent.mkdir(exist_ok=True)
    content = svg.encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def assert_none_left_over(stored: Path, names: Iterable[str], source_root: Path) -> None:
    """Every stored picture is compared by some test, and none knows where it was made."""
    found = stored_pictures(stored)
    assert set(found) == set(names)
    for path in found.values():
        content = read(path)
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
        write(stored, made)
        return
    assert stored.exists(), f"there is no {stored.name}: QINSPECT_UPDATE_SNAPSHOTS=1 makes it"
    if made != (expected := read(stored)):
        new = tmp_path / stored.name.removesuffix(".gz")
        write(new, made)
        assert text_of(made) == text_of(expected), f"the new picture is {new}"
        raise AssertionError(f"the same text in other colours or places: {new}")
