"""CUDA C++ of ours, compiled when it is first needed, for the card that is there; cubins are kept on disk.

Through cuda-core (NVRTC and the driver): no compiler is installed, and any architecture that the driver knows works.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from qinspect.kernels.cache import private_folder, put


class NoCuda(RuntimeError):
    """cuda-core, NVRTC or a CUDA device is missing; the message says which, and what to install."""


@lru_cache(maxsize=1)
def _cuda() -> Any:
    """The module `cuda.core`, by its name in this version."""
    try:
        core = import_module("cuda.core")
        return core if hasattr(core, "Program") else import_module("cuda.core.experimental")
    except ImportError as e:
        raise NoCuda(f"the CUDA kernels need the package cuda-core ({e}): pip install 'qinspect[cuda]'") from e


def cubin_of(source: str, defines: Mapping[str, int], arch: str) -> bytes:
    """The machine code of `source` for `arch`, such as `sm_90`: from the disk, or compiled and put there.

    The key is a hash of source, defines, architecture and compiler, so nothing has to be invalidated. A folder that
    cannot be written, or that others can write to, costs a compilation a process, no more.
    """
    core = _cuda()
    nvrtc = import_module("cuda.bindings.nvrtc")

    _, *version = nvrtc.nvrtcVersion()
    options = sorted(defines.items())
    key = hashlib.sha256(repr((source, options, arch, version)).encode()).hexdigest()[:32]
    folder = private_folder("cubin")
    path = folder / f"{key}.{arch}.cubin" if folder else None
    if path and (kept := _kept(path)):
        return kept
    compiled = core.Program(
        source,
        code_type="c++",
        options=core.ProgramOptions(std="c++17", arch=arch, define_macro=[(k, str(v)) for k, v in options] or None),
    ).compile("cubin")
    code = bytes(compiled.code)
    if path:
        with contextlib.suppress(OSError):
            put(path, code)
    return code


def _kept(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class CudaKernel:
    """One function of a module on one device. Calls run on the stream that is given, and never wait."""

    def __init__(self, source: str, name: str, defines: Mapping[str, int], device: int, shared_bytes: int) -> None:
        """shared_bytes: dynamic shared memory per block; beyond 48 KiB the kernel is opted in."""
        core = _cuda()
        driver = import_module("cuda.bindings.driver")
        where = core.Device(device)
        where.set_current()
        major, minor = where.compute_capability
        code = cubin_of(source, defines, f"sm_{major}{minor}")
        self._module = core.ObjectCode.from_cubin(code)
        self._kernel = self._module.get_kernel(name)
        self._core = core
        self._shared_bytes = shared_bytes
        self._streams: dict[int, Any] = {}
        self._configs: dict[tuple[int, int], Any] = {}
        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        handle = getattr(self._kernel, "handle", None) or self._kernel._handle
        (status,) = driver.cuKernelSetAttribute(attribute, shared_bytes, handle, where.device_id)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise NoCuda(f"{name}: {shared_bytes} bytes of shared memory a block are not to be had: {status.name}")

    def __call__(self, stream: int, grid: int, block: int, *arguments: Any) -> None:
        """Launch on the CUDA stream of this handle. arguments: numpy scalars of the parameters' types."""
        known = self._streams.get(stream)
        if known is None:
            known = self._streams[stream] = self._core.Stream.from_handle(stream)
        config = self._configs.get((grid, block))
        if config is None:
            config = self._core.LaunchConfig(grid=grid, block=block, shmem_size=self._shared_bytes)
            self._configs[grid, block] = config
        self._core.launch(known, config, self._kernel, *arguments)
