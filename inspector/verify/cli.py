"""`qinspect verify`. docs/cli.md is its contract, docs/distributions.md says what the numbers mean."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.errors import UsageError
from qinspect.inspector.observers import RULES
from qinspect.inspector.observers.registry import TORCH_LIMIT
from qinspect.inspector.printing import PIPE_WIDTH, print_json, print_text, terminal_width, with_meter, write_safe
from qinspect.inspector.progress import steps_of
from qinspect.inspector.verify import report
from qinspect.inspector.verify.activations import (
    EXACT_VALUES,
    SYNTHETIC_SAMPLES,
    Activations,
    Count,
    count_on_cpu,
    synthetic,
)
from qinspect.inspector.verify.checks import (
    average_clips,
    counted_as_sorted,
    finite,
    monotone,
    whole_range,
    worked_example,
)
from qinspect.inspector.verify.report import Verification
from qinspect.inspector.verify.saved import read_saved, tensors_of
from qinspect.inspector.verify.sweep import VERIFIED, Yardstick, rank_for, rule_of, sweep

ALPHAS = (0.99, 0.999, 0.9995, 0.9999, 0.99999, 1.0)
MAX_SYNTHETIC_SAMPLES = 4096
DType = Literal["float16", "bfloat16", "float32"]


def verify(
    file: Annotated[
        str | None, Parameter(help="A saved activation: .npy, .safetensors, .pt (default: synthetic).")
    ] = None,
    /,
    *,
    alpha: Annotated[
        list[str] | None,
        Parameter(
            name="--alpha",
            negative="",
            help=f"Quantiles, 0 to 1, with commas (default: {', '.join(map(str, ALPHAS))}).",
        ),
    ] = None,
    bits: Annotated[int, Parameter(help="Bits of a code, 2 to 16.")] = 8,
    inliers: Annotated[float, Parameter(help="Values up to this quantile of all are inliers.")] = 0.99,
    key: Annotated[str | None, Parameter(help="The tensor of FILE, or a pattern: each match is a sample.")] = None,
    one_sample: Annotated[
        bool, Parameter(name="--one-sample", negative="", help="All values of FILE are one sample (default: axis 0).")
    ] = False,
    samples: Annotated[int | None, Parameter(help=f"Synthetic samples (default: {SYNTHETIC_SAMPLES}).")] = None,
    seed: Annotated[int | None, Parameter(help="Seed of synthetic samples (default: 0).")] = None,
    dtype: Annotated[
        DType | None, Parameter(help="Dtype of synthetic samples (default: float16), or of raw 16-bit values in FILE.")
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], Parameter(help="Where values are counted.")] = "cpu",
    plot: Annotated[
        bool | None,
        Parameter(name="--plot", negative="--no-plot", help="Draw the distribution (default: on a terminal)."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check an observer on known or saved activations: quantile, scale, clipped share and error at each alpha.

    Exit code 0: all checks passed, 1: one failed, 2: error.
    """
    alphas = _alphas(alpha)
    if not 2 <= bits <= 16:
        raise UsageError("--bits must be from 2 to 16", found=str(bits))
    if not 0 <= inliers <= 1:
        raise UsageError("--inliers must be a fraction from 0 to 1", found=str(inliers))
    if as_json and plot:
        raise UsageError("--json and --plot exclude each other", cure="Give one of them.")
    _refuse_misplaced(file, samples=samples, seed=seed, key=key, one_sample=one_sample or None)
    if file is None:
        found, count, where = _synthetic(samples, seed, dtype, device)
    else:
        found, count, where = _saved(file, key, one_sample, dtype, device)
    done = _verification(found, count, where, alphas, bits, inliers, with_example=file is None)
    if as_json:
        print_json(report.payload(done))
    else:
        width = terminal_width()
        wanted = width is not None if plot is None else plot
        print_text(report.head(done, width))
        if wanted and (drawn := _plot(done, width)):
            write_safe("\n".join([*drawn, "", ""]))
        print_text(report.tables(done, width))
    return 0 if done.passed else 1


def _alphas(words: list[str] | None) -> list[float]:
    if not words:
        return list(ALPHAS)
    found = set()
    for word in ",".join(words).split(","):
        try:
            found.add(float(word))
        except ValueError:
            found.add(-1.0)
        if not all(0 <= a <= 1 for a in found):
            raise UsageError("an alpha is a fraction from 0 to 1", expected="--alpha 0.99,0.9995,1", found=word)
    return sorted(found)


def _refuse_misplaced(
    file: str | None, samples: int | None, seed: int | None, key: str | None, one_sample: bool | None
) -> None:
    """Options of the other kind of activations would be without effect."""
    of_synthetic = {"--samples": samples, "--seed": seed}
    of_files = {"--key": key, "--one-sample": one_sample}
    for option, value in (of_files if file is None else of_synthetic).items():
        if value is not None:
            whose = "is for a saved activation" if file is None else "is for synthetic activations"
            raise UsageError(f"{option} {whose}", cure="Name a FILE." if file is None else "Leave it, or FILE, out.")
    if samples is not None and not 1 <= samples <= MAX_SYNTHETIC_SAMPLES:
        raise UsageError(f"--samples must be from 1 to {MAX_SYNTHETIC_SAMPLES:,}", found=str(samples))
    if seed is not None and seed < 0:
        raise UsageError("--seed must be at least 0", found=str(seed))


def _counter(device: str, n_values: int) -> tuple[Count, str]:
    if device == "cpu":
        return count_on_cpu(n_values), "CPU"
    from qinspect.inspector.verify.device import count_on_cuda

    return count_on_cuda()


def _synthetic(
    samples: int | None, seed: int | None, dtype: DType | None, device: str
) -> tuple[Activations, Count, str]:
    import ml_dtypes

    element = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype or "float16")
    count, where = _counter(device, 0)
    n = SYNTHETIC_SAMPLES if samples is None else samples
    return synthetic(n, seed or 0, element, count), count, where


def _saved(
    file: str, key: str | None, one_sample: bool, dtype: DType | None, device: str
) -> tuple[Activations, Count, str]:
    tensors = tensors_of(file, key)
    count, where = _counter(device, sum(t.n_elements for t in tensors))
    found = with_meter(
        lambda meter: read_saved(
            file, tensors, count, one_sample=one_sample, raw=dtype, progress=steps_of(meter, "counting")
        )
    )
    return found, count, where


def _verification(
    found: Activations,
    count: Count,
    where: str,
    alphas: list[float],
    bits: int,
    inlier_share: float,
    *,
    with_example: bool,
) -> Verification:
    pooled = found.pooled
    yardstick = Yardstick(pooled, inlier_share)
    rules = {name: rule_of(name, bits, found.tables) for name in VERIFIED}
    tables = {name: found.tables if RULES[name].per_sample else [pooled] for name in VERIFIED}
    sweeps = tuple(sweep(name, rule, tables[name], alphas, yardstick) for name, rule in rules.items())
    example, example_check = worked_example() if with_example else (None, None)
    checks = [finite(pooled), counted_as_sorted(found.first, _exact(count, found), alphas)]
    if checks[0].passed:
        checks += [monotone(s) for s in sweeps]
        checks += [whole_range(pooled, rules["pooled"]), average_clips(found.tables, pooled, rules["ema"])]
    checks += [example_check] if example_check else []
    return Verification(
        found, bits, where, yardstick, sweeps, example, tuple(checks), _notes(found, rank_for(found.tables))
    )


def _exact(count: Count, found: Activations) -> MagnitudeTable:
    """The values kept of the first sample, counted as all are; exactly, for they are few."""
    counted = count(found.first)
    return counted if counted.exact else MagnitudeTable.of(found.first)


def _notes(found: Activations, rank: str) -> tuple[str, ...]:
    notes = list(found.notes)
    if rank == "float64":
        notes.append(
            f"torch.quantile refuses samples of more than {TORCH_LIMIT:,} values, as there are here: their quantiles "
            "are by numpy's rank"
        )
    if not found.exact:
        notes.append(
            f"more than {EXACT_VALUES:,} values of float32: each is known to 2^-11 of itself, so w_max and scale are "
            "intervals; shares and errors are of their upper ends"
        )
    return tuple(notes)


def _plot(done: Verification, width: int | None) -> list[str]:
    from qinspect.inspector.verify.plot import plot_lines

    color = width is not None and not os.environ.get("NO_COLOR")
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    return plot_lines(done.activations.pooled, done.sweeps, width or PIPE_WIDTH, color, plain)
