"""The exact counts on a GPU against the rate of reading alone, an empty launch, and what torch offers, in one run.

    python benchmarks/kernels.py [--elements N]

Needs a CUDA device, torch and cuda-core. Launches are timed by events around each (median), those of small tensors
inside a CUDA graph too, where the host is out of the way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from qinspect.kernels import cuda_counts, magnitude_counts, segmented_magnitude_counts, signed_counts
from qinspect.kernels.cuda_counts import FULL_BINS, THREADS
from qinspect.kernels.nvrtc import CudaKernel

READER = r"""
typedef unsigned long long u64;
extern "C" __global__ void __launch_bounds__(1024, 1) reader(u64 data, u64 vectors, u64 out) {
    const uint4* p = (const uint4*)data;
    u64 per = (vectors + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * per;
    u64 end = begin + per < vectors ? begin + per : vectors;
    unsigned sum = 0;
    for (u64 at = begin + threadIdx.x; at + 7 * 1024 < end; at += 8 * 1024) {
        uint4 v[8];
#pragma unroll
        for (int i = 0; i < 8; i++)
            asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                         : "=r"(v[i].x), "=r"(v[i].y), "=r"(v[i].z), "=r"(v[i].w) : "l"(p + at + i * 1024));
#pragma unroll
        for (int i = 0; i < 8; i++) sum ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    if (sum == 0x12345678) *(unsigned*)out = sum;
}
extern "C" __global__ void empty() {}
"""


def microseconds(f: Callable[[], object], repeat: int = 15) -> float:
    """Median time between events around a call."""
    for _ in range(3):
        f()
    torch.cuda.synchronize()
    pairs = []
    for _ in range(repeat):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        f()
        end.record()
        pairs.append((start, end))
    torch.cuda.synchronize()
    return 1000 * float(median(a.elapsed_time(b) for a, b in pairs))


def in_graph(f: Callable[[], object], launches: int = 50) -> float:
    """Time of one launch of a graph of many."""
    f()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(launches):
            f()
    return microseconds(graph.replay, 7) / launches


def launch(kernel: CudaKernel, grid: int, *arguments: object) -> None:
    """On torch's stream."""
    kernel(torch.cuda.current_stream().cuda_stream, grid, THREADS, *arguments)


def sample(kind: str, n: int, dtype: torch.dtype) -> torch.Tensor:
    """`n` values of a kind that calibration meets."""
    x = torch.randn(n, device="cuda")
    if kind == "SiLU-like":
        x = torch.nn.functional.silu(2 * x)
    elif kind == "90 % zeros":
        x = torch.where(torch.rand(n, device="cuda") < 0.9, 0.0, x)
    elif kind == "constant":
        x = torch.full((n,), 1.5, device="cuda")
    elif kind == "heavy tails":
        x = x / (torch.rand(n, device="cuda") + 1e-3)
    elif kind == "int8 codes":
        x = torch.round(30 * x).clamp(-127, 127) / 32
    elif kind == "holds bfloat16":
        x = x.to(torch.bfloat16).float()
    return x.to(dtype)


def large(n: int, read_us: float) -> None:
    """One large tensor of each kind."""
    kernel = (4 * FULL_BINS,)
    source = _source()
    unmixed = CudaKernel(source, "count_one_segment", {"PARTS": 1, "BINS": FULL_BINS, "MIX": 0}, 0, *kernel)
    counts = torch.zeros(FULL_BINS, dtype=torch.int64, device="cuda")
    signed = torch.zeros(2 * FULL_BINS, dtype=torch.int64, device="cuda")
    n_sm = torch.cuda.get_device_properties(0).multi_processor_count
    print(f"\n{n:,} elements: TB/s, and share of the rate of reading alone; without mixing the banks; signed form")
    for dtype in (torch.bfloat16, torch.float16):
        for kind in ("gaussian", "SiLU-like", "90 % zeros", "constant", "heavy tails", "int8 codes", "holds bfloat16"):
            x = torch.cat([sample(kind, n // 8, dtype)] * 8)
            ours = microseconds(partial(magnitude_counts, x, counts))
            both = microseconds(partial(signed_counts, x, signed), 5)
            arguments = (np.uint64(x.data_ptr()), np.uint64(n), np.uint64(counts.data_ptr()), np.uint32(FULL_BINS - 1))
            plain = microseconds(partial(launch, unmixed, n_sm, *arguments), 5)
            rates = [2e-6 * n / t for t in (ours, plain, both)]
            print(
                f"  {str(dtype)[6:]:9} {kind:15} {rates[0]:5.2f} {read_us / ours:6.1%}"
                f"   unmixed {rates[1]:5.2f}   signed {rates[2]:5.2f}",
                flush=True,
            )


def small(empty: CudaKernel) -> None:
    """Launch-bound sizes."""
    nothing = in_graph(partial(launch, empty, 132))
    counts = torch.zeros(FULL_BINS, dtype=torch.int64, device="cuda")
    print(f"\none small tensor: us in a graph (an empty launch: {nothing:.2f}), and with the host")
    for n in (4096, 65_536, 786_432, 2_621_440, 16_777_216):
        for dtype in (torch.bfloat16, torch.float16):
            x = sample("gaussian", n, dtype)
            call = partial(magnitude_counts, x, counts)
            print(f"  {n:>11,} {str(dtype)[6:]:9} {in_graph(call):6.2f}   {microseconds(call, 40):6.1f}")


def segmented(rate: float) -> None:
    """Many tables in one launch. rate: of reading, bytes per microsecond."""
    print("\nmany tensors in one launch, bfloat16: us with the host, and over the time of reading per table")
    for tables, n in ((384, 65_536), (384, 786_432), (64, 2_621_440)):
        x = [sample("gaussian", n, torch.bfloat16) for _ in range(tables)]
        out = torch.zeros(tables, FULL_BINS, dtype=torch.int64, device="cuda")
        took = microseconds(partial(segmented_magnitude_counts, x, out=out), 9)
        print(f"  {tables:4} x {n:>9,} {took:8.1f}   {(took - 2 * tables * n / rate) / tables:5.2f}")


def against_torch(n: int) -> None:
    """What else answers, on a tensor that all of them take."""
    x = sample("gaussian", n, torch.bfloat16)
    magnitude = x.abs().float()
    patterns = x.view(torch.int16).int() & 0x7FFF
    ours = microseconds(lambda: magnitude_counts(x))
    print(f"\n{n:,} bfloat16 elements: us, times ours ({ours:.0f} us for every quantile)")
    for name, f in (
        ("torch.quantile, one", lambda: torch.quantile(magnitude, 0.9995)),
        ("torch.kthvalue, one", lambda: torch.kthvalue(magnitude, int(0.9995 * n))),
        ("torch.histc, 2,048 bins", lambda: torch.histc(magnitude, 2048)),
        ("torch.bincount of the patterns", lambda: torch.bincount(patterns, minlength=FULL_BINS)),
    ):
        took = microseconds(f, 5)
        print(f"  {name:32} {took:9.0f}  {took / ours:7.1f}x")


def _source() -> str:
    return Path(cuda_counts.__file__).with_name("counts.cu").read_text(encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--elements", type=int, default=1 << 30)
    n = parser.parse_args().elements
    reader, empty = (CudaKernel(READER, name, {}, 0, 0) for name in ("reader", "empty"))
    x = torch.empty(n, dtype=torch.int16, device="cuda").random_()
    out = torch.zeros(1, dtype=torch.int32, device="cuda")
    blocks = 2 * torch.cuda.get_device_properties(0).multi_processor_count
    arguments = (np.uint64(x.data_ptr()), np.uint64(n // 8), np.uint64(out.data_ptr()))
    read_us = microseconds(partial(launch, reader, blocks, *arguments))
    del x
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; reading alone {2e-6 * n / read_us:.2f} TB/s")
    large(n, read_us)
    small(empty)
    segmented(2 * n / read_us)
    against_torch(1 << 24)


if __name__ == "__main__":
    main()
