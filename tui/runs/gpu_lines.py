"""GPUs as text: a line each, those of the chosen run first."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.runs import RunSpec
from qinspect.inspector.runs.before import VISIBLE, devices
from qinspect.inspector.runs.gpus import Gpu, GpuSample
from qinspect.inspector.text import some
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import Piece


def of_run(gpus: Sequence[Gpu], spec: RunSpec | None) -> list[Gpu]:
    """The GPUs that a run may use first, then the others."""
    mine = devices(spec.variable(VISIBLE), gpus) if spec else None
    return sorted(gpus, key=lambda g: (mine is not None and str(g.index) not in mine, g.index))


def short_gpu(g: Gpu) -> str:
    """`GPU 0  87 %  31.2/80.0 GB  250 W  61 C`; n/a for what it does not support."""
    use = "n/a" if g.utilisation_percent is None else f"{g.utilisation_percent} %"
    parts = [f"GPU {g.index}", use, memory_text(g)]
    parts += [f"{g.power_w:.0f} W"] if g.power_w is not None else ["power n/a"]
    parts += [f"{g.temperature_c} C"] if g.temperature_c is not None else []
    return "  ".join(parts)


def memory_text(g: Gpu) -> str:
    """`31.2/80.0 GB`."""
    if g.memory_used_bytes is None or g.memory_total_bytes is None:
        return "memory n/a"
    return f"{g.memory_used_bytes / 1e9:.1f}/{g.memory_total_bytes / 1e9:.1f} GB"


def gpu_line(sample: GpuSample | None, spec: RunSpec | None, width: int) -> str:
    """All GPUs in one line, as far as there is room; the rest as index and use."""
    if sample is None:
        return "GPU"
    if not sample.gpus:
        return f"GPU n/a: {shown(sample.reason, 200)}"
    ordered = of_run(sample.gpus, spec)
    made = short_gpu(ordered[0]) + _processes(ordered[0])
    for i, g in enumerate(ordered[1:], 1):
        left = len(ordered) - i
        following = f"   {short_gpu(g)}"
        if len(made) + len(following) + 12 * (left - 1) > width:
            rest = "  ".join(f"{x.index}:{_percent(x)}" for x in ordered[i:])
            return f"{made}   {rest}"
        made += following
    return made


def _percent(g: Gpu) -> str:
    return "n/a" if g.utilisation_percent is None else f"{g.utilisation_percent}%"


def _processes(g: Gpu) -> str:
    if not g.processes:
        return ""
    first = g.processes[0]
    more = f" +{len(g.processes) - 1}" if len(g.processes) > 1 else ""
    return f"  {shown(first.name, 20) or 'pid'} {first.pid}{more}"


def gpu_lines(sample: GpuSample | None, spec: RunSpec | None) -> list[list[Piece]]:
    """Everything about all of them."""
    if sample is None:
        return [[("asking the driver", "dim")]]
    if not sample.gpus:
        return [[("n/a: ", "name"), (shown(sample.reason, 500), "")]]
    lines: list[list[Piece]] = []
    for g in of_run(sample.gpus, spec):
        limit = f" of {g.power_limit_w:.0f} W" if g.power_limit_w else ""
        lines += [
            [(f"GPU {g.index}  ", "name"), (shown(g.name, 60), "accent"), (f"  {shown(g.uuid, 50)}", "dim")],
            [(f"  {short_gpu(g).partition('  ')[2]}{limit}", "")],
        ]
        if not g.processes:
            lines.append([("  no process", "dim")])
        for p in g.processes:
            used = "n/a" if p.memory_bytes is None else f"{p.memory_bytes / 1e9:.2f} GB"
            lines.append([(f"  {p.pid:>8}  {used:>9}  ", ""), (shown(p.name, 60), "")])
        lines.append([])
    lines.append([(f"{some(len(sample.gpus), 'GPU')} of this host", "dim")])
    return lines
