"""What a family knows, only the family says: nothing outside of `inspector/formats/` names one, or its class."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.families import FALLBACK, FAMILIES

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ROOT / "inspector" / "formats"
CLASSES: list[type[Format]] = [FALLBACK, *FAMILIES]
OTHER_SUBJECTS = (
    *("accuracy", "calibrate", "calibration", "loaders", "logs", "method", "models", "noise", "observers.py"),
    "verify",
)
"""Rooms that name a library and not a family of files: its programs' logs, its recipes and rules of calibration, a
model that something was measured on; a method of quantizing (AWQ's factors, FP8 before INT4), whoever stores it; what
an engine does with a `quant_method`, which is the word that it goes by itself."""
RULES = re.compile(r"quamba(?:_absmax|_percentile|-group-heads)?|a moving average of each sample's quantile \(Quamba\)")
"""Names of recipes and rules, which `--recipe` and `--rule` take."""
THREAD = re.compile(r"[\w.\-/]+ ?(?:PR)?#\d+")
"""Where something was reported: `vllm#54974` is a place, and no sentence."""

FILE = re.compile(r"[\w.]+\.json")
"""The name of a file that is read beside config.json."""


def sources() -> list[Path]:
    """Every module of the instrument and of the screen outside of `inspector/formats/`."""
    found = [p for top in ("inspector", "tui") for p in sorted((ROOT / top).rglob("*.py"))]
    outside = [p for p in found if FORMATS not in p.parents]
    assert len(outside) > 200
    return outside


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Strings that the program can say: all but docstrings."""
    said = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


def test_nobody_asks_for_the_class_of_a_family() -> None:
    names = {c.__name__ for c in CLASSES}
    assert len(names) == len(CLASSES)
    found = []
    for path in sources():
        tree = parsed(path)
        for node in ast.walk(tree):
            module = getattr(node, "module", None) or ""
            imported = (
                [a.name for a in getattr(node, "names", [])] if isinstance(node, ast.Import | ast.ImportFrom) else []
            )
            if ".formats.families" in module or any(".formats.families" in n or n in names for n in imported):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
            if isinstance(node, ast.Name) and node.id in names:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_nobody_compares_the_name_of_a_family() -> None:
    """`a.family == b.family` asks whether two are alike; `fmt.family == "gptq"` knows one."""
    found = []
    for path in sources():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                families = [s for s in sides if isinstance(s, ast.Attribute) and s.attr == "family"]
                if families and len(families) != len(sides):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_nobody_else_says_a_sentence_of_a_family() -> None:
    both = (
        "adapter",  # a word for a kind of file, of which many libraries write some
        "qinspect",
        "gguf",
        "gguf-safetensors",
        "gguf imatrix",
        "mlx",
        "onnx",
        "mxfp4",  # a number format that several libraries write
    )  # the names of the program, of a kind of file, of a library that writes other kinds of files too
    words = [c.family for c in FAMILIES if c.family not in both]
    said = re.compile("|".join(rf"\b{re.escape(w)}" for w in words), re.IGNORECASE)
    found = []
    for path in sources():
        if any(path.is_relative_to(ROOT / "inspector" / room) for room in OTHER_SUBJECTS):
            continue
        for line, text in strings(parsed(path)):
            if said.search(text) and not any(known.fullmatch(text) for known in (RULES, THREAD, FILE)):
                found.append(f"{path.relative_to(ROOT)}:{line}: {text[:80]}")
    assert not found


def test_no_regular_expression_reads_what_a_record_says_for_people() -> None:
    prose = {"scheme", "granularity", "of", "relation", "called", "description"}
    found = []
    for path in [*sources(), *sorted(FORMATS.rglob("*.py"))]:
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            asked: list[ast.expr] = []
            if node.func.attr in ("search", "match", "fullmatch", "findall", "finditer"):
                asked = list(node.args)
            elif node.func.attr in ("startswith", "endswith", "partition", "removeprefix"):
                asked = [node.func.value]
            if any(isinstance(a, ast.Attribute) and a.attr in prose for a in asked):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_a_family_is_a_module_and_a_line() -> None:
    """Nothing but the registry and, for a package, the list of packages names a family's module."""
    modules = sorted(
        p.stem if p.is_file() else p.name
        for p in (FORMATS / "families").iterdir()
        if not p.name.startswith("__") and (p.suffix == ".py" or (p / "__init__.py").exists())
    )
    assert modules == sorted({c.__module__.split(".families.")[1].split(".")[0] for c in CLASSES})
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = config["tool"]["setuptools"]["packages"]
    for name in modules:
        is_package = (FORMATS / "families" / name).is_dir()
        assert (f"qinspect.inspector.formats.families.{name}" in packages) == is_package
    contracts = config["tool"]["importlinter"]["contracts"]
    (independent,) = [c for c in contracts if c["type"] == "independence"]
    assert independent["modules"] == ["qinspect.inspector.formats.families.*"]
    assert all(c.family for c in CLASSES)
    assert len({c.family for c in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("family", CLASSES, ids=lambda c: c.family)
def test_a_family_says_what_it_claims(family: type[Format]) -> None:
    assert family.claims == (family is not FALLBACK)
    assert family.claims or not family.copies_complete
