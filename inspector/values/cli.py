"""`qinspect show` and `qinspect dequantize`. docs/cli.md is their contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, ModelA, open_model
from qinspect.inspector.printing import print_json, print_text, with_meter
from qinspect.inspector.progress import steps_of
from qinspect.inspector.text import visible


def show(
    a: ModelA,
    key: Annotated[str, Parameter(help="A stored key, a role, or ROLE#scale.")],
    /,
    *,
    as_json: AsJson = False,
) -> int:
    """One entry, by key or by role: metadata, values or summary, codes, dequantized statistics."""
    from qinspect.inspector.values import payload
    from qinspect.inspector.values.inspection import inspect_entry
    from qinspect.inspector.values.report import inspection_text

    fmt = open_model(a)
    found = inspect_entry(fmt, key)
    if as_json:
        print_json(payload.inspection(fmt, found))
    else:
        print_text(inspection_text(fmt, found))
    return 0


def dequantize(
    a: ModelA,
    out: Annotated[Path, Parameter(help="The file to write, a name ending in .safetensors.")],
    /,
    *,
    keys: Annotated[str | None, Parameter(help="Glob over weight names, such as '*in_proj*'.")] = None,
    as_json: AsJson = False,
) -> int:
    """Write quantized weights as float32 safetensors: [out, in], no padding."""
    from qinspect.inspector.text import size
    from qinspect.inspector.values.dequantize import write_dequantized

    fmt = open_model(a)
    n, n_bytes = with_meter(lambda meter: write_dequantized(fmt, out, keys, steps_of(meter, "writing")))
    if as_json:
        print_json({"schema": "qinspect.dequantize/1", "out": str(out), "tensors": n, "bytes": n_bytes})
    else:
        print_text(f"{n} tensors, {size(n_bytes)} of float32, in {visible(str(out))}")
    return 0
