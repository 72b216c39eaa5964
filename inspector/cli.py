"""The command line: `qinspect A B`, and a subcommand for each view. docs/cli.md is its contract.

stdout is data, stderr is narration. Exit codes: 0 same (or done), 1 different (diff only), 2 error, 130 interrupted.
No path through here imports textual, plotext or torch.
"""

from __future__ import annotations

import gc
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError

from qinspect.inspector.errors import CannotRead, QinspectError, UsageError
from qinspect.inspector.printing import (
    AsJson,
    narrate,
    opened_model,
    print_json,
    print_table,
    print_text,
    terminal_width,
    with_meter,
)
from qinspect.inspector.text import visible

if TYPE_CHECKING:
    from qinspect.inspector.compare import Comparison, ScalePair
    from qinspect.inspector.formats import Format
    from qinspect.inspector.scale_survey import ScaleSurvey


def _version() -> str:
    from qinspect.inspector import __version__

    return __version__


app = App(
    name="qinspect",
    help="A measuring instrument for quantized checkpoints. `qinspect A B` compares two, `qinspect A` reports on one.",
    help_flags=["--help", "-h"],
    help_format="plaintext",  # Markdown would eat the asterisks of '*in_proj*'
    version=_version,
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # main says so, and gives the exit code
)
_PLACES = "file, folder, *.index.json, or org/name in the local Hugging Face cache."
ModelA = Annotated[str, Parameter(help=f"A checkpoint: {_PLACES}")]
ModelB = Annotated[str, Parameter(help="The checkpoint to compare with it.")]
Codes = Annotated[
    bool | None,
    Parameter(name="--codes", negative="--no-codes", help="Compare codes and other tensors (default: if under 8 GB)."),
]
Noise = Annotated[
    list[str] | None,
    Parameter(name="--noise", negative="", consume_multiple=True,
              help="Repeats of the same settings, checkpoints or calibrations: their spread is the noise."),
]  # fmt: skip
NoiseRun = Annotated[
    str | None, Parameter(name="--run", help="A calibration whose stored samples are resampled for noise bands.")
]


# Handles and records are made by the hundred thousand, none of them in a cycle: going over them again and again takes
# a third of the time of opening a large checkpoint.
_COLLECT_AFTER_ALLOCATIONS = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Every error is one line on stderr, or one object with --json."""
    gc.set_threshold(_COLLECT_AFTER_ALLOCATIONS)
    words = list(sys.argv[1:] if argv is None else argv)
    _replace_closed_streams()
    error: QinspectError
    try:
        _refuse_unseparated(words)
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except QinspectError as e:
        error = e
    except CycloptsError as e:
        error = _usage_error(e)
    except BrokenPipeError:  # `qinspect ... | head`: nobody reads on
        _discard_stdout()
        return 0
    except OSError as e:  # the disk that stdout goes to is full, or a file cannot be read any more
        error = CannotRead(f"the system refused to read or write: {e.strerror or e}", file=e.filename)
    except MemoryError:
        error = CannotRead("there is not enough memory", cure="Close other programs, or choose fewer keys.")
    except KeyboardInterrupt:
        narrate("interrupted")
        return 130
    else:
        return code if isinstance(code, int) else 0
    return _fail(error, "--json" in _own_words(words))


def _refuse_unseparated(words: Sequence[str]) -> None:
    """Without `--`, `qinspect run main.py --name x` would take an option of the command for its own."""
    if words[:1] == ["run"] and len(words) > 1 and "--" not in words and not {"--help", "-h", "--version"} & set(words):
        raise UsageError("the command of a run stands after --", cure="qinspect run [options] -- CMD ...")


def _own_words(words: Sequence[str]) -> Sequence[str]:
    """Words before `--`: what follows is the command of a run."""
    return words[: words.index("--")] if "--" in words else words


def _usage_error(error: CycloptsError) -> UsageError:
    cure = "`qinspect --help` lists the commands."
    if isinstance(error, UnusedCliTokensError):
        more = ", ".join(map(repr, error.unused_tokens or ()))
        return UsageError(f"more words than the command takes: {visible(more, 200)}", cure=cure)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        missing = error.argument.name.upper()
        return UsageError(f"{missing} is missing", expected="a checkpoint or a key there", cure=cure)
    problem = " ".join(str(error).split()).rstrip(".")
    return UsageError(problem, cure=None if problem.endswith("?") else "`qinspect --help` lists the commands.")


def _fail(error: QinspectError, as_json: bool) -> int:
    narrate(str(error))
    try:
        if as_json:
            print_json({"schema": "qinspect.error/1", "error": error.as_dict()})
        sys.stdout.flush()
    except OSError:  # stdout is what failed
        _discard_stdout()
    return 2


def _replace_closed_streams() -> None:
    """Python sets a stream to None where the shell closed it (`>&-`): what goes there is dropped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the end


def _discard_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of failing once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open(path: str) -> Format:
    return with_meter(lambda meter: opened_model(path, meter))


@app.default
def report(
    a: ModelA,
    b: ModelB | None = None,
    /,
    *,
    codes: Codes = None,
    noise: Noise = None,
    run: NoiseRun = None,
    as_json: AsJson = False,
) -> int:
    """Report on one checkpoint, or on how B differs from A."""
    if b is None:
        if noise or run:
            raise UsageError("noise is that of a difference", expected="two models beside --noise or --run")
        return scales(a, as_json=as_json)
    first = _open(a)
    try:
        second = _open(b)
    except QinspectError as e:  # A is still worth seeing
        if not as_json:
            from qinspect.inspector.report import model_line

            print_text(model_line("A", first))
            _print_notes(first)
            _print_scales(first, _survey(first))
            print_text(f"B  cannot be compared: {e}")
        return _fail(e, as_json)
    comparison = _compare(first, second, codes, noise, run)
    changed = _rows(comparison, "changed", "forward")
    _print_comparison(comparison, changed, as_json, all_weights=False)
    return 0


@app.command
def demo(
    *,
    prepare: Annotated[bool, Parameter(negative="", help="Make the two checkpoints and print nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    """Calibrate a small model that comes with the program, and compare what two alphas make of it."""
    from qinspect.inspector.demo.prepare import prepared

    a, b = prepared()
    return 0 if prepare else report(str(a), str(b), as_json=as_json)


@app.command
def diff(
    a: ModelA,
    b: ModelB,
    /,
    *,
    only: Annotated[Literal["all", "changed"], Parameter(help="Rows to print.")] = "changed",
    sort: Annotated[
        Literal["forward", "diff"], Parameter(help="Forward order, or largest difference first.")
    ] = "forward",
    codes: Codes = None,
    noise: Noise = None,
    run: NoiseRun = None,
    csv: Annotated[bool, Parameter(name="--csv", negative="", help="Only the rows, as CSV.")] = False,
    markdown: Annotated[bool, Parameter(name="--markdown", negative="", help="Only the rows, as Markdown.")] = False,
    exit_zero: Annotated[bool, Parameter(name="--exit-zero", negative="", help="Exit 0 for differences too.")] = False,
    as_json: AsJson = False,
) -> int:
    """Compare B with A. Exit code 0: no difference at the level printed, 1: different, 2: error."""
    if csv + markdown + as_json > 1:
        raise UsageError("--json, --csv and --markdown exclude each other", cure="Give one of them.")
    comparison = _compare(_open(a), _open(b), codes, noise, run)
    rows = _rows(comparison, only, sort)
    if csv or markdown:
        from qinspect.inspector.report import scale_table

        table = scale_table(rows)
        print_text(table.csv().removesuffix("\n") if csv else table.markdown())
    else:
        _print_comparison(comparison, rows, as_json, all_weights=only == "all")
    return 0 if comparison.same or exit_zero else 1


def _compare(a: Format, b: Format, codes: bool | None, noise: Sequence[str] | None, run: str | None) -> Comparison:
    from qinspect.inspector.compare import compare
    from qinspect.inspector.noise.sources import sources_of

    sources = sources_of(a, b, noise or (), run)
    try:
        return with_meter(lambda meter: compare(a, b, codes, meter, sources=sources))
    finally:
        sources.close()


def _rows(comparison: Comparison, only: str, sort: str) -> list[ScalePair]:
    rows = [p for p in comparison.scales if only == "all" or not p.status.counts_as_same]
    if sort == "diff":
        rows.sort(key=_distance, reverse=True)
    return rows


def _distance(p: ScalePair) -> float:
    """How far apart the pair is, for sorting; what has no percentage but differs comes before all that have one."""
    if p.difference is None:
        return 0.0 if p.status.counts_as_same else math.inf
    return math.inf if p.difference.n_undefined == p.difference.n_changed > 0 else abs(p.difference.largest)


def _print_comparison(c: Comparison, rows: list[ScalePair], as_json: bool, all_weights: bool) -> None:
    from qinspect.inspector import payload
    from qinspect.inspector.report import comparison_text, scale_table

    if as_json:
        weights = [w for w in c.weights if all_weights or not w.status.counts_as_same]
        print_json(payload.comparison(c, rows, weights))
        return
    print_text(comparison_text(c, scale_table(rows), terminal_width()))


@app.command
def tree(
    a: ModelA,
    /,
    *,
    depth: Annotated[int | None, Parameter(help="Levels to print.")] = None,
    expand: Annotated[bool, Parameter(negative="", help="Print repeated layers one by one.")] = False,
    as_json: AsJson = False,
) -> int:
    """The layer tree: counts, parameters, bytes, dtypes."""
    from qinspect.inspector import payload
    from qinspect.inspector.formats.counts import parameter_counts
    from qinspect.inspector.parameters import parameters_of
    from qinspect.inspector.report import model_line, tree_lines
    from qinspect.inspector.tree import build_tree

    if depth is not None and depth < 1:
        raise UsageError("--depth must be at least 1", found=str(depth))
    fmt = _open(a)
    root = build_tree(fmt.checkpoint.entries.values(), parameter_counts(fmt))
    parameters = parameters_of(fmt.checkpoint, root)
    if as_json:
        print_json(payload.tree(fmt, root, parameters, depth))
        return 0
    print_text(model_line("A", fmt))
    _print_notes(fmt)
    if parameters.sentence:
        print_text(f"   {visible(parameters.sentence)}")
    for line in tree_lines(root, depth, expand):
        print_text(line)
    for names in fmt.checkpoint.tied():
        print_text(f"tied: {' = '.join(visible(n, 120) for n in names)}")
    return 0


@app.command
def scales(a: ModelA, /, *, as_json: AsJson = False) -> int:
    """Every scale: what it is a scale of, its value, where its copies are."""
    from qinspect.inspector import payload
    from qinspect.inspector.report import model_line

    fmt = _open(a)
    survey = _survey(fmt)
    if as_json:
        print_json(payload.scales(fmt, survey))
        return 0
    print_text(model_line("A", fmt))
    _print_notes(fmt)
    _print_scales(fmt, survey)
    return 0


def _print_notes(fmt: Format) -> None:
    for note in (*fmt.checkpoint.notes, *fmt.notes()):
        print_text(f"   note: {visible(note)}")


def _print_scales(fmt: Format, survey: ScaleSurvey) -> None:
    """What is wrong with the scales, and the table of all."""
    from qinspect.inspector.report import scales_table
    from qinspect.inspector.scale_faults import model_faults_said

    for code, text in model_faults_said(survey.faulty):
        print_text(f"   {text} [{code}]")
    print_table(scales_table(fmt, survey.ranges))


def _survey(fmt: Format) -> ScaleSurvey:
    from qinspect.inspector.scale_survey import survey_scales

    return with_meter(lambda meter: survey_scales(fmt, lambda done, total: meter("reading scales", done, total)))


@app.command
def show(
    a: ModelA,
    key: Annotated[str, Parameter(help="A stored key, a role, or ROLE#scale.")],
    /,
    *,
    as_json: AsJson = False,
) -> int:
    """One entry, by key or by role: metadata, values or summary, codes, dequantized statistics."""
    from qinspect.inspector import payload
    from qinspect.inspector.inspection import inspect_entry
    from qinspect.inspector.report import inspection_text

    fmt = _open(a)
    found = inspect_entry(fmt, key)
    if as_json:
        print_json(payload.inspection(fmt, found))
    else:
        print_text(inspection_text(fmt, found))
    return 0


@app.command
def dequantize(
    a: ModelA,
    out: Annotated[Path, Parameter(help="The file to write, a name ending in .safetensors.")],
    /,
    *,
    keys: Annotated[str | None, Parameter(help="Glob over weight names, such as '*in_proj*'.")] = None,
    as_json: AsJson = False,
) -> int:
    """Write quantized weights as float32 safetensors: [out, in], no padding."""
    from qinspect.inspector.dequantize import write_dequantized
    from qinspect.inspector.text import size

    fmt = _open(a)
    n, n_bytes = with_meter(lambda meter: write_dequantized(fmt, out, keys, lambda d, t: meter("writing", d, t)))
    if as_json:
        print_json({"schema": "qinspect.dequantize/1", "out": str(out), "tensors": n, "bytes": n_bytes})
    else:
        print_text(f"{n} tensors, {size(n_bytes)} of float32, in {visible(str(out))}")
    return 0


# Named by their place, so that what a command needs is imported for it only.
_RUN_HELP = (
    "Start a command that outlives this terminal. Exit code 0: started, 2: not; with -f, 1 unless it finished well."
)
app.command(
    "qinspect.inspector.runs.commands:run", name="run", help=_RUN_HELP, usage="Usage: qinspect run [OPTIONS] -- CMD ..."
)
app.command(
    "qinspect.inspector.runs.commands:app", name="runs", help="List the runs; show, follow, cancel, remove one."
)
_LOGS_HELP = (
    "What a log says: conclusions, phases, settings asked for and in effect, points, warnings, errors, results."
)
app.command("qinspect.inspector.logs.cli:logs", name="logs", help=_LOGS_HELP)
_VERIFY_HELP = (
    "Check an observer on known or saved activations: quantile, scale, clipped share and error at each alpha. "
    "Exit code 0: all checks passed, 1: one failed, 2: error."
)
app.command("qinspect.inspector.verify.cli:verify", name="verify", help=_VERIFY_HELP)
app.command(
    "qinspect.inspector.calibrate.commands:calibrate", name="calibrate",
    help="Record the distributions of a model's activations; make scales of them for any alpha.",
)  # fmt: skip
_WHENCE_HELP = "Which alpha made the scales of a checkpoint, by the distributions that a calibration stored."
_EXPLAIN_HELP = "Did my flag take effect? What was declared, what it reaches, what reacted, and what to try next."
app.command("qinspect.inspector.explain.cli:explain_command", name="explain", help=_EXPLAIN_HELP)
app.command("qinspect.inspector.whence.cli:whence_command", name="whence", help=_WHENCE_HELP)
_APPLY_HELP = "A new checkpoint with other activation scales: of another alpha or rule, by what a calibration stored."
app.command("qinspect.inspector.apply.cli:apply_command", name="apply", help=_APPLY_HELP)
_ACCURACY_HELP = "Whether two accuracies differ, how sure that is, and how small a difference their items could show."
app.command("qinspect.inspector.accuracy.cli:accuracy", name="accuracy", help=_ACCURACY_HELP)
_ALPHA_HELP = "What every alpha does to the points of a calibration: scales, clipping, error, the best of them."
app.command("qinspect.inspector.explore.cli:alpha_command", name="alpha", help=_ALPHA_HELP)
