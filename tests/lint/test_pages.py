"""docs/lint.md and the schema of lint are those of the rules. QINSPECT_UPDATE_SNAPSHOTS=1 writes them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from qinspect.inspector.lint import rules_payload
from qinspect.inspector.lint.pages import rules_page
from qinspect.inspector.lint.payload import schema
from qinspect.inspector.lint.registry import all_rules
from qinspect.inspector.lint.rule import Needs, Rule

ROOT = Path(__file__).parent.parent.parent
PAGE, SCHEMA = ROOT / "docs" / "lint.md", ROOT / "docs" / "schema" / "lint.json"
MARKED = re.compile(r"(<!-- made of the rules: [^\n]*-->\n)(.*?)(<!-- end -->)", re.DOTALL)
UPDATE = bool(os.environ.get("QINSPECT_UPDATE_SNAPSHOTS"))


def test_the_page_has_every_rule() -> None:
    text = PAGE.read_text(encoding="utf-8")
    page = f"\n{rules_page(all_rules())}"
    if UPDATE:
        PAGE.write_text(MARKED.sub(lambda found: found[1] + page + found[3], text), encoding="utf-8")
        return
    found = MARKED.search(text)
    assert found is not None
    assert found[2] == page


def test_the_schema_has_every_rule() -> None:
    model = json.loads((SCHEMA.parent / "scales.json").read_text(encoding="utf-8"))["$defs"]["model"]
    made = json.dumps(schema(all_rules(), model), indent=2, ensure_ascii=False) + "\n"
    if UPDATE:
        SCHEMA.write_text(made, encoding="utf-8")
        return
    assert SCHEMA.read_text(encoding="utf-8") == made


def test_the_schema_of_explanations_has_every_rule() -> None:
    place = SCHEMA.with_name("rules.json")
    made = json.dumps(rules_payload.schema(all_rules()), indent=2, ensure_ascii=False) + "\n"
    if UPDATE:
        place.write_text(made, encoding="utf-8")
        return
    assert place.read_text(encoding="utf-8") == made


def test_codes_and_names_are_unique_and_in_order() -> None:
    codes, names = [r.code for r in all_rules()], [r.name for r in all_rules()]
    assert len(set(codes)) == len(codes)
    assert len(set(names)) == len(names)
    by_theme: dict[str, list[str]] = {}
    for code in codes:
        by_theme.setdefault(code[0], []).append(code)
    assert all(found == sorted(found) for found in by_theme.values())


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.code)
def test_a_rule_says_all_that_a_user_asks(rule: Rule) -> None:
    assert re.fullmatch(r"[FHSGCDP]\d\d", rule.code)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert rule.needs
    assert all(isinstance(n, Needs) for n in rule.needs)
    for sentence in (rule.summary, rule.why, rule.next):
        assert sentence.endswith(".")
        assert sentence[0].isupper() or sentence[0] == "`"
    assert all(re.fullmatch(r"[\w.\-/]+ ?(?:PR)?#\d+", thread) for thread in rule.threads), rule.threads
