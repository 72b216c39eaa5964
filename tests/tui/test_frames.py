"""What is written to the terminal paints what Textual would have painted: both are shown to a terminal emulator."""

from __future__ import annotations

import threading

import pyte
from hypothesis import given
from hypothesis import strategies as st
from pilots import ALPHA_A, ALPHA_B, MIDDLE, open_app
from textual._compositor import CompositorUpdate

from qinspect.tui.frames import Frames, change_style, parse_style

COLUMNS, ROWS = 24, 6
Painting = list[tuple[int, int, str, str]]
"""(row, column, SGR parameters, text)."""

STYLES = st.sampled_from(
    ["", "1", "31", "97;44", "1;38;2;9;8;7", "38;2;9;8;7;48;2;1;2;3", "4;38;5;17", "2;48;5;200", "7"]
)
TEXTS = st.text(alphabet="abc  ≠▲é", min_size=1, max_size=12)
PAINTINGS = st.lists(
    st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, COLUMNS - 13), STYLES, TEXTS), min_size=1, max_size=6),
    max_size=6,
)


def data_of(painting: Painting) -> str:
    """As rich writes it: every piece starts from nothing and ends with a reset."""
    return "".join(
        f"\x1b[{row + 1};{column + 1}H" + (f"\x1b[{style}m{text}\x1b[0m" if style else text)
        for row, column, style, text in painting
    )


class Emulator:
    """A terminal."""

    def __init__(self, columns: int = COLUMNS, rows: int = ROWS) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)

    def feed(self, data: str) -> None:
        self._stream.feed(data)

    @property
    def cells(self) -> list[list[pyte.screens.Char]]:
        """What is to be seen: the foreground and the weight of a blank are not."""
        s = self.screen
        return [[_seen(s.buffer[y][x]) for x in range(s.columns)] for y in range(s.lines)]


def _seen(cell: pyte.screens.Char) -> pyte.screens.Char:
    if cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough):
        return pyte.screens.Char(" ", bg=cell.bg)
    return cell


@given(PAINTINGS)
def test_the_terminal_shows_the_same(paintings: list[Painting]) -> None:
    frames, ours, theirs = Frames(), Emulator(), Emulator()
    for painting in paintings:
        data = data_of(painting)
        assert frames.put(data)
        theirs.feed(data)
        ours.feed(frames.take())
        assert ours.cells == theirs.cells
        assert frames.take() == ""


@given(PAINTINGS)
def test_frames_that_were_skipped_leave_nothing_behind(paintings: list[Painting]) -> None:
    frames, ours, theirs = Frames(), Emulator(), Emulator()
    for painting in paintings:
        frames.put(data_of(painting))
        theirs.feed(data_of(painting))
    ours.feed(frames.take())
    assert ours.cells == theirs.cells


@given(PAINTINGS, PAINTINGS)
def test_after_another_program_wrote_everything_comes_back(before: list[Painting], after: list[Painting]) -> None:
    frames, ours, theirs = Frames(), Emulator(), Emulator()
    for painting in before:
        frames.put(data_of(painting))
        theirs.feed(data_of(painting))
    ours.feed(frames.take())
    ours.feed("\x1b[2J\x1b[1;1Hsomebody was here")
    frames.forget()
    for painting in after:
        frames.put(data_of(painting))
        theirs.feed(data_of(painting))
    ours.feed("\x1b[2J" + frames.take())
    assert ours.cells == theirs.cells


@given(STYLES, STYLES)
def test_a_change_of_style_is_the_style(before: str, after: str) -> None:
    ours, theirs = Emulator(), Emulator()
    ours.feed(f"\x1b[{before}m" + change_style(parse_style(before), parse_style(after)) + "x")
    theirs.feed(f"\x1b[{after}mx")
    assert ours.cells == theirs.cells


def test_wide_letters_keep_their_second_cell() -> None:
    frames, ours, theirs = Frames(), Emulator(), Emulator()
    for data in ("\x1b[1;1Hab層cd", "\x1b[1;1Hab層ce", "\x1b[1;3Hxy", "\x1b[1;2H層"):
        frames.put(data)
        ours.feed(frames.take())
        theirs.feed(data)
        assert ours.screen.display[0].rstrip() == theirs.screen.display[0].rstrip()


def test_only_what_changed_is_written() -> None:
    frames = Frames()
    frames.put(data_of([(0, 0, "1;31", "layers.0.weight"), (1, 0, "", "same")]))
    frames.take()
    frames.put(data_of([(0, 0, "1;31", "layers.7.weight"), (1, 0, "", "same")]))
    assert frames.take() == "\x1b[1;8H\x1b[0;1;31m7\x1b[m\x1b[2;5H"


def test_a_smaller_terminal_gets_no_cell_that_it_does_not_have() -> None:
    frames = Frames()
    frames.put(data_of([(0, 10, "", "far"), (5, 0, "", "low"), (0, 0, "", "near")]))
    frames.forget((4, 2))
    assert "near" in (written := frames.take())
    assert "far" not in written
    assert "low" not in written


def test_what_is_not_painting_is_left_alone() -> None:
    frames = Frames()
    for data in ("\x1b[?1049h", "\x1b]52;c;aGk=\x07", "\x07", "", "\x1b[6n", "text\x1b[?25h", "\x1b[2J"):
        assert not frames.put(data)
    assert frames.take() == ""


def test_one_thread_paints_while_another_writes() -> None:
    frames, ours, theirs = Frames(), Emulator(), Emulator()
    paintings = [data_of([(i % ROWS, i % 7, "31" if i % 2 else "", f"{i:6}")]) for i in range(500)]
    written: list[str] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            written.append(frames.take())
        written.append(frames.take())

    writer = threading.Thread(target=write)
    writer.start()
    for data in paintings:
        frames.put(data)
        theirs.feed(data)
    done.set()
    writer.join()
    ours.feed("".join(written))
    assert ours.cells == theirs.cells


async def test_everything_that_the_screen_paints_is_understood() -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        frames, ours, theirs = Frames(), Emulator(*MIDDLE), Emulator(*MIDDLE)

        def paint() -> None:
            compositor = d.app.screen._compositor
            update = compositor.render_update(full=True)
            assert isinstance(update, CompositorUpdate)
            data = update.render_segments(d.app.console)
            assert frames.put(data)
            theirs.feed(data)
            ours.feed(frames.take())
            assert ours.cells == theirs.cells

        for key in ("j", "n", "2", "j", "i", "w", "T", "question_mark", "escape", "z", "slash"):
            await d.press(key)
            paint()
