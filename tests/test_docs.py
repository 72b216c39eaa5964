"""What is said about the source is true of it: files that pages and packages name are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCHITECTURE = ROOT / "docs" / "architecture.md"
NAMED = re.compile(r"`((?:inspector|kernels|tui|tests|docs|qinspect|benchmarks)/[\w./]*)`")
PACKAGES = sorted(p for folder in ("inspector", "kernels", "tui") for p in (ROOT / folder).rglob("__init__.py"))


def is_there(name: str) -> bool:
    """A file, a folder, or a module without its ending."""
    return (ROOT / name).exists() or (ROOT / f"{name}.py").exists()


@pytest.mark.parametrize("page", [ARCHITECTURE, ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_paths_that_a_page_names_are_there(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    assert len(named) >= 10
    assert [name for name in named if not is_there(name)] == []


def test_a_commit_is_checked_as_ci_does() -> None:
    """The hooks call what `make lint types` calls."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    hooks = re.findall(r"entry: (?:\.venv/bin/)?(.*)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    checks = re.findall(r"^\t\$\(BIN\)/(.*)", makefile.split("\nlint:")[1].split("\ntypes:")[0], re.MULTILINE)
    assert len(checks) == 3
    for check in checks:
        assert [hook for hook in hooks if hook.startswith(check.removesuffix(" ."))], check
    assert "make types" in hooks


def test_every_room_is_in_the_plan() -> None:
    plan = ARCHITECTURE.read_text(encoding="utf-8").split("## The rooms", 1)[1].split("## ", 1)[0]
    rooms = {p.parent.name for p in (ROOT / "inspector").glob("*/__init__.py")}
    assert sorted(room for room in rooms if not re.search(rf"\b{room}\b", plan)) == []


def test_every_word_has_one_line() -> None:
    words = re.findall(
        r"^\| (\w[\w ]*) \|", ARCHITECTURE.read_text(encoding="utf-8").split("## Words")[1], re.MULTILINE
    )
    assert len(words) > 20
    assert len(words) == len(set(words))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.parent.relative_to(ROOT).as_posix())
def test_files_that_a_package_names_are_in_it(package: Path) -> None:
    said = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
    assert said, "the docstring of a package says what lives in it"
    own = re.findall(r"(?<![\w/\"])(\w+\.py)\b", said)
    assert [name for name in own if not (package.parent / name).exists()] == []
    assert [
        name for name in re.findall(r"(?:inspector|kernels|tui)/[\w/]+\.py", said) if not (ROOT / name).exists()
    ] == []
