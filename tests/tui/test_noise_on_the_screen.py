"""Noise bands on the compare screen: the run at hand, the band column, the detail, the verdict, the command."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from noise_cases import at_hand
from pilots import ALPHA_A, ALPHA_B, LARGE, open_app

from qinspect.inspector.compare.answer import answer


@pytest.fixture
def made(own_home: Path, tmp_path: Path) -> list[Path]:
    return at_hand(own_home / "state" / "qinspect", tmp_path)


async def test_the_run_at_hand_is_used_and_named(made: list[Path]) -> None:
    async with open_app(made[0], made[1], LARGE) as d:
        assert "noise bands by the run at hand mine" in d.screen.hints.status
        await d.press("M")
        assert "0 %, both come from one pass" in d.detail
        assert "(applies)" in d.detail
        assert "resampled from 24 samples" in d.detail
        await d.press("t")
        assert "next: Find out whether it helps" in d.detail
        assert "[effective]" in d.detail


async def test_the_band_column_has_what_the_comparison_found(made: list[Path]) -> None:
    async with open_app(made[0], made[1], LARGE) as d:
        shown = {p.role: p.bands for p in d.screen.table_pane.scales.pairs}
        assert all(shown[role] for role in shown if ":" in role)
        await d.press("2")
        for _ in range(20):
            if d.screen.table_pane.selection.sort != "band":
                await d.press("s")
        assert d.screen.table_pane.selection.sort == "band"
        assert d.screen.table_pane.scales.pairs[0].status == "different"


def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Resampling tells when it has begun, and waits to be let go on."""
    from qinspect.inspector.noise.resampled import Resampling

    resampling, go_on = threading.Event(), threading.Event()
    real = Resampling.bands

    def slow(self: Resampling, *of: Any) -> Any:
        resampling.set()
        assert go_on.wait(20)
        return real(self, *of)

    monkeypatch.setattr(Resampling, "bands", slow)
    return resampling, go_on


async def test_escape_ends_long_resampling(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    resampling, go_on = held(monkeypatch)
    async with open_app(made[0], made[1], wait=False) as d:
        await d.until(resampling.is_set)
        await d.send("escape")
        go_on.set()
        await d.settle()
        c = d.screen.session.comparison
        assert c is not None
        assert c.noise.run == ""
        assert c.weights_compared
        assert all(b.origin == "measured elsewhere" for p in c.scales for b in p.bands)


async def test_what_is_asked_for_is_in_the_command(made: list[Path]) -> None:
    async with open_app(made[0], made[1]) as d:
        d.screen.session.noise, d.screen.session.noise_run = ("x y", "z"), "mine"
        assert d.screen.command_line.endswith("--noise 'x y' z --run mine")


async def test_a_run_that_is_not_there_is_said_and_the_models_are_compared() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        d.screen.session.noise_run = "nowhere"
        await d.press("ctrl+r")
        assert "no run is called nowhere" in d.screen.headline.text
        assert "This is what a change of percentile_alpha looks like" in d.screen.headline.text


async def test_what_is_known_is_said_while_noise_bands_are_made(
    made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    resampling, go_on = held(monkeypatch)
    async with open_app(made[0], made[1], LARGE, wait=False) as d:
        await d.until(resampling.is_set)
        await d.until(lambda: "on their way" in d.text_of("#verdict"), "what is known so far")
        said = d.text_of("#verdict")
        go_on.set()
        await d.settle()
        c = d.screen.session.comparison
        assert c is not None
        s = c.summary
        assert said.startswith(f"{s.n_different} of {s.n_pairs} scales differ ({s.sign_pattern}, by up to ")
        assert "on their way" not in d.text_of("#verdict")
        assert " ".join(d.text_of("#verdict").split()) in f"{answer(c)} {c.headline.text}"
