"""`qinspect experts`. docs/cli.md is its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, ModelA, open_model
from qinspect.inspector.errors import UsageError
from qinspect.inspector.printing import print_json, print_table, print_text, with_meter
from qinspect.inspector.progress import steps_of
from qinspect.inspector.text import visible

if TYPE_CHECKING:
    from qinspect.inspector.experts.coverage import Coverage, LayerExperts
    from qinspect.inspector.formats import Format


def experts(
    a: ModelA,
    /,
    *,
    layer: Annotated[int | None, Parameter(help="All experts of this layer.")] = None,
    fast: Annotated[bool, Parameter(negative="", help="Only headers and single numbers.")] = False,
    as_json: AsJson = False,
) -> int:
    """The experts of a mixture: which lack a scale, or have one that no calibration made."""
    from qinspect.inspector.experts import payload
    from qinspect.inspector.experts.gathering import coverage_of

    fmt = open_model(a)
    found = with_meter(lambda meter: coverage_of(fmt, not fast, steps_of(meter, "reading scales")))
    chosen = None if layer is None else _layer(found, layer)
    if as_json:
        print_json(payload.experts(fmt, found))
        return 0
    _print(fmt, found, chosen)
    return 0


def _layer(found: Coverage, number: int) -> LayerExperts:
    """The layer with this number. Raises UsageError."""
    from qinspect.inspector.roles import place

    with_experts = {place(f"{one.layer}.")[0]: one for one in found.layers}
    if number not in with_experts:
        known = ", ".join(str(n) for n in list(with_experts)[:20] if n is not None)
        raise UsageError("no layer with experts has this number", found=str(number), expected=known or "none has any")
    return with_experts[number]


def _print(fmt: Format, found: Coverage, chosen: LayerExperts | None) -> None:
    from qinspect.inspector.experts.report import clauses, experts_table, headline, layers_table
    from qinspect.inspector.formats.report import model_line

    print_text(model_line("A", fmt))
    print_text(f"   {headline(found)}")
    for clause in clauses(found):
        print_text(f"   {clause}")
    if chosen is not None:
        print_text(f"   {visible(chosen.layer, 120)}:")
        print_table(experts_table(chosen))
    elif found.layers:
        print_table(layers_table(found))
