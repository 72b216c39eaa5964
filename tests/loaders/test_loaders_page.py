"""The command, and the page about it: tables are made of the rules, and the session is what is printed."""

from __future__ import annotations

import os
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from commands import Command
from gguf_files import ID, LLAMA, GgufFile, Stored
from loader_files import Model, comfy, ct_nvfp4, expert, experts, fp4_factor, modelopt, nvfp4, nvfp4_experts

from qinspect.inspector.cli import main
from qinspect.inspector.loaders import ENGINES

PAGE = Path(__file__).parents[2] / "docs" / "loaders.md"
SESSION = re.compile(r"^```\n\$ qinspect (loaders [^\n]*)\n(.*?)```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def loaders(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("loaders", capsys, source_root)


def of_the_page() -> Model:
    model = experts(modelopt(), fp4_factor, layers=2, n=4)
    model.set(f"{expert('up_proj', 3)}.weight_scale_2", 0.05)
    return model.drop(f"{expert('down_proj', 1, 1)}.input_scale")


def test_the_tables_are_made_of_the_rules() -> None:
    """`.venv/bin/python docs/make_loaders.py` writes them."""
    spec = spec_from_file_location("make_loaders", PAGE.parent / "make_loaders.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    page = PAGE.read_text(encoding="utf-8")
    assert module.made(page) == page
    rows = [line for line in page.splitlines() if re.match(r"\| [VGLHCU]\d", line)]
    assert len(rows) == sum(len(e.rules) for e in ENGINES)


def test_the_session_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """QINSPECT_UPDATE_SNAPSHOTS=1 writes it."""
    page = PAGE.read_text(encoding="utf-8")
    ((words, printed),) = SESSION.findall(page)
    of_the_page().write(tmp_path / "moe")
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    if os.environ.get("QINSPECT_UPDATE_SNAPSHOTS"):
        PAGE.write_text(page.replace(f"{words}\n{printed}```", f"{words}\n{out}```"), encoding="utf-8")
        return
    assert out == printed


@pytest.mark.parametrize("make", [nvfp4, nvfp4_experts, ct_nvfp4, of_the_page, comfy])
def test_json_is_valid_and_has_what_the_text_has(loaders: Command, make: object, tmp_path: Path) -> None:
    folder = make().write(tmp_path / "made")  # type: ignore[operator]
    found = loaders.json(folder)
    out, _ = loaders(folder)
    joined = re.sub(r"\s+", " ", out)
    assert [e["engine"] for e in found["engines"]] == [e.title for e in ENGINES]
    for engine in found["engines"]:
        for said in engine["statements"]:
            assert re.sub(r"\s+", " ", said["text"]) in joined
            assert len(said["modules"]) in (0, said["count"]) or said["noun"] in ("pair", "fused group")


def test_a_gguf_file_is_asked_too(loaders: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(bytes(GgufFile([Stored("blk.0.ffn_up.weight", ID["nvfp4"], [1, 64], bytes(36))], LLAMA)))
    found = loaders.json(path, "--engine", "llama.cpp")
    (said,) = found["engines"][0]["statements"]
    assert (said["rule"], said["modules"][0]["role"]) == ("C3", "layers.0.mlp.up_proj")


def test_options(loaders: Command, tmp_path: Path) -> None:
    folder = nvfp4_experts().set(f"{expert('up_proj', 1)}.weight_scale_2", 0.25).write(tmp_path / "made")
    out, _ = loaders(folder, "--engine", "sglang", "--backend", "trtllm")
    assert "SGLang" in out
    assert "vLLM" not in out
    assert "keeps both scales" in out
    assert "takes gate's scale" not in out
    assert "--engine" in loaders.error(folder, "--engine", "vllmm")
    assert "--backend" in loaders.error(folder, "--backend", "nothing")


def test_a_plain_model_has_no_rule(loaders: Command, tmp_path: Path) -> None:
    folder = Model().put("model.layers.0.mlp.up_proj.weight", "BF16", 8, 8).write(tmp_path / "made")
    out, _ = loaders(folder)
    assert out.count("no rule applies\n") == len(ENGINES)


def test_what_is_not_here_is_said(loaders: Command, tmp_path: Path) -> None:
    folder = nvfp4().write(tmp_path / "made")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    out, _ = loaders(folder / "model-00001-of-00002.safetensors")
    assert "1 of 2 shards is here: nothing is said of what is missing" in out
