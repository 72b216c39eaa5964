"""Checkpoints of qinspect's own: read back against torch, beside Quamba's, and damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from native_files import POINTS, QUANTIZED, tensors, written
from safetensors.numpy import load_file, save_file

from qinspect.inspector.apply.plan import check_family
from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.compare.results import Status
from qinspect.inspector.errors import CannotApply, QinspectError
from qinspect.inspector.formats import Format, Kind, format_of

if TYPE_CHECKING:
    from conftest import Quamba


def opened(folder: Path) -> Format:
    return format_of(open_checkpoint(folder))


def by_torch(values: Any, bits: int) -> Any:
    """The value that torch's arithmetic gives each weight."""
    w = torch.from_numpy(values).float()
    parts = []
    for part in torch.split(w, 128 if bits == 4 else w.shape[1], 1):
        s = part.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        parts.append(torch.round(part / s) * s)
    return torch.cat(parts, 1).numpy()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shard_bytes", [1 << 40, 12_000])
def test_dequantized_weights_are_torchs_to_the_bit(tmp_path: Path, bits: int, shard_bytes: int) -> None:
    fmt = opened(written(tmp_path / "out", bits, shard_bytes))
    assert {w.name for w in fmt.weights()} == set(QUANTIZED)
    for weight in fmt.weights():
        expected = by_torch(tensors()[weight.name], bits)
        assert weight.shape == expected.shape
        assert np.array_equal(fmt.dequantize(weight), expected)
        assert np.array_equal(fmt.dequantize(weight, 3, 8), expected[3:8])
        assert fmt.codes(weight, 3, 8).shape == expected[3:8].shape
        assert np.abs(fmt.codes(weight)).max() == 2 ** (bits - 1) - 1


@pytest.mark.parametrize("bits", [8, 4])
def test_records_are_in_forward_order_with_what_made_them(tmp_path: Path, bits: int) -> None:
    fmt = opened(written(tmp_path / "out", bits))
    assert [r.role for r in fmt.scales()] == [
        "layers.0.mixer.in_proj:input",
        "layers.0.mixer.in_proj.weight",
        "layers.0.mixer.x_conv_out:input",
        "layers.0.mixer.out_proj:input",
        "layers.0.mixer.out_proj.weight",
        "lm_head:input",
        "lm_head.weight",
    ]
    points = {r.role: r for r in fmt.scales() if r.kind is Kind.ACTIVATION}
    assert {role: r.alpha_sensitive for role, r in points.items()} == {k: p.alpha_reached for k, p in POINTS.items()}
    for role, point in POINTS.items():
        assert point.rule in points[role].of
        assert np.array_equal(fmt.values(points[role]), np.asarray(point.values, np.float32))
    assert [w.name for w in fmt.weights()] == list(QUANTIZED)
    how = "groups of 128" if bits == 4 else "per channel"
    assert fmt.description == f"qinspect W{bits}A8, {how}, Hadamard rotation"
    assert fmt.notes() == ()
    assert {t.name for t in fmt.other_tensors()} == tensors().keys() - set(QUANTIZED)


def test_it_compares_with_quambas_by_role(tmp_path: Path, quamba: Quamba) -> None:
    theirs = opened(quamba("m1_w8a8_pa0.9995"))
    points = {r.role: r for r in theirs.scales() if r.kind is Kind.ACTIVATION}
    scales = {
        role: PointScale(theirs.values(r) * np.float32(1 + (role == "lm_head:input")), "absmax(|x|)", True)
        for role, r in points.items()
    }
    full = {w.name: theirs.dequantize(w) for w in theirs.weights() if len(w.shape) == 2 and "proj" in w.name}
    ours = opened(written(tmp_path / "out", tensors=full, quantized=full, activation_scales=scales))
    found = compare(theirs, ours, codes=True)
    assert found.copies == ()  # that we keep each scale once is no damage
    assert found.headline.rule != "copies-missing"
    pairs = {p.role: p for p in found.scales}
    assert len(points) > 10
    assert {pairs[role].status for role in points if role != "lm_head:input"} <= {Status.IDENTICAL, Status.EQUAL}
    for w in ours.weights():
        assert pairs[w.role].a is not None
        assert pairs[w.role].b is not None
    # our order of points is theirs, and each weight stands where theirs does
    alone = [f"layers.{i}.mixer.dt_proj.weight" for i in (0, 1)]  # its input has no point of its own in Quamba
    shared = {r.role for r in ours.scales()} - set(alone)
    assert [r.role for r in ours.scales()] == alone + [r.role for r in theirs.scales() if r.role in shared]


def test_the_commands_read_it(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", 4), written(tmp_path / "b", 4, 12_000)
    out = tmp_path / "out.safetensors"

    def qinspect(*words: object) -> str:
        run = "import sys; from qinspect.inspector.cli import main\nsys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", run, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    found = json.loads(qinspect("diff", a, b, "--json"))
    assert found["same"]
    assert found["a"]["family"] == found["b"]["family"] == "qinspect"
    qinspect("dequantize", a, out)
    values = load_file(out)
    assert values.keys() == set(QUANTIZED)
    for key in QUANTIZED:
        assert np.array_equal(values[key], by_torch(tensors()[key], 4))
    assert "quantile(|x|, 0.9995, linear)" in qinspect("show", a, "layers.0.mixer.x_conv_out:input")


def test_without_config_json_the_metadata_tells(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", 4)
    (folder / "config.json").unlink()
    fmt = opened(folder)
    assert fmt.description == "qinspect W4A8, groups of 128, Hadamard rotation"
    assert fmt.notes() == ("config.json has no quantization_config: read from the file's metadata",)


Change = Callable[[dict[str, Any]], object]


def damaged(folder: Path, change: Change) -> Format:
    """A checkpoint whose config.json is changed."""
    config = json.loads((written(folder) / "config.json").read_text())
    change(config["quantization_config"])
    (folder / "config.json").write_text(json.dumps(config))
    return opened(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda q: q.update(format_version=2), "format_version: the settings are not as this version writes them"),
        (lambda q: q.pop("weights"), "quantization_config.weights"),
        (lambda q: q["weights"].update(bits=True), "expected 8 or 4; found True"),
        (lambda q: q["weights"].update(bits=[8]), "expected 8 or 4; found a list of 1"),
        (lambda q: q["weights"].update(bits=4, group_size=0), "expected a size from 1; found 0"),
        (lambda q: q["weights"].update(bits=4, group_size=128), "expected uint8 [600, 19]; found int8 [600, 37]"),
        (lambda q: q["activations"].pop("bits"), "bits and a list of points"),
        (lambda q: q["activations"].update(points=[{"key": 1}]), "objects of key, rule and alpha_reached"),
    ],
)
def test_settings_that_contradict_the_tensors_are_refused(tmp_path: Path, change: Change, words: str) -> None:
    fmt = damaged(tmp_path / "out", change)
    assert fmt.family == "plain"
    (note,) = fmt.notes()
    assert note.startswith("looks like qinspect, but ")
    assert words in note


@pytest.mark.parametrize(
    ("change", "words", "n_left"),
    [
        (lambda q: q["weights"]["tensors"].update({"gone.weight": [1, 2]}), "expected int8 [1, 2]; found nothing", 3),
        (lambda q: q["weights"]["tensors"].update({QUANTIZED[0]: [600, -1]}), "expected two sizes, [out, in]", 2),
        (lambda q: q["weights"]["tensors"].update({QUANTIZED[0]: "x"}), "expected two sizes, [out, in]", 2),
        (lambda q: q["weights"]["tensors"].update({QUANTIZED[0]: [37, 600]}), "does not fit a weight of 8 bits", 2),
    ],
)
def test_one_damaged_weight_leaves_the_others(tmp_path: Path, change: Change, words: str, n_left: int) -> None:
    fmt = damaged(tmp_path / "out", change)
    assert fmt.family == "qinspect"
    assert len(fmt.weights()) == n_left
    (problem,) = fmt.problems()
    assert words in str(problem.error)
    assert any("1 module does not fit" in note and words in note for note in fmt.notes())
    expected = {w.name: by_torch(tensors()[w.name], 8) for w in fmt.weights()}
    for weight in fmt.weights():
        assert np.array_equal(fmt.dequantize(weight), expected[weight.name])
    left_out = set(QUANTIZED) - expected.keys()
    assert left_out <= {t.name for t in fmt.other_tensors()}
    with pytest.raises(CannotApply, match="has a module that is not understood"):
        check_family(fmt)
    sound = opened(written(tmp_path / "sound"))
    statuses = {p.role: p.status for p in compare(sound, fmt, codes=True).weights}
    assert {statuses[w.role] for w in fmt.weights()} == {Status.IDENTICAL}


def test_a_point_without_its_scale_is_a_note(tmp_path: Path) -> None:
    absent = {"key": "gone:input", "rule": "", "alpha_reached": None}
    fmt = damaged(tmp_path / "out", lambda q: q["activations"]["points"].append(absent))
    assert fmt.family == "qinspect"
    assert fmt.notes() == (
        "config.json and the file's metadata name different settings: config.json is believed",
        "1 of 5 points have no scale in the file, gone:input first",
    )


@pytest.mark.parametrize("raw", ["", "[" * 100_000, "null", "[]", '{"quantization_config": 1}', "\ud800"])
def test_metadata_that_is_none_is_refused(tmp_path: Path, raw: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"w": np.ones(1, np.float32)}, path, {"qinspect": raw.encode(errors="replace").decode()})
    fmt = opened(path)
    assert fmt.family == "plain"
    assert "looks like qinspect" in fmt.notes()[0]


def test_another_method_is_not_ours(tmp_path: Path) -> None:
    assert damaged(tmp_path / "out", lambda q: q.update(quant_method="gptq")).family == "plain"


def test_a_scale_that_is_not_finite_is_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "out", 8)
    state = load_file(folder / "model.safetensors")
    state[QUANTIZED[0] + "_scale"][0] = np.nan
    config = (folder / "config.json").read_bytes()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_bytes(config)
    fmt = opened(folder)
    assert np.isnan(fmt.dequantize(fmt.weights()[0])[0]).all()


def test_a_file_that_became_shorter_is_one_error(tmp_path: Path) -> None:
    fmt = opened(written(tmp_path / "out", 8))
    file = tmp_path / "out" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(QinspectError, match="shorter"):
        fmt.dequantize(fmt.weights()[0])
