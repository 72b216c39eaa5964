"""One number a layer: a scalar scale beside the same scale of the other layers, A over B."""

from __future__ import annotations

import math
import re

from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.text import number, percent
from qinspect.inspector.values.scale_values import scale_range
from qinspect.tui.compare.session import Session
from qinspect.tui.compare.weight_of import weight_of
from qinspect.tui.key_names import key
from qinspect.tui.labels import fill, side_by_side
from qinspect.tui.look import Line, Look
from qinspect.tui.names import shown

_LAYER = re.compile(r"(?<=\.)(\d+)(?=\.)")


def layer_lines(s: Session, pair: ScalePair, look: Look) -> list[Line]:
    """A bar a model and layer, of the scale's size; B's where it is another."""
    pattern = _LAYER.sub("*", pair.role, count=1)
    peers = [p for p in s.pairs if _LAYER.sub("*", p.role, count=1) == pattern]
    rows = [(p, _number(s.a, p.a), _number(s.b, p.b)) for p in peers]
    top = max((abs(x) for _, a, b in rows for x in (a, b) if x is not None and math.isfinite(x)), default=0.0) or 1.0
    parts = [f"One number a layer: {shown(pattern, 80)}" if len(peers) > 1 else "One number"]
    parts += [f"{key('view_weight')}: the weight"] if any(weight_of(fmt, pair) for fmt in (s.a, s.b)) else []
    lines: list[Line] = [fill(line, look.width, "...").rstrip() for line in side_by_side(parts, look.width)]
    for p, a, b in rows:
        layer = _LAYER.search(p.role)
        name, kind = (layer[1] if layer else "", "accent" if p is pair else "dim")
        name = f"{'>' if p is pair else ' '}{name:>5} "
        if a is not None:
            lines.append([(name, kind), *_bar("A", a, top, look)])
        if b is not None and (a is None or p.status is Status.DIFFERENT):
            change = f" {percent(p.difference.largest)}" if p.difference else ""
            lines.append([(" " * len(name) if a is not None else name, kind), *_bar("B", b, top, look), (change, "b")])
    return lines


def _bar(label: str, value: float, top: float, look: Look) -> list[tuple[str, str]]:
    room = max(8, look.width - 36)
    length = round(room * abs(value) / top) if math.isfinite(value) else 0
    block = "#" if look.plain else "█" if label == "A" else "▒"
    return [(f"{label} ", "dim"), (f"{number(value):>13} ", ""), (block * length, label.lower())]


def _number(fmt: Format | None, record: ScaleRecord | None) -> float | None:
    if fmt is None or record is None or math.prod(record.shape) != 1:
        return None
    try:
        ends = scale_range(fmt, record)
    except QinspectError:
        return None
    return None if isinstance(ends, str) else ends[0]
