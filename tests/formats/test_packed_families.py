"""Rows of codes as families hand them over stand for what the families' own arithmetic makes of them, to the bit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compressed_files
import mlx_files
import modelopt_files
import numpy as np
import packed_weights
import pytest
import quanto_files
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_rows import by_numpy

from qinspect.inspector.formats import Format
from qinspect.inspector.formats.families.gguf.block_types import BLOCK_TYPES
from qinspect.inspector.formats.packed import PackedRows, levels_of
from qinspect.inspector.formats.stripes import Stripes
from qinspect.kernels.cpu import BODY_VARIABLE
from qinspect.kernels.matrix import compiled, values_of

PLANES = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}
Draw = Callable[[st.SearchStrategy[Any]], Any]


def gptq(draw: Draw, folder: Path) -> Format:
    bits, planar, shuffled = draw(st.sampled_from(range(2, 9))), draw(st.booleans()), draw(st.booleans())
    planar = bits in (5, 6, 7) or (planar and bits == 3)
    word_bits = 32 if planar or bits == 3 else draw(st.sampled_from([16, 32]))
    w = packed_weights.weight(
        bits, 32 * draw(st.integers(1, 3)), 32 * draw(st.integers(1, 5)), draw(st.sampled_from([32, 48, 64])),
        draw(st.integers(0, 99)), shuffled,
    )  # fmt: skip
    version = "gptq_v2" if planar or draw(st.booleans()) else "gptq"
    tensors = packed_weights.gptq(w, bits, version == "gptq", PLANES[bits] if planar else (), word_bits)
    said = {"quant_method": "gptq", "bits": bits, "group_size": -1, "desc_act": shuffled, "checkpoint_format": version}
    if planar:
        said["pack_dtype"], said["packing"] = "int32", "planar"
    return packed_weights.opened(folder, packed_weights.layer(tensors), said)


def awq(draw: Draw, folder: Path) -> Format:
    group = draw(st.sampled_from([32, 64]))
    w = packed_weights.weight(
        4, 8 * draw(st.integers(1, 5)), group * draw(st.integers(1, 3)), group, draw(st.integers(0, 9))
    )
    return packed_weights.opened(folder, packed_weights.layer(packed_weights.awq_gemm(w)), {"quant_method": "awq"})


def awq_gemv(draw: Draw, folder: Path) -> Format:
    w = packed_weights.weight(4, 32, 256, 128, draw(st.integers(0, 9)))
    said = {"quant_method": "awq", "group_size": 128}
    return packed_weights.opened(folder, packed_weights.layer(packed_weights.awq_gemv(w, 8)), said)


def modelopt(draw: Draw, folder: Path) -> Format:
    algorithm, make = draw(
        st.sampled_from([("W4A16_AWQ", modelopt_files.int4), ("NVFP4_AWQ", modelopt_files.nvfp4),
                         ("mxfp4", modelopt_files.mxfp4), ("MXFP8", modelopt_files.mxfp8)])
    )  # fmt: skip
    columns = 128 * draw(st.integers(1, 3))
    tensors, _ = make(2 * draw(st.integers(1, 9)), columns, draw(st.integers(0, 99)))
    if algorithm.endswith("AWQ"):
        tensors["pre_quant_scale"] = (torch.rand(columns) + 0.5).bfloat16()
    said = modelopt_files.config(algorithm, group_size=128)
    return modelopt_files.saved(folder, modelopt_files.named("model.layers.0.self_attn.q_proj", tensors), said)


def in_words(draw: Draw, folder: Path) -> Format:
    group = draw(st.sampled_from([16, 32, None]))
    columns = (group or 8) * draw(st.integers(1, 5))
    made = compressed_files.integers(
        draw(st.sampled_from(range(2, 9))), (draw(st.integers(1, 40)), columns), group, True,
        draw(st.sampled_from(["", "packed", "plain"])), bool(group) and draw(st.booleans()), draw(st.integers(0, 99)),
    )  # fmt: skip
    compressed_files.written(folder, compressed_files.of_module(made), compressed_files.settings(made))
    return compressed_files.opened(folder)


def in_pairs(draw: Draw, folder: Path) -> Format:
    shape = draw(st.integers(1, 20)), 32 * draw(st.integers(1, 5))
    made = compressed_files.fp4(draw(st.sampled_from(["nvfp4", "mxfp4"])), shape, draw(st.integers(0, 99)))
    compressed_files.written(folder, compressed_files.of_module(made), compressed_files.settings(made))
    return compressed_files.opened(folder)


def mlx(draw: Draw, folder: Path) -> Format:
    shape, seed = (draw(st.integers(1, 9)), 64 * draw(st.integers(1, 4))), draw(st.integers(0, 99))
    mode = draw(st.sampled_from(["affine", "mxfp4", "mxfp8", "nvfp4"]))
    if mode == "affine":
        bits = draw(st.sampled_from([2, 3, 4, 5, 6, 8]))
        made, said = mlx_files.affine(bits, shape, 32, seed), {"bits": bits, "group_size": 32}
    else:
        made = mlx_files.floats(mode, shape, seed, 3.0 if mode == "nvfp4" and draw(st.booleans()) else None)
        said = {"mode": mode}
    return mlx_files.opened(folder, mlx_files.of_module(made), said)


def quanto(draw: Draw, folder: Path) -> Format:
    rows, bits = draw(st.integers(1, 9)), draw(st.sampled_from([2, 4, 8]))
    if bits == 8:
        return quanto_files.opened(folder, {"m": quanto_files.bytes_of(shape=(rows, draw(st.integers(1, 40))))[0]})
    shape = rows, draw(st.sampled_from([7, 32, 150, 160, 256]))
    entries, _ = quanto_files.bits_of(bits, shape, draw(st.integers(0, 99)), draw(st.booleans()))
    said = {"m": {"weights": f"qint{bits}", "activations": "none"}}
    return quanto_files.opened(folder, {"m": entries}, said, {"m.bias": np.ones(rows, np.float16)})


MAKERS = [gptq, awq, awq_gemv, modelopt, in_words, in_pairs, mlx, quanto]


def same_bits(found: Any, expected: Any) -> bool:
    number = ~np.isnan(expected)
    return found.shape == expected.shape and bool(
        (np.isnan(found) == ~number).all() and (found.view(np.uint32) == expected.view(np.uint32))[number].all()
    )


def check(rows: PackedRows | None, expected: Any) -> None:
    assert rows is not None
    assert same_bits(by_numpy(rows), expected)
    if compiled():
        found = values_of(rows)
        assert found is not None
        assert same_bits(found, expected)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_rows_of_a_family(make: Callable[[Draw, Path], Format], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        fmt = make(data.draw, Path(folder))
        (weight,) = fmt.weights()
        start = data.draw(st.integers(0, weight.shape[0] - 1)) // weight.row_step * weight.row_step
        stop = data.draw(st.integers(start + 1, weight.shape[0]))
        rows, as_written = fmt.packed(weight, start, stop), fmt.dequantize(weight, start, stop)
        patch.setenv(BODY_VARIABLE, "numpy")
        expected = fmt.effective(weight, start, stop)
        patch.delenv(BODY_VARIABLE)
        check(rows, expected)
        patch.setenv(BODY_VARIABLE, "numpy")
        assert same_bits(as_written, fmt.dequantize(weight, start, stop))


@pytest.mark.parametrize("name", [name for name, kind in BLOCK_TYPES.items() if kind.packing])
@settings(max_examples=25, deadline=None)
@given(n_rows=st.integers(1, 4), n_blocks=st.integers(1, 5), seed=st.integers(0, 99))
def test_rows_of_blocks(name: str, n_rows: int, n_blocks: int, seed: int) -> None:
    kind = BLOCK_TYPES[name]
    assert kind.packing is not None
    assert kind.packing.sound
    stored = np.random.default_rng(seed).integers(0, 256, (n_rows, n_blocks * kind.packing.block_bytes), np.uint8)
    blocks = stored.reshape(-1, kind.packing.block_bytes)
    with np.errstate(all="ignore"):
        expected = kind.dequantize(blocks).reshape(n_rows, -1)
        scales = (kind.of_levels or kind.scales)(blocks).reshape(n_rows, -1)
        minima = None if kind.minima is None else kind.minima(blocks).reshape(n_rows, -1)
    levels = levels_of(kind.element) if kind.levels is None else kind.levels
    check(PackedRows(stored, expected.shape[1], kind.packing, levels, scales, kind.group, None, minima), expected)


@given(
    n_columns=st.integers(1, 9), n_rows=st.integers(1, 40), stripe=st.sampled_from([1, 40, 100, 10_000]),
    held=st.sampled_from([0, 500, 10_000]), asked=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))),
)  # fmt: skip
def test_stripes_are_the_rows_of_the_transposed(
    n_columns: int, n_rows: int, stripe: int, held: int, asked: list[tuple[int, int]]
) -> None:
    matrix = torch.arange(n_columns * n_rows, dtype=torch.int32).reshape(n_columns, n_rows)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        from safetensors.torch import save_file

        from qinspect.inspector.checkpoint import open_checkpoint

        save_file({"m": matrix}, Path(folder) / "model.safetensors")
        tensor = open_checkpoint(folder).tensor("m")
        assert tensor is not None
        patch.setattr("qinspect.inspector.formats.stripes.STRIPE_BYTES", stripe)
        patch.setattr("qinspect.inspector.formats.stripes.HELD_BYTES", held)
        stripes = Stripes()
        for a, b in asked:
            start, stop = sorted((min(a, n_rows), min(b, n_rows)))
            found = stripes.rows(tensor, start, stop)
            assert found.flags.c_contiguous
            assert np.array_equal(found, matrix.numpy().T[start:stop])
