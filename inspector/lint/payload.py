"""What lint found, as the object that `--json` prints; docs/schema/lint.json has its schema."""

from __future__ import annotations

from qinspect.inspector.json_text import Json, finite
from qinspect.inspector.lint.check import Lint, RuleFinding, RuleOutcome
from qinspect.inspector.lint.rule import Place


def lint(found: Lint) -> Json:
    """`qinspect lint --json`."""
    return {
        "schema": "qinspect.lint/1",
        "findings": [_finding(f) for f in found.findings],
        "rules": [_outcome(o) for o in found.outcomes],
    }


def _finding(f: RuleFinding) -> Json:
    return {
        "rule": f.rule.name,
        "code": f.rule.code,
        "severity": f.severity.value,
        "model": f.model,
        "text": f.found.text,
        "numbers": {name: None if value is None else finite(value) for name, value in f.found.numbers.items()},
        "next": f.finding.next,
        "places": [_place(p) for p in f.places],
    }


def _place(p: Place) -> Json:
    return {
        "key": p.key,
        "index": list(p.index),
        "value": None if p.value is None else finite(p.value),
        "text": p.text,
    }


def _outcome(o: RuleOutcome) -> Json:
    checked = o.checked
    return {
        "code": o.rule.code,
        "rule": o.rule.name,
        "model": o.model,
        "looked_at": checked.n if checked else 0,
        "of": checked.of if checked else None,
        "left": checked.n_left if checked else None,
        "not_checked": o.skipped or None,
    }
