"""How much memory a model and one forward of it take at least, how much is free, and what would fit instead.

The needs are lower bounds: who is refused by them could not have run. No torch in here; what a GPU has free is told.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.errors import CannotRead, QinspectError
from qinspect.inspector.text import size

BYTES_OF = {"float16": 2, "bfloat16": 2, "float32": 4}
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Need:
    """What a model takes. elements: of all its weights. copied: of those that are kept a second time in float32, as
    Mamba's are on the CPU. vocab_size: columns of the logits, 0 for a model without a head."""

    elements: int
    dtype: str
    copied: int = 0
    vocab_size: int = 0

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return self.elements * BYTES_OF[self.dtype] + (4 * self.copied if self.dtype != "float32" else 0)

    def forward(self, batch: int, length: int) -> int:
        """Bytes of the logits: what a forward ends with at least."""
        return batch * length * self.vocab_size * BYTES_OF[self.dtype]


def host_free() -> int:
    """Bytes that this process can still have on the host: of the machine, its group and its own limit, the least."""
    import psutil

    free = [psutil.virtual_memory().available + psutil.swap_memory().free]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free.append(max(0, limit - psutil.Process(os.getpid()).memory_info().vms))
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        if most != "max":
            free.append(max(0, int(most) - int((_CGROUP / "memory.current").read_text())))
    except (OSError, ValueError):  # no such group
        pass
    return min(free)


def check_weights(need: Need, path: str, device: str, free: int, others: Callable[[], dict[str, int]]) -> None:
    """Raises CannotRead where the weights do not fit into `free` bytes. others: free bytes of other devices."""
    if need.weights > free:
        raise CannotRead(
            "the model does not fit into memory", file=path,
            expected=f"{size(free)} at most, as are free on {device}",
            found=f"{size(need.weights)} of weights in {need.dtype}", cure=_weights_cure(need, free, others()),
        )  # fmt: skip


def check_forward(need: Need, path: str, device: str, free: int, batch: int, length: int) -> None:
    """Raises CannotRead where the logits of one forward do not fit into `free` bytes beside the weights."""
    if need.forward(batch, length) > free:
        one = need.forward(1, 1)
        cure = f"Choose --batch {free // need.forward(1, length)}." if free >= need.forward(1, length) else (
            f"Choose --seq-len below {free // one}, and --batch 1." if free >= one else "Choose another --device."
        )  # fmt: skip
        raise CannotRead(
            f"a forward pass of {batch} x {length} tokens does not fit into memory", file=path,
            expected=f"{size(free)} at most, as are free on {device}",
            found=f"{size(need.forward(batch, length))} of logits alone", cure=cure,
        )  # fmt: skip


def no_room(path: str, said: object, device: str = "", batch: int = 0, length: int = 0) -> CannotRead:
    """Memory that was gone in the middle of something, although the least that it takes was there."""
    smaller = []
    if batch > 1:
        smaller.append("--batch 1")
    smaller.append(f"--seq-len {length // 2}" if length > 1 else "a smaller --seq-len or --batch")
    smaller.append("--device cpu" if device.startswith("cuda") else "a free GPU, or --device auto or cpu")
    return CannotRead(
        f"the device has too little memory for the model and one forward pass: {_asked(str(said))}", file=path,
        cure=f"Choose {', '.join(smaller)}.",
    )  # fmt: skip


@contextmanager
def telling_shortage(path: str, device: str, batch: int = 0, length: int = 0) -> Iterator[None]:
    """Memory that runs out inside becomes CannotRead, as `no_room` makes it; what else is raised stays what it is."""
    try:
        yield
    except QinspectError:
        raise
    except Exception as e:
        if not is_shortage(e):
            raise
        raise no_room(path, " ".join(str(e).split()) or "out of memory", device, batch, length) from e


def is_shortage(error: BaseException) -> bool:
    """Whether an exception of torch's, numpy's or Python's is about memory."""
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(s in said for s in ("can't allocate memory", "out of memory", "bad_alloc", "Unable to mmap"))
    )


def _asked(said: str) -> str:
    """What an allocator says, without where in its source it says it."""
    n_bytes = re.search(r"tried to allocate (\d+) bytes", said)
    if n_bytes:
        return f"{size(int(n_bytes[1]))} more were asked for"
    tried = re.search(r"Tried to allocate [\d.]+ \w+", said)
    return tried[0] if tried else said.split(". ")[0]


def _weights_cure(need: Need, free: int, others: dict[str, int]) -> str:
    ways = [f"--device {name} has {size(n)} free" for name, n in others.items() if n >= need.weights]
    if need.dtype == "float32" and Need(need.elements, "bfloat16", need.copied).weights <= free:
        ways.append(f"--dtype bfloat16 takes {size(Need(need.elements, 'bfloat16', need.copied).weights)}")
    return f"What fits: {', '.join(ways)}." if ways else "Free memory, or use a larger machine."
