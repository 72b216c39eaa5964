"""The legend has every sign that something is drawn with."""

from __future__ import annotations

from dataclasses import fields

import pytest

from qinspect.tui import codes_view, marks
from qinspect.tui.alpha import curve, table
from qinspect.tui.distribution import layout
from qinspect.tui.glyphs import ASCII, CHARTS, LEVELS, OF_ALPHA, SIGNS, Glyphs

NO_SIGNS = {"only", "dot", "vertical", "alpha", "blocks", "half", "bar", "bar_rest"}
"""Letters, rules and bars: they say nothing by themselves."""


def told(where: str = "") -> set[str]:
    return {part for s in SIGNS if where in ("", s.where) for part in s.of(Glyphs()).split()}


@pytest.mark.parametrize("name", sorted({f.name for f in fields(Glyphs)} - NO_SIGNS))
def test_a_glyph_is_in_the_legend(name: str) -> None:
    assert getattr(Glyphs(), name) in told()


@pytest.mark.parametrize(
    ("where", "signs"),
    [
        (CHARTS, (marks.END, marks.CLIP_LOW, marks.CLIP_HIGH, marks.SEVERAL, marks.BEFORE, marks.AFTER)),
        (LEVELS, (codes_view.UNUSED, codes_view.SATURATED, codes_view.SOME)),
        (OF_ALPHA, (curve.BEST, curve.FOR_ALL, curve.CHECKPOINT, layout.BEST, table.NEAR)),
    ],
)
def test_what_charts_mark_with_is_in_the_legend(where: str, signs: tuple[str, ...]) -> None:
    assert set(signs) <= told(where)


def test_a_plain_locale_has_a_plain_legend() -> None:
    assert all(s.of(ASCII).isascii() and s.meaning.isascii() for s in SIGNS)
