"""Turning untrusted names and raw numbers into text that is safe and reads the same everywhere.

Names come from files that may be hostile: an escape sequence, a newline or a right-to-left override must
reach neither the terminal nor a log. Numbers follow one precision rule for the whole program.
"""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
SIGNIFICANT_DIGITS = 6
"""Digits of a scale as printed: a float32 carries about 7, and fp16-grid steps show at 4."""

MAX_BITS = 256
"""Of an integer that is written out: no stored one has more than 64, and a pickle can hold millions."""


def visible(text: str, limit: int = 0) -> str:
    """`text` with every control, format, surrogate and unassigned character written as an escape.

    With `limit` > 0, longer text keeps its two ends and says how many characters are left out.
    """
    if limit and len(text) > limit:
        half = max(8, limit // 2 - 12)
        return f"{visible(text[:half])}...({len(text) - 2 * half} more)...{visible(text[-half:])}"
    if is_plain(text):
        return text
    return "".join(c if is_plain(c) else _escape(c) for c in text)


def is_plain(text: str) -> bool:
    """Whether `visible` leaves all of `text` as it is."""
    if not text.isprintable():
        return False
    return text.isascii() or all(unicodedata.category(c) not in _HIDDEN_CATEGORIES for c in text)


def visible_lines(text: str) -> str:
    """`visible` of each line of a text that was made here: its line ends are ours."""
    return text if is_plain(text) else "\n".join(map(visible, text.split("\n")))


def columns(*cells: str) -> str:
    """Cells with a tab between them, for the clipboard and the like: none of them adds a tab or a line."""
    return "\t".join(map(visible, cells))


def shell_words(words: Iterable[str]) -> str:
    """A command to paste into a shell. As shlex quotes; a word with characters that a terminal would obey when they
    are pasted stands in $'...', in which bash, zsh and ksh read escapes: the shell gets the word, the terminal nothing.
    """
    return " ".join(shlex.quote(w) if is_plain(w) else _dollar_quoted(w) for w in words)


def _dollar_quoted(word: str) -> str:
    made = []
    for c in word:
        if c in "\\'":
            made.append(f"\\{c}")
        elif is_plain(c):
            made.append(c)
        else:  # bytes, of three octal digits: no letter behind them can be taken for a part of them
            made += [f"\\{byte:03o}" for byte in c.encode("utf-8", "surrogateescape")]
    return f"$'{''.join(made)}'"


def _escape(c: str) -> str:
    code = ord(c)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def brief(value: object) -> str:
    """A parsed value for an error message. A container is only named: its text can be exponentially longer than the
    file, or nest too deeply to be written."""
    if isinstance(value, (str, bytes)):
        return visible(repr(value[:80]))
    if isinstance(value, int) and abs(value) >= 10**18:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else "")


def number(value: float | int) -> str:
    """A stored value: integers exactly, floats to `SIGNIFICANT_DIGITS`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= MAX_BITS else f"an integer of {value.bit_length()} bits"
    return f"{value:.{SIGNIFICANT_DIGITS}g}"


def times_text(ratio: float) -> str:
    """`47,142.5x`; of millions no digits that nobody reads: `6.5e+36x`."""
    return f"{ratio:.2g}x" if ratio >= 1e6 else f"{ratio:,.1f}x"


Range = tuple[float, float, int] | str
"""(minimum, maximum, how many are not finite) of a scale, or why there is none. The ends are of the finite values, NaN
where there are none; of one number, it."""


def range_text(found: Range, narrow: bool = False) -> str:
    """A scale's number or its range, the same on the screen and in a table. narrow: in about 17 columns."""
    if isinstance(found, str):
        return "unreadable" if narrow else found
    low, high, n_bad = found
    if low == high or (math.isnan(low) and n_bad == 1):
        text = number(low)
    elif math.isnan(low):
        return "none finite" if narrow else f"none of {n_bad:,} finite"
    else:
        text = f"{low:.2g}..{high:.2g}" if narrow else f"{number(low)} .. {number(high)}"
    if not n_bad or not math.isfinite(low):
        return text
    return f"{text} !{n_bad}" if narrow else f"{text}, {n_bad:,} not finite"


def percent(value: float) -> str:
    """A signed relative difference in percent: three significant digits, two decimals at most from 1 % up."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "+inf %" if value > 0 else "-inf %"
    magnitude = abs(value)
    if magnitude == 0:
        return "0 %"
    if magnitude < 1e-4:
        return f"{value:+.1e} %"
    if magnitude < 1:
        return f"{value:+.{min(6, 2 - math.floor(math.log10(magnitude)))}f} %"
    return f"{value:+.2f} %" if magnitude < 1000 else f"{value:+,.0f} %"


def magnitude(value: float) -> str:
    """The size of a relative difference in percent, without a sign."""
    return percent(abs(value)).lstrip("+")


def digits(value: float) -> str:
    """All digits that a float32 can have: for numbers that differ in the last one."""
    return f"{value:.9g}"


def some(n: int, one: str, many: str = "") -> str:
    """`1 scale`, `2 scales`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def first_clause(text: str) -> str:
    """What a description begins with: for a line that has no room for all of it."""
    return text.partition(",")[0]


def differ(n: int) -> str:
    """The verb for `some(n, ...)`."""
    return "differs" if n == 1 else "differ"


def are(n: int) -> str:
    """The same of `are`."""
    return "is" if n == 1 else "are"


def have(n: int) -> str:
    """The same of `have`."""
    return "has" if n == 1 else "have"


def share(part: int, whole: int) -> str:
    """`part` of `whole` in percent, never rounded to 0 or 100 where it is neither."""
    if whole == 0:
        return "0 %"
    ratio = 100.0 * part / whole
    if part in (0, whole):
        return f"{ratio:.0f} %"
    if ratio < 0.01:
        return "<0.01 %"
    if ratio > 99.99:
        return ">99.99 %"
    return f"{ratio:.2f} %" if ratio < 10 or ratio > 90 else f"{ratio:.1f} %"


def size(n_bytes: int) -> str:
    """Bytes in decimal units, as file managers and model cards give them."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    value = float(n_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5:  # 999.5 would round to 1000
            return f"{value:.3g} {unit}"
    return f"{value:,.0f} TB"


def count(n: int) -> str:
    """A count with separators: 60,000."""
    return f"{n:,}"


def dims(shape: tuple[int, ...]) -> str:
    """A shape: `[1, 4, 4]`, and `scalar` for no dimensions. Of more than 16, the ends."""
    if len(shape) > 16:
        ends = (", ".join(map(str, part)) for part in (shape[:4], shape[-4:]))
        return f"[{f', ... {len(shape) - 8} more ..., '.join(ends)}]"
    return "scalar" if not shape else f"[{', '.join(map(str, shape))}]"


_DIGITS = re.compile(r"[0-9]{1,18}")
_NUMBERS = re.compile(r"([0-9]{1,18})")
"""The same, for who splits."""


def natural_key(name: str) -> str:
    """Sort key that puts layer 2 before layer 10: numbers of one length, before every letter.

    One string: a list of parts takes 700 bytes a name.
    """
    return ".".join(map(_natural_part, name.split(".")))


def natural_keys(names: Sequence[str]) -> list[str]:
    """`natural_key` of each: no number goes beyond a name, so that one search finds those of all."""
    parts = _NUMBERS.split("\n".join(names))
    parts[1::2] = map(_padded_digits, parts[1::2])
    keys = "".join(parts).split("\n")
    return keys if len(keys) == len(names) else list(map(natural_key, names))


@lru_cache(1 << 14)  # few parts occur in 60,000 names, and no number has a dot in it
def _natural_part(part: str) -> str:
    return _DIGITS.sub(_padded, part)


def _padded(number: re.Match[str]) -> str:
    return _padded_digits(number[0])


@lru_cache(1 << 10)
def _padded_digits(digits: str) -> str:
    return f"\0{digits:0>18}"
