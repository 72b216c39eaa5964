"""Results that are kept: the same as measured ones, of the same files only, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import NothingInCommon
from qinspect.inspector.fidelity.kept import MOST_KEPT, folder_of_kept, kept_or_measured
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.results import Fidelity
from qinspect.inspector.fidelity.work import Result
from qinspect.inspector.formats import Format, format_of


def opened(path: Path) -> Format:
    return format_of(open_checkpoint(path))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two models with a weight that differs, one that is equal, one that is zero in A, NaN, and one that B has not."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((32, 32)).astype(np.float32)
    odd = w.copy()
    odd[3, 4] = np.nan
    a = {"x.weight": w, "same.weight": w, "zero.weight": np.zeros_like(w), "nan.weight": odd, "gone.weight": w}
    b = {"x.weight": w.astype(np.float16).astype(np.float32), "same.weight": w, "zero.weight": w, "nan.weight": w}
    for name, tensors in (("a", a), ("b", b)):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    return tmp_path / "a", tmp_path / "b"


def looked(pair: tuple[Path, Path]) -> Fidelity:
    return kept_or_measured(opened(pair[0]), opened(pair[1]))


def content(found: Fidelity) -> str:
    """As text, in which NaN is equal to itself."""
    return repr((found.weights, found.not_compared, found.bits))


def test_the_second_look_says_the_same_and_when_it_was_measured(pair: tuple[Path, Path]) -> None:
    first = looked(pair)
    told: list[Result] = []
    a, b = opened(pair[0]), opened(pair[1])
    second = kept_or_measured(a, b, told=told.append)
    assert first.measured_at is None
    assert second.measured_at is not None
    assert content(second) == content(first) == content(measure_fidelity(a, b))
    assert told == [*second.weights, *second.not_compared]
    assert kept_or_measured(a, b, fresh=True).measured_at is None


@pytest.mark.parametrize("which", [0, 1])
def test_another_file_under_the_name_is_measured(pair: tuple[Path, Path], which: int) -> None:
    looked(pair)
    path = pair[which] / "model.safetensors"
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    assert looked(pair).measured_at is None


def test_other_settings_are_another_model(pair: tuple[Path, Path]) -> None:
    looked(pair)
    (pair[1] / "config.json").write_text('{"model_type": "llama"}')
    assert looked(pair).measured_at is None


def test_the_other_way_round_is_another_pair(pair: tuple[Path, Path]) -> None:
    looked(pair)
    assert looked(pair[::-1]).measured_at is None


@pytest.mark.parametrize("damage", [b"", b"x", b"\x00" * 4096, None])
def test_what_is_damaged_is_measured_again(pair: tuple[Path, Path], damage: bytes | None) -> None:
    first = looked(pair)
    (kept,) = folder_of_kept().iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again = looked(pair)
    assert (again.measured_at, content(again)) == (None, content(first))
    assert looked(pair).measured_at is not None


def test_a_flipped_bit_anywhere_is_damage(pair: tuple[Path, Path]) -> None:
    looked(pair)
    (kept,) = folder_of_kept().iterdir()
    whole = bytearray(kept.read_bytes())
    for at in range(0, len(whole), max(1, len(whole) // 13)):
        changed = whole.copy()
        changed[at] ^= 1
        kept.write_bytes(changed)
        assert looked(pair).measured_at is None


def test_where_nothing_can_be_written_it_is_measured(pair: tuple[Path, Path]) -> None:
    folder_of_kept().parent.mkdir(parents=True, exist_ok=True)
    folder_of_kept().write_text("a file where the folder would be")
    assert looked(pair).measured_at is None
    assert looked(pair).measured_at is None


def test_no_more_than_so_many_are_kept(pair: tuple[Path, Path]) -> None:
    folder_of_kept().mkdir(parents=True)
    for i in range(MOST_KEPT + 5):
        old = folder_of_kept() / f"{i}.kept"
        old.write_bytes(b"old")
        os.utime(old, (i + 1, i + 1))
    looked(pair)
    names = {p.name for p in folder_of_kept().iterdir()}
    assert len(names) == MOST_KEPT
    assert not names & {"0.kept", "5.kept"}
    assert looked(pair).measured_at is not None


def test_what_cannot_be_measured_is_not_kept(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    save_file({"other": np.ones((2, 3), np.float32)}, tmp_path / "c" / "model.safetensors")
    with pytest.raises(NothingInCommon):
        looked((pair[0], tmp_path / "c"))
    assert not folder_of_kept().exists()
