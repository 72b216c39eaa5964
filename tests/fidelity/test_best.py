"""The best that a search found: against a search written out for one block, and what is said of a sample."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from commands import Command
from compressed_files import fp4, fp8, integers, of_module, settings, written
from numpy.typing import NDArray
from peer_truth import folder, needs_fixtures

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity import best
from qinspect.inspector.fidelity.best import SHRINKS, candidates, with_best
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.nearest import NearestGrid, Rule, ends_of_cells, errors_of_cells, nearest_error
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.fidelity.sums import Cells
from qinspect.inspector.formats.element import integer, small_float, unsigned
from qinspect.kernels.cpu import BODY_VARIABLE

if TYPE_CHECKING:
    from conftest import Quamba

Array = NDArray[Any]
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def searched(base: str | Path, made: str | Path, everything: bool = True) -> Fidelity:
    return with_best(measure_fidelity(open_model(str(base)), open_model(str(made))), everything)


def pair(tmp_path: Path, made: Any, noise: float = 0.05) -> tuple[Path, Path]:
    values = made.values + np.random.default_rng(1).standard_normal(made.values.shape) * made.values.std() * noise
    written(tmp_path / "base", {"model.layers.0.q.weight": values.astype(np.float32)}, None)
    written(tmp_path / "made", of_module(made, "model.layers.0.q"), settings(made))
    return tmp_path / "base", tmp_path / "made"


def error_of(x: Array, step: float, levels: Array) -> float:
    return float((np.abs(x[:, None].astype(np.float64) - step * levels).min(axis=1) ** 2).sum())


def test_two_levels_by_hand() -> None:
    """Every byte of the scale up to eight away from that of the largest magnitude."""
    x = np.random.default_rng(2).standard_normal((3, 32)).astype(np.float32)
    grid = NearestGrid(Rule.TWO_LEVELS, small_float("float4_e2m1fn"), Cells(1, 16), "float8_e4m3fn")
    largest = np.float32(np.abs(x).max())
    outer = np.float32(largest / np.float32(6 * 448))
    levels = np.concatenate((E2M1, -E2M1))
    expected = 0.0
    for block in x.reshape(-1, 16):
        inner = (np.abs(block).max() / np.float32(6) / outer).astype(ml_dtypes.float8_e4m3fn)
        byte = int(inner.view(np.uint8))
        bytes_near = np.clip(np.arange(byte - 8, byte + 9), 1, 126).astype(np.uint8)
        scales = bytes_near.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * outer
        expected += min(error_of(block, float(s), levels) for s in scales)
    ends = ends_of_cells(x, 1, 16)
    errors = [errors_of_cells(x, 1, 16, steps, grid) for steps in candidates(*ends, grid, largest)]
    assert len(errors) == 17
    assert np.minimum.reduce(errors).sum() == pytest.approx(expected, rel=1e-5)
    assert errors[0].sum() == pytest.approx(nearest_error(x, grid, float(largest)), rel=1e-9)


def test_shrunk_ranges_by_hand() -> None:
    x = np.random.default_rng(3).uniform(-0.3, 1, (4, 48)).astype(np.float32)
    grid = NearestGrid(Rule.RANGE, unsigned(4), Cells(1, 16), "float32")
    expected = 0.0
    for block in x.reshape(-1, 16):
        tried = []
        for f in SHRINKS:
            low, high = min(float(block.min()), 0) * f, max(float(block.max()), 0) * f
            step = (high - low) / 15
            tried.append(error_of(block, step, np.arange(16) - round(-low / step)))
        expected += min(tried)
    errors = [errors_of_cells(x, 1, 16, s, grid) for s in candidates(*ends_of_cells(x, 1, 16), grid, np.float32(0))]
    assert np.minimum.reduce(errors).sum() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("body", ["", "numpy"])
@pytest.mark.parametrize(
    "grid",
    [
        NearestGrid(Rule.SYMMETRIC, integer(4), Cells(1, 20), "float16"),
        NearestGrid(Rule.SIGNED, unsigned(4, 8), Cells(1, 32), "float16"),
        NearestGrid(Rule.POWER, small_float("float8_e4m3fn"), Cells(5, 7), ""),
        NearestGrid(Rule.LARGEST, small_float("float8_e4m3fn"), Cells(8, 16), "float32"),
    ],
    ids=lambda g: g.rule.name,
)  # fmt: skip
def test_a_search_never_loses_against_max_scales(grid: NearestGrid, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BODY_VARIABLE, body)
    x = np.random.default_rng(4).standard_normal((16, 70)).astype(np.float32)
    x[:, :20] = 0
    rows, columns = grid.cells.rows, grid.cells.columns
    ends, largest = ends_of_cells(x, rows, columns), np.float32(np.abs(x).max())
    with np.errstate(all="ignore"):  # of blocks of zeros
        errors = [errors_of_cells(x, rows, columns, s, grid) for s in candidates(*ends, grid, largest)]
    assert errors[0].sum() == pytest.approx(nearest_error(x, grid, float(np.abs(x).max())), rel=1e-6)
    least = np.minimum.reduce(errors).sum()
    assert 0 < least <= errors[0].sum()
    assert least < errors[0].sum() or grid.rule is Rule.POWER


MADE: dict[str, Callable[[], Any]] = {
    "int4 with zero points": lambda: integers(4, (40, 64), 32, zeros="packed"), "fp8 in blocks": lambda: fp8("block"),
    "nvfp4": fp4,
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_loss_is_that_of_the_stored_weight(name: str, tmp_path: Path) -> None:
    (w,) = searched(*pair(tmp_path, MADE[name]())).weights
    assert w.best is not None
    assert w.nearest is not None
    assert w.best.loss is not None
    assert w.best.sqnr is not None
    assert w.nearest.sqnr is not None
    assert w.best.sqnr == pytest.approx(w.sums.sqnr + w.best.loss)
    assert w.best.sqnr >= w.nearest.sqnr - 1e-9  # max scales are among what is tried
    assert w.best.error is None
    assert w.best.n_blocks == w.best.n_all > 0


def test_a_sample_is_near_the_whole_and_says_how_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = pair(tmp_path, integers(4, (400, 64), 32), noise=0.2)
    (whole,) = searched(*places).weights
    monkeypatch.setattr(best, "ENOUGH_BLOCKS", 100)
    (drawn,) = searched(*places, everything=False).weights
    (again,) = searched(*places, everything=False).weights
    assert drawn.best == again.best
    assert whole.best is not None
    assert drawn.best is not None
    assert (drawn.best.n_blocks, drawn.best.n_all, whole.best.n_blocks) == (100, 800, 800)
    assert drawn.best.loss is not None
    assert drawn.best.error is not None
    assert whole.best.loss is not None
    assert 0 < drawn.best.error < 0.3
    assert drawn.best.loss != whole.best.loss
    assert abs(drawn.best.loss - whole.best.loss) < 5 * drawn.best.error


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    made = integers(4, (40, 64), 32)
    values = made.values + np.random.default_rng(1).standard_normal(made.values.shape) * 0.01
    values[3, 5], values[7] = math.nan, math.inf
    written(tmp_path / "base", {"model.layers.0.q.weight": values.astype(np.float32)}, None)
    written(tmp_path / "made", of_module(made, "model.layers.0.q"), settings(made))
    (w,) = searched(tmp_path / "base", tmp_path / "made").weights
    assert w.best is not None
    assert w.best.loss is not None
    assert math.isfinite(w.best.loss)


@needs_fixtures
def test_who_searches_is_near_the_best_found_and_who_does_not_is_not() -> None:
    def losses(name: str) -> list[float]:
        found = searched(folder("base_llama1"), folder(name) / "model")
        return [w.best.loss for w in found.weights if w.best and w.best.loss is not None]

    assert max(map(abs, losses("modelopt_nvfp4_mse"))) < 0.1
    assert min(losses("modelopt_mxfp4")) > 0.1


@needs_fixtures
def test_of_k_quants_nothing_is_searched(tmp_path: Path) -> None:
    place = next((folder("gguf_llamacpp_q4_k_m") / "model").glob("*.gguf"))
    fmt = open_model(str(place))
    written(tmp_path / "base", {w.role: fmt.dequantize(w) * np.float32(1.01) for w in fmt.weights()}, None)
    found = searched(tmp_path / "base", place)
    of_k = [w for w in found.weights if w.nearest and "scales are quantized themselves" in w.nearest.said]
    assert of_k
    assert all(w.best is not None and w.best.loss is None and w.best.said for w in of_k)


@pytest.fixture
def fidelity(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("fidelity", capsys, source_root)


def test_the_command_says_what_was_tried(fidelity: Command, tmp_path: Path) -> None:
    places = pair(tmp_path, fp4())
    out, _ = fidelity(*places, "--best")
    assert "loss vs best found" in out
    assert "8 scales above and 8 below" in " ".join(out.split())
    assert "it is no bound" in " ".join(out.split())
    (w,) = fidelity.json(*places, "--best-of-all")["weights"]
    assert w["best_found"]["known"]
    assert w["best_found"]["blocks"] == w["best_found"]["of_blocks"]
    (plain,) = fidelity.json(*places)["weights"]
    assert plain["best_found"] is None
    (row,) = csv.DictReader(io.StringIO(fidelity(*places, "--best", "--csv")[0]))
    assert float(row["best_found_loss_db"]) == w["best_found"]["loss_db"]
    assert "loss vs best found" in fidelity(*places, "--best", "--markdown")[0]


def by_book(w: WeightFidelity, a: Array, b: Array) -> None:
    for s in w.segments:
        x, y = a[s.start : s.stop].astype(np.float64), b[s.start : s.stop].astype(np.float64)
        assert (s.aa, s.ab, s.bb, s.dd) == pytest.approx(
            ((x * x).sum(), (x * y).sum(), (y * y).sum(), ((y - x) ** 2).sum()), rel=1e-11
        )


def test_segments_of_a_projection(fidelity: Command, quamba: Quamba, tmp_path: Path) -> None:
    """z, x, B, C and dt of a Mamba mixer, against sums over the rows."""
    rng = np.random.default_rng(0)
    rows = 2 * 8 + 2 * 4 + 2  # z and x of 8, B and C of 4, two heads
    mixer = "backbone.layers.0.mixer"
    base: dict[str, Array] = {
        f"{mixer}.in_proj.weight": rng.standard_normal((rows, 6)).astype(np.float32),
        f"{mixer}.out_proj.weight": rng.standard_normal((6, 8)).astype(np.float32),
        f"{mixer}.conv1d.weight": rng.standard_normal((16, 1, 4)).astype(np.float32),
        f"{mixer}.A_log": np.ones(2, np.float32), f"{mixer}.D": np.ones(2, np.float32),
        f"{mixer}.dt_bias": np.ones(2, np.float32),
    }  # fmt: skip
    made = {
        k: (v + rng.standard_normal(v.shape) * 0.1).astype(np.float32) if "in_proj" in k else v for k, v in base.items()
    }
    written(tmp_path / "base", base, None)
    written(tmp_path / "made", made, None)
    found = measure_fidelity(open_model(str(tmp_path / "base")), open_model(str(tmp_path / "made")))
    (w,) = (w for w in found.weights if w.role.endswith("in_proj.weight"))
    assert [s.name for s in w.segments] == ["z", "x", "B", "C", "dt"]
    by_book(w, base[w.a], made[w.b])
    groups = {
        g["name"]: g["summary"]
        for g in fidelity.json(tmp_path / "base", tmp_path / "made", "--by", "segment")["groups"]
    }
    assert groups["mixer.in_proj.weight: dt"]["values"] == 12
    assert groups["mixer.in_proj.weight: dt"]["sqnr_db"] == pytest.approx(
        10 * math.log10(w.segments[4].aa / w.segments[4].dd)
    )
    assert groups["mixer.conv1d.weight: x"]["equal"] == 1
