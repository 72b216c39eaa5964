"""An original and its quantized copy on the screen: what weights are stored as, bits, kinds of layers, segments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hybrid_files import exported, original
from pilots import ALPHA_A, ALPHA_B, LARGE, MIDDLE, SMALL, Driver, open_app

from qinspect.inspector.compare.measures import DIFFERENCE, STORED
from qinspect.inspector.compare.results import Status, StoredAs, WeightPair
from qinspect.tui.compare.stored_labels import StoredLabels

SIZES = [SMALL, MIDDLE, LARGE]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return original(tmp_path / "a"), exported(tmp_path / "b")


def row_of(d: Driver, start: str) -> str:
    return next(r for r in d.rows() if r.strip().startswith(start))


@pytest.mark.parametrize("size", SIZES)
async def test_the_map_opens_on_what_weights_are_stored_as(pair: tuple[Path, Path], size: tuple[int, int]) -> None:
    async with open_app(*pair, size=size, overview=True) as d:
        assert d.screen.overview.map.measure is STORED
        legend = row_of(d, "stored in B")
        found = re.findall(r"(?:\b([a-z]) )?(NVFP4|FP8|BF16) \d", legend)
        signs = {name: letter or name for letter, name in found}
        assert len(signs) == 3
        assert "in A BF16" in legend
        mamba, moe, attention = (row_of(d, start).split() for start in ("0 Mamba", "1 MoE", "2 attention"))
        assert sum(signs["FP8"] in word for word in mamba) == 2
        assert moe[2:] == [signs["NVFP4"]] * 2
        assert attention[2:] == [signs["BF16"]] * 3
        assert "A BF16   B FP8" in d.painted


async def test_the_measure_that_was_chosen_stays(pair: tuple[Path, Path]) -> None:
    async with open_app(*pair, overview=True) as d:
        await d.press("m", "m", "m", "m")  # past those of fidelity
        assert d.screen.overview.map.measure is DIFFERENCE
        d.screen.show_scales()
        assert d.screen.overview.map.measure is DIFFERENCE
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        assert d.screen.overview.map.measure is DIFFERENCE


@pytest.mark.parametrize("size", SIZES)
async def test_bits_stand_in_the_line_of_each_model(pair: tuple[Path, Path], size: tuple[int, int]) -> None:
    async with open_app(*pair, size=size) as d:
        bits = d.screen.session.bits_b
        assert bits is not None
        assert bits.whole.effective is not None
        a, b = d.rows()[:2]
        assert "16 bits per weight" in a
        assert f"{bits.whole.effective:.4g} bits per weight" in b


@pytest.mark.parametrize("size", SIZES)
async def test_the_tree_has_bits_and_kinds_where_there_is_room(pair: tuple[Path, Path], size: tuple[int, int]) -> None:
    async with open_app(*pair, size=size) as d:
        await d.press("z")
        mamba, attention = row_of(d, "▸ 0 Mamba"), row_of(d, "▸ 2 attention")
        assert re.search(r"16 > 8\.\d+ b", mamba)
        assert " 16 b" in attention
        assert ">" not in attention


async def test_of_one_model_the_tree_has_its_bits(pair: tuple[Path, Path]) -> None:
    async with open_app(pair[1]) as d:
        assert "bits per weight" in d.rows()[0]
        await d.press("z")
        assert re.search(r"entries, .*  4\.\d+ b", row_of(d, "▸ 1 MoE"))


async def test_the_rows_of_a_projection_are_named(pair: tuple[Path, Path]) -> None:
    async with open_app(*pair, size=LARGE, overview=True) as d:
        await d.press("enter")
        assert d.role == "layers.0.mixer.in_proj.weight"
        assert "z 0-127 (4 heads of 32), x 128-255" in d.detail
        d.screen.tree_pane.nodes.reveal("layers.0.mixer.conv1d.weight")
        d.screen.activate("tree")
        await d.settle()
        await d.until(lambda: "rows B 128-159 (2 groups of 16)" in d.detail, "the rows of conv1d")
        assert "another order" not in d.detail


def tensor(a: StoredAs, b: StoredAs) -> WeightPair:
    return WeightPair("x", "x", "x", Status.SCHEME, stored_a=a, stored_b=b)


BF16, FP8, INT4 = StoredAs("BF16", 16), StoredAs("FP8", 8), StoredAs("int4 g128", 4)


def test_labels_are_of_the_quantized_model_or_of_both() -> None:
    assert StoredLabels([tensor(BF16, FP8)]).of(tensor(BF16, FP8)) == "FP8"
    assert StoredLabels([tensor(INT4, BF16)]).of(tensor(INT4, BF16)) == "int4 g128"
    both = StoredLabels([tensor(INT4, FP8), tensor(BF16, BF16)])
    assert both.of(tensor(INT4, FP8)) == "int4 g128>FP8"
    assert both.of(tensor(BF16, BF16)) == "BF16"
    assert both.drawn(tensor(BF16, BF16), both.longest) == "BF16"
    assert both.drawn(tensor(BF16, BF16), 3) in ("a", "b")
    assert both.of(WeightPair("x", "x", None, Status.ONLY_A, stored_a=BF16)) == ""


def test_a_legend_says_every_letter_that_has_room() -> None:
    many = [tensor(BF16, StoredAs(f"Q{i}_K", 4)) for i in range(60)]
    labels = StoredLabels(many)
    drawn = {labels.drawn(t, 1) for t in many}
    assert len(drawn - {"?"}) == 52
    assert all(len(label) == 1 for label in drawn)
    assert len(labels.legend(1, 60, 2, "…")) == 2
    assert labels.legend(1, 60, 2, "…")[-1].endswith("…")
    assert all(len(line) <= 60 for line in labels.legend(1, 60, 2, "…"))
    assert StoredLabels([]).legend(5, 60, 2, "…") == []


async def test_an_exported_graph_beside_the_model(tmp_path: Path) -> None:
    """Weights that the file numbers stand where the model has them, and are looked at the way round that it has."""
    data = Path(__file__).parents[1] / "data" / "onnx_of_torch"
    async with open_app(data / "base.safetensors", data / "qdq.onnx", size=LARGE) as d:
        assert "ONNX QDQ" in d.rows()[1]
        d.screen.tree_pane.nodes.reveal("layers.0.k_proj.weight")
        d.screen.activate("tree")
        await d.settle()
        await d.until(lambda: "8-bit int8" in d.detail, "what the weight is")
        assert "with zero points [8, 16]" in d.detail
        assert row_of(d, "weight_scale")
        assert "key onnx::MatMul_142_quantized" in d.detail
