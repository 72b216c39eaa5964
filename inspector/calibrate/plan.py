"""What a calibration is going to do: its settings with nothing left open, and places that can be written. What the
settings alone tell is raised here, before a model is opened."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qinspect.inspector.calibrate.checkpoint import check_target
from qinspect.inspector.calibrate.room import check_writable
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotOpen, UsageError
from qinspect.inspector.models.device import device_named
from qinspect.inspector.models.load import is_mamba
from qinspect.inspector.observers.recipes import default_recipe, rotates


@dataclass(frozen=True)
class Plan:
    """requested: the settings as they were given. settings: with what was left open decided. state: the folder of the
    calibration."""

    requested: Settings
    settings: Settings
    state: Path

    def asked(self, target: Path, scheme: str) -> dict[str, Any]:
        """What a checkpoint says was asked for: where the user keeps the files is nobody else's business."""
        (alpha,) = {a for a in self.settings.alphas if (target, scheme) in self.settings.targets_of(a)}
        given = self.requested
        names = {"model": Path(given.model).name, "data": Path(given.data).name if given.data else ""}
        asked = {**given.as_dict(), **names, "alphas": [alpha], "weights": [scheme]}
        return {k: v for k, v in asked.items() if k != "out"}

    def is_stored(self, target: Path, scheme: str) -> bool:
        """Whether a checkpoint is there already that says that it was made with these settings."""
        try:
            config = json.loads((target / "config.json").read_text(encoding="utf-8"))
            return bool(config["provenance"]["requested"] == self.asked(target, scheme))
        except (OSError, ValueError, KeyError, TypeError):
            return False


def planned(requested: Settings, state: Path) -> Plan:
    """The plan of a calibration whose files are in `state`, which is made.

    Raises UsageError for settings that do not fit the model or device, CannotOpen for a place that cannot be written or
    is filled.
    """
    plan = Plan(requested, _resolved(requested), state)
    targets = plan.settings.targets()
    for target, scheme in targets:
        if not plan.is_stored(target, scheme):
            check_writable(target.parent, target)
            if len(targets) > 1:
                Path(plan.settings.out).mkdir(parents=True, exist_ok=True)
            check_target(target)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        cure = "Name another place with --state."
        raise CannotOpen(f"cannot be made: {e.strerror or e}", file=state, cure=cure) from e
    check_writable(state)
    return plan


def _resolved(settings: Settings) -> Settings:
    """With what was left open decided, so that the record says it."""
    checkpoint = open_checkpoint(settings.model)
    try:
        mamba = is_mamba(checkpoint)
    finally:
        checkpoint.close()
    recipe = settings.recipe or default_recipe(mamba)
    if rotates(recipe) and not mamba:
        cure = "Choose --recipe percentile or minmax."
        raise UsageError(f"the recipe {recipe} is for Mamba models", file=settings.model, cure=cure)
    device = device_named(settings.device, spreads=not mamba)  # only transformers' models are spread
    if device == "auto" and find_spec("accelerate") is None:
        cure = "Install the calibration extra: pip install 'qinspect[calibrate]'."
        raise UsageError("spreading a model needs the package `accelerate`", file=settings.model, cure=cure)
    return replace(settings, recipe=recipe, device=device)
