"""Quamba's own `.bin` files: what another calibration by Quamba would have written, to the last byte of the file."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from apply_cases import WEIGHTS, Apply, changed, entries, loaded, scale
from hypothesis import given, settings
from hypothesis import strategies as st
from quamba_files import folder_of, load_state, save_state

from qinspect.inspector.apply import Target, plan_of, write
from qinspect.inspector.apply.entry import Origin
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.cli import main
from qinspect.inspector.formats import format_of
from qinspect.inspector.provenance import Declared, declared_alpha

if TYPE_CHECKING:
    from conftest import Quamba, Run

A, B = "m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"
SENSITIVE = ("x_proj:input", "ssm_state_act:input")


def mixer(layer: int, name: str) -> str:
    return f"backbone.layers.{layer}.mixer.{name}"


IN_PLACES = {
    mixer(layer, name)
    for layer in (0, 1)
    for name in (
        "conv1d.output_scale", "selective_scan.u_scale", "x_proj.a", "x_proj.alpha", "selective_scan.ssm_state_scale"
    )
}  # fmt: skip
"""Every entry that the two alpha-sensitive scales of a layer of Mamba1 W8A8 have a part in."""


def test_the_scales_of_one_of_quambas_files_make_the_other(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    """Byte for byte what Quamba wrote at the other alpha: entries, checksums, torch's own number of the file."""
    out = tmp_path / "new"
    found = apply.json("--scales-from", quamba(B), "--to", quamba(A), "--out", out)
    assert {r["point"].rpartition(".")[2] for r in found["replaced"]} == set(SENSITIVE)
    assert {key for r in found["replaced"] for key in r["entries"]} == IN_PLACES
    assert (out / WEIGHTS).read_bytes() == (quamba(B) / WEIGHTS).read_bytes()
    assert (out / "config.json").read_bytes() == (quamba(A) / "config.json").read_bytes()
    assert entries(out) == entries(quamba(B))
    assert loaded(out) == loaded(quamba(B))
    assert changed(entries(quamba(A)), entries(out)) == IN_PLACES
    assert zipfile.ZipFile(out / WEIGHTS).testzip() is None


def test_a_run_gives_the_same_within_the_rounding_of_its_forward(
    apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path
) -> None:
    """The run is ours, the file Quamba's: their forwards differ in the last bits of a float16, its scales by 0.2 %."""
    out = tmp_path / "new"
    found = apply.json(run_of("base_mamba1"), "--alpha", "0.99999", "--to", quamba(A), "--out", out)
    assert len(found["replaced"]) == 4
    assert found["warnings"] == []
    before, after, theirs = loaded(quamba(A)), loaded(out), loaded(quamba(B))
    assert changed(before, after) == IN_PLACES
    numbers = (torch.load(p / WEIGHTS, map_location="cpu", weights_only=True) for p in (out, quamba(B)))
    ours, quambas = ({k: np.float64(v) for k, v in state.items() if k in IN_PLACES} for state in numbers)
    for key in IN_PLACES:
        assert ours[key] == pytest.approx(quambas[key], rel=2e-3)
    assert {k for k in before if after[k] != theirs[k]} <= IN_PLACES
    assert zipfile.ZipFile(out / WEIGHTS).testzip() is None


def test_plain_mamba2(apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path) -> None:
    source, out = quamba("m2_w8a8_pa0.9995"), tmp_path / "new"
    found = apply.json(run_of("base_mamba2"), "--alpha", "0.99", "--to", source, "--out", out)
    assert [r["point"].rpartition(".")[2] for r in found["replaced"]] == ["x_conv_out:input", "ssm_state_act:input"] * 2
    places = {
        mixer(layer, name)
        for layer in (0, 1)
        for name in ("conv1d.x_out_scales", "qchunk_scan.x_scales", "qchunk_scan.ssm_state_scale")
    }
    assert changed(loaded(source), loaded(out)) == places
    for layer in (0, 1):
        assert scale(out, mixer(layer, "conv1d.x_out_scales")) == scale(out, mixer(layer, "qchunk_scan.x_scales"))
    back = tmp_path / "back"
    apply("--scales-from", source, "--to", out, "--out", back)
    assert (back / WEIGHTS).read_bytes() == (source / WEIGHTS).read_bytes()


def test_w4a8_stores_the_input_scale_by_itself(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    source = folder_of("m1_w4a8")
    state, config = load_state("m1_w4a8")
    m = mixer(0, "")
    new = torch.tensor(0.125)
    state |= {
        m + "conv1d.output_scale": 0.125,
        m + "selective_scan.u_scale": new,
        m + "x_proj.input_scale": new.clone(),
    }
    other = save_state(tmp_path / "other", state, config)
    found = apply.json("--scales-from", other, "--to", source, "--out", tmp_path / "new")
    assert [r["entries"] for r in found["replaced"]] == [
        [m + "conv1d.output_scale", m + "selective_scan.u_scale", m + "x_proj.input_scale"]
    ]
    assert loaded(tmp_path / "new") == loaded(other)


def test_afterwards_diff_and_whence_say_what_was_done(
    apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    apply(run_of("base_mamba1"), "--alpha", "0.9999", "--to", quamba(A), "--out", out)
    assert main(["diff", str(quamba(A)), str(out), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"]["rule"] == "alpha-signature"
    assert len(found["scales"]) == 4
    assert main(["whence", str(out), "--run", str(run_of("base_mamba1")), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["kind"], verdict["rule"], verdict["tolerance"]) == ("recovered", "ema", 0.0)
    low, high = verdict["alpha"]
    assert low <= np.float32(0.9999) <= high
    assert high - low < 1e-6


positive = st.floats(2.0**-16, 2.0**10, width=32)


@settings(max_examples=25)
@given(st.lists(positive, min_size=4, max_size=4))
def test_any_scales_twice_are_once_and_back_is_the_file(
    tmp_path_factory: pytest.TempPathFactory, scales: list[float]
) -> None:
    tmp_path = tmp_path_factory.mktemp("scales")
    source = folder_of(A)
    fmt = format_of(open_checkpoint(source))
    sensitive = [r for r in fmt.scales() if r.alpha_sensitive]
    there = {r.role: np.float32(s) for r, s in zip(sensitive, scales, strict=True)}
    back = {r.role: np.asarray(fmt.values(r)).astype(np.float32) for r in sensitive}

    def put(values: dict[str, Any], of: Path, to: Path) -> bytes:
        targets = [Target(role, np.asarray(v, np.float32), "drawn", None, True) for role, v in values.items()]
        write(plan_of(format_of(open_checkpoint(of)), targets), to, Origin({}, {}))
        return (to / WEIGHTS).read_bytes()

    once = put(there, source, tmp_path / "once")
    assert put(there, tmp_path / "once", tmp_path / "twice") == once
    assert put(back, tmp_path / "twice", tmp_path / "back") == (source / WEIGHTS).read_bytes()
    state = torch.load(tmp_path / "once" / WEIGHTS, map_location="cpu", weights_only=True)
    for layer, s in ((0, scales[0]), (1, scales[2])):
        s_out, s_w = state[mixer(layer, "selective_scan.B_scale")], state[mixer(layer, "x_proj.b")]
        assert state[mixer(layer, "selective_scan.u_scale")].item() == s == state[mixer(layer, "conv1d.output_scale")]
        assert state[mixer(layer, "x_proj.a")].item() == (torch.tensor(s) / s_out).item()
        assert state[mixer(layer, "x_proj.alpha")] == (s_w * torch.tensor(s) / s_out).item()
    shutil.rmtree(tmp_path)


def test_the_alpha_that_was_applied_is_what_the_checkpoint_declares(
    apply: Apply, quamba: Quamba, run_of: Run, tmp_path: Path
) -> None:
    def declared(folder: Path) -> Declared | None:
        return declared_alpha(format_of(open_checkpoint(folder)))

    run = run_of("base_mamba1")
    apply(run, "--alpha", "0.99", "--to", quamba(A), "--out", tmp_path / "pa-0.5")
    assert declared(tmp_path / "pa-0.5") == Declared("0.99", "applied.json")
    apply(run, "--points", "layers.0.*=0.9", "--to", tmp_path / "pa-0.5", "--out", tmp_path / "two")
    assert declared(tmp_path / "two") is None
    apply(run, "--points", "layers.0.*=0.9", "--to", quamba(A), "--out", tmp_path / "some")
    assert declared(tmp_path / "some") is None
    for damage in ("[]", '{"schema": "qinspect.applied/1", "applied": [7]}', "{"):
        (tmp_path / "pa-0.5" / "applied.json").write_text(damage)
        assert declared(tmp_path / "pa-0.5") == Declared("0.5", "directory name")


def test_what_was_applied_is_told_beside_the_file(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    """Quamba's loader takes no key in config.json that it does not know."""
    apply("--scales-from", quamba(B), "--to", quamba(A), "--out", tmp_path / "b")
    apply("--scales-from", quamba(A), "--to", tmp_path / "b", "--out", tmp_path / "a")
    told = json.loads((tmp_path / "a" / "applied.json").read_text())
    assert told["schema"] == "qinspect.applied/1"
    first, second = told["applied"]
    assert (first["scales_from"], second["scales_from"]) == (str(quamba(B)), str(quamba(A)))
    assert [len(e["replaced"]) for e in (first, second)] == [4, 4]
    assert first["source"][0]["sha256"] != second["source"][0]["sha256"]


def test_the_page_shows_what_is_printed(
    apply: Apply, source_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session of docs/apply.md that does not depend on the machine's forward."""
    page = (source_root / "docs" / "apply.md").read_text(encoding="utf-8")
    words = "--scales-from pa-0.99999 --to pa-0.9995 --out exact"
    printed = page.partition(f"$ qinspect apply {words}\n")[2].partition("$ cmp")[0]
    for name, place in ((A, "pa-0.9995"), (B, "pa-0.99999")):
        shutil.copytree(folder_of(name), tmp_path / place)
    monkeypatch.chdir(tmp_path)
    assert apply(*words.split())[0] == printed


def test_a_single_file_goes_with_its_config(apply: Apply, quamba: Quamba, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(quamba(A), folder)
    (folder / "notes.txt").write_text("something else")
    (folder / "other.safetensors").write_bytes(b"weights with the scales that they had")
    apply("--scales-from", quamba(B), "--to", folder / WEIGHTS, "--out", tmp_path / "one")
    assert {p.name for p in (tmp_path / "one").iterdir()} == {WEIGHTS, "config.json", "applied.json"}
    found = apply.json("--scales-from", quamba(B), "--to", folder, "--out", tmp_path / "all")
    assert {p.name for p in (tmp_path / "all").iterdir()} == {WEIGHTS, "config.json", "applied.json", "notes.txt"}
    assert found["not_copied"] == ["other.safetensors"]
