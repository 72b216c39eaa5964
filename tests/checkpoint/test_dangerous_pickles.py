"""Files that would attack when loaded: nothing runs, and the one sentence says what would have, with all names."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import MARK, PROTO, STOP, global_, refused, state_dict, survey, tensor, text, torch_zip
from pickles import Plain, Runs, saved

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.dangerous_names import is_dangerous, is_harmless_attribute
from qinspect.inspector.errors import UnsafePickle

ATTACKS = (
    "os.system", "posix.system", "nt.system", "os.popen", "subprocess.Popen", "subprocess.check_output", "pty.spawn",
    "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "builtins.getattr", "builtins.open",
    "__builtin__.eval", "__builtin__.apply", "__builtin__.execfile", "runpy.run_path", "importlib.import_module",
    "pickle.loads", "_pickle.loads", "cPickle.loads", "torch.load", "torch.serialization.load", "torch.hub.load",
    "webbrowser.open", "shutil.rmtree", "socket.create_connection", "urllib.request.urlopen", "requests.get",
    "ctypes.CDLL", "marshal.loads", "types.FunctionType", "types.CodeType", "pip.main", "pdb.run", "timeit.timeit",
    "cProfile.run", "code.interact", "operator.attrgetter", "operator.methodcaller", "functools.reduce", "io.open",
    "_io.open", "codecs.open", "numpy.load", "numpy.testing._private.utils.runstring", "joblib.load", "dill.loads",
    "cloudpickle.loads", "cloudpickle.cloudpickle.subimport", "torch.utils.cpp_extension.load", "sys.exit",
    "torch.serialization.os.system", "random._os.system", "joblib.pickle.loads", "logging.os.popen",
    "collections.OrderedDict.__init__.__globals__", "object.__subclasses__",
)  # fmt: skip
HARMLESS = (
    "argparse.Namespace", "pathlib.PosixPath", "collections.deque", "datetime.datetime", "transformers.Conv1D",
    "transformers.training_args.TrainingArguments", "transformers.trainer_utils.IntervalStrategy",
    "omegaconf.dictconfig.DictConfig", "numpy.random._pickle.__randomstate_ctor", "numpy.ma.core._mareconstruct",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "torch.distributed.checkpoint.metadata.Metadata", "torch.nn.modules.linear.Linear", "functools.partial",
    "builtins.range", "builtins.object", "builtins.print", "enum.Enum", "decimal.Decimal", "uuid.UUID", "__main__.Net",
    "model.os_net.Net", "test.Net", "code.model.Net", "sys.version_info", "fairseq.tasks.Task", "mypackage.evaluate",
    "types.SimpleNamespace", "operator.itemgetter", "string.Template", "re._compile", "copyreg._reconstructor",
)  # fmt: skip


def split(name: str) -> tuple[str, str]:
    module, _, attribute = name.rpartition(".")
    return module, attribute


@pytest.mark.parametrize("name", ATTACKS)
def test_a_call_of_a_known_attack_is_named(tmp_path: Path, name: str) -> None:
    called = global_(*split(name)) + text("x") + b"\x85R"
    path = torch_zip(tmp_path / "m.pt", state_dict(w=tensor(), x=called), {"0": bytes(16)})
    message = refused(path, UnsafePickle, f"this file would run {name} when loaded", "It was not run")
    assert ": this file would run" in message  # first, behind the place
    assert is_dangerous(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_other_classes_read_as_unknown(tmp_path: Path, name: str) -> None:
    called = global_(*split(name)) + text("x") + b"\x85R"
    path = torch_zip(tmp_path / "m.pt", state_dict(w=tensor(), x=called), {"0": bytes(16)})
    assert [t.name for t in open_checkpoint(path).tensors()] == ["w"]
    assert not is_dangerous(name)


def test_all_names_are_listed_not_only_the_first(tmp_path: Path) -> None:
    parts = {
        "a": global_("m", "Harmless") + b")R", "b": global_("posix", "system") + text("id") + b"\x85R", "w": tensor(),
        "c": global_("n", "Later") + b")R", "d": global_("builtins", "eval") + text("1") + b"\x85R",
    }  # fmt: skip
    path = torch_zip(tmp_path / "m.pt", state_dict(**parts), {"0": bytes(16)})
    refused(
        path, UnsafePickle, "this file would run posix.system, builtins.eval when loaded",
        "the names posix.system, builtins.eval, m.Harmless, n.Later, and 3 that checkpoints need",
    )  # fmt: skip


ORDERS: dict[str, bytes] = {
    "REDUCE": global_("posix", "system") + text("x") + b"\x85R",
    "NEWOBJ": global_("posix", "system") + text("x") + b"\x85\x81",
    "NEWOBJ_EX": global_("posix", "system") + text("x") + b"\x85}\x92",
    "INST": MARK + text("x") + b"iposix\nsystem\n",
    "OBJ": MARK + global_("posix", "system") + text("x") + b"o",
    "STACK_GLOBAL": text("posix") + text("system") + b"\x93" + text("x") + b"\x85R",
    "STACK_GLOBAL of STRING": b"S'posix'\nS'system'\n\x93S'x'\n\x85R",
    "STACK_GLOBAL of UNICODE": b"Vposix\nVsys\\u0074em\n\x93Vx\n\x85R",
    "a memo": global_("posix", "system") + b"q\x050" + b"h\x05" + text("x") + b"\x85R",
    "as a class of copyreg": global_("copy_reg", "_reconstructor")
    + MARK + global_("posix", "system") + global_("m", "B") + b"NtR",
    "as an argument": global_("m", "apply") + global_("posix", "system") + text("x") + b"\x86R",
    "deeper in the arguments": global_("functools", "partial") + b"](" + global_("posix", "system") + b"e\x85R",
    "of an object's call": global_("m", "f") + b")R" + global_("posix", "system") + b"\x85R",
    "of a subclass of Tensor": global_("torch._tensor", "_rebuild_from_type_v2")
    + MARK + global_("posix", "system") + global_("torch", "Tensor") + text("x") + b"\x85}tR",
    "popped again": b"N" + global_("posix", "system") + text("x") + b"\x85R0",
    "below a mark that is dropped": MARK + global_("posix", "system") + text("x") + b"\x85R1N",
    "getattr": global_("builtins", "getattr") + global_("m", "os_") + text("system") + b"\x86R"
    + global_("posix", "system") + b"\x85R",
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_by_whatever_opcodes_it_is_called(tmp_path: Path, name: str) -> None:
    refused(torch_zip(tmp_path / "m.pt", state_dict(x=ORDERS[name])), UnsafePickle, "would run", "posix.system")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".bin"])
def test_a_raw_pickle_of_any_protocol(tmp_path: Path, protocol: int, suffix: str) -> None:
    witness = tmp_path / "ran"
    data = pickle.dumps(Runs(os.system, f"touch {witness}"), protocol)
    (tmp_path / f"m{suffix}").write_bytes(data)
    refused(tmp_path / f"m{suffix}", UnsafePickle, "this file would run posix.system when loaded")
    assert not witness.exists()


def test_a_raw_pickle_that_breaks_off_behind_the_attack(tmp_path: Path) -> None:
    for data in (b"cposix\nsystem\n(S'x'\ntR", b"(S'x'\niposix\nsystem\n", b"cposix\nsystem\n(S'x'\ntR\xff"):
        (tmp_path / "m.pt").write_bytes(data)
        refused(tmp_path / "m.pt", UnsafePickle, "this file would run posix.system when loaded")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("touch {0}",)), (subprocess.check_call, (["touch", "{0}"],)), (eval, ("open('{0}', 'w')",))],
)
def test_files_of_torch_that_attack(
    tmp_path: Path, zipped: bool, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    witness = tmp_path / "ran"
    filled = [[x.format(witness) for x in a] if isinstance(a, list) else a.format(witness) for a in arguments]
    content = {"w": torch.ones(2), "evil": Runs(function, *filled)}
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "m.pt", UnsafePickle, "this file would run", function.__name__)
    survey(tmp_path / "m.pt")
    assert not witness.exists()


def test_an_attack_in_a_pickle_within_the_pickle(tmp_path: Path) -> None:
    """A tensor that pickle itself wrote holds its storage as a legacy file of torch, and torch loads that unasked."""
    inner = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(Runs(os.system, "x"), 2)
    load = global_("torch.storage", "_load_from_bytes") + b"B" + len(inner).to_bytes(4, "little") + inner + b"\x85R"
    (tmp_path / "m.pkl").write_bytes(b"\x80\x03}" + text("a") + load + b"s.")
    refused(tmp_path / "m.pkl", UnsafePickle, "this file would run posix.system when loaded")


def test_a_name_that_is_not_called_is_noted(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "m.pt", {"w": torch.ones(1), "f": os.getcwd, "o": Plain(f=os.listdir)})
    assert [t.name for t in checkpoint.tensors()] == ["w"]
    (note,) = [n for n in checkpoint.notes if "without calling" in n]
    assert "posix.getcwd, posix.listdir" in note


@pytest.mark.parametrize("attribute", ["system", "popen", "__globals__", "__class__", "_private", "a.b", "", "loads"])
def test_getattr_for_more_than_a_member_is_an_attack(tmp_path: Path, attribute: str) -> None:
    assert not is_harmless_attribute(attribute)
    taken = global_("builtins", "getattr") + global_("m", "C") + text(attribute) + b"\x86R"
    refused(torch_zip(tmp_path / "m.pt", state_dict(x=taken)), UnsafePickle, "would run builtins.getattr when loaded")


class Outer:
    class Inner:
        """Pickled below protocol 4 as getattr(Outer, "Inner"), as a ShardedTensor's ProcessGroupState is."""


def test_a_getattr_that_takes_a_member_is_called(tmp_path: Path) -> None:
    """It was said to be named without being called."""
    checkpoint = saved(tmp_path / "m.pt", {"w": torch.ones(1), "o": Outer.Inner()})
    assert [t.name for t in checkpoint.tensors()] == ["w"]
    assert not [n for n in checkpoint.notes if "without calling" in n]
    named = saved(tmp_path / "n.pt", {"w": torch.ones(1), "f": getattr})
    assert any("getattr, which can attack, without calling it" in n for n in named.notes)


@pytest.mark.parametrize("owner", [b"N", text("x"), global_("m", "C") + b")R", global_("os", "path")])
def test_getattr_on_anything_but_a_class_is_an_attack(tmp_path: Path, owner: bytes) -> None:
    taken = global_("builtins", "getattr") + owner + text("RED") + b"\x86R"
    refused(torch_zip(tmp_path / "m.pt", state_dict(x=taken)), UnsafePickle, "builtins.getattr")


def test_very_many_attacks_are_one_bearable_line(tmp_path: Path) -> None:
    calls = b"".join(global_("os", f"f{i}" + "x" * 50) + b")R" for i in range(5000))
    path = torch_zip(tmp_path / "m.pt", PROTO + b"](" + calls + b"e" + STOP)
    message = refused(path, UnsafePickle, "os.f0", "and 4988 more when loaded")
    assert len(message) < 4000
