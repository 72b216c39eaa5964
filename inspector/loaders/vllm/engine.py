"""vLLM, as it was read."""

from qinspect.inspector.loaders.engine import Engine
from qinspect.inspector.loaders.stored import FP8, Stored
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT

Q = "vllm/model_executor/layers/quantization/"
FLASHINFER = "flashinfer"
CUTLASS = "cutlass"
EMULATION = "emulation"
MARLIN = "marlin"
HUMMING = "humming"
DEEPGEMM = "deepgemm"
FNUZ = "rocm-fnuz"

VLLM = Engine(
    "vllm", "vLLM", "0.33.0", f"source distribution of 0.33.0; Q/ is {Q}",
    knows={
        MODELOPT: frozenset(Stored) - {Stored.INT8},
        COMPRESSED: frozenset({*FP8, Stored.NVFP4, Stored.PACKED_INT, Stored.CODES}),
        "fp8": frozenset({*FP8, Stored.CODES}),
        "gptq": frozenset({Stored.GPTQ}), "awq": frozenset({Stored.GPTQ}), "mxfp4": frozenset({Stored.MXFP4}),
        "gguf": None, "bitsandbytes": None,
    },
    backends=(FLASHINFER, CUTLASS, EMULATION, MARLIN, HUMMING, DEEPGEMM, FNUZ),
)  # fmt: skip
