"""What the GPUs of this host do now, through NVML. Without a driver there are none, and a reason; never an error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. memory_bytes: None where the driver does not tell (containers, MIG)."""

    pid: int
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one time; None for what it does not support."""

    index: int
    uuid: str
    name: str
    utilisation_percent: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_w: float | None
    power_limit_w: float | None
    temperature_c: int | None
    processes: tuple[GpuProcess, ...]


@dataclass(frozen=True, slots=True)
class GpuSample:
    """All GPUs at one time (seconds since the epoch); reason: why there are none, "" where there are."""

    time: float
    gpus: tuple[Gpu, ...]
    reason: str = ""


class GpuSampler:
    """Holds NVML open between samples: opening it takes far longer than asking."""

    def __init__(self) -> None:
        self._nvml: Any = None

    def sample(self) -> GpuSample:
        """What NVML says now."""
        reason = self._open()
        if reason:
            return GpuSample(time.time(), (), reason)
        try:
            n = self._nvml.nvmlDeviceGetCount()
            gpus = tuple(gpu for i in range(n) if (gpu := self._gpu(i)) is not None)
        except Exception as e:  # the driver may be unloaded or updated at any time
            self.close()
            return GpuSample(time.time(), (), f"NVML stopped answering: {e}")
        return GpuSample(time.time(), gpus, "" if gpus else "the driver shows no GPU")

    def close(self) -> None:
        """Let NVML go; the next sample opens it again."""
        if self._nvml is not None:
            with contextlib.suppress(Exception):
                self._nvml.nvmlShutdown()
            self._nvml = None

    def _open(self) -> str:
        if self._nvml is not None:
            return ""
        try:
            import pynvml
        except Exception as e:  # a broken install is no reason to fail
            return f"nvidia-ml-py cannot be imported: {e}"
        try:
            pynvml.nvmlInit()
        except Exception as e:  # no library, no driver, no permission
            return f"no NVIDIA driver: {e}"
        self._nvml = pynvml
        return ""

    def _gpu(self, index: int) -> Gpu | None:
        n = self._nvml
        handle = _or_none(lambda: n.nvmlDeviceGetHandleByIndex(index))
        if handle is None:  # another one's, or one that fell off the bus
            return None
        memory = _or_none(lambda: n.nvmlDeviceGetMemoryInfo(handle))
        power = _or_none(lambda: n.nvmlDeviceGetPowerUsage(handle))
        limit = _or_none(lambda: n.nvmlDeviceGetEnforcedPowerLimit(handle))
        rates = _or_none(lambda: n.nvmlDeviceGetUtilizationRates(handle))
        return Gpu(
            index=index,
            uuid=_text(_or_none(lambda: n.nvmlDeviceGetUUID(handle))),
            name=_text(_or_none(lambda: n.nvmlDeviceGetName(handle))),
            utilisation_percent=None if rates is None else int(rates.gpu),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            power_w=None if power is None else power / 1000,
            power_limit_w=None if limit is None else limit / 1000,
            temperature_c=_or_none(lambda: int(n.nvmlDeviceGetTemperature(handle, n.NVML_TEMPERATURE_GPU))),
            processes=self._processes(handle),
        )

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        n = self._nvml
        found: dict[int, GpuProcess] = {}
        for ask in (n.nvmlDeviceGetComputeRunningProcesses, n.nvmlDeviceGetGraphicsRunningProcesses):
            for p in _or_none(lambda ask=ask: ask(handle)) or ():  # type: ignore[misc]
                found.setdefault(int(p.pid), GpuProcess(int(p.pid), _process_name(int(p.pid)), _memory(p)))
        return tuple(found.values())


def sample() -> GpuSample:
    """What the GPUs do now, for one question. Who asks again and again keeps a `GpuSampler`."""
    sampler = GpuSampler()
    try:
        return sampler.sample()
    finally:
        sampler.close()


def _memory(process: Any) -> int | None:
    used = getattr(process, "usedGpuMemory", None)
    return None if used is None or used >= 1 << 62 else int(used)  # all bits set: not available


def _or_none(ask: Callable[[], T]) -> T | None:
    """The answer, None where this GPU or this driver has none."""
    try:
        return ask()
    except Exception:  # NVML has an error class of its own for each code
        return None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _process_name(pid: int) -> str:
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except (psutil.Error, OSError, ValueError):  # of another container, or gone
        return ""
