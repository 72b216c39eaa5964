"""`qinspect tree` and `qinspect scales`. docs/cli.md is their contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, ModelA, open_model
from qinspect.inspector.errors import UsageError
from qinspect.inspector.printing import print_json, print_large_json, print_table, print_text, with_meter
from qinspect.inspector.progress import steps_of
from qinspect.inspector.text import visible

if TYPE_CHECKING:
    from qinspect.inspector.contents.survey import ScaleSurvey
    from qinspect.inspector.formats import Format

_MANY_ENTRIES = 2000
"""From here on it is worth an import to write them faster."""


def tree(
    a: ModelA,
    /,
    *,
    depth: Annotated[int | None, Parameter(help="Levels to print.")] = None,
    expand: Annotated[bool, Parameter(negative="", help="Print repeated layers one by one.")] = False,
    as_json: AsJson = False,
) -> int:
    """The layer tree: counts, parameters, bytes, dtypes."""
    from qinspect.inspector.architecture import layer_kinds
    from qinspect.inspector.contents import payload
    from qinspect.inspector.contents.parameters import parameters_of
    from qinspect.inspector.contents.report import tree_lines
    from qinspect.inspector.contents.tree import build_tree
    from qinspect.inspector.formats.bits import left_out
    from qinspect.inspector.formats.counts import parameter_counts
    from qinspect.inspector.formats.report import model_line
    from qinspect.inspector.several_models import models_in

    if depth is not None and depth < 1:
        raise UsageError("--depth must be at least 1", found=str(depth))
    fmt = open_model(a)
    root = build_tree(fmt.checkpoint.entries.values(), parameter_counts(fmt), left_out(fmt), fmt.tree_path)
    parameters = parameters_of(fmt.checkpoint, root)
    if as_json:
        large = len(fmt.checkpoint.entries) >= _MANY_ENTRIES and fmt.checkpoint.entries.in_columns
        (print_large_json if large else print_json)(payload.tree(fmt, root, parameters, depth))
        return 0
    print_text(model_line("A", fmt))
    _print_notes(fmt)
    if parameters.sentence:
        print_text(f"   {visible(parameters.sentence)}")
    several = models_in(fmt.checkpoint.entries)
    for line in tree_lines(root, depth, expand, layer_kinds(fmt.checkpoint.config), several):
        print_text(line)
    for names in fmt.checkpoint.tied():
        print_text(f"tied: {' = '.join(visible(n, 120) for n in names)}")
    return 0


def scales(a: ModelA, /, *, as_json: AsJson = False) -> int:
    """Every scale: what it is a scale of, its value, where its copies are."""
    from qinspect.inspector.contents import payload

    fmt = open_model(a)
    survey = survey_of(fmt)
    if as_json:
        print_json(payload.scales(fmt, survey))
        return 0
    print_contents(fmt, survey)
    return 0


def print_contents(fmt: Format, survey: ScaleSurvey) -> None:
    """A model, what is odd about it, and its scales."""
    from qinspect.inspector.formats.report import model_line

    print_text(model_line("A", fmt))
    _print_notes(fmt)
    _print_scales(fmt, survey)


def _print_notes(fmt: Format) -> None:
    for note in (*fmt.checkpoint.notes, *fmt.notes()):
        print_text(f"   note: {visible(note)}")


def _print_scales(fmt: Format, survey: ScaleSurvey) -> None:
    """What is wrong with the scales, and the table of all."""
    from qinspect.inspector.contents.report import scales_table
    from qinspect.inspector.values.scale_faults import model_faults_said

    for code, text in model_faults_said(survey.faulty):
        print_text(f"   {text} [{code}]")
    print_table(scales_table(fmt, survey.ranges))


def survey_of(fmt: Format) -> ScaleSurvey:
    """All scales, read, with progress on the terminal."""
    from qinspect.inspector.contents.survey import survey_scales

    return with_meter(lambda meter: survey_scales(fmt, steps_of(meter, "reading scales")))
