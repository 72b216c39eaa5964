"""The command line: `qinspect A B`, and a subcommand for each view. docs/cli.md is its contract.

stdout is data, stderr is narration. Exit codes: 0 same (or done), 1 different (diff only), 2 error, 130 interrupted.
No path through here imports textual, plotext or torch.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError

from qinspect.inspector.arguments import AsJson, Codes, ModelA, ModelB, Noise, NoiseRun
from qinspect.inspector.errors import CannotRead, QinspectError, UsageError
from qinspect.inspector.printing import discard_stdout, narrate, print_error
from qinspect.inspector.text import visible


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


# Handles and records are made by the hundred thousand, none of them in a cycle: going over them again and again takes
# a third of the time of opening a large checkpoint.
_COLLECT_AFTER_ALLOCATIONS = 1_000_000
atexit.register(gc.freeze)  # nor at the end, when the system takes back all memory at once


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
        discard_stdout()
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
    return print_error(error, "--json" in _own_words(words))


def _refuse_unseparated(words: Sequence[str]) -> None:
    """Without `--`, `qinspect run main.py --name x` would take an option of the command for its own."""
    if words[:1] == ["run"] and len(words) > 1 and "--" not in words and not {"--help", "-h", "--version"} & set(words):
        raise UsageError("the command of a run goes after --", cure="qinspect run [options] -- CMD ...")


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


def _replace_closed_streams() -> None:
    """Python sets a stream to None where the shell closed it (`>&-`): what goes there is dropped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the end


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
    if b is not None:
        from qinspect.inspector.compare.cli import report_pair

        return report_pair(a, b, codes, noise, run, as_json)
    if noise or run:
        raise UsageError("noise is that of a difference", expected="two models beside --noise or --run")
    from qinspect.inspector.contents.cli import scales

    return scales(a, as_json=as_json)


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


# Named by their place, so that what a command needs is imported for it only.
_DIFF_HELP = "Compare B with A. Exit code 0: no difference at the level printed, 1: different, 2: error."
app.command("qinspect.inspector.compare.cli:diff", name="diff", help=_DIFF_HELP)
app.command(
    "qinspect.inspector.contents.cli:tree", name="tree", help="The layer tree: counts, parameters, bytes, dtypes."
)
_SCALES_HELP = "Every scale: what it is a scale of, its value, where its copies are."
app.command("qinspect.inspector.contents.cli:scales", name="scales", help=_SCALES_HELP)
_SHOW_HELP = "One entry, by key or by role: metadata, values or summary, codes, dequantized statistics."
app.command("qinspect.inspector.values.cli:show", name="show", help=_SHOW_HELP)
_DEQUANTIZE_HELP = "Write quantized weights as float32 safetensors: [out, in], no padding."
app.command("qinspect.inspector.values.cli:dequantize", name="dequantize", help=_DEQUANTIZE_HELP)
_RUN_HELP = "Start a command that outlives this terminal. Exit code 0: started, 2: not; with -f, 1 unless it succeeded."
app.command(
    "qinspect.inspector.runs.cli:run", name="run", help=_RUN_HELP, usage="Usage: qinspect run [OPTIONS] -- CMD ..."
)
app.command("qinspect.inspector.runs.cli:app", name="runs", help="List the runs; show, follow, cancel, remove one.")
_LOGS_HELP = (
    "What a log says, or the log of a run: conclusions, phases, settings asked for and in effect, points, warnings, "
    "errors, results."
)
app.command("qinspect.inspector.runs.logs_cli:logs", name="logs", help=_LOGS_HELP)
_VERIFY_HELP = (
    "Check an observer on known or saved activations: quantile, scale, clipped share and error at each alpha. "
    "Exit code 0: all checks passed, 1: one failed, 2: error."
)
app.command("qinspect.inspector.verify.cli:verify", name="verify", help=_VERIFY_HELP)
app.command(
    "qinspect.inspector.calibrate.cli:calibrate", name="calibrate",
    help="Record the distributions of a model's activations; make scales of them for any alpha.",
)  # fmt: skip
_WHENCE_HELP = "Which alpha made the scales of a checkpoint (--run), or which method made its weights (--base)."
_EXPLAIN_HELP = "Did my flag take effect? What was declared, what it reaches, what reacted, and what to try next."
app.command("qinspect.inspector.explain.cli:explain_command", name="explain", help=_EXPLAIN_HELP)
app.command("qinspect.inspector.method.cli:whence_command", name="whence", help=_WHENCE_HELP)
_APPLY_HELP = "A new checkpoint with activation scales for another alpha or rule, from what a calibration stored."
app.command("qinspect.inspector.apply.cli:apply_command", name="apply", help=_APPLY_HELP)
_ACCURACY_HELP = "Whether two accuracies differ, how sure that is, and how small a difference their items could show."
app.command("qinspect.inspector.accuracy.cli:accuracy", name="accuracy", help=_ACCURACY_HELP)
_FIDELITY_HELP = (
    "How far the values of B's weights are from A's, the worst first. "
    "Exit code 1: a weight is below --min-sqnr, or has no number."
)
app.command("qinspect.inspector.method.fidelity_cli:fidelity_command", name="fidelity", help=_FIDELITY_HELP)
_LOADERS_HELP = "What six engines do with a checkpoint when they load it: what they change, fill, drop or refuse."
app.command("qinspect.inspector.loaders.cli:loaders_command", name="loaders", help=_LOADERS_HELP)
_ALPHA_HELP = "What every alpha does to the points of a calibration: scales, clipping, error, the best of them."
app.command("qinspect.inspector.alpha.cli:alpha_command", name="alpha", help=_ALPHA_HELP)
_LINT_HELP = (
    "Rules that find a broken scale: what is wrong, where, why it matters and what to do. Exit code 0: clean, "
    "1: findings, 2: could not read, 3: nothing to check."
)
app.command("qinspect.inspector.lint.cli:lint_command", name="lint", help=_LINT_HELP)
_EXPERTS_HELP = "The experts of a mixture by layer: which lack a scale, or have one that no calibration made."
app.command("qinspect.inspector.experts.cli:experts", name="experts", help=_EXPERTS_HELP)
_EVALUATE_HELP = (
    "What a quantization does to a model's predictions: perplexity, KL divergence, agreement, with intervals."
)
app.command("qinspect.inspector.evaluate.cli:evaluate_command", name="evaluate", help=_EVALUATE_HELP)
