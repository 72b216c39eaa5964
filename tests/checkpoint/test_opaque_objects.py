"""Objects of classes that are not known: shown as one entry, with the tensors in them, and never made."""

from __future__ import annotations

import datetime
import enum
import fractions
import functools
import pathlib
import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import MARK, PROTO, STOP, global_, integer, state_dict, tensor, text, torch_zip
from pickles import Items, Net, Plain, Row, Slots, kinds, namespace, saved, shown, tensor_of, value_of

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.torch_entries import MAX_ENTRIES
from qinspect.inspector.compare import Status, compare
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.formats import format_of

both_kinds = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4, 5])


class Color(enum.Enum):
    RED = "red"


OBJECTS: dict[str, Any] = {
    "argparse.Namespace": namespace(lr=1e-4, arch="x", layers=[1, 2], more={"a": None}),
    "pickles.Plain": Plain(a=1, b="two"),
    "pickles.Slots": Slots(1, [2]),
    "pickles.Items": Items(a=1, b=[2]),
    "pickles.Row": Row([1, "x"]),
    "datetime.datetime": datetime.datetime(2024, 5, 17, 12),  # noqa: DTZ001
    "pathlib.PosixPath": pathlib.PosixPath("/a/b"),
    "uuid.UUID": uuid.UUID(int=7),
    "fractions.Fraction": fractions.Fraction(1, 3),
    "functools.partial": functools.partial(Plain, a=1),
    "test_opaque_objects.Color": Color.RED,
    "builtins.slice": slice(1, 2),
}


@both_kinds
@PROTOCOLS
@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_of_any_class_is_one_entry_beside_the_tensors(
    tmp_path: Path, name: str, zipped: bool, protocol: int
) -> None:
    content = {"model": {"w": torch.arange(4.0)}, "made": OBJECTS[name], "step": 3}
    checkpoint = saved(tmp_path / "m.pt", content, zipped, protocol)
    assert list(checkpoint.entries) == ["model.w", "made", "step"]
    short = name.replace("builtins", "__builtin__") if protocol == 2 else name
    assert kinds(checkpoint) == {"made": f"{short}, not read", "step": "python int"}
    assert tensor_of(checkpoint, "model.w").read().tolist() == [0, 1, 2, 3]
    assert [n for n in checkpoint.notes if "1 value was not read" in n and short in n]


@both_kinds
def test_tensors_in_an_object_are_named_by_its_attributes(tmp_path: Path, zipped: bool) -> None:
    inner = Plain(scale=torch.tensor(0.5), deep={"x": [torch.ones(2)], "n": 1})
    content = {"ema": Plain(shadow=inner, decay=0.9, row=Row([torch.zeros(1)]), items=Items(k=torch.tensor(3)))}
    checkpoint = saved(tmp_path / "m.pt", content, zipped)
    assert shown(checkpoint) | {"ema": None} == {
        "ema": None, "ema.shadow.scale": 0.5, "ema.shadow.deep.x.0": [1.0, 1.0], "ema.row.0": [0.0], "ema.items.k": 3,
    }  # fmt: skip
    assert any("4 tensors in what was not read are listed" in n for n in checkpoint.notes)


@both_kinds
def test_a_whole_module_has_the_names_of_its_state_dict(tmp_path: Path, zipped: bool) -> None:
    torch.manual_seed(0)
    net = Net()
    checkpoint = saved(tmp_path / "m.pt", net, zipped)
    state = net.state_dict()
    assert {t.name for t in checkpoint.tensors()} == set(state)
    for name, t in state.items():
        assert tensor_of(checkpoint, name).read().tolist() == t.tolist()
    assert kinds(checkpoint) == {"object": "pickles.Net, not read"}
    beside = saved(tmp_path / "s.pt", {"net": net}, zipped)
    assert {t.name for t in beside.tensors()} == {f"net.{name}" for name in state}


def test_a_whole_module_compares_with_its_state_dict(tmp_path: Path) -> None:
    net = Net()
    a = format_of(saved(tmp_path / "whole.pt", net))
    b = format_of(saved(tmp_path / "state.pt", dict(net.state_dict())))
    statuses = {p.role: p.status for p in compare(a, b, codes=True).weights}
    assert statuses.pop("object") is Status.ONLY_A
    assert set(statuses) == set(net.state_dict())
    assert set(statuses.values()) == {Status.IDENTICAL}


def test_objects_that_refer_to_each_other(tmp_path: Path) -> None:
    parent, child = Plain(w=torch.ones(1)), Plain(b=torch.zeros(1))
    parent.child, child.parent = child, parent  # type: ignore[attr-defined]
    checkpoint = saved(tmp_path / "m.pt", {"one": parent, "two": child, "again": parent})
    assert set(checkpoint.entries) == {"one", "one.w", "one.child.b", "two", "again"}


def test_names_that_clash_within_an_object_are_told_apart(tmp_path: Path) -> None:
    content = {"o": Plain(**{"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}})}
    checkpoint = saved(tmp_path / "m.pt", content)
    assert {n: v for n, v in shown(checkpoint).items() if n != "o"} == {"o.a.b": [1.0], "o.a.b~2": [0.0]}


# --- equal or not: by what was pickled ---


def status_of(tmp_path: Path, a: object, b: object) -> Status:
    one, other = (format_of(saved(tmp_path / f"{n}.pt", {"w": torch.ones(1), "o": o})) for n, o in (("a", a), ("b", b)))
    (pair,) = [p for p in compare(one, other, codes=True).weights if p.role == "o"]
    return pair.status


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_equals_one_of_the_same_content(tmp_path: Path, name: str) -> None:
    again = pickle.loads(pickle.dumps(OBJECTS[name]))
    assert status_of(tmp_path, OBJECTS[name], again) is Status.IDENTICAL


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Plain(lr=1), Plain(lr=2)), (Plain(lr=1), Plain(lr=1.0)), (Plain(lr=1), Plain(lr=True)),
        (Plain(lr=1), namespace(lr=1)), (Plain(a=[1, 2]), Plain(a=[2, 1])), (Plain(a=(1,)), Plain(a=[1])),
        (Plain(a={"x": {"y": 1}}), Plain(a={"x": {"y": 2}})), (Plain(a=None), Plain(b=None)),
        (Items(a=1), Items(a=2)), (Row([1]), Row([1, 1])), (Slots(1, 2), Slots(2, 1)),
        (pathlib.PosixPath("/a"), pathlib.PosixPath("/b")), (Plain(a="1"), Plain(a=b"1")),
        (Plain(a=np.float32(1)), Plain(a=np.float64(1))), (Plain(a=np.zeros(2)), Plain(a=np.zeros(3))),
        (Plain(a={1, 2}), Plain(a={1, 3})), (Plain(a=torch.ones(2)), Plain(a=torch.ones(3))),
        (Plain(a=Plain), Plain(a=Slots)), (functools.partial(len, [1]), functools.partial(len, [2])),
    ],
)  # fmt: skip
def test_an_object_of_another_content_is_different(tmp_path: Path, a: object, b: object) -> None:
    assert status_of(tmp_path, a, b) is Status.DIFFERENT


def test_sharing_and_the_order_of_sets_and_dictionaries_do_not_count(tmp_path: Path) -> None:
    shared = [1, 2]
    assert status_of(tmp_path, Plain(a=[shared, shared]), Plain(a=[[1, 2], [1, 2]])) is Status.IDENTICAL
    assert status_of(tmp_path, Plain(a=1, b=2), Plain(b=2, a=1)) is Status.IDENTICAL
    one = torch_zip(tmp_path / "1.pt", opaque_set(b"K\x01K\x02"))
    two = torch_zip(tmp_path / "2.pt", opaque_set(b"K\x02K\x01"))
    assert value_of(open_checkpoint(one), "o") == value_of(open_checkpoint(two), "o")


def opaque_set(items: bytes) -> bytes:
    return state_dict(w=text(""), o=global_("m", "C") + b")R\x8f(" + items + b"\x90b")


def test_a_fingerprint_of_what_is_shared_to_multiply_takes_no_time(tmp_path: Path) -> None:
    deep = b"]q\x00" + b"0](h\x00h\x00eq\x00" * 5000
    path = torch_zip(tmp_path / "m.pt", PROTO + b"}" + text("o") + global_("m", "C") + b")R" + deep + b"bs" + STOP)
    assert kinds(open_checkpoint(path)) == {"o": "m.C, not read"}


# --- the ways in which pickles make objects ---


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (MARK + integer(1) + b"im\nC\n", "m.C"),
        (MARK + global_("m", "C") + integer(1) + b"o", "m.C"),
        (global_("m", "C") + b")}" + text("a") + integer(1) + b"s\x92", "m.C"),
        (global_("m", "C") + b")\x81", "m.C"),
        (b"\x82\x05)R", "copyreg extension 5"),
        (b"\x83\x05\x01)R", "copyreg extension 261"),
        (b"\x84\x05\x00\x00\x01)R", "copyreg extension 16777221"),
        (global_("copy_reg", "_reconstructor") + MARK + global_("m", "C") + global_("m", "B") + b"NtR", "m.C"),
        (global_("copyreg", "__newobj__") + global_("m", "C") + b"\x85R", "m.C"),
        (global_("builtins", "getattr") + global_("m", "Color") + text("RED") + b"\x86R", "m.Color.RED"),
        (global_("m", "f") + b")R)R", "m.f()"),
        (global_("m", "f") + b")R)R)R", "m.f()"),
    ],
)  # fmt: skip
def test_every_way_to_make_an_object(tmp_path: Path, made: bytes, kind: str) -> None:
    path = torch_zip(tmp_path / "m.pt", state_dict(a=tensor(), o=made), {"0": bytes(16)})
    checkpoint = open_checkpoint(path)
    assert kinds(checkpoint) == {"o": f"{kind}, not read"}
    assert len(list(checkpoint.tensors())) == 1


def test_objects_as_keys_are_told_by_class_and_place(tmp_path: Path) -> None:
    key = global_("m", "K") + b")R"
    path = torch_zip(tmp_path / "m.pt", state_dict(d=b"}(" + key + integer(1) + key + integer(2) + b"u"))
    assert shown(open_checkpoint(path)) == {"d.m.K#0": 1, "d.m.K#1": 2}


def test_an_unknown_name_is_a_value(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "m.pt", {"act": torch.nn.functional.relu, "w": torch.ones(1)})
    assert value_of(checkpoint, "act") == "torch.nn.functional.relu"


# --- what cannot multiply ---


def test_one_object_under_many_names(tmp_path: Path) -> None:
    big = global_("m", "C") + b")R}(" + b"".join(text(f"k{i}") + b"]" for i in range(3000)) + b"ub"
    path = torch_zip(tmp_path / "m.pt", PROTO + big + b"q\x000](" + b"h\x00" * 20_000 + b"e" + STOP)
    checkpoint = open_checkpoint(path)
    assert len(checkpoint.entries) == 20_000


def test_one_long_list_under_many_names(tmp_path: Path) -> None:
    long = b"](" + b"N" * 5000 + b"e"
    path = torch_zip(tmp_path / "m.pt", PROTO + long + b"q\x000](" + b"h\x00" * 5000 + b"e" + STOP)
    checkpoint = open_checkpoint(path)
    assert len(checkpoint.entries) == 5000
    assert str(value_of(checkpoint, "0")).startswith("5,000 values, sha256 ")


@pytest.mark.parametrize(
    ("one", "most"), [(b"}", MAX_ENTRIES), (b"}", 4000), (b"]", 4000), (b"\x8f", 4000), (b"N\x85", 4000)]
)
def test_more_entries_than_any_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: bytes, most: int
) -> None:
    monkeypatch.setattr("qinspect.inspector.checkpoint.torch_entries.MAX_ENTRIES", most)
    path = torch_zip(tmp_path / "m.pt", b"\x80\x04](" + (one + b"}\x86") * (most * 3 // 4) + b"e" + STOP)
    with pytest.raises(BrokenFile, match=f"more entries than any checkpoint; expected at most {most:,}"):
        open_checkpoint(path)


def test_long_lists_of_plain_values_are_one_entry_and_still_compare(tmp_path: Path) -> None:
    vocabulary = {f"token{i}": i for i in range(3000)}
    merges = [(f"a{i}", f"b{i}") for i in range(3000)]
    content = {"w": torch.ones(1), "vocab": vocabulary, "merges": merges, "short": [1, 2]}
    checkpoint = saved(tmp_path / "m.pt", content)
    assert list(checkpoint.entries) == ["w", "vocab", "merges", "short.0", "short.1"]
    assert str(value_of(checkpoint, "vocab")).startswith("3,000 values")
    assert status_of(tmp_path, vocabulary, dict(vocabulary)) is Status.IDENTICAL
    assert status_of(tmp_path, vocabulary, {**vocabulary, "token5": 6}) is Status.DIFFERENT
