"""What a calibration writes for those who watch it and those who come after: JSON files in its folder, and its log."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO, TypeVar

import numpy as np

from qinspect.inspector.calibration.scales import PointResult
from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.inspector.observers import Ema, Quantile
from qinspect.inspector.observers.points import Point
from qinspect.inspector.observers.recipes import applied, short
from qinspect.inspector.printing import end_progress, progress
from qinspect.inspector.text import visible
from qinspect.inspector.whole_file import replacing

T = TypeVar("T")

LIVE = "points.json"
LIVE_EVERY_S = 0.5
_BAR = 10

log = logging.getLogger("qinspect")


def begin_log() -> None:
    """Log to stderr as Quamba's programs do, down to DEBUG: that is where observers report."""
    handler = _BelowBars(sys.stderr)
    line = "%(asctime)s,%(msecs)03d %(levelname)-8s [%(filename)s:%(lineno)d] %(message)s"
    handler.setFormatter(_OneLine(line, "%Y-%m-%d:%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG)
    log.propagate = False


class _OneLine(logging.Formatter):
    """Paths, keys and names in a record are whatever somebody called them."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _BelowBars(logging.StreamHandler[TextIO]):
    """A record begins a line of its own, also where a bar stands."""

    def emit(self, record: logging.LogRecord) -> None:
        Bar.end_line()
        super().emit(record)


def log_observers(found: Sequence[PointResult], alpha: float) -> int:
    """One line for each percentile observer, in the words that Quamba's have. Returns how many there are."""
    n = 0
    for r in found:
        if r.applied.alpha is not None:
            n += 1
            # five digits as in Quamba, but where another alpha would have the same
            used = f"{r.applied.alpha:.5f}" if round(r.applied.alpha, 5) == r.applied.alpha else repr(r.applied.alpha)
            log.debug(
                "PerTensorPercentileObserver: percentile_alpha=%s, w_max=%.6f, clip_ratio=1.0 point=%s",
                used, r.w_max, r.point.name,
            )  # fmt: skip
    log.log(logging.INFO if n else logging.WARNING, "%d percentile observers used alpha %s", n, short(alpha))
    return n


class Bar:
    """A progress bar in the form of tqdm's, on stderr, at most some times a second, and not at all for what takes less
    than `after_s`. stands: it is the last line."""

    stands: ClassVar[bool] = False

    def __init__(self, name: str, every_s: float = 0.25, after_s: float = 0.0) -> None:
        self.name, self.every_s, self.after_s = name, every_s, after_s
        self._start = self._shown = time.monotonic()
        self._first: int | None = None

    @staticmethod
    def end_line() -> None:
        """What is written next begins a line."""
        if Bar.stands:
            end_progress()
            Bar.stands = False

    def over(self, items: Sequence[T]) -> Iterator[T]:
        """The items, one after another."""
        for done, item in enumerate(items):
            self.show(done, len(items))
            yield item
        self.show(len(items), len(items))

    def show(self, done: int, total: int) -> None:
        """Done so far; what was done before the first call costs no time."""
        now = time.monotonic()
        self._first = done if self._first is None else self._first
        if now - self._start < self.after_s:
            return
        if done not in (self._first, total) and now - self._shown < self.every_s:
            return
        self._shown = now
        seconds, new = now - self._start, done - self._first
        rate = new / seconds if seconds > 0 and new else 0.0
        left = _clock((total - done) / rate) if rate else "?"
        full = done * _BAR // max(total, 1)
        bar = "█" * full + " " * (_BAR - full)
        speed = f"{rate:.2f}it/s" if rate else "?it/s"
        percent = 100 * done // max(total, 1)
        Bar.stands = done < total
        text = f"{self.name}: {percent:3}%|{bar}| {done}/{total} [{_clock(seconds)}<{left}, {speed}]"
        progress(text, ends=not Bar.stands)


def _clock(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes:02}:{s:02}"


class LivePoints:
    """points.json while samples come in: what each point's w_max and scale are so far.

    Only points with a rule for samples move before a shard is done; `pooled` brings the others.
    """

    def __init__(self, folder: Path, points: Sequence[Point], recipe: str, alpha: float) -> None:
        self.path, self.alpha = folder / LIVE, alpha
        self._points = {p.name: (p, applied(recipe, p, alpha)) for p in points}
        self._w_max: dict[str, float] = {}
        self._pooled: dict[str, MagnitudeTable] = {}
        self._n = self._n_shards = 0
        self._kept: tuple[int, dict[str, float]] = (0, {})
        self._written = 0.0

    def restart(self) -> None:
        """The samples since the last shard come once more."""
        self._n, self._w_max = self._kept[0], dict(self._kept[1])

    def sample(self, tables: dict[str, MagnitudeTable]) -> None:
        """The next sample's tables."""
        self._n += 1
        for name, table in tables.items():
            rule = self._points[name][1].rule
            if isinstance(rule.statistic, Quantile) and isinstance(rule.reducer, Ema) and table.n:
                bounds = table.quantile_bounds(rule.statistic.alpha, rule.statistic.rank)
                value = float(bounds.high)
                before = self._w_max.get(name, value)
                self._w_max[name] = before + rule.reducer.sigma * (value - before)
        if time.monotonic() - self._written > LIVE_EVERY_S:
            self.write()

    def pooled(self, tables: dict[str, MagnitudeTable]) -> None:
        """A shard's pooled tables."""
        for name, table in tables.items():
            rule = self._points[name][1].rule
            if isinstance(rule.reducer, Ema):
                continue
            if isinstance(rule.statistic, Quantile):
                whole = self._pooled[name] = merge([self._pooled[name], table]) if name in self._pooled else table
                self._w_max[name] = float(whole.quantile_bounds(rule.statistic.alpha, rule.statistic.rank).high)
            else:
                self._w_max[name] = float(np.maximum(self._w_max.get(name, 0.0), table.absmax))
        self._kept = self._n, dict(self._w_max)
        self._n_shards += 1
        if self._n_shards & (self._n_shards - 1) == 0:  # after 1, 2, 4, 8 ...: a log is no place for every one
            self._log()
        self.write()

    def _log(self) -> None:
        """A line for each point: the journal keeps them, and the screen draws how they went."""
        for name in (n for n in self._points if n in self._w_max):
            w_max = self._w_max[name]
            scale = self._points[name][1].rule.scale_of_range(w_max)
            log.debug("running point %s: w_max=%.6g, scale=%.6g, samples=%d", name, w_max, scale, self._n)

    def write(self) -> None:
        """Bring the file up to date."""
        self._written = time.monotonic()
        rows = []
        for name, (point, used) in self._points.items():
            w_max = self._w_max.get(name)
            scale = None if w_max is None else used.rule.scale_of_range(w_max)
            row = {"point": name, "dtype": point.dtype, "rule": str(used.rule), "alpha": used.alpha}
            rows.append(row | {"w_max": w_max, "scale": scale})
        write_json(self.path, {"samples": self._n, "alpha": self.alpha, "points": rows})


def write_json(path: Path, content: object) -> None:
    """Whole or not at all."""
    with replacing(path) as f:
        f.write(json.dumps(_finite(content), indent=1, allow_nan=False).encode() + b"\n")


def _finite(content: Any) -> Any:
    """JSON has no number for nan and infinities: they are texts."""
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    if isinstance(content, dict):
        return {k: _finite(v) for k, v in content.items()}
    return [_finite(v) for v in content] if isinstance(content, list | tuple) else content
