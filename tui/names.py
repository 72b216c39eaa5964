"""Text from files as the screen shows it: safe everywhere, and in ASCII where the terminal has nothing else."""

from __future__ import annotations

from qinspect.inspector.text import visible
from qinspect.tui.glyphs import ASCII, glyphs_for_locale


def shown(text: str, limit: int = 0) -> str:
    """`visible`, with letters beyond ASCII escaped where the locale has none: a terminal would show a question mark for
    each of their bytes, or something else, and every column behind them would be off."""
    return in_locale(visible(text, limit))


def in_locale(text: str) -> str:
    """`text` that is safe already, with what the locale cannot show escaped."""
    if text.isascii() or glyphs_for_locale() is not ASCII:
        return text
    return "".join(c if c.isascii() else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
