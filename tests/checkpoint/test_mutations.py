"""Thousands of damaged files: each opens, and then all of it can be looked at, or it is refused in one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fixture_files import Case, larger_cases, repository_cases, small_cases
from hostile import survey
from mutations import mutations

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, format_of

MOSTLY_REFUSED = (
    "comfy/model.safetensors",
    "modelopt/model.safetensors", "compressed/model.safetensors", "native4/model.safetensors",
    "native8/model.safetensors", "small/all.safetensors", "small/arrays.pkl", "small/legacy.bin", "small/objects.pt",
    "small/adapter.safetensors", "small/plain.pt", "small/plain_legacy.pt", "small/zip.bin", "sharded/index",
)  # fmt: skip
MOSTLY_OPENED = (
    "small/graph.onnx", "onnx/model.onnx", "exl3/model.safetensors", "exl3/config.json", "torchao/model.safetensors",
    "small/blocks.gguf", "modelopt/config.json", "compressed/config.json", "native4/config.json", "native8/config.json",
    "sharded/config",
)  # fmt: skip
SMALL = (*MOSTLY_REFUSED, *MOSTLY_OPENED)
"""Of what opens all is looked at: fifty milliseconds a file."""


def named(cases: list[Case]) -> dict[str, Case]:
    """By name, without the weights that a fixture was packed from: plain files of floats, one as good as another."""
    return {c.name: c for c in cases if not c.target.name.startswith("expected")}


REPOSITORY = named(repository_cases())
LARGER = {
    name: case
    for name, case in named(larger_cases()).items()
    if not any(name.endswith(n) and c.target.read_bytes() == case.target.read_bytes() for n, c in REPOSITORY.items())
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("mutations")
    _format_of.cache_clear()


@pytest.fixture(scope="module")
def small(folder: Path) -> dict[str, Case]:
    return {c.name: c for c in small_cases(folder)}


@cache
def _format_of(path: Path) -> Format | None:
    try:
        return format_of(open_checkpoint(path))
    except QinspectError:
        return None


def damage(case: Case, n: int, folder: Path) -> set[bool]:
    """Whether each of `n` damaged files opened; equal ones are looked at once, compared with the undamaged one as A and
    as B by turns. A failure says which it was."""
    opened, seen = set(), set[bytes]()
    for i, data in enumerate(mutations(case.target.read_bytes(), n)):
        if data in seen:
            continue
        seen.add(data)
        try:
            opened.add(survey(case.place(folder / "work", data), _format_of(case.path), as_a=len(seen) % 2 == 0))
        except Exception as e:
            e.add_note(f"the mutation {i} of {n} of {case.name}")
            raise
    return opened


@pytest.mark.parametrize("name", SMALL)
def test_small_files(small: dict[str, Case], folder: Path, name: str) -> None:
    """Without both outcomes it would be looking at nothing."""
    opened = damage(small[name], 600 if name in MOSTLY_REFUSED else 180, folder)
    assert opened == {True, False} or name.endswith(("sharded/config", "config.json"))


@pytest.mark.parametrize("name", REPOSITORY)
def test_files_of_the_repository(folder: Path, name: str) -> None:
    damage(REPOSITORY[name], 20, folder)


@pytest.mark.skipif(not LARGER, reason="QINSPECT_FIXTURES is not set")
@pytest.mark.parametrize("name", LARGER or ["none"])
def test_larger_files(folder: Path, name: str) -> None:
    damage(LARGER[name], 6, folder)


def test_undamaged_files_open(small: dict[str, Case], folder: Path) -> None:
    for case in (*small.values(), *REPOSITORY.values()):
        assert survey(case.place(folder / "work", case.target.read_bytes()), _format_of(case.path))
