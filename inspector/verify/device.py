"""Counting on a GPU. torch is imported here and nowhere else in the instrument, when a GPU is asked for."""

from __future__ import annotations

import numpy as np

from qinspect.inspector.distribution import MagnitudeTable, single
from qinspect.inspector.errors import NoDevice, UsageError
from qinspect.inspector.verify.activations import Array, Count
from qinspect.kernels import signed_counts
from qinspect.kernels.nvrtc import NoCuda

_ON_THE_CPU = "`--device cpu` counts the same without one."


def count_on_cuda() -> tuple[Count, str]:
    """How to count with the GPU kernel, and the name of the GPU. Raises NoDevice where that cannot be."""
    try:
        import torch
    except ImportError as e:
        raise NoDevice(f"torch cannot be imported: {e}", expected="torch with CUDA", cure=_ON_THE_CPU) from e
    if not torch.cuda.is_available():
        raise NoDevice(
            "no CUDA device can be used", expected="a GPU that torch sees",
            found=f"torch {torch.__version__} and {torch.cuda.device_count()} of them", cure=_ON_THE_CPU,
        )  # fmt: skip

    def count(x: Array) -> MagnitudeTable:
        found = single.narrow(x) if x.dtype == np.float32 else x
        if found is None:
            raise UsageError(
                "the GPU kernel counts 16-bit values", expected="float16 or bfloat16", found="full-precision float32",
                cure="`--device cpu` counts them.",
            )  # fmt: skip
        bits = torch.from_numpy(np.array(found.view(np.int16))).cuda()
        try:
            counts = signed_counts(bits)
        except NoCuda as e:
            raise NoDevice(str(e), cure=_ON_THE_CPU) from e
        return MagnitudeTable.from_signed_counts(counts.cpu().numpy(), found.dtype.name)

    return count, torch.cuda.get_device_name()
