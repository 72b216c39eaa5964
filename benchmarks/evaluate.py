"""An evaluation on a GPU against plain forwards, and its kernels against what torch offers, in one run.

    python benchmarks/evaluate.py [--model 1b|8b|none] [--tokens N] [--folder DIR]

Needs a CUDA device, torch with triton, and transformers. The models are generated: the public shapes of Llama 3.2 1B
and Llama 3.1 8B with random bfloat16 weights, which are as fast as others. `plain` is transformers' own forward with
its logits, in the same batches, of a model without hooks that shares the weights; an evaluation runs the reference once
and the model once, so it is held against two of these. The weights of both are on the GPU all the time. Times are the
least of several, after one that is not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

from qinspect.inspector.evaluate import fake_quantize
from qinspect.inspector.evaluate.batching import batches_of, rows_at_once, windows_at_once
from qinspect.inspector.evaluate.candidate import Activations, role_of
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.work import _pass_reference, _tokens
from qinspect.inspector.formats.element import integer, small_float
from qinspect.inspector.models.load import EditableModel, open_model
from qinspect.kernels import logits, reference, rounding
from qinspect.kernels.logits import logit_figures

SHAPES: dict[str, dict[str, Any]] = {
    "1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": False,
    },
}  # fmt: skip
VOCABULARY, SEQ_LEN = 128_256, 512
DEVICE = torch.device("cuda")


def least(f: Callable[[], object], repeat: int = 3) -> tuple[float, int]:
    """Seconds of the quickest of so many, after one that is not counted, and bytes beside what was there before."""
    f()
    took = []
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        torch.cuda.synchronize()
        took.append(time.perf_counter() - start)
    return min(took), torch.cuda.max_memory_allocated() - before


def by_torch(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL one way and nothing else: log_softmax and kl_div of float32."""
    lp, lq = (functional.log_softmax(x, -1, dtype=torch.float32) for x in (p, q))
    return functional.kl_div(lq, lp, reduction="none", log_target=True).sum(-1)


def head(vocabulary: int, rows: int, dtype: torch.dtype) -> None:
    """All figures of logits by the kernel, against KL alone by torch."""
    torch.manual_seed(0)
    p = (3 * torch.randn(rows, vocabulary, device=DEVICE)).to(dtype)
    q = (p.float() + 0.1 * torch.randn(rows, vocabulary, device=DEVICE)).to(dtype)
    right = torch.randint(0, vocabulary, (rows,), device=DEVICE)
    ours, ours_bytes = least(lambda: logit_figures(p, q, right), 10)
    theirs, theirs_bytes = least(lambda: by_torch(p, q), 5)
    part = slice(0, 256)
    found, plain = logit_figures(p[part], q[part], right[part]), by_torch(p[part], q[part])
    expected = reference.logit_figures(p[part], q[part], right[part], 5)["kl"]
    rate = 2 * p.numel() * p.element_size() / ours / 1e12
    print(
        f"  {vocabulary:7,} {str(dtype)[6:]:9}{1e3 * ours:9.3f} ms {rate:5.2f} TB/s {ours_bytes / 2**20:9,.1f} MiB"
        f"   torch {1e3 * theirs:9.3f} ms ({theirs / ours:4.1f}x) {theirs_bytes / 2**20:9,.1f} MiB"
        f"   error of KL {float((found.kl - expected).abs().max()):.1e},"
        f" torch's {float((plain - expected).abs().max()):.1e}",
        flush=True,
    )


def round_by_torch(x: torch.Tensor, kind: str) -> torch.Tensor:
    """The bodies of the CPU, on the GPU."""
    with mock.patch.object(rounding, "has_triton", return_value=False):
        return ROUNDINGS[kind](x)


SCALE = torch.tensor(0.02)
ROUNDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "int8, one scale": lambda x: rounding.by_one_scale(x, rounding.CodeRange(-128, 127), SCALE),
    "int8, by token": lambda x: rounding.by_token(x, rounding.CodeRange(-128, 127), 127),
    "e4m3, by token": lambda x: rounding.by_token(x, rounding.E4M3, 448),
    "NVFP4, by 16": lambda x: rounding.by_block(x, rounding.E2M1, 6, 16, SCALE),
    "MXFP4, by 32": lambda x: rounding.by_power_of_two(x, rounding.E2M1, 6, 32),
}


def roundings() -> None:
    """One call on [8192, 14336] of bfloat16."""
    x = torch.randn(8192, 14_336, device=DEVICE).bfloat16()
    print("\nrounding of bfloat16[8192, 14336]: a kernel, and the bodies of the CPU in torch on the GPU")
    for kind, quantize in ROUNDINGS.items():
        ours, ours_bytes = least(lambda quantize=quantize: quantize(x), 10)  # type: ignore[misc]
        theirs, theirs_bytes = least(lambda kind=kind: round_by_torch(x, kind), 5)  # type: ignore[misc]
        print(
            f"  {kind:16}{1e3 * ours:8.3f} ms {4 * x.numel() / ours / 1e12:5.2f} TB/s {ours_bytes / 2**20:7,.0f} MiB"
            f"   torch {1e3 * theirs:8.3f} ms ({theirs / ours:4.1f}x) {theirs_bytes / 2**20:7,.0f} MiB",
            flush=True,
        )


def generated(name: str, folder: Path) -> Path:
    """The files of a model of this shape."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    path = folder / name
    if (path / "config.json").exists():
        return path
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=8192, dtype=torch.bfloat16, **SHAPES[name])
    with DEVICE:
        made: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    made.to(torch.bfloat16)
    made.save_pretrained(path)
    return path


def whole(name: str, folder: Path, n_tokens: int) -> None:
    """Reference and model through an evaluation, and twice through a plain forward."""
    start = time.perf_counter()
    model = open_model(str(generated(name, folder)), False, DEVICE)
    print(f"\n{name}: made and opened in {time.perf_counter() - start:.0f} s", flush=True)
    own: Any = model
    plain = type(own._model)(own._model.config).to("meta").eval()
    plain.load_state_dict(own._model.state_dict(), assign=True, strict=False)
    plain.tie_weights()
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (n_tokens // SEQ_LEN, SEQ_LEN))
    batches = batches_of(list(ids), windows_at_once(DEVICE, SEQ_LEN))
    print(
        f"{n_tokens:,} tokens in windows of {SEQ_LEN}, {len(batches[0].ids)} a forward; "
        f"{rows_at_once(DEVICE, VOCABULARY):,} rows of logits at a time"
    )

    def forwards(of: Any) -> None:
        with torch.inference_mode():
            for batch in batches:
                of(batch.ids.to(DEVICE), use_cache=False).logits  # noqa: B018

    rotary = {k: b.to(DEVICE) for k, b in own._model.named_buffers()}
    for key, buffer in rotary.items():
        parent, _, last = key.rpartition(".")
        plain.get_submodule(parent).register_buffer(last, buffer, persistent=False)
    repeat = 5 if name == "1b" else 2
    once, peak = least(lambda: forwards(plain), repeat)
    print(f"  {'two plain forwards':44}{2 * once:8.3f} s{'':9}peak beside weights {peak / 2**30:5.2f} GiB", flush=True)
    executor = Executor(model)
    for kind, rounds in kinds(model).items():
        if name != "1b" and kind not in ("itself", "weight-only", "w8a8, int8 by token", "NVFP4 activations"):
            continue
        weights = {} if kind == "itself" else rounded(model)
        found: list[Any] = []

        def evaluation(
            rounds: Activations = rounds, weights: dict[str, torch.Tensor] = weights, into: list[Any] = found
        ) -> None:
            passed = _pass_reference(executor, batches, lambda *_: None)
            own = {key: model.names()[key] for key in weights}
            for key, values in weights.items():
                model.put(key, values)
            into.append(_tokens(passed, executor, rounds, lambda *_: None).kl)
            for key, values in own.items():
                model.put(key, values)

        took, peak = least(evaluation, repeat)
        kl = found[-1]
        print(
            f"  {'reference + ' + kind:44}{took:8.3f} s {took / (2 * once):6.3f}x"
            f"  peak beside weights {peak / 2**30:5.2f} GiB   mean KL {kl.mean():.4g}, largest {kl.max():.4g}",
            flush=True,
        )
        assert bool(kl.any()) == bool(weights), "the control is not exactly 0, or a model is the control"


def kinds(model: EditableModel) -> dict[str, Activations]:
    """What rounds: nothing, or every input of a linear layer but the head."""
    points = [role_of(p) for p in model.may_show if p.endswith(":input") and "lm_head" not in p]
    scale = torch.tensor(0.02, device=DEVICE)
    outer = torch.tensor(0.001, device=DEVICE)
    fp4 = small_float("float4_e2m1fn")
    quantizers = {
        "w8a8, int8 static": fake_quantize.static(integer(8), scale),
        "w8a8, int8 by token": fake_quantize.of_each_token(integer(8)),
        "w8a8, e4m3 by token": fake_quantize.of_each_token(small_float("float8_e4m3fn")),
        "NVFP4 activations": fake_quantize.of_blocks(fp4, 16, outer),
        "MXFP4 activations": fake_quantize.microscaled(fp4, 32),
    }
    made = {"itself": Activations(), "weight-only": Activations()}
    return {**made, **{k: Activations(dict.fromkeys(points, q)) for k, q in quantizers.items() if q is not None}}


def rounded(model: EditableModel) -> dict[str, torch.Tensor]:
    """Weights of linear layers rounded to 8 bits by row, as a checkpoint has them."""
    made = {}
    for key in model.linears:
        w = model.names()[key]
        step = w.abs().amax(1, keepdim=True).float() / 127
        made[key] = ((w.float() / step).round() * step).to(w.dtype)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=[*SHAPES, "none"], action="append")
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--folder", default="", help="where generated models are kept")
    asked = parser.parse_args()
    name = torch.cuda.get_device_name()
    print(json.dumps({"gpu": name, "torch": torch.__version__, "cuda": torch.version.cuda}))
    global SCALE  # noqa: PLW0603  # a tensor of the device that is there
    SCALE = SCALE.to(DEVICE)
    print("\nfigures of 4,096 rows of logits: the kernel (all figures), and log_softmax + kl_div in float32 (KL alone)")
    assert logits.has_triton(), "triton is missing"
    for vocabulary in (32_000, 128_256, 151_936):
        head(vocabulary, 4096, torch.bfloat16)
    head(128_256, 2048, torch.float32)
    roundings()
    with tempfile.TemporaryDirectory() as passing:
        for model in asked.model or ["1b", "8b"]:
            if model != "none":
                whole(model, Path(asked.folder or passing), asked.tokens)
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
