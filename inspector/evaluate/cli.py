"""`qinspect evaluate`. docs/cli.md is its contract, docs/evaluate.md says what the figures mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson
from qinspect.inspector.calibration.stored import RUN_HELP
from qinspect.inspector.demo import MODEL as DEMO_MODEL
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.printing import foreign_stderr, print_answer, with_meter


def evaluate_command(
    reference: Annotated[str, Parameter(help="A model in full precision, or demo.")],
    models: Annotated[list[str] | None, Parameter(help="Checkpoints made from it, of any family.")] = None,
    /,
    *,
    alpha: Annotated[
        list[float] | None, Parameter(name="--alpha", negative="", help="Alphas of --run, without a checkpoint.")
    ] = None,
    run: Annotated[str, Parameter(help=f"{RUN_HELP}", show_default=False)] = "",
    data: Annotated[str, Parameter(help="Text, JSON lines or token ids.", show_default=False)] = "",
    samples: Annotated[int, Parameter(help="Windows.")] = 128,
    seq_len: Annotated[int, Parameter(help="Tokens of a window.")] = 512,
    margin: Annotated[float, Parameter(help="Of ln(perplexity ratio): within it two models are equivalent.")] = 0.01,
    margin_points: Annotated[float, Parameter(help="The same of accuracy, in percentage points.")] = 0.5,
    seed: Annotated[int, Parameter(help="Of the bootstrap.")] = 0,
    device: Annotated[str, Parameter(help="cpu, cuda, cuda:1.", show_default=False)] = "",
    dtype: Annotated[str, Parameter(help="What to store (default: the model's own).", show_default=False)] = "",
    as_json: AsJson = False,
) -> int:
    """What a quantization does to the predictions of a model, with intervals."""
    if reference == "demo" and not Path(reference).exists():
        reference = str(DEMO_MODEL)
    settings = EvaluateSettings(
        reference, tuple(models or ()), tuple(alpha or ()), run, data, samples, seq_len, margin, margin_points, seed,
        device, dtype,
    )  # fmt: skip
    settings.check()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    from qinspect.inspector.evaluate.payload import evaluation
    from qinspect.inspector.evaluate.report import evaluation_text
    from qinspect.inspector.evaluate.work import evaluate

    with foreign_stderr():
        found = with_meter(lambda meter: evaluate(settings, meter))
    print_answer(as_json, lambda: evaluation(found, settings), lambda width: evaluation_text(found, width))
    return 0
