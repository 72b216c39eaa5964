"""A request from its words to what is to be done: scales of a run, or of a checkpoint, for another checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qinspect.inspector.apply.chosen import ChosenPoints, Request, choose, reaches
from qinspect.inspector.apply.entry import Origin
from qinspect.inspector.apply.model import check_checkpoint, check_run, fingerprint
from qinspect.inspector.apply.plan import Plan, check_family, plan_of
from qinspect.inspector.apply.targets import targets_of_checkpoint, targets_of_run
from qinspect.inspector.apply.write import Written
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.formats import Format, Kind
from qinspect.inspector.observers.recipes import short
from qinspect.inspector.progress import Steps
from qinspect.inspector.provenance import model_sha256
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some


@dataclass(frozen=True)
class Application:
    """A request that was carried out. reached: how many points it reaches, a sentence. notes: what stays as it is, and
    why. warnings: what may be wrong with it. written: None for a dry run."""

    plan: Plan
    origin: Origin
    source: str
    reached: str
    notes: Sequence[str]
    warnings: Sequence[str]
    out: str
    written: Written | None

    @property
    def outcome(self) -> str:
        """What became of the scales, a sentence."""
        n, same = len(self.plan.replacements), len(self.plan.same)
        if not n:
            return f"Nothing changes: {some(same, 'scale')} asked for, and the checkpoint has {_them(same)} already."
        entries = some(len({key for r in self.plan.replacements for key in r.keys}), "entry", "entries")
        said = f"{some(n, 'scale')} replaced, in {entries}"
        return f"{said}; {some(same, 'other')} {'is' if same == 1 else 'are'} there already." if same else f"{said}."


def _them(n: int) -> str:
    return "it" if n == 1 else "them"


def of_run(
    name: str, calibration: Calibration, fmt: Format, request: Request, out: str, progress: Steps
) -> Application:
    """What a request does to a checkpoint, by the tables of a run of this name. Nothing is written. Raises as its steps
    do."""
    check_family(fmt)
    same_model, differs = fingerprint(check_run(calibration, fmt))
    chosen = choose(calibration, request, {r.role for r in fmt.scales() if r.kind is Kind.ACTIVATION})
    plan = plan_of(fmt, targets_of_run(calibration, fmt, chosen, request.rule, progress))
    asked = {"alpha": request.alpha, "rule": request.rule, "points": [str(p) for p in request.points]}
    notes = (*chosen.notes, *_left(calibration, chosen))
    return Application(
        plan, Origin(asked, _run(name, calibration)), f"{calibration.folder}, recipe {calibration.recipe}",
        _reached(calibration, request, chosen), notes if differs else (*notes, same_model),
        (same_model,) if differs else (), out, None,
    )  # fmt: skip


def _run(name: str, calibration: Calibration) -> dict[str, object]:
    """Which run it is, for who reads the checkpoint elsewhere: by name, and by the hashes of model and data."""
    data = calibration.record.get("data")
    return {
        "run": name,
        "recipe": calibration.recipe,
        "model_sha256": calibration.model_sha256,
        "data_sha256": data.get("sha256") if isinstance(data, dict) else None,
    }


def _reached(calibration: Calibration, request: Request, chosen: ChosenPoints) -> str:
    rule = f"The rule {request.rule}" if request.rule else "The recipe's rule"
    alphas = sorted({a for a in chosen.alphas.values() if a is not None})
    at = f" at alpha {' and '.join(map(short, alphas))}" if alphas else ""
    return f"{rule}{at} reaches {len(chosen.alphas)} of {some(len(calibration.points), 'point')} of the run."


def _left(calibration: Calibration, chosen: ChosenPoints) -> Iterator[str]:
    """What is not chosen, and why."""
    others = [n for n in calibration.points if strip_root(n) not in chosen.alphas]
    percentile = sum(reaches(calibration, n) for n in others)
    if fixed := len(others) - percentile:
        yield f"{some(fixed, 'point')} {_stay(fixed)}: the recipe makes {'it' if fixed == 1 else 'them'} by min-max."
    if percentile:
        yield f"{some(percentile, 'point')} {_stay(percentile)}: not asked for."


def _stay(n: int) -> str:
    return "stays as it is" if n == 1 else "stay as they are"


def of_checkpoint(source: Format, fmt: Format, request: Request, out: str) -> Application:
    """What taking over the scales of `source` does to a checkpoint. Nothing is written. Raises as its steps do."""
    check_family(fmt)
    check_checkpoint(source.checkpoint, fmt.checkpoint)
    targets, lacking = targets_of_checkpoint(source, fmt, request.points)
    of = {
        "scales_from": str(source.checkpoint.path),
        "scales_from_format": source.description,
        "model_sha256": model_sha256(source.checkpoint),
    }
    asked = f"{some(len(targets), 'scale')} in both {'was' if len(targets) == 1 else 'were'} asked for."
    n = len(lacking)
    notes = [f"{some(n, 'point')} {_stay(n)}: that checkpoint has no scale of {_them(n)}."] if n else []
    return Application(
        plan_of(fmt, targets), Origin({"points": [str(p) for p in request.points]}, of),
        f"{source.checkpoint.path}, {source.description}", asked,
        tuple(notes), (), out, None,
    )  # fmt: skip
