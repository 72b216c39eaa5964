"""Writing a checkpoint's quantized weights out as float32 safetensors, streamed and atomic."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint.safetensors import header_bytes
from qinspect.inspector.cores import in_order, n_cores
from qinspect.inspector.errors import CannotOpen, UnknownKey
from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.progress import Steps
from qinspect.inspector.values.inspection import row_blocks
from qinspect.inspector.whole_file import replacing, umask

_MOST_WORKERS = 32
"""Each holds a block of some 16 MB, and what it is made of."""


def select(fmt: Format, pattern: str | None) -> list[QuantizedWeight]:
    """Quantized weights whose name matches the glob. Raises UnknownKey where none does."""
    chosen = [w for w in fmt.weights() if pattern is None or fnmatchcase(w.name, pattern)]
    if chosen:
        return chosen
    if pattern is None:
        raise UnknownKey(
            "there is no quantized weight to dequantize",
            file=fmt.checkpoint.path,
            found=fmt.description,
            cure="The format is not recognised, or the checkpoint is in full precision already.",
        )
    raise UnknownKey(
        "no quantized weight matches",
        file=fmt.checkpoint.path,
        key=pattern,
        found=f"{len(fmt.weights())} others, such as {fmt.weights()[0].name}" if fmt.weights() else "none at all",
        cure="The pattern is a glob over whole names: '*in_proj*'.",
    )


def write_dequantized(
    fmt: Format, out: Path, pattern: str | None = None, progress: Steps | None = None
) -> tuple[int, int]:
    """Write [out, in] float32 values without padding under the truth names. Returns (tensors, bytes).

    Blocks of rows are computed by all cores and written in order. The file appears under its name only when complete.
    Raises CannotOpen where the place cannot be written, is no .safetensors name, or is the checkpoint itself.
    """
    weights = select(fmt, pattern)
    if out.suffix != ".safetensors":
        raise CannotOpen("is not a safetensors name", file=out, expected="a name ending in .safetensors")
    if any(_same_file(out, f.path) for f in fmt.checkpoint.files):
        raise CannotOpen("is the checkpoint that is read", file=out, cure="Write to another file.")
    header: dict[str, object] = {"__metadata__": {"format": "pt", "dequantized_from": fmt.description}}
    end = 0
    for w in weights:
        n = 4 * int(np.prod(w.shape, dtype=np.int64))
        header[w.name] = {"dtype": "F32", "shape": list(w.shape), "data_offsets": [end, end + n]}
        end += n
    try:
        with replacing(out) as f:
            f.write(header_bytes(header))
            done = 0
            with closing(_blocks(fmt, weights)) as blocks:  # who stops, stops the workers before the file goes
                for block in blocks:
                    f.write(block.data)
                    done += block.nbytes
                    if progress:
                        progress(done, end)
            os.fchmod(f.fileno(), 0o666 & ~umask())
    except OSError as e:
        raise CannotOpen(f"cannot be written: {e.strerror}", file=out) from e
    return len(weights), end


def _blocks(fmt: Format, weights: list[QuantizedWeight]) -> Generator[NDArray[np.float32]]:
    """The float32 of all rows, in order, computed by as many workers as there are cores. A block of each and two more
    are held at most. Closing it ends the workers."""

    def made(weight: QuantizedWeight, start: int, stop: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(fmt.dequantize(weight, start, stop), dtype="<f4")

    n_workers = max(1, min(_MOST_WORKERS, n_cores()))
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="dequantize")
    jobs = ((weight, start, stop) for weight in weights for start, stop in row_blocks(weight))
    try:
        for _, block in in_order(pool, made, jobs, n_workers + 1):
            yield block
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _same_file(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:  # one of them does not exist, or cannot: writing says so
        return False
