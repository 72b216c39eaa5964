"""What cannot be applied: one clear line, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from apply_cases import WEIGHTS, Apply
from hostile import global_, safetensors_bytes, state_dict, torch_zip
from quamba_files import load_state, save_state
from whence_cases import calibration, streams

from qinspect.inspector.cli import main

if TYPE_CHECKING:
    from apply.conftest import Own
    from conftest import Quamba, Run

A, B = "m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"
MIXER = "backbone.layers.0.mixer."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "neither an alpha nor a rule without one is given. Give --alpha A."),
        (("--alpha", "1.5"), "--alpha is a fraction; expected a number from 0 to 1; found 1.5"),
        (("--alpha", "nan"), "--alpha is a fraction"),
        (("--points", "*=x"), "--points *=x is not a number; expected GLOB=ALPHA with an alpha from 0 to 1; found x"),
        (("--points", "*=2"), "the alpha of --points *=2 is a fraction; expected a number from 0 to 1; found 2.0"),
        (("--points", "*"), "no alpha is given for the points *"),
        (("--rule", "mse", "--alpha", "0.9"), "the rule mse has no alpha"),
        (("--rule", "absmax", "--points", "*=0.9"), "the rule absmax has no alpha"),
        (("--alpha", "0.9", "--points", "nothing"), "key nothing: no observation point of the run matches"),
        (("--alpha", "0.9", "--points", "*.z_act:input"), "alpha reaches none of the 8 points: the recipe quamba"),
        (("--alpha", "0.9", "--rule", "median"), "median"),
    ],
)  # fmt: skip
def test_a_request_that_reaches_nothing(
    apply: Apply, own: Own, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in apply.refused(tmp_path / "new", own.run, *words, "--to", own.of(0.98))


def test_neither_or_both_of_run_and_checkpoint(apply: Apply, own: Own, tmp_path: Path) -> None:
    out, to = tmp_path / "new", ("--to", own.of(0.98))
    assert "Give RUN, or --scales-from" in apply.refused(out, "--alpha", "0.9", *to)
    assert "Give RUN, or --scales-from" in apply.refused(out, own.run, "--scales-from", own.of(0.999), *to)
    assert "without alpha or rule" in apply.refused(out, "--scales-from", own.of(0.999), "--alpha", "0.9", *to)


def test_a_dry_run_says_the_same_and_writes_nothing(apply: Apply, own: Own, tmp_path: Path) -> None:
    out = tmp_path / "new"
    words = (own.run, "--alpha", "0.9", "--to", own.of(0.98), "--out", out)
    found = apply.json(*words, "--dry-run")
    assert not any(tmp_path.iterdir())
    assert found["dry_run"] is True
    assert "a dry run, nothing is written" in " ".join(apply(*words, "--dry-run")[0].split())
    done = apply.json(*words)
    assert found["replaced"] == done["replaced"]
    assert "already exists" in apply(*words, "--dry-run", code=2)[1]


def test_min_max_has_no_alpha(apply: Apply, own: Own, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(own.run, run)
    record = json.loads((run / "calibration.json").read_text())
    for recipe, why in (("quamba-group-heads", "group heads use min-max"), ("minmax", "min-max has none")):
        record["settings"]["recipe"] = recipe
        (run / "calibration.json").write_text(json.dumps(record))
        said = apply.refused(tmp_path / "new", run, "--alpha", "0.9", "--to", own.of(0.98))
        assert f"alpha 0.9 reached 0 of 114 points: {why}" in said
        assert "Give --rule" in said


def test_head_groups_are_refused_with_the_reason(apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path) -> None:
    out = tmp_path / "new"
    to = ("--to", quamba("m2_w4a8_gh_pa0.9995"))
    said = apply.refused(out, run_of("base_mamba2"), "--alpha", "0.9999", *to)
    assert "layers.0.mixer.conv1d.x_out_scales" in said
    assert "one scale for each of 16 groups, made by min-max: alpha does not reach it" in said
    said = apply.refused(out, "--scales-from", quamba("m2_w4a8_gh_perm"), *to)
    assert "whose order is not stored" in said


def test_no_activation_scale_at_all(apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path) -> None:
    said = apply.refused(tmp_path / "new", run_of("base_mamba2"), "--alpha", "0.9", "--to", quamba("m2_w4a16"))
    assert "the checkpoint has no scale of this point" in said


def test_a_format_whose_copies_are_not_known(apply: Apply, own: Own, tmp_path: Path, plain: Any) -> None:
    """Scales that are paired by name alone."""
    path = plain("other.safetensors", {"a.weight": np.ones((2, 2), np.int8), "a.weight_scale": np.float32(1)})
    said = apply.refused(tmp_path / "new", own.run, "--alpha", "0.9", "--to", path)
    assert "where copies of a scale are stored is not known for this format" in said


def test_another_model(apply: Apply, own: Own, quamba: Quamba, run_of: Run, tmp_path: Path) -> None:
    out = tmp_path / "new"
    said = apply.refused(out, run_of("base_mamba2"), "--alpha", "0.9", "--to", quamba(A))
    assert "belong to no point of the run" in said
    said = apply.refused(out, "--scales-from", quamba("m2_w8a8_pa0.9995"), "--to", quamba(A))
    assert "have no scale here; expected a checkpoint of the same model" in said
    run = tmp_path / "run"
    shutil.copytree(own.run, run)
    record = json.loads((run / "calibration.json").read_text())
    record["decides"]["model"] = "0" * 64
    (run / "calibration.json").write_text(json.dumps(record))
    said = apply.refused(out, run, "--alpha", "0.9", "--to", own.of(0.98))
    assert "key provenance.effective.model_sha256: was made from another model; expected 0000" in said


def test_a_run_in_another_space(apply: Apply, own: Own, tmp_path: Path) -> None:
    """Without the Hadamard rotation some points see other values."""
    run = tmp_path / "run"
    shutil.copytree(own.run, run)
    record = json.loads((run / "calibration.json").read_text())
    record["decides"]["rotated"] = False
    (run / "calibration.json").write_text(json.dumps(record))
    said = apply.refused(tmp_path / "new", run, "--alpha", "0.9", "--to", own.of(0.98))
    assert "another space than the checkpoint's; expected in Hadamard space; found not rotated" in said


def test_other_data_are_warned_of(apply: Apply, tmp_path: Path) -> None:
    from whence_cases import checkpoint, ema, largest, name, scales_of

    ours, theirs = streams(21, 6, 8, "float16"), streams(22, 6, 8, "float16")
    extra = {f"layers.9.mixer.{x}:input": p for p, x in enumerate(("in_proj", "out_proj"))}
    calibration(tmp_path / "run", {**ours, **{n: ours[name(p)] for n, p in extra.items()}}).close()
    references = scales_of({n: theirs[name(p)] for n, p in extra.items()}, largest, 1.0)
    checkpoint(tmp_path / "c", scales_of(theirs, ema, 0.99), references)
    found = apply.json(tmp_path / "run", "--alpha", "0.99", "--to", tmp_path / "c", "--out", tmp_path / "new")
    (warning,) = found["warnings"]
    assert warning.startswith("0 of 2 scales that no alpha reaches equal")
    assert "the run used other data, or another model" in warning


def test_a_run_without_tables_of_samples(apply: Apply, tmp_path: Path) -> None:
    from whence_cases import checkpoint, ema, scales_of

    seen = streams(31, 4, 8, "float16")
    calibration(tmp_path / "run", seen, keep_samples=False).close()
    checkpoint(tmp_path / "c", scales_of(seen, ema, 0.99))
    words = (tmp_path / "run", "--alpha", "0.99", "--to", tmp_path / "c")
    said = apply.refused(tmp_path / "new", *words)
    assert "the rule takes a table of each sample, and the run kept only their sum" in said
    assert "--rule pooled" in said
    apply(*words, "--rule", "pooled", "--out", tmp_path / "new")


def test_copies_that_disagree_beforehand(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    state, config = load_state(A)
    state[MIXER + "selective_scan.u_scale"] = torch.tensor(0.5)
    broken = save_state(tmp_path / "broken", state, config)
    said = apply.refused(tmp_path / "new", "--scales-from", quamba(B), "--to", broken)
    assert f"key {MIXER}selective_scan.u_scale: copies of the scale of layers.0.mixer.x_proj:input disagree" in said


def test_a_product_of_an_output_scale_is_looked_at_too(
    apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path
) -> None:
    """in_proj.a is the input scale divided by conv1d.input_scale, a scale of another point."""
    state, config = load_state(A)
    words = ("--rule", "pooled", "--points", "layers.0.*.in_proj:output=0.99")
    good, broken = save_state(tmp_path / "good", state, config), tmp_path / "broken"
    found = apply.json(run_of("base_mamba1"), *words, "--to", good, "--out", tmp_path / "made")
    names = ("conv1d.input_scale", "selective_scan.z_scale", "in_proj.a", "in_proj.alpha")
    assert [r["entries"] for r in found["replaced"]] == [[MIXER + n for n in names]]
    made = torch.load(tmp_path / "made" / WEIGHTS, map_location="cpu", weights_only=True)
    s_in, s_out = (torch.tensor(made[n]) for n in ("backbone.layers.0.norm.output_scale", MIXER + "conv1d.input_scale"))
    assert made[MIXER + "in_proj.a"].item() == (s_in / s_out).item()
    assert made[MIXER + "in_proj.alpha"] == (state[MIXER + "in_proj.b"] * s_in / s_out).item()

    state[MIXER + "in_proj.a"] = state[MIXER + "in_proj.a"] * 2
    save_state(broken, state, config)
    said = apply.refused(tmp_path / "new", run_of("base_mamba1"), *words, "--to", broken)
    assert f"key {MIXER}in_proj.a: copies of the scale of layers.0.mixer.in_proj:input disagree" in said


def test_a_missing_key(apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path) -> None:
    state, config = load_state(A)
    del state[MIXER + "selective_scan.ssm_state_scale"]
    broken = save_state(tmp_path / "broken", state, config)
    said = apply.refused(tmp_path / "new", run_of("base_mamba1"), "--alpha", "0.9", "--to", broken)
    assert "key layers.0.mixer.ssm_state_act:input: the checkpoint has no scale of this point" in said


def test_an_output_scale_that_weights_are_divided_by(apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path) -> None:
    """In W4A8 it is a part of every stored channel scale."""
    said = apply.refused(
        tmp_path / "new", run_of("base_mamba2"), "--rule", "pooled", "--points", "*.z_act:input=0.9",
        "--to", quamba("m2_w8a8_pa0.9995"),
    )  # fmt: skip
    assert f"key {MIXER}norm.z_scale: is an output scale that the stored scales of weights are divided by" in said
    assert f"found it divided into {MIXER}in_proj.b" in said


@pytest.mark.parametrize("how", ["tied", "integer", "text"])
def test_a_number_that_cannot_be_replaced_where_it_stands(
    apply: Apply, quamba: Quamba, tmp_path: Path, how: str
) -> None:
    state, config = load_state(A)
    key = MIXER + "conv1d.output_scale"
    if how == "tied":  # one storage under two names, of which one has to stay
        key = "another.name"
        state[key] = state[MIXER + "selective_scan.ssm_state_scale"]
    elif how == "integer":
        for name in ("conv1d.output_scale", "selective_scan.u_scale", "x_proj.a", "x_proj.alpha"):
            old = np.float32(state[MIXER + "conv1d.output_scale"]) if name != "conv1d.output_scale" else None
            state[MIXER + name] = 1 if old is None else state[MIXER + name]
        scale, s_out, s_w = 1.0, state[MIXER + "selective_scan.B_scale"], state[MIXER + "x_proj.b"]
        state[MIXER + "selective_scan.u_scale"] = torch.tensor(scale)
        state[MIXER + "x_proj.a"] = torch.tensor(scale) / s_out.reshape(1, 1)
        state[MIXER + "x_proj.alpha"] = (s_w * scale / s_out).item()
    odd = save_state(tmp_path / "odd", state, config)
    if how == "text":
        torch.save(state, odd / WEIGHTS, _use_new_zipfile_serialization=False)
    said = apply.refused(tmp_path / "new", "--scales-from", quamba(B), "--to", odd)
    assert {
        "tied": f"key {key}: is at the same place as a scale",
        "integer": f"key {key}: is not a float of eight bytes; found 1",
        "text": "numbers outside of tensors can be replaced in torch's zip files only",
    }[how] in said


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"quantization_config": {"activations": {"points": [1]}}}'])
def test_metadata_that_cannot_be_kept_true(apply: Apply, own: Own, tmp_path: Path, text: str) -> None:
    """config.json is believed; the copy in the file is damaged."""
    folder = tmp_path / "c"
    shutil.copytree(own.of(0.98), folder)
    raw = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header["__metadata__"]["qinspect"] = text
    (folder / "model.safetensors").write_bytes(safetensors_bytes(header, raw[start:]))
    said = apply.refused(tmp_path / "new", own.run, "--alpha", "0.9", "--to", folder)
    assert "key qinspect: does not describe the checkpoint as this version does" in said


def test_a_hostile_pickle(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    torch_zip(evil / WEIGHTS, state_dict(w=global_("os", "system") + b")R"))
    said = apply.refused(tmp_path / "new", "--scales-from", quamba(B), "--to", evil)
    assert "this file would run os.system when loaded" in said


def test_a_damaged_archive(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    """One bit of a patched member is not as its checksum says."""
    folder = tmp_path / "damaged"
    shutil.copytree(quamba(A), folder)
    raw = bytearray((folder / WEIGHTS).read_bytes())
    (state, _) = load_state(A)
    at = bytes(raw).index(struct.pack("<f", state[MIXER + "selective_scan.ssm_state_scale"].item()))
    raw[at] ^= 1
    (folder / WEIGHTS).write_bytes(raw)
    said = apply.refused(tmp_path / "new", "--scales-from", quamba(B), "--to", folder)
    assert "the checksum of a member is not that of its bytes" in said


def test_places_that_cannot_be_written(apply: Apply, own: Own, tmp_path: Path) -> None:
    words = (own.run, "--alpha", "0.9", "--to", own.of(0.98))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "already exists" in apply.refused(tmp_path / "full", *words)
    assert "already exists" in apply.refused(own.of(0.98), *words)  # the checkpoint itself
    assert "its parent folder does not exist" in apply.refused(tmp_path / "no" / "new", *words)
    assert (tmp_path / "full" / "file").exists()


def test_a_full_disk(apply: Apply, own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sync says that nothing more goes there."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = apply.refused(tmp_path / "new", own.run, "--alpha", "0.9", "--to", own.of(0.98))
    assert "new: cannot be written: No space left on device" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted(own: Own, tmp_path: Path, number: int) -> None:
    """While it writes: the program sends the signal to itself at its first report of progress."""
    program = (
        "import os, sys\nfrom qinspect.inspector import printing\nfrom qinspect.inspector.cli import main\n"
        "def interrupted(self, phase, done, total):\n"
        f"    phase == 'writing' and os.kill(os.getpid(), {int(number)})\n"
        "printing.Meter.__call__ = interrupted\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ("apply", own.run, "--alpha", "0.9", "--to", own.of(0.98), "--out", tmp_path / "new")
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (130, "qinspect: interrupted\n")
    assert not any(tmp_path.iterdir())


def test_a_source_that_changes_meanwhile(
    apply: Apply, quamba: Quamba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qinspect.inspector.checkpoint.file import File

    monkeypatch.setattr(File, "changed", lambda self: True)
    said = apply.refused(tmp_path / "new", "--scales-from", quamba(B), "--to", quamba(A))
    assert "the file changed while it was copied" in said


def test_neither_torch_nor_a_screen_is_imported(own: Own, tmp_path: Path) -> None:
    program = (
        "import sys; from qinspect.inspector.cli import main\n"
        "assert main(sys.argv[1:]) == 0; print(sorted({'torch', 'textual', 'transformers'} & set(sys.modules)))"
    )
    words = ("apply", own.run, "--alpha", "0.9", "--to", own.of(0.98), "--out", tmp_path / "new")
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("--alpha", "--rule", "--points", "--scales-from", "--to", "--out", "--dry-run", "--json"):
        assert option in said


@pytest.mark.parametrize("nested", ["[" * 700 + "]" * 700, '{"x":' * 700 + "1" + "}" * 700])
def test_a_description_nested_too_deeply_to_be_copied(apply: Apply, own: Own, tmp_path: Path, nested: str) -> None:
    """A reader of JSON goes deeper than what copies and writes it."""
    source = tmp_path / "source"
    shutil.copytree(own.of(0.98), source)
    text = (source / "config.json").read_text()
    (source / "config.json").write_text(text.replace('"provenance": {', f'"provenance": {{"x": {nested},', 1))
    said = apply.refused(tmp_path / "new", own.run, "--alpha", "0.9", "--to", source)
    assert "config.json: does not describe the checkpoint as this version does" in said
