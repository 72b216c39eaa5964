"""Badges of the tree's leaves: what a comparison found of one entry, in a word or a sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pilots import ALPHA_A, ALPHA_B, GROUPED, PERMUTED, Driver, open_app

from qinspect.inspector.compare.paired_tree import PairedNode
from qinspect.inspector.compare.results import CopyProblem, Status, WeightPair
from qinspect.tui.compare.tree import _found
from qinspect.tui.glyphs import ASCII, Glyphs

if TYPE_CHECKING:
    from conftest import Plain

FOUR_BITS = "m1_w4a8/quamba-small-w4a8"


async def badges(d: Driver) -> dict[str, str]:
    """Path to badge, of every node."""
    for _ in range(6):
        await d.press("plus")
    tree = d.screen.tree_pane.nodes
    return {row.node.path: tree.line(i, 60)[-1][0] for i, row in enumerate(tree.rows)}


async def test_a_leaf_says_what_was_found_of_it() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        found = await badges(d)
        layer = "layers.0.mixer"
        assert found[f"{layer}.conv1d.output_scale"] == "≠ +103.53 %"
        assert found[f"{layer}.selective_scan.ssm_state_scale"] == "≠ +139.67 %"
        assert found[f"{layer}.x_proj.alpha"] == "≠"  # a copy: by how much it differs is not known
        assert found[f"{layer}.x_proj"] == "≠ copies"
        assert found[f"{layer}.in_proj.weight"] == found["embedding.weight"] == "="
        assert all(text for path, text in found.items() if path.startswith(layer))


async def test_other_shapes_and_schemes_are_said_and_counted_above() -> None:
    async with open_app(ALPHA_A, FOUR_BITS) as d:
        found = await badges(d)
        assert found["embedding.weight"] == "≁ shape"
        assert found["embedding"] == "≁1"
        assert found["layers.0.mixer.in_proj.weight"] == "≁ shape"
        assert found["layers.0.mixer.in_proj.s_channel"] == "≁ scheme"
        assert found["layers.0.mixer.in_proj.workspace"] == "only B"
        assert found["layers.0.mixer.in_proj.alpha"] == "only A"
        assert found["layers.1"] == found["layers.1.mixer.in_proj.weight"] == "only A"


async def test_another_order_is_said() -> None:
    async with open_app(GROUPED, PERMUTED) as d:
        assert "≁ order" in (await badges(d)).values()


async def test_values_of_a_weight_that_differ(plain: Plain) -> None:
    x = np.arange(100, dtype=np.float32)
    y = x.copy()
    y[:7] += 1
    a, b = plain("a.safetensors", {"m.w": x, "m.v": x}), plain("b.safetensors", {"m.w": y, "m.v": x, "n.u": x})
    async with open_app(a, b) as d:
        found = await badges(d)
        assert (found["m.w"], found["m.v"], found["n.u"]) == ("≠ 7.00 % values", "=", "only B")
        assert found["m"] == "≠1 tensors"
        assert found["n"] == "only B"


async def test_one_model_has_no_badges() -> None:
    async with open_app(ALPHA_A) as d:
        assert set((await badges(d)).values()) == {""}


@pytest.mark.parametrize("g", [Glyphs(), ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.IDENTICAL, Status.EQUAL)])
def test_every_status_has_a_badge_of_its_own(status: Status, g: Glyphs) -> None:
    text, _ = _found(WeightPair("r", "w", "w", status, 10, 1, True), PairedNode("w", "w", None), g)
    assert len(text) <= 16
    assert bool(text) == (status is not Status.NOT_COMPARED)
    assert text.isascii() or g is not ASCII
    assert _found(CopyProblem("A", "r", "w", "c", "the same", 1.0, 2.0), PairedNode("c", "c", None), g)[0].endswith(
        "copy"
    )
