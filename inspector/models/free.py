"""Free memory of the devices that a model may run on."""

from __future__ import annotations

import torch

from qinspect.inspector.models import memory


def free_on(device: torch.device | str) -> int:
    """Bytes that are free on a device; `auto` is all GPUs together with the host."""
    if str(device) == "auto":
        return memory.host_free() + sum(others(device).values())
    place = torch.device(device)
    return torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else memory.host_free()


def others(device: torch.device | str) -> dict[str, int]:
    """Free bytes of the devices that are not this one."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    found = {f"cuda:{i}": torch.cuda.mem_get_info(i)[0] for i in gpus}
    if str(device) not in ("cpu", "auto"):
        found["cpu"] = memory.host_free()
    return {name: n for name, n in found.items() if name != str(device)}
