"""Python's tracebacks, as the interpreter prints and as rich draws them: one error each, with all it is chained to."""

from __future__ import annotations

import re

from qinspect.inspector.logs.blocks import MAX_LINE_CHARACTERS, Said
from qinspect.inspector.logs.ends import Ends
from qinspect.inspector.text import visible

MAX_TRACEBACK_LINES = 400
TRACEBACK = "Traceback (most recent call last)"
_PLAIN = "Traceback (most recent call last):"
HANDLED = ("Exception ignored ", "--- Logging error ---", "Error in atexit._run_exitfuncs")
"""What Python writes before the traceback of an exception that ends nothing."""
EXCEPTION = re.compile(r"[A-Za-z_][\w.]{0,200}(?::|$)")
_BARE = re.compile(r"(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Za-z_]\w{0,80}(?:Error|Exception|Interrupt)(?:: |:?$)")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_MORE = (
    "CUDA kernel errors might",
    "For debugging consider",
    "Compile with `TORCH_USE_CUDA_DSA`",
    "Device-side",
    "Search for `cuda",
    "If reserved but unallocated memory is large",
    "Last error:",
)


def is_exception(text: str) -> bool:
    """Whether a line is an exception by its name, without its traceback."""
    named = "Error" in text or "Exception" in text or "Interrupt" in text
    return named and _BARE.match(text) is not None


def begins_traceback(text: str) -> bool:
    """Whether a text with TRACEBACK in it begins another one than the last: words stand before it."""
    return text[: text.find(TRACEBACK)].strip(" \t|+") not in ("", "Exception Group") and not BoxBlock.starts(text)


class TracebackBlock:
    """What the interpreter prints. text: the line that begins it, without what its speaker writes before each line.
    handled: the program goes on after it, as Python itself says."""

    def __init__(self, text: str, *, handled: bool = False) -> None:
        self.events: list[Said] = []
        self.done = False
        self._handled = handled
        start = text.find(TRACEBACK)
        before = text[:start]
        # in an exception group the frame is drawn before it: `  + Exception Group Traceback`
        self._indent = before if not before.strip() else ""
        self._lines: Ends[str] = Ends(MAX_TRACEBACK_LINES)
        self._lines.add(visible(text[start:], MAX_LINE_CHARACTERS))
        self._exception = ""
        self._chained = self._frames = 0
        self._in_body = True

    def add(self, text: str, headed: bool) -> bool:
        """Whether the next line is part of it."""
        if self._indent and text.startswith(self._indent):
            text = text[len(self._indent) :]
        if text.startswith((" ", "\t")):
            self._frames += text.lstrip().startswith("File ")
            return self._keep(text)
        if TRACEBACK in text and not headed:
            if not self._in_body and not (self._lines.latest or "").startswith(_CHAINED):
                return False
            self._in_body = True
            return self._keep(text)
        if text.startswith(_CHAINED):
            self._chained += 1
            return self._keep(text)
        if not self._in_body:
            return text.startswith(_MORE) and self._keep(text)
        if headed or not EXCEPTION.match(text):
            return False
        self._in_body = False
        self._exception = visible(text, MAX_LINE_CHARACTERS)
        return self._keep(text)

    def _keep(self, text: str) -> bool:
        self._lines.add(visible(text, MAX_LINE_CHARACTERS))
        return True

    def blank(self) -> bool:
        """Whether it goes on after an empty line."""
        return True

    def finish(self) -> None:
        """There is no more."""
        text = self._exception or "a traceback without its exception"
        lines = self._lines.all()
        error = _error(text, lines, self._frames, self._chained, self._lines.left_out)
        self.events.append(("error", {**error, "handled": True} if self._handled else error))
        self.done = True


class BoxBlock:
    """What rich draws: frames in a box, then the exception, folded at the width of the box."""

    _FRAME = re.compile(r"(?:in )?(\S[^│|]{0,300}:\d{1,9})(?: in (\S{1,200}))?$")

    def __init__(self, text: str) -> None:
        self.events: list[Said] = []
        self.done = False
        self._width = len(text.strip())
        self._lines: Ends[str] = Ends(MAX_TRACEBACK_LINES)
        self._lines.add("Traceback (most recent call last):")
        self._exception = ""
        self._last = ""
        self._chained = self._frames = 0
        self._in_box = True

    @staticmethod
    def starts(text: str) -> bool:
        """Whether a line is the upper edge of such a box."""
        return text.lstrip().startswith(("╭", "┌", "+--")) and TRACEBACK in text

    def add(self, text: str, headed: bool) -> bool:
        """Whether the next line is part of it."""
        if self.starts(text):
            self._in_box, self._exception, self._last = True, "", ""
            return True
        if self._in_box:
            return self._add_inside(text.strip())
        if text.startswith(_CHAINED):
            self._chained += 1
            return True
        if headed or (not self._exception and not EXCEPTION.match(text)):
            return False
        if self._exception and not self._is_folded(text):
            return False
        self._exception = visible(f"{self._exception} {text.strip()}".strip(), MAX_LINE_CHARACTERS)
        self._last = text.rstrip()
        return True

    def _add_inside(self, text: str) -> bool:
        if text.startswith(("╰", "└")) or (text.startswith("+--") and text.endswith("+")):
            self._in_box = False
            return True
        if not text.startswith(("│", "|")):
            return False
        inside = text[1:].rstrip("│| ").strip()
        frame = self._FRAME.fullmatch(inside)
        if frame:
            self._frames += 1
            self._keep(f"  {frame[1]}" + (f" in {frame[2]}" if frame[2] else ""))
        elif inside.startswith("❱"):
            self._keep("    " + re.sub(r"^❱\s*\d*\s*[│|]?[\s│|]*", "", inside))
        return True

    def _keep(self, text: str) -> None:
        self._lines.add(visible(text, MAX_LINE_CHARACTERS))

    def _is_folded(self, text: str) -> bool:
        """Whether the line before was folded here: its next word had no room in it."""
        return bool(self._last) and len(self._last) + 1 + len(text.split(" ", 1)[0]) > self._width

    def blank(self) -> bool:
        """Whether it goes on after an empty line."""
        return self._in_box or not self._exception

    def finish(self) -> None:
        """There is no more."""
        if self._exception:
            self._keep(self._exception)
        text = self._exception or "a traceback without its exception"
        lines = self._lines.all()
        self.events.append(("error", _error(text, lines, self._frames, self._chained, self._lines.left_out)))
        self.done = True


def _error(text: str, lines: list[str], frames: int, chained: int, left_out: int) -> dict[str, object]:
    return {
        "text": text,
        "type": text.split(":")[0] if not text.startswith("a traceback") else "",
        "traceback": "\n".join(lines),
        "frames": frames,
        "chained": chained,
        "lines_left_out": left_out,
    }
