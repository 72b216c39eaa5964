"""What engines do, as text: by engine, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qinspect.inspector.formats import Format
from qinspect.inspector.formats.report import model_line
from qinspect.inspector.loaders.statement import EngineStatements, Loaders, Statement
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.text import some

_REST = "reads, renames, drops, fills"
_UNKNOWN = "not known"


def text(fmt: Format, found: Loaders, width: int | None) -> str:
    """The report for people. width: columns of the terminal, None for a pipe."""
    w = width or PIPE_WIDTH
    lines = [model_line("A", fmt)]
    for note in _notes(found):
        lines += folded("   note: ", note, w)
    for engine in found.engines:
        lines += ["", *_engine_lines(engine, w)]
    return "\n".join([*lines, "", *_legend(found, w)])


def _notes(found: Loaders) -> Iterator[str]:
    if found.incomplete:
        yield f"{found.incomplete}: nothing is said of what is missing"
    if found.unread:
        n = len(found.unread)
        yield f"{some(n, 'scale')} cannot be read and {'is' if n == 1 else 'are'} left out, first {found.unread[0]}"


def _engine_lines(engine: EngineStatements, width: int) -> Iterator[str]:
    yield f"{engine.engine} {engine.version}"
    if not engine.statements:
        yield "  no rule applies"
        return
    news = [s for s in engine.statements if s.known and s.is_news]
    rest = [s for s in engine.statements if s.known and not s.is_news]
    unknown = [s for s in engine.statements if not s.known]
    if not news and rest:
        yield "  no rule applies that changes or refuses anything"
    yield from _lines(news, width)
    for title, statements in ((_REST, rest), (_UNKNOWN, unknown)):
        if statements:
            yield f"  {title}"
            yield from _lines(statements, width)


def _lines(statements: Sequence[Statement], width: int) -> Iterator[str]:
    for s in statements:
        label = f"  {s.rule or '-':<4} {s.effect or '':<2}  "
        of = f"[{', '.join(s.backend)}] " if s.backend else ""
        yield from folded(label, f"{of}{s.text}{'; other releases do otherwise' if s.changed_lately else ''}", width)


def _legend(found: Loaders, width: int) -> Iterator[str]:
    effects = sorted({s.effect for s in found.statements if s.effect is not None})
    for effect in effects:
        yield from folded(f"{effect}  ", effect.meaning, width)
    if any(s.backend for s in found.statements) and found.backend is None:
        names = sorted({b for s in found.statements for b in s.backend})
        yield from folded(
            "[..]  ", f"only with this backend; `--backend NAME` leaves out others: {', '.join(names)}", width
        )
    yield from folded("      ", "Read in sources, nothing was run: `docs/loaders.md` names the files.", width)
