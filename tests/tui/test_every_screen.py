"""Every screen at three sizes, and in fewer colours: 256, as in tmux without COLORTERM, 16, and none.

See test_snapshots.py for how they are written anew. One open screen is pictured at one size after another: what a
terminal shows that is made smaller is what it shows at that size.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import noise_cases
import pytest
import whence_cases as cases
from lint_models import nvfp4_model
from pictures import assert_looks_as_stored, assert_none_left_over, picture
from pilots import ALPHA_A, ALPHA_B, GROUPED, LARGE, MIDDLE, PERMUTED, SMALL, Driver, open_app
from still_runs import stand_still

from qinspect.tui.alpha.alpha_words import AlphaWords
from qinspect.tui.lint.screen import LintScreen

STORED = Path(__file__).parent / "snapshots" / "screens"
Steps = Callable[[Driver], Awaitable[None]]
PAIR, TURNED = (ALPHA_A, ALPHA_B), (GROUPED, PERMUTED)
X_PROJ, IN_PROJ = "layers.0.mixer.x_proj.weight", "layers.0.mixer.in_proj.weight"
ACTIVATION = cases.name(0)
STREAMS = cases.streams(9, 8, 5, "float16")
SIZES = {f"{width}x{height}": (width, height) for width, height in (LARGE, MIDDLE, SMALL)}
TERMINALS = {
    "256": {"TERM": "tmux-256color"},
    "16": {"TERM": "xterm"},
    "none": {"TERM": "xterm-256color", "NO_COLOR": "1"},
}
"""What the environment says of a terminal with as many colours."""


def at(role: str, *keys: str) -> Steps:
    """On a scale, these keys."""

    async def go(d: Driver) -> None:
        d.screen.activate("tree")
        d.screen.table_pane.select(role)
        await d.press("2", *keys)

    return go


def keys(*names: str) -> Steps:
    async def press(d: Driver) -> None:
        await d.press(*names)

    return press


COMPARED: dict[str, tuple[tuple[str, str], Steps]] = {
    "overview": (PAIR, keys("l")),
    "table": (PAIR, at("layers.0.mixer.x_proj:input")),
    "detail": (PAIR, at("layers.0.mixer.x_proj:input", "d", "3")),
    "verdict": (PAIR, keys("t")),
    "weight": (PAIR, at(X_PROJ, "w", "3", "l")),
    "codes": (PAIR, at(X_PROJ, "o", "3")),
    "profile": (TURNED, at(IN_PROJ, "r", "3", "z")),
    "distribution": (PAIR, at(X_PROJ, "a", "b", "left_curly_bracket", "left_curly_bracket", "left_curly_bracket")),
}
ALPHAS: dict[str, tuple[str, ...]] = {"alpha-curve": ("j", "right_curly_bracket"), "alpha-map": ("j", "m")}
LINT: dict[str, tuple[str, ...]] = {"lint": (), "lint-engines": ("3",), "lint-experts": ("4", "z")}
ELSEWHERE = ("activation", "whence", "runs")
OF_A_WAY: dict[str, tuple[str, ...]] = {
    "activation": (), "labels": ("J",), "whence": ("escape", "U"), "help": ("escape", "question_mark"),
}  # fmt: skip
OF_RUNS: dict[str, tuple[str, ...]] = {"run-log": (), "form": ("exclamation_mark",)}
"""What is seen after these keys, one after the other."""
NAMES = {
    *(f"{name}-{size}" for name in (*COMPARED, *ALPHAS, *LINT, *ELSEWHERE) for size in SIZES),
    *(f"{name}-{colors}" for name in (*COMPARED, *ALPHAS, *LINT, *OF_A_WAY, *OF_RUNS) for colors in TERMINALS),
}


async def picture_at_all_sizes(d: Driver, name: str, folder: Path) -> None:
    """Compare all of them before one that differs fails the test: that is what whoever changes a screen looks at."""
    failed: list[AssertionError] = []
    for size, (width, height) in SIZES.items():
        if d.app.size != (width, height):
            await d.pilot.resize_terminal(width, height)
            await d.settle()
        try:
            assert_looks_as_stored(picture(d.app), STORED / f"{name}-{size}.svg.gz", folder)
        except AssertionError as e:
            failed.append(e)
    if failed:
        raise failed[0]


@pytest.mark.parametrize("name", COMPARED)
async def test_a_comparison_looks_as_it_did(name: str, tmp_path: Path) -> None:
    (a, b), steps = COMPARED[name]
    async with open_app(a, b, LARGE, overview=True) as d:
        await steps(d)
        await picture_at_all_sizes(d, name, tmp_path)


@pytest.mark.parametrize("colors", TERMINALS)
async def test_comparisons_look_as_they_did_in_fewer_colours(
    colors: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_colors(monkeypatch, colors)
    for pair in (PAIR, TURNED):
        async with open_app(*pair, MIDDLE, overview=True) as d:
            for name, (of, steps) in COMPARED.items():
                if of != pair:
                    continue
                await steps(d)
                assert_looks_as_stored(picture(d.app), STORED / f"{name}-{colors}.svg.gz", tmp_path)
                await d.press("z") if d.screen.body.zoomed else None


def in_colors(patch: pytest.MonkeyPatch, colors: str) -> None:
    patch.delenv("COLORTERM", raising=False)
    for name, value in TERMINALS[colors].items():
        patch.setenv(name, value)


@pytest.fixture
def explored(tmp_path: Path, in_fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases.calibration(tmp_path / "run", STREAMS, alphas=(0.9995, 0.99999)).close()
    cases.checkpoint(tmp_path / "made", cases.scales_of(STREAMS, cases.ema, 0.99937123))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ALPHAS)
async def test_the_explorer_looks_as_it_did(name: str, explored: None, tmp_path: Path) -> None:
    async with open_app(alphas=AlphaWords("run", checkpoint="made"), size=LARGE) as d:
        await d.press(*ALPHAS[name])
        await picture_at_all_sizes(d, name, tmp_path)


@pytest.mark.parametrize("colors", TERMINALS)
async def test_it_looks_as_it_did_in_fewer_colours(
    colors: str, explored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_colors(monkeypatch, colors)
    async with open_app(alphas=AlphaWords("run", checkpoint="made"), size=MIDDLE) as d:
        for name in ALPHAS:
            await d.press(*ALPHAS[name])
            assert_looks_as_stored(picture(d.app), STORED / f"{name}-{colors}.svg.gz", tmp_path)


@pytest.fixture
def broken(tmp_path: Path, in_fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = tuple(f"mlp.experts.{e}.{p}_proj" for e in range(96) for p in ("gate", "up", "down"))
    scalars = {
        "layers.1.mlp.experts.3.up_proj.input_scale": 0.0,
        "layers.4.mlp.experts.77.down_proj.input_scale": float("nan"),
        "layers.2.mlp.experts.11.gate_proj.weight_scale_2": 2e-3,
        "layers.2.mlp.experts.50.gate_proj.input_scale": 9e2,
    }
    nvfp4_model(tmp_path / "broken", scalars, n_layers=6, modules=modules)
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def linted(size: tuple[int, int]) -> AsyncIterator[Driver]:
    async with open_app("broken", size=size) as d:
        await d.press("L")
        screen = d.app.screen
        assert isinstance(screen, LintScreen)
        await d.until(lambda: screen.findings.found and not screen.hints._doing, "the findings")
        await d.press("l")
        yield d


async def test_the_findings_look_as_they_did(broken: None, tmp_path: Path) -> None:
    async with linted(LARGE) as d:
        for name, pressed in LINT.items():
            await d.press(*pressed)
            await picture_at_all_sizes(d, name, tmp_path)
            await d.pilot.resize_terminal(*LARGE)
            await d.settle()


@pytest.mark.parametrize("colors", TERMINALS)
async def test_the_findings_look_as_they_did_in_fewer_colours(
    colors: str, broken: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_colors(monkeypatch, colors)
    async with linted(MIDDLE) as d:
        for name, pressed in LINT.items():
            await d.press(*pressed)
            assert_looks_as_stored(picture(d.app), STORED / f"{name}-{colors}.svg.gz", tmp_path)


async def test_the_way_from_a_scale_to_its_alpha_looks_as_it_did(
    own_home: Path, tmp_path: Path, in_fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_cases.at_hand(own_home / "state" / "qinspect", tmp_path)
    monkeypatch.chdir(tmp_path)
    async with open_app("pa-0.99", "pa-0.9999", LARGE) as d:
        await at(ACTIVATION, "a")(d)  # a run is looked for, and only then is it there
        await d.press("left_curly_bracket", "left_curly_bracket")
        await picture_at_all_sizes(d, "activation", tmp_path)
        await d.press("U")
        await d.pilot.resize_terminal(*LARGE)
        await d.settle()
        await picture_at_all_sizes(d, "whence", tmp_path)


@pytest.mark.parametrize("colors", TERMINALS)
async def test_that_way_looks_as_it_did_in_fewer_colours(
    colors: str, own_home: Path, tmp_path: Path, in_fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_colors(monkeypatch, colors)
    noise_cases.at_hand(own_home / "state" / "qinspect", tmp_path)
    monkeypatch.chdir(tmp_path)
    async with open_app("pa-0.99", "pa-0.9999", MIDDLE) as d:
        await at(ACTIVATION, "a")(d)
        for name, pressed in OF_A_WAY.items():
            await d.press(*pressed)
            assert_looks_as_stored(picture(d.app), STORED / f"{name}-{colors}.svg.gz", tmp_path)


@pytest.fixture
def still(tmp_path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        stand_still(tmp_path, patch)
        patch.chdir("/")  # the form shows it
        yield
    time.tzset()


async def test_the_runs_look_as_they_did(still: None, tmp_path: Path) -> None:
    async with open_app(size=LARGE) as d:
        await d.until(lambda: "GPU 1" in d.painted, "the GPUs")
        await d.until(lambda: d.feed is not None and d.feed.n_events == 10, "the journal")
        await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.total is not None, "the log")
        await picture_at_all_sizes(d, "runs", tmp_path)


@pytest.mark.parametrize("colors", TERMINALS)
async def test_they_look_as_they_did_in_fewer_colours(
    colors: str, still: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_colors(monkeypatch, colors)
    async with open_app(size=MIDDLE) as d:
        await d.until(lambda: "GPU 1" in d.painted, "the GPUs")
        await d.until(lambda: d.feed is not None and d.feed.n_events == 10, "the journal")
        await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.total is not None, "the log")
        for name, pressed in OF_RUNS.items():
            await d.press(*pressed)
            assert_looks_as_stored(picture(d.app), STORED / f"{name}-{colors}.svg.gz", tmp_path)


def test_no_picture_is_left_over_and_none_knows_where_it_was_made(source_root: Path) -> None:
    assert_none_left_over(STORED, NAMES, source_root)
