"""What each engine does with the file when it loads it: beside the list of findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar

from qinspect.tui.lint.text_view import TextView
from qinspect.tui.look import Line
from qinspect.tui.names import shown

if TYPE_CHECKING:
    from qinspect.inspector.loaders import EngineStatements, Loaders, Statement

_INDENT = 9


class EnginesPane(TextView):
    """Of A, then of B."""

    TITLE: ClassVar[str] = "3 what engines do"

    def __init__(self) -> None:
        super().__init__(id="engines")
        self.found: Mapping[str, Loaders] = {}

    def show(self, found: Mapping[str, Loaders]) -> None:
        """What is known of each model."""
        self.found = found
        self.show_again()

    def lines(self, width: int) -> Sequence[Line]:
        if not self.found:
            return list(wrap("The rules of six engines look at the header.", width))
        return [
            line for model, of in self.found.items() for line in loader_lines(model, of, width, len(self.found) > 1)
        ]


def loader_lines(model: str, found: Loaders, width: int, two: bool) -> list[Line]:
    """Engines, each with what changes or refuses something first. two: models are shown, so which one is said."""
    lines: list[Line] = [[(f"{model} ", "name"), (f"stored as {shown(found.stored, 60)}", "dim")], ""] if two else []
    for engine in found.engines:
        lines += [*_engine_lines(engine, width), ""]
    effects = sorted({s.effect for s in found.statements if s.effect is not None})
    for effect in effects:
        lines += _folded(f"{effect}  ", "accent", effect.meaning, width)
    return [*lines, *wrap("Read in sources; nothing was run.", width)]


def _engine_lines(engine: EngineStatements, width: int) -> list[Line]:
    lines: list[Line] = [[(f"{engine.engine} ", "name"), (engine.version, "dim")]]
    if not engine.statements:
        return [*lines, [("  no rule applies", "dim")]]
    news = [s for s in engine.statements if s.known and s.is_news]
    rest = [s for s in engine.statements if s.known and not s.is_news]
    unknown = [s for s in engine.statements if not s.known]
    if not news and rest:
        lines.append([("  nothing changes, and it is not refused, by the rules that are known", "dim")])
    for title, statements in (("", news), ("  reads, renames, drops, fills", rest), ("  not known", unknown)):
        if title and statements:
            lines.append([(title, "dim")])
        for statement in statements:
            lines += _statement_lines(statement, width)
    return lines


def _statement_lines(s: Statement, width: int) -> list[Line]:
    kind = "dim" if not s.known or not s.is_news else "broken" if s.effect in ("E5", "E6") else "up"
    of = f"[{', '.join(s.backend)}] " if s.backend else ""
    late = "; other releases do otherwise" if s.changed_lately else ""
    return _folded(f" {s.rule or '-':<4} {s.effect or '':<2} ", kind, shown(f"{of}{s.text}{late}"), width)


def _folded(label: str, kind: str, text: str, width: int) -> list[Line]:
    """A text behind a label, the lines that follow indented."""
    first, *more = wrap(text, max(20, width - _INDENT)) or [""]
    return [[(f"{label:<{_INDENT}}", kind), (first, "")], *([(" " * _INDENT, ""), (line, "")] for line in more)]
