"""`qinspect evaluate` on small models: against a plain computation, against itself, and on what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from peer_truth import folder, needs_fixtures
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from qinspect.inspector.calibrate.work import calibrate
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.demo import MODEL
from qinspect.inspector.evaluate.candidate import OfCheckpoint
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.report import evaluation_text
from qinspect.inspector.evaluate.results import ModelFigures
from qinspect.inspector.evaluate.same_tokens import other_tokens_said
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.work import evaluate
from qinspect.inspector.formats import format_of
from qinspect.inspector.models.load import open_model

SHORT = ("--samples", "10", "--seq-len", "24", "--floor-seeds", "0")
BASES = Path(__file__).parent.parent / "data" / "models"


@pytest.fixture(scope="module")
def two_alphas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of the demo model, with a checkpoint of each of two alphas."""
    state = tmp_path_factory.mktemp("evaluate")
    settings = Settings(str(MODEL), samples=4, seq_len=64, device="cpu", alphas=(0.99, 0.9999), out=str(state / "out"))
    calibrate(settings, state)
    return state


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("evaluate", capsys, source_root)


def test_the_reference_against_itself_is_exactly_the_same() -> None:
    found = evaluate(EvaluateSettings(str(MODEL), (str(MODEL),), samples=9, seq_len=24, floor_seeds=1))
    (m,) = found.models
    assert m.answer == "equal"
    assert (m.kl.value, m.kl_max, m.ln_ratio.value, m.same_top.value) == (0, 0, 0, 1)
    assert m.perplexity == m.perplexity_reference
    assert found.floor is not None
    assert 0 < found.floor.kl < 1e-3


def test_figures_are_those_of_a_plain_forward(tmp_path: Path) -> None:
    """One weight is another in the checkpoint: perplexity and KL by a forward of such a model, in float64."""
    tensors = dict(load_file(MODEL / "model.safetensors"))
    name = "backbone.layers.3.mixer.out_proj.weight"
    tensors[name] = (tensors[name].astype(np.float32) * 1.1).astype(np.float16)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((MODEL / "config.json").read_text())
    (m,) = evaluate(EvaluateSettings(str(MODEL), (str(tmp_path),), samples=3, seq_len=40, floor_seeds=0)).models
    cpu = torch.device("cpu")
    a, b = (open_model(str(p), False, cpu) for p in (MODEL, tmp_path))
    text = _first_windows(3, 40)
    nll, kl = [], []
    for window in text:
        ids = torch.tensor(window)
        p, q = (x.forward(ids[None], lambda *_: None)[0, :-1].double().log_softmax(-1) for x in (a, b))
        nll += (-q.gather(-1, ids[1:, None])[:, 0]).tolist()
        kl += (p.exp() * (p - q)).sum(-1).tolist()
    assert m.n == len(nll)
    assert m.perplexity == pytest.approx(np.exp(np.mean(nll)), rel=1e-12)
    assert m.kl.value == pytest.approx(np.mean(kl), rel=1e-9)
    assert m.kl_max == pytest.approx(max(kl), rel=1e-9)


@pytest.mark.parametrize("own_head", [False, True], ids=["tied", "head-of-its-own"])
def test_a_tied_embedding_is_changed_in_both_its_places(tmp_path: Path, own_head: bool) -> None:
    """As a model with the checkpoint's weights does it by itself: the head is the embedding, or is its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=256, **sizes, tie_word_embeddings=True))  # type: ignore[no-untyped-call]
    model.save_pretrained(tmp_path / "reference")
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(3)
        tensors = {k: w.numpy() for k, w in model.state_dict().items() if k != "lm_head.weight"}
        if own_head:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"][::-1].copy()
    config = json.loads((tmp_path / "reference" / "config.json").read_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": not own_head}))
    save_file(tensors, tmp_path / "other" / "model.safetensors", {"format": "pt"})
    paths = (str(tmp_path / "reference"), str(tmp_path / "other"))
    (m,) = evaluate(EvaluateSettings(paths[0], paths[1:], samples=3, seq_len=40, floor_seeds=0)).models
    alone = open_model(paths[1], False, torch.device("cpu"))
    nll = []
    for window in _first_windows(3, 40):
        ids = torch.tensor(window)
        q = alone.forward(ids[None], lambda *_: None)[0, :-1].double().log_softmax(-1)
        nll += (-q.gather(-1, ids[1:, None])[:, 0]).tolist()
    assert m.perplexity == pytest.approx(np.exp(np.mean(nll)), rel=1e-6)
    assert m.perplexity != pytest.approx(m.perplexity_reference, rel=1e-3)


def _first_windows(n: int, length: int) -> list[list[int]]:
    from qinspect.inspector.demo import HELD_OUT_TEXT
    from qinspect.inspector.samples.data import ByteTokenizer, load_samples

    return [ids.tolist() for ids in load_samples(str(HELD_OUT_TEXT), ByteTokenizer(), n, length, 0, False, 256).ids]


def test_an_alpha_of_a_run_is_what_its_checkpoint_is(two_alphas: Path) -> None:
    """To the last bit, without the checkpoint; and the difference of scales is that of the checkpoints."""
    written = tuple(str(two_alphas / "out" / f"pa-{alpha}-w8a8") for alpha in ("0.99", "0.9999"))
    settings = EvaluateSettings(
        str(MODEL), written, (0.99, 0.9999), str(two_alphas), samples=8, seq_len=32, floor_seeds=0
    )
    found = evaluate(settings)
    assert [m.name for m in found.models] == [*written, "alpha 0.99", "alpha 0.9999"]
    for checkpoint, alpha in zip(found.models[:2], found.models[2:], strict=True):
        assert (checkpoint.kl, checkpoint.ln_ratio, checkpoint.accuracy) == (alpha.kl, alpha.ln_ratio, alpha.accuracy)
    assert found.models[0].kl.value != found.models[1].kl.value
    alone = evaluate(EvaluateSettings(str(MODEL), (), (0.99, 0.9999), str(two_alphas), samples=8, seq_len=32))
    (against,) = alone.against
    scales = [_activation_scales(path) for path in written]
    largest = max(abs(scales[1][role] / scales[0][role] - 1) for role in scales[0])
    assert against.scales_percent == pytest.approx(100 * largest, rel=1e-6)


def _activation_scales(path: str) -> dict[str, float]:
    fmt = format_of(open_checkpoint(path))
    return {r.role: float(np.asarray(fmt.values(r), np.float64)) for r in fmt.scales() if r.kind == "activation"}


def _with_a_scale_times(factor: float, source: Path, other: Path) -> tuple[ModelFigures, ModelFigures]:
    """A checkpoint, and the same with one scale of an activation changed."""
    other.mkdir()
    tensors = dict(load_file(source / "model.safetensors"))
    key = next(k for k in sorted(tensors) if "x_conv_out" in k and tensors[k].size == 1)
    tensors[key] = np.asarray(tensors[key] * np.float32(factor))
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    (other / "config.json").write_text((source / "config.json").read_text())
    first, second = evaluate(
        EvaluateSettings(str(MODEL), (str(source), str(other)), samples=3, seq_len=32, floor_seeds=0)
    ).models
    return first, second


def test_a_scale_times_four_is_seen(two_alphas: Path, tmp_path: Path) -> None:
    first, second = _with_a_scale_times(4, two_alphas / "out" / "pa-0.9999-w8a8", tmp_path / "times-four")
    assert second.kl.value > first.kl.value


def test_activations_that_are_not_simulated_are_named(two_alphas: Path, tmp_path: Path) -> None:
    first, second = _with_a_scale_times(0, two_alphas / "out" / "pa-0.9999-w8a8", tmp_path / "zero")
    (said,) = set(second.left_out) - set(first.left_out)
    assert said.startswith("1 activation, first layers.")
    assert said.endswith("its scale is not a positive number")


def test_other_text_is_another_evaluation(tmp_path: Path) -> None:
    """What was kept of a file that has other words now is not taken."""
    text = tmp_path / "text.txt"
    kept = []
    for words in ("The first words of a text. " * 9, "Others, of which none is like them. " * 9):
        text.write_text(words)
        settings = EvaluateSettings(str(MODEL), (str(MODEL),), data=str(text), samples=2, seq_len=32, floor_seeds=0)
        kept.append(evaluate(settings, folder=tmp_path / "kept").models[0].perplexity)
    assert kept[0] != kept[1]


def test_what_was_done_is_not_done_again(two_alphas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed evaluation goes on: the figures are those of one that was not disturbed."""
    models = tuple(str(two_alphas / "out" / f"pa-{alpha}-w8a8") for alpha in ("0.99", "0.9999"))
    settings = EvaluateSettings(str(MODEL), models, samples=8, seq_len=24, floor_seeds=0)
    undisturbed = evaluate(settings)
    done = 0
    own = Executor.hidden

    def dies(self: Executor, *given: Any) -> torch.Tensor:
        nonlocal done
        done += 1
        if done == 8 + 8 + 3:
            raise KeyboardInterrupt
        return own(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Executor, "hidden", dies)
        with pytest.raises(KeyboardInterrupt):
            evaluate(settings, folder=tmp_path)
    assert len(list(tmp_path.glob("tokens-*.npz"))) == 1
    with monkeypatch.context() as patch:
        done = -1000
        patch.setattr(Executor, "hidden", dies)
        again = evaluate(settings, folder=tmp_path)
        assert done == -1000 + 8 + 8  # the reference, and the second model
    assert again.models == undisturbed.models


def test_the_weights_of_the_reference_come_back() -> None:
    model = open_model(str(MODEL), False, torch.device("cpu"))
    executor = Executor(model)
    ids = torch.arange(30)[None]
    before = executor.hidden(ids)
    tiny = format_of(open_checkpoint(MODEL))
    candidate = OfCheckpoint(str(MODEL), tiny)
    rounds = executor.activations(candidate, ids[0])
    with executor.running(candidate):
        for key in model.weights():
            model.put(key, torch.zeros_like(model.weights()[key]))
        assert not torch.equal(executor.hidden(ids, rounds), before)
    assert torch.equal(executor.hidden(ids), before)


def test_a_model_of_another_base_is_named_and_the_others_are_measured(ask: Command, tmp_path: Path) -> None:
    found = ask.json("demo", BASES / "base_mamba2" / "mamba2-tiny", MODEL, *SHORT)
    (failed,) = found["not_measured"]
    assert failed["name"].endswith("mamba2-tiny")
    assert "backbone.layers" in failed["problem"]
    assert [m["answer"] for m in found["models"]] == ["equal"]


def test_exit_codes_keep_apart_what_pipelines_ask(ask: Command, two_alphas: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    tensors = dict(load_file(MODEL / "model.safetensors"))
    tensors["backbone.norm_f.weight"] = tensors["backbone.norm_f.weight"] * 0
    save_file(tensors, broken / "model.safetensors")
    (broken / "config.json").write_text((MODEL / "config.json").read_text())
    assert ask.json("demo", MODEL, "--check", *SHORT)["models"][0]["answer"] == "equal"
    assert ask.json("demo", broken, "--check", *SHORT, code=1)["models"][0]["answer"] == "worse"
    ask.json("demo", BASES / "base_mamba2" / "mamba2-tiny", "--check", *SHORT, code=3)
    few = ("--samples", "3", "--seq-len", "16", "--floor-seeds", "0")
    ask.json("demo", two_alphas / "out" / "pa-0.99-w8a8", "--check", *few, code=4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "MODEL is missing"), (("--alpha", "0.9"), "belong together"), ((MODEL, "--samples", "0"), "--samples"),
        ((MODEL, "--seq-len", "1"), "--seq-len"),
        ((MODEL, "--batch", "-1"), "--batch"), ((MODEL, "--margin", "0"), "margin"),
        ((MODEL, "--alpha", "2", "--run", "x"), "from 0 to 1"), ((MODEL, "--device", "tpu"), "--device"),
        (("/nowhere",), "/nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_sentence(ask: Command, words: tuple[Any, ...], said: str) -> None:
    assert said in ask.error("demo", *words)


@needs_fixtures
def test_names_of_another_library_are_the_same_weights() -> None:
    """GGUF in the very numbers of its original: every prediction is the same."""
    paths = (str(folder("base_llama1")), str(folder("gguf_bf16") / "model"))
    (m,) = evaluate(EvaluateSettings(paths[0], paths[1:], samples=9, seq_len=24, floor_seeds=0)).models
    assert (m.answer, m.kl_max) == ("equal", 0)


@needs_fixtures
@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("base_llama", "ct_nvfp4"), ("base_llama", "gptq_v1_sym_g32"), ("base_llama", "modelopt_nvfp4"),
        ("base_llama", "ct_fp8_dynamic"), ("base_llama1", "ct_int8_w8a8_static"), ("base_llama1", "gguf_q4_0"),
    ],
)  # fmt: skip
def test_checkpoints_of_libraries_run_in_the_modules_of_their_original(ask: Command, base: str, name: str) -> None:
    """Every linear layer has codes, so none is the original's; and a better format is nearer."""
    found = ask.json(folder(base), folder(name) / "model", *SHORT)
    assert found["not_measured"] == []
    (m,) = found["models"]
    assert 0 < m["kl"]["value"] < 0.2
    assert json.dumps(m["not_simulated"]) == "[]"


def test_the_command_line_of_settings_says_each_of_them() -> None:
    settings = EvaluateSettings(
        "ref", ("a", "b"), (0.99, 1.0), "run", ("x.jsonl", "y.jsonl"), samples=3, margin=0.02, limit=7
    )
    alphas_and_items = "--alpha 0.99 --alpha 1.0 --run run --items x.jsonl --items y.jsonl"
    assert " ".join(settings.words()) == f"ref a b {alphas_and_items} --samples 3 --margin 0.02 --limit 7"


def test_bits_per_byte_are_known_where_tokens_are_bytes(ask: Command) -> None:
    """Of the demo model a token is a byte."""
    (m,) = ask.json("demo", MODEL, *SHORT)["models"]
    assert m["bits_per_byte"] == pytest.approx(np.log2(m["perplexity"]), rel=1e-12)
    assert m["bits_per_byte"] == m["bits_per_byte_reference"]


def test_sharing_a_forward_is_part_of_the_noise_floor(ask: Command) -> None:
    """The demo computes in float32 here: another order of sums, and no other prediction. Of two windows none share."""
    floor = ask.json("demo", MODEL, "--samples", "16", "--seq-len", "24", "--floor-seeds", "1")["noise_floor"]
    assert floor["batch"] == 4
    assert 0 <= floor["batch_kl"] < floor["kl"] / 10
    assert floor["batch_same_top"] > 0.98
    few = ask.json("demo", MODEL, "--samples", "8", "--seq-len", "24", "--floor-seeds", "1")["noise_floor"]
    assert (few["batch"], few["batch_kl"]) == (0, None)


def test_windows_that_shared_a_forward_run_alone_for_the_floor(ask: Command) -> None:
    words = ("demo", MODEL, "--samples", "8", "--seq-len", "24", "--floor-seeds", "1", "--batch", "4")
    floor = ask.json(*words)["noise_floor"]
    assert floor["batch"] == 1
    assert 0 <= floor["batch_kl"] < floor["kl"] / 10
    out, _ = ask(*words, "--here")
    assert "each window alone against those in one forward" in " ".join(out.split())


def test_the_best_of_three_is_tested_on_other_documents(ask: Command, two_alphas: Path) -> None:
    """And of two none is chosen."""
    both = [two_alphas / "out" / f"pa-{alpha}-w8a8" for alpha in ("0.99", "0.9999")]
    few = ("--samples", "16", "--seq-len", "24", "--floor-seeds", "0")
    best = ask.json("demo", MODEL, *both, *few)["best"]
    assert (best["models"], best["documents_that_chose"], best["documents_that_tested"]) == (3, 8, 8)
    assert ask.json("demo", *both, *few)["best"] is None
    asked = EvaluateSettings(str(MODEL), (str(MODEL), *map(str, both)), samples=16, seq_len=24, floor_seeds=0)
    said = " ".join(evaluation_text(evaluate(asked), None).split())
    assert f"best of 3 by perplexity in every second document (8): {best['name']}" in said


def test_a_model_without_one_finite_logit_is_said_to_have_none(ask: Command, tmp_path: Path) -> None:
    tensors = dict(load_file(MODEL / "model.safetensors"))
    tensors["backbone.norm_f.weight"] = tensors["backbone.norm_f.weight"] * np.float16("nan")
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((MODEL / "config.json").read_text())
    asked = EvaluateSettings(str(MODEL), (str(MODEL), str(tmp_path)), samples=8, seq_len=16, floor_seeds=0)
    said = " ".join(evaluation_text(evaluate(asked), None).split())
    assert "nothing can be said: none of 120 tokens has finite logits" in said
    assert "nothing can be said: no token has finite logits in both" in said
    ask.json("demo", tmp_path, "--check", *SHORT, code=3)


def _edited(name: str, target: Path, drop: str) -> Path:
    """A fixture without one tensor."""
    shutil.copytree(folder(name) / "model", target)
    (file,) = target.glob("*.safetensors")
    tensors = load_torch(file)
    del tensors[drop]
    save_torch(tensors, file, {"format": "pt"})
    return target


@needs_fixtures
@pytest.mark.parametrize(
    ("base", "name", "drop"),
    [
        ("base_llama1", "ct_fp8_static", "model.layers.0.mlp.down_proj.weight_scale"),
        ("base_llama", "gptq_v1_sym_g32", "model.layers.0.mlp.down_proj.scales"),
    ],
)
def test_a_missing_scale_is_named_by_its_key(ask: Command, tmp_path: Path, base: str, name: str, drop: str) -> None:
    """It is not taken for a model of another reference."""
    (failed,) = ask.json(folder(base), _edited(name, tmp_path / "model", drop), *SHORT)["not_measured"]
    assert f"key {drop}" in failed["problem"]
    assert "Name the reference" not in failed["problem"]


@needs_fixtures
def test_an_input_scale_that_others_have_is_missed(ask: Command, tmp_path: Path) -> None:
    path = _edited("ct_fp8_static", tmp_path / "model", "model.layers.0.mlp.down_proj.input_scale")
    (m,) = ask.json(folder("base_llama1"), path, *SHORT)["models"]
    assert m["points"] == 6
    assert m["not_simulated"] == [
        "1 activation, first layers.0.mlp.down_proj:input: no scale is stored, as it is of 6 others"
    ]


def test_a_model_of_another_tokenizer_is_warned_of(tmp_path: Path) -> None:
    vocab = {"a": 0, "b": 1, "c": 2}
    for name, of in (("reference", vocab), ("same", vocab), ("other", {"a": 0, "c": 1, "b": 2})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": of}}))
    paths = {p.name: str(p) for p in tmp_path.iterdir()}
    assert other_tokens_said(paths["reference"], paths["same"]) is None
    said = other_tokens_said(paths["reference"], paths["other"])
    assert said is not None
    assert "2 ids of 3 stand for another token, first 1, 'b' there and 'c' here" in said
    (tmp_path / "other" / "tokenizer.json").write_text('{"model": [')
    assert other_tokens_said(paths["reference"], paths["other"]) is None


def test_memory_that_runs_out_between_forwards_is_one_sentence(ask: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's allocator on a CPU says it, while logits become figures."""

    def fails(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 524288000 bytes.")

    monkeypatch.setattr("qinspect.inspector.evaluate.work.figures_of", fails)
    (failed,) = ask.json("demo", MODEL, *SHORT)["not_measured"]
    assert "too little memory" in failed["problem"]
    assert "524 MB more were asked for. Choose --seq-len 12" in failed["problem"]
