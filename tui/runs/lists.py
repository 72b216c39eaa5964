"""What a journal says, as lists: points with how they went, events one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qinspect.inspector.runs import RunEvent
from qinspect.inspector.runs.show import clock, number_of, progress_text
from qinspect.inspector.text import number
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.runs.feed import Feed, LivePoint
from qinspect.tui.widgets.lines import LineList, Piece

_MAX_OCCURRENCES = 200


def sparkline(values: Sequence[float], width: int, g: Glyphs) -> str:
    """The last values, a cell each, from the smallest to the largest."""
    last = list(values)[-width:] if width > 0 else []
    if not last:
        return ""
    low, high = min(last), max(last)
    steps = g.blocks[1:]
    if high <= low:
        return steps[len(steps) // 2] * len(last)
    return "".join(steps[min(len(steps) - 1, int((v - low) / (high - low) * len(steps)))] for v in last)


def fields_text(fields: Mapping[str, Any]) -> str:
    """`percentile_alpha=0.9995 w_max=17.694`."""
    return " ".join(f"{k}={_value(v)}" for k, v in fields.items())


def _value(value: Any) -> str:
    found = number_of(value)
    if found is not None:
        return number(found)
    return value if isinstance(value, str) else json.dumps(value, default=str)


class PointsList(LineList):
    """A row a point; below one that came more than once, its occurrences. Those of a point with a name of its own are
    folded: its row has the last one, and how it went."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.rows: list[tuple[LivePoint, RunEvent | None, int]] = []
        self._turned: set[str] = set()
        self._feed: Feed | None = None

    def show(self, feed: Feed | None) -> None:
        """Show what is known now."""
        self._feed, self.rows = feed, []
        for point in feed.points.values() if feed else ():
            self.rows.append((point, None, 0))
            if point.n > 1 and point.is_named == (point.name in self._turned):
                first = point.n - len(point.occurrences)
                listed = list(enumerate(point.occurrences, first + 1))[-_MAX_OCCURRENCES:]
                self.rows += [(point, event, i) for i, event in listed]
        self.set_rows(len(self.rows))

    @property
    def point(self) -> LivePoint | None:
        """The one under the cursor, or that the occurrence there is of."""
        return self.rows[self.cursor][0] if self.cursor < len(self.rows) else None

    def turn(self) -> None:
        """Fold or unfold the occurrences of the point under the cursor, and stay on it."""
        if self.point is not None:
            name = self.point.name
            self._turned ^= {name}
            self.show(self._feed)
            self.move_to(next(i for i, row in enumerate(self.rows) if row[0].name == name), tell=False)

    def line(self, row: int, width: int) -> Sequence[Piece]:
        point, event, i = self.rows[row]
        if event is not None:
            fields = event.fields.get("fields")
            found = fields if isinstance(fields, Mapping) else {}
            text = fields_text({k: v for k, v in found.items() if not isinstance(v, str)} or found)
            return [(f"  {i:>5}  ", "dim"), (fill(shown(text, 500), max(1, width - 9), self.glyphs.cut), "")]
        name_width = max(10, min(52, width // 2 if point.is_named else width // 3))
        pieces: list[Piece] = [(fill(shown(point.name, 200), name_width, self.glyphs.cut), "name")]
        key = point.shown_field
        values = list(point.values.get(key, ()))
        spark_width = max(0, min(len(values), width // 4)) if len(values) > 1 else 0
        latest = f" {point.n:>4}x  " if point.n > 1 else "        "
        fields = {k: v for k, v in point.latest.items() if not isinstance(v, str)}  # texts are in its name
        moving = {k: v for k, v in fields.items() if len(set(point.values.get(k, ()))) > 1}
        text = fields_text({**moving, **fields})
        room = width - name_width - len(latest) - spark_width - 1
        pieces += [(latest, "dim"), (fill(shown(text, 500), max(1, room), self.glyphs.cut), "")]
        return [*pieces, (" ", ""), (sparkline(values, spark_width, self.glyphs), "accent")]


_EVENT_KINDS = {"error": "broken", "warning": "odd", "phase": "name", "note": "accent", "end": "name", "start": "name"}


def event_text(event: RunEvent) -> str:
    """An event in one line."""
    fields = event.fields
    if event.kind == "progress":
        return f"{fields.get('name') or ''} {progress_text(fields)}".strip()
    if event.kind == "point":
        inner = fields.get("fields")
        return f"{fields.get('name', '')} {fields_text(inner if isinstance(inner, Mapping) else {})}"
    if event.kind == "gpu":
        return _gpu_text(fields.get("gpus"))
    if event.kind == "phase":
        name, text = str(fields.get("name", "")), str(fields.get("text") or "")
        return f"{name}: {text}" if text and text != name else name
    if isinstance(fields.get("text"), str):
        category = fields.get("category")
        return f"{category}: {fields['text']}" if isinstance(category, str) and category else fields["text"]
    return fields_text({k: v for k, v in fields.items() if k not in ("line", "offset", "pattern") and v is not None})


def _gpu_text(gpus: Any) -> str:
    parts = []
    for g in gpus if isinstance(gpus, list) else ():
        if isinstance(g, Mapping):
            used, watts = number_of(g.get("memory_used_bytes")), number_of(g.get("power_w"))
            memory = f" {used / 1e9:.1f} GB" if used is not None else ""
            power = f" {watts:.0f} W" if watts is not None else ""
            parts.append(f"{g.get('index')}: {g.get('utilisation_percent')} %{memory}{power}")
    return ", ".join(parts)


class EventsList(LineList):
    """Time, kind, what it says. At its end it stays at its end."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.events: Sequence[RunEvent] = ()

    def show(self, feed: Feed | None, fresh: bool = False) -> None:
        """Show the events of a run; fresh: of another one, from the end."""
        at_end = fresh or self.cursor >= self.n_rows - 1
        self.events = list(feed.events) if feed else []
        self.set_rows(len(self.events))
        if at_end and self.events:
            self.move_to(len(self.events) - 1, tell=False)

    @property
    def event(self) -> RunEvent | None:
        """The one under the cursor."""
        return self.events[self.cursor] if self.cursor < len(self.events) else None

    def line(self, row: int, width: int) -> Sequence[Piece]:
        event = self.events[row]
        kind = _EVENT_KINDS.get(event.kind, "")
        text = fill(shown(event_text(event), 1000), max(1, width - 18), self.glyphs.cut)
        return [
            (f"{clock(event.time)[11:]:<9}", "dim"),
            (fill(shown(event.kind, 8), 9, ""), kind or "dim"),
            (text, kind if kind in ("broken", "odd", "name", "accent") else ""),
        ]
