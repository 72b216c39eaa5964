"""What engines do, as the object that `--json` prints; docs/schema/loaders.json has its schema."""

from __future__ import annotations

from qinspect.inspector.formats import Format
from qinspect.inspector.formats.payload import checkpoint
from qinspect.inspector.json_text import Json, finite
from qinspect.inspector.loaders.statement import EngineStatements, Loaders, Statement


def loaders(fmt: Format, found: Loaders) -> Json:
    """`qinspect loaders A --json`."""
    return {
        "schema": "qinspect.loaders/1",
        "model": checkpoint(fmt),
        "stored": found.stored,
        "backend": found.backend,
        "incomplete": found.incomplete or None,
        "unread": list(found.unread),
        "engines": [_engine(e) for e in found.engines],
    }


def _engine(e: EngineStatements) -> Json:
    return {
        "engine": e.engine,
        "version": e.version,
        "read": e.read,
        "worst": None if e.worst is None else str(e.worst),
        "statements": [statement(s) for s in e.statements],
    }


def statement(s: Statement) -> Json:
    """One statement."""
    cost = s.cost
    return {
        "rule": s.rule or None,
        "known": s.known,
        "text": s.text,
        "does": s.does,
        "deed": str(s.deed),
        "effect": None if s.effect is None else str(s.effect),
        "says": str(s.says),
        "backends": list(s.backend),
        "changed_lately": s.changed_lately,
        "count": s.n,
        "of": s.of,
        "noun": s.noun or None,
        "worst": s.worst or None,
        "factor": finite(cost.factor),
        "error": finite(cost.error),
        "sqnr_db": finite(cost.sqnr_db),
        "lost_db": finite(cost.lost_db),
        "simulated": cost.simulated,
        "adds": list(s.adds),
        "source": s.source or None,
        "mark": str(s.mark),
        "modules": [{"name": a.name, "role": a.role, "factor": finite(a.factor)} for a in s.affected],
    }
