"""`qinspect run` and `qinspect runs`. docs/cli.md is their contract, docs/runs.md says how they work."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

from cyclopts import App, Parameter

from qinspect.inspector.arguments import AsJson
from qinspect.inspector.errors import UsageError
from qinspect.inspector.printing import narrate, print_json, print_table, print_text, write_safe
from qinspect.inspector.runs import Run, State, check_before_start, compare_specs, find, make_spec, start
from qinspect.inspector.runs import show as shown
from qinspect.inspector.runs.cancelling import DEFAULT_GRACE_S
from qinspect.inspector.runs.folder import runs_folder
from qinspect.inspector.runs.follow import TerminalText, copy_log, follow, offset_of_last_lines
from qinspect.inspector.text import visible

LINES_BEFORE_FOLLOWING = 100
"""Lines of the log that `runs logs -f` starts with: catching up with a gigabyte helps nobody."""


def _version() -> str:
    from qinspect.inspector import __version__

    return __version__


app = App(name="runs", version=_version)
Follow = Annotated[
    bool,
    Parameter(
        name=["--follow", "-f"], negative="", help="Print the log until the run ends; ctrl-c only stops printing."
    ),
]
RunName = Annotated[str, Parameter(name="RUN", help="Id of a run, its first or last letters, or its name.")]


def run(
    *command: Annotated[str, Parameter(help="The program and its words, after `--`.")],
    name: Annotated[str, Parameter(help="What to call the run (default: the program or script).")] = "",
    env: Annotated[
        list[str] | None,
        Parameter(name="--env", negative="", help="NAME=VALUE to set for the command; as often as needed."),
    ] = None,
    cwd: Annotated[str | None, Parameter(help="Folder to run in (default: this one).")] = None,
    follow_log: Follow = False,
    as_json: AsJson = False,
) -> int:
    """Start a command that outlives this terminal. Exit code 0: started, 2: not; with -f, 1 unless it succeeded."""
    spec = make_spec(command, name=name, env=dict(map(_variable, env or [])), cwd=cwd)
    warnings = check_before_start(spec)
    started = start(spec)
    if as_json:
        print_json({"schema": "qinspect.run/1", "run": shown.run_json(shown.look(started)), "warnings": warnings})
        return 0
    for warning in warnings:
        narrate(f"warning: {warning}")
    if not follow_log:
        print_text(shown.started_text(started))
        return 0
    narrate(f"run {started.id} has started; ctrl-c stops the printing, not the run")
    code = _follow(started, 0)
    if code:
        return code
    state = started.state()
    narrate(shown.outcome_text(started, state))
    return 0 if state.state is State.FINISHED else 1


@app.default
def list_all(*, as_json: AsJson = False) -> int:
    """List the runs, the latest last."""
    rows = shown.look_at_all()
    if as_json:
        folder = str(runs_folder())
        print_json({"schema": "qinspect.runs/1", "folder": folder, "runs": [shown.run_json(s) for s in rows]})
    elif rows:
        print_table(shown.runs_table(rows))
    else:
        print_text("no runs: `qinspect run -- CMD ...` starts one")
    return 0


@app.command
def show(run_name: RunName, /, *, as_json: AsJson = False) -> int:
    """Everything about one run: command, environment, state, how it ended."""
    _print_run(find(run_name), as_json)
    return 0


@app.command
def logs(
    run_name: RunName,
    /,
    *,
    follow_log: Follow = False,
    lines: Annotated[int | None, Parameter(name=["--lines", "-n"], help="Only the last N lines.")] = None,
) -> int:
    """Print the log: as it is into a pipe, without control characters on a terminal."""
    if lines is not None and lines < 0:
        raise UsageError("--lines must be at least 0", found=str(lines))
    found = find(run_name)
    last = LINES_BEFORE_FOLLOWING if follow_log and lines is None else lines
    offset = 0 if last is None else offset_of_last_lines(found.log_path, last)
    return _follow(found, offset, only_now=not follow_log)


@app.command
def cancel(
    run_name: RunName,
    /,
    *,
    grace: Annotated[float, Parameter(help="Seconds between SIGTERM and SIGKILL.")] = DEFAULT_GRACE_S,
    as_json: AsJson = False,
) -> int:
    """End a run: SIGTERM to its processes, SIGKILL to those that are left after the grace period."""
    if not 0 <= grace < 1e6:
        raise UsageError("--grace must be a number of seconds", expected="0 or more", found=str(grace))
    found = find(run_name)
    state = found.cancel(grace)
    if as_json:
        _print_run(found, as_json)
    else:
        print_text(shown.outcome_text(found, state))
    return 0


@app.command
def rm(*run_names: RunName, as_json: AsJson = False) -> int:
    """Delete runs that have ended, with their logs."""
    if not run_names:
        raise UsageError("RUN is missing", expected="a run to delete", cure="`qinspect runs` lists them.")
    found = list({r.id: r for r in map(find, run_names)}.values())
    for each in found:  # all or none
        each.refuse_if_live()
    for each in found:
        each.remove()
    if as_json:
        print_json({"schema": "qinspect.removed/1", "removed": [r.id for r in found]})
    else:
        print_text("\n".join(f"removed {r.id} ({visible(r.spec.name, 120)})" for r in found))
    return 0


@app.command
def diff(
    a: Annotated[str, Parameter(help="A run.")],
    b: Annotated[str, Parameter(help="A later one.")],
    /,
    *,
    as_json: AsJson = False,
) -> int:
    """What changed from run A to run B: words of the command, variables, folder, commit."""
    first, second = find(a), find(b)
    changes = compare_specs(first.spec, second.spec)
    if as_json:
        rows = [{"field": field, "a": x, "b": y} for field, x, y in changes]
        print_json({"schema": "qinspect.runs_diff/1", "a": first.id, "b": second.id, "changes": rows})
    elif changes:
        print_text(f"A  {first.id}  {visible(first.spec.name, 120)}\nB  {second.id}  {visible(second.spec.name, 120)}")
        print_table(shown.changes_table(changes))
    else:
        print_text("nothing changed: command, variables, folder and commit are the same")
    return 0


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError("--env needs NAME=VALUE", found=text)
    return name, value


def _follow(found: Run, offset: int, only_now: bool = False) -> int:
    """Print the log from an offset on. Returns 130 where ctrl-c ended that, else 0."""
    terminal = sys.stdout.isatty()
    text = TerminalText(_write_now, shutil.get_terminal_size().columns, live=not only_now)

    def raw(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    sys.stdout.flush()
    try:
        if only_now:
            copy_log(found.log_path, offset, text if terminal else raw)
        else:
            follow(found, offset, text if terminal else raw)
    except KeyboardInterrupt:
        text.close()
        narrate(f"stopped following; run {found.id} is still running" if found.state().state.is_live else "interrupted")
        return 130
    text.close()
    return 0


def _print_run(found: Run, as_json: bool) -> None:
    seen = shown.look(found)
    if as_json:
        print_json({"schema": "qinspect.run/1", "run": shown.run_json(seen), "warnings": []})
    else:
        print_text(shown.run_text(seen))


def _write_now(text: str) -> None:
    write_safe(text)  # which TerminalText made
    sys.stdout.flush()
