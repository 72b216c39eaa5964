"""Bits per weight, against sums by hand over what was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peer_truth import needs_fixtures, opened
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import Tensor, open_checkpoint
from qinspect.inspector.contents.tree import build_tree
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.bits import Bits, WeightBits, left_out, model_bits
from qinspect.inspector.formats.counts import parameter_counts

DATA = Path(__file__).parents[1] / "data"


def of_tensors(place: Path, **tensors: NDArray[Any]) -> Format:
    save_file(tensors, place / "model.safetensors")
    return format_of(open_checkpoint(place / "model.safetensors"))


def bits_of_tree(fmt: Format) -> float | None:
    return build_tree(fmt.checkpoint.entries.values(), parameter_counts(fmt), left_out(fmt)).bits_per_weight


def test_full_precision_has_the_bits_of_its_dtypes(tmp_path: Path) -> None:
    fmt = of_tensors(tmp_path, a=np.zeros((4, 8), np.float16), b=np.zeros(32, np.float32))
    assert model_bits(fmt) == Bits((32 * 16 + 32 * 32) / 64)


def test_a_scale_of_an_activation_counts_nowhere(tmp_path: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {"l.weight": np.zeros((4, 8), np.float16), "l.input_scale": np.ones(1000)}
    fmt = of_tensors(tmp_path, **tensors)
    assert model_bits(fmt).effective == bits_of_tree(fmt) == 16


def test_codes_of_unknown_shape_make_it_unknown(tmp_path: Path) -> None:
    packed: NDArray[Any] = np.zeros((4, 8), np.int32)
    plain: NDArray[Any] = np.zeros(4, np.float32)
    fmt = of_tensors(tmp_path, **{"l.weight_packed": packed, "n.weight": plain})
    assert model_bits(fmt).effective is None
    assert bits_of_tree(fmt) is None
    assert model_bits(fmt).sentence == "bits per weight not known"


def test_tied_weights_count_once(tmp_path: Path) -> None:
    shared = torch.zeros(64, 8)
    torch.save(
        {"embed.weight": shared, "head.weight": shared, "n.weight": torch.zeros(8, dtype=torch.half)}, tmp_path / "m.pt"
    )
    fmt = format_of(open_checkpoint(tmp_path / "m.pt"))
    assert model_bits(fmt).effective == bits_of_tree(fmt) == (64 * 8 * 32 + 8 * 16) / (64 * 8 + 8)


def test_nothing_has_no_bits(tmp_path: Path) -> None:
    assert model_bits(of_tensors(tmp_path, a=np.zeros((0, 8), np.float16))).effective is None


@pytest.mark.parametrize(
    "place", sorted(p.parent for p in (DATA / "quamba").glob("*/*/config.json")), ids=lambda p: p.parent.name
)
def test_model_and_tree_say_the_same(place: Path) -> None:
    fmt = format_of(open_checkpoint(place))
    found = model_bits(fmt)
    assert found.effective == bits_of_tree(fmt)
    assert found.effective is not None
    assert found.declared in ((4.0,), (8.0,))
    assert str(int(found.declared[0])) == fmt.description.partition("W")[2][0]


@pytest.mark.parametrize(
    "place", sorted(p.parent for p in DATA.glob("*/**/config.json")), ids=lambda p: str(p.relative_to(DATA))
)
def test_every_module_and_tensor_has_the_bits_of_the_tree(place: Path) -> None:
    fmt = format_of(open_checkpoint(place))
    bits = WeightBits(fmt)
    root = build_tree(fmt.checkpoint.entries.values(), parameter_counts(fmt), left_out(fmt))
    assert bits.whole == model_bits(fmt)
    for node in root.walk():
        if node.is_leaf and isinstance(node.entry, Tensor):
            assert bits.of_tensor(node.entry) == node.bits_per_weight, node.path
        elif not node.is_leaf and node.path == fmt.place_of(f"{node.path}.x")[:-2]:
            assert bits.of_module(node.path) == node.bits_per_weight, node.path


@needs_fixtures
@pytest.mark.parametrize("name", ["base_llama", "base_mamba2", "base_mixtral"])
def test_originals_of_other_libraries(name: str) -> None:
    fmt = opened(name, ".")
    assert model_bits(fmt).effective == bits_of_tree(fmt) == 16
