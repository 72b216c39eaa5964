"""The C body of a kernel: compiled by the machine's own compiler at first use, kept, and done without where it cannot.

Measured against the alternatives (docs/distributions.md): numba is as fast but weighs 208 MB and takes 0.3 s to import;
a compiled wheel would need a compiler, or one wheel a platform, at installation. Compiling takes 0.2 to 1 s, once.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from qinspect.kernels.cache import private_folder, put

FLAGS = ("-O3", "-shared", "-fPIC", "-std=c11", "-Wno-psabi", "-ffp-contract=off")
WIDER = ("avx2", "fma")
"""Instructions that are used where this machine has them, by their names in /proc/cpuinfo and for the compiler. One
home directory may serve machines of several kinds: what is compiled for each has a name of its own."""
COMPILERS = ("cc", "gcc", "clang")
COMPILE_SECONDS = 60


@cache
def library(*sources: str) -> ctypes.CDLL | None:
    """The compiled `sources` (files beside this one, one after another), None where they cannot be had: no Linux, no
    compiler, no room."""
    if sys.platform != "linux":  # on macOS, asking for a missing `cc` opens a window
        return None
    text = b"".join((Path(__file__).parent / source).read_bytes() for source in sources)
    identity = hashlib.sha256(b"\0".join([text, *map(str.encode, (*_flags(), platform.machine()))])).hexdigest()
    name = f"{Path(sources[-1]).stem}-{identity[:32]}.so"
    try:
        folder = private_folder("kernels")
        if folder is None:
            with tempfile.TemporaryDirectory(prefix="qinspect-") as passing:  # loaded code outlives its file
                return _load(Path(passing) / name, text)
        return _load(folder / name, text)
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _flags() -> tuple[str, ...]:
    """Of the compiler, on this machine."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            has = next((line.split() for line in f if line.startswith("flags")), [])
    except OSError:
        has = []
    return (*FLAGS, *(f"-m{name}" for name in WIDER if name in has))


def _load(path: Path, text: bytes) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # not there yet, or damaged: made again
        return ctypes.CDLL(str(path)) if _compile(path, text) else None


def _compile(path: Path, text: bytes) -> bool:
    """Whether `path` is now the compiled text; False where there is no compiler."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory(prefix=".compiling-", dir=path.parent) as passing:
        made = Path(passing) / "made.so"
        subprocess.run(
            [compiler, *_flags(), "-x", "c", "-", "-o", str(made)],
            input=text, check=True, timeout=COMPILE_SECONDS, capture_output=True,
        )  # fmt: skip
        put(path, made.read_bytes())
    return True
