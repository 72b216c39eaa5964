"""`--through transformers`: a checkpoint as the library runs it, beside the executor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from safetensors.torch import load_file, save_file

from qinspect.inspector.errors import CannotOpen, QinspectError, UsageError
from qinspect.inspector.evaluate.report import evaluation_text
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.work import evaluate
from qinspect.inspector.models.library import LibraryModel

CPU = torch.device("cpu")
FEW = ("--samples", "8", "--seq-len", "24", "--floor-seeds", "0", "--through", "transformers")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("llama") / "model"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(path)
    return path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("evaluate", capsys, source_root)


def _other(source: Path, target: Path, **config: Any) -> Path:
    """A copy with another first layer, and more in its config."""
    shutil.copytree(source, target)
    tensors = load_file(target / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] *= 1.5
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    said = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**said, **config}))
    return target


def test_a_plain_checkpoint_is_the_same_in_both(ask: Command, llama: Path, tmp_path: Path) -> None:
    """The library's modules are the reference's, so nothing lies between the two, and the control is 0."""
    other = _other(llama, tmp_path / "other")
    found = ask.json(llama, other, "--state", tmp_path / "state", *FEW)
    (alone,), (through,) = found["models"], found["through"]["models"]
    assert alone["kl"]["value"] > 0
    assert through["against_reference"]["kl"] == alone["kl"]
    assert through["against_executor"]["answer"] == "equal"
    assert (through["dequantized"], through["modules"]) == (True, {"Linear of float32": 7})
    assert found["through"]["control_kl"] == 0
    again = ask.json(llama, other, "--state", tmp_path / "state", *FEW)
    assert again["through"] == found["through"]


def test_the_report_says_all_three_distances(llama: Path, tmp_path: Path) -> None:
    asked = EvaluateSettings(
        str(llama), (str(_other(llama, tmp_path / "other")),), samples=8, seq_len=24, floor_seeds=0,
        through="transformers",
    )  # fmt: skip
    said = " ".join(evaluation_text(evaluate(asked), None).split())
    assert "the file's numbers alone KL" in said
    assert "between the two KL 0 [0, 0], same top 100.00 %; the library predicts what the file's numbers do" in said
    assert said.count("the reference through the library, against the reference here: KL 0") == 1


def test_a_package_that_is_missing_is_named(llama: Path, tmp_path: Path) -> None:
    config = {"quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": 2}
    path = _other(llama, tmp_path / "other", quantization_config=config)
    with pytest.raises(UsageError, match=r"transformers needs the package (accelerate|aqlm).* to run it") as raised:
        LibraryModel(str(path), CPU, "float32")
    assert "pip install" in str(raised.value)


def test_codes_are_not_taken_for_weights(llama: Path) -> None:
    with pytest.raises(CannotOpen, match="would take its codes for weights"):
        LibraryModel(str(llama), CPU, "float32")


def test_random_weights_are_refused(llama: Path, tmp_path: Path) -> None:
    path = _other(llama, tmp_path / "other")
    tensors = load_file(path / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CannotOpen, match=r"no values for 1 weight.*up_proj|up_proj.*no values for 1 weight"):
        LibraryModel(str(path), CPU, "float32", quantized=False)


def test_a_file_that_is_no_model_of_the_library_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(QinspectError, match="transformers cannot run it here"):
        LibraryModel(str(tmp_path), CPU, "float32")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x", "--through", "vllm"), "there is no such --through"),
        (("--alpha", "0.9", "--run", "x", "--through", "transformers"), "--through needs MODEL"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(ask: Command, words: tuple[str, ...], said: str) -> None:
    assert said in ask.error("demo", *words)
