"""Odd terminals and odd models: nothing crashes, nothing that a terminal obeys is painted, keys are answered."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pilots import ALPHA_A, ALPHA_B, LARGE, SMALL, Driver, open_app
from safetensors.numpy import save_file
from terminals import PROGRAM, Terminal

TINY = (20, 5)
KEYS = (
    *("j", "2", "n", "N", "M", "3", "d", "i", "w", "o", "r", "v", "t", "z", "z", "c", "s", "S", "l", "h", "tab", "1"),
    *("plus", "minus", "pagedown", "pageup", "G", "g"),
)


def assert_alive(d: Driver) -> None:
    assert d.app.crash_report is None
    assert not [c for row in d.rows() for c in row if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")]


@pytest.mark.parametrize("size", [TINY, (1, 1), (20, 60), (300, 5)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_a_terminal_of_hardly_any_size(size: tuple[int, int]) -> None:
    async with open_app(ALPHA_A, ALPHA_B, size) as d:
        await d.press(*KEYS)
        for opened in ("question_mark", "f", "slash", "e", "number_sign"):
            await d.press(opened, "escape")
        await d.press("R")
        await d.until(lambda: d.app.screen is d.runs, "the runs")
        await d.press("exclamation_mark", "escape", "q")
        assert_alive(d)
        await d.pilot.resize_terminal(*SMALL)
        await d.press("n")
        assert d.role
        assert d.role.rpartition(".")[2][:8] in d.painted


async def test_a_storm_of_resizes() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        await d.press("n", "w")
        for i in range(24):
            await d.pilot.resize_terminal(20 + 37 * i % 180, 5 + 11 * i % 55)
            await d.send("j" if i % 2 else "k")
        await d.pilot.resize_terminal(*LARGE)
        await d.settle()
        assert_alive(d)
        await d.press("M")
        assert "largest: +139.67 %" in d.screen.hints.status
        assert len(d.rows()) == LARGE[1]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 10_000,
        "a." * 5_000 + "b",
        "\u05e9\u05dc\u05d5\u05dd.\u0645\u0631\u062d\u0628\u0627",
        "\u202e\u2066evil\u2069",
        "\u4e2d" * 3_000,
    ],
    ids=["10 KB", "10,000 dots", "right to left", "overrides", "wide"],
)
@pytest.mark.parametrize("size", [TINY, SMALL], ids=["20x5", "80x24"])
async def test_names_of_any_kind(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    for file, scale in (("a", 1.0), ("b", 2.0)):
        tensors: dict[str, Any] = {f"{name}.weight": np.zeros((2, 4), np.int8)}
        tensors[f"{name}.weight_scale"] = np.full(2, scale, np.float32)
        save_file(tensors, tmp_path / f"{file}.safetensors")
    async with open_app(tmp_path / "a.safetensors", tmp_path / "b.safetensors", size) as d:
        await d.press(*KEYS, "C", "Y")
        assert_alive(d)
        assert len(d.roles) == 1


async def test_sixty_thousand_rows(tmp_path: Path) -> None:
    n = 60_000
    for file, scale in (("a", 1.0), ("b", 2.0)):
        tensors = {f"layers.{i}.weight_scale": np.array([scale if i == n - 7 else 3.0], np.float32) for i in range(n)}
        save_file(tensors, tmp_path / f"{file}.safetensors")
    async with open_app(tmp_path / "a.safetensors", tmp_path / "b.safetensors", SMALL) as d:
        assert len(d.roles) == n
        await d.press("n")
        assert d.role == f"layers.{n - 7}.weight_scale"
        await d.press("slash", *"59999", "enter")
        assert len(d.roles) == 1
        assert_alive(d)


def test_a_tiny_terminal_that_answers_no_query_and_is_resized() -> None:
    """Nobody reads what the program asks the terminal."""
    t = Terminal([*PROGRAM, ALPHA_A, ALPHA_B], TINY, {})
    try:
        t.see("overview")
        for i in range(20):
            t.resize((20 + 9 * i, 5 + 2 * i))
            t.send("jk")
        t.resize(SMALL)
        t.see("percentile_alpha looks like")
        t.press("M", "largest: +139.67 %")
        t.send("q")
        assert t.leave() == 0
        t.assert_restored()
    finally:
        t.close()
