"""lm_eval's per-item samples: every accuracy that they hold, one a filter and metric, with its items."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qinspect.inspector.accuracy.found import METRICS, Found
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.progress import Progress
from qinspect.inspector.text import brief, visible

MAX_ITEMS = 10_000_000
MAX_FILTERS = 100
MAX_LINE_CHARACTERS = 50_000_000
MAX_LIST_BYTES = 1 << 30
_HEAD = 1_000_000
_NAME = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d:-]+.*)?\.jsonl?")
"""How lm_eval calls the file of a task: the task is written nowhere else."""


def has_items(path: str) -> bool:
    """Whether a file is lm_eval's samples: its first line, or the start of a list (0.4.2), has a `doc_id`."""
    if path == "-":
        return False
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as f:
            first = f.readline(_HEAD)
            return '"doc_id"' in (first + f.read(_HEAD) if first.lstrip().startswith("[") else first)
    except FileNotFoundError:
        raise CannotOpen("no such file", file=path) from None
    except OSError as e:
        raise CannotOpen(f"cannot be read: {e.strerror or e}", file=path) from e


def in_samples(path: str, metric: str | None, progress: Progress) -> list[Found]:
    """An accuracy for every filter and metric of the items, in the order of the file. metric: the only one looked for.

    Raises CannotOpen for a file without items, BrokenFile for damaged ones.
    """
    filters: dict[str, _Filter] = {}
    n = 0
    for place, item in read_items(path, progress):
        name = _name_of(path, place, item)
        n += 1
        if n > MAX_ITEMS:
            raise BrokenFile("has too many items", file=path, expected=f"at most {MAX_ITEMS:,}")
        filtered = item.get("filter", "")
        filtered = visible(filtered, 200) if isinstance(filtered, str) else ""
        if filtered not in filters and len(filters) >= MAX_FILTERS:
            raise BrokenFile("has too many filters", file=path, key=place, expected=f"at most {MAX_FILTERS}")
        of_filter = filters.setdefault(filtered, _Filter(path, (metric,) if metric else METRICS))
        of_filter.add(place, name, item)
    if not n:
        raise CannotOpen("has no item", file=path)
    task = task_of(path)
    return [f for name, of in filters.items() for f in of.found(task, name)]


def task_of(path: str) -> str:
    """The task of such a file, by its name; "" where that does not say it."""
    found = _NAME.fullmatch(Path(path).name)
    return visible(found["task"], 200) if found else ""


@dataclass(slots=True)
class _Filter:
    """Items of one filter. right: metric to item to whether it was right. problems: of a metric, the first item that
    has no such answer; they matter only where the metric is chosen."""

    path: str
    looked_for: tuple[str, ...]
    names: set[str] = field(default_factory=set)
    right: dict[str, dict[str, bool]] = field(default_factory=dict)
    problems: dict[str, BrokenFile] = field(default_factory=dict)

    def add(self, place: str, name: str, item: Mapping[str, Any]) -> None:
        """Take one item. Raises BrokenFile where it is there already."""
        if name in self.names:
            raise BrokenFile("an item occurs twice", file=self.path, key=place, found=brief(name))
        if not self.names:
            present = [m for m in self.looked_for if m in item] or [" or ".join(self.looked_for)]
            self.right = {m: {} for m in present}
        self.names.add(name)
        for metric, answers in self.right.items():
            value = item.get(metric)
            if value in (0, 1):
                answers[name] = bool(value)
            elif metric not in self.problems:
                self.problems[metric] = BrokenFile(
                    "an item is neither right nor wrong", file=self.path, key=place, expected=f"{metric} of 0 or 1",
                    found=brief(value), cure="Name another --metric.",
                )  # fmt: skip

    def found(self, task: str, name: str) -> Iterator[Found]:
        """An accuracy a metric."""
        for metric, answers in self.right.items():
            share = sum(answers.values()) / len(answers) if answers else 0.0
            yield Found(
                task, metric, share, n=len(answers), filter=name, items=answers, problem=self.problems.get(metric)
            )


def read_items(path: str, progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each with its place in the file, for errors."""
    total, done = Path(path).stat().st_size, 0
    with Path(path).open("rb") as f:
        if f.readline(_HEAD).lstrip().startswith(b"["):
            yield from _listed(path, total)
            return
        f.seek(0)
        for number, line in enumerate(iter(lambda: f.readline(MAX_LINE_CHARACTERS), b""), 1):
            done += len(line)
            progress("reading items", done, total)
            if line.strip():
                yield f"line {number}", _object(path, f"line {number}", _parsed(path, f"line {number}", line))


def _listed(path: str, total: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if total > MAX_LIST_BYTES:
        raise CannotOpen("is one list, too large to read at once", file=path, expected="JSON lines, or at most 1 GB")
    for i, content in enumerate(_parsed(path, "list", Path(path).read_bytes())):
        yield f"item {i}", _object(path, f"item {i}", content)


def _parsed(path: str, place: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BrokenFile("is not valid JSON", file=path, key=place) from e


def _object(path: str, place: str, content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise BrokenFile("is not a JSON object", file=path, key=place, found=brief(content))
    return content


def _name_of(path: str, place: str, item: Mapping[str, Any]) -> str:
    """What tells an item from the others, its content too where lm_eval hashed it: another text of the same number is
    another item."""
    name, content = item.get("doc_id"), item.get("doc_hash", "")
    if not isinstance(name, (int, str)) or isinstance(name, bool):
        raise BrokenFile("an item has no number", file=path, key=place, expected="doc_id", found=brief(name))
    return f"{name} {content}" if isinstance(content, str) else str(name)
