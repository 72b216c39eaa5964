"""Textual's Linux driver, made to bear a terminal that goes away: a lost connection must end the program."""

from __future__ import annotations

import signal
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver


class Forgiving:
    """A stream whose reader may be gone. A write that fails must not end the writer's thread: the rest of the program
    waits for it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if somebody listens."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Flush, if somebody listens."""
        try:
            self._stream.flush()
        except OSError:
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Terminal(LinuxDriver):
    """The driver that the app uses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file: Any = Forgiving(self._file)

    def _sigcont_application(self, *signal_and_frame: Any) -> None:
        """Resume, if there was a suspension: with SIGHUP the kernel sends SIGCONT too, and a second start of the
        driver's threads never ends."""
        if self._must_signal_resume:
            super()._sigcont_application(*signal_and_frame)

    def run_input_thread(self) -> None:
        """Read keys; leave when the terminal cannot be read any more."""
        try:
            super().run_input_thread()
        except OSError:
            self._app.call_later(self._app.exit, return_code=128 + signal.SIGHUP)
