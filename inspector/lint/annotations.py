"""What lint found, for other programs' screens: SARIF 2.1.0, and the workflow commands of GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from qinspect.inspector.finding import Severity
from qinspect.inspector.json_text import Json
from qinspect.inspector.lint.baseline import place_name
from qinspect.inspector.lint.check import Lint, RuleFinding
from qinspect.inspector.lint.report import place_text
from qinspect.inspector.lint.rule import Rule
from qinspect.inspector.text import visible

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note", Severity.FINE: "none"}
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
MOST_RESULTS = 1000
"""Places of one finding in SARIF, the worst: who shows it takes 25,000 of all."""


def sarif(found: Lint, paths: Mapping[str, str], rules: Iterable[Rule], version: str) -> Json:
    """https://docs.oasis-open.org/sarif/sarif/v2.1.0: one run, a result for each place. paths: of each model as it was
    typed, which locations are relative to."""
    driver = {
        "name": "qinspect",
        "semanticVersion": version,
        "rules": [_sarif_rule(r) for r in rules],
    }
    results = [r for f in found.findings for r in _results(f, paths[f.model])]
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _sarif_rule(rule: Rule) -> Json:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.next},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _results(finding: RuleFinding, model: str) -> Iterator[Json]:
    """One for each place, with the whole sentence in front of it; one alone where there are no places. A line is none
    of a file of weights: GitHub's code scanning shows no result without one."""
    uri = quote(Path(model).as_posix(), safe="/~")
    for place in finding.places[:MOST_RESULTS] or (None,):
        said = visible(finding.found.text)
        location: Json = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}
        key = "" if place is None else place_name(place)
        if place is not None:
            said = f"{said}; {place_text(place)}"
            location["logicalLocations"] = [{"fullyQualifiedName": visible(key), "kind": "member"}]
        yield {
            "ruleId": finding.rule.code,
            "level": _LEVELS[finding.severity],
            "message": {"text": said},
            "locations": [location],
            "partialFingerprints": {"place/v1": f"{finding.rule.code}:{visible(key)}"},
        }


def github_lines(found: Lint, paths: Mapping[str, str]) -> Iterator[str]:
    """One command a finding: GitHub shows ten of each kind for a step, so places are not one each. paths: of each model
    as it was typed."""
    for finding in found.findings:
        title = _property(f"{finding.rule.code} {finding.rule.name}")
        lines = [finding.found.text, *map(place_text, finding.places[:3]), f"next: {finding.finding.next}"]
        text = _data("\n".join(visible(line) for line in lines))
        yield f"::{_COMMANDS[finding.severity]} file={_property(paths[finding.model])},title={title}::{text}"


def _data(text: str) -> str:
    """As https://github.com/actions/toolkit writes the message of a command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """The same of a property."""
    return _data(visible(text)).replace(":", "%3A").replace(",", "%2C")
