"""`qinspect loaders`. docs/cli.md is its contract, docs/loaders.md says what the answers mean."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, ModelA, open_model
from qinspect.inspector.printing import print_answer


def loaders_command(
    a: ModelA,
    /,
    *,
    engine: Annotated[
        list[str] | None,
        Parameter(
            name="--engine",
            negative="",
            consume_multiple=True,
            help="Only these: vllm, sglang, tensorrt-llm, transformers, llama.cpp, comfyui.",
        ),
    ] = None,
    backend: Annotated[
        str | None, Parameter(help="Leave out what other backends of an engine do: marlin, flashinfer, deepgemm, ...")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """What vLLM, SGLang, TensorRT-LLM, transformers, llama.cpp and ComfyUI do with a checkpoint when they load it."""
    from qinspect.inspector.loaders import statements_of
    from qinspect.inspector.loaders.payload import loaders
    from qinspect.inspector.loaders.report import text

    fmt = open_model(a)
    found = statements_of(fmt, engine, backend)
    print_answer(as_json, lambda: loaders(fmt, found), lambda width: text(fmt, found, width))
    return 0
