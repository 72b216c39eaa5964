"""Accuracies out of files: lm_eval's per-item samples, its results, a log that shows its table, appended results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qinspect.inspector.accuracy.found import METRICS, Found
from qinspect.inspector.accuracy.samples import has_items, in_samples
from qinspect.inspector.accuracy.score import MAX_COUNT
from qinspect.inspector.logs import LogSummary, summarize
from qinspect.inspector.progress import Progress, steps_of, unseen
from qinspect.inspector.text import visible

Json = Mapping[str, Any]
_TASK_COLUMNS = ("Tasks", "Groups", "Task")
"""lm_eval's tables of tasks and of groups; older ones and lighteval's say Task."""
_MAX_NESTED = 20


def found_in(path: str, metric: str | None, progress: Progress = unseen) -> list[Found]:
    """Every accuracy in a file, in its order. metric: of items, the only one looked for.

    Raises CannotOpen for a file that cannot be read, BrokenFile for damaged items.
    """
    if has_items(path):
        return in_samples(path, metric, progress)
    return list(shares_of(summarize(path, None, steps_of(progress, "reading"))))


def shares_of(summary: LogSummary) -> Iterator[Found]:
    """Every share of right items, in the order of the file: printed tables, then results as JSON."""
    for place, table in enumerate(summary.tables):
        yield from _of_table(table.columns, table.rows, place)
    for place, (_, content) in enumerate(summary.results, len(summary.tables)):
        yield from _of_results(content, place)


def _of_table(columns: Sequence[str], rows: Sequence[Sequence[str]], place: int) -> Iterator[Found]:
    places = {name: columns.index(name) for name in columns if name}
    task_column = next((c for c in _TASK_COLUMNS if c in places), None)
    if task_column is None or not {"Metric", "Value", "Stderr"} <= places.keys():
        return

    def cell(row: Sequence[str], column: str) -> str:
        return row[places[column]] if column in places else ""

    task = version = ""
    for row in rows:
        if named := cell(row, task_column).lstrip("- "):  # a subtask is indented by a dash
            task, version = named, cell(row, "Version")
        metric, share, error = cell(row, "Metric"), *(_share(cell(row, c)) for c in ("Value", "Stderr"))
        if metric in METRICS and share is not None:
            yield Found(
                task, metric, share, error, filter=cell(row, "Filter"), version=_version(version),
                n_shot=_shots(cell(row, "n-shot")), place=place,
            )  # fmt: skip


def _of_results(content: Json, place: int) -> Iterator[Found]:
    """lm_eval's own file has `results`, Quamba's `lm_eval`; each of a task, each metric as `acc,none`."""
    for key in ("results", "lm_eval"):
        tasks = content.get(key)
        for task, values in tasks.items() if isinstance(tasks, dict) else ():
            if isinstance(values, dict):
                yield from _of_task(content, str(task), values, place)
            elif task in METRICS and (share := _share(values)) is not None:  # one object a run, without tasks
                yield Found("", task, share, place=place)


def _of_task(content: Json, task: str, values: Json, place: int) -> Iterator[Found]:
    n, version, n_shot = _items_of(content, task), _of(content, "versions", task), _of(content, "n-shot", task)
    alias = values.get("alias")
    alias = visible(alias, 200).lstrip("- ") if isinstance(alias, str) else ""
    for name, value in values.items():
        metric, _, how = str(name).partition(",")
        share = _share(value)
        if metric in METRICS and share is not None:
            error = _share(values.get(f"{metric}_stderr,{how}" if how else f"{metric}_stderr"))
            yield Found(
                visible(task, 200), metric, share, error, n, visible(how, 200), alias, _version(version),
                _shots(n_shot), place,
            )  # fmt: skip


def _of(content: Json, key: str, task: str) -> object:
    values = content.get(key)
    return values.get(task) if isinstance(values, dict) else None


def _items_of(content: Json, task: str, nested: int = 0) -> int | None:
    """Items of a task; of a group, those of its subtasks together. None where one is not known."""
    of_task = _of(content, "n-samples", task)
    n = of_task.get("effective") if isinstance(of_task, dict) else None
    if isinstance(n, int) and not isinstance(n, bool) and 0 < n <= MAX_COUNT:
        return n
    subtasks = _of(content, "group_subtasks", task)
    if not isinstance(subtasks, list) or not subtasks or nested >= _MAX_NESTED:
        return None
    total = 0
    for subtask in dict.fromkeys(map(str, subtasks[:10_000])):
        items = _items_of(content, subtask, nested + 1)
        if items is None:
            return None
        total += items
    return total if total <= MAX_COUNT else None


def _share(value: object) -> float | None:
    """A number from 0 to 1, of JSON or as printed."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):  # an integer may be beyond floats
        return None
    return number if 0 <= number <= 1 else None


def _shots(value: object) -> int | None:
    """Examples in the prompt: an integer, or digits as printed."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 7 else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**6 else None


def _version(value: object) -> str:
    """A version as printed: `3`, `1.0`; "" where there is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)[:40]
    return visible(value, 40) if isinstance(value, str) and value not in ("Yaml", "N/A") else ""
