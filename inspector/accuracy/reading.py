"""Accuracies out of files: lm_eval's per-item samples, its results, a log that shows its table, appended results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qinspect.inspector.accuracy.score import MAX_COUNT, Score
from qinspect.inspector.errors import BrokenFile, CannotOpen, UsageError
from qinspect.inspector.logs import LogSummary, summarize
from qinspect.inspector.text import brief, visible

METRICS = ("acc", "acc_norm", "exact_match", "accuracy")
"""Shares of right items, the preferred first: where none is named, the first that a file has is taken."""
MAX_ITEMS = 10_000_000
MAX_LINE_CHARACTERS = 50_000_000
MAX_LIST_BYTES = 1 << 30
_HEAD = 1_000_000

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A share in a file. error: its standard error as printed. n: items, None where they are not given."""

    task: str
    metric: str
    share: float
    error: float | None
    n: int | None


def score_in(
    path: str, task: str | None, metric: str | None, n: int | None, progress: Progress = lambda *_: None
) -> Score:
    """The accuracy in a file, the last one where there are several of a task. n: items, where the file does not say.

    Raises CannotOpen for a file that cannot be read or has none, BrokenFile for damaged items, UsageError where the
    task or the metric must be named, or the number of items.
    """
    if _has_items(path):
        return _of_items(path, metric, progress)
    summary = summarize(path, None, lambda done, total: progress("reading", done, total))
    found = [f for f in _shares(summary) if task in (None, f.task) and metric in (None, f.metric)]
    if not found:
        wanted = " ".join(x for x in (task, metric) if x)
        raise CannotOpen(
            f"has no accuracy{f' of {wanted}' if wanted else ''}", file=path,
            expected="lm_eval's table or results, or its per-item samples (--log_samples)",
            cure="Type the values: --a VALUE --b VALUE --n N.",
        )  # fmt: skip
    tasks = list(dict.fromkeys(f.task for f in found if f.task))
    if len(tasks) > 1:
        raise UsageError("there are several tasks", file=path, found=", ".join(tasks), cure="Name one with --task.")
    first = min((f.metric for f in found), key=_rank)
    last = [f for f in found if f.metric == first][-1]
    return _scored(path, last, n)


def _scored(path: str, f: Found, n: int | None) -> Score:
    items = n if n is not None else f.n
    if items is not None:
        return Score(f.share, items, path, f.task, f.metric)
    if not f.error or f.error < 1 / MAX_COUNT:
        raise UsageError(
            "the number of items is not known", file=path, expected="a standard error beside it, or --n N",
            cure="Give --n N.",
        )  # fmt: skip
    # lm_eval's error is that of a sample: sqrt(p (1 - p) / (n - 1))
    return Score(f.share, max(1, round(f.share * (1 - f.share) / f.error**2 + 1)), path, f.task, f.metric, None, True)


def _rank(metric: str) -> int:
    return METRICS.index(metric) if metric in METRICS else len(METRICS)


# --- results ---


def _shares(summary: LogSummary) -> Iterator[Found]:
    """Every share of right items, in the order of the file: printed tables, then results as JSON."""
    for table in summary.tables:
        yield from _of_table(table.columns, table.rows)
    for _, content in summary.results:
        yield from _of_results(content)


def _of_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Found]:
    places = {name: columns.index(name) for name in ("Tasks", "Metric", "Value", "Stderr") if name in columns}
    if len(places) < 4:
        return
    task = ""
    for row in rows:
        task = row[places["Tasks"]] or task
        metric, share, error = row[places["Metric"]], *(_share(row[places[c]]) for c in ("Value", "Stderr"))
        if metric in METRICS and share is not None:
            yield Found(task, metric, share, error, None)


def _of_results(content: Mapping[str, Any]) -> Iterator[Found]:
    """lm_eval's own file has `results`, Quamba's `lm_eval`; each of a task, each metric as `acc,none`."""
    counted = content.get("n-samples")
    for key in ("results", "lm_eval"):
        tasks = content.get(key)
        for task, values in tasks.items() if isinstance(tasks, dict) else ():
            if isinstance(values, dict):
                yield from _of_task(task, values, _items_of(counted, task))
            elif task in METRICS and (share := _share(values)) is not None:  # one object a run, without tasks
                yield Found("", task, share, None, None)


def _of_task(task: str, values: Mapping[str, Any], n: int | None) -> Iterator[Found]:
    for name, value in values.items():
        metric, _, how = str(name).partition(",")
        share = _share(value)
        if metric in METRICS and share is not None:
            error = _share(values.get(f"{metric}_stderr,{how}" if how else f"{metric}_stderr"))
            yield Found(visible(task, 200), metric, share, error, n)


def _items_of(counted: object, task: str) -> int | None:
    of_task = counted.get(task) if isinstance(counted, dict) else None
    n = of_task.get("effective") if isinstance(of_task, dict) else None
    return n if isinstance(n, int) and not isinstance(n, bool) and 0 < n <= MAX_COUNT else None


def _share(value: object) -> float | None:
    """A number from 0 to 1, of JSON or as printed."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):  # an integer may be beyond floats
        return None
    return number if 0 <= number <= 1 else None


# --- items ---


def _has_items(path: str) -> bool:
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


def _of_items(path: str, metric: str | None, progress: Progress) -> Score:
    items: dict[str, bool] = {}
    chosen, kept = metric, ""
    for place, item in _read_items(path, progress):
        chosen = chosen or next((m for m in METRICS if m in item), None)
        filtered = str(item.get("filter", ""))
        kept = kept or filtered
        if filtered != kept:
            continue  # the same items once more, their answers taken otherwise
        name, right = _name_of(path, place, item), _right(path, place, item, chosen)
        if name in items:
            raise BrokenFile("an item is there twice", file=path, key=place, found=brief(name))
        if len(items) >= MAX_ITEMS:
            raise BrokenFile("has too many items", file=path, expected=f"at most {MAX_ITEMS:,}")
        items[name] = right
    if not items:
        raise CannotOpen("has no item", file=path)
    return Score(sum(items.values()) / len(items), len(items), path, "", chosen or "", items)


def _read_items(path: str, progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _right(path: str, place: str, item: Mapping[str, Any], metric: str | None) -> bool:
    value = item.get(metric) if metric else None
    if value not in (0, 1):
        raise BrokenFile(
            "an item is neither right nor wrong", file=path, key=place,
            expected=f"{metric or ' or '.join(METRICS)} of 0 or 1", found=brief(value), cure="Name another --metric.",
        )  # fmt: skip
    return bool(value)
