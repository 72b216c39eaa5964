"""One opened checkpoint, and two compared, under the names that a notebook wants. All of it is the inspector's work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from qinspect.inspector.checkpoint import Checkpoint, Entry, Tensor, open_checkpoint
from qinspect.inspector.progress import untold

if TYPE_CHECKING:  # what needs numpy is imported when it is used
    from numpy.typing import NDArray

    from qinspect.inspector.compare import Comparison
    from qinspect.inspector.distribution import MagnitudeTable
    from qinspect.inspector.formats import Format, QuantizedWeight, ScaleRecord
    from qinspect.inspector.progress import Progress
    from qinspect.inspector.values.inspection import Inspection

    Array = NDArray[Any]
    """Any: ml_dtypes' element types (bfloat16, fp8) are no subclasses of numpy's."""


def open(path: str | PathLike[str]) -> Model:
    """Open a checkpoint: its headers are read, no tensor is.

    path: a safetensors or torch file, a folder, an `*.index.json`, or `org/name` in the local Hugging Face cache.
    Raises CannotOpen where there is no checkpoint, BrokenFile where it is damaged, UnsafePickle where a pickle asks for
    more than tensors and numbers. Nothing in a file is executed.
    """
    return Model(open_checkpoint(fspath(path)))


class Model:
    """An opened checkpoint.

    It goes by two kinds of names. A key is what an entry is called in the file. A role is what a scale or a weight is,
    `layers.0.mixer.in_proj:input`, the same in every checkpoint of the model. Methods that take a name take either, and
    raise UnknownKey with the nearest ones where it is neither.

    Keys work as in a dict: `name in m`, `m[name]`, `len(m)`, `for name in m`. It can be used in a `with` statement.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @cached_property
    def format(self) -> Format:
        """The quantization family, bound to this checkpoint: all that is known of its scales and codes."""
        from qinspect.inspector.formats import format_of

        return format_of(self.checkpoint)

    @property
    def path(self) -> Path:
        """What was opened."""
        return self.checkpoint.path

    @property
    def family(self) -> str:
        """The quantization family, a word; `plain` where none is recognised."""
        return self.format.family

    @property
    def description(self) -> str:
        """Family and variant in a few words: `Quamba W4A8, 1 layer`."""
        return self.format.description

    @property
    def config(self) -> Mapping[str, Any]:
        """config.json and its like, parsed; empty where there is none."""
        return self.checkpoint.config

    @property
    def metadata(self) -> Mapping[str, str]:
        """`__metadata__` of safetensors files."""
        return self.checkpoint.metadata

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the files and the format, one sentence each."""
        return (*self.checkpoint.notes, *self.format.notes())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, each tied tensor once."""
        return self.checkpoint.nbytes

    def keys(self) -> tuple[str, ...]:
        """Names of all entries, in file order."""
        return tuple(self.checkpoint.entries)

    def tensors(self) -> Iterator[Tensor]:
        """Handles on all tensors, in file order. Nothing is read."""
        return self.checkpoint.tensors()

    def __getitem__(self, key: str) -> Entry:
        """A handle on the entry of this key: a Tensor, whose `read()` gives a numpy array (ml_dtypes types for bf16,
        fp8, fp4), or a Value, a Python number or string that was stored as such. Raises UnknownKey."""
        return self.checkpoint[key]

    def __contains__(self, key: object) -> bool:
        return key in self.checkpoint.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.checkpoint.entries)

    def __len__(self) -> int:
        return len(self.checkpoint.entries)

    def scales(self) -> tuple[ScaleRecord, ...]:
        """All scales in forward order: role, key, what each is a scale of, granularity, copies. Nothing is read."""
        return tuple(self.format.scales())

    def weights(self) -> tuple[QuantizedWeight, ...]:
        """All quantized weights in forward order: role, shape without padding, bits. Nothing is read."""
        return self.format.weights()

    def values(self, scale: str | ScaleRecord) -> Array:
        """The numbers of a scale, in their stored precision: logical order, no padding, 0-dimensional for a scalar.

        scale: its role or key, or one of `scales()`. Raises UnknownKey, and CannotRead where they cannot be had.
        """
        from qinspect.inspector.values.names import scale_named

        return self.format.values(scale_named(self.format, scale) if isinstance(scale, str) else scale)

    def codes(self, weight: str | QuantizedWeight, start: int = 0, stop: int | None = None) -> Array:
        """The integer codes of a weight, rows `start` to `stop`: unpacked, [out, in], without padding.

        weight: its role or key, or one of `weights()`. Raises UnknownKey, CannotRead, CannotDequantize.
        """
        chosen = self._weight(weight)
        first, last, skipped = _whole_blocks(chosen, start, stop)
        codes = self.format.codes(chosen, first, last)
        return codes[skipped:] if skipped else codes

    def dequantize(self, weight: str | QuantizedWeight, start: int = 0, stop: int | None = None) -> Array:
        """float32 values of a weight, rows `start` to `stop`: [out, in], without padding, by the arithmetic of the
        library that wrote the file.

        weight: its role or key, or one of `weights()`. Raises UnknownKey, CannotRead, CannotDequantize.
        """
        chosen = self._weight(weight)
        first, last, skipped = _whole_blocks(chosen, start, stop)
        values = self.format.dequantize(chosen, first, last)
        return values[skipped:] if skipped else values

    def table(self, name: str) -> MagnitudeTable:
        """The distribution of |x| over a tensor: of a quantized weight its dequantized values, of any other what is
        stored. Exact up to 131,072 different magnitudes, which only float32 can exceed.

        name: its role or key. Raises UnknownKey, and CannotRead for what holds no floating-point numbers.
        """
        from qinspect.inspector.values.names import values_named
        from qinspect.inspector.values.stored_values import count_values

        return count_values(values_named(self.format, name), untold)

    def inspect(self, name: str) -> Inspection:
        """Everything about one entry, as `qinspect show` tells it: statistics, codes by level, copies.

        name: a key, a role, or `ROLE#scale` for the scale of a weight. Raises UnknownKey.
        """
        from qinspect.inspector.values.inspection import inspect_entry

        return inspect_entry(self.format, name)

    def close(self) -> None:
        """Release the files. Handles cannot be read any more."""
        self.checkpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {str(self.path)!r}: {self.description}; {len(self):,} entries>"

    def _weight(self, weight: str | QuantizedWeight) -> QuantizedWeight:
        from qinspect.inspector.values.names import weight_named

        return weight_named(self.format, weight) if isinstance(weight, str) else weight


def _whole_blocks(weight: QuantizedWeight, start: int, stop: int | None) -> tuple[int, int | None, int]:
    """(first row to read, end, rows to drop): a format reads from multiples of row_step on. A scalar has no rows."""
    if not weight.shape:
        return 0, None, 0
    first, last, _ = slice(start, stop).indices(weight.shape[0])
    skipped = first % weight.row_step
    return first - skipped, max(first, last), skipped


def compare(
    a: str | PathLike[str] | Model,
    b: str | PathLike[str] | Model,
    *,
    codes: bool | None = None,
    noise: Sequence[str] = (),
    run: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare B with A: scales and weights paired by role, differences relative to A, and a verdict.

    a, b: opened models, or what `open` takes. codes: whether to read codes and unquantized tensors; None reads them
    where both hold less than 8 GB together. noise: repeats of the same settings, checkpoints or calibrations. run: a
    calibration whose samples are resampled for noise bands; without one the newest on this machine that made A or B.
    progress: called as progress(phase, done, total); raise in it to cancel. Raises as `open` does; what is wrong with a
    single tensor is in its pair.
    """
    from qinspect.inspector.compare import compare as compare_formats
    from qinspect.inspector.noise.sources import sources_of

    first, second = _opened(a).format, _opened(b).format
    with closing(sources_of(first, second, noise, run)) as sources:
        return compare_formats(first, second, codes, progress, sources=sources)


def report(comparison: Comparison) -> str:
    """The comparison for people: what `qinspect A B` prints into a pipe."""
    from qinspect.inspector.compare.report import comparison_text, scale_table

    changed = [p for p in comparison.scales if not p.status.counts_as_same]
    return comparison_text(comparison, scale_table(changed))


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs and data frames: what `qinspect diff A B --only all --json` prints
    (docs/schema/diff.json)."""
    from qinspect.inspector.compare.payload import comparison as payload_of

    return dict(payload_of(comparison, list(comparison.scales), list(comparison.weights)))


def _opened(model: str | PathLike[str] | Model) -> Model:
    return model if isinstance(model, Model) else open(model)
