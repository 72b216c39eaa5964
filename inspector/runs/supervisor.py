"""The process that watches one run: `python -m qinspect.inspector.runs.supervisor FOLDER`.

It has a session of its own and no terminal. The command writes into the log by itself, so that the death of this
process costs events and the exit code, never the command or its output. Its first line on stdout says whether the
command was started; whoever launched it waits for that line.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qinspect.inspector.runs import folder as files
from qinspect.inspector.runs.ending import ending_of, kill_group
from qinspect.inspector.runs.identity import ProcessId, group_members, identify
from qinspect.inspector.runs.journal import Journal
from qinspect.inspector.runs.result import CancelRequest, Result, read_cancel
from qinspect.inspector.runs.sign import heartbeat
from qinspect.inspector.runs.tail import LogTail
from qinspect.inspector.runs.throttle import Item, Throttle
from qinspect.inspector.runs.watch import GpuWatch
from qinspect.inspector.whole_file import sweep

TICK_S = 0.5
HEARTBEAT_S = 5.0
_READ_S_PER_TICK = 0.4
_DRAIN_S = 20.0
"""Longest time that the rest of the log is read for when the command has ended."""
_LAST_BYTES = 8 << 20
"""Of a log that grew faster than it could be looked at, so much of its end is looked at whatever it takes."""
_RESERVE_BYTES = 16 << 10
_RESULT_TRIES, _RESULT_RETRY_S = 120, 5.0
_WATCHED = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})


class Supervisor:
    """One run from its start to its result."""

    def __init__(self, folder: Path, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.argv = argv
        self.cwd = cwd
        self.env = {"PYTHONUNBUFFERED": "1", **os.environ, **env, files.RUN_VARIABLE: folder.name}
        self.journal: Journal | None = None
        self.tail = LogTail(folder / files.LOG, argv)
        self.throttle = Throttle()
        self.gpus = GpuWatch()
        self.started = time.monotonic()
        self.killed = False
        self.cancel: CancelRequest | None = None
        self._kill_at = math.inf
        self._signal_on_request = False
        self._beat = 0.0
        self._me = identify(os.getpid())

    def run(self) -> None:
        """Start the command, watch it, write how it ended. Raises OSError where it could not be started."""
        with _names(self.folder):
            self.journal = Journal(self.folder / files.EVENTS)
            (self.folder / files.RESERVE).write_bytes(b"\0" * _RESERVE_BYTES)
            (self.folder / files.HEARTBEAT).write_bytes(heartbeat())
            self._record(None)
        # from here on signals wait until they are asked for: one that came earlier would end us, and not the command
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        command = _start(self.argv, self.cwd, self.env, self.folder / files.LOG)
        try:
            with _names(self.folder):
                self._record(identify(command.pid))
        except OSError:
            os.killpg(command.pid, signal.SIGKILL)  # one that nobody could find again must not live
            command.wait()
            raise
        self.started = time.monotonic()
        self._write("start", {"pid": command.pid})
        _say({"started": command.pid})
        while command.poll() is None:
            self._wait(TICK_S)
            self._tick(command.pid)
        self._end(command)

    def _record(self, command: ProcessId | None) -> None:
        content: dict[str, Any] = {"supervisor": self._me.as_dict() if self._me else None, "command": None}
        if command is not None:
            content |= {"command": command.as_dict(), "pgid": command.pid}
        files.write_json(self.folder / files.PROCESS, content)

    def _wait(self, seconds: float) -> None:
        """Sleep, or until the command ends or somebody sends a signal."""
        found = signal.sigtimedwait(_WATCHED, seconds)
        if found is not None and found.si_signo != signal.SIGCHLD and self.cancel is None:
            who = f"process {found.si_pid} of user {found.si_uid}"
            request = CancelRequest(f"{who} (through the supervisor)", time.time(), 10.0)
            self._take(request)
            with contextlib.suppress(OSError):
                files.create_json(self.folder / files.CANCEL, request.as_dict())
            self._signal_on_request = True

    def _take(self, request: CancelRequest) -> None:
        """The grace of a request counts from when it is first seen: the clock of its time may be set meanwhile."""
        self.cancel = request
        self._kill_at = time.monotonic() + request.grace_s

    def _tick(self, pgid: int) -> None:
        now = time.monotonic()
        if now - self._beat >= HEARTBEAT_S:
            self._beat = now
            self._give_sign()
        self._write_all(self.tail.read(_READ_S_PER_TICK), now)
        for item in (*self.throttle.due(now), *self.gpus.due(now)):
            self._write(*item)
        self._enforce_cancel(pgid)

    def _give_sign(self) -> None:
        """Neither the time of the file nor the same bytes again need room on the disk."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / files.HEARTBEAT)
            handle = os.open(self.folder / files.HEARTBEAT, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.pwrite(handle, heartbeat(), 0)
            finally:
                os.close(handle)

    def _enforce_cancel(self, pgid: int) -> None:
        """Send SIGKILL when the grace is over. SIGTERM was sent by who asked, unless that one asked us."""
        asked = read_cancel(self.folder)
        if asked is not None and (self.cancel is None or asked.time != self.cancel.time):
            self._take(asked)  # the first, or a later one, which counts its own grace
        if asked is not None and asked.sigkill:
            self.killed = True
        if self.cancel is None:
            return
        if self._signal_on_request:
            self._signal_on_request = False
            kill_group(pgid, signal.SIGTERM)
        if time.monotonic() >= self._kill_at:
            self.killed = kill_group(pgid, signal.SIGKILL) or self.killed

    def _write_all(self, items: Iterable[Item], now: float) -> None:
        for kind, fields in items:
            for item in self.throttle.add(kind, fields, now):
                self._write(*item)

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        if self.journal is not None:
            self.journal.append(kind, fields)

    def _end(self, command: subprocess.Popen[bytes]) -> None:
        ended, took_s = time.time(), time.monotonic() - self.started
        self._enforce_cancel(command.pid)
        # children that outlive their cancelled parent get the rest of the grace
        while self.cancel is not None and group_members(command.pid):
            self._wait(TICK_S)
            self._tick(command.pid)
        now = time.monotonic()
        self._write_all(self.tail.read(_DRAIN_S), now)
        middle = self.tail.skip_middle(_LAST_BYTES) if self.tail.backlog() > _LAST_BYTES else 0
        if middle:  # what ended the run stands at the end
            self._write_all(self.tail.read(_DRAIN_S), now)
        skipped = self.tail.backlog()
        for item in self.throttle.close():  # what the end of the log says comes after what the log said
            self._write(*item)
        self._write_all(self.tail.close(), now)
        for item in self.throttle.close():
            self._write(*item)
        if middle:
            text = f"{middle:,} bytes in the middle of the log were not looked at for events: it grew too fast"
            self._write("warning", {"text": text})
        if skipped:
            self._write("warning", {"text": f"the last {skipped:,} bytes of the log were not looked at for events"})
        result = ending_of(command.returncode, self.cancel, self.killed, ended, took_s, self.tail)
        self._write("end", {"outcome": str(result.outcome), "exit_code": result.exit_code, "signal": result.signal})
        _write_result(self.folder, result, self.journal)
        if self.journal is not None:
            self.journal.close()
        for place, _, _ in os.walk(self.folder):  # what a killed command left half written
            sweep(Path(place))


def _write_result(folder: Path, result: Result, journal: Journal | None) -> None:
    """Write result.json; on a full disk into the room of the reserve, else again and again for some minutes."""
    content = result.as_dict()
    if journal is not None and journal.lost:
        note = f"{journal.lost:,} events could not be written: {journal.problem}; the log may lack lines too"
        content["notes"] = [*content["notes"], note]
    for i in range(_RESULT_TRIES):
        try:
            files.create_json(folder / files.RESULT, content)
            break
        except OSError as e:
            (folder / files.RESERVE).unlink(missing_ok=True)
            if not folder.is_dir():
                return
            if i == 1:
                sys.stderr.write(
                    f"{folder / files.RESULT}: cannot be written: {e.strerror}. Free space on this disk.\n"
                )
            if i:
                time.sleep(_RESULT_RETRY_S)
    with contextlib.suppress(OSError):
        (folder / files.RESERVE).unlink(missing_ok=True)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


@contextlib.contextmanager
def _names(folder: Path) -> Iterator[None]:
    """An error of the disk, which names no file, is one of the run's folder and not of its command."""
    try:
        yield
    except OSError as e:
        raise OSError(e.errno, e.strerror, e.filename or str(folder)) from e


def _start(argv: Sequence[str], cwd: str, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The command, in a session of its own, writing to the end of the log. Raises OSError."""
    # O_APPEND: several processes of the run write whole lines one after another, also after somebody truncates the file
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, start_new_session=True,
            # the command is to hear the signals that we hold back; we have no threads yet
            preexec_fn=_unblock,  # noqa: PLW1509
        )  # fmt: skip
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run: told by whoever launches, through a pipe. What the files of a folder say is not executed, and
    secrets are in no file."""

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]

    def as_json(self) -> bytes:
        """For the supervisor's stdin."""
        return json.dumps({"argv": self.argv, "cwd": self.cwd, "env": self.env}).encode()

    @classmethod
    def read(cls) -> Order | None:
        """From our stdin; None where nobody says anything."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(sys.stdin.buffer.read())
            words = tuple(map(str, content["argv"]))
            env = {str(k): str(v) for k, v in content["env"].items()}
            if words:
                return cls(words, str(content["cwd"]), env)
        return None


def _say(content: dict[str, Any]) -> None:
    """One line to whoever launched us, who may be gone; nothing more is ever said there."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(content).encode() + b"\n")
    os.dup2(2, 1)


def main(argv: list[str]) -> int:
    """Watch the run of a folder. Returns the exit code of the supervisor: 0, or 1 where nothing was started."""
    folder = Path(argv[0])
    if os.fork():  # whoever launched us is not to be our parent: it would have to wait for us
        os._exit(0)
    # a handler and not SIG_IGN, which the command would inherit
    signal.signal(signal.SIGHUP, lambda *_: None)
    order = Order.read()
    if order is None:
        _say({"problem": "nobody said what to run", "file": str(folder)})
        return 1
    try:
        Supervisor(folder, order.argv, order.cwd, order.env).run()
    except OSError as e:
        _say({"problem": e.strerror or str(e), "errno": e.errno, "file": e.filename and os.fsdecode(e.filename)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
