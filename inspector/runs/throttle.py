"""How many events get through: a bar redraws a hundred times a second, and a broken program warns without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PROGRESS_EVERY_S = 0.5
"""Least time between two events of one bar; the last of a bar always gets through."""
EVENTS_PER_S = 50
"""Other events that get through for long."""
BURST = 20_000
"""Other events that get through at once: one for every point of a large model, several times over."""
_MAX_BARS = 200

Item = tuple[str, dict[str, Any]]
"""Kind and fields of an event."""


@dataclass(slots=True)
class _Bar:
    sent: float
    waiting: dict[str, Any] | None = None


class Throttle:
    """Takes events as they come, gives those to write. Times are seconds of one clock that only goes on."""

    def __init__(self) -> None:
        self._bars: dict[str, _Bar] = {}
        self._allowance = float(BURST)
        self._last = 0.0
        self._left_out = 0

    def add(self, kind: str, fields: dict[str, Any], now: float) -> Iterator[Item]:
        """Events to write because of this one."""
        if kind == "progress":
            yield from self._add_progress(fields, now)
            return
        self._allowance = min(BURST, self._allowance + EVENTS_PER_S * max(0.0, now - self._last))
        self._last = now
        if self._allowance < 1:
            self._left_out += 1
            return
        self._allowance -= 1
        yield from self._say_left_out()
        yield kind, fields

    def due(self, now: float) -> Iterator[Item]:
        """Progress that waited long enough."""
        for bar in self._bars.values():
            if bar.waiting is not None and now - bar.sent >= PROGRESS_EVERY_S:
                yield self._send(bar, now)

    def close(self) -> Iterator[Item]:
        """Everything that still waits."""
        for bar in self._bars.values():
            if bar.waiting is not None:
                yield self._send(bar, bar.sent)
        yield from self._say_left_out()

    def _add_progress(self, fields: dict[str, Any], now: float) -> Iterator[Item]:
        name = str(fields.get("name", ""))[:200]
        bar = self._bars.get(name)
        if bar is None:
            if len(self._bars) >= _MAX_BARS:
                oldest = min(self._bars, key=lambda key: self._bars[key].sent)
                gone = self._bars.pop(oldest)
                if gone.waiting is not None:
                    yield self._send(gone, now)
            bar = self._bars[name] = _Bar(sent=now - PROGRESS_EVERY_S)
        bar.waiting = fields
        if now - bar.sent >= PROGRESS_EVERY_S:
            yield self._send(bar, now)

    @staticmethod
    def _send(bar: _Bar, now: float) -> Item:
        fields, bar.waiting, bar.sent = bar.waiting or {}, None, now
        return "progress", fields

    def _say_left_out(self) -> Iterator[Item]:
        if self._left_out:
            n, self._left_out = self._left_out, 0
            yield (
                "warning",
                {"text": f"{n:,} events were left out, more than {EVENTS_PER_S} a second; the log has all"},
            )
