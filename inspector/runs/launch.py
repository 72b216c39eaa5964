"""Starting a run: its folder, then its supervisor, then the wait until the command is there or failed to be."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import CannotStartRun
from qinspect.inspector.places import STATE_VARIABLE
from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs import logind
from qinspect.inspector.runs.guard import unsafe_folder
from qinspect.inspector.runs.spec import RunSpec

START_PATIENCE_S = 60.0
"""How long a start may take: a Python from a cold network disk."""
_FORK_PATIENCE_S = 5.0
_ELSEWHERE = f"Set {STATE_VARIABLE} to a folder on another disk, or"


def launch(spec: RunSpec) -> Path:
    """Start the command of a spec. Returns the folder of the run. Raises CannotStartRun; then nothing is left."""
    folder = _make_folder(spec)
    try:
        _write_spec(folder, spec)
        answer = _start_supervisor(folder, spec, logind.here().prefix)
        if "started" not in answer:
            raise _cannot_start(answer, spec, folder)
    except CannotStartRun:  # not ctrl-c: then the supervisor is already at it, and needs the folder
        if not _command_lives(folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _make_folder(spec: RunSpec) -> Path:
    place = files.runs_folder()
    for part in (place.parent, place):
        unsafe = unsafe_folder(part)
        if unsafe:
            raise CannotStartRun(f"the folder of runs {unsafe.problem}", file=unsafe.folder, cure=unsafe.cure)
    remove_half_deleted(place)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(spec.created))
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.mkdir(exist_ok=True, mode=0o700)
        while True:
            folder = place / f"{stamp}-{secrets.token_hex(2)}"
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder
    except OSError as e:
        raise _cannot_write(e, place) from e


def remove_half_deleted(place: Path) -> None:
    """Remove what is left of runs whose deletion was stopped half-way: they have a name with a dot in front."""
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            if name.startswith(".") and files.is_run_id(name[1:]):
                shutil.rmtree(place / name, ignore_errors=True)


def _write_spec(folder: Path, spec: RunSpec) -> None:
    try:
        files.write_json(folder / files.SPEC, spec.as_dict())
    except OSError as e:
        raise _cannot_write(e, folder) from e


def _start_supervisor(folder: Path, spec: RunSpec, prefix: tuple[str, ...]) -> dict[str, Any]:
    """The supervisor's first line. It is told the command, and the variables of the run, which are not its own: a
    PYTHONHOME for the command would break it. They do not go through a file, for there may be secrets among them."""
    from qinspect.inspector.runs.supervisor import Order

    # -P: a file named like a module of ours in the current folder must not be imported
    command = [*prefix, sys.executable, "-P", "-m", "qinspect.inspector.runs.supervisor", str(folder)]
    try:
        with (folder / files.SUPERVISOR_LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",  # it must not keep a disk busy
                start_new_session=True,
            )
    except OSError as e:
        raise _cannot_write(e, folder) from e
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stream:
        stream.write(Order(spec.argv, spec.cwd, spec.env).as_json())
    with process.stdout as stream:
        line = _first_line(stream.fileno())
    try:
        process.wait(_FORK_PATIENCE_S)  # it forked: this one ended at once
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    if prefix:  # systemd-run is there and does not work here: a run that ends at logout is better than none
        return _start_supervisor(folder, spec, ())
    return {}


def _first_line(fd: int) -> bytes:
    """What the supervisor says until the end of its line, or until it is gone."""
    end = time.monotonic() + START_PATIENCE_S
    data = b""
    poll = select.poll()  # `select` takes no number over 1023, and a screen may hold as many files open
    poll.register(fd, select.POLLIN)
    while b"\n" not in data:
        ready = poll.poll(1000 * max(0.0, end - time.monotonic()))
        more = os.read(fd, 65536) if ready else b""
        if not more:
            break
        data += more
    return data


def _command_lives(folder: Path) -> bool:
    from qinspect.inspector.runs.belonging import Belongs
    from qinspect.inspector.runs.state import command_belongs, is_watched, processes_of

    processes = processes_of(folder)
    return processes is not None and command_belongs(folder, processes, is_watched(folder, processes)) is not Belongs.NO


def _cannot_write(error: OSError, place: Path) -> CannotStartRun:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cure = f"{_ELSEWHERE} free space on this one."
    elif error.errno == errno.EFBIG:
        cure = "Raise the limit on the size of files (`ulimit -f`)."
    else:
        cure = f"{_ELSEWHERE} make this one writable."
    where = error.filename if isinstance(error.filename, str | os.PathLike) else place
    # a file in the folder of this run, which goes again, says less than the folder that has no room
    if Path(where).is_relative_to(files.runs_folder()):
        where = files.runs_folder()
    return CannotStartRun(f"the run's folder cannot be written: {error.strerror}", file=os.fspath(where), cure=cure)


def _cannot_start(answer: dict[str, Any], spec: RunSpec, folder: Path) -> CannotStartRun:
    """The sentence for what the supervisor says."""
    program, code, where = spec.argv[0], answer.get("errno"), answer.get("file")
    if isinstance(where, str) and Path(where).is_relative_to(folder):
        return _cannot_write(OSError(code, answer.get("problem", ""), where), folder)
    if where == spec.cwd:
        return CannotStartRun(f"the working folder: {answer.get('problem')}", file=spec.cwd, cure="Give another --cwd.")
    path = Path(spec.cwd, program) if "/" in program else None
    # a folder in PATH that may not be entered makes "no such program" look like "not allowed"
    search = spec.env.get("PATH", os.environ.get("PATH"))
    nowhere = code == errno.EACCES and path is None and shutil.which(program, os.F_OK, search) is None
    if code == errno.ENOENT or nowhere:
        if path is not None and path.exists():
            cure = "Its first line names an interpreter that is not installed: start it with one that is."
            return CannotStartRun("its interpreter does not exist", file=path, cure=cure)
        expected = "a file" if path is not None else "a program in PATH"
        return CannotStartRun(
            "there is no such program", file=path or program, expected=expected, cure="Check the first word after --."
        )
    if code == errno.EACCES:
        return CannotStartRun("may not be executed", file=path or program, cure="chmod +x, or name an interpreter.")
    if code == errno.ENOEXEC:
        return CannotStartRun("is not a program", file=path or program, cure="Give it a first line such as #!/bin/sh.")
    if answer.get("problem"):
        return CannotStartRun(str(answer["problem"]), file=str(where or program))
    said = _last_words(folder / files.SUPERVISOR_LOG)
    return CannotStartRun("the supervisor gave no answer", found=said or "silence", file=folder)


def _last_words(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
