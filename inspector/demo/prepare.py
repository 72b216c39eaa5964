"""`qinspect demo`: the model that comes with the program, calibrated once, here; two checkpoints of it at two alphas.

No torch in here: the calibration is a run. docs/calibration.md shows what can be done with it afterwards.
"""

from __future__ import annotations

import shutil
import time
from hashlib import sha256
from pathlib import Path

from qinspect.inspector.demo import MODEL
from qinspect.inspector.errors import CannotStartRun
from qinspect.inspector.places import state_folder
from qinspect.inspector.printing import Meter, narrate, with_meter

ALPHAS = ("0.9995", "0.99999")
SAMPLES = 128
LOOK_EVERY_S = 0.2


def prepared() -> tuple[Path, Path]:
    """The two checkpoints, made now where they are not there yet. Raises CannotStartRun where the run fails."""
    out = _folder()
    found = tuple(out / f"pa-{alpha}-w8a8" for alpha in ALPHAS)
    if not all((place / "config.json").exists() for place in found):
        _calibrate(out)
    return found[0], found[1]


def _folder() -> Path:
    """One for each model and version: another's checkpoints are not taken for these."""
    from qinspect.inspector import __version__

    digest = sha256((MODEL / "model.safetensors").read_bytes()).hexdigest()[:12]
    return state_folder() / "demo" / f"{__version__}-{digest}"


def _calibrate(out: Path) -> None:
    from qinspect.inspector.runs import Outcome, find, list_runs, make_spec, ourselves, start
    from qinspect.inspector.runs.show import look

    command = ourselves(
        "calibrate", str(MODEL), "--out", str(out), "--samples", str(SAMPLES), "--device", "cpu",
        *(word for alpha in ALPHAS for word in ("--alpha", alpha)), "--here",
    )  # fmt: skip
    run = next((r for r in list_runs() if r.spec.argv == command and r.state().state.is_live), None)
    if run is None:
        shutil.rmtree(out, ignore_errors=True)  # what a demo that was cut short left
        out.parent.mkdir(parents=True, exist_ok=True)
        run = start(make_spec(command, name="demo"))
    narrate(
        f"run {run.id} calibrates the model that comes with qinspect on {SAMPLES} samples; ctrl-c leaves it running"
    )
    started = run

    def wait(meter: Meter) -> None:
        while (seen := look(started)).state.state.is_live:
            progress = seen.progress.fields if seen.progress else {}
            meter("calibrating", int(progress.get("done") or 0), int(progress.get("total") or SAMPLES))
            time.sleep(LOOK_EVERY_S)

    with_meter(wait)
    result = find(run.id).state().result
    if result is None or result.outcome is not Outcome.FINISHED:
        raise CannotStartRun(
            "the calibration of the demo did not finish", file=run.log_path, expected="exit code 0",
            found=result.outcome.value if result else "no result", cure=f"`qinspect runs logs {run.id}` says why.",
        )  # fmt: skip
