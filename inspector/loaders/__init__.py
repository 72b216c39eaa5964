"""What engines do with a checkpoint when they load it, told from its header and its scalar scales.

statement.py what is said of one engine, engine.py a rule and an engine. vllm/, sglang/, tensorrt_llm.py,
transformers.py, llama_cpp.py and comfyui.py the rules. view.py what they are given, with stored.py (how a module is
stored), caches.py, gptq.py, left_out.py and fp8_shapes.py; matching.py what rules share, cost.py what a deed costs.
answers.py asks them all; report.py and payload.py the answers for people and for programs, table.py the page of rules;
cli.py `qinspect loaders`.

Its rules name libraries, as engines do: they choose a loader by `quant_method`, and look for entries by name. Families
of `inspector/formats/` are not asked.
"""

from qinspect.inspector.loaders.answers import ENGINES, said_of, statements_of
from qinspect.inspector.loaders.statement import OF_UNEQUAL, Affected, Effect, EngineStatements, Loaders, Statement

__all__ = [
    "ENGINES", "OF_UNEQUAL", "Affected", "Effect", "EngineStatements", "Loaders", "Statement", "said_of",
    "statements_of",
]  # fmt: skip
