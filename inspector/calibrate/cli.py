"""`qinspect calibrate`. docs/cli.md is its contract, docs/calibration.md says how it works. No torch in here: a
calibration is a run, a process of its own."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from qinspect.inspector.arguments import absolute_where_it_is
from qinspect.inspector.calibration.layout import CALIBRATION
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.demo import MODEL as DEMO_MODEL
from qinspect.inspector.errors import UsageError
from qinspect.inspector.observers import RECIPES
from qinspect.inspector.printing import foreign_stderr
from qinspect.inspector.runs.folder import RUN_VARIABLE, runs_folder

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run

    RecipeName = str
else:
    RecipeName = Literal[tuple(RECIPES)]


def _text(help: str) -> Parameter:  # noqa: A002 - cyclopts' name
    """A text that is empty where nothing is said: no default worth showing."""
    return Parameter(help=help, show_default=False)


_Alpha = Annotated[
    list[float] | None,
    Parameter(name="--alpha", negative="", help="Quantile of percentile rules (default 0.9995); as often as needed."),
]


def calibrate(
    model: Annotated[
        str,
        _text("A float16, bfloat16 or float32 model: a folder or file; demo: the one that comes with qinspect."),
    ] = "",
    /,
    *,
    recipe: Annotated[
        RecipeName | None,
        Parameter(help="Which rule makes which scale (default: quamba for Mamba, percentile for others)."),
    ] = None,
    alpha: _Alpha = None,
    data: Annotated[
        str,
        _text("Text, JSONL, parquet, token ids as JSON, or a dataset's name (default: built-in text)."),
    ] = "",
    samples: Annotated[int, Parameter(help="Samples to calibrate with.")] = 512,
    seq_len: Annotated[int, Parameter(help="Tokens per sample, at most.")] = 512,
    seed: Annotated[int, Parameter(help="Seed of --shuffle.")] = 0,
    shuffle: Annotated[bool, Parameter(negative="", help="Take samples in a seeded random order.")] = False,
    device: Annotated[str, _text("cuda, cuda:1, cpu, auto (default: cuda where there is one).")] = "",
    dtype: Annotated[
        Literal["float16", "bfloat16", "float32"] | None, Parameter(help="What to store (default: the model's own).")
    ] = None,
    batch: Annotated[int, Parameter(help="Samples of equal length that share a forward pass.")] = 1,
    per_sample: Annotated[
        list[str] | None,
        Parameter(name="--per-sample", negative="", help="Points (a glob) that keep a table of each sample."),
    ] = None,
    out: Annotated[str, _text("Folder to write quantized checkpoints to, one for each alpha.")] = "",
    weights: Annotated[
        list[Literal["w8a8", "w4a8"]] | None,
        Parameter(name="--weights", negative="", help="Weights of the checkpoints (default w8a8)."),
    ] = None,
    name: Annotated[str, _text("What to call the run.")] = "",
    resume: Annotated[str, _text("A calibration that ended early: run it again, without what is done already.")] = "",
    follow: Annotated[
        bool, Parameter(name=["--follow", "-f"], negative="", help="Print the log; ctrl-c only stops that.")
    ] = False,
    here: Annotated[bool, Parameter(negative="", help="Calibrate in this process, not in a run of its own.")] = False,
    state: Annotated[str, _text("Folder for the tables (default: the run's).")] = "",
) -> int:
    """Record the distribution of every observation point of a model, and make scales out of it for any alpha."""
    if not (model or resume):
        raise UsageError("MODEL is missing", expected="a model there", cure="`qinspect calibrate --help` says more.")
    if model == "demo" and not Path(model).exists():
        model = str(DEMO_MODEL)
    settings = Settings(
        model=absolute_where_it_is(model),
        recipe=recipe or "",
        alphas=tuple(alpha or (0.9995,)),
        data=absolute_where_it_is(data),
        samples=samples,
        seq_len=seq_len,
        seed=seed,
        shuffle=shuffle,
        device=device,
        dtype=dtype or "",
        batch=batch,
        per_sample=tuple(per_sample or ()),
        out=str(Path(out).absolute()) if out else "",
        weights=tuple(weights or ("w8a8",)),
    )
    if resume:
        if settings != Settings("") or here or state:
            found = " ".join(
                [*settings.words(), *(["--here"] if here else []), *(["--state"] if state else [])]
            ).strip()
            raise UsageError("--resume takes model and settings from the run", found=found)
        return _resume(resume, name, follow)
    settings.check()
    if here:
        return _work(settings, state)
    from qinspect.inspector.models.weights import check_model

    check_model(settings.model)  # a run that fails at once is a detour to the same sentence
    from qinspect.inspector.runs import cli as runs
    from qinspect.inspector.runs import ourselves

    words = [*settings.words(), *(["--state", str(Path(state).absolute())] if state else [])]
    return runs.run(*ourselves("calibrate", *words, "--here"), name=name, follow_log=follow)


def _resume(name_or_id: str, name: str, follow: bool) -> int:
    """The calibration of an earlier run once more, on the files that it left: its settings, said anew to this program.
    What else its file holds is not run."""
    from qinspect.inspector.runs import cli as runs
    from qinspect.inspector.runs import find, ourselves
    from qinspect.inspector.runs.guard import refuse_unsafe

    before = find(name_or_id)
    refuse_unsafe(before.folder)
    asked = _asked_by(before)
    if asked is None:
        raise UsageError("is not a calibration", file=before.folder, found=before.spec.command)
    if before.state().state.is_live:
        cure = f"`qinspect runs logs -f {before.id}` follows it."
        raise UsageError("the calibration is still running", file=before.folder, cure=cure)
    settings, state = asked
    settings.check()
    words = [*settings.words(), "--state", state or str(before.folder / CALIBRATION), "--here"]
    return runs.run(
        *ourselves("calibrate", *words), name=name or before.spec.name, cwd=before.spec.cwd, follow_log=follow
    )


def _asked_by(run: Run) -> tuple[Settings, str] | None:
    """Settings and --state of a calibration run, read from its command by the same rules as a command that is typed;
    None for another run. Raises UsageError for a command that this version does not take."""
    from cyclopts import App, CycloptsError

    from qinspect.inspector.runs import our_words

    words = our_words(run.spec.argv) or ()
    if words[:1] != ("calibrate",):
        return None
    app = App()
    app.default(calibrate)
    try:
        called, bound, _ = app.parse_args(words[1:], print_error=False, exit_on_error=False)
    except CycloptsError as e:
        raise UsageError(f"its settings are not understood: {e}", file=run.folder, found=run.spec.command) from e
    given = bound.arguments
    if called is not calibrate or not given.get("here") or not given.get("model"):
        return None
    made: dict[str, Any] = {}
    for field in fields(Settings):
        value = given.get({"alphas": "alpha"}.get(field.name, field.name))
        if value is not None:
            made[field.name] = tuple(value) if isinstance(value, list) else value
    return Settings(**made), str(given.get("state") or "")


def _work(settings: Settings, state: str) -> int:
    """In this process, which is that of a run or the user's own."""
    # threads that spin while they wait make a forward eight times as slow where others want the cores too;
    # read when torch is imported
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from qinspect.inspector.calibrate.records import begin_log
    from qinspect.inspector.calibrate.work import calibrate as work

    begin_log()
    with foreign_stderr():  # torch, transformers and datasets write what they like of what they read
        work(settings, state_folder(settings, state))
    return 0


def state_folder(settings: Settings, state: str = "") -> Path:
    """Where the files of a calibration are: what was asked for, else in the run's folder, else here."""
    if state:
        return Path(state)
    run = os.environ.get(RUN_VARIABLE)
    return runs_folder() / run / CALIBRATION if run else Path(f"{Path(settings.model).name}-{CALIBRATION}")
