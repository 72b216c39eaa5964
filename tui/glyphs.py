"""Signs that the screen uses: every meaning has a sign besides its colour, and an ASCII form for plain locales."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """All one cell wide in every terminal."""

    opened: str = "▾"
    closed: str = "▸"
    different: str = "≠"
    same: str = "="
    only: str = "only "
    odd: str = "≁"
    broken: str = "✗"
    up: str = "▲"
    down: str = "▼"
    cut: str = "…"
    bookmark: str = "●"
    dot: str = "·"
    vertical: str = "│"
    alpha: str = "\N{GREEK SMALL LETTER ALPHA}"
    blocks: str = " ▁▂▃▄▅▆▇█"
    half: str = "▀"
    live: str = "●"
    done: str = "✓"
    stopped: str = "■"
    lost: str = "?"
    bar: str = "█"
    bar_rest: str = "░"
    shades: str = "·░░▒▒▓█"
    interval: str = "├─●─┤"
    noise: str = "░"


ASCII = Glyphs(
    opened="v", closed=">", different="!=", same="=", odd="~", broken="x", up="^", down="v", cut="~", bookmark="*",
    dot=".", vertical="|", alpha="a", blocks=" .:-=+*%#", half="#",
    live="*", done="+", stopped="-", lost="?", bar="#", bar_rest=".", shades=".:-=+*#",
    interval="|-o-|", noise=".",
)  # fmt: skip


def glyphs_for_locale() -> Glyphs:
    """Unicode where the locale can show it, else ASCII (LANG=C is common on GPU boxes)."""
    if os.environ.get("QINSPECT_ASCII"):
        return ASCII
    # Python coerces LC_CTYPE to C.UTF-8 in a C locale, so only what the user set counts.
    named = os.environ.get("LC_ALL") or os.environ.get("LANG") or "utf-8"
    return Glyphs() if "utf8" in named.lower().replace("-", "") else ASCII


@dataclass(frozen=True, slots=True)
class Sign:
    """What a sign stands for. written: of fields of `Glyphs` and of letters. where: the table that it is in."""

    written: str
    meaning: str
    where: str

    def of(self, g: Glyphs) -> str:
        """As it is shown with these glyphs."""
        return self.written.format_map(asdict(g))


SCALES, MAP, CHARTS, LEVELS, OF_RUNS, OF_FIGURES, OF_ALPHA, ROUND = (
    "In lists of scales",
    "On the map of the model",
    "Under the axis of a chart",
    "Under a chart of codes",
    "Before a run",
    "In the figures of an evaluation",
    "Under an axis of alpha or of magnitudes",
    "Everywhere",
)
SIGNS = (
    Sign("{up} {down}", "larger, smaller in B", SCALES),
    Sign("{different}", "changed in both directions within a tensor; in the tree, something differs below", SCALES),
    Sign("{same}", "the same", SCALES),
    Sign("{odd}", "not comparable: another scheme, shape, dtype or order", SCALES),
    Sign("A B", "only in that model", SCALES),
    Sign("{broken}", "cannot be read", SCALES),
    Sign("!3", "behind a range: three of its values are not finite", SCALES),
    Sign("{bookmark}", "a bookmark", SCALES),
    Sign("{opened} {closed}", "an open layer, a closed one", SCALES),
    Sign("12.3", "dB, in the tree: the least SQNR of the weights below, once measured; bold: the worst of all", SCALES),
    Sign("+12%", "how far B is from A, in per cent of A", MAP),
    Sign("{same}", "the same", MAP),
    Sign("{different}", "differs in what the measure does not measure", MAP),
    Sign("{odd} A B {broken}", "not comparable; only in that model; cannot be read", MAP),
    Sign("?", "not read, or not compared", MAP),
    Sign("+", "behind what weights are stored as: others of the cell are stored otherwise", MAP),
    Sign("{shades}", "from little to much, where a number has no room", MAP),
    Sign("A B AB", "before the line: whose signs these are; AB: of both", CHARTS),
    Sign("^", "a weight's absmax; of a scale its minimum and maximum", CHARTS),
    Sign("[ ]", "the values of the lowest and the highest code", CHARTS),
    Sign("#", "more than one of these in a cell", CHARTS),
    Sign("< >", "off the axis, to that side", CHARTS),
    Sign("!", "the lowest or the highest level: values that saturate", LEVELS),
    Sign("0", "no code has any of these levels", LEVELS),
    Sign("'", "no code has some of these levels", LEVELS),
    Sign("{live}", "goes on", OF_RUNS),
    Sign("{done}", "finished", OF_RUNS),
    Sign("{broken}", "failed", OF_RUNS),
    Sign("{stopped}", "cancelled", OF_RUNS),
    Sign("{lost}", "lost: killed without a trace, or the host was rebooted", OF_RUNS),
    Sign("{interval}", "a figure and its 95 % interval; without ends there are too few windows for one", OF_FIGURES),
    Sign("{vertical}", "no difference from the reference", OF_FIGURES),
    Sign(
        "{noise}",
        "what rounding noise of half a bfloat16 step does to the reference: no figure in it means much",
        OF_FIGURES,
    ),
    Sign(":", "the margin within which a model is equivalent", OF_FIGURES),
    Sign("A B", "a stored scale, an alpha that the run was given; of many scales the median", OF_ALPHA),
    Sign("[ ]", "of many scales the least and the greatest", OF_ALPHA),
    Sign(
        "*", "the scale of least error, the point's best alpha; before a point: it kept no tables of samples", OF_ALPHA
    ),
    Sign("+", "the best alpha for all points", OF_ALPHA),
    Sign("C", "where the checkpoint's scale lies", OF_ALPHA),
    Sign("#", "more than one of these in a cell", OF_ALPHA),
    Sign("< >", "left or right of the axis", OF_ALPHA),
    Sign("~", "the middle of an interval; of the nearest alpha of the grid", OF_ALPHA),
    Sign("{cut}", "a text that was cut", ROUND),
    Sign("n/a", "not defined, or not known", ROUND),
    Sign("*", "in a form: a field that is needed", ROUND),
)
"""All of them once: the legend of the help screen and the tables of docs/screen.md are made of it."""


def sign_table(*where: str) -> str:
    """For the documentation."""
    signs = [s for s in SIGNS if s.where in where]
    rows = (f"| {' '.join(f'`{part}`' for part in s.of(Glyphs()).split())} | {s.meaning} |" for s in signs)
    return "\n".join(["| sign | meaning |", "|---|---|", *rows])
