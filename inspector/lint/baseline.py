"""Findings that are known already: written once, and left out from then on, so that a pipeline speaks of new ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from qinspect.inspector.errors import UsageError
from qinspect.inspector.lint.check import Lint, RuleFinding
from qinspect.inspector.lint.rule import Place
from qinspect.inspector.text import shell_words
from qinspect.inspector.whole_file import replacing

SCHEMA = "qinspect.lint-baseline/1"


class _File(msgspec.Struct):
    schema: str
    known: dict[str, list[str]]


def check_folder(path: Path) -> None:
    """Before hours of reading: raise UsageError where no file can be written there, as its folder is none."""
    if path.is_dir():
        raise UsageError("cannot be written: it is a folder", file=path, cure="Name a file.")
    if not path.parent.is_dir():
        said = "is no folder" if path.parent.exists() else "does not exist"
        cure = f"Make the folder first: `mkdir -p {shell_words([str(path.parent)])}`, or name another file."
        cure = cure if said == "does not exist" else "Name another file."
        raise UsageError(f"cannot be written: {path.parent} {said}", file=path, cure=cure)


def write_baseline(path: Path, found: Lint) -> int:
    """Note every place of every finding. Returns how many. Raises UsageError where the file cannot be written."""
    known: dict[str, list[str]] = {}
    for finding in found.findings:
        known.setdefault(finding.rule.code, []).extend(_names(finding))
    in_order = {code: sorted(set(names)) for code, names in sorted(known.items())}
    check_folder(path)
    try:
        with replacing(path) as file:
            file.write((json.dumps({"schema": SCHEMA, "known": in_order}, indent=1) + "\n").encode())
    except OSError as e:  # it names the temporary file, of which nobody knows
        raise UsageError(f"cannot be written: {e.strerror or e}", file=path, cure="Name a file elsewhere.") from e
    return sum(map(len, in_order.values()))


def read_baseline(path: Path) -> Mapping[str, frozenset[str]]:
    """By the code of a rule, its places. Raises UsageError."""
    try:
        made = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as e:
        raise UsageError(f"cannot be read: {e.strerror}", file=path, cure="--write-baseline FILE writes one.") from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"is not a baseline of lint: {e}", file=path) from e
    if made.schema != SCHEMA:
        raise UsageError("is not a baseline of lint", file=path, expected=SCHEMA, found=made.schema)
    return {code: frozenset(names) for code, names in made.known.items()}


def without_known(found: Lint, known: Mapping[str, frozenset[str]]) -> tuple[Lint, int]:
    """What is new, and how many places are not. A sentence keeps the counts of all that was found, since they are what
    was read, and says how many of its places are new."""
    left, n_known = [], 0
    for finding in found.findings:
        of_rule = known.get(finding.rule.code, frozenset())
        if not finding.places:
            n_known += _whole(finding) in of_rule
            left.extend([] if _whole(finding) in of_rule else [finding])
            continue
        new = tuple(p for p in finding.places if place_name(p) not in of_rule)
        n_known += len(finding.places) - len(new)
        if len(new) == len(finding.places):
            left.append(finding)
        elif new:
            text = f"{finding.found.text} ({len(new)} of {len(finding.places)} places are new)"
            left.append(replace(finding, found=replace(finding.found, text=text), places=new))
    return replace(found, findings=tuple(left)), n_known


def place_name(place: Place) -> str:
    """By what a place is known again: its key and index, whatever number is there."""
    return f"{place.key}{list(place.index)}" if place.index else place.key


def _whole(finding: RuleFinding) -> str:
    return "" if finding.places else finding.rule.name


def _names(finding: RuleFinding) -> Iterator[str]:
    if not finding.places:
        yield _whole(finding)
    yield from map(place_name, finding.places)
