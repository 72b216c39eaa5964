"""vLLM's rules, in docs/loaders.md V1 to V61.

engine.py the engine. names.py what becomes of names, missing and unknown entries. cache.py scales of the KV cache.
fp8.py, nvfp4.py, integers.py weights by their element. refusals.py settings that end the loading.
"""

from qinspect.inspector.loaders.vllm import cache, fp8, integers, names, nvfp4, refusals
from qinspect.inspector.loaders.vllm.engine import VLLM

__all__ = ["VLLM", "cache", "fp8", "integers", "names", "nvfp4", "refusals"]
