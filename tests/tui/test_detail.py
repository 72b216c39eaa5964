"""What the detail of a scale says of A and of B, each by itself where they are not alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import native_files
import numpy as np
import pytest
from safetensors.numpy import save_file

from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.compare.report import scale_table
from qinspect.inspector.compare.results import Comparison
from qinspect.inspector.contents.report import scales_table
from qinspect.inspector.formats import format_of
from qinspect.inspector.provenance import Provenance
from qinspect.inspector.text import range_text
from qinspect.inspector.values.scale_values import scale_range
from qinspect.tui.compare.detail import detail_lines
from qinspect.tui.compare.rows import value_text
from qinspect.tui.glyphs import ASCII

POINT = "layers.0.mixer.x_conv_out:input"


def checkpoint(folder: Path, scale: float, alpha: float | None) -> Path:
    """A checkpoint with one point, made with this alpha; None: by a maximum."""
    says = Provenance({}, {"alpha": {POINT: alpha}} if alpha else {}, {}, {})
    point = PointScale(np.float32(scale), "quantile" if alpha else "absmax(|x|)", alpha is not None)
    return native_files.written(folder, activation_scales={POINT: point}, provenance=says)


def compared(folder: Path, alphas: Sequence[float | None]) -> Comparison:
    paths = (checkpoint(folder / str(i), 0.1 + i, alpha) for i, alpha in enumerate(alphas))
    a, b = (format_of(open_checkpoint(p)) for p in paths)
    return compare(a, b)


@pytest.mark.parametrize(
    ("alphas", "said", "column"),
    [
        ((0.9995, 0.9995), ["alpha: percentile_alpha makes it: 0.9995 by its provenance"], "yes"),
        (
            (0.9995, 0.99999),
            [
                "A alpha: percentile_alpha makes it: 0.9995 by its provenance",
                "B alpha: percentile_alpha makes it: 0.99999 by its provenance",
            ],
            "yes",
        ),
        (
            (0.9995, None),
            [
                "A alpha: percentile_alpha makes it: 0.9995 by its provenance",
                "B alpha: percentile_alpha cannot reach it",
            ],
            "only A",
        ),
        ((None, None), ["alpha: percentile_alpha cannot reach it"], ""),
    ],
)
def test_alpha_is_said_of_each_model(
    alphas: Sequence[float | None], said: list[str], column: str, tmp_path: Path
) -> None:
    c = compared(tmp_path, alphas)
    pair = next(p for p in c.scales if p.role == POINT)
    lines = [": ".join(text.strip() for text, _ in line) for line in detail_lines(pair, c.a, c.b, (), ASCII)]
    assert [line for line in lines if line.split(":")[0].endswith("alpha")] == said
    assert sum(line.startswith("granularity: ") for line in lines) == 1
    table = scale_table([pair])
    assert table.rows[0][[column.name for column in table.columns].index("alpha")] == column


def test_numbers_that_are_none_are_said_alike_on_the_screen_and_the_command_line(tmp_path: Path) -> None:
    for name, scale in (("a", [1.0, np.nan, np.inf, 3.0]), ("b", [1.0, 2.0, 3.0, 4.0])):
        tensors: dict[str, Any] = {"l.weight": np.zeros((4, 4), np.int8), "l.weight_scale": np.array(scale, np.float32)}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    a, b = (format_of(open_checkpoint(tmp_path / f"{name}.safetensors")) for name in "ab")
    c = compare(a, b)
    (pair,) = c.scales
    said = "2 without a percentage (A zero, or not finite)"
    detail = [text for line in detail_lines(pair, a, b, (), ASCII) for text, _ in line]
    assert said in detail
    assert said in scale_table([pair]).text()
    assert "1 NaN, 1 Inf of 4 (50.0 %), first [1]" in detail
    assert pair.a
    found = scale_range(a, pair.a)
    assert (range_text(found), value_text(found)) == ("1 .. 3, 2 not finite", "1..3 !2")
    assert scales_table(a, {pair.role: found}).rows[0][1] == range_text(found)
