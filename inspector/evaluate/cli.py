"""`qinspect evaluate`. docs/cli.md is its contract, docs/evaluate.md says what the figures mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson, absolute_where_it_is
from qinspect.inspector.calibration.layout import RUN_HELP
from qinspect.inspector.demo import MODEL as DEMO_MODEL
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.printing import foreign_stderr, print_answer
from qinspect.inspector.progress import unseen

if TYPE_CHECKING:
    from qinspect.inspector.evaluate.results import Evaluation


WORSE, NOTHING_MEASURED, UNRESOLVED = 1, 3, 4
"""Exit codes with --check; 2 is that of an error, as everywhere."""


def evaluate_command(
    reference: Annotated[str, Parameter(help="A model in full precision, or demo.")],
    models: Annotated[list[str] | None, Parameter(help="Checkpoints made from it, of any family.")] = None,
    /,
    *,
    alpha: Annotated[
        list[float] | None, Parameter(name="--alpha", negative="", help="Alphas of --run, without a checkpoint.")
    ] = None,
    run: Annotated[str, Parameter(help=f"{RUN_HELP}", show_default=False)] = "",
    items: Annotated[
        list[str] | None,
        Parameter(name="--items", negative="", help="Items of a task: last words, choices, or samples of lm_eval."),
    ] = None,
    limit: Annotated[int, Parameter(help="Items of each file (default: all).", show_default=False)] = 0,
    data: Annotated[str, Parameter(help="Text, JSON lines or token ids.", show_default=False)] = "",
    samples: Annotated[int, Parameter(help="Windows.")] = 128,
    seq_len: Annotated[int, Parameter(help="Tokens of a window.")] = 512,
    margin: Annotated[float, Parameter(help="Of ln(perplexity ratio): within it two models are equivalent.")] = 0.01,
    margin_points: Annotated[float, Parameter(help="The same of accuracy, in percentage points.")] = 0.5,
    floor_seeds: Annotated[
        int, Parameter(help="How often rounding noise is tried on the reference, on a quarter of the windows.")
    ] = 3,
    check: Annotated[
        bool,
        Parameter(
            negative="", help="Exit code 1: a model is worse, 3: nothing was measured, 4: the margin is not resolved."
        ),
    ] = False,
    seed: Annotated[int, Parameter(help="Of the bootstrap and of noise.")] = 0,
    device: Annotated[str, Parameter(help="cpu, cuda, cuda:1, auto.", show_default=False)] = "",
    dtype: Annotated[str, Parameter(help="What to store (default: the model's own).", show_default=False)] = "",
    through: Annotated[
        str, Parameter(help="transformers: run each MODEL by the library itself too.", show_default=False)
    ] = "",
    batch: Annotated[
        int,
        Parameter(help="Windows that share a forward (default: 1 on a CPU, what fills a GPU).", show_default=False),
    ] = 0,
    name: Annotated[str, Parameter(help="What to call the run.", show_default=False)] = "",
    follow: Annotated[
        bool, Parameter(name=["--follow", "-f"], negative="", help="Print the log; ctrl-c only stops that.")
    ] = False,
    here: Annotated[bool, Parameter(negative="", help="Evaluate in this process, not in a run of its own.")] = False,
    state: Annotated[str, Parameter(help="Folder for what is done (default: the run's).", show_default=False)] = "",
    as_json: AsJson = False,
) -> int:
    """What a quantization does to the predictions of a model, with intervals."""
    if reference == "demo" and not Path(reference).exists():
        reference = str(DEMO_MODEL)
    settings = EvaluateSettings(
        reference=absolute_where_it_is(reference), models=tuple(map(absolute_where_it_is, models or ())),
        alphas=tuple(alpha or ()), run=absolute_where_it_is(run), items=tuple(map(absolute_where_it_is, items or ())),
        limit=limit, data=absolute_where_it_is(data), samples=samples,
        seq_len=seq_len, margin=margin, margin_points=margin_points, floor_seeds=floor_seeds, seed=seed, device=device,
        dtype=dtype, through=through, batch=batch,
    )  # fmt: skip
    settings.check()
    if here or as_json or check:
        return _work(settings, state, as_json, check)
    from qinspect.inspector.calibration.stored import calibration_named
    from qinspect.inspector.checkpoint import open_checkpoint
    from qinspect.inspector.models.weights import check_model
    from qinspect.inspector.runs import cli as runs
    from qinspect.inspector.runs import ourselves

    check_model(settings.reference)  # a run that fails at once is a detour to the same sentence
    for path in settings.models:
        open_checkpoint(path).close()
    if settings.run:
        calibration_named(settings.run).close()
    words = [*settings.words(), *(["--state", str(Path(state).absolute())] if state else [])]
    return runs.run(*ourselves("evaluate", *words, "--here"), name=name, follow_log=follow)


def _work(settings: EvaluateSettings, state: str, as_json: bool, check: bool) -> int:
    """In this process, which is that of a run or the user's own."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    from qinspect.inspector.calibrate.records import Bar, begin_log
    from qinspect.inspector.evaluate.kept import state_folder
    from qinspect.inspector.evaluate.layout import RESULT
    from qinspect.inspector.evaluate.payload import evaluation
    from qinspect.inspector.evaluate.report import evaluation_text
    from qinspect.inspector.evaluate.work import evaluate
    from qinspect.inspector.runs.folder import write_json

    folder = state_folder(state)
    bars: dict[str, Bar] = {}

    def progress(phase: str, done: int, total: int) -> None:
        bars.setdefault(phase, Bar(phase, after_s=1)).show(done, total)

    if not as_json:
        begin_log()
    with foreign_stderr():
        found = evaluate(settings, unseen if as_json else progress, folder)
    Bar.end_line()
    content = evaluation(found, settings)
    if folder is not None:
        write_json(folder / RESULT, content)
    print_answer(as_json, lambda: content, lambda width: evaluation_text(found, width))
    return _code(found) if check else 0


def _code(found: Evaluation) -> int:
    """For pipelines: what is worse comes before what is not known."""
    from qinspect.inspector.evaluate.results import Answer

    answers = {m.answer for m in found.models if m.n > m.n_not_finite}
    if not answers:
        return NOTHING_MEASURED
    return WORSE if Answer.WORSE in answers else UNRESOLVED if Answer.UNRESOLVED in answers else 0
