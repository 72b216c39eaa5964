"""Every method by construction, and for each what is nearly that and is called otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from qinspect.inspector.formats.element import Element, integer, small_float, unsigned
from qinspect.inspector.method.evidence import Evidence, Sample, measure
from qinspect.inspector.method.judge import Method, judge
from qinspect.inspector.method.layout import Layout
from qinspect.inspector.method.twice import first_in_blocks, first_quantizations

ROWS, COLUMNS, GROUP = 64, 256, 32
INT4 = integer(4)
FP4 = small_float("float4_e2m1fn")
FP4_LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
RNG = np.random.default_rng(7)
ORIGINAL = RNG.standard_normal((ROWS, COLUMNS)) * 0.02
FACTORS = np.exp(RNG.standard_normal(COLUMNS) * 0.2)


@dataclass
class Stored:
    """What a quantizer leaves: codes and values of [rows, columns]."""

    codes: np.ndarray
    values: np.ndarray
    element: Element
    through_zero: bool = True


def groups(x: np.ndarray) -> np.ndarray:
    return x.reshape(ROWS, -1, GROUP)


def amax(x: np.ndarray) -> np.ndarray:
    """Of each group, [rows, groups, 1]."""
    return np.asarray(np.abs(groups(x)).max(axis=2, keepdims=True))


def int4(x: np.ndarray, scale: np.ndarray, moved: float | np.ndarray = 0.0) -> Stored:
    """Rounded to nearest at a scale of each group, after codes were moved by a part of a step."""
    scale = scale.astype(np.float16).astype(np.float64)
    codes = np.clip(np.round(groups(x) / scale + moved), -8, 7)
    return Stored(codes.reshape(x.shape).astype(int), (codes * scale).reshape(x.shape), INT4)


def fp4(x: np.ndarray, largest_at: np.ndarray | float) -> Stored:
    scale = amax(x) / largest_at
    codes = np.abs(groups(x)[..., None] / scale[..., None] - FP4_LEVELS).argmin(axis=-1)
    return Stored(codes.reshape(x.shape), (FP4_LEVELS[codes] * scale).reshape(x.shape), FP4)


def asymmetric(x: np.ndarray, zero_off: float | np.ndarray = 0.0, whole: bool = False) -> Stored:
    """uint4 with a zero point of each group that need not be whole."""
    low, high = groups(x).min(axis=2, keepdims=True), groups(x).max(axis=2, keepdims=True)
    scale = (high - low) / 15
    zero = -low / scale + zero_off
    zero = np.round(zero) if whole else zero
    codes = np.clip(np.round(groups(x) / scale + zero), 0, 15)
    return Stored(
        codes.reshape(x.shape).astype(int), ((codes - zero) * scale).reshape(x.shape), unsigned(4), through_zero=False
    )


def gptq(x: np.ndarray) -> Stored:
    """Column by column, the error of each spread over what is left, by the inverse of a Hessian of random inputs."""
    inputs = RNG.standard_normal((4 * COLUMNS, COLUMNS)) @ (
        np.eye(COLUMNS) + 0.3 * RNG.standard_normal((COLUMNS, COLUMNS)) / 8
    )
    hessian = inputs.T @ inputs
    hessian += np.eye(COLUMNS) * 0.01 * np.diag(hessian).mean()
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    scale = np.repeat((amax(x) / 7).squeeze(2).astype(np.float16).astype(np.float64), GROUP, axis=1)
    left, codes = x.copy(), np.zeros(x.shape)
    for j in range(COLUMNS):
        codes[:, j] = np.clip(np.round(left[:, j] / scale[:, j]), -8, 7)
        error = (left[:, j] - codes[:, j] * scale[:, j]) / upper[j, j]
        left[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    return Stored(codes.astype(int), codes * scale, INT4)


def in_nvfp4(x: np.ndarray) -> np.ndarray:
    parts = x.reshape(ROWS, -1, 16)
    outer = np.abs(x).max() / (448 * 6)
    import ml_dtypes

    inner = (np.abs(parts).max(axis=2, keepdims=True) / 6 / outer).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    scale = inner * outer
    codes = np.abs(parts[..., None] / scale[..., None] - FP4_LEVELS).argmin(axis=-1)
    return np.asarray((FP4_LEVELS[codes] * scale).reshape(x.shape))


def int8(x: np.ndarray) -> Stored:
    scale = np.abs(x).max(axis=1, keepdims=True) / 127
    codes = np.round(x / scale)
    return Stored(codes.astype(int), codes * scale, integer(8))


def seen(stored: Stored, group: int | None = GROUP) -> Evidence:
    found = measure(
        Sample(
            ORIGINAL, stored.codes, stored.values, stored.element, Layout(1, group), "float16", ROWS,
            through_zero=stored.through_zero, largest=lambda: float(np.abs(ORIGINAL).max()),
        )
    )  # fmt: skip
    assert found is not None
    return found


HALVES = RNG.uniform(-0.5, 0.5, (ROWS, COLUMNS // GROUP, GROUP))
SHARED = np.maximum(amax(ORIGINAL), amax(ORIGINAL).max(axis=1, keepdims=True)) / 7
FOUR_OR_SIX = np.where(RNG.random((ROWS, COLUMNS // GROUP, 1)) < 0.4, 4.0, 6.0)
CASES: dict[Method, tuple[Callable[[], Evidence], Callable[[], Evidence]]] = {
    Method.NEAREST: (
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7)),
        lambda: seen(int4(ORIGINAL, 0.9 * amax(ORIGINAL) / 7)),
    ),
    Method.SEARCHED: (
        lambda: seen(int4(ORIGINAL, RNG.uniform(0.7, 1.0, FOUR_OR_SIX.shape) * amax(ORIGINAL) / 7)),
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7.5)),
    ),
    Method.LARGER: (
        lambda: seen(int4(ORIGINAL, SHARED)),
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 8)),
    ),
    Method.FOUR_OVER_SIX: (lambda: seen(fp4(ORIGINAL, FOUR_OR_SIX)), lambda: seen(fp4(ORIGINAL, 6.0))),
    Method.FITTED_ZEROS: (lambda: seen(asymmetric(ORIGINAL, 0.3)), lambda: seen(asymmetric(ORIGINAL, whole=True))),
    Method.SMOOTHED: (
        lambda: seen(int4(ORIGINAL * FACTORS, amax(ORIGINAL * FACTORS) / 7)),
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7, HALVES)),
    ),
    Method.ERROR_FEEDBACK: (
        lambda: seen(gptq(ORIGINAL)),
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7, HALVES)),
    ),
    Method.LEARNED: (
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7, HALVES)),
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7, 0.01 * HALVES)),
    ),
    Method.TWICE: (lambda: seen(int8(in_nvfp4(ORIGINAL)), None), lambda: seen(int8(ORIGINAL), None)),
    Method.NONE: (
        lambda: seen(int4(ORIGINAL + 0.012 * RNG.standard_normal(ORIGINAL.shape), amax(ORIGINAL) / 7)),
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7, HALVES)),
    ),
    Method.UNRELATED: (
        lambda: seen(int4(RNG.permutation(ORIGINAL), amax(ORIGINAL) / 7)),
        lambda: seen(int4(ORIGINAL, amax(ORIGINAL) / 7)),
    ),
}


@pytest.mark.parametrize("method", CASES, ids=lambda m: m.name.lower())
def test_a_method_and_what_is_nearly_that(method: Method) -> None:
    made, near = CASES[method]
    assert judge(made()).method is method
    assert judge(near()).method is not method


WIDE = RNG.standard_normal((256, 256)) * 0.02
FIRST = {**dict(first_quantizations(float(np.abs(WIDE).max()))), **dict(first_in_blocks(0.0))}


@pytest.mark.parametrize("name", FIRST)
def test_the_first_of_two_quantizations_is_named(name: str) -> None:
    """As fine as int8 with a scale a row in groups of 16: so that only the first one loses much."""
    left = FIRST[name](WIDE)
    scale = np.abs(left).reshape(256, -1, 16).max(axis=2, keepdims=True) / 127
    codes = np.round(left.reshape(256, -1, 16) / np.where(scale > 0, scale, 1))
    for original, wanted in ((WIDE, name), (WIDE * (1 + 0.2 * RNG.standard_normal(WIDE.shape)), "")):
        found = measure(
            Sample(
                original, codes.reshape(WIDE.shape).astype(int), (codes * scale).reshape(WIDE.shape), integer(8),
                Layout(1, 16), "float32", 256, aligned=True, largest=lambda: float(np.abs(WIDE).max()),
            )
        )  # fmt: skip
        assert found is not None
        assert found.twice == wanted


def test_factors_are_found() -> None:
    found = seen(int4(ORIGINAL * FACTORS, amax(ORIGINAL * FACTORS) / 7))
    assert found.factors is not None
    assert found.factors.rows is None
    assert float(np.abs(found.factors.columns / FACTORS - 1).max()) < 0.02
    assert found.scales_by_factor is not None
    assert (
        found.scales_by_factor.at_rule.value > 0.8
    )  # a factor is known to a part of a step, and so is the largest value


def test_factors_of_outputs_too() -> None:
    outputs = np.exp(np.random.default_rng(3).standard_normal(ROWS) * 0.2)[:, None]
    moved = ORIGINAL * FACTORS * outputs
    found = seen(int4(moved, amax(moved) / 7))
    assert judge(found).method is Method.SMOOTHED
    assert found.factors is not None
    assert found.factors.rows is not None
    ratio = found.factors.of(ORIGINAL) / moved
    assert float(np.abs(ratio - 1).max()) < 0.08


def test_values_that_are_none_are_not_counted() -> None:
    stored = int4(ORIGINAL, amax(ORIGINAL) / 7)
    original = ORIGINAL.copy()
    original[3, 5] = np.nan
    stored.codes[7, :GROUP] = 0  # a group whose step nothing shows
    stored.values[7, :GROUP] = 0.0
    found = measure(Sample(original, stored.codes, stored.values, INT4, Layout(1, GROUP), "float16", ROWS))
    assert found is not None
    assert found.n == ROWS * COLUMNS - 1 - GROUP
    assert judge(found).method is Method.NEAREST


def test_nothing_shows_a_step() -> None:
    zeros = np.zeros((ROWS, COLUMNS))
    assert measure(Sample(ORIGINAL, zeros.astype(int), zeros, INT4, Layout(1, GROUP), "float16", ROWS)) is None
