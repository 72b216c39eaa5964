"""Families that are not read are called by their names, and nothing else is called so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peer_truth import ROOT, needs_fixtures
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.not_yet import named
from qinspect.inspector.formats.signs import Modules

FLOAT = torch.ones(4)
HALF = torch.ones(4, 4, dtype=torch.float16)
BYTES = torch.ones(4, 4, dtype=torch.uint8)
INT8 = torch.ones(4, 4, dtype=torch.int8)
INT32 = torch.ones(4, 4, dtype=torch.int32)
FP8 = torch.ones(16, 16).to(torch.float8_e4m3fn)
STATE = torch.tensor(list(b"{}"), dtype=torch.uint8)


def saved(
    folder: Path,
    tensors: dict[str, torch.Tensor],
    settings: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
) -> Format:
    save_file({name: t.clone() for name, t in tensors.items()}, folder / "model.safetensors", metadata)
    if settings is not None:
        (folder / "config.json").write_text(json.dumps(settings))
    return format_of(open_checkpoint(folder))


def said(fmt: Format) -> str:
    assert fmt.family == "plain"
    name, colon, rest = fmt.description.partition(": not understood yet, its entries are shown as they are stored")
    assert rest in ("", "; scales paired by name (unverified)")
    return name if colon else ""


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("EXL2", {"m.q_weight": INT32, "m.q_scale": INT32, "m.q_groups": INT32[0].short(), "m.q_scale_max": HALF}),
        ("VPTQ", {"m.indices": INT32, "m.centroids.weight": HALF}),
        ("QuIP#", {"m.Qidxs": INT32, "m.SU": HALF, "m.SV": HALF, "m.Wscale": FLOAT[0]}),
        ("HIGGS", {"m.weight": INT32, "m.scales": HALF, "m.tables": HALF, "m.tables2": HALF}),
        ("SpQR", {"m.dense_weights": INT32, "m.row_offsets": INT32, "m.col_vals": INT32, "m.in_perm": INT32}),
        ("FP-Quant", {"m.qweight": BYTES, "m.scales": BYTES, "m.forward_hadamard_matrix": HALF}),
        ("SVDQuant (Nunchaku)", {"m.qweight": INT8, "m.wscales": HALF, "m.smooth_factor": HALF[0]}),
        ("Brevitas", {"m.weight": HALF, "m.weight_quant.tensor_quant.scaling_impl.value": FLOAT}),
    ],
)
def test_a_family_is_named_by_what_it_alone_writes(tmp_path: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    assert said(saved(tmp_path, tensors)) == name


@pytest.mark.parametrize(
    ("method", "name", "tensors"),
    [
        ("eetq", "EETQ", {"m.weight": INT8, "m.weight_scales": HALF[0]}),
        ("bitsandbytes", "bitsandbytes", {"m.weight": BYTES, "m.weight_scb": FLOAT}),
    ],
)
def test_what_others_write_too_is_named_by_its_settings(
    tmp_path: Path, method: str, name: str, tensors: dict[str, torch.Tensor]
) -> None:
    settings = {"quantization_config": {"quant_method": method}}
    assert said(saved(tmp_path, tensors, settings)) == name
    (tmp_path / "bare").mkdir()
    assert said(saved(tmp_path / "bare", tensors)) == ""


def test_settings_beside_weights_in_full_precision_name_nothing(tmp_path: Path) -> None:
    """As they are left over where a model was dequantized."""
    settings = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    assert said(saved(tmp_path, {"m.weight": HALF}, settings)) == ""


@pytest.mark.parametrize(
    "tensors",
    [
        {"m.weight": HALF, "m.scales": HALF, "m.biases": HALF},  # not codes
        {"q.codes": HALF, "q.codebooks": HALF},  # an audio codec
        {"a.indices": INT32, "b.centroids.weight": HALF},  # in two modules
        {"m.SU": HALF, "m.SV": HALF},
        {"m.tables": HALF, "m.tables2": HALF},
        {"m.resblocks": HALF, "m.down_blocks": BYTES, "m.down_scales": HALF},
        {"m.value": HALF, "m.buffer": HALF},
        {"m.W_q": HALF, "m.W_k": HALF},
        {"xm.q_weight": HALF},
    ],
)
def test_other_entries_of_these_names_name_nothing(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    assert said(saved(tmp_path, tensors)) == ""


OF_FIXTURES: dict[str, str] = {}
"""What fixtures of no family that is read begin with, and their names."""


def _fixtures() -> list[str]:
    return sorted(f.name for f in Path(ROOT).iterdir() if f.is_dir()) if ROOT else []


@needs_fixtures
@pytest.mark.parametrize("fixture", _fixtures())
def test_files_of_all_libraries(fixture: str) -> None:
    """What is not read has its name, with its settings and where these are gone; nothing else has one."""
    folder = Path(ROOT) / fixture
    where = folder / "model" if (folder / "model").is_dir() else folder
    if not any(where.glob("*.safetensors")) and not any(where.glob("*.bin")) and not any(where.glob("*.pt")):
        pytest.skip("no checkpoint that is opened by its folder")
    wanted = next((OF_FIXTURES[start] for start in OF_FIXTURES if fixture.startswith(start)), "")
    for bare in (False, True):
        checkpoint = open_checkpoint(where)
        checkpoint.config = {} if bare else checkpoint.config
        fmt = format_of(checkpoint)
        name = named(checkpoint, Modules.of(checkpoint.entries)) if fmt.family == "plain" else ""
        assert name.startswith(wanted)
        assert bool(name) == bool(wanted)
        assert not wanted or (fmt.family == "plain" and "no scales" not in fmt.description)
        assert not wanted or all(not r.verified for r in fmt.scales())
