"""Lint of damaged files ends in a report, or in one clear line: never in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from broken_files import linted
from fixture_files import Case, repository_cases, small_cases
from hostile import assert_clean, assert_one_line
from mutations import mutations

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.json_text import Json
from qinspect.inspector.lint import payload
from qinspect.inspector.lint.report import lint_text

SMALL = 90
OTHERS = 3


def damage(case: Case, n: int, folder: Path) -> set[str]:
    """What becomes of `n` damaged files: `refused`, `clean`, `found`."""
    outcomes, seen = set(), set[bytes]()
    for i, data in enumerate(mutations(case.target.read_bytes(), n)):
        if data in seen:
            continue
        seen.add(data)
        try:
            outcomes.add(_outcome(case.place(folder, data)))
        except Exception as e:
            e.add_note(f"the mutation {i} of {n} of {case.name}")
            raise
    return outcomes


def _outcome(path: Path) -> str:
    try:
        found = linted(path)
    except QinspectError as e:
        assert_one_line(e)
        return "refused"
    assert_clean(lint_text(found, True, 100))
    said: Json = payload.lint(found)
    json.dumps(said, allow_nan=False)
    return "found" if found.findings else "clean"


def test_small_files(tmp_path: Path) -> None:
    """Every kind of file and of damage."""
    outcomes = {c.name: damage(c, SMALL, tmp_path / "work") for c in small_cases(tmp_path / "made")}
    assert set().union(*outcomes.values()) == {"refused", "clean", "found"}
    assert "found" in outcomes["small/all.safetensors"]
    assert "found" in outcomes["small/zip.bin"]


@pytest.mark.parametrize("case", repository_cases(), ids=lambda c: c.name)
def test_files_of_the_repository(case: Case, tmp_path: Path) -> None:
    damage(case, OTHERS, tmp_path / "work")
