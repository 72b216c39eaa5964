from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from gguf_files import TEXT, GgufFile, plain
from hostile import assert_one_line, entry, floats, refused, safetensors_bytes

from qinspect.inspector.checkpoint import Tensor, open_checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError, UnknownKey


def sharded(folder: Path, weight_map: object | None = None, name: str = "model.safetensors.index.json") -> Path:
    """A folder of two shards and an index, which may lie. Returns the index."""
    floats(folder / "model-00001-of-00002.safetensors", {"a": [1.0]}, {"part": "one"})
    floats(folder / "model-00002-of-00002.safetensors", {"b": [2.0]})
    true = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = folder / name
    index.write_text(json.dumps({"metadata": {}, "weight_map": true if weight_map is None else weight_map}))
    return index


# --- files ---


def test_a_file_by_itself_and_its_config(tmp_path: Path) -> None:
    floats(tmp_path / "m.safetensors", {"a": [1.0]}, {"format": "pt"})
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    (tmp_path / "quantize_config.json").write_text('\ufeff{"bits": 4}')
    for path in (tmp_path / "m.safetensors", tmp_path):
        checkpoint = open_checkpoint(path)
        assert (checkpoint.kind, list(checkpoint.entries), checkpoint.metadata) == (
            "safetensors",
            ["a"],
            {"format": "pt"},
        )
        assert checkpoint.config == {"model_type": "x", "quantize_config.json": {"bits": 4}}
        assert checkpoint.notes == ()


def test_contents_decide_and_not_the_name(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "m.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "l.safetensors", _use_new_zipfile_serialization=False)
    floats(tmp_path / "m.bin", {"a": [1.0]})
    kinds = [open_checkpoint(tmp_path / n).kind for n in ("m.safetensors", "l.safetensors", "m.bin")]
    assert kinds == ["torch zip", "torch legacy", "safetensors"]


def test_a_file_that_was_saved_as_text(tmp_path: Path) -> None:
    safetensors = tmp_path / "m.safetensors"
    floats(safetensors, {"a": [1.0]}, {"note": "x" * 0x80})
    gguf = bytes(GgufFile([plain("a", [1.0])], {"general.name": (TEXT, "x" * 0x80)}))
    for path, data in ((safetensors, safetensors.read_bytes()), (tmp_path / "m.gguf", gguf)):
        path.write_bytes(data)
        open_checkpoint(path)
        path.write_bytes(data.decode(errors="replace").encode())
        refused(path, BrokenFile, path.name, "saved as text", "as binary data")
        path.write_bytes(data[:40])
        assert "saved as text" not in refused(path, BrokenFile, path.name)


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "m.pt", "m", "m.txt"])
def test_empty_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    refused(tmp_path / name, BrokenFile, name, "is empty", "copy it again")


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin"])
def test_git_lfs_pointers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    refused(tmp_path / name, CannotOpen, "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("name", ["m.safetensors", "m.gguf"])
def test_gguf(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(GgufFile([plain("a.weight", [1.0, 2.0])])))
    checkpoint = open_checkpoint(tmp_path / name)
    assert (checkpoint.kind, list(checkpoint.entries)) == ("GGUF", ["a.weight"])


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "model.safetensors.index.json"])
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, CannotOpen, name, "not a regular file")
    with pytest.raises(CannotOpen):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_devices(tmp_path: Path, device: str) -> None:
    link = tmp_path / "m.safetensors"
    link.symlink_to(device)
    with pytest.raises(CannotOpen) as caught:
        open_checkpoint(link)
    assert "m.safetensors" in assert_one_line(caught.value)


def test_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("m.safetensors")
        refused(Path("m.safetensors"), CannotOpen, "cannot be opened")


def test_a_directory_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").mkdir()
    refused(tmp_path / "m.safetensors", CannotOpen, "holds no checkpoint")
    refused(tmp_path, CannotOpen, "holds no checkpoint")


def test_what_is_opened_counts_and_not_what_the_path_leads_to_later(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="not a regular file"):
        File(tmp_path)


def test_permission_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = floats(tmp_path / "m.safetensors", {"a": [1.0]})

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    refused(path, CannotOpen, "m.safetensors", "Permission denied")


def test_permission_of_the_folder_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    refused(tmp_path / "m.safetensors", CannotOpen, "m.safetensors", "Permission denied")


def test_a_read_that_fails_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = floats(tmp_path / "m.safetensors", {"a": [1.0]})

    def failing(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(QinspectError, match="cannot be read: Input/output error"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "name", ["nowhere", "no/where/at/all", "a\x00b", "x" * 300, "~nosuchuser0/m", "\x1b[31m", "\udcff", "", "/" * 5000]
)
def test_paths_that_lead_nowhere(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CannotOpen) as caught:
        open_checkpoint(name)
    assert_one_line(caught.value)


def test_links_in_a_circle_and_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "a.safetensors").symlink_to(tmp_path / "b.safetensors")
    (tmp_path / "b.safetensors").symlink_to(tmp_path / "a.safetensors")
    (tmp_path / "c.safetensors").symlink_to(tmp_path / "gone")
    for name in "abc":
        with pytest.raises(CannotOpen) as caught:
            open_checkpoint(tmp_path / f"{name}.safetensors")
        assert f"{name}.safetensors" in assert_one_line(caught.value)


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    names = {"layers.0.weight": [1.0], "layers.1.weight": [2.0], "x" * 10_000: [3.0], "z\x1b[31m": [4.0]}
    checkpoint = open_checkpoint(floats(tmp_path / "m.safetensors", names))
    with pytest.raises(UnknownKey, match=r"4 others, the nearest layers.0.weight"):
        checkpoint["layers.0.wieght"]
    for wanted in ("y" * 100_000, "", "z\x1b[32m"):
        with pytest.raises(UnknownKey) as caught:
            checkpoint[wanted]
        assert_one_line(caught.value)


# --- folders ---


def test_the_usual_name_goes_before_others(tmp_path: Path) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    floats(tmp_path / "adapter.safetensors", {"b": [1.0]})
    torch.save({"c": 1}, tmp_path / "pytorch_model.bin")
    assert list(open_checkpoint(tmp_path).entries) == ["a"]


def test_one_file_goes_before_an_index_that_does_not_name_it(tmp_path: Path) -> None:
    sharded(tmp_path)
    floats(tmp_path / "model.safetensors", {"c": [1.0]})
    assert list(open_checkpoint(tmp_path).entries) == ["c"]
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"c": "model.safetensors"}}))
    assert list(open_checkpoint(tmp_path).entries) == ["c"]
    floats(tmp_path / "more.safetensors", {"d": [1.0]})
    both = {"weight_map": {"c": "model.safetensors", "d": "more.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(both))
    assert list(open_checkpoint(tmp_path).entries) == ["c", "d"]


def test_an_index_of_another_name(tmp_path: Path) -> None:
    sharded(tmp_path, name="diffusion.safetensors.index.json")
    checkpoint = open_checkpoint(tmp_path)
    assert list(checkpoint.entries) == ["a", "b"]


def test_safetensors_without_an_index_are_taken_together(tmp_path: Path) -> None:
    sharded(tmp_path).unlink()
    checkpoint = open_checkpoint(tmp_path)
    assert list(checkpoint.entries) == ["a", "b"]
    assert checkpoint.metadata == {"part": "one"}
    assert len(checkpoint.files) == 2


def test_the_same_name_in_two_files(tmp_path: Path) -> None:
    sharded(tmp_path).unlink()
    floats(tmp_path / "other.safetensors", {"b": [3.0]})
    refused(tmp_path, BrokenFile, "key b", "in two files", "model-00002-of-00002.safetensors")


def test_one_file_of_any_name_or_a_folder_inside(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "weights.pt")
    assert list(open_checkpoint(tmp_path).entries) == ["a"]
    outer = tmp_path / "outer"
    floats(outer / "run" / "model.safetensors", {"b": [1.0]})
    assert list(open_checkpoint(outer).entries) == ["b"]
    floats(outer / "run2" / "model.safetensors", {"b": [1.0]})
    refused(outer, CannotOpen, "holds no checkpoint", "Did you mean")


def test_several_files_without_an_index(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        torch.save({}, tmp_path / name)
    refused(tmp_path, CannotOpen, "several checkpoints", "found a.pt, b.pt", "Name the file")


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    refused(tmp_path, CannotOpen, "holds no checkpoint", ".safetensors", "Give the folder")
    (tmp_path / "readme.txt").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    refused(tmp_path, CannotOpen, "holds no checkpoint")


def test_hostile_file_names_in_a_folder(tmp_path: Path) -> None:
    for name in ("a\x1b[31m\n.pt", "b\u202e.pt"):
        torch.save({}, tmp_path / name)
    refused(tmp_path, CannotOpen, "several checkpoints", "\\x1b[31m\\x0a", "\\u202e")


# --- shards ---


@pytest.mark.parametrize("by", ["folder", "index"])
def test_sharded_safetensors(tmp_path: Path, by: str) -> None:
    index = sharded(tmp_path)
    steps: list[tuple[int, int]] = []
    checkpoint = open_checkpoint(index if by == "index" else tmp_path, lambda done, n: steps.append((done, n)))
    assert [t.read().tolist() for t in checkpoint.tensors()] == [[1.0], [2.0]]
    assert (checkpoint.path, checkpoint.notes, steps) == (tmp_path, (), [(0, 2), (1, 2), (2, 2)])


def test_sharded_bin(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-1.bin")
    torch.save({"b": torch.zeros(2), "c": 0.5}, tmp_path / "pytorch_model-2.bin", _use_new_zipfile_serialization=False)
    names = {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin", "c": "pytorch_model-2.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}))
    checkpoint = open_checkpoint(tmp_path)
    assert [t.read().tolist() for t in checkpoint.tensors()] == [[1.0, 1.0], [0.0, 0.0]]
    assert checkpoint.scalar("c") == 0.5


def test_shards_in_folders_and_behind_links(tmp_path: Path) -> None:
    floats(tmp_path / "blobs" / "0", {"a": [1.0]})
    floats(tmp_path / "m" / "sub" / "two.safetensors", {"b": [2.0]})
    (tmp_path / "m" / "one.safetensors").symlink_to("../blobs/0")
    index = tmp_path / "m" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "./sub/two.safetensors"}}))
    checkpoint = open_checkpoint(tmp_path / "m")
    assert (list(checkpoint.entries), checkpoint.notes) == (["a", "b"], ())


def test_an_index_that_names_another_shard_or_too_few(tmp_path: Path) -> None:
    swapped = {"a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}
    assert "another shard for 2 tensors" in open_checkpoint(sharded(tmp_path, swapped)).notes[0]
    floats(tmp_path / "model-00001-of-00002.safetensors", {"a": [1.0], "x": [2.0]})
    short = {"a": "model-00001-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": short}))
    assert open_checkpoint(tmp_path).notes == (
        "1 tensors in the shards are not in the index",
        (
            "opened model-00001-of-00002.safetensors; also here, not opened: "
            "model-00002-of-00002.safetensors (1 of 2 shards)"
        ),
    )


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/../../x", "..", "", ".", "a\\..\\x", "..\\x", "sub/../../y\x1b[2J"]
)
def test_shards_outside_the_folder(tmp_path: Path, name: str) -> None:
    floats(tmp_path / "x.safetensors", {"a": [1.0]})
    index = sharded(tmp_path / "m", {"a": name})
    for path in (index, tmp_path / "m"):
        refused(path, BrokenFile, "model.safetensors.index.json", "weight_map", "outside the checkpoint's folder")


@pytest.mark.parametrize("name", ["gone.safetensors", "a\x00b", "sub", "\x1b[31m\n\u202e", "link"])
def test_shards_that_are_missing(tmp_path: Path, name: str) -> None:
    index = sharded(tmp_path, {"a": name})
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    refused(index, BrokenFile, "1 of 1 shards is missing", "Download")


@pytest.mark.parametrize("name", ["x" * 300, "\ud800", "x/" * 3000 + "y"])
def test_shard_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(QinspectError) as caught:
        open_checkpoint(sharded(tmp_path, {"a": name}))
    assert "index.json" in assert_one_line(caught.value)


@pytest.mark.parametrize("weight_map", [[], "x", 5, {"a": 1}, {"a": None}, {"a": ["x"]}, {"a": {"b": "c"}}, {}])
def test_weight_maps_of_wrong_types(tmp_path: Path, weight_map: object) -> None:
    refused(sharded(tmp_path, weight_map), BrokenFile, "index.json", "key weight_map")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"null", b"{", b"{}", b'{"weight_map": null}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000,
        b"1" * 9999, b'{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}',
        b'{"weight_map": {}, "weight_map": {}}',
    ],
    ids=lambda raw: repr(raw[:30]),
)  # fmt: skip
def test_an_index_that_is_broken(tmp_path: Path, raw: bytes) -> None:
    index = sharded(tmp_path)
    index.write_bytes(raw)
    refused(index, BrokenFile, "model.safetensors.index.json")


def test_names_that_are_in_no_shard(tmp_path: Path) -> None:
    one = "model-00001-of-00002.safetensors"
    refused(sharded(tmp_path, {"a": one, "c\x1b": one}), BrokenFile, "in no shard", "key c\\x1b", "1 of 2")


def test_an_index_that_names_itself_or_another_index(tmp_path: Path) -> None:
    refused(
        sharded(tmp_path, {"a": "model.safetensors.index.json"}),
        CannotOpen,
        "model.safetensors.index.json: is an index of shards",
    )
    sharded(tmp_path, {"a": "model.safetensors.index.json"}, "other.index.json")
    refused(sharded(tmp_path, {"a": "other.index.json"}), CannotOpen, "other.index.json: is an index of shards")


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(safetensors_bytes({"b": entry("F32", [1], 0, 4)}))
    refused(index, BrokenFile, "model-00002-of-00002.safetensors", "key b")


def test_an_index_that_is_too_large(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    with index.open("r+b") as f:
        f.truncate(1 << 40)  # sparse: nothing is written
    refused(index, BrokenFile, "too large")


# --- configs ---


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 9999, b'"\x1b[31m"', b"{\x1b}"],
)
def test_a_broken_config_is_a_note(tmp_path: Path, raw: bytes) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    (tmp_path / "config.json").write_bytes(raw)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config == {}
    (note,) = checkpoint.notes
    assert "config.json" in note
    assert note.isprintable()


def test_configs_that_are_no_files(tmp_path: Path) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    (tmp_path / "config.json").mkdir()
    os.mkfifo(tmp_path / "quantize_config.json")
    (tmp_path / "quant_config.json").symlink_to("/dev/zero")
    (tmp_path / "hf_quant_config.json").symlink_to(tmp_path / "hf_quant_config.json")
    checkpoint = open_checkpoint(tmp_path)
    assert (checkpoint.config, checkpoint.notes) == ({}, ())


def test_a_config_may_name_a_key_twice(tmp_path: Path) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    (tmp_path / "config.json").write_text('{"a": 1, "a": 2, "b": NaN}')
    assert open_checkpoint(tmp_path).config["a"] == 2


# --- the hub cache ---


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a current folder without models."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    return cache


def snapshot(hub: Path, revision: str, value: float, time: int) -> Path:
    """A snapshot as huggingface_hub lays it out: links into blobs."""
    repository = hub / "models--org--name"
    blob = floats(repository / "blobs" / revision, {"a": [value]})
    folder = repository / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to(os.path.relpath(blob, folder))
    os.utime(folder, (time, time))
    return folder


def value_of(name: str) -> float:
    (t,) = open_checkpoint(name).tensors()
    return float(t.read()[0])


def test_a_name_in_the_cache(hub: Path) -> None:
    snapshot(hub, "a" * 40, 1.0, 100)
    snapshot(hub, "b" * 40, 2.0, 200)
    assert value_of("org/name") == 2.0
    refs = hub / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    assert value_of("org/name") == 1.0


@pytest.mark.parametrize("main", ["../../../../etc", "", "c" * 40, "\x1b[31m", "/", "a" * 1000, "\udcff"])
def test_a_reference_that_leads_nowhere(hub: Path, main: str) -> None:
    snapshot(hub, "a" * 40, 1.0, 100)
    refs = hub / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "main").write_bytes(os.fsencode(main))
    assert value_of("org/name") == 1.0


def test_a_local_folder_goes_before_the_cache(hub: Path) -> None:
    snapshot(hub, "a" * 40, 1.0, 100)
    floats(Path("org") / "name" / "model.safetensors", {"a": [3.0]})
    assert value_of("org/name") == 3.0


def test_where_the_cache_is(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot(hub, "a" * 40, 1.0, 100)
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(hub.parent))
    assert value_of("org/name") == 1.0
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(hub.parent))
    refused(Path("org/name"), CannotOpen, "not in the local Hugging Face cache", "hf download org/name")
    (hub.parent / "huggingface").mkdir()
    hub.rename(hub.parent / "huggingface" / "hub")
    assert value_of("org/name") == 1.0


@pytest.mark.parametrize(
    "name", ["org/other", "org/name/x", "../name", "org/..", "org/", "/name", "o rg/name", "org/\x1b"]
)
def test_names_that_are_not_in_the_cache(hub: Path, name: str) -> None:
    snapshot(hub, "a" * 40, 1.0, 100)
    with pytest.raises(CannotOpen) as caught:
        open_checkpoint(name)
    assert "no such file or folder" in assert_one_line(caught.value)


def test_an_empty_snapshot(hub: Path) -> None:
    (hub / "models--org--name" / "snapshots" / ("a" * 40)).mkdir(parents=True)
    with pytest.raises(CannotOpen, match="holds no checkpoint"):
        open_checkpoint("org/name")


def test_a_cache_that_no_home_leads_to(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "~nosuchuser0/hub")
    with pytest.raises(CannotOpen, match="hf download"):
        open_checkpoint("org/name")


def test_everything_is_opened_for_reading_only(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    before = {p: p.stat() for p in tmp_path.iterdir()}
    for p in before:
        p.chmod(stat.S_IRUSR)
    assert all(isinstance(e, Tensor) for e in open_checkpoint(index).entries.values())
    after = {p: p.stat() for p in tmp_path.iterdir()}
    assert {p: (s.st_size, s.st_mtime_ns) for p, s in after.items()} == {
        p: (s.st_size, s.st_mtime_ns) for p, s in before.items()
    }
