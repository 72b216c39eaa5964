"""`qinspect logs`: what a log says, of a file or of a run. docs/cli.md is its contract, docs/logs.md says what is
understood of a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson
from qinspect.inspector.errors import CannotOpen, UnknownRun
from qinspect.inspector.logs import report
from qinspect.inspector.logs.summary import summarize
from qinspect.inspector.printing import narrate, print_json, print_text, with_meter
from qinspect.inspector.progress import steps_of
from qinspect.inspector.runs.run import Run, find, run_in
from qinspect.inspector.runs.show import outcome_text
from qinspect.inspector.text import shell_words, visible


def logs(
    file: Annotated[
        str,
        Parameter(
            name="FILE|RUN",
            help="A log; - is stdin; else a run: its folder, its id, the id's first or last letters, or its name.",
            allow_leading_hyphen=True,
        ),
    ],
    /,
    *,
    level: Annotated[
        Literal["info", "warning", "error"], Parameter(help="What to print besides conclusions: from this level on.")
    ] = "info",
    points: Annotated[bool, Parameter(name="--points", negative="", help="Print all rows of points.")] = False,
    as_json: AsJson = False,
) -> int:
    """What a log says: conclusions, phases, settings asked for and in effect, points, warnings, errors, results. Of a
    run first which it is, and the commands that made it and that would start it again."""
    run = _run_called(file)
    log = str(run.log_path) if run is not None else file
    found = with_meter(lambda meter: summarize(log, None, steps_of(meter, "reading")))
    for problem in found.problems:
        narrate(problem)
    if as_json:
        print_json({**report.payload(found), "run": None if run is None else _run_json(run)})
    else:
        said = report.text(found, shown=level, all_points=points)
        print_text(said if run is None else f"{_run_text(run)}\n{said}")
    return 0


def _run_called(file: str) -> Run | None:
    """The run that is meant, None for a file. What is a file here is no run. Raises CannotOpen for what is neither, and
    UnknownRun where several runs are called so."""
    path = Path(file)
    if file == "-":
        return None
    try:
        if path.is_dir():
            return run_in(path)
        if path.exists() or path.is_symlink():
            return None
        return find(file)
    except OSError:  # a name that no file can have: told when it is opened
        return None
    except UnknownRun as e:
        if e.found:
            raise
        if len(path.parts) > 1:
            return None
        cure = "`qinspect runs` lists the runs."
        raise CannotOpen("no such file, and no run is called so", file=file, cure=cure) from e


def again(run: Run) -> list[str]:
    """The words of a command that starts a run again."""
    spec = run.spec
    words = ["qinspect", "run", *(["--name", spec.name] if spec.name else [])]
    words += ["--cwd", spec.cwd] if spec.cwd else []
    for name, value in spec.withheld().env.items():
        words += ["--env", f"{name}={value}"]
    return [*words, "--", *spec.argv]


def _run_text(run: Run) -> str:
    spec = run.spec
    name = f", {visible(spec.name)}" if spec.name else ""
    lines = [f"{outcome_text(run, run.state())}{name}"]
    if spec.argv:
        lines += [f"  command  {visible(spec.command)}", f"  again    {shell_words(again(run))}"]
    return "\n".join(lines)


def _run_json(run: Run) -> dict[str, Any]:
    spec = run.spec
    state = str(run.state().state)
    words = {"command": list(spec.argv), "again": again(run)} if spec.argv else {"command": None, "again": None}
    return {"id": run.id, "name": spec.name, "state": state, "folder": str(run.folder), **words}
