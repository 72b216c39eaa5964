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
# GPTQModel's: `|██---| 0:01:45 / 0:28:00 [2/3] 66.7%`
_LOGBAR = re.compile(
    rf"\|[^|]{{1,400}}\| ?(?P<elapsed>{_CLOCK}) / (?P<all>{_CLOCK}) \[(?P<done>\d{{1,9}})/(?P<total>\d{{1,9}})\]"
    r" (?P<percent>\d{1,3})(?:\.\d{1,3})?%"
)
# rich's: `Quantizing ━━━━╸━━━━  40% 2/5 0:00:12`
_RICH = re.compile(
    r"[━╸╺]{4,400} +(?P<percent>\d{1,3})%(?: +(?P<done>\d{1,12})/(?P<total>\d{1,12}))?"
    r"(?: +(?P<clock>\d{1,3}:\d\d:\d\d|-:--:--))?"
)
# Keras': `10/100 [==>......] - ETA: 3s`
_KERAS = re.compile(r"(?P<done>\d{1,9})/(?P<total>\d{1,9}) \[[=>.]{10,100}\](?: - ETA: (?P<eta>[\d:]{1,12})s?)?")
_PERCENT = re.compile(r"(?:^|[ :])(\d{1,3})$")
_NO_TOTAL = re.compile(rf"(?P<done>{_NUMBER})(?P<unit> ?[A-Za-z]\w{{0,30}}) {_TIMES}")
_RATE = re.compile(rf"(?P<value>{_NUMBER})(?P<unit> ?[^\d/]{{0,40}})/s|(?P<slow>{_NUMBER})s/(?P<per> ?[^\d]{{1,40}})")
_FACTORS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21, "Y": 1e24}
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Bar:
    """One state of a bar. percent: as the bar writes it, -1 where it does not. rate: units per second. Times in
    seconds. None where the bar does not say. size: characters up to its end; a logger may write on in the same line."""

    name: str
    done: int | float
    total: int | float | None
    unit: str
    rate: float | None
    eta_s: float | None
    elapsed_s: float | None
    size: int
    percent: int = -1

    @property
    def complete(self) -> bool:
        """Whether it reached its total."""
        return self.total is not None and self.done >= self.total


class Thinning:
    """States of a bar that say nothing new are passed over before they are read: a bar that writes a thousand times a
    second has the same name, percent and clock most of the time."""

    def __init__(self) -> None:
        self._head = self._clock = b""
        self.latest: bytes | None = None
        """The last state that was passed over; at: its line and offset."""
        self.at = (1, 0)

    @property
    def is_on(self) -> bool:
        """Whether a state can be passed over."""
        return bool(self._head)

    def begin(self, raw: bytes) -> None:
        """This state was said: what is like it need not be."""
        percent, bracket = raw.find(b"%|"), raw.rfind(b" [")
        clock = raw.find(b"<", bracket) if 0 < percent < bracket else -1
        self._head = raw[: percent + 2] if clock > 0 else b""
        self._clock = raw[bracket : clock + 1]

    def skips(self, part: bytes) -> bool:
        """Whether a state is like the one that was said. What has a text behind its bar is not."""
        return self.count_skipped([part], 0) == 1

    def count_skipped(self, parts: list[bytes], first: int) -> int:
        """How many parts in a row, from the first on, `skips` passes over: a log is nearly all of them."""
        head, clock = self._head, self._clock
        if not head:
            return 0
        for i in range(first, len(parts)):
            part = parts[i]
            if not part.startswith(head) or clock not in part or part.find(b"]") != len(part) - 1:
                return i - first
        return len(parts) - first

    def pass_over(self, latest: bytes, at: tuple[int, int]) -> None:
        """What was skipped last, with its line and offset: it is said after all if nothing like it follows."""
        self.latest, self.at = latest, at

    def end(self) -> bytes | None:
        """Nothing is passed over any more; the last that was, if any was."""
        latest, self.latest, self._head = self.latest, None, b""
        return latest


def may_hold_bar(raw: bytes) -> bool:
    """A quick test that passes every line with a bar."""
    if b"%|" in raw or b"% Completed |" in raw:
        return True
    if b" [" in raw:
        return b"/s" in raw or b"s/" in raw or b"%" in raw or b"?]" in raw or b"[=" in raw or b"[>" in raw
    return b"\xe2\x94\x81\xe2\x94\x81" in raw


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
        return _made(text[: percent.start(1)], found, int(percent[1]))
    other = _other(text)
    if other:
        return other
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


def _other(text: str) -> Bar | None:
    """A bar of another kind than tqdm's."""
    found = _LOGBAR.search(text) if "% " in text or text.endswith("%") else None
    if found:
        elapsed, whole = _seconds(found["elapsed"]), _seconds(found["all"])
        eta = max(0.0, whole - elapsed) if elapsed is not None and whole is not None and whole > 0 else None
        return _drawn(text, found, int(found["done"]), int(found["total"]), elapsed, eta)
    found = _RICH.search(text) if "━━" in text else None
    if found:
        known = found["done"] is not None
        done, total = (int(found["done"]), int(found["total"])) if known else (int(found["percent"]), 100)
        return _drawn(text, found, done, total, None, _seconds(found["clock"] or "?") if done < total else None)
    found = _KERAS.search(text) if "[=" in text or "[>" in text else None
    if found:
        return _drawn(text, found, int(found["done"]), int(found["total"]), None, _seconds(found["eta"] or "?"))
    return None


def _drawn(text: str, found: re.Match[str], done: int, total: int, elapsed: float | None, eta: float | None) -> Bar:
    percent = found.groupdict().get("percent")
    name = text[: found.start()].strip().removesuffix(":").strip()
    return Bar(
        name=name[-MAX_NAME_CHARACTERS:],
        done=done,
        total=total,
        unit="it",
        rate=None,
        eta_s=eta,
        elapsed_s=elapsed,
        size=found.end(),
        percent=int(percent) if percent else -1,
    )


def _made(before: str, found: re.Match[str], percent: int = -1) -> Bar:
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
        percent=percent,
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
