"""SGLang, as it was read."""

from qinspect.inspector.loaders.engine import Engine
from qinspect.inspector.loaders.stored import FP8, Stored
from qinspect.inspector.loaders.view import COMPRESSED, MODELOPT

MARLIN, TRTLLM, MEGAMOE, OTHERS, DEEPGEMM = "marlin", "trtllm", "mega-moe", "others", "deepgemm"

SGLANG = Engine(
    "sglang", "SGLang", "0.5.23", "wheel of 0.5.23; S/ is sglang/srt/layers/quantization/",
    knows={
        MODELOPT: frozenset({*FP8, Stored.NVFP4, Stored.CODES}), COMPRESSED: frozenset({Stored.NVFP4}),
        "fp8": frozenset({*FP8, Stored.CODES}), "gptq": frozenset({Stored.GPTQ}),
    },
    backends=(MARLIN, TRTLLM, MEGAMOE, OTHERS, DEEPGEMM),
)  # fmt: skip
