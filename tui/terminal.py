"""Textual's Linux driver, made for slow and mortal connections: it writes only what changed, never makes the program
wait for the terminal, and ends the program when the terminal goes away."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import IO, Any

from textual import constants, events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from qinspect.tui.frames import Frames
from qinspect.tui.suspending import has_job_control

_SYNC_START, _SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
_OTHER_SCREEN = "\x1b[?1049"
_IDLE_S = 0.1
"""How often the input thread looks whether it is to end."""
_SLOW_S = 0.5
"""A write that takes longer than this has filled the connection's buffers."""


class Output:
    """The stream of the writer's thread.

    A write that fails must not end that thread, the rest of the program waits for it. FRAME stands for "whatever is
    painted by then": while the terminal is slow, frames that nobody would see are never made.
    """

    FRAME = "\x1b[frame"

    def __init__(self, stream: IO[str], frames: Frames, on_slow: Callable[[], None]) -> None:
        self._stream = stream
        self._frames = frames
        self._on_slow = on_slow
        self.frame_is_queued = False
        self.synchronized = False

    def write(self, text: str) -> int:
        """Write, if somebody listens."""
        if text == self.FRAME:
            self.frame_is_queued = False
            text = self._frames.take()
            if text and self.synchronized:
                text = f"{_SYNC_START}{text}{_SYNC_END}"
        start = time.monotonic()
        try:
            if text:
                self._stream.write(text)
                self._stream.flush()
        except OSError:
            return len(text)
        if time.monotonic() - start > _SLOW_S:
            self._on_slow()
        return len(text)

    def flush(self) -> None:
        """Nothing is left over by `write`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Terminal(LinuxDriver):
    """The driver that the app uses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frames = Frames()
        self._output = Output(self._file, self._frames, self._say_slow)
        self._file: Any = self._output
        self.resumed_at = 0.0
        """When we came back from the shell last: of the clock that messages have."""

    def write(self, data: str) -> None:
        """Paint, or pass on what is not painting."""
        if data in (_SYNC_START, _SYNC_END):
            self._output.synchronized = True
        elif self._frames.put(data):
            self._queue_frame()
        else:
            if _OTHER_SCREEN in data:
                self._frames.forget()
            super().write(data)

    def _queue_frame(self) -> None:
        if not self._output.frame_is_queued:
            self._output.frame_is_queued = True
            super().write(Output.FRAME)

    def suspend(self) -> None:
        """Give the terminal back and stop, with all of our process group: a script that started us is to stop too. When
        the shell lets us go on, SIGCONT takes the terminal again; behind the shell (`bg`), it stops us once more."""
        self.suspend_application_mode()
        self._must_signal_resume = True
        os.kill(0, signal.SIGSTOP)

    def _sigtstp_application(self, *signal_and_frame: Any) -> None:
        """Somebody else asks us to stop."""
        if has_job_control():
            self.suspend()

    def start_application_mode(self) -> None:
        """Take the terminal, and listen to its changes of size before Textual does."""
        resumes = self._must_signal_resume
        began = time.monotonic()  # before keys are read: none that comes from now on was meant for the shell
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if resumes and not self._must_signal_resume:  # else we are in the background still
            self.resumed_at = began
            self._frames.forget(shutil.get_terminal_size())
            self._output.frame_is_queued = False
            self._queue_frame()
        textuals = signal.getsignal(signal.SIGWINCH)

        def on_resize(number: int, frame: Any) -> None:
            self._frames.forget(shutil.get_terminal_size())
            if callable(textuals):
                textuals(number, frame)

        signal.signal(signal.SIGWINCH, on_resize)

    def process_message(self, message: Message) -> None:
        """A message from the terminal; its size may come so too."""
        if isinstance(message, events.Resize):
            self._frames.forget((message.size.width, message.size.height))
        super().process_message(message)

    def repaint(self) -> None:
        """Write everything again, after another program wrote on this terminal."""
        self._frames.forget()
        self._queue_frame()

    def _say_slow(self) -> None:
        self._app.call_later(self._app.on_slow_terminal)  # type: ignore[attr-defined]

    def _sigcont_application(self, *signal_and_frame: Any) -> None:
        """Resume, if there was a suspension: with SIGHUP the kernel sends SIGCONT too, and a second start of the
        driver's threads never ends."""
        if self._must_signal_resume:
            super()._sigcont_application(*signal_and_frame)

    def run_input_thread(self) -> None:
        """Read keys; leave when the terminal cannot be read any more.

        Textual looks ten times a second whether an escape was the key or the start of a sequence. Here the first look
        is after ESCAPE_DELAY: escape closes things, and a tenth of a second is felt.
        """
        try:
            self._read_keys()
        except OSError:
            self._app.call_later(self._app.exit, return_code=128 + signal.SIGHUP)

    def _read_keys(self) -> None:
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        timeout = _IDLE_S
        while not self.exit_event.is_set():
            ready, _, _ = select.select([self.fileno], [], [], timeout)
            if ready:
                data = os.read(self.fileno, 4096)
                if not data:
                    raise OSError("the terminal is gone")
                text = decode(data)
                for message in parser.feed(text) if text else ():
                    self.process_message(message)
            timeout = constants.ESCAPE_DELAY if ready else _IDLE_S
            for message in parser.tick():
                self.process_message(message)
