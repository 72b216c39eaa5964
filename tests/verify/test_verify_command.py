"""`qinspect verify`: text and JSON say the same, exit codes, options, what it looks like."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from hostile import assert_clean
from safetensors.numpy import save_file
from terminals import Terminal, plain

from qinspect.inspector.cli import main
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.observers import RULES
from qinspect.inspector.verify.cli import ALPHAS
from qinspect.inspector.verify.plot import HEIGHT, plot_lines
from qinspect.inspector.verify.sweep import Yardstick, sweep

FEW = ("--samples", "3")
QUAMBA = Path(__file__).parent.parent / "data" / "observers"


class Verify:
    def __init__(self, capsys: pytest.CaptureFixture[str], source_root: Path) -> None:
        self._capsys = capsys
        self._schema = json.loads((source_root / "docs" / "schema" / "verify.json").read_text(encoding="utf-8"))

    def text(self, *words: str | Path, code: int = 0) -> str:
        assert main(["verify", *map(str, words)]) == code
        out, err = self._capsys.readouterr()
        assert err == ""
        return out

    def json(self, *words: str | Path, code: int = 0) -> Any:
        content = json.loads(self.text(*words, "--json", code=code))
        jsonschema.Draft202012Validator(self._schema).validate(content)
        assert content["passed"] is (code == 0)
        return content

    def error(self, *words: str | Path) -> str:
        assert main(["verify", *map(str, words)]) == 2
        out, err = self._capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        return err


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str], source_root: Path) -> Verify:
    return Verify(capsys, source_root)


def test_text_and_json_say_the_same(verify: Verify) -> None:
    content, text = verify.json(*FEW), verify.text(*FEW)
    assert [s["name"] for s in content["sweeps"]] == ["ema", "pooled"]
    flat = " ".join(text.split())
    for s in content["sweeps"]:
        assert s["rule"] in flat
        assert tuple(r["alpha"] for r in s["rows"]) == ALPHAS
        for r in s["rows"]:
            start, end = (
                f"{r['alpha']!r} +{r['w_max']:.6g} +{r['scale']:.6g}",
                f"{r['mse_inliers']:.4g} +{r['mse']:.4g}",
            )
            assert re.search(f"^ +{start} .* {end}$", text, re.MULTILINE)
            assert r["clipped_share"] + r["coverage"] == pytest.approx(1)
    for c in content["checks"]:
        assert f"pass {c['text']} [{c['name']}]" in flat
    for r in content["worked_example"]:
        assert f"{r['w_max_float64_rank']:.7g}" in text
    assert "all 7 checks passed" in text
    assert [c["name"] for c in content["checks"]] == [
        "finite", "counted-as-sorted", "monotone-ema", "monotone-pooled", "alpha-1-pooled", "alpha-1-ema",
        "worked-example",
    ]  # fmt: skip


def test_a_file_is_verified_as_it_is(verify: Verify) -> None:
    path = QUAMBA / "streams.safetensors"
    content = verify.json(path, "--key", "x_bf16.*", "--alpha", "0.9995,1")
    expected = json.loads((QUAMBA / "expected.json").read_text())["x_bf16"]
    assert content["activations"]["samples"] == expected["samples"]
    rows = content["sweeps"][0]["rows"]
    assert [r["scale"] for r in rows] == [expected["percentile_ema"][a]["scale"] for a in ("0.9995", "1.0")]
    assert content["worked_example"] is None
    assert content["activations"]["largest"] == expected["absmax"]["w_max"]


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_exit_code_1(odd: float, verify: Verify, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((4, 50)).astype(np.float32)
    x[2, 7] = odd
    np.save(tmp_path / "x.npy", x)
    content = verify.json(tmp_path / "x.npy", code=1)
    assert [(c["name"], c["passed"]) for c in content["checks"]] == [("finite", False), ("counted-as-sorted", True)]
    assert content["activations"]["largest"] is None
    last = content["sweeps"][0]["rows"][-1]
    assert (last["w_max"], last["scale"], last["clipped"], last["mse"]) == (None, None, None, None)
    text = verify.text(tmp_path / "x.npy", code=1)
    assert "FAIL" in text
    assert "1 of 2 checks failed" in text
    assert "n/a" in text


def test_a_name_cannot_reach_the_terminal(verify: Verify, tmp_path: Path) -> None:
    path, odd = tmp_path / "x.safetensors", "call\n\x1b[31m\u202e.0"
    save_file({odd: np.ones((2, 3), np.float32)}, path)
    assert verify.json(path)["activations"]["keys"] == [odd]
    assert_clean(verify.text(path))
    save_file({odd: np.ones(2, np.float32), "b": np.ones(2, np.float32)}, path)
    assert_clean(verify.error(path))
    assert_clean(verify.error(path, "--key", "call\x1b[31m"))


def test_an_error_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--plot", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["problem"] == "--json and --plot exclude each other"


def test_samples_of_a_file(verify: Verify, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((4, 50)))
    whole = verify.json(tmp_path / "x.npy", "--one-sample")
    assert (whole["activations"]["samples"], verify.json(tmp_path / "x.npy")["activations"]["samples"]) == (1, 4)
    ema, one_batch = ([r["w_max"] for r in s["rows"]] for s in whole["sweeps"])
    np.testing.assert_allclose(ema, one_batch, rtol=1e-6)  # apart by the rank only


def test_options_reach_the_numbers(verify: Verify) -> None:
    base = verify.json(*FEW)
    assert verify.json(*FEW, "--seed", "1")["activations"]["largest"] != base["activations"]["largest"]
    four = verify.json(*FEW, "--bits", "4")
    assert four["sweeps"][0]["rows"][0]["w_max"] == base["sweeps"][0]["rows"][0]["w_max"]
    assert "map(w_max/7," in four["sweeps"][0]["rule"]
    assert four["sweeps"][0]["rows"][0]["mse"] > base["sweeps"][0]["rows"][0]["mse"]
    assert verify.json(*FEW, "--dtype", "bfloat16")["activations"]["dtype"] == "bfloat16"
    half = verify.json(*FEW, "--inliers", "0.5")["inliers"]
    assert half["values"] == pytest.approx(base["activations"]["values"] / 2, rel=0.01)
    alphas = verify.json(*FEW, "--alpha", "1,0.5", "--alpha", "0.25")["sweeps"][1]["rows"]
    assert [r["alpha"] for r in alphas] == [0.25, 0.5, 1.0]
    assert verify.json("--samples", "1")["activations"]["samples"] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--alpha", "1.5"), "an alpha is a fraction from 0 to 1; expected --alpha 0.99,0.9995,1; found 1.5"),
        (("--alpha", "nan"), "found nan"),
        (("--alpha", "0.5,,1"), "a fraction from 0 to 1"),
        (("--alpha", "high"), "found high"),
        (("--bits", "1"), "--bits must be from 2 to 16; found 1"),
        (("--bits", "17"), "found 17"),
        (("--inliers", "nan"), "--inliers must be a fraction"),
        (("--samples", "0"), "--samples must be from 1 to 4,096"),
        (("--seed", "-1"), "--seed must be at least 0"),
        (("--key", "x"), "--key is for a saved activation. Name a FILE"),
        (("--one-sample",), "--one-sample is for a saved activation"),
        (("x.npy", "--seed", "1"), "--seed is for synthetic activations"),
        (("x.npy", "--samples", "1"), "--samples is for synthetic activations"),
        (("x.npy", "y.npy"), "more words than the command takes"),
        (("none.npy",), "none.npy: no such file"),
        (("--dtype", "int8"), "int8"),
    ],
)
def test_what_cannot_be_is_one_line(words: tuple[str, ...], says: str, verify: Verify) -> None:
    assert says in verify.error(*words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_says_what_to_do(verify: Verify) -> None:
    assert "no CUDA device can be used" in (found := verify.error("--device", "cuda"))
    assert "`--device cpu` counts the same" in found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_counts_the_same(verify: Verify) -> None:
    for dtype in ("float16", "bfloat16"):
        on_gpu, on_cpu = verify.json("--device", "cuda", "--dtype", dtype), verify.json("--dtype", dtype)
        assert on_gpu.pop("device") != on_cpu.pop("device")
        assert on_gpu == on_cpu
    assert "16-bit values" in verify.error("--device", "cuda", "--dtype", "float32")


def test_a_plot_in_a_pipe_is_asked_for_and_plain(verify: Verify) -> None:
    assert "COUNTS OF |x|" not in verify.text(*FEW)
    out = verify.text(*FEW, "--plot")
    assert "COUNTS OF |x|" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_plot_has_a_line_at_each_range(width: int) -> None:
    table = MagnitudeTable.of(np.geomspace(1, 1000, 5000).astype(np.float16))
    one_batch = sweep("pooled", RULES["pooled"].at(bits=8), [table], [0.5, 0.75], Yardstick(table, 0.99))
    lines = plot_lines(table, [one_batch], width, color=False, plain=True)
    assert lines[0].endswith("w_max at each alpha: | pooled")
    assert len(lines) == HEIGHT + 1
    assert max(len(line.rstrip()) for line in lines[1:]) <= width
    assert all(line.isascii() for line in lines[1:])
    left, right = lines[1].index("+"), lines[1].rindex("+")
    marks = [i for i in range(left + 1, right) if lines[2][i] == "|"]
    room = right - left - 1
    # even in the logarithm, so the quantiles are where their alphas are
    assert [(i - left - 0.5) / room for i in marks] == pytest.approx([0.5, 0.75], abs=1.5 / room)


def test_zeros_and_infinities_alone_are_not_drawn() -> None:
    for odd in (0.0, np.inf, np.nan):
        assert plot_lines(MagnitudeTable.of(np.array([odd], np.float16)), [], 80, color=False, plain=False) == []
    assert plot_lines(MagnitudeTable.of(np.array([2.0], np.float16)), [], 80, color=False, plain=False)


@pytest.mark.parametrize(("width", "env"), [(80, {}), (120, {"NO_COLOR": "1"}), (200, {})])
def test_a_terminal_gets_a_plot_and_no_line_beyond_it(width: int, env: Mapping[str, str]) -> None:
    with closing(Terminal(["-m", "qinspect.inspector", "verify", *FEW], (width, 100), env)) as t:
        assert t.leave() == 0
        lines = plain(t.out).splitlines()
        assert max(map(len, lines)) <= width
        assert any(line.startswith("COUNTS OF |x|") for line in lines)
        assert "all 7 checks passed" in lines
        colours = re.search(rb"\x1b\[(3[0-7]|38;5;|9[0-7])", t.out)
        assert bool(colours) is not bool(env)
        header = next(line for line in lines if "mse all" in line)
        assert ("beyond" in header) is (width > 80)


def test_an_ascii_terminal_gets_ascii() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "qinspect.inspector", "verify", *FEW, "--plot"],
        env={"PYTHONIOENCODING": "ascii", "PATH": ""}, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert found.stdout.isascii()
    assert b"#" in found.stdout
    assert b"\\u25" not in found.stdout


def test_the_page_prints_what_the_command_prints(
    verify: Verify, source_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(QUAMBA)
    page = (source_root / "docs" / "distributions.md").read_text(encoding="utf-8")
    ((words, printed),) = re.findall(r"^```\n\$ qinspect verify ([^\n]*)\n(.*?)\n```", page, re.MULTILINE | re.DOTALL)
    assert verify.text(*shlex.split(words)) == f"{printed}\n"
