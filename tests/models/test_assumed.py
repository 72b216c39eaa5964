"""What a config.json is silent about is named with the default that is used; what it says decides every table."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_models import VOCABULARY, built, set_key, with_config
from hostile import assert_one_line
from small_models import saved_ids

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.models.declared import Declared
from qinspect.inspector.models.mamba_config import config_of

SILENT: dict[str, dict[str, Any]] = {
    "mamba1": {"layer_norm_epsilon": 1e-5, "residual_in_fp32": True, "rms_norm": True},
    "mamba2": {
        "layer_norm_epsilon": 1e-5, "residual_in_fp32": True, "rms_norm": True, "ssm_cfg.ngroups": 1,
        "ssm_cfg.dt_limit": [0.0, "inf"], "ssm_cfg.rmsnorm": True, "ssm_cfg.norm_before_gate": False,
    },
    "llama": {"rms_norm_eps": 1e-6, "attention_bias": False},
}  # fmt: skip


def settings(tmp_path: Path, kind: str) -> Settings:
    ids = saved_ids(tmp_path / "ids.json", [20, 20], VOCABULARY)
    return Settings(str(built(tmp_path / "m", kind)), data=str(ids), device="cpu", samples=2)


@pytest.mark.parametrize("kind", SILENT)
def test_defaults_are_named_one_by_one(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    asked = replace(settings(tmp_path, kind), out=str(tmp_path / "out"))

    def silence(config: dict[str, object]) -> None:
        for key in ("residual_in_fp32", "rms_norm", "ssm_cfg", "rms_norm_eps", "attention_bias"):
            config.pop(key, None)

    with_config(silence)(Path(asked.model))
    with caplog.at_level(logging.INFO):
        record = calibrate(asked, tmp_path / "state")
    assert {k: record["assumed"].get(k) for k in SILENT[kind]} == SILENT[kind]
    (said,) = (r.getMessage() for r in caplog.records if "config.json is silent" in r.getMessage())
    for key, value in SILENT[kind].items():
        assert f"{key}={value}" in said
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["provenance"]["effective"]["assumed"] == record["assumed"]
    json.dumps(written, allow_nan=False)
    open_checkpoint(tmp_path / "out").close()


def test_what_is_declared_is_not_assumed(tmp_path: Path) -> None:
    asked = settings(tmp_path, "mamba2")
    for key, value in (("layer_norm_epsilon", 1e-3), ("ssm_cfg.dt_limit", [0.0, 1.0]), ("ssm_cfg.rmsnorm", True)):
        set_key(key, value)(Path(asked.model))
    set_key("ssm_cfg.norm_before_gate", False)(Path(asked.model))
    assert calibrate(asked, tmp_path / "state")["assumed"] == {}


@pytest.mark.parametrize("layout", ["state-spaces", "Hugging Face"])
def test_groups_are_read_off_where_the_state_is_declared(layout: str) -> None:
    shapes = {
        "backbone.embedding.weight": (304, 64), "backbone.norm_f.weight": (64,),
        "backbone.layers.0.mixer.out_proj.weight": (64, 128), "backbone.layers.0.mixer.conv1d.weight": (192, 1, 4),
        "backbone.layers.0.mixer.A_log": (4,), "backbone.layers.0.mixer.dt_bias": (4,),
    }  # fmt: skip
    content = {"d_model": 64, "ssm_cfg": {"d_state": 8}} if layout[0] == "s" else {"hidden_size": 64, "state_size": 8}
    declared = Declared(Path("config.json"), content)
    made = config_of(declared, shapes)
    assert (made.n_groups, made.d_state, made.head_dim, made.n_heads) == (4, 8, 32, 4)
    assert made.n_norm_groups == (4 if layout[0] == "s" else 1)
    assert made.dt_limit == (0.0, math.inf)
    assert not any("groups" in key for key in declared.assumed)


@pytest.mark.parametrize("kind", ["mamba2", "llama"])
def test_another_config_is_another_calibration(tmp_path: Path, kind: str) -> None:
    """The weights are the same; tables of one epsilon must not be taken for those of another."""
    asked = settings(tmp_path, kind)
    before = calibrate(asked, tmp_path / "state")
    set_key("layer_norm_epsilon" if kind == "mamba2" else "rms_norm_eps", 0.5)(Path(asked.model))
    with pytest.raises(CannotOpen) as caught:
        calibrate(asked, tmp_path / "state")
    assert "it differs in config" in assert_one_line(caught.value)
    after = calibrate(asked, tmp_path / "other")
    assert after["decides"]["model"] == before["decides"]["model"]
    a, b = (np.array([p["scale"] for p in r["alphas"][0]["points"]]) for r in (before, after))
    assert not np.allclose(a, b, rtol=0.01)


def test_what_belongs_to_no_part_is_said(tmp_path: Path) -> None:
    import torch
    from broken_models import added

    asked = settings(tmp_path, "llama")
    added("score.weight", torch.ones(2, 48))(Path(asked.model))
    record = calibrate(asked, tmp_path / "state")
    assert "left out 1 tensor that no part of the architecture uses: score.weight" in record["warnings"]
