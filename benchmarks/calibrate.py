"""What observing costs: a plain forward, the same with every point counted and brought off the card, and with observers
that call torch.quantile, side by side in one run.

    python benchmarks/calibrate.py [--samples 60] [--sizes 130m,370m,1.3b,2.7b,llama-1b] [--length 512]

Models have random weights. Needs a CUDA device. A sample is a forward of 1 x length; its time is between two waits for
the device, the median is printed.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from qinspect.inspector.calibrate.counting import Counter, Pending
from qinspect.inspector.calibrate.engine import apart_of, find_points
from qinspect.inspector.calibrate.graphs import Graph
from qinspect.inspector.distribution.packing import pack
from qinspect.inspector.models.mamba import Mamba2Mixer, MambaLM, unobserved
from qinspect.inspector.models.mamba_config import MambaConfig
from qinspect.inspector.models.numerics import Numerics
from qinspect.inspector.observers import quamba_percentile

SIZES = {"130m": (768, 24), "370m": (1024, 48), "780m": (1536, 48), "1.3b": (2048, 48), "2.7b": (2560, 64)}


class RandomMamba:
    """A Mamba2 of a given size in float16, in Hadamard space, as the recipe quamba has it."""

    is_mamba, rotated, is_spread, dtype, path, may_show = True, True, False, "float16", "random", ()

    def __init__(self, width: int, n_layers: int) -> None:
        self.overwritten: set[str] = set()
        self.device = torch.device("cuda")
        self.vocab_size = 50_288
        config = MambaConfig(
            version=2, d_model=width, n_layers=n_layers, vocab_size=self.vocab_size, d_inner=2 * width, d_state=128,
            chunk=256, rotated=True,
        )  # fmt: skip
        torch.manual_seed(0)
        with self.device:
            self._lm = MambaLM(config, Numerics(torch.float16, torch.float16)).half()
        for block in self._lm.backbone.blocks:
            mixer = cast(Mamba2Mixer, block.mixer)
            mixer.conv1d.float()
            torch.nn.init.uniform_(mixer.A_log, 0, 2.7)
            torch.nn.init.uniform_(mixer.dt_bias, -6, -2)
        self._lm.requires_grad_(False)

    def forward(self, ids: Tensor, observe: Any) -> Tensor:
        with torch.inference_mode():
            return cast(Tensor, self._lm(ids, observe))


class RandomLlama:
    """A Llama of the shape of 3.2's 1B, in bfloat16, with hooks."""

    is_mamba, rotated, is_spread, dtype, path = False, False, False, "bfloat16", "random"

    def __init__(self) -> None:
        import tempfile

        import transformers

        from qinspect.inspector.models.load import open_model

        config = transformers.LlamaConfig(
            hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
            num_key_value_heads=8, vocab_size=128_256, tie_word_embeddings=True, dtype="bfloat16",
        )  # fmt: skip
        with torch.device("cuda"):
            made = transformers.LlamaForCausalLM(config).to(torch.bfloat16)  # type: ignore[arg-type, no-untyped-call]
        with tempfile.TemporaryDirectory() as folder:
            made.save_pretrained(folder)
            del made
            self._model = open_model(folder, False, torch.device("cuda"))
        self.device, self.vocab_size = self._model.device, 128_256
        self.forward, self.may_show, self.overwritten = self._model.forward, (), self._model.overwritten


def milliseconds(f: Callable[[], object], n: int) -> float:
    """Median over calls, each between two waits for the device."""
    for _ in range(4):
        f()
    times = []
    for _ in range(n):
        torch.cuda.synchronize()
        start = time.perf_counter()
        f()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times)


def packed_bytes(pending: Pending) -> int:
    """Bytes that the tables of a sample are stored in."""
    return sum(len(pack(table, 0).payload) for table in pending().values())


def measure(name: str, model: Any, n: int, length: int) -> None:
    recipe = "quamba" if model.is_mamba else "percentile"
    samples = np.random.default_rng(0).integers(0, model.vocab_size, (n, length))
    ids = torch.from_numpy(samples[:1]).cuda()
    points = find_points(model, samples[0, :16])
    apart = apart_of(points, recipe, [])
    alpha = 0.9995

    def quantiles() -> None:
        """As Quamba's observers: a quantile in float32 at percentile points, a maximum at the others."""

        def observe(point: str, x: Tensor) -> None:
            if point in apart or (not model.is_mamba and point.endswith(":input")):
                flat = x.float().abs().reshape(-1)
                state[point] = torch.quantile(flat[: 1 << 24], alpha)
            else:
                state[point] = x.abs().amax()

        state: dict[str, Tensor] = {}
        model.forward(ids, observe)

    with torch.inference_mode():
        plain = milliseconds(lambda: model.forward(ids, unobserved), n)
        counter = Counter({p.name: p.dtype for p in points}, apart)

        def counted() -> Any:
            model.forward(ids, counter.observe)
            return [p() for p in counter.finish()]

        eager = milliseconds(counted, n)
        quantile = milliseconds(quantiles, n)
        graphed_plain = milliseconds(partial(Graph(model, (1, length), observed=False).run, samples[:1]), n)
        graph = Graph(model, (1, length))

        def graphed() -> Any:
            counter.count_again(graph.run(samples[:1]))
            return counter.finish()

        fetched = milliseconds(lambda: [p() for p in graphed()], n)
        # as a calibration runs: packing in threads while the next forward goes on
        with ThreadPoolExecutor(4) as packers:
            start = time.perf_counter()
            jobs = [packers.submit(packed_bytes, p) for _ in range(n) for p in graphed()]
            torch.cuda.synchronize()
            forwards = time.perf_counter() - start
            n_bytes = sum(job.result() for job in jobs)
            everything = time.perf_counter() - start
        tables = graphed()[0]()
        start = time.perf_counter()
        for table in tables.values():
            pack(table, 0)
        packing = 1e3 * (time.perf_counter() - start)
        stored = [[t] * 512 for t in list(tables.values())[:8]]
        start = time.perf_counter()
        for of_samples in stored:
            quamba_percentile(alpha).scales_at(of_samples, np.linspace(0.99, 1, 100))
        replay = (time.perf_counter() - start) / max(len(stored), 1) * len(tables)
    print(f"{name}: {len(points)} points, {len(apart)} with a table of each sample")
    print(f"  plain forward                                      {plain:8.2f} ms")
    print(f"  counted, off the card, launch by launch            {eager:8.2f} ms  {eager / plain:5.2f}x")
    print(f"  with torch.quantile and amax, one alpha            {quantile:8.2f} ms  {quantile / plain:5.2f}x")
    print(
        f"  plain forward as a CUDA graph                      {graphed_plain:8.2f} ms  {graphed_plain / plain:5.2f}x"
    )
    print(f"  counted, off the card, as a calibration runs       {fetched:8.2f} ms  {fetched / plain:5.2f}x"
          f"  ({fetched / graphed_plain:.2f}x of the plain graph)")  # fmt: skip
    print(f"  {n} samples in a row                                {1e3 * forwards / n:8.2f} ms each"
          f"  {1e3 * forwards / n / plain:5.2f}x; with packing in 4 threads {1e3 * everything / n:.2f}")  # fmt: skip
    print(
        f"  packing, one thread                                {packing:8.2f} ms a sample, {n_bytes / n / 1e3:.0f} kB"
    )
    print(f"  100 alphas afterwards, 512 samples, all points     {replay:8.2f} s, without the model", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--sizes", default="130m,370m,1.3b,2.7b,llama-1b")
    args = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"samples of 1 x {args.length}, medians of {args.samples}")
    for name in args.sizes.split(","):
        model: Any = RandomLlama() if name == "llama-1b" else RandomMamba(*SIZES[name])
        measure(name, model, args.samples, args.length)
        del model
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
