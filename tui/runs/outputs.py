"""The models that a run is known to have made. events: its journal, as far as it was read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.runs import RunEvent, our_words
from qinspect.inspector.runs.show import Seen

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.safetensors.index.json", "*.pt", "*.pth")


def made_by(seen: Seen, events: Sequence[RunEvent]) -> list[Path]:
    """All of them that are there: a calibration's checkpoints, what `apply` wrote, else what the log says."""
    from qinspect.inspector.calibration.layout import calibration_folder
    from qinspect.inspector.calibration.stored import open_calibration

    if calibration_folder(seen.run) is not None:
        try:
            calibration = open_calibration(seen.run)
        except QinspectError:
            return []
        calibration.close()
        return list(calibration.checkpoints)
    found = _named(seen, "--out") if _is_apply(seen) else _stored(seen, events)
    return [found] if found else []


def to_compare(seen: Seen, events: Sequence[RunEvent]) -> list[Path]:
    """Those that are compared: the first and the last that it made; of `apply` what it copied and the copy."""
    made = made_by(seen, events)
    if made and _is_apply(seen) and (source := _named(seen, "--to")):
        return [source, *made]
    return made if len(made) < 2 else [made[0], made[-1]]


def _is_apply(seen: Seen) -> bool:
    return (our_words(seen.run.spec.argv) or ())[:1] == ("apply",)


def _named(seen: Seen, option: str) -> Path | None:
    """The model in the folder that an option of our own command names, the last one."""
    argv = seen.run.spec.argv
    pairs = zip(argv, (*argv[1:], ""), strict=True)
    values = [after if word == option else word[len(option) + 1 :] for word, after in pairs
              if word == option or word.startswith(f"{option}=")]  # fmt: skip
    return _model_at(seen, values[-1]) if values else None


def _stored(seen: Seen, events: Sequence[RunEvent]) -> Path | None:
    """Where another program stored a model: what its log says, else a folder that its command names."""
    said = [
        groups["path"]
        for event in reversed(events)
        if isinstance(groups := event.fields.get("groups"), dict) and isinstance(groups.get("path"), str)
    ]
    words = [w.partition("=")[2] or w for w in reversed(seen.run.spec.argv[1:])]
    return next((place for text in (*said, *words) if (place := _model_at(seen, text))), None)


def _model_at(seen: Seen, text: str) -> Path | None:
    """The folder of that name, where there are weights in it."""
    try:
        place = Path(seen.run.spec.cwd, text).expanduser()
        if place.is_dir() and any(next(place.glob(pattern), None) for pattern in _WEIGHTS):
            return place
    except (OSError, ValueError, RuntimeError):
        pass
    return None
