"""SGLang's rules, in docs/loaders.md G1 to G23.

engine.py the engine. names.py names, ignore lists and the KV cache; nvfp4.py and weights.py weights by their element.
"""

from qinspect.inspector.loaders.sglang import names, nvfp4, weights
from qinspect.inspector.loaders.sglang.engine import SGLANG

__all__ = ["SGLANG", "names", "nvfp4", "weights"]
