"""Which files of a folder are opened, and what is said of those that are not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import floats, refused
from onnx_files import tensor, write_model

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare, payload
from qinspect.inspector.compare.report import comparison_text, scale_table
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.formats import format_of


def pickled(path: Path, **values: Sequence[float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({k: torch.tensor(v) for k, v in values.items()}, path)
    return path


def shards(
    folder: Path, present: Sequence[int], of: int = 3, stem: str = "model", suffix: str = ".safetensors"
) -> None:
    for i in present:
        name = f"{stem}-{i:05d}-of-{of:05d}{suffix}"
        if suffix == ".safetensors":
            floats(folder / name, {f"layers.{i}.weight": [float(i)]})
        else:
            pickled(folder / name, **{f"layers.{i}.weight": [float(i)]})


def index(folder: Path, weight_map: Mapping[str, str], name: str = "model.safetensors.index.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"weight_map": weight_map}))
    return path


def names(path: Path) -> list[str]:
    return list(open_checkpoint(path).entries)


def note(path: Path) -> str:
    """The only note of a checkpoint."""
    (only,) = open_checkpoint(path).notes
    assert only.isprintable()
    return only


# --- N of M ---


def test_a_missing_shard_without_an_index_is_a_note_wherever_the_model_is_shown(tmp_path: Path) -> None:
    shards(tmp_path / "whole", (1, 2, 3))
    shards(tmp_path / "part", (1, 3))
    assert open_checkpoint(tmp_path / "whole").notes == ()
    assert "1 of 3 shards is missing: model-00002-of-00003.safetensors" in note(tmp_path / "part")
    a, b = (format_of(open_checkpoint(tmp_path / n)) for n in ("whole", "part"))
    result = compare(a, b, codes=True)
    assert "00002-of-00003" in comparison_text(result, scale_table(result.scales))
    printed = payload.comparison(result, list(result.scales), list(result.weights))
    assert any("00002-of-00003" in n for n in printed["notes"])
    assert any("00002-of-00003" in n for n in printed["b"]["notes"])


def test_many_missing_shards_are_counted(tmp_path: Path) -> None:
    shards(tmp_path, (7,), of=59)
    said = note(tmp_path)
    assert "58 of 59 shards are missing: model-00001-of-00059.safetensors, model-00002" in said
    assert "and 55 more" in said


@pytest.mark.parametrize(
    ("stem", "suffix"),
    [("model", ".bin"), ("pytorch_model", ".bin"), ("a.fp16", ".safetensors"), ("consolidated", ".pth")],
)
def test_shards_of_any_name(tmp_path: Path, stem: str, suffix: str) -> None:
    shards(tmp_path, (1, 2), stem=stem, suffix=suffix)
    assert names(tmp_path) == ["layers.1.weight", "layers.2.weight"]
    assert f"{stem}-00003-of-00003{suffix}" in note(tmp_path)


def test_shards_that_count_from_zero(tmp_path: Path) -> None:
    shards(tmp_path, (0, 2))
    assert "1 of 3 shards is missing: model-00001-of-00003.safetensors" in note(tmp_path)


def test_one_shard_that_was_named(tmp_path: Path) -> None:
    shards(tmp_path, (1, 2, 3))
    assert "one of 3 shards" in note(tmp_path / "model-00002-of-00003.safetensors")


def test_an_index_names_all_missing_shards_and_what_a_download_left(tmp_path: Path) -> None:
    weight_map = {f"layers.{i}.weight": f"model-{i:05d}-of-00006.safetensors" for i in range(1, 7)}
    path = index(tmp_path, weight_map)
    shards(tmp_path, (2,), of=6)
    (tmp_path / "model-00003-of-00006.safetensors.part").write_bytes(bytes(5000))
    (tmp_path / "model-00004-of-00006.safetensors").symlink_to(tmp_path / "gone")
    refused(
        path, BrokenFile, "5 of 6 shards are missing", "model-00001-of-00006.safetensors, model-00003", "and 2 more",
        "model-00003-of-00006.safetensors.part (5 kB) is there", "model-00004-of-00006.safetensors is a link that",
    )  # fmt: skip


def test_an_index_whose_shards_are_gone_beside_a_file(tmp_path: Path) -> None:
    path = index(tmp_path, {"a": "model-00001-of-00001.safetensors"})
    pickled(tmp_path / "pytorch_model.bin", a=[1.0])
    refused(tmp_path, BrokenFile, path.name, "1 of 1 shards is missing", "or name pytorch_model.bin")


# --- two savings ---


def test_a_file_and_shards_with_their_index(tmp_path: Path) -> None:
    index(tmp_path, {"layers.1.weight": "model-00001-of-00001.safetensors"})
    shards(tmp_path, (1,), of=1)
    floats(tmp_path / "model.safetensors", {"layers.1.weight": [9.0]})
    (t,) = open_checkpoint(tmp_path).tensors()
    assert t.read().tolist() == [9.0]  # as transformers does
    said = note(tmp_path)
    assert "opened model.safetensors; also here, not opened: model-00001-of-00001.safetensors (1 tensor by" in said
    assert "newer" not in said


def test_the_other_file_is_counted_and_said_to_be_newer(tmp_path: Path) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    pickled(tmp_path / "pytorch_model.bin", a=[2.0], b=[1.0])
    os.utime(tmp_path / "model.safetensors", (100, 100))
    assert "also here, not opened: pytorch_model.bin (2 tensors), newer" in note(tmp_path)
    os.utime(tmp_path / "pytorch_model.bin", (50, 50))
    assert note(tmp_path).endswith("pytorch_model.bin (2 tensors)")


@pytest.mark.parametrize(
    ("here", "opened"),
    [
        (("model.safetensors", "pytorch_model.bin"), "model.safetensors"),
        (("pytorch_model.bin", "adapter_model.safetensors"), "pytorch_model.bin"),
        (("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"),
         "diffusion_pytorch_model.safetensors"),
        (("model.safetensors", "consolidated.safetensors"), "model.safetensors"),
        (("adapter_model.safetensors", "adapter_model.bin"), "adapter_model.safetensors"),
    ],
)  # fmt: skip
def test_the_order_of_loaders(tmp_path: Path, here: Sequence[str], opened: str) -> None:
    for name in here:
        made = floats if name.endswith(".safetensors") else lambda p, v: pickled(p, **v)
        made(tmp_path / name, {name: [1.0]})
    checkpoint = open_checkpoint(tmp_path)
    assert [f.path.name for f in checkpoint.files] == [opened]
    (other,) = set(here) - {opened}
    assert any(f"opened {opened}; also here, not opened: {other} (1 tensor)" in n for n in checkpoint.notes)


def test_two_sets_of_shards(tmp_path: Path) -> None:
    shards(tmp_path, (1, 2), of=2)
    shards(tmp_path, (1, 2, 3), of=3)
    refused(
        tmp_path,
        CannotOpen,
        "several checkpoints",
        "model-00001-of-00002.safetensors (2 of 2 shards)",
        "(3 of 3 shards)",
    )
    index(tmp_path, {f"layers.{i}.weight": f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)})
    assert len(names(tmp_path)) == 3
    assert "model-00001-of-00002.safetensors and 1 more shard (2 of 2 shards)" in note(tmp_path)


def test_files_that_no_index_joins_are_opened_together_and_named(tmp_path: Path) -> None:
    floats(tmp_path / "language.safetensors", {"a": [1.0]})
    floats(tmp_path / "vision.safetensors", {"b": [1.0]})
    assert names(tmp_path) == ["a", "b"]
    assert "opened all, language.safetensors, vision.safetensors" in note(tmp_path)


def test_other_formats_beside_it(tmp_path: Path) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    for name in ("tf_model.h5", "model.gguf", "tokenizer.json", "README.md", "vocab.bin"):
        (tmp_path / name).write_bytes(b"words")
    assert open_checkpoint(tmp_path).notes == (
        "opened model.safetensors; also here, not opened: model.gguf, newer",
        "also here, in formats that are not read: tf_model.h5",
    )


def test_the_state_of_a_training_is_no_model(tmp_path: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
        pickled(tmp_path / name, a=[1.0])
    refused(tmp_path, CannotOpen, "no checkpoint", "the state of a training run (optimizer.pt, ")
    pickled(tmp_path / "optimus.pt", a=[2.0])
    checkpoint = open_checkpoint(tmp_path)
    assert ([f.path.name for f in checkpoint.files], checkpoint.notes) == (["optimus.pt"], ())


def test_an_adapter(tmp_path: Path) -> None:
    floats(tmp_path / "adapter_model.safetensors", {"base.lora_A.weight": [1.0]})
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/base"}')
    said = format_of(open_checkpoint(tmp_path)).notes()[0]
    assert said == "an adapter: the weights of its base, acme/base by adapter_config.json, are not in it"
    (tmp_path / "adapter_config.json").write_text("{")
    assert format_of(open_checkpoint(tmp_path)).notes()[0] == "an adapter: the weights of its base are not in it"
    assert "is not valid JSON" in note(tmp_path)


# --- downloads that were not finished ---


@pytest.mark.parametrize("suffix", [".part", ".crdownload", ".incomplete", ".download", ".aria2"])
def test_only_a_part_of_a_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"model.safetensors{suffix}").write_bytes(bytes(2000))
    refused(tmp_path, CannotOpen, "holds no checkpoint", f"model.safetensors{suffix}", "Finish the download")


def test_a_file_that_aria2_has_not_finished(tmp_path: Path) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    (tmp_path / "model.safetensors.aria2").touch()
    assert "aria2 has not finished model.safetensors" in note(tmp_path)


def snapshot(hub: Path, revision: str = "a" * 40) -> Path:
    folder = hub / "models--org--name" / "snapshots" / revision
    folder.mkdir(parents=True)
    (hub / "models--org--name" / "blobs").mkdir(exist_ok=True)
    return folder


def test_a_snapshot_whose_blobs_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = snapshot(tmp_path)
    link = folder / "model.safetensors"
    link.symlink_to("../../blobs/0123")
    (tmp_path / "models--org--name" / "blobs" / "0123.ab.incomplete").write_bytes(bytes(3000))
    for path in (folder, Path("org/name"), tmp_path / "models--org--name"):
        refused(path, CannotOpen, "model.safetensors is a link that leads nowhere", "1 .incomplete file (3 kB)")
    refused(link, CannotOpen, "is a link that leads nowhere", "blobs/0123", "1 .incomplete file (3 kB)")


def test_a_snapshot_of_which_shards_are_missing(tmp_path: Path) -> None:
    folder = snapshot(tmp_path)
    path = index(folder, {f"layers.{i}.weight": f"model-{i:05d}-of-00002.safetensors" for i in (1, 2)})
    shards(folder, (1,), of=2)
    (tmp_path / "models--org--name" / "blobs" / "0123.incomplete").write_bytes(bytes(3000))
    refused(path, BrokenFile, "1 of 2 shards is missing", "model-00002-of-00002", ".incomplete file (3 kB)")


def test_a_half_downloaded_folder(tmp_path: Path) -> None:
    place = tmp_path / ".cache" / "huggingface" / "download"
    place.mkdir(parents=True)
    (place / "AB.0123.incomplete").write_bytes(bytes(4000))
    shards(tmp_path, (1,), of=2)
    assert "1 .incomplete file (4 kB) in " in note(tmp_path)


def test_which_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for i, letter in enumerate("ab"):
        floats(snapshot(tmp_path, letter * 40) / "model.safetensors", {letter: [1.0]})
        os.utime(tmp_path / "models--org--name" / "snapshots" / (letter * 40), (100 + i, 100 + i))
    assert "2 snapshots" in note(Path("org/name"))
    assert note(tmp_path / "models--org--name") == note(Path("org/name"))
    refs = tmp_path / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    checkpoint = open_checkpoint("org/name")
    assert (list(checkpoint.entries), checkpoint.notes) == (["a"], ())


# --- models in folders ---


def test_the_only_model_inside(tmp_path: Path) -> None:
    floats(tmp_path / "out" / "model.safetensors", {"a": [1.0]})
    assert note(tmp_path) == f"the only model inside {tmp_path}"
    assert open_checkpoint(tmp_path).path == tmp_path / "out"
    (tmp_path / "out").rename(tmp_path / "x")
    floats(tmp_path / "deep" / "er" / "model.safetensors", {"a": [1.0]})
    (tmp_path / "x" / "model.safetensors").unlink()
    assert open_checkpoint(tmp_path).path == tmp_path / "deep" / "er"


def test_a_model_however_deep_it_lies(tmp_path: Path) -> None:
    floats(tmp_path / "a" / "b" / "c" / "d" / "model.safetensors", {"a": [1.0]})
    assert open_checkpoint(tmp_path).path == tmp_path / "a" / "b" / "c" / "d"
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    assert open_checkpoint(tmp_path).inside == (tmp_path / "a" / "b" / "c" / "d",)
    assert "folders inside hold models, not opened: a/b/c/d" in note(tmp_path)


def test_a_cache_of_the_hub_with_one_model(tmp_path: Path) -> None:
    for letter in "ab":
        floats(snapshot(tmp_path, letter * 40) / "model.safetensors", {letter: [1.0]})
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("b" * 40)
    data = tmp_path / "datasets--org--text"
    floats(data / "snapshots" / ("c" * 40) / "model.safetensors", {"c": [1.0]})
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize("inner", ["original", "onnx"])
def test_a_folder_of_the_hub_with_another_saving_inside(tmp_path: Path, inner: str) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    floats(tmp_path / inner / "consolidated.safetensors", {"b": [1.0]})
    assert names(tmp_path) == ["a"]
    assert f"folders inside hold models, not opened: {inner}" in note(tmp_path)


def test_several_models_inside(tmp_path: Path) -> None:
    for step in (500, 1000, 90):
        floats(tmp_path / f"checkpoint-{step}" / "model.safetensors", {"a": [float(step)]})
    refused(
        tmp_path, CannotOpen, "3 folders that do", "checkpoint-90, checkpoint-500, checkpoint-1000",
        "checkpoint-1000, the last one?",
    )  # fmt: skip
    floats(tmp_path / "model.safetensors", {"a": [0.0]})
    assert "folders inside hold models, not opened: checkpoint-90, " in note(tmp_path)


@pytest.mark.parametrize("stray", ["scales.safetensors", "extra.pt", "model-00001-of-00002.safetensors"])
def test_a_stray_file_beside_a_model_is_not_taken_for_it(tmp_path: Path, stray: str) -> None:
    """Two folders whose models differ and whose stray files do not were identical everywhere."""
    path = tmp_path / stray
    if stray.endswith(".pt"):
        pickled(path, a=[1.0])
    else:
        floats(path, {"a": [1.0]})
    floats(tmp_path / "model" / "model.safetensors", {"a": [2.4]})
    refused(tmp_path, CannotOpen, "several models, here and in folders", stray, "in folders model", "Name the file or")


def test_a_pipeline_of_diffusers(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for part in ("unet", "vae"):
        floats(tmp_path / part / "diffusion_pytorch_model.safetensors", {"a": [1.0]})
    floats(tmp_path / "text_encoder" / "model.safetensors", {"a": [1.0]})
    floats(tmp_path / "all-in-one.safetensors", {"a": [1.0]})
    refused(
        tmp_path, CannotOpen, "a diffusers pipeline of 3 models", "text_encoder, unet, vae, all-in-one.safetensors",
        "Name one of them",
    )  # fmt: skip
    assert names(tmp_path / "unet") == ["a"]


# --- trainers ---


def deepspeed(folder: Path, step: int = 100, states: Sequence[str] = ("mp_rank_00",), ranks: int = 2) -> Path:
    inner = folder / f"global_step{step}"
    for state in states:
        pickled(inner / f"{state}_model_states.pt", **{"module.weight": [1.0]})
    for rank in range(ranks):
        pickled(inner / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", x=[1.0])
    (folder / "latest").write_text(f"global_step{step}\n")
    return inner


def test_deepspeed(tmp_path: Path) -> None:
    inner = deepspeed(tmp_path)
    for path in (tmp_path, inner):
        checkpoint = open_checkpoint(path)
        assert [f.path.name for f in checkpoint.files] == ["mp_rank_00_model_states.pt"]
        assert any("a DeepSpeed checkpoint; opened" in n and "2 files of optimizer" in n for n in checkpoint.notes)
    deepspeed(tmp_path, 50)
    (tmp_path / "latest").write_text("global_step100")
    assert any("other steps here: global_step50" in n for n in open_checkpoint(tmp_path).notes)
    (tmp_path / "latest").write_text("global_step7")
    refused(tmp_path, CannotOpen, "whose last step is not here", "global_step7", "found global_step50, global_step100")


@pytest.mark.parametrize(
    "states",
    [("mp_rank_00", "mp_rank_01"), ("zero_pp_rank_0_mp_rank_00", "zero_pp_rank_1_mp_rank_00"), ()],
)
def test_deepspeed_in_pieces(tmp_path: Path, states: Sequence[str]) -> None:
    deepspeed(tmp_path, states=states)
    refused(tmp_path, CannotOpen, "whose weights are in 2 pieces", "global_step100", "zero_to_fp32.py")


@pytest.mark.parametrize("text", ["../../etc", "/etc", "", "a/b", "\x1b[31m", "global_step100\x00"])
def test_latest_names_a_folder_here_or_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "latest").write_text(text)
    refused(tmp_path, CannotOpen, "holds no checkpoint")


def test_megatron(tmp_path: Path) -> None:
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("1000")
    refused(tmp_path, CannotOpen, "whose last iteration is not here", "iter_0001000")
    pickled(tmp_path / "iter_0001000" / "mp_rank_00" / "model_optim_rng.pt", a=[1.0])
    pickled(tmp_path / "iter_0000500" / "mp_rank_00" / "model_optim_rng.pt", a=[2.0])
    checkpoint = open_checkpoint(tmp_path)
    assert [str(f.path.relative_to(tmp_path)) for f in checkpoint.files] == [
        "iter_0001000/mp_rank_00/model_optim_rng.pt"
    ]
    assert any("a Megatron checkpoint; opened" in n and "iter_0000500" in n for n in checkpoint.notes)
    pickled(tmp_path / "iter_0001000" / "mp_rank_01" / "model_optim_rng.pt", a=[1.0])
    refused(tmp_path, CannotOpen, "a Megatron checkpoint in 2 pieces", "mp_rank_00", "mp_rank_01")


def test_folders_of_other_programs_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x03\x12\x01x\x3a\x02\x0a\x00")
    (tmp_path / "model.bin").write_bytes(b"<!doctype html><title>no</title>")
    refused(tmp_path, CannotOpen, "model.onnx", "an ONNX model without tensors")
    (tmp_path / "model.onnx").rename(tmp_path / "model.tflite")
    refused(tmp_path, CannotOpen, "no checkpoint that qinspect reads", "model.tflite", "model.bin (an HTML")


def test_an_export_is_left_aside_where_the_model_is(tmp_path: Path) -> None:
    """torch's model and the graph that was exported from it: the graph has what the model has, under other names."""
    write_model(tmp_path / "best.onnx", [tensor("b", np.ones(1, np.float32))])
    assert names(tmp_path) == ["b"]
    pickled(tmp_path / "best.pt", a=[1.0])
    assert names(tmp_path) == ["a"]
    assert "best.onnx" in note(tmp_path)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "best.onnx").rename(tmp_path / "onnx" / "model.onnx")
    assert names(tmp_path) == ["a"]
    assert "folders inside hold models, not opened: onnx" in note(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("Manifest.json", "Data/com.apple.CoreML/weights/weight.bin"), "a Core ML package"),
        (("_METADATA", "manifest.ocdbt", "d/0"), "an Orbax checkpoint"),
        ((".zgroup", "a/.zarray"), "a Zarr store"),
        (("saved_model.pb", "variables/variables.index"), "saved_model.pb (a TensorFlow SavedModel)"),
        (("rank0.engine", "config.json"), "rank0.engine (a TensorRT engine)"),
        (("openvino_model.xml", "openvino_model.bin"), "openvino_model.bin (the weights of openvino_model.xml"),
    ],
)
def test_layouts_of_other_programs(tmp_path: Path, files: Sequence[str], words: str) -> None:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x08\x01\x12\x02\x0a\x00" if name.endswith(".pb") else b"\xf3\x9a\x00\x01")
    refused(tmp_path, CannotOpen, "holds no checkpoint", words)


def test_a_pointer_is_told_by_its_folder_too(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    for name in ("model.safetensors", "weights.bin"):
        (tmp_path / name).write_text(pointer)
        refused(tmp_path, CannotOpen, "Git LFS pointer", "git lfs pull")
        (tmp_path / name).unlink()


def test_what_macos_leaves_is_no_model(tmp_path: Path) -> None:
    floats(tmp_path / "m.safetensors", {"a": [1.0]})
    (tmp_path / "._m.safetensors").write_bytes(b"\x00\x05\x16\x07")
    assert names(tmp_path) == ["a"]


def test_names_of_others_are_escaped(tmp_path: Path) -> None:
    floats(tmp_path / "model.safetensors", {"a": [1.0]})
    floats(tmp_path / "x\x1b[31m\n.safetensors", {"a": [1.0]})
    (tmp_path / "\u202egone.bin").symlink_to("nowhere\n")
    (tmp_path / "\x07.bin.part").touch()
    notes = open_checkpoint(tmp_path).notes
    assert len(notes) == 3
    assert all(n.isprintable() for n in notes)
