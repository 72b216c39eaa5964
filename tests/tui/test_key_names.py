"""Sentences that name a key name the one that is bound, whatever the user's config file says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from noise_cases import at_hand
from pilots import ALPHA_A, ALPHA_B, MIDDLE, SMALL, Driver, open_app
from whence_cases import calibration, name, streams

from qinspect.inspector.config import config_path
from qinspect.tui.actions import ALL_ACTIONS, BY_NAME
from qinspect.tui.alpha.alpha_words import AlphaWords
from qinspect.tui.alpha.screen import ExploreScreen
from qinspect.tui.alpha.whence import WhenceScreen
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.key_names import key, use_keys, with_built_in_keys, with_keys
from qinspect.tui.widgets.bars import HintBar

KEYS = {name: f"f{i}" for i, name in enumerate(BY_NAME, 100)}
"""Other keys for all actions, which no terminal sends and no sentence has by chance."""
DOES = "all|asks|begins|calibrates|cancels|clears|ends|finds|leads|leaves|lists|makes|next|on the|opens|puts|reverses"
DOES += "|shows|skips|starts|takes|the weight"
QUOTED = re.compile(
    rf"(?<![\w'-])(?:[a-zA-Z!*#<>/]|esc|escape|enter|tab|ctrl\+\w)(?::? (?:{DOES})\b|, then)|\(esc(?:ape)?\b"
)
"""A sentence that names a key, by the letters that all keys have without a file."""
OF_DIALOGS = {"dialogs", "form.py", "typed_line.py", "filters.py", "actions.py", "key_names.py"}
"""What no file changes: keys of dialogs, and of lines that are typed."""


@pytest.fixture
def remapped(own_home: Path) -> Iterator[None]:
    path = config_path()
    path.parent.mkdir(parents=True)
    path.write_text("[keys]\n" + "".join(f'{action} = "{bound}"\n' for action, bound in KEYS.items()))
    yield
    use_keys({})


async def do(d: Driver, *actions: str) -> str:
    """Press what these have now; all that is painted then, on one line."""
    await d.press(*(KEYS[a] for a in actions))
    return " ".join(d.painted.split())


def status(d: Driver) -> str:
    return d.app.screen.query_one(HintBar).status


def check(text: str, *said: str) -> None:
    """It says this with the keys of the file, and nothing with others."""
    for sentence in said:
        expected = re.sub(r"\{(\w+)\}", lambda m: KEYS[m[1]], sentence)
        assert expected in text
    assert not QUOTED.search(re.sub(r"\$ .*?(?=  |$)", "", text)), QUOTED.findall(text)


async def test_the_models_name_the_keys_of_the_file(remapped: None) -> None:
    async with open_app(ALPHA_A, ALPHA_B, SMALL, overview=True) as d:
        check(" ".join(d.painted.split()), "({verdict}: all)", "{measure}: next measure", "{collapse} {expand} kind")
        await do(d, "sort")
        check(status(d), "{open} shows those of the cell")
        check(await do(d, "largest_difference", "open", "zoom"), "({close}: overview)")
        await do(d, "zoom", "filter")
        await d.type("out_proj")
        await d.press("enter")
        await do(d, "next_difference")
        check(status(d), "{close} leaves it")
        await do(d, "close", "close")
        check(await do(d, "pane_tree", "down", "down", "expand", "down", "pane_table", "zoom"), "({close}: all)")
        check(await do(d, "zoom", "pane_tree", "zoom", "sort"), "{zoom} shows all panes")
        await do(d, "zoom", "pane_runs")
        check(status(d), "{runs} opens the runs screen")
        d.screen.table_pane.select("layers.0.mixer.x_proj:input")
        await do(d, "pane_table", "distribution")
        check(status(d), "{runs}, then {start_run}, calibrates")
        check(await do(d, "view_histogram", "pane_detail"), "{view_weight}: the weight", "{log_axis} {log_scale} log")


async def test_the_help_and_the_palette_name_the_keys_of_the_file(remapped: None) -> None:
    async with open_app(ALPHA_A, ALPHA_B, MIDDLE) as d:
        await do(d, "help")
        lines = " ".join(" ".join(d.app.screen.query_one("#help").plain).split())  # type: ignore[attr-defined]
        check(lines, "Sort by the next column; {reverse} reverses.", "Filter: words, format:w4a8; {close} clears it.")
        await d.press("escape")
        await do(d, "palette")
        await d.type("sort")
        check(" ".join(d.painted.split()), "Sort by the next column; {reverse} reverses.")


async def test_a_distribution_and_its_alphas_name_the_keys_of_the_file(
    remapped: None, own_home: Path, tmp_path: Path
) -> None:
    made = at_hand(own_home / "state" / "qinspect", tmp_path / "made")
    async with open_app(made[0], made[1], MIDDLE) as d:
        d.screen.table_pane.select(name(0))
        check(await do(d, "pane_table", "distribution"), "{whence} whence", "{alpha_best} optimum")
        check(await do(d, "whence"), "{apply_alpha} puts alpha", "{apply_alpha} apply best")
        assert isinstance(d.app.screen, WhenceScreen)
    async with open_app(ALPHA_A) as d:
        d.screen.table_pane.select("layers.0.mixer.x_proj.weight")
        await do(d, "pane_table", "distribution", "whence")
        assert isinstance(d.app.screen, DistributionScreen)
        check(status(d), "{distribution} on the scale of an activation asks a run")


async def test_the_alphas_name_the_keys_of_the_file(remapped: None, tmp_path: Path) -> None:
    calibration(tmp_path / "run", streams(9, 3, 5, "float16"), alphas=(0.9995,)).close()
    async with open_app(size=MIDDLE, alphas=AlphaWords(str(tmp_path / "run"))) as d:
        check(await do(d, "bits"), "{alpha_decade_up} decade")
        screen = d.app.screen
        assert isinstance(screen, ExploreScreen)
        while screen.explorer is not None and screen.explorer.has_alpha:
            await do(d, "rule")
        await do(d, "alpha_up")
        check(status(d), "{rule} takes another rule")


async def test_the_runs_name_the_keys_of_the_file(remapped: None) -> None:
    async with open_app(size=MIDDLE) as d:
        check(" ".join(d.painted.split()), "no run yet: {start_run} starts one", "{start_run} start")


def test_no_sentence_has_a_key_of_its_own(source_root: Path) -> None:
    """All sentences of the screen, whether a test sees them or not."""
    found = []
    for path in sorted((source_root / "tui").rglob("*.py")):
        if OF_DIALOGS & set(path.parts):
            continue
        tree = ast.parse(path.read_text())
        bodies = (b for n in ast.walk(tree) if isinstance(b := getattr(n, "body", None), list))
        told = {id(s.value) for body in bodies for s in body if isinstance(s, ast.Expr)}  # docstrings
        texts = ((id(n), n.value) for n in ast.walk(tree) if isinstance(n, ast.Constant))
        said = (text for n, text in texts if isinstance(text, str) and n not in told)
        found += [f"{path.name}: {text}" for text in said if QUOTED.search(text)]
    assert [text for text in found if not text.endswith(("; escape clears", ", escape closes"))] == []  # of typed lines
    assert QUOTED.search("W puts alpha 0.9995 into A")
    assert QUOTED.search("no run: R, then !, calibrates")
    assert QUOTED.search("comparing codes (esc skips them)")


def test_every_key_that_a_sentence_names_is_an_actions() -> None:
    use_keys({})
    for action in (a for actions in ALL_ACTIONS for a in actions):
        assert "{" not in with_keys(action.help)
        assert with_keys(action.help) == with_built_in_keys(action.help)


def test_a_key_that_another_action_took_is_found_by_name() -> None:
    use_keys({"quit": "R"})
    try:
        assert (key("quit"), key("runs")) == ("R", ":runs")
    finally:
        use_keys({})
    assert (key("quit"), key("runs"), key("close")) == ("q", "R", "esc")
