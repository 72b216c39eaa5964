"""Textual inversion in its four ways of being stored, and what only looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.formats import format_of

VECTORS = torch.arange(24.0).reshape(3, 8)
A1111 = {
    "string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "cat\x1b[31m", "step": 500,
    "sd_checkpoint_name": "base",
}  # fmt: skip


def test_they_are_called_what_they_are(tmp_path: Path) -> None:
    torch.save(A1111, tmp_path / "a1111.pt")
    torch.save({"<cat>": VECTORS[0]}, tmp_path / "diffusers.bin")
    save_file({"emb_params": VECTORS}, tmp_path / "one.safetensors")
    save_file({"clip_l": VECTORS, "clip_g": torch.ones(3, 12)}, tmp_path / "two.safetensors")
    said = {
        "a1111.pt": "1 embedding, 3 vectors of 8", "diffusers.bin": "1 embedding, 1 vector of 8",
        "one.safetensors": "1 embedding, 3 vectors of 8",
        "two.safetensors": "2 embeddings, 3 vectors of 12, 3 vectors of 8",
    }  # fmt: skip
    for name, text in said.items():
        fmt = format_of(open_checkpoint(tmp_path / name))
        assert (fmt.family, fmt.description) == ("textual-inversion", f"textual inversion: {text}")
        assert fmt.notes()[0] == "vectors for words of a text encoder: no weights of a model are in it"
        assert all(note.isprintable() for note in fmt.notes())
    notes = format_of(open_checkpoint(tmp_path / "a1111.pt")).notes()
    assert notes[1].endswith("steps 500, trained with base")
    a, b = (format_of(open_checkpoint(tmp_path / name)) for name in ("a1111.pt", "one.safetensors"))
    assert all(w.status.counts_as_same for w in compare(a, b).weights if w.a and w.b and w.role == "embedding")


@pytest.mark.parametrize(
    "tensors",
    [
        {"emb_params": VECTORS, "weight": VECTORS}, {"clip_g": VECTORS}, {"emb_params": torch.ones(2, 3, 4)},
        {"<cat>": torch.ones(4, dtype=torch.int8)}, {"<cat>": VECTORS, "w": VECTORS}, {"tensor": VECTORS},
        {"emb_params": torch.ones(0)},
    ],
)  # fmt: skip
def test_what_is_something_else(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: t.clone() for name, t in tensors.items()}, tmp_path / "m.safetensors")
    assert format_of(open_checkpoint(tmp_path / "m.safetensors")).family == "plain"
