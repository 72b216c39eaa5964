"""What lint found, as the object that `--json` prints; docs/schema/lint.json has its schema."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats.payload import checkpoint
from qinspect.inspector.json_text import Json, closed_object, finite
from qinspect.inspector.lint.check import Lint, RuleFinding, RuleOutcome
from qinspect.inspector.lint.rule import Place, Rule

SCHEMA = "qinspect.lint/1"


def lint(found: Lint) -> Json:
    """`qinspect lint --json`."""
    return {
        "schema": SCHEMA,
        "models": [{"model": name, "checkpoint": checkpoint(fmt)} for name, fmt in found.models.items()],
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


def schema(rules: Sequence[Rule], model: Json) -> Json:
    """The JSON schema of what `lint` gives, with the codes and names of the rules. model: that of a checkpoint."""
    codes = {"enum": [r.code for r in rules], "description": "Of a rule; stable."}
    names = {"enum": [r.name for r in rules], "description": "Its name; stable."}
    of_model = _said({"enum": ["A", "B"]}, "Which model.")
    place = closed_object({
        "key": _said(_TEXT, "An entry or a role."),
        "index": _said(
            {"type": "array", "items": {"type": "integer"}}, "Of the number in the tensor; empty where there is one."
        ),
        "value": _said(_NUMBER, "The number; null where none is meant, or it is not finite."),
        "text": _said(_TEXT, "What is there, a clause; may be empty."),
    })  # fmt: skip
    finding = closed_object({
        "rule": names, "code": codes,
        "severity": _said({"enum": [s.value for s in Severity if s is not Severity.FINE]}, "How much it matters."),
        "model": of_model,
        "text": _said(_TEXT, "What was found, with the counts behind it."),
        "numbers": _said({"type": "object", "additionalProperties": _NUMBER}, "The numbers of the sentence, by name."),
        "next": _said(_TEXT, "What to do."),
        "places": _said({"type": "array", "items": {"$ref": "#/$defs/place"}}, "Where, the worst first."),
    })  # fmt: skip
    outcome = closed_object({
        "code": codes, "rule": names, "model": of_model,
        "looked_at": _said({"type": "integer"}, "How many things the rule looked at: 0 says nothing of the model."),
        "of": _said(_TEXT_OR_NULL, "What they are."),
        "left": _said({"type": ["integer", "null"]}, "How many of them were left out, or could not be read."),
        "not_checked": _said(_TEXT_OR_NULL, "Why the rule was not checked; null where it was."),
    })  # fmt: skip
    opened = closed_object({"model": of_model, "checkpoint": {"$ref": "#/$defs/model"}})
    top = closed_object({
        "schema": _said({"const": SCHEMA}, "Name and version of this schema."),
        "models": _said({"type": "array", "items": {"$ref": "#/$defs/opened"}}, "What was looked at."),
        "findings": _said({"type": "array", "items": {"$ref": "#/$defs/finding"}}, "The worse first."),
        "rules": _said({"type": "array", "items": {"$ref": "#/$defs/outcome"}}, "What became of every rule."),
    })  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        "title": "qinspect lint --json",
        **top,
        "description": "What the rules of lint found, and what they looked at.",
        "$defs": {"model": model, "opened": opened, "finding": finding, "place": place, "outcome": outcome},
    }


_TEXT: Json = {"type": "string"}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_NUMBER: Json = {"type": ["number", "null"]}


def _said(kind: Json, description: str) -> Json:
    return {**kind, "description": description}
