"""What open_compare.py measures qinspect against, each a process of its own: `python open_compare_rivals.py NAME ...`.

Scripts as one would write them by hand, so nothing is imported before a script needs it. Those that compare print how
many scales differ, which open_compare.py checks against qinspect's answer.
"""

import os
import sys


def trace(out: str, *command: str) -> None:
    """Run qinspect once and write what it read, (file, offset, bytes) each: the list that `pread` replays.

    Fails where qinspect imported torch. Not timed.
    """
    from array import array

    reads: dict[tuple[str, int, int], None] = {}
    pread, preadv = os.pread, os.preadv

    def traced_pread(fd: int, n: int, offset: int) -> bytes:
        reads[os.readlink(f"/proc/self/fd/{fd}"), offset, n] = None
        return pread(fd, n, offset)

    def traced_preadv(fd: int, buffers, offset: int) -> int:  # type: ignore[no-untyped-def]
        reads[os.readlink(f"/proc/self/fd/{fd}"), offset, sum(len(b) for b in buffers)] = None
        return preadv(fd, buffers, offset)

    os.pread, os.preadv = traced_pread, traced_preadv  # type: ignore[assignment]
    from qinspect.inspector.cli import main

    if main(command) not in (0, 1):
        raise SystemExit("qinspect failed")
    if "torch" in sys.modules:
        raise SystemExit("qinspect imported torch")
    paths = list(dict.fromkeys(path for path, _, _ in reads))
    number = {path: i for i, path in enumerate(paths)}
    with open(out, "wb") as f:
        f.write("\n".join(paths).encode() + b"\n\n")
        array("Q", [v for path, at, n in reads for v in (number[path], at, n)]).tofile(f)


def warm(listed: str) -> None:
    """`pread`, leaving nothing else in the page cache: without reading ahead, which would take in 20 GB of holes."""
    pread(listed, os.POSIX_FADV_RANDOM)


def pread(listed: str, advice: int = os.POSIX_FADV_NORMAL) -> None:
    """Read what `trace` listed, and do nothing with it."""
    from array import array

    with open(listed, "rb") as f:
        paths, _, numbers = f.read().partition(b"\n\n")
    fds = [os.open(path, os.O_RDONLY) for path in paths.split(b"\n")]
    for fd in fds:
        os.posix_fadvise(fd, 0, 0, advice)
    reads = array("Q", numbers)
    for i in range(0, len(reads), 3):
        os.pread(fds[reads[i]], reads[i + 2], reads[i + 1])


def read_all(folder: str) -> None:
    """Read every file under a folder, to have it in the page cache."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb", buffering=0) as f:
                while f.read(1 << 20):
                    pass


def safe_open(a: str, b: str, framework: str) -> None:
    """The lazy script for safetensors: open all shards, loop over keys containing 'scale'."""
    from contextlib import ExitStack
    from pathlib import Path

    if framework == "pt":
        from torch import equal
    else:
        from numpy import array_equal as equal  # type: ignore[assignment]
    from safetensors import safe_open

    with ExitStack() as stack:
        models = []
        for folder in (a, b):
            shards = [stack.enter_context(safe_open(p, framework)) for p in sorted(Path(folder).glob("*.safetensors"))]
            models.append({key: shard for shard in shards for key in shard.keys() if "scale" in key})  # noqa: SIM118
        n = sum(not equal(models[0][k].get_tensor(k), models[1][k].get_tensor(k)) for k in models[0])
    print(n, "differ")


def torch_load(a: str, b: str, how: str) -> None:
    """`lazy`: torch.load(mmap=True); `all`: load everything. Then loop over keys containing 'scale'."""
    from pathlib import Path

    import torch

    models = []
    for folder in (a, b):
        state = {}
        for path in sorted(Path(folder).glob("*.bin")):
            state.update(torch.load(path, mmap=how == "lazy", weights_only=True))
        models.append(state)
    n = 0
    for key, x in models[0].items():
        if "scale" in key:
            y = models[1][key]
            n += not torch.equal(x, y) if isinstance(x, torch.Tensor) else x != y
    print(n, "differ")


if __name__ == "__main__":
    scripts = {f.__name__: f for f in (trace, warm, pread, read_all, safe_open, torch_load)}
    scripts[sys.argv[1]](*sys.argv[2:])
