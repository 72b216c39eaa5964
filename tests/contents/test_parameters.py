"""How many parameters a model has: counted, not known, or stated by its index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from safetensors.torch import save_file


@pytest.fixture
def tree(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("tree", capsys, source_root)


def sharded(folder: Path, metadata: Any) -> Path:
    tensors = {
        "m.qweight": torch.ones(8, 8, dtype=torch.int32), "m.scales": torch.ones(2, 8), "n.weight": torch.ones(5),
    }  # fmt: skip
    save_file(tensors, folder / "model-00001-of-00001.safetensors")
    index = {"metadata": metadata, "weight_map": dict.fromkeys(tensors, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_packed_elements_are_no_parameters(tree: Command, tmp_path: Path) -> None:
    found = tree.json(sharded(tmp_path, {"total_size": 7}))
    assert found["parameters"] == {"counted": 5, "elements_of_codes": 64, "stated": None, "stated_by": None}
    root, by_name = found["tree"], {n["name"]: n for n in found["tree"]["children"]}
    assert (root["parameters"], root["elements"]) == (None, 85)
    assert (by_name["m"]["parameters"], by_name["m"]["elements"]) == (None, 80)
    assert (by_name["n"]["parameters"], by_name["n"]["elements"]) == (5, 5)
    text = tree(tmp_path)[0]
    assert "80 elements stored, parameters not known" in text
    assert "parameters not known: 64 elements are codes" in text
    assert "85 parameters" not in text


def test_the_index_is_believed_and_named(tree: Command, tmp_path: Path) -> None:
    path = sharded(tmp_path, {"total_parameters": 8_021_025_280, "total_size": 6_661_964_712})
    for place in (path, path / "model.safetensors.index.json"):
        assert tree.json(place)["parameters"] == {
            "counted": 5, "elements_of_codes": 64, "stated": 8_021_025_280,
            "stated_by": "total_parameters in model.safetensors.index.json",
        }  # fmt: skip
    assert "8,021,025,280 parameters by total_parameters in model.safetensors.index.json" in tree(path)[0]


@pytest.mark.parametrize("said", [None, -1, 0, 1.5, True, "7", [], 10**400, float("inf")])
def test_what_is_no_number_of_parameters_is_not_believed(tree: Command, tmp_path: Path, said: Any) -> None:
    assert tree.json(sharded(tmp_path, {"total_parameters": said}))["parameters"]["stated"] is None
    assert tree.json(sharded(tmp_path, said))["parameters"]["stated"] is None
