"""Rules as the object that `qinspect lint --explain CODE --json` prints; docs/schema/rules.json has its schema."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.finding import Severity
from qinspect.inspector.json_text import Json, closed_object, finite
from qinspect.inspector.lint.rule import Needs, Rule, Theme

SCHEMA = "qinspect.rules/1"


def rules(explained: Sequence[Rule]) -> Json:
    """These rules, with all that there is to say of them."""
    return {"schema": SCHEMA, "rules": [_rule(r) for r in explained]}


def _rule(r: Rule) -> Json:
    return {
        "code": r.code,
        "rule": r.name,
        "theme": r.theme.name.lower(),
        "severity": r.severity.value,
        "looks_for": r.summary,
        "why": r.why,
        "reported_in": list(r.threads),
        "next": r.next,
        "needs": [n.value for n in r.needs],
        "limits": {name: finite(value) for name, value in r.limits.items()},
    }


def schema(known: Sequence[Rule]) -> Json:
    """The JSON schema of what `rules` gives, with the codes and names of all rules."""
    texts: Json = {"type": "array", "items": {"type": "string"}}
    numbers: Json = {"type": "object", "additionalProperties": {"type": "number"}}
    severities = [s.value for s in Severity if s is not Severity.FINE]
    needs: Json = {"type": "array", "items": {"enum": [n.value for n in Needs]}}
    properties: Json = {
        "code": {"enum": [r.code for r in known], "description": "Of a rule; stable."},
        "rule": {"enum": [r.name for r in known], "description": "Its name; stable."},
        "theme": {"enum": [t.name.lower() for t in Theme], "description": "What it is about."},
        "severity": {"enum": severities, "description": "Of its findings, where one has none of its own."},
        "looks_for": {"type": "string", "description": "What it looks for, a sentence."},
        "why": {"type": "string", "description": "Why that matters."},
        "reported_in": {**texts, "description": "Public reports of it: `project#number`."},
        "next": {"type": "string", "description": "What to do."},
        "needs": {**needs, "description": "What has to be read, or given."},
        "limits": {**numbers, "description": "The numbers that it compares with, where settings give no others."},
    }
    top: Json = {
        "schema": {"const": SCHEMA, "description": "Name and version of this schema."},
        "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}, "description": "In the order of their codes."},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        "title": "qinspect lint --explain --json",
        **closed_object(top),
        "description": "What rules of lint look for, why, and what to do.",
        "$defs": {"rule": closed_object(properties)},
    }
