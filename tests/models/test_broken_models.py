"""What cannot be calibrated is refused before the pass, by one sentence that names file and key."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_models import VOCABULARY, added, built, poisoned, removed, set_key, set_weight, with_config
from hostile import assert_one_line
from small_models import saved_ids

from qinspect.inspector.calibrate import room, work
from qinspect.inspector.calibrate.engine import Pass
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.cli import main
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.models import memory

Break = Callable[[Path], None]
IN_PROJ = "backbone.layers.1.mixer.in_proj.weight"
OUT_PROJ = "backbone.layers.0.mixer.out_proj.weight"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
UP = "model.layers.0.mlp.up_proj.weight"
WEIGHTS = "model.safetensors"


def write(text: str) -> Break:
    def apply(folder: Path) -> None:
        (folder / "config.json").write_text(text)

    return apply


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def cut_short(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text()[:-20])


def twice(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace("{", '{"layer_norm_epsilon": 1e-3, "layer_norm_epsilon": 1e-5, ', 1))


def transposed(w: torch.Tensor) -> torch.Tensor:
    return w.T.contiguous()


def headed(w: torch.Tensor) -> Break:
    return added("lm_head.weight", w)


@pytest.fixture(autouse=True)
def no_pass(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing here may get as far as a pass."""
    begun: list[str] = []

    def begin(*_: Any) -> None:
        begun.append("a pass")
        raise AssertionError("a pass was begun")

    monkeypatch.setattr(Pass, "run", begin)
    return begun


def refused(path: Path, tmp_path: Path, **settings: Any) -> str:
    """The sentence by which a calibration is refused."""
    ids = saved_ids(tmp_path / "ids.json", [20, 20], VOCABULARY)
    given = {"data": str(ids), "device": "cpu", **settings}
    with pytest.raises(QinspectError) as caught:
        work.calibrate(Settings(str(path), **given), tmp_path / "state")
    assert not list((tmp_path / "state").rglob("*.safetensors"))
    return assert_one_line(caught.value)


MAMBA_CONFIGS: dict[str, tuple[Break, str]] = {
    "missing": (without_config, r"config\.json: is missing"),
    "cut short": (cut_short, r"config\.json: is not valid JSON"),
    "empty": (write(""), r"config\.json: is empty"),
    "no object": (write("[1]"), r"config\.json: is not a JSON object"),
    "of nothing": (write("{}"), r"config\.json, key d_model: is not a config of a Mamba model"),
    "key twice": (twice, r"config\.json: is not valid JSON.*layer_norm_epsilon.*twice"),
    "layers": (set_key("n_layer", 3), r"config\.json, key n_layer: contradicts the tensors; expected 2.*found 3"),
    "fewer layers": (set_key("n_layer", 1), r"key n_layer: contradicts the tensors; expected 2.*found 1"),
    "a million layers": (set_key("n_layer", 10**6), r"key n_layer: contradicts the tensors.*found 1000000"),
    "no layers": (set_key("n_layer", 0), r"key n_layer"),
    "layers of text": (set_key("n_layer", "two"), r"key n_layer"),
    "width": (set_key("d_model", 128), r"key d_model: contradicts the tensors; expected 64.*embedding.*found 128"),
    "vocabulary": (set_key("vocab_size", 512), r"key vocab_size: contradicts the tensors; expected 304.*found 512"),
    "epsilon of text": (set_key("layer_norm_epsilon", "1e-5"), r"key layer_norm_epsilon.*found '1e-5'"),
    "epsilon of nothing": (set_key("layer_norm_epsilon", 0), r"key layer_norm_epsilon.*above 0.*found 0"),
    "epsilon is NaN": (set_key("layer_norm_epsilon", math.nan), r"key layer_norm_epsilon.*found nan"),
    "residual": (set_key("residual_in_fp32", "yes"), r"key residual_in_fp32.*true or false.*found 'yes'"),
    "norm": (set_key("rms_norm", False), r"key rms_norm: asks for another norm"),
    "attention": (set_key("attn_layer_idx", [1]), r"key attn_layer_idx.*no layer of attention"),
    "an MLP": (set_key("d_intermediate", 256), r"key d_intermediate: contradicts the tensors"),
    "nested text": (set_key("ssm_cfg", "Mamba2"), r"key ssm_cfg.*an object"),
    "state": (set_key("ssm_cfg.d_state", 64), r"key ssm_cfg\.d_state: contradicts the tensors; expected 16.*found 64"),
    "convolution": (set_key("ssm_cfg.d_conv", 3), r"key ssm_cfg\.d_conv: contradicts the tensors; expected 4.*found 3"),
    "expansion": (set_key("ssm_cfg.expand", 4), r"key ssm_cfg\.expand: contradicts the tensors; expected 2,.*found 4"),
    "version": (set_key("ssm_cfg.layer", "Mamba3"), r"key ssm_cfg\.layer.*by the tensors; found 'Mamba3'"),
    "bias": (set_key("ssm_cfg.bias", True), r"key ssm_cfg\.bias: contradicts the tensors"),
    "rotation": (set_key("rotation", "givens"), r"key rotation"),
    "untied": (set_key("tie_embeddings", False), r"key tie_embeddings: contradicts the tensors.*no lm_head\.weight"),
    "tied to text": (set_key("tie_embeddings", "no"), r"key tie_embeddings.*true or false"),
    "quantized": (set_key("quantization_config", {"bits": 8}), r"config\.json, key quantization_config: is quantized"),
    "declared for another": (write('{"model_type": "llama"}'), r"key model_type"),
}  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("fault", MAMBA_CONFIGS)
def test_a_config_of_mamba(tmp_path: Path, fault: str, version: int) -> None:
    path = built(tmp_path / "m", f"mamba{version}")
    change, said = MAMBA_CONFIGS[fault]
    change(path)
    assert re.search(said, refused(path, tmp_path))


MAMBA2_CONFIGS: dict[str, tuple[Break, str]] = {
    "groups": (set_key("ssm_cfg.ngroups", 3), r"key ssm_cfg\.ngroups: contradicts the tensors.*found 3"),
    "groups and state": (set_key("ssm_cfg.ngroups", 1), r"key ssm_cfg\.d_state: contradicts the tensors; expected 32"),
    "no groups": (set_key("ssm_cfg.ngroups", 0), r"key ssm_cfg\.ngroups"),
    "half a group": (set_key("ssm_cfg.ngroups", 1.5), r"key ssm_cfg\.ngroups"),
    "head": (set_key("ssm_cfg.headdim", 64), r"key ssm_cfg\.headdim: contradicts the tensors; expected 32"),
    "limit": (set_key("ssm_cfg.dt_limit", [1.0, 0.5]), r"key ssm_cfg\.dt_limit.*low < high"),
    "half a limit": (set_key("ssm_cfg.dt_limit", [0.0]), r"key ssm_cfg\.dt_limit"),
    "limit of text": (set_key("ssm_cfg.dt_limit", "none"), r"key ssm_cfg\.dt_limit"),
    "gate": (set_key("ssm_cfg.norm_before_gate", True), r"key ssm_cfg\.norm_before_gate: asks for another norm"),
    "inner": (set_key("ssm_cfg.d_ssm", 64), r"key ssm_cfg\.d_ssm: contradicts the tensors"),
}


@pytest.mark.parametrize("fault", MAMBA2_CONFIGS)
def test_a_config_of_mamba2(tmp_path: Path, fault: str) -> None:
    path = built(tmp_path / "m", "mamba2")
    change, said = MAMBA2_CONFIGS[fault]
    change(path)
    assert re.search(said, refused(path, tmp_path))


MAMBA_WEIGHTS: dict[str, tuple[Break, str]] = {
    "float64": (set_weight(IN_PROJ, torch.Tensor.double), rf"{WEIGHTS}, key {IN_PROJ}.*found float64.*Convert"),
    "one int8": (set_weight(OUT_PROJ, torch.Tensor.char), rf"{WEIGHTS}, key {OUT_PROJ}: is quantized already.*int8"),
    "float8": (
        set_weight(OUT_PROJ, lambda w: w.to(torch.float8_e4m3fn)), rf"{WEIGHTS}, key {OUT_PROJ}: is quantized already"
    ),
    "complex": (
        set_weight("backbone.layers.0.mixer.D", lambda w: w.to(torch.complex64)), r"mixer\.D.*complex64.*Convert"
    ),
    "transposed in_proj": (set_weight(IN_PROJ, transposed), rf"{WEIGHTS}, key {IN_PROJ}.*which is transposed.*out, in"),
    "transposed out_proj": (set_weight(OUT_PROJ, transposed), rf"key {OUT_PROJ}.*which is transposed"),
    "transposed embedding": (
        set_weight("backbone.embedding.weight", transposed), r"key backbone\.embedding\.weight.*which is transposed"
    ),
    "cut weight": (set_weight(IN_PROJ, lambda w: w[:-1]), rf"{WEIGHTS}, key {IN_PROJ}: has another shape"),
    "scalar": (set_weight("backbone.norm_f.weight", lambda w: w[0]), r"key backbone\.norm_f\.weight"),
    "NaN": (set_weight(IN_PROJ, poisoned(math.nan)), rf"{WEIGHTS}, key {IN_PROJ}.*not a finite.*found nan at \[0, 7\]"),
    "infinity": (
        set_weight("backbone.layers.1.mixer.A_log", poisoned(math.inf)), rf"{WEIGHTS}, key .*A_log.*found inf at "
    ),
    "missing": (removed(IN_PROJ), rf"key {IN_PROJ}.*expected a tensor of this name"),
    "missing in the first layer": (removed(OUT_PROJ), rf"key {OUT_PROJ}.*expected a tensor of this name"),
    "no embedding": (removed("backbone.embedding.weight"), r"key backbone\.embedding\.weight"),
    "no norm": (removed("backbone.norm_f.weight"), r"key backbone\.norm_f\.weight"),
    "extra": (added("optimizer.step", torch.ones(1)), rf"{WEIGHTS}, key optimizer\.step: has a part that no Mamba"),
    "a layer's bias": (added(OUT_PROJ[:-6] + "bias", torch.ones(64)), r"out_proj\.bias: has a part that no Mamba"),
    "empty": (added("backbone.layers.0.mixer.extra", torch.ones(0)), r"mixer\.extra: has no elements"),
    "empty weight": (set_weight(OUT_PROJ, lambda w: w[:, :0]), rf"key {OUT_PROJ}: has no elements"),
    "another head": (headed(torch.ones(304, 64)), rf"{WEIGHTS}, key lm_head\.weight: is said to be the embedding"),
    "two embeddings": (
        added("backbone.embeddings.weight", torch.ones(304, 64)), r"embeddings?\.weight: two tensors are the same part"
    ),
    "integers beside": (added("backbone.layers.0.mixer.qzeros", torch.ones(4, dtype=torch.int32)), r"is quantized"),
}  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("fault", MAMBA_WEIGHTS)
def test_weights_of_mamba(tmp_path: Path, fault: str, version: int) -> None:
    path = built(tmp_path / "m", f"mamba{version}")
    change, said = MAMBA_WEIGHTS[fault]
    if fault == "infinity" and version == 1:
        change = set_weight("backbone.layers.1.mixer.A_log", poisoned(-math.inf))
        said = said.replace("inf", "-inf")
    if fault == "infinity" and version == 2:  # four heads
        change = set_weight("backbone.layers.1.mixer.A_log", lambda w: torch.full_like(w, math.inf))
    change(path)
    assert re.search(said, refused(path, tmp_path))


LLAMA: dict[str, tuple[Break, str]] = {
    "config missing": (without_config, r"config\.json: is missing"),
    "config cut short": (cut_short, r"config\.json: is not valid JSON"),
    "no architecture": (with_config(lambda c: c.pop("model_type")), r"config\.json, key model_type"),
    "a million layers": (
        set_key("num_hidden_layers", 10**6), r"config\.json, key num_hidden_layers: contradicts.*expected 2.*1000000"
    ),
    "heads of nothing": (set_key("num_attention_heads", 0), r"config\.json, key num_attention_heads.*found 0"),
    "width of text": (set_key("hidden_size", "48"), r"config\.json, key hidden_size.*found '48'"),
    "activation": (set_key("hidden_act", "nosuch"), r"config\.json, key hidden_act: .*nosuch"),
    "epsilon is NaN": (set_key("rms_norm_eps", math.nan), r"config\.json, key rms_norm_eps.*found nan"),
    "epsilon of text": (set_key("rms_norm_eps", "big"), r"config\.json, key rms_norm_eps"),
    "NaN inside": (set_key("rope_parameters.rope_theta", math.inf), r"key rope_parameters\.rope_theta.*found inf"),
    "positions": (set_key("rope_parameters.rope_type", "nosuch"), r"key rope_parameters\.rope_type: .*nosuch"),
    "another family": (
        set_key("architectures", ["T5ForConditionalGeneration"]), r"config\.json, key architectures.*model_type llama"
    ),
    "a layer more": (set_key("num_hidden_layers", 3), r"config\.json, key num_hidden_layers: contradicts the tensors"),
    "a layer less": (set_key("num_hidden_layers", 1), rf"{WEIGHTS}, key model\.layers\.1\..*does not use"),
    "no layers": (set_key("num_hidden_layers", -1), r"key num_hidden_layers"),
    "vocabulary": (set_key("vocab_size", 400), rf"{WEIGHTS}, key model\.embed_tokens\.weight.*expected \[400, 48\]"),
    "a huge vocabulary": (set_key("vocab_size", 10**10), r"key model\.embed_tokens\.weight.*10000000000"),
    "heads": (set_key("num_key_value_heads", 4), rf"{WEIGHTS}, key model\.layers\.0\.self_attn\.k_proj\.weight"),
    "quantized": (set_key("quantization_config", {"quant_method": "gptq"}), r"key quantization_config: is quantized"),
    "float64": (set_weight(UP, torch.Tensor.double), rf"{WEIGHTS}, key {UP}.*found float64"),
    "one int8": (set_weight(Q_PROJ, torch.Tensor.char), rf"{WEIGHTS}, key {Q_PROJ}: is quantized already.*int8"),
    "packed": (added(UP[:-6] + "qweight", torch.ones(4, 4, dtype=torch.int32)), r"up_proj\.qweight: is quantized"),
    "a scale beside": (added(f"{UP}_scale", torch.ones(172, 1)), rf"{WEIGHTS}, key {UP}_scale.*does not use"),
    "transposed": (set_weight(UP, transposed), rf"{WEIGHTS}, key {UP}.*found \[48, 172\], which is transposed"),
    "NaN": (set_weight(Q_PROJ, poisoned(math.nan)), rf"{WEIGHTS}, key {Q_PROJ}.*found nan at \[0, 7\]"),
    "infinity": (set_weight("model.norm.weight", poisoned(-math.inf)), r"key model\.norm\.weight.*-inf at \[7\]"),
    "missing": (removed(UP), rf"key {UP}.*1 missing"),
    "empty": (set_weight(UP, lambda w: w[:0]), rf"{WEIGHTS}, key {UP}: has no elements"),
    "another head": (headed(torch.ones(VOCABULARY, 48).half()), r"key lm_head\.weight: is said to be the embedding"),
    "untied without a head": (set_key("tie_word_embeddings", False), r"key lm_head\.weight"),
}  # fmt: skip


@pytest.mark.parametrize("fault", LLAMA)
def test_a_transformers_model(tmp_path: Path, fault: str) -> None:
    path = built(tmp_path / "m", "llama")
    change, said = LLAMA[fault]
    change(path)
    assert re.search(said, refused(path, tmp_path))


@pytest.mark.parametrize(("kind", "key"), [("mamba2", IN_PROJ), ("llama", UP)])
def test_what_the_dtype_asked_for_cannot_hold(tmp_path: Path, kind: str, key: str) -> None:
    path = built(tmp_path / "m", kind)
    set_weight(key, lambda w: poisoned(1e30)(w.bfloat16()))(path)
    said = refused(path, tmp_path, dtype="float16")
    assert re.search(rf"{WEIGHTS}, key {key}: has a weight that float16 cannot hold.*e\+30.*--dtype bfloat16", said)


def test_layers_that_share_their_tensors(tmp_path: Path) -> None:
    path = built(tmp_path / "m", "albert")
    set_key("num_hidden_layers", 10**6)(path)
    assert re.search(r"config\.json, key num_hidden_layers.*at most 10000; found 1000000", refused(path, tmp_path))


def test_entries_that_are_no_tensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path = built(tmp_path / "m", "mamba2")
    torch.save({**load_file(path / WEIGHTS), "epoch": 3.5}, path / "pytorch_model.bin")
    (path / WEIGHTS).unlink()
    assert re.search(r"pytorch_model\.bin, key epoch: has an entry that is not a tensor", refused(path, tmp_path))


@pytest.mark.parametrize("kind", ["mamba2", "llama"])
def test_ids_beyond_the_vocabulary(tmp_path: Path, kind: str) -> None:
    """Rows that only pad an embedding are of no token."""
    path, ids = built(tmp_path / "m", kind), tmp_path / "beyond.json"
    ids.write_text(json.dumps([[1, 2, VOCABULARY]]))
    said = refused(path, tmp_path, data=str(ids))
    assert re.search(r"beyond\.json, key \[0\]\[2\].*outside the vocabulary; expected 0 to 299; found 300", said)


@pytest.mark.parametrize("out", ["/proc/out", "/dev/null/out"])
def test_a_checkpoint_that_cannot_be_written(tmp_path: Path, out: str) -> None:
    path = built(tmp_path / "m", "mamba2")
    assert re.search(rf"^{out}: cannot be written", refused(path, tmp_path, out=out))
    assert re.search(rf"^{out}/pa-0\.9-w8a8: cannot be written", refused(path, tmp_path, out=out, alphas=(0.9, 1.0)))


def test_tables_that_cannot_be_written(tmp_path: Path) -> None:
    path = built(tmp_path / "m", "mamba2")
    with pytest.raises(QinspectError, match=r"^/proc/state: cannot be made"):
        work.calibrate(Settings(str(path), device="cpu"), Path("/proc/state"))


@pytest.mark.parametrize("kind", ["mamba2", "llama"])
def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = built(tmp_path / "m", kind)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    said = refused(path, tmp_path, out=str(tmp_path / "out"))
    assert re.search(r"the disk has too little room; expected about \S+ kB of tables and \S+ kB of checkpoints", said)
    assert "found 1 kB free" in said


@pytest.mark.parametrize("kind", ["mamba1", "mamba2", "llama", "bert"])
def test_a_model_that_cannot_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = built(tmp_path / "m", kind)
    monkeypatch.setattr(memory, "host_free", lambda: 100_000)
    said = refused(path, tmp_path, dtype="float32")
    assert re.search(r"does not fit into memory; expected 100 kB at most, as are free on cpu; found \S+ kB", said)
    monkeypatch.setattr(memory, "host_free", lambda: 1000)
    assert "Free memory" in refused(path, tmp_path)


@pytest.mark.parametrize("kind", ["mamba2", "llama"])
def test_a_forward_that_cannot_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = built(tmp_path / "m", kind)
    free = [10**9]
    monkeypatch.setattr(memory, "host_free", free.pop)
    free += [20_000, 10**9]  # the model fits, the forward of two times 20 tokens does not
    said = refused(path, tmp_path, batch=2)
    assert re.search(
        r"forward pass of 2 x 20 tokens does not fit into memory.*found \S+ kB of logits.*--batch 1\.$", said
    )
    free += [9_000, 10**9]
    assert re.search(r"Choose --seq-len below 1\d, and --batch 1\.$", refused(path, tmp_path, batch=2))


def shortage(*_: Any) -> Any:
    """What torch's allocator says where the system gives it no memory."""
    return torch.empty(1 << 60, dtype=torch.int8)


@pytest.mark.parametrize(
    "step", ["load.fold_and_rotate", "load.as_torch", "rotation.hadamard", "folding.hadamard", "mamba.chunked_scan"]
)
def test_memory_that_is_gone_in_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = built(tmp_path / "m", "mamba2")
    monkeypatch.setattr(f"qinspect.inspector.models.{step}", shortage)
    said = refused(path, tmp_path)
    assert re.search(rf"^{path}: the device has too little memory.*1\.15e\+06 TB more|TB more were asked for", said)
    assert re.search(r"Choose .*--seq-len.*--device", said)


def test_memory_that_python_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = built(tmp_path / "m", "mamba2")
    monkeypatch.setattr("qinspect.inspector.models.load.as_torch", lambda _: bytearray(1 << 60))
    assert "the device has too little memory" in refused(path, tmp_path)


def test_the_command_says_it_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "runs"))
    path = built(tmp_path / "m", "llama")
    set_key("num_hidden_layers", 10**6)(path)
    assert main(["calibrate", str(path)]) == 2
    assert "config.json, key num_hidden_layers" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/**/*.json"))
