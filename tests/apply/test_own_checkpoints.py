"""Checkpoints of qinspect's own: what a calibration would have written, without it."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from apply_cases import Apply, changed, data_of, entries, header_of
from commands import Command
from native_files import written
from quamba_files import load_state

from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.cli import main

if TYPE_CHECKING:
    from apply.conftest import Own
    from conftest import Quamba

FILE = "model.safetensors"


def without_applied(described: dict[str, Any]) -> dict[str, Any]:
    del described["provenance"]["applied"]
    return described


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8"])
def test_the_second_alpha_gives_the_second_checkpoint(apply: Apply, own: Own, tmp_path: Path, scheme: str) -> None:
    source, expected, out = own.of(0.98, scheme), own.of(0.999, scheme), tmp_path / "new"
    found = apply.json(own.run, "--alpha", "0.999", "--to", source, "--out", out)
    assert data_of(out / FILE) == data_of(expected / FILE)  # every scale and every weight, to the bit
    assert changed(entries(source), entries(out)) == {r["key"] for r in found["replaced"]}
    assert len(found["replaced"]) == 16
    ours, theirs = header_of(out / FILE), header_of(expected / FILE)
    described, calibrated = ours["__metadata__"].pop("qinspect"), theirs["__metadata__"].pop("qinspect")
    assert ours == theirs
    assert described["quantization_config"] == calibrated["quantization_config"]
    config = json.loads((out / "config.json").read_text())
    assert config["provenance"] == described["provenance"]
    assert config["provenance"]["effective"] == calibrated["provenance"]["effective"]
    (entry,) = config["provenance"]["applied"]
    assert (entry["alpha"], entry["run"], entry["recipe"]) == (0.999, str(own.run), "quamba")
    assert [(r["point"], r["was"], r["now"]) for r in entry["replaced"]] == [
        (r["point"], r["was"], r["now"]) for r in found["replaced"]
    ]
    assert entry["source"][0]["sha256"] == found["files"][0]["sha256_before"]


def test_the_alpha_of_the_checkpoint_changes_nothing(apply: Apply, own: Own, tmp_path: Path) -> None:
    source, out = own.of(0.98), tmp_path / "new"
    found = apply.json(own.run, "--alpha", "0.98", "--to", source, "--out", out)
    assert (found["replaced"], len(found["unchanged"]), found["bytes_changed"]) == ([], 16, 0)
    assert found["outcome"].startswith("Nothing changes")
    assert data_of(out / FILE) == data_of(source / FILE)
    before, after = header_of(source / FILE), header_of(out / FILE)
    described = after["__metadata__"]["qinspect"]
    assert len(described["provenance"]["applied"]) == 1
    without_applied(described)
    assert after == before  # the entry is all that the file has more
    config = without_applied(json.loads((out / "config.json").read_text()))
    assert config == json.loads((source / "config.json").read_text())


def test_twice_is_once_and_there_and_back_is_nothing(apply: Apply, own: Own, tmp_path: Path) -> None:
    source = own.of(0.98)
    for name, alpha, of in (
        ("once", "0.9", source),
        ("twice", "0.9", tmp_path / "once"),
        ("back", "0.98", tmp_path / "twice"),
    ):
        apply(own.run, "--alpha", alpha, "--to", of, "--out", tmp_path / name)
    assert data_of(tmp_path / "once" / FILE) == data_of(tmp_path / "twice" / FILE) != data_of(source / FILE)
    assert data_of(tmp_path / "back" / FILE) == data_of(source / FILE)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert [a["alpha"] for a in config["provenance"]["applied"]] == [0.9, 0.9, 0.98]
    assert without_applied(config) == json.loads((source / "config.json").read_text())


def test_shards(apply: Apply, tmp_path: Path) -> None:
    """Each file is patched by itself; the index is copied, that of other weights is not."""
    point = "layers.0.mixer.in_proj:input"
    a, b = (
        written(
            tmp_path / name,
            shard_bytes=20_000,
            activation_scales={point: PointScale(scale, rule, True), "lm_head:input": PointScale(0.5, "x", False)},
        )
        for name, scale, rule in (("a", 0.02, "hidden"), ("b", 0.03, "other"))
    )
    assert len(list(a.glob("*.safetensors"))) > 1
    index, other = "model.safetensors.index.json", "pytorch_model.bin.index.json"
    (a / other).write_text('{"weight_map": {"w": "pytorch_model.bin"}}')
    found = apply.json("--scales-from", b, "--to", a, "--out", tmp_path / "c")
    assert entries(tmp_path / "c") == entries(b)
    assert (tmp_path / "c" / index).read_bytes() == (a / index).read_bytes()
    assert found["not_copied"] == [other]
    settings = [json.loads((f / "config.json").read_text())["quantization_config"] for f in (tmp_path / "c", b)]
    assert settings[0] == settings[1]


def test_shards_of_torch(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    """One file, named by an index: the checksums are those of the file."""
    a, b = tmp_path / "a", quamba("m1_w8a8_pa0.99999")
    state, config = load_state("m1_w8a8_pa0.9995")
    a.mkdir()
    weight_map: dict[str, str] = {}
    for i, part in enumerate(("layers.0", "")):
        name = f"pytorch_model-{i + 1:05}-of-00002.bin"
        chosen = {k: v for k, v in state.items() if k not in weight_map and part in k}
        torch.save(chosen, a / name)
        weight_map |= dict.fromkeys(chosen, name)
    (a / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (a / "config.json").write_text(json.dumps(config))
    apply("--scales-from", b, "--to", a, "--out", tmp_path / "c")
    assert entries(tmp_path / "c") == entries(b)
    for name in set(weight_map.values()):
        assert zipfile.ZipFile(tmp_path / "c" / name).testzip() is None


def test_a_model_whose_names_have_a_root(apply: Apply, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`model.layers.0...` in the run, `layers.0...` as a role."""
    from small_models import saved_ids, saved_model

    from qinspect.inspector.calibrate.work import calibrate
    from qinspect.inspector.calibration.settings import Settings

    model, ids = saved_model(tmp_path / "llama", "llama"), saved_ids(tmp_path / "ids.json", [30] * 3)
    made = Settings(str(model), data=str(ids), device="cpu", alphas=(0.9, 0.99), out=str(tmp_path / "out"))
    calibrate(made, tmp_path / "run")
    source, expected, out = tmp_path / "out" / "pa-0.9-w8a8", tmp_path / "out" / "pa-0.99-w8a8", tmp_path / "new"
    found = apply.json(tmp_path / "run", "--alpha", "0.99", "--to", source, "--out", out)
    assert len(found["replaced"]) == 15
    assert data_of(out / FILE) == data_of(expected / FILE)
    configs = [json.loads((f / "config.json").read_text()) for f in (out, expected)]
    assert configs[0]["quantization_config"] == configs[1]["quantization_config"]
    assert configs[0]["provenance"]["effective"] == configs[1]["provenance"]["effective"]
    assert main(["whence", str(out), "--run", str(tmp_path / "run"), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert verdict["rule"].startswith("pooled")
    assert verdict["alpha"][0] <= 0.99 <= verdict["alpha"][1]


def test_afterwards_diff_and_whence_say_what_was_done(
    apply: Apply, own: Own, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    apply(own.run, "--alpha", "0.99", "--to", own.of(0.98), "--out", out)
    assert main(["diff", str(own.of(0.98)), str(out), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"]["rule"] == "alpha-signature"
    assert {s["role"].rpartition(".")[2] for s in found["scales"]} == {"x_conv_out:input", "ssm_state_act:input"}
    assert main(["whence", str(out), "--run", str(own.run), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["kind"], verdict["rule"], verdict["tolerance"]) == ("recovered", "ema", 0.0)
    low, high = verdict["alpha"]
    assert low <= np.float32(0.99) <= high
    assert high - low < 1e-6


def test_a_rule_and_points_of_ones_own(apply: Apply, own: Own, tmp_path: Path) -> None:
    """The pooled quantile of numpy's rank, at some points an alpha of their own, others left."""
    words = (
        "--rule",
        "pooled",
        "--points",
        "layers.0.*conv_out:input=0.9",
        "--points",
        "layers.1.*state_act:input",
    )
    found = apply.json(own.run, "--alpha", "0.99", *words, "--to", own.of(0.98), "--out", tmp_path / "new")
    made = {r["point"]: (r["alpha"], r["rule"].partition(" ∘ ")[0]) for r in found["replaced"]}
    assert made == {
        "layers.0.mixer.B_conv_out:input": (0.9, "quantile(|x|, 0.9, linear, float64 rank)"),
        "layers.0.mixer.C_conv_out:input": (0.9, "quantile(|x|, 0.9, linear, float64 rank)"),
        "layers.0.mixer.x_conv_out:input": (0.9, "quantile(|x|, 0.9, linear, float64 rank)"),
        "layers.1.mixer.ssm_state_act:input": (0.99, "quantile(|x|, 0.99, linear, float64 rank)"),
    }
    settings = json.loads((tmp_path / "new" / "config.json").read_text())["quantization_config"]
    reached = {p["key"]: p["alpha_reached"] for p in settings["activations"]["points"]}
    assert reached["backbone.layers.0.mixer.B_conv_out:input"] is True
    assert sum(reached.values()) == 16 + 2


@pytest.mark.parametrize("rule", ["mse", "entropy", "absmax"])
def test_rules_without_alpha(apply: Apply, own: Own, tmp_path: Path, rule: str) -> None:
    from qinspect.inspector.calibration.stored import Calibration
    from qinspect.inspector.distribution import entropy_optimal_scale, mse_optimal_scale

    found = apply.json(
        own.run, "--rule", rule, "--points", "*.ssm_state_act:input", "--to", own.of(0.98), "--out", tmp_path / "new"
    )
    assert len(found["replaced"]) == 8
    calibration = Calibration(own.run)
    for r in found["replaced"]:
        table = calibration.pooled(r["point"])
        w_max = {
            "mse": mse_optimal_scale(table, 8, "half-even").w_max,
            "entropy": entropy_optimal_scale(table, 8, 2048).w_max,
            "absmax": table.absmax,
        }[rule]
        assert r["now"] == pytest.approx(float(w_max) / 127, rel=1e-3)  # absmax keeps the dtype of the values
        assert r["alpha"] is None
    calibration.close()


def test_alphas_of_points_are_what_the_checkpoint_is_said_to_have(
    apply: Apply, own: Own, tmp_path: Path, capsys: pytest.CaptureFixture[str], source_root: Path
) -> None:
    """Some scales go up and others down, as the alpha of each asks: that is no other setting, and no edited file."""
    source, out = own.of(0.98), tmp_path / "new"
    apply.json(
        own.run, "--points", "*.ssm_state_act:input=1", "--points", "*.[0-3].*.x_conv_out:input=0.9", "--to", source,
        "--out", out,
    )  # fmt: skip
    explain = Command("explain", capsys, source_root)
    found = explain.json(source, out, "--run", own.run)
    assert found["answer"]["rule"] == "effective"
    assert "each point by its own" in found["answer"]["text"]
    assert "mixed-signs" not in {r["rule"] for r in found["evidence"]}
    assert [(s["a"], s["b"]) for s in found["declared"]] == [("0.98", "3 alphas, 0.9 .. 1")]
    assert [c["holds"] for c in found["claims"]] == [True, True]
    assert "each of its scales at its alpha, to the bit" in found["claims"][1]["says"]

    back = tmp_path / "back"  # its scales are those of before
    shutil.copytree(out, back)
    shutil.copy(source / FILE, back / FILE)
    assert [c["holds"] for c in explain.json(source, back, "--run", own.run)["claims"]] == [True, None]
    lowered = explain.json(back, out, "--run", own.run)
    assert lowered["answer"]["rule"] == "not-as-declared"
    assert "do not go as theirs ask" in lowered["answer"]["text"]


def test_a_rule_without_alpha_leaves_none_declared(
    apply: Apply, own: Own, tmp_path: Path, capsys: pytest.CaptureFixture[str], source_root: Path
) -> None:
    source, out = own.of(0.98), tmp_path / "new"
    apply.json(own.run, "--rule", "mse", "--to", source, "--out", out)
    found = Command("explain", capsys, source_root).json(source, out, "--run", own.run)
    assert [(s["a"], s["b"]) for s in found["declared"]] == [("0.98", None)]
    assert found["claims"][1]["declared"] is None
