"""`qinspect fidelity`: what it prints, with which exit code, and JSON by its schema."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from commands import Command
from compressed_files import fp4, fp8, integers, of_module, settings, written
from numpy.typing import NDArray
from peer_truth import folder, needs_fixtures
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from conftest import Quamba

Array = NDArray[Any]


@pytest.fixture
def fidelity(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("fidelity", capsys, source_root)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A base of two layers, and what it became: INT4 with zero points, FP8 blocks and NVFP4, a norm that changed."""
    rng = np.random.default_rng(0)
    parts = {"q_proj": integers(4, (12, 64), 32, zeros="packed"), "k_proj": fp8("block"), "v_proj": fp4()}
    base: dict[str, Array] = {"model.norm_f.weight": np.ones(64, np.float32)}
    tensors: dict[str, Array] = {"model.norm_f.weight": np.full(64, 1.5, np.float32)}
    groups = {}
    for i in (0, 1):
        base[f"model.layers.{i}.norm.weight"] = tensors[f"model.layers.{i}.norm.weight"] = np.ones(64, np.float32)
        for name, made in parts.items():
            module = f"model.layers.{i}.self_attn.{name}"
            noise = rng.standard_normal(made.values.shape) * made.values.std() * 0.05 * (1 + i)
            base[f"{module}.weight"] = (made.values + noise).astype(np.float32)
            tensors |= of_module(made, module)
            groups[name] = {"targets": [f"re:.*{name}$"], "weights": made.weights, "format": made.format}
    written(tmp_path / "base", base, None)
    quantized = settings(parts["q_proj"], config_groups=groups, format="mixed-precision")
    written(tmp_path / "quantized", tensors, quantized)
    return tmp_path / "base", tmp_path / "quantized"


def test_the_report(fidelity: Command, pair: tuple[Path, Path]) -> None:
    out, err = fidelity(*pair)
    assert err == ""
    flat = " ".join(out.split())
    assert "FIDELITY 6 quantized weights: mean SQNR 2" in flat
    assert "1 of 3 others differs, most norm_f.weight" in flat
    rows = [line.split()[0] for line in out.split("WORST FIRST")[1].split("PASTE")[0].splitlines() if ".weight" in line]
    assert len(rows) == 7  # the norms of the layers are equal
    assert rows[0] == "norm_f.weight"
    assert all("layers.1" in row for row in rows[1:4])
    line = out.strip().splitlines()[-1]
    assert line.startswith("  quantized (")
    assert "against base: " in line
    assert "over 6 quantized weights, worst" in line
    assert "bits per weight" in line


def test_json_has_the_same_numbers(fidelity: Command, pair: tuple[Path, Path]) -> None:
    found = fidelity.json(*pair)
    assert found["summary"]["weights"] == 6
    assert (found["of_quantized"], found["not_compared"], found["threshold"]) == (True, [], None)
    numbers = [w["sqnr_db"] for w in found["weights"] if not w["equal"]]
    assert numbers == sorted(numbers)
    assert found["summary"]["mean_sqnr_db"] == pytest.approx(np.mean(numbers[1:]))
    by_role = {w["role"]: w for w in found["weights"]}
    norm = by_role["norm_f.weight"]
    assert (norm["nearest"], norm["channels"], norm["mean_shift"]) == (None, 0, 0.5)
    assert norm["largest"] == {"error": 0.5, "where": [0], "a": 1.0, "b": 1.5}
    equal = by_role["layers.0.norm.weight"]
    assert (equal["equal"], equal["sqnr_db"], equal["relative_error"]) == (True, None, 0.0)
    q, k, v = (by_role[f"layers.1.self_attn.{n}.weight"] for n in ("q_proj", "k_proj", "v_proj"))
    assert [w["group_shape"] for w in (q, k, v)] == [[1, 32], [8, 16], [1, 16]]
    assert all(w["nearest"]["known"] and w["worst_group"] for w in (q, k, v))
    assert all(w["nearest"]["loss_db"] == pytest.approx(w["nearest"]["sqnr_db"] - w["sqnr_db"]) for w in (q, k, v))


def test_methods_are_told_where_they_are_asked_for(fidelity: Command, pair: tuple[Path, Path]) -> None:
    out, _ = fidelity(*pair, "--methods")
    assert "method" in out.split("WORST FIRST")[1].splitlines()[1]
    found = fidelity.json(*pair, "--methods")
    assert sum(found["methods"].values()) == len(found["weights"]) == 9
    told = fidelity.json(*pair)
    assert told["methods"] is None
    assert all(w["method"] is None for w in told["weights"])
    for w, without in zip(found["weights"], told["weights"], strict=True):
        assert w["method"]["said"]
        assert w["method"]["method"] in found["methods"]
        assert {k: v for k, v in w.items() if k != "method"} == {k: v for k, v in without.items() if k != "method"}
    lines = list(csv.DictReader(io.StringIO(fidelity(*pair, "--methods", "--csv")[0])))
    assert [line["method"] for line in lines] == [w["method"]["method"] for w in found["weights"]]
    out, err = fidelity(pair[1], pair[1], "--methods", code=2)
    assert out == ""
    assert "A in full precision" in err


def test_csv_has_all_digits_and_every_weight(fidelity: Command, pair: tuple[Path, Path]) -> None:
    out, _ = fidelity(*pair, "--csv")
    rows = list(csv.DictReader(io.StringIO(out), strict=True))
    assert len(rows) == 9
    found = {w["role"]: w for w in fidelity.json(*pair)["weights"]}
    for row in rows:
        number = found[row["role"]]["sqnr_db"]
        assert float(row["sqnr_db"]) == (np.inf if number is None else number)
    assert fidelity(*pair, "--csv", "--worst", "2")[0].count("\n") == 3


def test_markdown(fidelity: Command, pair: tuple[Path, Path]) -> None:
    out, _ = fidelity(*pair, "--markdown", "--worst", "3")
    lines = out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("| weight | B stored as | SQNR dB |")


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("layer", {"norm_f.weight", "layers.0", "layers.1"}),
        ("kind", {"norm_f.weight", "norm.weight", *(f"self_attn.{n}_proj.weight" for n in "qkv")}),
        ("expert", set()),
    ],
)
def test_taken_together(by: str, names: set[str], fidelity: Command, pair: tuple[Path, Path]) -> None:
    found = fidelity.json(*pair, "--by", by)
    groups = {g["name"]: g["summary"] for g in found["groups"]}
    assert groups.keys() == names
    weights = found["weights"]
    for name, summary in groups.items():
        inside = [w for w in weights if w["role"].startswith(f"{name}.") or _kind(w["role"]) == name]
        assert summary["weights"] == len(inside)
        assert summary["values"] == sum(w["values"] for w in inside)
    text, _ = fidelity(*pair, "--by", by)
    assert all(name in text for name in names)


def _kind(role: str) -> str:
    return re.sub(r"^layers\.\d\.", "", role)


def test_experts_and_their_kinds(fidelity: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    a = {f"model.layers.0.mlp.experts.{e}.{n}_proj.weight": rng.standard_normal((8, 8)).astype(np.float32)
         for e in range(3) for n in ("up", "down")}  # fmt: skip
    b = {k: (x * 1.125).astype(ml_dtypes.bfloat16) for k, x in a.items()}
    for name, tensors in (("a", a), ("b", b)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    words = (tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--by")
    assert [g["name"] for g in fidelity.json(*words, "expert")["groups"]] == [
        f"layers.0.mlp.experts.{e}" for e in range(3)
    ]
    assert {g["name"] for g in fidelity.json(*words, "kind")["groups"]} == {
        "mlp.experts.*.up_proj.weight", "mlp.experts.*.down_proj.weight",
    }  # fmt: skip


# --- thresholds ---


def test_a_threshold_is_an_exit_code(fidelity: Command, pair: tuple[Path, Path]) -> None:
    found = fidelity.json(*pair, "--min-sqnr", "20", code=1)["threshold"]
    below = [w for w in fidelity.json(*pair)["weights"] if w["sqnr_db"] is not None and w["sqnr_db"] < 20]
    assert (found["passed"], found["below"], found["without_number"]) == (False, len(below), 0)
    assert below
    out, _ = fidelity(*pair, "--min-sqnr", "20", code=1)
    assert "FAILED" in out
    out, err = fidelity(*pair, "--min-sqnr", "20", "--csv", code=1)
    assert "below 20 dB, the worst norm_f.weight with 6.02 dB" in err
    assert fidelity.json(*pair, "--min-sqnr", "5")["threshold"]["passed"] is True


def test_what_has_no_number_is_not_good_enough(fidelity: Command, tmp_path: Path) -> None:
    same = {"w.weight": np.ones((4, 4), np.float32), "n": np.ones(4, np.float32)}
    save_file(same, tmp_path / "a.safetensors")
    save_file({"n": same["n"], "w.packed": np.zeros((4, 4), np.uint8)}, tmp_path / "b.safetensors")
    words = (tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--min-sqnr", "25")
    found = fidelity.json(*words, code=1)
    assert found["threshold"]["without_number"] == 1
    assert "first w.weight (only in A)" in found["threshold"]["text"]


def test_a_tied_head_is_not_missing(fidelity: Command, tmp_path: Path) -> None:
    w = np.ones((4, 4), np.float32)
    written(tmp_path / "a", {"model.embed_tokens.weight": w, "lm_head.weight": w}, None)
    written(tmp_path / "b", {"model.embed_tokens.weight": w}, None)
    (tmp_path / "b" / "config.json").write_text('{"tie_word_embeddings": true}')
    found = fidelity.json(tmp_path / "a", tmp_path / "b", "--min-sqnr", "25")
    assert found["threshold"]["passed"] is True


# --- what goes wrong ---


def test_errors(fidelity: Command, pair: tuple[Path, Path], quamba: Quamba) -> None:
    assert "no weight of A has a partner of its shape in B" in fidelity.error(pair[0], quamba("m1_w4a8"))
    assert "--worst must be at least 1" in fidelity.error(*pair, "--worst", "0")
    assert "--min-sqnr is a number of decibels" in fidelity.error(*pair, "--min-sqnr", "nan")
    assert "exclude each other" in fidelity.error(*pair, "--csv", "--markdown")


def test_a_base_that_is_quantized_itself_is_said(fidelity: Command, pair: tuple[Path, Path]) -> None:
    out, _ = fidelity(pair[1], pair[0])
    assert "note, A is quantized itself in 6 weights" in out
    found = fidelity.json(pair[1], pair[1])
    assert all(w["equal"] for w in found["weights"])
    assert "every value of 6 quantized weights is equal" in found["sentence"]


def test_numbers_that_are_none_are_said(fidelity: Command, tmp_path: Path) -> None:
    a, b = np.ones((2, 40), np.float32), np.full((2, 40), 1.25, np.float32)
    b[1, 3] = np.nan
    for name, x in (("a", a), ("b", b)):
        save_file({"w": x}, tmp_path / f"{name}.safetensors")
    out, _ = fidelity(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert "1 value not finite (A 0, B 1), left out of every number" in out


def test_a_weight_that_was_zero_has_no_sqnr(fidelity: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    save_file({"w": x, "z": np.zeros(4, np.float32)}, tmp_path / "a.safetensors")
    save_file({"w": x * np.float32(1.125), "z": np.ones(4, np.float32)}, tmp_path / "b.safetensors")
    words = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    found = fidelity.json(*words)
    assert "1 of them zero in A and not in B, first z" in found["sentence"]
    assert (found["summary"]["with_sqnr"], found["summary"]["worst"]) == (1, "w")
    assert found["summary"]["mean_sqnr_db"] == pytest.approx(20 * np.log10(8))
    assert found["weights"][0]["role"] == "z"
    out, _ = fidelity(*words)
    assert "-inf" in out
    assert "nan" not in out
    assert fidelity.json(*words, "--min-sqnr", "5", code=1)["threshold"]["below"] == 1


def test_names_are_safe_wherever_they_are_printed(fidelity: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    name = "=1|\x1b[31m\n.weight"
    for file, factor in (("a", 1), ("b", 2)):
        save_file({name: x * np.float32(factor)}, tmp_path / f"{file}.safetensors")
    words = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    for more in ((), ("--csv",), ("--markdown",), ("--by", "kind")):
        assert "\x1b" not in fidelity(*words, *more)[0]
    header, _, row = fidelity(*words, "--markdown")[0].splitlines()
    assert header.count("|") == row.replace("\\|", "").count("|")
    (row_of_csv,) = csv.DictReader(io.StringIO(fidelity(*words, "--csv")[0]), strict=True)
    assert row_of_csv["role"].startswith("'=1|")
    assert fidelity.json(*words)["weights"][0]["role"] == name


def test_rotations_are_undone_or_named(fidelity: Command, quamba: Quamba, source_root: Path, tmp_path: Path) -> None:
    (base,) = (source_root / "tests" / "data" / "models" / "base_mamba2").iterdir()
    out = " ".join(fidelity(base, quamba("m2_w8a8_gh"))[0].split())
    assert (
        "undone before comparing: norms that went into the weights behind them (3 weights), Hadamard rotations" in out
    )
    assert "not compared" not in out
    found = fidelity.json(base, quamba("m2_w8a8_gh"), "--min-sqnr", "25")
    (weight,) = (w for w in found["weights"] if w["role"] == "layers.0.mixer.in_proj.weight")
    assert [(u["what"], u["axis"]) for u in weight["undone"]] == [
        ("norm", "input"), ("rotation", "input"), ("order", "output"),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    w = rng.standard_normal((64, 64))
    for name, values in (("a", w), ("b", w @ np.linalg.qr(rng.standard_normal((64, 64)))[0])):
        save_file({"x.weight": values.astype(np.float32)}, tmp_path / f"{name}.safetensors")
    words = (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert "rotated, not compared: 1 weight, first x.weight" in " ".join(fidelity(*words)[0].split())
    assert fidelity.json(*words, "--min-sqnr", "1", code=1)["threshold"]["without_number"] == 1


@needs_fixtures
def test_what_smoothing_did_is_in_the_sentence(fidelity: Command) -> None:
    found = fidelity.json(folder("base_llama1"), folder("modelopt_nvfp4_awq") / "model")
    assert "norms that went into the weights behind them (5 weights)" in found["sentence"]
    assert "factors that one weight takes and the next gives back (2 weights)" in found["sentence"]


def test_the_second_look_is_kept_and_says_when_it_was_measured(fidelity: Command, pair: tuple[Path, Path]) -> None:
    (first, said), (second, told) = fidelity(*pair), fidelity(*pair)
    assert (first, said) == (second, "")
    assert re.fullmatch(r"qinspect: measured \d{4}-\d\d-\d\d \d\d:\d\d, of the same files; --fresh .*\n", told)
    assert fidelity(*pair, "--fresh") == (first, "")
    kept, fresh = fidelity.json(*pair), fidelity.json(*pair, "--fresh")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", kept["measured_at"])
    assert fresh["measured_at"] is None
    assert {**kept, "measured_at": None} == fresh
