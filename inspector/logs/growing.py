"""The summary of a log that grows: each look reads what came since the last one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qinspect.inspector.logs.parser import LogParser
from qinspect.inspector.logs.patterns import Patterns, load_patterns
from qinspect.inspector.logs.summary import CHUNK_BYTES, LogSummary, Summary, opened_log
from qinspect.inspector.progress import Steps, untold


class GrowingSummary:
    """`read` belongs into a thread, one at a time.

    argv: the command that writes the log, whose options count as asked for. patterns: `load_patterns()` if None.
    """

    def __init__(self, path: Path, argv: Sequence[str] = (), patterns: Patterns | None = None) -> None:
        self._path, self._argv = path, argv
        self._patterns = patterns
        self._begin((0, 0))

    def _begin(self, identity: tuple[int, int]) -> None:
        self._patterns = load_patterns() if self._patterns is None else self._patterns
        self._identity = identity
        self._parser, self._summary = LogParser(self._patterns, self._argv), Summary(str(self._path))
        self._n_bytes = 0
        self._last: LogSummary | None = None

    def read(self, final: bool, on_progress: Steps = untold) -> LogSummary:
        """All that the log says by now. final: it ends there, and conclusions are drawn from that; whatever comes
        later is not read. on_progress is told bytes read and bytes in all; it may raise, and the next look goes on from
        there. A log that was replaced or cut is read anew.

        Raises CannotOpen where it cannot be read.
        """
        if self._last is not None:
            return self._last
        with opened_log(self._path) as stream:
            status = os.fstat(stream.fileno())
            identity = status.st_dev, status.st_ino
            if identity != self._identity or status.st_size < self._n_bytes:
                self._begin(identity)
            stream.seek(self._n_bytes)
            # no further than it was when the look began: a command may print as fast as it is read
            while (left := status.st_size - self._n_bytes) > 0 and (data := stream.read(min(left, CHUNK_BYTES))):
                for event in self._parser.feed(data):
                    self._summary.add(event)
                self._n_bytes += len(data)
                on_progress(self._n_bytes, status.st_size)
        if not final:
            return self._summary.so_far(self._parser, self._n_bytes)
        self._last = self._summary.finish(self._parser, self._n_bytes)
        return self._last
