"""What several commands take, and how a model is opened for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, convert

from qinspect.inspector.printing import Meter, with_meter
from qinspect.inspector.progress import steps_of
from qinspect.inspector.text import visible

if TYPE_CHECKING:
    from cyclopts import Token

    from qinspect.inspector.formats import Format

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON (schemas in docs/schema).")]

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


def absolute_where_it_is(path: str) -> str:
    """A path as another folder sees it; what is none stays as it is."""
    return str(Path(path).absolute()) if path and Path(path).exists() else path


def taking_old_names(old: Mapping[str, str]) -> Callable[[Any, Sequence[Token]], Any]:
    """A converter for an option whose values had other names once: those are taken too, for what they are now."""
    return lambda type_, tokens: convert(type_, [t.evolve(value=old.get(t.value, t.value)) for t in tokens])


def opened_model(path: str, meter: Meter) -> Format:
    """A checkpoint, with its progress on the meter. Raises as `open_checkpoint`."""
    from qinspect.inspector.checkpoint import open_checkpoint
    from qinspect.inspector.formats import format_of

    return format_of(open_checkpoint(path, steps_of(meter, f"opening {visible(path, 60)}")))


def open_model(path: str) -> Format:
    """A checkpoint by what was typed, with its progress on the terminal. Raises as `open_checkpoint`."""
    return with_meter(lambda meter: opened_model(path, meter))
