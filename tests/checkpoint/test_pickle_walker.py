from __future__ import annotations

import collections
import pickle
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hostile import (
    HOSTILE_CHARACTERS,
    MARK,
    PROTO,
    STOP,
    assert_one_line,
    global_,
    integer,
    refused,
    state_dict,
    storage_id,
    tensor,
    text,
    torch_zip,
)

from qinspect.inspector.checkpoint import Value, open_checkpoint
from qinspect.inspector.checkpoint.pickle_objects import Global, Record
from qinspect.inspector.checkpoint.pickle_walker import MAX_MARKS, MAX_OBJECTS, PickleWalker
from qinspect.inspector.checkpoint.torch_objects import KNOWN
from qinspect.inspector.errors import BrokenFile, QinspectError, UnsafePickle

BASE = 1000


def walk(data: bytes, known: Mapping[str, Global] = KNOWN) -> Any:
    def persistent(_: object) -> object:
        raise AssertionError("no persistent id here")

    return PickleWalker(data, Path("x.bin"), known, persistent, BASE).load()


def refuses(data: bytes, kind: type[QinspectError], *words: str) -> str:
    with pytest.raises(QinspectError) as caught:
        walk(data)
    message = assert_one_line(caught.value)
    assert type(caught.value) is kind, message
    for word in ("x.bin", "offset", *words):
        assert word in message
    return message


# --- what it reads, against pickle itself ---

VALUES: dict[str, Any] = {
    "none": None,
    "bools": [True, False],
    "integers": [0, 1, -1, 255, 256, 65535, 65536, -(1 << 31), (1 << 31) - 1, 1 << 31, -(1 << 63), 1 << 64, 3**500],
    "floats": [0.0, -0.0, 1.5, 1e308, 5e-324, float("inf"), float("-inf")],
    "strings": ["", "a", "x" * 300, "\u00e4\u4e2d\U0001f600", "\ud800", "a\nb"],
    "bytes": [b"abc", b"", bytes(range(256))],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1, (2,)),)],
    "lists": [[], [1], [[]], [1] * 1500],
    "dicts": [{}, {"a": 1}, {1: {2: {3: 4}}}, {str(i): i for i in range(1500)}, {None: 1, 1.5: 2, b"x": 3, True: 4}],
    "shared": [["x"]] * 3 + [("a", "b")] * 3,
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
}


_OLD_OPCODES_TOO = ("none", "integers", "floats", "tuples", "lists")
_CASES = [(n, p) for n in VALUES for p in range(6) if p > 2 or (p == 2 and n != "bytes") or n in _OLD_OPCODES_TOO]


@pytest.mark.parametrize(("name", "protocol"), _CASES)
def test_plain_values_as_pickle_writes_them(name: str, protocol: int) -> None:
    data = pickle.dumps(VALUES[name], protocol)
    walker = PickleWalker(data + b"rest", Path("x.bin"), KNOWN, lambda pid: pid)
    assert walker.load() == VALUES[name]
    assert walker.position == len(data)


def test_bytes_as_protocol_2_writes_them() -> None:
    assert walk(pickle.dumps([b"abc", bytes(range(250))], 2)) == [b"abc", bytes(range(250))]


def test_pickles_in_a_row() -> None:
    walker = PickleWalker(pickle.dumps([1]) + pickle.dumps("two"), Path("x.bin"), KNOWN, lambda pid: pid)
    assert [walker.load(), walker.load()] == [[1], "two"]


def test_sets_are_kept_as_lists() -> None:
    assert sorted(walk(pickle.dumps({1, 2, 3}, 4))) == [1, 2, 3]
    assert sorted(walk(pickle.dumps(frozenset({1, 2}), 4))) == [1, 2]


def test_short_tuples_as_keys_are_kept_as_text() -> None:
    assert walk(pickle.dumps({("a", 1): 2}, 2)) == {"('a', 1)": 2}


def test_a_global_without_a_constructor_is_recorded_and_its_state_kept() -> None:
    known = {"m.C": Global("m.C")}
    found = walk(PROTO + global_("m", "C") + b")\x81}" + text("x") + integer(1) + b"sb" + STOP, known)
    assert isinstance(found, Record)
    assert (found.name, found.args, found.state) == ("m.C", (), {"x": 1})


def test_state_set_on_something_else_changes_nothing() -> None:
    made = walk(PROTO + global_("collections", "OrderedDict") + b")R}" + text("__class__") + integer(1) + b"sb" + STOP)
    assert made == {}
    assert type(made) is dict


# --- what it never runs ---


class _Runs:
    """Pickles as a call of whatever it was given."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_of_os_system_is_refused_and_not_made(tmp_path: Path, protocol: int) -> None:
    import os

    witness = tmp_path / "ran"
    data = pickle.dumps(_Runs(os.system, f"touch {witness}"), protocol)
    refuses(data, UnsafePickle, "posix.system", "It was not run")
    refused(torch_zip(tmp_path / "m.bin", data), UnsafePickle, "posix.system")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"),
        ("__builtin__", "eval"), ("subprocess", "Popen"), ("shutil", "rmtree"), ("torch", "load"),
        ("torch.serialization", "load"), ("torch._utils", "_import_dotted_name"), ("collections.OrderedDict", ""),
        ("", "collections.OrderedDict"), ("collections", "OrderedDict.fromkeys"), ("torch", "hub"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("torch", "float32.__class__"), ("numpy", "load"),
        ("", ""), ("os\x1b[31m", "system\u202e"), ("x" * 100_000, "y"), (HOSTILE_CHARACTERS.replace("\ud800", ""), "x"),
    ],
)  # fmt: skip
def test_any_other_global_stands_for_nothing_but_its_name(module: str, name: str) -> None:
    """By whatever opcode it is written, and whether a name of Python 2 or of 3."""
    found = [walk(b"\x80\x04" + text(module) + text(name) + b"\x93" + STOP)]
    if "\n" not in module:
        found.append(walk(PROTO + global_(module, name) + STOP))
    for made in found:
        assert isinstance(made, Global)
        assert (made.name, made.known, made.build) == (f"{module}.{name}", False, None)


def test_a_dotted_name_split_elsewhere_is_the_same_global_and_still_not_called() -> None:
    found = walk(b"\x80\x04" + text("collections") + text("OrderedDict") + b"\x93" + STOP)
    assert found is KNOWN["collections.OrderedDict"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("unknown", b"\xff"),
        ("zero", b"\x00"),
    ],
)
def test_opcodes_that_do_not_exist(name: str, data: bytes) -> None:
    refuses(PROTO + data + STOP, UnsafePickle, "opcode that does not exist", "found 0x")


@pytest.mark.parametrize("call", [b"R", b"\x81"], ids=["REDUCE", "NEWOBJ"])
@pytest.mark.parametrize(
    "target",
    [b"N", integer(1), text("os.system"), b"]", b"}", b")", global_("collections", "OrderedDict") + b")R"],
    ids=["None", "int", "str", "list", "dict", "tuple", "result"],
)
def test_calls_of_what_is_no_constructor(target: bytes, call: bytes) -> None:
    refuses(PROTO + target + b")" + call + STOP, UnsafePickle, "calls something")


def test_a_record_is_not_callable() -> None:
    data = global_("torch", "device") + b")R" + b")R"
    refuses(PROTO + data + STOP, UnsafePickle, "calls something", "a Record")


@pytest.mark.parametrize("arguments", [b"N", b"]", b"}", text("ab"), integer(3)])
def test_arguments_that_are_no_tuple(arguments: bytes) -> None:
    refuses(PROTO + global_("collections", "OrderedDict") + arguments + b"R" + STOP, UnsafePickle, "calls something")


@pytest.mark.parametrize(
    "data",
    [
        global_("collections", "OrderedDict") + integer(1) + b"\x85R",
        global_("collections", "OrderedDict") + b"]N\x86R",
        global_("collections", "OrderedDict") + b"]" + integer(1) + b"a\x85R",
        global_("collections", "OrderedDict") + b"]" + b"]]\x86" + b"a\x85R",
        global_("torch", "Size") + integer(5) + b"\x85R",
        global_("torch", "Size") + text("abc") + b"\x85R",
        global_("_codecs", "encode") + integer(5) + b"\x85R",
        global_("_codecs", "encode") + text("x") + text("rot13") + b"\x86R",
        global_("_codecs", "encode") + text("\u4e2d") + text("latin1") + b"\x86R",
        global_("torch._utils", "_rebuild_tensor_v2") + b")R",
        global_("torch._utils", "_rebuild_tensor_v2") + MARK + b"NNNNNNtR",
        global_("torch._utils", "_rebuild_tensor_v3") + MARK + b"NNNNNNNtR",
        global_("torch._utils", "_rebuild_parameter") + b")R",
        global_("torch", "float32") + b")R" + b")R",
    ],
)
def test_known_constructors_with_arguments_that_make_no_sense(data: bytes) -> None:
    with pytest.raises(BrokenFile) as caught:
        walk(PROTO + data + STOP)
    assert_one_line(caught.value)


# --- what it does not let grow ---


def test_memo_indices_cost_nothing_however_large() -> None:
    assert walk(PROTO + b"Nr\xff\xff\xff\xff" + b"0Np4294967295\n" + b"." + STOP) is None
    assert walk(b"Np" + b"9" * 19 + b"\n" + STOP) is None
    assert walk(b"Np-1\n0g-1\n" + STOP) is None


@pytest.mark.parametrize(
    "data",
    [
        b"h\x00.", b"j\xff\xff\xff\x7f.", b"g5\n.", b"gx\n.", b"g" + b"9" * 5000 + b"\n.", b"q\x00.",
        b"r\x00\x00\x00\x00.", b"p0\n.", b"\x94.",
    ],
)  # fmt: skip
def test_memo_entries_that_were_never_made(data: bytes) -> None:
    refuses(PROTO + data, BrokenFile)


@pytest.mark.parametrize(
    "data",
    [
        b"\x8a\xff" + bytes(255), b"\x8b" + struct.pack("<I", 1024) + b"\x01" * 1024, b"I" + b"9" * 2000 + b"\n",
        b"L" + b"9" * 2000 + b"L\n",
    ],
)  # fmt: skip
def test_large_integers_within_the_limit(data: bytes) -> None:
    assert isinstance(walk(PROTO + data + STOP), int)


@pytest.mark.parametrize(
    "data",
    [
        b"\x8b" + struct.pack("<I", 1025) + bytes(1025), b"\x8b\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f",
        b"I" + b"9" * 2049 + b"\n", b"L" + b"9" * 100_000 + b"L\n", b"F" + b"9" * 100_000 + b"\n",
    ],
)  # fmt: skip
def test_integers_beyond_the_limit(data: bytes) -> None:
    refuses(PROTO + data + STOP, UnsafePickle, "than any size")


@pytest.mark.parametrize("key", [b"]", b"}", b"((t", integer(1 << 64), integer(3**500), b"(" + b"N" * 9 + b"t"])
def test_keys_that_are_no_plain_values(key: bytes) -> None:
    refused_by_setitem = PROTO + b"}" + key + b"Ns" + STOP
    if key == b"((t":
        refused_by_setitem = PROTO + b"})\x85Ns" + STOP
    refuses(refused_by_setitem, UnsafePickle, "key is not a plain value")


def test_tuples_nested_a_million_deep_as_a_key() -> None:
    refuses(
        PROTO + b"})" + b"\x85" * 1_000_000 + b"Ns" + STOP, UnsafePickle, "key is not a plain value", "a tuple of 1"
    )


def test_containers_nested_far_deeper_than_a_stack() -> None:
    n = 300_000
    assert 2 * n < MAX_OBJECTS
    for data in (b"N" + b"\x85" * n, b"]" * n + b"a" * (n - 1), (b"}" + text("")) * n + b"N" + b"s" * n):
        assert isinstance(walk(PROTO + data + STOP), (tuple, list, dict))


def test_marks_that_nest_deeply() -> None:
    refuses(PROTO + MARK * 100_000 + b"N" + STOP, UnsafePickle, "marks nest too deeply", str(MAX_MARKS))
    refuses(PROTO + MARK * 900 + b"N" + STOP, BrokenFile, "does not end with one object")


def laughs(levels: int, opening: bytes = b"N") -> bytes:
    """A tuple of two times a tuple of two times ..., as an exponential text but a short pickle."""
    return opening + b"q\x00h\x00\x86" * levels


@pytest.mark.parametrize(
    "data",
    [
        laughs(200) + b")R",
        global_("torch", "device") + laughs(200) + b"\x85R)R",
        b"}" + laughs(200) + b"Ns",
        b"})" + laughs(200) + b"\x85\x86Ns",
    ],
    ids=["called", "argument of what is called", "key", "part of a key"],
)
def test_billion_laughs_where_an_error_quotes_them(data: bytes) -> None:
    refuses(PROTO + data + STOP, UnsafePickle)


@pytest.mark.parametrize(
    ("function", "opening", "arguments"),
    [
        ("_codecs encode", text("x" * 10_000), b"h\x00" + text("latin1") + b"\x86R"),
        ("torch Size", b"](" + b"N" * 10_000 + b"e", b"h\x00\x85R"),
        ("collections OrderedDict", b"](" + (text("k") + b"N\x86") * 2000 + b"e", b"h\x00\x85R"),
    ],
)
def test_one_large_argument_copied_again_and_again(function: str, opening: bytes, arguments: bytes) -> None:
    call = global_(*function.split()) + b"q\x010"
    data = PROTO + opening + b"q\x000" + call + (b"h\x01" + arguments) * 2000 + STOP
    refuses(data, UnsafePickle, "copies the same data again and again")


def test_long_strings_in_tuple_keys_again_and_again() -> None:
    data = (
        PROTO
        + text("x" * 10_000)
        + b"q\x000}"
        + b"".join(b"h\x00K" + bytes([i % 256]) + b"\x86Ns" for i in range(1000))
    )
    refuses(data + STOP, UnsafePickle, "copies the same data again and again")


# --- what makes no sense ---


@pytest.mark.parametrize(
    "data",
    [
        b"", PROTO, b"\x80", b"\x80\x06N.", b"\x80\xffN.", b"N", b".", b"NN.", b"(N.", b"0.", b"R.", b"(", b"t.",
        b"u.", b"e.", b"s.", b"Ns.", b"NNs.", b"NNNs.", b"Na.", b"NNa.", b"N(e.", b"]N(u.", b"}(Nu.", b"}(NNNu.",
        b"(Nd.", b"b.", b"Nb.", b"\x85.", b"\x86.", b"N\x86.", b"NN\x87.", b"2.", b"Q.", b"\x93.", b"N\x93.",
        b"NN\x93.", b"K", b"M\x01", b"J\x01\x02", b"G\x00.", b"X\x05\x00\x00\x00ab.", b"X\xff\xff\xff\xffab.",
        b"X\x01\x00\x00\x00\xff.", b"\x8c\x05ab.", b"\x8c\x01\xff.", b"\x8d" + b"\xff" * 8 + b".",
        b"B\xff\xff\xff\xff.", b"C\x05a.", b"\x8e" + b"\xff" * 8 + b".", b"U\x05a.", b"T\xff\xff\xff\x7f.", b"c",
        b"cx", b"cx\n", b"c\xff\n\xff\n.", b"I\n.", b"Ix\n.", b"I\xff\n.", b"I5", b"Fx\n.", b"L\n.", b"\x8a",
        b"\x8a\x05a", b"\x95", b"\x90.", b"\x91.", b"N(\x90.", b"1.", b"l.", b"d.",
    ],
)  # fmt: skip
def test_streams_that_end_early_or_make_no_sense(data: bytes) -> None:
    refuses(data, BrokenFile)


def test_every_truncation_and_every_byte_of_a_real_pickle(tmp_path: Path) -> None:
    data = state_dict(a=tensor(), b=integer(5), c=b"]" + text("x") + b"a")
    whole = torch_zip(tmp_path / "m.bin", data, {"0": bytes(16)})
    assert set(open_checkpoint(whole).entries) == {"a", "b", "c.0"}
    for n in range(len(data)):
        refused(torch_zip(tmp_path / "m.bin", data[:n], {"0": bytes(16)}), BrokenFile, "m.bin", "offset")
    for i in range(len(data)):
        for new in (0, 0x2E, 0x52, 0x62, 0xFF, data[i] ^ 1):
            changed = torch_zip(tmp_path / "m.bin", data[:i] + bytes([new]) + data[i + 1 :], {"0": bytes(16)})
            try:
                open_checkpoint(changed)
            except QinspectError as e:
                assert_one_line(e)


# --- containers that hold themselves ---


def test_containers_that_hold_themselves(tmp_path: Path) -> None:
    itself = b"]q\x00h\x00a"
    for pickled in (
        PROTO + itself + STOP,
        state_dict(a=itself),
        PROTO + b"}q\x00" + text("a") + b"h\x00s" + STOP,
        PROTO + b"}q\x00" + text("") + b"h\x00s" + STOP,
        PROTO + b"]q\x00(h\x00h\x00h\x00e" + STOP,
        PROTO + b"]q\x00h\x00\x85a" + STOP,
    ):
        refused(torch_zip(tmp_path / "m.bin", pickled), BrokenFile, "contain themselves")


def test_a_record_that_holds_itself_is_one_entry(tmp_path: Path) -> None:
    pickled = state_dict(a=global_("torch", "device") + b")Rq\x00h\x00b")
    entry = open_checkpoint(torch_zip(tmp_path / "m.bin", pickled))["a"]
    assert isinstance(entry, Value)
    assert entry.kind == "torch.device"


@pytest.mark.parametrize("levels", [20, 60, 63])
@pytest.mark.parametrize("pad", [0, 5_000_000])
def test_billion_laughs_of_containers(tmp_path: Path, levels: int, pad: int) -> None:
    laugh = b"](NNe" + b"q\x000](h\x00h\x00e" * levels
    pickled = PROTO + text("x" * pad) + b"0" + laugh + STOP
    refused(torch_zip(tmp_path / "m.bin", pickled), BrokenFile, "shared so as to multiply")


def test_small_containers_that_are_shared_are_fine(tmp_path: Path) -> None:
    shared = {"betas": (0.9, 0.999), "cfg": {"a": 1}}
    pickled = pickle.dumps({f"group{i}": shared for i in range(3000)}, 2)
    assert len(open_checkpoint(torch_zip(tmp_path / "m.bin", pickled)).entries) == 9000


def test_a_long_name_over_many_short_entries(tmp_path: Path) -> None:
    """Names of 10 GB together are refused before they are made."""
    pickled = PROTO + b"}" + text("x" * 100_000) + b"](" + b"}" * 100_000 + b"es" + STOP
    path = torch_zip(tmp_path / "m.bin", pickled)
    tracemalloc.start()
    try:
        refused(path, BrokenFile, "shared so as to multiply")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_a_long_name_shared_by_many_dictionaries(tmp_path: Path) -> None:
    one = b"}h\x00Ns"
    pickled = PROTO + text("x" * 100_000) + b"q\x000](" + one * 20_000 + b"e" + STOP
    refused(torch_zip(tmp_path / "m.bin", pickled), BrokenFile, "shared so as to multiply")


def test_integers_with_one_hash_are_no_keys(tmp_path: Path) -> None:
    pickled = PROTO + b"}(" + b"".join(integer(i * ((1 << 61) - 1)) + b"N" for i in range(1, 1000)) + b"u" + STOP
    refused(torch_zip(tmp_path / "m.bin", pickled), UnsafePickle, "key is not a plain value")


def test_storage_reference_with_an_exponential_text(tmp_path: Path) -> None:
    pickled = state_dict(a=laughs(100) + b"Q")
    refused(torch_zip(tmp_path / "m.bin", pickled), BrokenFile, "storage reference is malformed", "a tuple of 2")


@pytest.mark.parametrize(
    "pid",
    [
        b"N", b")", text("storage"), MARK + text("storage") + b"t", MARK + text("module") + b"NNNNt",
        MARK + text("storage") + b"N" + text("0") + text("cpu") + integer(4) + b"t",
        MARK + text("storage") + global_("torch", "FloatStorage") + integer(0) + text("cpu") + integer(4) + b"t",
        MARK + text("storage") + global_("torch", "FloatStorage") + text("0") + text("cpu") + integer(-4) + b"t",
        MARK + text("storage") + global_("torch", "FloatStorage") + text("0") + text("cpu") + integer(1 << 70) + b"t",
        MARK + text("storage") + global_("torch", "FloatStorage") + text("0") + text("cpu") + text("4") + b"t",
        MARK + text("storage") + global_("torch", "FloatStorage") + text("0") + text("cpu") + integer(4) + b")t",
    ],
)  # fmt: skip
def test_storage_references_that_make_no_sense(tmp_path: Path, pid: bytes) -> None:
    refused(torch_zip(tmp_path / "m.bin", state_dict(a=pid + b"Q"), {"0": bytes(16)}), BrokenFile, "storage")


@pytest.mark.parametrize("kind", ["Size", "float32", "device"])
def test_storage_of_a_type_that_is_none(tmp_path: Path, kind: str) -> None:
    path = torch_zip(tmp_path / "m.bin", state_dict(a=storage_id(kind=kind)), {"0": bytes(16)})
    refused(path, BrokenFile, "storage type is unknown", kind)
