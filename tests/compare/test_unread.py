"""Two models with the same tensors, unread: what is said without items is what items say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.compare import compare, unread
from qinspect.inspector.formats import Format


def model(folder: Path, other: bool = False, more: str = "") -> Format:
    folder.mkdir()
    state: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {"model.embed_tokens.weight": np.ones((8, 4))}
    for i in range(3):
        module = f"model.layers.{i}.mlp.up_proj"
        state[f"{module}.weight"] = np.full((4, 2), i, np.int32)
        state[f"{module}.weight_scale"] = np.full((4, 1), 0.5 + other * i, np.float16)
        state[f"{module}.bias"] = np.zeros(4, np.float16)
    if more:
        state[more] = np.zeros(2)
    save_file(state, folder / "model.safetensors")
    return open_model(str(folder))


@pytest.mark.parametrize("more", ["", "lm_head.weight"])
def test_the_same_as_by_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    a, b = model(tmp_path / "a"), model(tmp_path / "b", True, more)
    assert (unread.unread_alike(a, b) is None) == bool(more)
    quick = compare(a, b, codes=False)
    with monkeypatch.context() as patched:
        patched.setattr(unread, "unread_alike", lambda *_: None)
        slow = compare(a, b, codes=False)
    assert quick.weights == slow.weights
    assert (quick.weight_bytes, quick.scales, quick.summary) == (slow.weight_bytes, slow.scales, slow.summary)
    assert (quick.headline, quick.reasons) == (slow.headline, slow.reasons)
    assert len(quick.weights) == 7 + bool(more)
    assert quick.summary.n_different == 2
