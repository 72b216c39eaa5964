"""What a project wants of lint: `[lint]` of qinspect.toml, or `[tool.qinspect.lint]` of pyproject.toml.

[lint]
select = ["S", "G"]            # codes, their first letters, or names; without it all
ignore = ["C14"]
fail-on = "warning"
baseline = "lint-baseline.json"

[lint.limits.G01]
ratio = 1.05
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from qinspect.inspector.errors import UsageError
from qinspect.inspector.lint.registry import all_rules
from qinspect.inspector.lint.rule import Limits, Rule
from qinspect.inspector.text import visible

OWN_FILE, SHARED_FILE = "qinspect.toml", "pyproject.toml"

FailOn = Literal["error", "warning", "note"]


class _Lint(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    select: list[str] = msgspec.field(default_factory=list)
    ignore: list[str] = msgspec.field(default_factory=list)
    fail_on: FailOn = "error"
    baseline: str = ""
    limits: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LintSettings:
    """select, ignore: as they are written; ignoring wins. limits: by code. baseline: where known findings are. path:
    the file that says so; None where there is none."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn = "error"
    baseline: Path | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)
    path: Path | None = None


def settings_for(folder: Path, named: str | None = None) -> LintSettings:
    """The settings of the nearest file that has some: in `folder` or one above it, or the file that is named.

    Raises UsageError where that is not as it should be.
    """
    if named is not None:
        return _settings_in(Path(named), True) or _nothing_said(Path(named))
    here = folder.resolve()
    for place in (here, *here.parents):
        for name in (OWN_FILE, SHARED_FILE):
            path = place / name
            if path.is_file() and (found := _settings_in(path)):
                return found
    return LintSettings()


def chosen_rules(select: Sequence[str], ignore: Sequence[str], path: Path | None = None) -> tuple[Rule, ...]:
    """The rules that are selected (all where nothing is) and not ignored. Raises UsageError for what is none."""
    wanted = _named(select, path) if select else set(all_rules())
    return tuple(r for r in all_rules() if r in wanted and r not in _named(ignore, path))


def rule_named(name: str) -> Rule:
    """By its code or its name. Raises UsageError."""
    for rule in all_rules():
        if name.upper() == rule.code or name == rule.name:
            return rule
    raise _unknown(name, None)


def _named(words: Iterable[str], path: Path | None) -> set[Rule]:
    """By code, by the first letter of codes, or by name; several in one word with commas between them."""
    found: set[Rule] = set()
    for word in (part.strip() for several in words for part in several.split(",")):
        fitting = {r for r in all_rules() if r.code.startswith(word.upper()) or r.name == word}
        if not fitting or not word:
            raise _unknown(word, path)
        found |= fitting
    return found


def _unknown(word: str, path: Path | None) -> UsageError:
    import difflib

    names = [n for r in all_rules() for n in (r.code, r.name)]
    near = difflib.get_close_matches(word, names, 1)
    return UsageError(
        f"there is no rule {word or repr(word)}", file=path, found=f"the nearest is {near[0]}" if near else None,
        cure="`qinspect lint --explain all` lists them.",
    )  # fmt: skip


def _nothing_said(path: Path) -> LintSettings:
    raise UsageError(
        "says nothing of lint", file=path, expected=f"[lint] in {OWN_FILE}, or [tool.qinspect.lint] in {SHARED_FILE}"
    )


def _settings_in(path: Path, named: bool = False) -> LintSettings | None:
    """None where the file says nothing of lint. named: whether the user named it."""
    try:
        content: Any = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        if path.name == SHARED_FILE and not named:  # somebody else's, and somebody else's to mend
            return None
        problem = f"cannot be read: {getattr(e, 'strerror', None) or e}"
        raise UsageError(problem, file=path, expected="TOML", cure="Mend it, or name another with --config.") from e
    if path.name != SHARED_FILE:
        return None if "lint" not in content else _checked(content["lint"], path, "lint")
    tool = content.get("tool")
    own = tool.get("qinspect") if isinstance(tool, dict) else None
    if own is not None and not isinstance(own, dict):
        raise UsageError("[tool.qinspect] is not a table", file=path, found=visible(repr(own), 60))
    return None if not own or "lint" not in own else _checked(own["lint"], path, "tool.qinspect.lint")


def _checked(section: object, path: Path, name: str) -> LintSettings:
    try:
        said = msgspec.convert(section, _Lint)
    except msgspec.ValidationError as e:
        raise UsageError(f"[{name}] is not as it should be: {visible(str(e), 300)}", file=path) from e
    chosen_rules(said.select, said.ignore, path)
    for code, limits in said.limits.items():
        rule = next((r for r in all_rules() if r.code == code), None)
        if rule is None:
            raise _unknown(code, path)
        for limit, value in limits.items():
            if limit not in rule.limits:
                raise UsageError(
                    f"{code} has no limit of this name", file=path, key=limit,
                    expected=", ".join(rule.limits) or "none: it has no limits",
                )  # fmt: skip
            if not math.isfinite(value):
                raise UsageError(
                    f"is no limit of {code}", file=path, key=limit, expected="a finite number", found=f"{value}",
                    cure=f'ignore = ["{code}"] leaves the rule out.',
                )  # fmt: skip
    baseline = path.parent / said.baseline if said.baseline else None
    return LintSettings(tuple(said.select), tuple(said.ignore), said.fail_on, baseline, said.limits, path)
