"""The log as it grows, fed to the parser. Whatever the parser does, the run goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qinspect.inspector.runs.stored import open_file
from qinspect.inspector.runs.throttle import Item
from qinspect.inspector.withheld import withhold_in

if TYPE_CHECKING:
    from qinspect.inspector.logs import LogEvent

_CHUNK_BYTES = 256 << 10
_MAX_FAILURES = 5
"""After so many errors the parser is not asked again."""
_LAST_LINE_BYTES = 8 << 10
_SKIP_BYTES = 1 << 20


class LogTail:
    """Reads what was appended to the log since the last time."""

    def __init__(self, path: Path, argv: Sequence[str] = ()) -> None:
        self.path = path
        self._argv = tuple(argv)
        self.offset = 0
        self.last_error: str | None = None
        self._failures = 0
        self._pending: list[Item] = []
        self._parser: Any = self._new_parser()

    def read(self, seconds: float) -> Iterator[Item]:
        """Events in what the log has got, for at most so many seconds of work."""
        end = time.monotonic() + seconds
        try:
            with open_file(self.path) as f:
                if f.seek(0, 2) < self.offset:
                    self.offset = 0
                    yield "warning", {"text": "the log became shorter: it is read from its start again"}
                f.seek(self.offset)
                while data := f.read(_CHUNK_BYTES):
                    self.offset += len(data)
                    yield from self._feed(data)
                    if time.monotonic() > end:
                        return
        except OSError as e:
            self._fail(e)
        yield from self._take_pending()

    def backlog(self) -> int:
        """Bytes of the log that were not read yet."""
        try:
            return max(0, self.path.stat().st_size - self.offset)
        except OSError:
            return 0

    def skip_middle(self, keep_bytes: int) -> int:
        """Pass over what was not read yet but for the last `keep_bytes`, from the line on that begins there; returns
        how many bytes that is, 0 where nothing could be passed over. Its lines are counted."""
        if self._parser is None or not self._parser.can_skip:
            return 0
        try:
            with open_file(self.path) as f:
                wanted = f.seek(0, 2) - keep_bytes - self.offset
                f.seek(self.offset)
                skipped = n_lines = 0
                while skipped < wanted and (data := f.read(min(_SKIP_BYTES, wanted - skipped))):
                    skipped += len(data)
                    n_lines += data.count(b"\n")
                while skipped > 0 and (data := f.read(_CHUNK_BYTES)):
                    end = data.find(b"\n") + 1
                    skipped += end or len(data)
                    if end:
                        self._parser.skip(skipped, n_lines + 1)
                        self.offset += skipped
                        return skipped
        except OSError as e:
            self._fail(e)
        return 0

    def close(self) -> Iterator[Item]:
        """Events that only the end of the log completes."""
        yield from self._ask(lambda: self._parser.close())  # noqa: PLW0108 - there may be no parser to take it from
        yield from self._take_pending()

    def _feed(self, data: bytes) -> Iterator[Item]:
        yield from self._ask(lambda: self._parser.feed(data))
        yield from self._take_pending()

    def _ask(self, work: Any) -> Iterator[Item]:
        if self._parser is None:
            return
        try:
            for event in work():
                yield self._item(event)
        except Exception as e:  # a mistake in a pattern must not end the watch over a run
            self._fail(e)

    def _item(self, event: LogEvent) -> Item:
        fields = {**event.fields, "line": event.line, "offset": event.offset}
        if event.kind == "error":
            self.last_error = withhold_in(str(event.fields.get("text", ""))[:2000]) or self.last_error
        return event.kind, fields

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            text = f"the log could not be understood here: {type(error).__name__}: {error}"[:500]
            self._pending.append(("warning", {"text": text}))
        self._parser = self._new_parser() if self._failures < _MAX_FAILURES else None

    def _take_pending(self) -> Iterator[Item]:
        taken, self._pending = self._pending, []
        yield from taken

    def _new_parser(self) -> Any:
        try:
            from qinspect.inspector.logs import LogParser

            return LogParser(argv=self._argv)
        except Exception as e:  # the user's own patterns may be what is wrong
            self._pending = [("warning", {"text": f"logs are not understood: {type(e).__name__}: {e}"[:500]})]
            return None


def last_line(log: Path) -> str:
    """The last line of a log that has text, without secrets; "" for none."""
    try:
        with open_file(log) as f:
            f.seek(max(0, f.seek(0, 2) - _LAST_LINE_BYTES))
            lines = f.read().decode("utf-8", "replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    return withhold_in(next((line.strip()[:500] for line in reversed(lines) if line.strip()), ""))
