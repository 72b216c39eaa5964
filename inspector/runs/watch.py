"""The GPUs in the journal of a run: a sample now and then, none where there is no driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qinspect.inspector.runs.gpus import Gpu, GpuSampler
from qinspect.inspector.runs.throttle import Item

EVERY_S = 15.0
_DRIVER = Path("/proc/driver/nvidia/version")


class GpuWatch:
    """Events of kind gpu at a gentle rate."""

    def __init__(self) -> None:
        self._sampler = GpuSampler() if _DRIVER.exists() else None  # without one, NVML is not even imported
        self._next = 0.0

    def due(self, now: float) -> Iterator[Item]:
        """The event of now, if it is time for one."""
        if self._sampler is None or now < self._next:
            return
        self._next = now + EVERY_S
        found = self._sampler.sample()
        if found.gpus:
            yield "gpu", {"gpus": [_fields(g) for g in found.gpus]}
        else:
            self._sampler = None
            yield "warning", {"text": f"the GPUs are not watched: {found.reason}"}


def _fields(g: Gpu) -> dict[str, object]:
    return {
        "index": g.index,
        "utilisation_percent": g.utilisation_percent,
        "memory_used_bytes": g.memory_used_bytes,
        "memory_total_bytes": g.memory_total_bytes,
        "power_w": g.power_w,
        "temperature_c": g.temperature_c,
    }
