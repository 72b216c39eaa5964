"""`qinspect explain` on Quamba's own checkpoints, and on ours with claims that are false."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import native_files
import noise_cases
import numpy as np
import pytest
from commands import Command
from whence_cases import calibration, ema, largest, name, scales_of, streams

from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.calibration.layout import TABLES
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.explain import report
from qinspect.inspector.explain.explanation import explain as explained
from qinspect.inspector.formats import format_of
from qinspect.inspector.provenance import Provenance

if TYPE_CHECKING:
    from conftest import Quamba, Run


@pytest.fixture
def explain(
    capsys: pytest.CaptureFixture[str], source_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "no runs at hand"))
    return Command("explain", capsys, source_root)


@pytest.fixture
def group_heads(quamba: Quamba, tmp_path: Path) -> tuple[Path, Path]:
    """What the author compared: Quamba2 with head groups, calibrated at two alphas. It never reads them, so the second
    run gave the scales of the first."""
    made = []
    for alpha in ("pa-0.9995", "pa-0.99999"):
        shutil.copytree(quamba("m2_w4a8_gh_pa0.9995"), tmp_path / alpha / "quamba2-tiny-w4a8")
        made.append(tmp_path / alpha / "quamba2-tiny-w4a8")
    return made[0], made[1]


def test_alpha_is_dead_code_with_head_groups(explain: Command, group_heads: tuple[Path, Path]) -> None:
    found = explain.json(*group_heads)
    assert found["answer"]["rule"] == "dead-parameter"
    (alpha,) = found["declared"]
    assert (alpha["setting"], alpha["a"], alpha["b"]) == ("percentile_alpha", "0.9995", "0.99999")
    assert found["alpha"]["compared"] == 0
    assert {p["alpha_sensitive"] for p in found["places"]} == {False}
    text, _ = explain(*group_heads)
    assert "can reach none of 23 activation scales" in text
    assert "--group_heads" in " ".join(text.split())
    assert found["next"]


def test_plain_mamba_took_its_alpha(explain: Command, quamba: Quamba) -> None:
    found = explain.json(quamba("m1_w8a8_pa0.9995"), quamba("m1_w8a8_pa0.99999"))
    assert found["answer"]["rule"] == "effective"
    assert found["alpha"] == {"says": found["alpha"]["says"], "compared": 4, "differ": 4, "not_comparable": 0}
    reacting = {p["place"]: (p["up"], p["down"]) for p in found["places"] if p["up"] or p["down"]}
    assert reacting == {"layers.*.mixer.x_proj:input": (2, 0), "layers.*.mixer.ssm_state_act:input": (2, 0)}
    assert [c["holds"] for c in found["claims"]] == [None, None]  # no run was asked


def test_a_calibration_confirms_what_folders_claim(explain: Command, quamba: Quamba, run_of: Run) -> None:
    pair = quamba("m1_w8a8_pa0.9995"), quamba("m1_w8a8_pa0.99999")
    found = explain.json(*pair, "--run", run_of("base_mamba1"))
    assert [c["holds"] for c in found["claims"]] == [True, True]
    for claim, alpha in zip(found["claims"], (0.9995, 0.99999), strict=True):
        low, high = claim["found"]["alpha"]
        assert low - 1e-7 <= alpha <= high + 1e-7
        assert high - low < 1e-5
    assert found["answer"]["rule"] == "effective"


def test_a_folder_that_claims_another_alpha_is_found_out(
    explain: Command, quamba: Quamba, run_of: Run, tmp_path: Path
) -> None:
    """A second run that loaded the directory of the first."""
    shutil.copytree(quamba("m1_w8a8_pa0.9995"), tmp_path / "pa-0.99999" / "model")
    words = (quamba("m1_w8a8_pa0.9995"), tmp_path / "pa-0.99999" / "model", "--run", run_of("base_mamba1"))
    found = explain.json(*words)
    assert found["answer"]["rule"] == "dead-parameter"
    assert [c["holds"] for c in found["claims"]] == [True, False]
    assert "B was made" in found["next"][0]
    text, _ = explain(*words)
    assert "the claim does not hold" in " ".join(text.split())


def test_a_name_of_five_decimals_may_be_rounded(explain: Command, tmp_path: Path) -> None:
    """Quamba-SE writes 0.999996 as `pa-1`."""
    of = streams(3, 4, 24, "float16", 1 << 15)
    run = calibration(tmp_path / "run", of)
    run.close()
    for folder, alpha in (("pa-1", 0.999996), ("pa-0.9995", 0.9995)):
        points = {n: PointScale(np.float32(s), "hidden", True) for n, s in scales_of(of, ema, alpha).items()}
        native_files.written(tmp_path / folder, activation_scales=points, provenance=Provenance({}, {}, {}, {}))
    found = explain.json(tmp_path / "pa-0.9995", tmp_path / "pa-1", "--run", tmp_path / "run")
    assert [c["declared"]["alpha"] for c in found["claims"]] == ["0.9995", "1"]
    assert [c["holds"] for c in found["claims"]] == [True, True]


def own(folder: Path, alpha: float, seed: int, requested: dict[str, Any]) -> Path:
    """A checkpoint of ours that says what it was made with; its data are those of the seed."""
    of = streams(seed, 4, 16, "float16")
    points = {n: PointScale(np.float32(s), "hidden", True) for n, s in scales_of(of, ema, alpha).items()}
    more = {n.replace("layers.", "layers.1"): s for n, s in of.items()}
    points |= {n: PointScale(np.float32(s), "hidden", False) for n, s in scales_of(more, largest, alpha).items()}
    made = Provenance({"alphas": [alpha], **requested}, {}, {"seed": seed}, {})
    return native_files.written(folder, activation_scales=points, provenance=made)


def test_another_setting_that_reaches_the_same_scales_is_a_rival(explain: Command, tmp_path: Path) -> None:
    a = own(tmp_path / "a", 0.999, 1, {"seed": 1, "device": "cuda"})
    b = own(tmp_path / "b", 0.99999, 2, {"seed": 2, "device": "cpu"})
    found = explain.json(a, b)
    declared = {s["setting"]: s for s in found["declared"]}
    assert list(declared) == ["percentile_alpha", "device", "seed"]
    assert declared["seed"]["reacted"]["differ"] == 8
    assert declared["percentile_alpha"]["reacted"] == {"compared": 4, "differ": 4, "not_comparable": 0}
    assert found["rivals"] == ["seed"]
    assert found["next"][0].startswith("Change one setting at a time: seed")


def test_a_setting_alone_that_alpha_has_no_part_in(explain: Command, tmp_path: Path) -> None:
    found = explain.json(
        own(tmp_path / "a", 0.999, 1, {"seed": 1}), own(tmp_path / "b", 0.999, 2, {"seed": 2})
    )  # fmt: skip
    assert [s["setting"] for s in found["declared"]] == ["seed"]
    assert found["declared"][0]["reacted"]["differ"] == 8


def test_the_page_as_markdown(explain: Command, quamba: Quamba) -> None:
    out, _ = explain(quamba("m1_w8a8_pa0.9995"), quamba("m1_w8a8_pa0.99999"), "--markdown")
    headings = [line for line in out.splitlines() if line.startswith("#")]
    assert headings[:2] == ["# Did it take effect?", "", "## Answer"][::2]
    assert "| percentile_alpha | 0.9995 | 0.99999 |" in out
    assert "layers.\\*.mixer.x_proj:input" in out
    explain(quamba("m1_w8a8_pa0.9995"), quamba("m1_w8a8_pa0.99999"), "--markdown", "--json", code=2)


def test_a_run_of_another_model_is_said(explain: Command, quamba: Quamba, tmp_path: Path) -> None:
    calibration(tmp_path / "run", {name(0): streams(1, 1, 3, "float16")[name(0)]}).close()
    _, err = explain(quamba("m1_w8a8_pa0.9995"), quamba("m1_w8a8_pa0.99999"), "--run", tmp_path / "run", code=2)
    assert "belong to no point of the run" in err


def test_a_run_at_hand_that_is_of_another_model_is_no_error(quamba: Quamba, tmp_path: Path) -> None:
    """It was found by what one of the two says of its making: nobody asked for it about the other."""
    a, b = (format_of(open_checkpoint(quamba(n))) for n in ("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"))
    run = calibration(tmp_path / "run", {name(0): streams(1, 1, 3, "float16")[name(0)]})
    found = explained(compare(a, b), {"mine": run}, named=False)
    run.close()
    assert [c.verdict for c in found.claims] == [None, None]
    assert found.runs == ()
    assert "No calibration was at hand" in " ".join(report.text(found, None).split())


def test_scales_of_another_shape_are_not_counted_as_the_same(explain: Command, quamba: Quamba) -> None:
    words = quamba("m1_w8a8_pa0.9995"), quamba("m2_w8a8_gh")
    found = explain.json(*words)
    assert {p["place"]: p["n"] for p in found["places"]} == {
        "layers.*.mixer.in_proj:input": 2, "layers.*.mixer.out_proj:input": 2
    }  # fmt: skip
    text = " ".join(explain(*words)[0].split())
    assert re.search(
        r"0 of 4 activation scales are the same\. \d+ activation scales of A or B cannot be compared", text
    )


def test_torch_is_not_imported(quamba: Quamba) -> None:
    words = [str(quamba("m1_w8a8_pa0.9995")), str(quamba("m1_w8a8_pa0.99999"))]
    program = (
        "import sys; from qinspect.inspector.cli import main; "
        f"main(['explain', *{words!r}]); assert not {{'torch', 'textual'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def unsure(folder: Path, **sensitive: bool | None) -> Path:
    """Points by their place in layer 0, each with whether an alpha reaches it: None, as `apply` may write it."""
    points = {f"layers.0.mixer.{n}:input": PointScale(np.float32(0.1), "hidden", bool(s)) for n, s in sensitive.items()}
    config = native_files.written(folder, activation_scales=points) / "config.json"
    content = json.loads(config.read_text())
    for point, reached in zip(content["quantization_config"]["activations"]["points"], sensitive.values(), strict=True):
        point["alpha_reached"] = reached
    config.write_text(json.dumps(content))
    return folder


def test_scales_that_cannot_be_compared_are_not_the_same(explain: Command, tmp_path: Path) -> None:
    groups = {"layers.0.mixer.x_proj:input": PointScale(np.ones(4, np.float32), "hidden", False)}
    same = {"layers.0.mixer.dt_proj:input": PointScale(np.float32(1), "hidden", False)}
    one = {"layers.0.mixer.x_proj:input": PointScale(np.float32(1), "hidden", False)}
    a = native_files.written(tmp_path / "a", activation_scales=same | one)
    b = native_files.written(tmp_path / "b", activation_scales=same | groups)
    text = " ".join(explain(a, b)[0].split())
    assert "1 of 1 activation scale is the same." in text
    assert "1 activation scale of A or B cannot be compared" in text
    assert sum(p["n"] for p in explain.json(a, b)["places"]) == 1


def test_a_format_that_does_not_say_what_made_a_scale(explain: Command, tmp_path: Path) -> None:
    models = [unsure(tmp_path / n, x_proj=True, dt_proj=False, out_proj=None) for n in "ab"]
    said = explain.json(*models)["alpha"]["says"]
    assert "can reach 1 of 3 activation scales; one is a running maximum, which no alpha moves; for 1 the" in said
    models = [unsure(tmp_path / n, x_proj=None, dt_proj=None) for n in "cd"]
    said = explain.json(*models)["alpha"]["says"]
    assert said == (
        "What made the 2 activation scales the format does not say, nor whether percentile_alpha can reach them."
    )


def test_a_run_that_was_only_at_hand_is_no_obstacle(
    explain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other model may be of none of its points; its tables may be damaged. A named one is an error."""
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "state"))
    a, b = noise_cases.at_hand(tmp_path / "state", tmp_path / "out")
    stranger = native_files.written(tmp_path / "stranger")
    found = explain.json(a, stranger)
    assert found["runs"] == ["mine"]
    assert [(c["holds"], c["found"] is None) for c in found["claims"]] == [(True, False), (None, True)]
    assert "belong to no point of the run" in explain.error(a, stranger, "--run", "mine")
    tables = next((tmp_path / "state").rglob(TABLES))
    content = tables.read_bytes()
    tables.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    found = explain.json(a, b)
    assert found["runs"] == []
    assert "No calibration was at hand" in explain(a, b)[0]
    assert str(tables) in explain.error(a, b, "--run", "mine")


def test_one_rival_and_two_claims_that_do_not_hold(explain: Command, tmp_path: Path) -> None:
    a = own(tmp_path / "a", 0.999, 1, {"seed": 1})
    b = own(tmp_path / "b", 0.99999, 2, {"seed": 2})
    text = " ".join(explain(a, b)[0].split())
    assert "But seed is declared to differ too, and reaches the same scales." in text
    assert "seed differs too and reaches the same scales" in text
    of = streams(3, 4, 24, "float16", 1 << 12)
    calibration(tmp_path / "run", of).close()
    for folder, alpha in (("pa-0.9", 0.99), ("pa-0.8", 0.999)):
        points = {n: PointScale(np.float32(s), "hidden", True) for n, s in scales_of(of, ema, alpha).items()}
        native_files.written(tmp_path / folder, activation_scales=points, provenance=Provenance({}, {}, {}, {}))
    found = explain.json(tmp_path / "pa-0.9", tmp_path / "pa-0.8", "--run", tmp_path / "run")
    assert [c["holds"] for c in found["claims"]] == [False, False]
    assert found["next"][0].startswith("Find out how A and B were made: their scales come from other alphas than")


def test_no_link_of_a_file_s_own_in_markdown(explain: Command, tmp_path: Path) -> None:
    a, b = (native_files.written(tmp_path / n) for n in ("a", "[click](b)"))
    assert "](" not in explain(a, b, "--markdown")[0]
