"""Segments of a model's projections, whatever its family, against the sizes that its original declares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Command
from hybrid_files import ROWS, exported
from peer_truth import folder, needs_fixtures, opened

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.segments import ModelSegments

DATA = Path(__file__).parents[1] / "data"


def sizes(fmt: Format, role: str) -> dict[str, int]:
    return {s.name: s.stop - s.start for s in ModelSegments(fmt).of_role(role)}


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("base_mamba2", "base_mamba2"), ("ct_mamba2_fp8", "base_mamba2"), ("gguf_mamba2_q8_0", "base_mamba2"),
        ("base_nemotronh", "base_nemotronh"), ("modelopt_nemotronh_mixed", "base_nemotronh"),
        ("gguf_nemotronh_mixed", "base_nemotronh"),
    ],
)  # fmt: skip
def test_of_a_family_as_of_its_original(name: str, base: str) -> None:
    config = json.loads((folder(base) / "config.json").read_text())
    n_heads = config.get("mamba_num_heads") or config["num_heads"]
    d = n_heads * (config.get("mamba_head_dim") or config["head_dim"])
    states = config["n_groups"] * (config.get("ssm_state_size") or config["state_size"])
    fmt = opened(name, "" if name == base else "model")
    assert sizes(fmt, "layers.0.mixer.in_proj.weight") == {"z": d, "x": d, "B": states, "C": states, "dt": n_heads}
    assert sizes(fmt, "layers.0.mixer.conv1d.weight") == {"x": d, "B": states, "C": states}
    assert not ModelSegments(fmt).reordered("layers.0.mixer.in_proj.weight")


@needs_fixtures
@pytest.mark.parametrize("name", ["base_qwen3next", "base_llama", "base_qwen3moe"])
def test_other_mixers_have_none(name: str) -> None:
    fmt = opened(name, "")
    segments = ModelSegments(fmt)
    assert not any(segments.of_entry(entry) for entry in fmt.checkpoint.entries)


def test_of_packed_codes_without_their_padding() -> None:
    """Rows of codes are padded, and heads may stand in another order: the segments stay where they are."""
    model = DATA / "quamba/m2_w4a8_gh_perm/quamba2-tiny-w4a8"
    fmt = format_of(open_checkpoint(model))
    config = json.loads((model / "config.json").read_text())["ssm_cfg"]
    found = sizes(fmt, "layers.0.mixer.in_proj.weight")
    assert list(found) == ["z", "x", "B", "C", "dt"]
    assert found["x"] // found["dt"] == config.get("headdim", 64)
    assert ModelSegments(fmt).reordered("layers.0.mixer.in_proj.weight")
    weight = next(w for w in fmt.weights() if w.role == "layers.0.mixer.in_proj.weight")
    assert sum(found.values()) == weight.shape[0]


def test_scales_and_entries_of_a_projection_have_its_segments(tmp_path: Path) -> None:
    fmt = format_of(open_checkpoint(exported(tmp_path / "b")))
    segments = ModelSegments(fmt)
    whole = segments.of_role("layers.0.mixer.in_proj.weight")
    assert [s.name for s in whole] == ["z", "x", "B", "C", "dt"]
    assert whole[-1].stop == ROWS
    assert segments.of_entry("backbone.layers.0.mixer.in_proj.weight_scale") == whole
    assert segments.of_role("layers.0.mixer.out_proj.weight") == ()
    assert segments.of_entry("backbone.layers.2.mixer.q_proj.weight") == ()


def test_the_tree_and_the_scales_say_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source_root: Path
) -> None:
    model = exported(tmp_path / "b")
    tree, scales = Command("tree", capsys, source_root), Command("scales", capsys, source_root)
    assert "\n    2 attention " in tree(model)[0]
    layer = tree.json(model)["tree"]["children"][0]["children"][1]["children"][0]
    assert layer["layer_kind"] == "Mamba"
    projection = next(c for c in layer["children"][0]["children"] if c["name"] == "in_proj")
    rows = next(c for c in projection["children"] if c["name"] == "weight")["segments"]
    assert [(r["name"], r["start"], r["stop"]) for r in rows][-2:] == [("C", 288, 320), ("dt", 320, 324)]
    listed = scales.json(model)["scales"]
    assert next(s for s in listed if s["role"] == "layers.0.mixer.in_proj.weight")["segments"] == rows
    assert next(s for s in listed if s["role"] == "layers.0.mixer.in_proj:input")["segments"] == []
