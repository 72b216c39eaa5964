"""Progress bars as tqdm draws them, and everything built on tqdm: transformers, datasets, huggingface_hub, vLLM."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"\d{1,15}(?:\.\d{1,9})?[kMGTPEZY]?"
_CLOCK = r"(?:\d{1,4} days?, )?[\d:.]{1,16}|\?"
_TIMES = (
    rf"\[(?P<elapsed>{_CLOCK})(?:<(?P<eta>{_CLOCK}))?(?:, *(?P<rate>[^\],]{{1,60}}))?(?P<postfix>, [^\]]{{0,400}})?\]"
)
_AFTER_PERCENT = re.compile(
    rf"%(?: Completed )?\|(?:[^|]{{0,400}}\|)? ?(?P<done>{_NUMBER})(?P<unit>[A-Za-z]{{0,8}})/(?P<total>{_NUMBER})"
    rf"[A-Za-z]{{0,8}} {_TIMES}"
)
_PERCENT = re.compile(r"(?:^|[ :])(\d{1,3})$")
_NO_TOTAL = re.compile(rf"(?P<done>{_NUMBER})(?P<unit> ?[A-Za-z]\w{{0,30}}) {_TIMES}")
_RATE = re.compile(rf"(?P<value>{_NUMBER})(?P<unit> ?[^\d/]{{0,40}})/s|(?P<slow>{_NUMBER})s/(?P<per> ?[^\d]{{1,40}})")
_FACTORS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21, "Y": 1e24}
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Bar:
    """One state of a bar. rate: units per second. Times in seconds. None where the bar does not say. size: characters
    up to its end; a logger may write on in the same line."""

    name: str
    done: int | float
    total: int | float | None
    unit: str
    rate: float | None
    eta_s: float | None
    elapsed_s: float | None
    size: int

    @property
    def complete(self) -> bool:
        """Whether it reached its total."""
        return self.total is not None and self.done >= self.total


def may_hold_bar(raw: bytes) -> bool:
    """A quick test that passes every line with a bar."""
    return b"%|" in raw or b"% Completed |" in raw or ((b"/s" in raw or b"s/" in raw or b"?]" in raw) and b" [" in raw)


def read_bar(text: str) -> Bar | None:
    """The first bar in a piece of a line; None where there is none."""
    at = text.find("%|")
    if at < 0:
        at = text.find("% Completed |")
    if at >= 0:
        percent = _PERCENT.search(text, max(0, at - 4), at)
        found = _AFTER_PERCENT.match(text, at)
        if not percent or not found:
            return None
        return _made(text[: percent.start(1)], found)
    bracket = text.find(" [")
    start = max(0, bracket - 60)
    while bracket >= 0:
        word = text.rfind(" ", start, bracket)  # the unit may stand apart: `1000 examples [`
        for begin in (word, text.rfind(" ", start, word) if word > start else -1):
            found = _NO_TOTAL.match(text, begin + 1)
            if found:
                return _made(text[: begin + 1], found)
        start = bracket + 1
        bracket = text.find(" [", bracket + 2) if bracket < 500 else -1
    return None


def _made(before: str, found: re.Match[str]) -> Bar:
    parts = found.groupdict()
    rate, unit = _read_rate(parts["rate"] or "")
    total = parts.get("total")
    name = before.strip().removesuffix(":").strip()
    return Bar(
        name=name[-MAX_NAME_CHARACTERS:],
        done=_number(parts["done"]),
        total=None if total is None else _number(total),
        unit=unit or parts["unit"].strip() or "it",
        rate=rate,
        eta_s=_seconds(parts["eta"]),
        elapsed_s=_seconds(parts["elapsed"]),
        size=found.end(),
    )


def _read_rate(text: str) -> tuple[float | None, str]:
    found = _RATE.fullmatch(text.strip())
    if not found:
        return None, text.strip().removeprefix("?").removesuffix("/s").strip() if text.strip().startswith("?") else ""
    if found["slow"]:
        seconds = float(_number(found["slow"]))
        return (1 / seconds if seconds else None), found["per"].strip()
    return float(_number(found["value"])), found["unit"].strip()


def _number(text: str) -> int | float:
    if text[-1] in _FACTORS:
        return float(text[:-1]) * _FACTORS[text[-1]]
    return float(text) if "." in text else int(text)


def _seconds(text: str | None) -> float | None:
    """`1:02:03` or `02:03` in seconds; None for `?`."""
    if not text or text == "?":
        return None
    days, _, clock = text.rpartition(", ")
    seconds = 0.0
    for part in clock.split(":"):
        try:
            seconds = seconds * 60 + float(part or 0)
        except ValueError:
            return None
    return seconds + (int(days.split(" ")[0]) * 86_400 if days else 0)
