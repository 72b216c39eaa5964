"""Whether a run and a checkpoint are of one model: by the hash that both keep, by the scales that no alpha reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qinspect.inspector.alpha.recover.answers import Reference, references_of
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotApply
from qinspect.inspector.formats import Format, Topic
from qinspect.inspector.provenance import model_sha256
from qinspect.inspector.text import magnitude, some


def check_run(calibration: Calibration, fmt: Format) -> tuple[Reference, ...]:
    """The scales that no alpha reaches, beside the run's.

    Raises CannotApply where run and checkpoint say that they are of two models, or that only one is in Hadamard space;
    UnknownKey where their points are not the same.
    """
    decides = calibration.record.get("decides")
    decides = decides if isinstance(decides, Mapping) else {}
    _check_hash(fmt.checkpoint, decides.get("model"), f"the run in {calibration.folder}")
    rotated = fmt.rotated
    if rotated is not None and decides.get("rotated", rotated) is not rotated:
        recipe = fmt.says(Topic.RECIPE)
        words = {True: "in Hadamard space", False: "not rotated"}
        raise CannotApply(
            "the run saw activations in another space than the checkpoint's", file=calibration.path,
            expected=words[rotated], found=words[not rotated],
            cure=f"Calibrate by the recipe that the checkpoint was made by{f' ({recipe})' if recipe else ''}.",
        )  # fmt: skip
    return references_of(calibration, fmt)


def check_checkpoint(source: Checkpoint, target: Checkpoint) -> None:
    """Raises CannotApply where two checkpoints say that they were made of two models."""
    _check_hash(target, model_sha256(source), str(source.path))


def _check_hash(target: Checkpoint, other: object, where: str) -> None:
    own = model_sha256(target)
    if own is not None and isinstance(other, str) and own != other:
        raise CannotApply(
            "was made from another model", file=target.path, key="provenance.effective.model_sha256",
            expected=f"{other[:80]}, as {where} says", found=own[:80],
            cure="Give a run of the model that it was made from.",
        )  # fmt: skip


def fingerprint(references: Sequence[Reference]) -> tuple[str, bool]:
    """A sentence on whether model and data are the same, and whether it is a warning."""
    if not references:
        return "There is no scale without alpha to say whether model and data are the same.", False
    equal = sum(r.equal for r in references)
    scales, verb = some(len(references), "scale"), "equals" if equal == 1 else "equal"
    said = f"{equal} of {scales} that no alpha reaches {verb} the largest |x| of the run"
    apart = [r.apart for r in references if not r.equal]
    if apart:
        said += f", the largest difference is {magnitude(100 * max(apart))}"
    if 2 * equal > len(references):
        return f"{said}: model and data are the same.", False
    return f"{said}: the run used other data, or another model. The new scales are those of the run.", True
