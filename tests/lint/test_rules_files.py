"""Damaged files are findings, and what is sound beside them is linted."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from broken_files import (
    GIT_LFS,
    INDEX,
    SHARDS,
    codes,
    linted,
    of_rule,
    replaced_in_header,
    sharded,
    weight_map_of,
    write_index,
)
from gguf_files import ID, LLAMA, GgufFile, Stored
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.sound import open_sound
from qinspect.inspector.cli import main
from qinspect.inspector.errors import CannotOpen, QinspectError

FILE_RULES = {f"F0{i}" for i in range(1, 10)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return sharded(tmp_path / "model")


def test_sound_files_say_nothing_and_what_they_hold_is_linted(model: Path) -> None:
    found = linted(model)
    assert not FILE_RULES & codes(found)
    assert "S01" in codes(found)  # the NaN
    looked = {o.rule.code: o.checked.n for o in found.outcomes if o.checked}
    assert {code: looked[code] for code in FILE_RULES} == dict.fromkeys(FILE_RULES, 3)


def truncated(model: Path) -> None:
    path = model / SHARDS[0]
    os.truncate(path, path.stat().st_size - 8)


def lying(model: Path) -> None:
    replaced_in_header(model / SHARDS[0], b'"shape":[4,8]', b'"shape":[4,9]')


def not_json(model: Path) -> None:
    replaced_in_header(model / SHARDS[0], b'"shape":[4,8]', b'"shape":[NaN,8]')


def pointer(model: Path) -> None:
    (model / SHARDS[0]).write_text(GIT_LFS)


def empty(model: Path) -> None:
    (model / SHARDS[0]).write_bytes(b"")


def page(model: Path) -> None:
    (model / SHARDS[0]).write_text("<!DOCTYPE html><html><head><title>404</title></head></html>")


def gone(model: Path) -> None:
    (model / SHARDS[0]).unlink()


def gone_without_index(model: Path) -> None:
    (model / SHARDS[0]).unlink()
    (model / INDEX).unlink()


def index_not_json(model: Path) -> None:
    (model / INDEX).write_text('{"weight_map": {"a": "b"')


def index_names_no_files(model: Path) -> None:
    (model / INDEX).write_text('{"weight_map": {"a": 5}}')


def index_of_another(model: Path) -> None:
    write_index(model, weight_map_of(model) | {"model.layers.9.mlp.up_proj.weight": SHARDS[2]})


def index_names_another_shard(model: Path) -> None:
    write_index(model, weight_map_of(model) | {"model.layers.0.mlp.up_proj.weight": SHARDS[2]})


def index_lacks_a_name(model: Path) -> None:
    said = weight_map_of(model)
    write_index(model, {k: v for k, v in said.items() if k != "model.layers.0.mlp.up_proj.weight"})


def index_left_over(model: Path) -> None:
    """A model that was saved in one file where it had been in shards."""
    (model / SHARDS[1]).rename(model / INDEX.removesuffix(".index.json"))
    for shard in (SHARDS[0], SHARDS[2]):
        (model / shard).unlink()


def outside(model: Path) -> None:
    write_index(model, weight_map_of(model) | {"x": "../../etc/passwd"})


def in_two_files(model: Path) -> None:
    raw = (model / SHARDS[0]).read_bytes()
    (model / SHARDS[2]).write_bytes(raw)
    said = weight_map_of(model)
    write_index(model, {k: v for k, v in said.items() if ".2." not in k} | {"model.layers.2.x": SHARDS[2]})


def twice_in_one(model: Path) -> None:
    replaced_in_header(model / SHARDS[0], b".weight_scale", b".weight")


def config_broken(model: Path) -> None:
    (model / "config.json").write_text('{"quantization_config": ')


def config_key_twice(model: Path) -> None:
    said = '{"quantization_config": {"quant_method": "fp8"}, "n": 1, "n": 2}'
    (model / "config.json").write_text(said)


def config_is_a_list(model: Path) -> None:
    (model / "config.json").write_text("[1]")


CASES: list[tuple[str, Callable[[Path], None], tuple[str, ...]]] = [
    ("F01", truncated, (SHARDS[0], "truncated", "1 of 2 tensors")),
    ("F02", lying, (SHARDS[0], "layers.0.mlp.up_proj.weight", "36 bytes", "32")),
    ("F02", not_json, (SHARDS[0], "not valid JSON")),
    ("F03", pointer, (SHARDS[0], "Git LFS")),
    ("F03", empty, (SHARDS[0], "empty")),
    ("F03", page, (SHARDS[0], "HTML")),
    ("F04", gone, (SHARDS[0], "1 of 3 shards is missing", "2 of 6 tensors")),
    ("F04", gone_without_index, (SHARDS[0], "1 of 3 shards is missing")),
    ("F05", index_not_json, (INDEX, "not valid JSON")),
    ("F05", index_names_no_files, (INDEX, "its weight_map does not name files")),
    ("F05", index_of_another, (INDEX, "layers.9", SHARDS[2])),
    ("F05", index_names_another_shard, (INDEX, "layers.0", SHARDS[0], SHARDS[2])),
    ("F05", index_left_over, (INDEX, "3 shards that are not there", SHARDS[0], SHARDS[2])),
    ("F05", index_lacks_a_name, (INDEX, "1 tensor in the shards is not in the index")),
    ("F08", outside, (INDEX, "etc/passwd")),
    ("F06", in_two_files, (SHARDS[2], SHARDS[0], "2 tensors are in two files")),
    ("F06", twice_in_one, (SHARDS[0], "occurs twice")),
    ("F09", config_broken, ("config.json", "not valid JSON")),
    ("F09", config_key_twice, ("config.json", "'n' occurs twice")),
    ("F09", config_is_a_list, ("config.json", "a list")),
]


@pytest.mark.parametrize(("code", "damage", "words"), CASES, ids=[c[1].__name__ for c in CASES])
def test_damage_is_a_finding_and_the_rest_is_linted(
    model: Path, code: str, damage: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    damage(model)
    found = linted(model)
    said = of_rule(found, code)
    assert said, [f.found.text for f in found.findings]
    for word in words:
        assert word in said[0].found.text, said[0].found.text
    assert said[0].finding.next
    if not code.endswith("9"):  # without its settings nothing says that these are FP8
        assert "S01" in codes(found), "the NaN in the second shard"
    assert main(["lint", str(model)]) == 1


def test_two_kinds_of_damage_are_two_findings(model: Path) -> None:
    truncated(model)
    (model / SHARDS[2]).unlink()
    config_key_twice(model)
    assert FILE_RULES & codes(linted(model)) == {"F01", "F04", "F09"}


def test_a_shard_that_is_named_alone_lacks_none(model: Path) -> None:
    assert not FILE_RULES & codes(linted(model / SHARDS[0]))


def test_a_truncated_file_says_which_part_is_there(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {f"layers.{i}.weight": np.ones((8, 8), np.float32) for i in range(10)}
    save_file(tensors, path)
    os.truncate(path, path.stat().st_size - 1000)
    (one,) = open_sound(path).damage
    assert "6 of 10 tensors are sound" in str(one.error)
    assert set(open_sound(path).checkpoint.entries) < set(tensors)
    for t in open_sound(path).checkpoint.tensors():
        assert (t.read() == 1).all()


def test_a_truncated_gguf_keeps_its_first_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tensors = [Stored(f"blk.{i}.attn_q.weight", ID["q8_0"], [4, 32], bytes(range(136))) for i in range(3)]
    whole = bytes(GgufFile(tensors, LLAMA))
    path.write_bytes(whole[:-200])
    assert "F01" in codes(linted(path))
    kept = open_sound(path).checkpoint
    assert "blk.0.attn_q.weight" in kept
    assert "blk.2.attn_q.weight" not in kept
    path.write_bytes(whole[:60])  # inside of the header
    assert "F02" in codes(linted(path))


def test_tensors_that_overlap_are_both_left_out(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({n: np.ones(4, np.float32) for n in "abc"}, path)
    replaced_in_header(path, b"[16,32]", b"[8,24]")
    with pytest.raises(QinspectError, match="overlaps"):
        open_checkpoint(path)
    assert set(open_sound(path).checkpoint.entries) == {"c"}
    assert "F02" in codes(linted(path))


class Caller:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def test_a_pickle_that_runs_something_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Caller()}, 2))
        archive.writestr("archive/version", "3\n")
    (said,) = of_rule(linted(path), "F07")
    assert "system" in said.found.text
    assert main(["lint", str(tmp_path)]) == 1


def test_what_is_not_there_or_no_checkpoint_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "nothing", tmp_path / "notes.txt", tmp_path / "folder", "~nobody-of-this-name/m", "a\0b"):
        assert main(["lint", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(model: Path) -> None:
    (model / SHARDS[1]).chmod(0)
    with pytest.raises(CannotOpen, match="ermission"):
        linted(model)


def test_json_has_the_same(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncated(model)
    assert main(["lint", str(model), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    (one,) = [f for f in said["findings"] if f["code"] == "F01"]
    assert one["severity"] == "error"
    assert SHARDS[0] in one["text"]


def test_a_shard_is_missed_without_an_index_that_can_be_read(tmp_path: Path) -> None:
    """What is in it is then not missed by other rules: it may well be there."""
    model = sharded(tmp_path / "m")
    replaced_in_header(model / SHARDS[1], b".weight_scale", b".weight_other")  # it may be in the third
    (model / SHARDS[2]).unlink()
    index_not_json(model)
    found = linted(model)
    assert {f.rule.code for f in found.findings} >= {"F04", "F05"}
    assert not [f for f in found.findings if f.rule.code == "H02"]
