"""Round to nearest, against torch's own arithmetic and an unpacker that shares nothing with ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qinspect.inspector.calibrate.rounding import WeightScheme, pack_nibbles, quantize_rows
from qinspect.inspector.formats.packing import signed, unpack

codes_of_4_bits = hnp.arrays(np.int8, st.tuples(st.integers(0, 5), st.integers(0, 9)), elements=st.integers(-8, 7))
finite = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.integers(0, 9)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)
schemes = st.one_of(st.just(WeightScheme(8)), st.builds(WeightScheme, st.just(4), st.integers(1, 12)))


def weights(n_out: int, n_in: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n_out, n_in, generator=generator) * 0.05).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_eight_bits_are_torchs_own_per_channel_rounding(dtype: torch.dtype) -> None:
    w = weights(64, 300, dtype)
    codes, scales = quantize_rows(w.numpy(), WeightScheme(8))
    s = w.float().abs().amax(1) / 127
    assert np.array_equal(scales[:, 0], s.numpy())
    assert np.array_equal(codes, torch.round(w.float() / s[:, None]).to(torch.int8).numpy())
    # torch multiplies by the reciprocal, which takes a value on the edge of two codes to the other one
    fake = torch.fake_quantize_per_channel_affine(w.float(), s, torch.zeros(64, dtype=torch.int32), 0, -127, 127)
    ours = codes.astype(np.float32) * scales
    other = ours != fake.numpy()
    assert other.mean() < 1e-3
    edge = np.abs(w.float().numpy() / scales)[other] % 1
    assert np.allclose(edge, 0.5, atol=1e-4)


def test_four_bits_are_torchs_rounding_of_each_group() -> None:
    w = weights(16, 300)
    codes, scales = quantize_rows(w.numpy(), WeightScheme(4))
    assert scales.shape == (16, 3)
    for g, part in enumerate(torch.split(w, 128, 1)):
        s = part.abs().amax(1, keepdim=True) / 7
        assert np.array_equal(scales[:, g : g + 1], s.numpy())
        assert np.array_equal(codes[:, 128 * g : 128 * g + 128], torch.round(part / s).to(torch.int8).numpy())


def test_halves_go_to_the_even_code() -> None:
    codes, scales = quantize_rows(np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]], np.float32), WeightScheme(8))
    assert scales.tolist() == [[1.0]]
    assert codes.tolist() == [[127, 0, 2, 2, 0, -2, -2]]


@pytest.mark.parametrize("largest", [0.0, 1e-45, 8e-45])
def test_a_channel_of_nothing_has_the_scale_1(largest: float) -> None:
    codes, scales = quantize_rows(np.array([[0, largest], [1, -2]], np.float32), WeightScheme(8))
    assert scales[0].tolist() == [1.0]
    assert codes.tolist() == [[0, 0], [64, -127]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_has_no_codes(value: float) -> None:
    with pytest.raises(ValueError, match="not all of the values are finite"):
        quantize_rows(np.array([[1.0, value]]), WeightScheme(8))


@given(finite, schemes)
def test_codes_stay_in_range_and_within_half_a_step(w: np.ndarray, scheme: WeightScheme) -> None:
    codes, scales = quantize_rows(w, scheme)
    assert scales.shape == (w.shape[0], scheme.n_groups(w.shape[1]))
    assert (scales > 0).all()
    assert (np.abs(codes.astype(int)) <= scheme.q_max).all()
    of_each = np.repeat(scales, scheme.group_size if scheme.bits == 4 else w.shape[1], axis=1)[:, : w.shape[1]]
    error = np.abs(w.astype(float) - codes * of_each.astype(float))
    # a subnormal scale has few bits of its own: then the largest value is clipped by up to its rounding
    room = 0.5 * of_each.astype(float) * (1 + 1e-6) + scheme.q_max * 1e-45
    assert (error <= room).all()


@given(codes_of_4_bits)
def test_nibbles_unpack_to_what_was_packed(codes: np.ndarray) -> None:
    packed = pack_nibbles(codes)
    assert packed.dtype == np.uint8
    assert packed.shape == (codes.shape[0], (codes.shape[1] + 1) // 2)
    assert np.array_equal(signed(unpack(packed, 4, codes.shape[1]), 4), codes)
    for r, row in enumerate(codes.tolist()):
        nibbles = [int(digit, 16) for byte in packed[r].tobytes() for digit in reversed(f"{byte:02x}")]
        assert [n - 16 if n > 7 else n for n in nibbles] == row + [0] * (len(row) % 2)


def test_the_layout_of_a_byte() -> None:
    assert pack_nibbles(np.array([[1, -1, 7]], np.int8)).tolist() == [[0xF1, 0x07]]


@pytest.mark.parametrize("arguments", [(2,), (16,), (4, 0)])
def test_other_schemes_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="weights have 8 bits"):
        WeightScheme(*arguments)  # type: ignore[arg-type]
