"""Pickles as plain structures, for readers of known layouts."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hostile import PROTO, STOP, assert_one_line, global_
from pickles import Items, Plain, Slots

from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque, Record
from qinspect.inspector.checkpoint.pickled_structure import attributes, walk_structure
from qinspect.inspector.errors import UnsafePickle


@pytest.mark.filterwarnings("ignore")
def test_the_metadata_of_a_distributed_checkpoint(tmp_path: Path) -> None:
    model = {"a": torch.zeros(4, 3), "b": torch.tensor(1.0, dtype=torch.bfloat16), "n": 3}
    dcp.state_dict_saver.save({"model": model}, checkpoint_id=str(tmp_path / "dcp"), no_dist=True)
    path = tmp_path / "dcp" / ".metadata"
    metadata = attributes(walk_structure(path.read_bytes(), path))
    entries = {name: attributes(entry) for name, entry in metadata["state_dict_metadata"].items()}
    assert {n: (e["size"], e["properties"].state[0].name) for n, e in entries.items() if e} == {
        "model.a": ((4, 3), "torch.float32"), "model.b": ((), "torch.bfloat16"),
    }  # fmt: skip
    places = {attributes(k)["fqn"]: attributes(v) for k, v in metadata["storage_data"].items()}
    assert places["model.a"]["relative_path"] == "__0_0.distcp"
    assert {type(p["offset"]) for p in places.values()} == {int}


@pytest.mark.parametrize("protocol", range(6))
def test_attributes_by_whatever_way_they_were_pickled(protocol: int) -> None:
    def walked(thing: object) -> object:
        return walk_structure(pickle.dumps(thing, protocol), Path("x"))

    assert attributes(walked(Plain(a=1, b=[2]))) == {"a": 1, "b": [2]}
    if protocol >= 2:
        assert attributes(walked(Slots(1, 2))) == {"a": 1, "b": 2}
        made = walked(Items(a=1))
        assert isinstance(made, Opaque)
        assert made.set_items == ["a", 1]
    assert attributes(walked({"a": 1})) == {}


def test_names_and_persistent_ids() -> None:
    found = walk_structure(PROTO + b"(K\x05Q" + global_("m", "f") + b"t" + STOP, Path("x"))
    assert isinstance(found[0], Record)
    assert (found[0].name, found[0].args) == ("persistent id", (5,))
    assert isinstance(found[1], Global)
    assert found[1].name == "m.f"


def test_an_attack_is_refused_here_too() -> None:
    with pytest.raises(UnsafePickle, match=r"this file would run os\.system") as caught:
        walk_structure(PROTO + global_("os", "system") + b")R" + STOP, Path("x"), 100)
    assert "offset" in assert_one_line(caught.value)
