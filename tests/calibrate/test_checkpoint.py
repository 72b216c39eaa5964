"""The checkpoint at the end of a calibration: torch's reading of it, there whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from native_files import MIXER, POINTS, PROVENANCE, QUANTIZED, tensors, written
from safetensors import safe_open
from safetensors.torch import load_file

from qinspect.inspector.calibrate.checkpoint import Deferred, PointScale, check_target
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotOpen, CannotQuantize


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for p in sorted(folder.glob("*.safetensors")) for k, v in load_file(p).items()}


@pytest.mark.parametrize("shard_bytes", [1 << 40, 12_000])
def test_eight_bits_as_torch_makes_them(tmp_path: Path, shard_bytes: int) -> None:
    stored = all_tensors(written(tmp_path / "out", 8, shard_bytes))
    for key, values in tensors().items():
        w = torch.from_numpy(values)
        if key not in QUANTIZED:
            assert torch.equal(stored[key], w)
            continue
        s = w.float().abs().amax(1, keepdim=True) / 127
        assert torch.equal(stored[key + "_scale"], s)
        assert torch.equal(stored[key], torch.round(w.float() / s).to(torch.int8))


def test_four_bits_as_torch_makes_them(tmp_path: Path) -> None:
    stored = all_tensors(written(tmp_path / "out", 4))
    for key in QUANTIZED:
        w = torch.from_numpy(tensors()[key]).float()
        low, high = stored[key] & 15, stored[key] >> 4
        codes = torch.stack([low, high], -1).flatten(1)[:, : w.shape[1]].to(torch.int32)
        codes = torch.where(codes > 7, codes - 16, codes)
        for g, part in enumerate(torch.split(w, 128, 1)):
            s = part.abs().amax(1) / 7
            assert torch.equal(stored[key + "_scale"][:, g], s)
            assert torch.equal(codes[:, 128 * g : 128 * g + 128], torch.round(part / s[:, None]).to(torch.int32))
        assert stored[key + "_scale"].shape[1] == -(-w.shape[1] // 128)


def test_scales_of_points_lie_in_the_models_tree(tmp_path: Path) -> None:
    stored = all_tensors(written(tmp_path / "out"))
    assert stored[MIXER + "x_conv_out:input"] == np.float32(0.031)
    assert stored[MIXER + "x_conv_out:input"].shape == ()
    assert stored[MIXER + "out_proj:input"].tolist() == np.linspace(0.1, 0.2, 4).astype(np.float32).tolist()
    assert stored["lm_head:input"].dtype == torch.float32


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shard_bytes", [1 << 40, 12_000])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, bits: int, shard_bytes: int) -> None:
    one = all_bytes(written(tmp_path / "one", bits, shard_bytes))
    other = written(
        tmp_path / "other", bits, shard_bytes,
        tensors=dict(reversed(tensors().items())), quantized=set(QUANTIZED),
    )  # fmt: skip
    assert one == all_bytes(other)
    assert (len(one) > 2) == (shard_bytes == 12_000)


def test_shards_are_as_large_as_they_may_be_and_indexed(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", 8, 12_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(folder.glob("*.safetensors"))
    assert [p.name for p in files] == [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    inside = {key: p.name for p in files for key in load_file(p)}
    assert index["weight_map"] == inside
    assert index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in all_tensors(folder).values())
    for key in QUANTIZED:
        assert inside[key] == inside[key + "_scale"]
    assert all_tensors(folder).keys() == all_tensors(written(tmp_path / "whole")).keys()


def test_elements_are_aligned(tmp_path: Path) -> None:
    for t in open_checkpoint(written(tmp_path / "out", 4)).tensors():
        assert t.offset % (t.dtype.bits // 8) == 0


def test_config_and_metadata_say_what_was_asked_and_what_took_effect(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", 4, 12_000)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "mamba"
    assert config["time_step_limit"] == [0.0, float("inf")]
    provenance = {
        "requested": PROVENANCE.requested, "effective": PROVENANCE.effective,
        "data": PROVENANCE.data, "versions": PROVENANCE.versions,
    }  # fmt: skip
    assert config["provenance"] == provenance
    settings = config["quantization_config"]
    assert (settings["quant_method"], settings["format_version"], settings["rotation"]) == ("qinspect", 1, "hadamard")
    weights = {k: settings["weights"][k] for k in ("bits", "group_size", "granularity", "rounding", "symmetric")}
    assert list(weights.values()) == [4, 128, "per-group", "nearest, half to even", True]
    points = settings["activations"]["points"]
    assert [p["key"].removeprefix("backbone.") for p in points] == list(POINTS)
    assert [(p["rule"], p["alpha_reached"]) for p in points] == [(p.rule, p.alpha_reached) for p in POINTS.values()]
    for shard in folder.glob("*.safetensors"):
        with safe_open(shard, framework="np") as f:
            assert json.loads(f.metadata()["qinspect"]) == {"quantization_config": settings, "provenance": provenance}


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[Any] = []

    def deferred(key: str, shape: tuple[int, ...]) -> Deferred:
        def read() -> Any:
            assert not [key for key, array in alive if array() is not None]
            made = np.full(shape, 2.0, ml_dtypes.bfloat16)
            alive.append((key, weakref.ref(made)))
            return made

        return Deferred(shape, np.dtype(ml_dtypes.bfloat16), read)

    handles = {key: deferred(key, values.shape) for key, values in tensors().items()}
    stored = all_tensors(written(tmp_path / "out", tensors=handles))
    assert sorted(key for key, _ in alive) == sorted(handles)
    assert stored["backbone.embedding.weight"].dtype == torch.bfloat16
    assert (stored[QUANTIZED[0]] == 127).all()


def test_tensors_of_an_opened_checkpoint_are_streamed(tmp_path: Path) -> None:
    source = open_checkpoint(written(tmp_path / "a", quantized=(), activation_scales={}))
    handles = {t.name: t for t in source.tensors()}
    assert all_bytes(written(tmp_path / "b", tensors=handles)) == all_bytes(written(tmp_path / "c"))


def test_large_weights_are_quantized_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bits in (4, 8):
        whole = all_bytes(written(tmp_path / f"whole{bits}", bits))
        with monkeypatch.context() as patched:
            patched.setattr("qinspect.inspector.calibrate.checkpoint.BLOCK_ELEMENTS", 1000)
            assert all_bytes(written(tmp_path / f"blocks{bits}", bits)) == whole


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "out")
    before = all_bytes(folder)
    for place in (folder, folder / "config.json"):
        with pytest.raises(CannotOpen, match=r"already exists.*found a f.*Name another one"):
            check_target(place)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(CannotOpen, match="found a link"):
        written(tmp_path / "link")
    with pytest.raises(CannotOpen, match="already exists"):
        written(folder, 4)
    assert all_bytes(folder) == before
    with pytest.raises(CannotOpen, match="its parent folder does not exist"):
        check_target(tmp_path / "none" / "out")


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "beside").mkdir()
    assert all_bytes(written(tmp_path / "out")).keys() == {"model.safetensors", "config.json"}
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "beside").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failure_midway_leaves_nothing(tmp_path: Path, error: Any) -> None:
    def fail() -> Any:
        assert len(list(tmp_path.iterdir())) == 1  # under another name until now
        raise error

    handles = tensors() | {"z": Deferred((1,), np.dtype(np.float32), fail)}
    with pytest.raises(CannotOpen if isinstance(error, OSError) else error):
        written(tmp_path / "out", tensors=handles)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_quantized_is_named(tmp_path: Path) -> None:
    for change, words in (
        ({"lm_head.weight": np.zeros(3, np.float32)}, "key lm_head.weight: is not a matrix"),
        ({"lm_head.weight": np.full((2, 2), np.nan)}, "key lm_head.weight: cannot be quantized: not all"),
        ({"x": np.zeros(2, np.complex128)}, "key x: safetensors has no such dtype"),
        ({"lm_head.weight_scale": np.ones(2)}, "key lm_head.weight_scale: two tensors would have this name"),
        ({"lm_head:input": np.ones(2)}, "key lm_head:input: two tensors would have this name"),
    ):
        with pytest.raises(CannotQuantize) as caught:
            written(tmp_path / "out", tensors=tensors() | change)
        assert words in str(caught.value)
    with pytest.raises(CannotQuantize, match=r"key no\.weight: there is no tensor of this name"):
        written(tmp_path / "out", quantized=["no.weight"])
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_that_is_not_as_promised_is_refused(tmp_path: Path) -> None:
    wrong = Deferred((2,), np.dtype(np.float32), lambda: np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="x was promised as"):
        written(tmp_path / "out", tensors=tensors() | {"x": wrong})


def test_points_follow_the_root_of_what_they_belong_to(tmp_path: Path) -> None:
    renamed = {"model." + key.removeprefix("backbone."): values for key, values in tensors().items()}
    named = dict.fromkeys(("layers.0.x:input", "lm_head:input", "other:input"), PointScale(1.0, "", False))
    folder = written(
        tmp_path / "out", tensors=renamed, quantized=["model.lm_head.weight"], activation_scales=named
    )  # fmt: skip
    points = {key for key in all_tensors(folder) if key.endswith(":input")}
    assert points == {"model.layers.0.x:input", "model.lm_head:input", "other:input"}


def test_nothing_of_it_imports_torch() -> None:
    code = "import sys, qinspect.inspector.calibrate.checkpoint, qinspect.inspector.samples.data"
    heavy = {"torch", "transformers", "tokenizers", "datasets", "pyarrow", "zstandard"}
    subprocess.run([sys.executable, "-c", f"{code}\nassert not {heavy} & set(sys.modules)"], check=True)
