"""Which device a model runs on."""

from __future__ import annotations

import torch

from qinspect.inspector.errors import UsageError


def device_named(asked: str, spreads: bool = False) -> str:
    """The device of `--device`; the first GPU where none is asked for and there is one. spreads: whether the model can
    be laid over several GPUs (`auto`), one GPU does else. Raises UsageError for a device that is not there."""
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = asked or ("cuda" if n else "cpu")
    if device == "auto" and not (spreads and n):
        device = "cuda" if n else "cpu"
    if device.startswith("cuda") and not n:
        cure = "Choose --device cpu, or install a torch that fits the driver."
        raise UsageError("torch sees no CUDA device", found=f"--device {device}", cure=cure)
    if int(device.partition(":")[2] or 0) >= max(n, 1):
        raise UsageError("there is no such GPU", expected=f"cuda:0 to cuda:{n - 1}", found=device)
    return device
