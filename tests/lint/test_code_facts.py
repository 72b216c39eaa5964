"""The pass over codes: what it counts is what is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from broken_codes import DATA, FP8, GPTQ, INT4, MODELOPT, fp8, gptq, int4, model, normal, nvfp4, opened
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.formats.element import small_float
from qinspect.inspector.lint.code_facts import _by_code, read_codes
from qinspect.inspector.lint.code_piece import _all_equal, _runs_of_zero, _together
from qinspect.inspector.lint.code_reference import clip_of_ends, group_of, usual_ends
from qinspect.inspector.values.statistics import count_codes
from qinspect.kernels.counts import signed_counts

FOLDERS = sorted(p.parent for p in DATA.glob("*/model/config.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.parent.name)
def test_counts_are_those_of_the_codes_one_by_one(folder: Path) -> None:
    fmt = opened(folder)
    table = read_codes(fmt)
    assert len(table.facts) + table.n_left == len(fmt.weights())
    for facts in table.facts:
        expected = count_codes([np.asarray(fmt.codes(facts.weight))], facts.weight.element)
        assert facts.counts.tolist() == list(expected.values()), facts.weight.name


def test_there_are_such_folders() -> None:
    assert len(FOLDERS) >= 8


@given(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8]), st.lists(st.integers(0, 255), min_size=1, max_size=300))
def test_codes_of_any_width_and_number(bits: int, numbers: list[int]) -> None:
    codes = np.array(numbers, np.uint8) & np.uint8((1 << bits) - 1)
    per_byte = 8 // bits if bits in (1, 2, 4, 8) else 1
    data = _together(codes, bits, per_byte)
    odd = np.zeros(256, np.int64)
    if data.size % 2:
        odd[data[-1]] = 1
    found = _by_code(signed_counts(data[: data.size // 2 * 2].view(np.uint16)), odd, bits, per_byte)
    found[0] -= data.size * per_byte - codes.size
    assert found.tolist() == np.bincount(codes, minlength=1 << bits).tolist()


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 40), st.data())
def test_cells_of_zeros(rows: int, cells: int, width: int, data: st.DataObject) -> None:
    """Both ways of looking find what a look at each finds."""
    drawn = data.draw(
        st.lists(st.sampled_from([0, 0, 0, 0x80, 7]), min_size=rows * cells * width, max_size=rows * cells * width)
    )
    codes = np.array(drawn, np.uint8).reshape(rows, cells, width)
    expected = (codes & 0x7F == 0).all(axis=2)
    assert (_all_equal(codes, 0x7F, 0) == expected).all()
    zeros = np.isin(np.arange(256), [0, 0x80])
    starts = np.arange(0, cells * width, width)
    assert (_runs_of_zero(codes.reshape(rows, -1), zeros, None, starts) == expected).all()
    wanted = codes[:, :, 0]
    same = (codes == wanted[:, :, None]).all(axis=2)
    assert (_all_equal(codes, 0xFF, wanted) == same).all()
    assert (_runs_of_zero(codes.reshape(rows, -1), zeros, wanted, starts) == same).all()


def test_groups_of_zeros_and_what_their_scales_say(tmp_path: Path) -> None:
    """Scales of blocks of zeros are 0 here: then there is nothing to speak of."""

    def with_zeros(weight: torch.Tensor) -> dict[str, torch.Tensor]:
        weight = weight.clone()
        weight[3, :128] = 0
        weight[60, 128:] = 0
        return nvfp4(weight)

    for facts in read_codes(opened(model(tmp_path, with_zeros, MODELOPT, 1))).facts:
        assert facts.groups is not None
        assert (facts.groups.n, facts.groups.n_of_zeros, facts.groups.n_zero) == (64 * 16, 16, 0)


def test_a_tile_is_zero_where_all_its_rows_are(tmp_path: Path) -> None:
    def one_tile(weight: torch.Tensor) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = fp8(weight)
        made["weight"].view(torch.uint8)[:, 64:128] = 0x80  # minus zero
        made["weight"].view(torch.uint8)[:63, 128:192] = 0  # all rows but one
        return made

    (facts, _) = read_codes(opened(model(tmp_path, one_tile, FP8, 1))).facts
    assert facts.groups is not None
    assert (facts.groups.n, facts.groups.n_of_zeros, facts.groups.first) == (4, 1, (0, 1))


def test_zero_points_say_what_zero_is(tmp_path: Path) -> None:
    def one_group(tensors: dict[str, torch.Tensor]) -> None:
        packed = tensors["model.layers.0.mlp.up_proj.qweight"]
        zeros = (int(tensors["model.layers.0.mlp.up_proj.qzeros"][1, 0]) & 15) + 1  # of output 0, group 1
        word = sum(zeros << 4 * i for i in range(8))
        packed[16:32, 0] = word - (1 << 32) if word >= 1 << 31 else word

    facts = read_codes(opened(model(tmp_path, gptq, GPTQ, 1, one_group))).facts[0]
    assert facts.groups is not None
    assert (facts.groups.n_of_zeros, facts.groups.n_zero, facts.groups.first) == (1, 1, (0, 1))


def test_what_cannot_be_read_is_left_with_its_reason(tmp_path: Path) -> None:
    folder = model(tmp_path, nvfp4, MODELOPT, 2)
    fmt = opened(folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    table = read_codes(fmt)
    assert table.n_left == 4
    assert str(file) in table.why_left


def test_progress_ends_at_all_and_may_stop_the_work(tmp_path: Path) -> None:
    fmt = opened(model(tmp_path, nvfp4, MODELOPT, 3))
    seen: list[tuple[int, int]] = []
    read_codes(fmt, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6 * 64 * 256, 6 * 64 * 256)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_codes(fmt, stop)


def test_the_reference_is_what_quantizing_normal_numbers_gives(tmp_path: Path) -> None:
    for clip in (1.0, 0.5):
        made = nvfp4(normal(3, 512, 512), clip)
        codes = torch.cat((made["weight"] & 15, made["weight"] >> 4))
        share = float(((codes & 7) == 7).float().mean())
        assert usual_ends(small_float("float4_e2m1fn"), 16, clip) == pytest.approx(share, rel=0.06)
    assert clip_of_ends(small_float("float4_e2m1fn"), 16, share) == pytest.approx(0.5, abs=0.05)


def test_elements_of_a_group(tmp_path: Path) -> None:
    sizes = {
        "nvfp4": (nvfp4, MODELOPT, 16),
        "int4": (int4, INT4, 128),
        "fp8": (fp8, FP8, 64 * 64),
    }
    for name, (make, config, size) in sizes.items():
        assert {group_of(w) for w in opened(model(tmp_path / name, make, config, 1)).weights()} == {size}
