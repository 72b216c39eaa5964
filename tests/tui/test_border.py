"""No text of a file, a run, a log or a variable reaches the terminal unescaped: on no screen, by no key."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import re
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_models import EVERY, IN_A_NAME, MARK, PAYLOADS, hostile_log, hostile_model
from hypothesis import given
from hypothesis import strategies as st
from pilots import LARGE, MIDDLE, SMALL, Driver, open_app
from rich.cells import cell_len
from rich.segment import Segment
from run_processes import begin, ended
from terminals import PROGRAM, Start, Terminal
from textual._context import active_app
from textual.color import Color
from textual.geometry import Offset
from textual.widget import Widget
from textual.widgets import Input

from qinspect.inspector.runs import list_runs
from qinspect.inspector.text import is_plain, shell_words, visible
from qinspect.tui.app import QinspectApp
from qinspect.tui.border import BORDER, Border, harmless
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.outside import osc9, osc52
from qinspect.tui.runs.form import StartScreen
from qinspect.tui.widgets.text_input import TextInput

TUI = Path(__file__).parents[2] / "tui"
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What widgets gave to be painted and did not escape: the border would have caught it, and it is a mistake."""
    found: list[str] = []
    apply = Border.apply

    def look(self: Border, segments: list[Segment], background: Color) -> list[Segment]:
        found.extend(s.text for s in segments if not s.control and harmless(s.text) != s.text)
        return apply(self, segments, background)

    monkeypatch.setattr(Border, "apply", look)
    yield found
    assert found == []


def assert_harmless(painted: str) -> None:
    assert not [c for c in painted if c != "\n" and unicodedata.category(c) in HIDDEN]


# --- every key of every screen ---

COMPARE_KEYS = (
    "1 enter l j j l j enter 2 j d i w o r v y x i k n p N M c c s S quotation_mark apostrophe t escape z z 3 j j 3 1 "
    "minus plus tab tab K V Y C left_square_bracket right_square_bracket question_mark escape colon escape"
)
RUNS_KEYS = (
    "j k enter P v j k d j t j j Y u P Z Z at at c c F slash p w n e d enter n N Y C 1 Y C z z 2 d j j t Y "
    "question_mark escape colon escape X n D n exclamation_mark ctrl+n ctrl+n ctrl+n escape E down down down escape"
)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return (
        hostile_model(tmp_path / f"a{IN_A_NAME['title']}{IN_A_NAME['override']}"),
        hostile_model(tmp_path / f"b{IN_A_NAME['C1 CSI']}{IN_A_NAME['feed']}{IN_A_NAME['markup']}", 2.0),
    )


@pytest.fixture
def hostile_run(tmp_path: Path) -> Path:
    """A run whose name, command, folder, variables and log are hostile; its folder."""
    cwd = tmp_path / f"in{IN_A_NAME['clipboard']}{IN_A_NAME['feed']}"
    cwd.mkdir()
    log = cwd / f"log{IN_A_NAME['colour']}"
    log.write_text(hostile_log())
    run = begin("cat", str(log), EVERY, name=EVERY, cwd=cwd, env={f"X{EVERY.replace('=', '')}": EVERY, "Y": EVERY})
    ended(run)
    return cwd


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x60"])
async def test_two_models(pair: tuple[Path, Path], size: tuple[int, int], forgotten: list[str]) -> None:
    async with open_app(*pair, size=size) as d:
        for key in COMPARE_KEYS.split():
            await d.press(key)
            assert_harmless(d.painted)
            assert_harmless(d.app.clipboard.replace("\t", ""))
        await d.press("escape", "slash")
        await d.type(MARK)
        await d.press("enter")
        assert_harmless(d.painted)
        await d.press("f")
        await d.type(MARK)
        assert MARK in d.painted
        assert_harmless(d.painted)
        await d.press("escape", "2", "e", "c")
        for name in ("csv", "svg", "json", "md"):
            for path in Path.cwd().glob(f"qinspect-view*.{name}"):
                path.unlink()


async def test_one_model_that_is_broken(tmp_path: Path, forgotten: list[str]) -> None:
    path = tmp_path / f"m{IN_A_NAME['title']}.safetensors"
    path.write_bytes(b"\x1b]0;\x07" + EVERY.encode())
    async with open_app(path, hostile_model(tmp_path / "b"), size=MIDDLE) as d:
        for key in ("t", "escape", "tab", "d", "i", "escape"):
            await d.press(key)
            assert_harmless(d.painted)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x60"])
async def test_runs(hostile_run: Path, size: tuple[int, int], forgotten: list[str]) -> None:
    async with open_app(size=size) as d:
        for key in RUNS_KEYS.split():
            await d.press(key)
            assert_harmless(d.painted)
            assert_harmless(d.app.clipboard.replace("\t", ""))
        await d.press("2", "d")
        assert "\\x1b]0;" in d.painted


# --- the form ---


def form_of(d: Driver) -> StartScreen:
    assert isinstance(d.app.screen, StartScreen)
    return d.app.screen


async def test_the_form_shows_a_run_escaped_and_starts_it_as_it_was(hostile_run: Path, forgotten: list[str]) -> None:
    (before,) = list_runs()
    async with open_app(size=MIDDLE) as d:
        await d.press("enter", "E")
        await d.until(lambda: isinstance(d.app.screen, StartScreen) and form_of(d).inputs, "the form")
        assert form_of(d).values["command"] == before.spec.command
        for _ in form_of(d).inputs:
            await d.press("down")
            for key in ("home", "right", "right", "end", "left", "shift+home"):
                await d.press(key)
            assert_harmless(d.painted)
        assert "\\x1b]0;" in d.painted
        form_of(d).set_focus(form_of(d).inputs[0])
        await d.press("enter")
        await d.settle()
        if isinstance(d.app.screen, StartScreen):  # it was warned of something
            await d.press("enter")
        await d.until(lambda: d.app.screen is d.runs, "the screen again")
    (again,) = (r for r in list_runs() if r.id != before.id)
    ended(again)
    assert again.spec.argv == before.spec.argv
    assert again.spec.name == before.spec.name
    assert again.spec.cwd == before.spec.cwd == str(hostile_run)
    assert again.spec.env == before.spec.env


async def test_a_folder_of_nobody_is_no_folder() -> None:
    async with open_app(size=MIDDLE) as d:
        await d.press("exclamation_mark")
        await d.until(lambda: isinstance(d.app.screen, StartScreen) and form_of(d).inputs, "the form")
        for text in ("~there-is-no-such-user", "x" * 5000, "a\0b"):
            form_of(d).inputs[2].value = text
            await d.settle()
            assert "there is no such folder" in d.painted


async def test_what_is_pasted_into_a_field_is_shown_escaped_and_can_be_edited() -> None:
    from textual import events

    async with open_app(size=MIDDLE) as d:
        await d.press("exclamation_mark")
        await d.until(lambda: isinstance(d.app.screen, StartScreen) and form_of(d).inputs, "the form")
        field = form_of(d).inputs[0]
        field.post_message(events.Paste("echo \x1b[2J\u202e."))
        await d.settle()
        assert field.value == "echo \x1b[2J\u202e."
        assert "echo \\x1b[2J\\u202e." in d.painted
        await d.press("left", "backspace")
        assert field.value == "echo \x1b[2J."
        field.cursor_position = len("echo \x1b")
        await d.press("backspace", "x")
        assert field.value == "echo x[2J."
        assert "echo x[2J." in d.painted


ANY = st.characters(exclude_categories=["Cs"])
VALUES = st.text(st.sampled_from("ab'\\7\x1b\x9b\x07\u202e\u4e2d\ue000\n\t e\u0301\U000e0041") | ANY, max_size=12)


class NoScreen(QinspectApp):
    """An app that a field may belong to before any screen is there."""

    def clear_selection(self) -> None:
        pass


@given(VALUES)
def test_cells_of_a_field_are_those_of_what_it_shows(value: str) -> None:
    active_app.set(NoScreen(None))
    field = TextInput(value)
    shown = field._value
    assert is_plain(shown.plain)
    assert shown.plain == visible(value)
    for i in range(len(value) + 1):
        assert field._position_to_cell(i) == sum(cell_len(visible(c)) for c in value[:i])
    for i, c in enumerate(value):
        if cell_len(visible(c)):
            assert field._cell_offset_to_index(field._position_to_cell(i)) in (i, *range(max(0, i - 1), i))
    marked = field._value
    marked.stylize("bold", 0, 1)
    assert [marked.plain[s.start : s.end] for s in marked.spans] == ([visible(value[0])] if value else [])


async def test_a_click_and_the_cursor_meet_the_character_that_is_shown(tmp_path: Path) -> None:
    async with open_app(size=MIDDLE) as d:
        await d.press("exclamation_mark")
        await d.until(lambda: isinstance(d.app.screen, StartScreen) and form_of(d).inputs, "the form")
        field = form_of(d).inputs[0]
        field.value = "a\x1bb"
        for cell, index in ((0, 0), (1, 1), (4, 1), (5, 2), (9, 3)):
            assert field._cell_offset_to_index(cell) == index
        field.cursor_position = 2
        assert field.cursor_screen_offset - field.content_region.offset == Offset(5, 0)


async def test_a_selection_is_copied_as_it_is_shown() -> None:
    async with open_app(size=MIDDLE) as d:
        d.app.push_screen(AskScreen(f"which \x1b[31m{MARK}"))
        await d.settle()
        assert f"which \\x1b[31m{MARK}" in d.painted
        field = d.app.screen.query_one(Input)
        field.value = "rm\n\x1b[200~x"
        field.action_select_all()
        field.action_copy()
        assert d.app.clipboard == "rm\\x0a\\x1b[200~x"


# --- what leaves the screen ---


@given(
    st.lists(st.text(st.sampled_from("a'\\ \x1b\n\x9b\u202e7é\U000e0041") | st.characters(exclude_categories=["Cs"])))
)
def test_a_command_that_is_pasted_is_the_command_and_nothing_else(words: list[str]) -> None:
    words = [w.replace("\0", "") for w in words]
    pasted = shell_words(words)
    assert is_plain(pasted)
    if words:
        script = f"printf '%s\\0' {pasted}"
        out = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}).stdout
        assert out.decode() == "".join(f"{w}\0" for w in words)


@pytest.mark.parametrize("kind", PAYLOADS)
def test_sequences_of_ours_cannot_be_broken_out_of(kind: str) -> None:
    for tmux in (False, True):
        body = osc9(PAYLOADS[kind], tmux)[len("\x1bPtmux;\x1b\x1b]9;" if tmux else "\x1b]9;") :]
        end = "\a\x1b\\" if tmux else "\a"
        assert is_plain(body.removesuffix(end))
        assert body.endswith(end)
        assert re.fullmatch(r"[\x1b\\Ptmux;\]52c]*[A-Za-z0-9+/=]*\a(\x1b\\)?", osc52(PAYLOADS[kind], tmux))


# --- the border itself ---


@given(VALUES)
def test_the_border_keeps_cells_and_lets_nothing_through(text: str) -> None:
    made = harmless(text)
    assert_harmless(made)
    assert "\n" not in made
    if all(cell_len(c) <= 2 for c in text) and not any(unicodedata.category(c) in ("Mn", "Me", "Mc") for c in text):
        assert sum(map(cell_len, made)) == sum(map(cell_len, text))
    assert harmless(made) == made


def test_segments_without_a_mistake_are_not_copied() -> None:
    segments = [Segment("plain"), Segment("─█ä中")]
    assert BORDER.apply(segments, Color(0, 0, 0)) is segments
    changed = BORDER.apply([Segment("a\x1b[2Jb")], Color(0, 0, 0))
    assert [s.text for s in changed] == ["a[2Jb"]


async def test_every_line_of_every_widget_goes_through_it() -> None:
    from textual.widgets import Static

    async with open_app(size=MIDDLE) as d:
        assert BORDER in d.app.get_line_filters()
        assert all(BORDER in w.get_line_filters() for w in d.app.screen.walk_children(Widget))
        await d.app.screen.mount(Static(f"\x1b]0;{MARK}\x07\x9b\u202e", markup=False))
        await d.until(lambda: MARK in d.painted, "it")
        assert_harmless(d.painted)


# --- nobody forgets it ---

REASONS = {
    "outside.py: app._driver.write": "OSC sequences of ours: base64, or `visible`",
    "terminal.py: super().write": "the driver: what Textual paints",
    "terminal.py: self._stream.write": "the driver: what Textual paints",
    "settings.py: f.write": "a file",
    "outside.py: f.write": "a file: JSON in ASCII, tables whose cells are `visible`, SVG of what is painted",
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_of_the_screen_writes_to_a_stream_by_itself() -> None:
    found = {
        f"{path.name}: {name}"
        for path in sorted(TUI.rglob("*.py"))
        for name, _ in calls(path)
        if name == "print" or name.endswith((".write", ".writelines"))
    }
    assert found == REASONS.keys()


MARKUP_ATTRIBUTES = ("tooltip", "border_title", "border_subtitle", "sub_title")


def test_texts_are_no_markup_and_inputs_are_ours() -> None:
    """Static and notifications take markup unless told otherwise; Textual's Input paints its value as it is."""
    problems = []
    for path in sorted(TUI.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            bases = [ast.unparse(b) for b in node.bases] if isinstance(node, ast.ClassDef) else []
            if "Input" in bases and path.name != "text_input.py":
                problems.append(f"{path.name}: class {node.name}(Input)")  # type: ignore[attr-defined]
        for name, call in calls(path):
            last = name.rpartition(".")[2]
            given = {k.arg for k in call.keywords}
            constant = all(isinstance(a, ast.Constant) for a in call.args)
            if last in ("Input", "TextArea", "MaskedInput", "Markdown", "RichLog", "Log", "DataTable", "OptionList"):
                problems.append(f"{path.name}:{call.lineno}: {ast.unparse(call)[:80]}")
            if last in ("Static", "Label") and "markup" not in given:
                problems.append(f"{path.name}:{call.lineno}: {ast.unparse(call)[:80]} takes markup")
            if last == "notify" and not constant and "markup" not in given:
                problems.append(f"{path.name}:{call.lineno}: {ast.unparse(call)[:80]} takes markup")
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            problems += [
                f"{path.name}:{t.lineno}: {ast.unparse(node)[:80]} takes markup"
                for t in targets
                if isinstance(t, ast.Attribute) and t.attr in MARKUP_ATTRIBUTES
            ]
    assert problems == []


# --- the real program ---

OURS = re.compile(
    r"\x1b\[[\d;]*[mHJ]|\x1b\[[?<>=][\d;]*[a-zA-Z]|\x1b\[\?\d+\$p|\x1b\]22;default\x07|\x1b\]52;c;[A-Za-z0-9+/=]*\x07"
    r"|\x1b\[\d* ?q|\x1b\[\d+[cnt]|\x1b\[c|\x1b[=>]"
)
"""What the program says to a terminal besides text."""


@pytest.fixture
def start() -> Iterator[Start]:
    """start(*words, size, **environment): the program in a terminal."""
    started: list[Terminal] = []

    def run(*words: str, size: tuple[int, int] = MIDDLE, **env: str) -> Terminal:
        started.append(Terminal([*PROGRAM, *words], size, env))
        return started[-1]

    yield run
    for terminal in started:
        terminal.close()


def assert_ours(out: bytes) -> None:
    """Every control character in it belongs to a sequence that the program or Textual writes."""
    left = OURS.sub("", out.decode("utf-8", "replace")).replace("\r\n", "\n")
    bad = [i for i, c in enumerate(left) if c not in "\r\n\a" and unicodedata.category(c) in HIDDEN]
    assert not bad, [left[max(0, i - 20) : i + 20] for i in bad[:5]]
    assert MARK in left


async def test_the_models_in_a_real_terminal(start: Start, pair: tuple[Path, Path]) -> None:
    t = start(*map(str, pair))
    t.see(MARK)
    for key in ("j", "l", "j", "\t", "j", "d", "i", "v", "t", "Y", "C", "K", "3", "/", f"{MARK}\r", "f", "a"):
        t.send(key)
        await asyncio.to_thread(t.until, t.is_quiet, "quiet")
    assert_ours(t.out)
    t.send("\x1b\x1bq")


async def test_the_runs_and_their_form_in_a_real_terminal(start: Start, hostile_run: Path) -> None:
    t = start(QINSPECT_STATE_DIR=os.environ.get("QINSPECT_STATE_DIR", ""))
    t.see(MARK)
    for key in ("\r", "d", "t", "v", "P", "Y", "C", "E", "\x1b[B", "\x1b[B", "\x1b[B", "\x1b[H", "\x1b[C"):
        t.send(key)
        await asyncio.to_thread(t.until, t.is_quiet, "quiet")
    assert "\\x1b]0;" in t.screen
    assert_ours(t.out)
    with contextlib.suppress(OSError):
        t.send("\x1b")
