"""Entries that are None: what torch.save stores for an option that is not set, or a parameter that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, Status, compare
from qinspect.inspector.formats import Format, format_of


def opened(folder: Path, a: str, b: str) -> tuple[Format, Format]:
    return format_of(open_checkpoint(folder / a)), format_of(open_checkpoint(folder / b))


def compared(tmp: Path, a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    torch.save(a, tmp / "a.pt")
    torch.save(b, tmp / "b.pt")
    return compare(*opened(tmp, "a.pt", "b.pt"))


W = torch.arange(6.0)


def test_a_none_in_both_is_counted(tmp_path: Path) -> None:
    c = compared(tmp_path, {"w": W, "cfg": None}, {"w": W, "cfg": None})
    assert c.headline.rule == "bit-identical"
    assert "2 entries" in c.headline.text


@pytest.mark.parametrize("value", [True, 0, 0.0, "", "None", []])
def test_none_is_no_other_value(tmp_path: Path, value: object) -> None:
    """The optimizer's `foreach=None` against `foreach=True`: it was said to be only in B."""
    c = compared(tmp_path, {"w": W, "cfg": None}, {"w": W, "cfg": value})
    (pair,) = [w for w in c.weights if w.role == "cfg"]
    assert (pair.a, pair.b, pair.status) == ("cfg", "cfg", Status.DIFFERENT)
    assert pair.note.startswith("A None; B ")
    assert not c.same


@pytest.mark.parametrize("model", ["A", "B"])
def test_a_none_of_one_model_is_said(tmp_path: Path, model: str) -> None:
    """They were identical everywhere, and either one a copy of the other."""
    sides: list[dict[str, Any]] = [{"w": W, "cfg": None, "bias": None}, {"w": W}]
    c = compared(tmp_path, *(sides if model == "A" else sides[::-1]))
    assert c.headline.rule == "same-values"
    assert f"Only {model} stores cfg and 1 more, which is None: no value." in c.headline.text
    assert "embedding" not in c.headline.text
    assert c.same


def test_a_tensor_where_the_other_has_none_is_only_there(tmp_path: Path) -> None:
    c = compared(tmp_path, {"w": W, "bias": None}, {"w": W, "bias": W + 1})
    assert [(w.role, w.status) for w in c.weights] == [("w", Status.IDENTICAL), ("bias", Status.ONLY_B)]
    assert not c.same


def test_a_tied_output_and_a_none_are_two_things(tmp_path: Path) -> None:
    embedding = torch.arange(12.0).reshape(4, 3)
    c = compared(
        tmp_path,
        {"embed_tokens.weight": embedding, "bias": None},
        {"embed_tokens.weight": embedding, "lm_head.weight": embedding},
    )
    assert "Only A stores bias, which is None" in c.headline.text
    assert "Only B stores lm_head.weight, equal to an embedding" in c.headline.text
    assert c.same


def test_a_file_that_cannot_hold_none_holds_the_same(tmp_path: Path) -> None:
    torch.save({"w": W, "bias": None}, tmp_path / "a.pt")
    save_file({"w": W}, tmp_path / "b.safetensors")
    c = compare(*opened(tmp_path, "a.pt", "b.safetensors"))
    assert c.headline.rule == "same-values"
    assert c.same


def test_one_and_many_are_told_in_words(tmp_path: Path) -> None:
    c = compared(tmp_path, {"w": W, "n": 1, "lr": 0.1}, {"w": W * (W != 3), "n": 2, "lr": 0.2})
    assert c.headline.text.startswith("3 tensors or values differ")
    (pair,) = [w for w in c.weights if w.role == "w"]
    assert pair.note == "1 element is zero in B only"
