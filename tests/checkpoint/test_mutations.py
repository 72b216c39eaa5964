"""Thousands of damaged files: each opens, and then all of it can be looked at, or it is refused in one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest
from fixture_files import Case, larger_cases, repository_cases, small_cases
from hostile import survey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, format_of

SMALL = (
    "modelopt/config.json", "modelopt/model.safetensors",
    "small/all.safetensors", "small/arrays.pkl", "small/blocks.gguf", "small/legacy.bin", "small/objects.pt",
    "small/plain.pt", "small/plain_legacy.pt", "small/zip.bin",
    "sharded/index", "sharded/config", "native4/model.safetensors", "native4/config.json",
    "native8/model.safetensors", "native8/config.json", "compressed/model.safetensors", "compressed/config.json",
)  # fmt: skip
REPOSITORY = {c.name: c for c in repository_cases()}
LARGER = {c.name: c for c in larger_cases()}
_SETTINGS = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, (1 << 64) - 1)


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


def damage(case: Case, seed: int, folder: Path) -> bool:
    return survey(case.place(folder / "work", mutate(case.target.read_bytes(), Random(seed))), _format_of(case.path))


@pytest.mark.parametrize("name", SMALL)
@settings(_SETTINGS, max_examples=1000)
@given(seed=seeds)
def test_small_files(small: dict[str, Case], folder: Path, name: str, seed: int) -> None:
    damage(small[name], seed, folder)


@pytest.mark.parametrize("name", REPOSITORY)
@settings(_SETTINGS, max_examples=40)
@given(seed=seeds)
def test_files_of_the_repository(folder: Path, name: str, seed: int) -> None:
    damage(REPOSITORY[name], seed, folder)


@pytest.mark.skipif(not LARGER, reason="QINSPECT_FIXTURES is not set")
@pytest.mark.parametrize("name", LARGER or ["none"])
@settings(_SETTINGS, max_examples=10)
@given(seed=seeds)
def test_larger_files(folder: Path, name: str, seed: int) -> None:
    damage(LARGER[name], seed, folder)


def test_the_damage_is_of_both_kinds(small: dict[str, Case], folder: Path) -> None:
    """Otherwise the tests above would be looking at nothing."""
    for name in SMALL:
        assert {damage(small[name], seed, folder) for seed in range(60)} == {True, False} or name.endswith(
            ("sharded/config", "config.json")
        )


def test_undamaged_files_open(small: dict[str, Case], folder: Path) -> None:
    for case in (*small.values(), *REPOSITORY.values()):
        assert survey(case.place(folder / "work", case.target.read_bytes()), _format_of(case.path))
