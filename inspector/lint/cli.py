"""`qinspect lint`. docs/cli.md is its contract, docs/lint.md has the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from qinspect.inspector.arguments import AsJson
from qinspect.inspector.errors import UsageError
from qinspect.inspector.finding import Severity
from qinspect.inspector.printing import PIPE_WIDTH, folded, narrate, print_json, print_text, terminal_width, with_meter
from qinspect.inspector.text import some

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration
    from qinspect.inspector.lint.check import Lint
    from qinspect.inspector.lint.rule import Rule
    from qinspect.inspector.lint.settings import LintSettings
    from qinspect.inspector.printing import Meter

CLEAN, FINDINGS, NOTHING_CHECKED = 0, 1, 3
"""Exit codes; 2 is that of an error, as everywhere."""

Layout = Literal["text", "json", "sarif", "github"]


def lint_command(
    a: Annotated[
        str | None, Parameter(help="A checkpoint: file, folder, *.index.json, or org/name in the cache.")
    ] = None,
    b: Annotated[str | None, Parameter(help="The original, or another checkpoint to hold it against.")] = None,
    /,
    *,
    run: Annotated[
        str | None, Parameter(help="A calibration of the same model: the id or name of its run, or its folder.")
    ] = None,
    fast: Annotated[
        bool, Parameter(negative="", help="Only headers and scales of a few numbers; the rest is not checked.")
    ] = False,
    select: Annotated[
        list[str] | None,
        Parameter(negative="", consume_multiple=True, help="Only these rules: codes, their first letters, or names."),
    ] = None,
    ignore: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True, help="Not these rules.")] = None,
    fail_on: Annotated[
        Literal["error", "warning", "note"] | None,
        Parameter(help="Exit code 1 where a finding is at least as severe (default: error)."),
    ] = None,
    baseline: Annotated[str | None, Parameter(help="A file of known findings, which are left out.")] = None,
    write_baseline: Annotated[
        str | None, Parameter(help="Write what is found to FILE as known, and exit with code 0.")
    ] = None,
    config: Annotated[
        str | None, Parameter(help="Settings, instead of the nearest qinspect.toml or pyproject.toml.")
    ] = None,
    layout: Annotated[
        Layout, Parameter(name="--format", help="sarif: for code scanning; github: commands of GitHub Actions.")
    ] = "text",
    explain: Annotated[
        str | None, Parameter(help="What a rule looks for, by its code or name; `all` lists them.")
    ] = None,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="", help="Every place.")] = False,
    as_json: AsJson = False,
) -> int:
    """Rules that find a broken scale: what is wrong, where, why it matters and what to do."""
    from qinspect.inspector.lint.settings import chosen_rules, settings_for

    if explain is not None:
        if layout in ("sarif", "github"):
            raise UsageError(f"--explain has no --format {layout}", cure="`--explain R --json` is for programs.")
        return _explain(explain, as_json or layout == "json")
    if a is None:
        raise UsageError("MODEL is missing", expected="a checkpoint", cure="`qinspect lint MODEL`")
    if as_json and layout not in ("text", "json"):
        raise UsageError(f"--json and --format {layout} exclude each other", cure="Give one of them.")
    settings = settings_for(Path.cwd(), config)
    rules = chosen_rules(select or settings.select, (*(ignore or ()), *settings.ignore), settings.path)
    if write_baseline is not None:
        from qinspect.inspector.lint.baseline import check_folder

        check_folder(Path(write_baseline))
    found = with_meter(lambda meter: _linted((a, b, run), fast, rules, settings, meter))
    if write_baseline is not None:
        from qinspect.inspector.lint import baseline as known

        n = known.write_baseline(Path(write_baseline), found)
        narrate(f"{some(n, 'place')} written to {write_baseline} as known")
        return CLEAN
    found = _new_ones(found, Path(baseline) if baseline else settings.baseline)
    _print(found, {"A": a, "B": b or ""}, rules, "json" if as_json else layout, verbose)
    if found.at_least(Severity(fail_on or settings.fail_on)):
        return FINDINGS
    return CLEAN if found.n_looked else NOTHING_CHECKED


def _linted(
    words: tuple[str, str | None, str | None], fast: bool, rules: Sequence[Rule], settings: LintSettings, meter: Meter
) -> Lint:
    """words: A, B and the run, as they were typed."""
    from qinspect.inspector.lint.check import lint
    from qinspect.inspector.lint.opening import opened_subjects

    a, b, run = words
    calibration = None if run is None else _calibration(run)
    return lint(opened_subjects(a, b, calibration, fast, meter), rules, settings.limits)


def _calibration(run: str) -> Calibration:
    """Imported only where one is asked for."""
    from qinspect.inspector.calibration.stored import calibration_named

    return calibration_named(run)


def _new_ones(found: Lint, baseline: Path | None) -> Lint:
    """Without what is known, which is said."""
    if baseline is None:
        return found
    from qinspect.inspector.lint.baseline import read_baseline, without_known

    left, n = without_known(found, read_baseline(baseline))
    if n:
        narrate(f"{some(n, 'known place')} left out ({baseline})")
    return left


def _print(found: Lint, paths: Mapping[str, str], rules: Sequence[Rule], layout: Layout, verbose: bool) -> None:
    from qinspect.inspector.lint import annotations, payload
    from qinspect.inspector.lint.report import lint_text

    def as_sarif() -> object:
        from qinspect.inspector import __version__

        return annotations.sarif(found, paths, rules, __version__)

    ways: dict[Layout, Callable[[], None]] = {
        "text": lambda: print_text(lint_text(found, verbose, terminal_width())),
        "json": lambda: print_json(payload.lint(found)),
        "sarif": lambda: print_json(as_sarif()),
        "github": lambda: print_text("\n".join((*annotations.github_lines(found, paths), *_last_lines(found)))),
    }
    ways[layout]()


def _last_lines(found: Lint) -> list[str]:
    """What was looked at, in a pipeline's log."""
    from qinspect.inspector.lint.report import counted

    return list(counted(found, PIPE_WIDTH))


def _explain(name: str, as_json: bool) -> int:
    from qinspect.inspector.lint.pages import explained
    from qinspect.inspector.lint.registry import all_rules
    from qinspect.inspector.lint.settings import rule_named

    if as_json:
        from qinspect.inspector.lint import rules_payload

        print_json(rules_payload.rules(all_rules() if name == "all" else [rule_named(name)]))
        return CLEAN
    if name == "all":
        for rule in all_rules():
            print_text(f"{rule.code}  {rule.severity:<8} {rule.name}: {rule.summary}")
        return CLEAN
    width = terminal_width() or PIPE_WIDTH
    for label, text in explained(rule_named(name)):
        for line in folded(f"{label:<13}" if label else "", text, width):
            print_text(line)
    return CLEAN
