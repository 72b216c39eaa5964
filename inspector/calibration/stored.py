"""A calibration that was made: its points, tables, rules and scales, read from its folder. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.calibration.layout import CALIBRATION, RESULT, SCHEMA, TABLES, calibration_folder
from qinspect.inspector.distribution import DistributionFile, MagnitudeTable
from qinspect.inspector.errors import BrokenFile, CannotOpen, UnknownKey, UnknownRun
from qinspect.inspector.json_text import read_object
from qinspect.inspector.observers import RECIPES, Applied, Point, applied
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import brief

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run


@dataclass(frozen=True, slots=True)
class AlphaResult:
    """What one alpha gave. scales: float32 of each point, a scalar or one a group. checkpoints: folders written."""

    alpha: float
    scales: Mapping[str, NDArray[np.float32]]
    checkpoints: tuple[Path, ...]


class _Point(msgspec.Struct):
    point: str
    dtype: Literal["float16", "bfloat16", "float32"]
    rotated: bool
    scale: Any


class _Result(msgspec.Struct):
    alpha: Annotated[float, msgspec.Meta(ge=0, le=1)]
    points: list[_Point]
    checkpoints: list[str]


class _Settings(msgspec.Struct):
    recipe: str


class _Record(msgspec.Struct):
    """What is read of calibration.json; what else is in it is left alone."""

    settings: _Settings
    alphas: Annotated[list[_Result], msgspec.Meta(min_length=1)]


class Calibration:
    """An opened calibration. Opening reads calibration.json and a header; tables are read when they are asked for.

    A point goes by its name, or by the role that its scale has in a checkpoint: the name without what savers put in
    front (`model.`).

    recipe. points: by name, in forward order. results: of each alpha, in the order asked for. record: all of
    calibration.json.
    """

    def __init__(self, folder: Path) -> None:
        """Raises CannotOpen where there is no finished calibration, BrokenFile where it is damaged."""
        self.folder = folder
        self.path = folder / RESULT
        self.record = _read(self.path)
        try:
            made = msgspec.convert(self.record, _Record)
        except UnicodeError as e:  # half a surrogate pair where something else should be
            raise self._broken("holds text that is not valid Unicode") from e
        except msgspec.ValidationError as e:
            what, _, key = str(e).partition(" - at `$")
            raise self._broken(
                f"does not hold what it should: {what[:1].lower()}{what[1:]}", key.strip(".`") or None
            ) from e
        self.recipe = made.settings.recipe
        self.results = tuple(self._result(i, r) for i, r in enumerate(made.alphas))
        self.points = {p.point: Point(p.point, p.dtype, p.rotated) for p in made.alphas[0].points}
        if not self.points:
            raise self._broken("has no observation point", "alphas[0].points")
        if self.recipe not in RECIPES:
            raise self._broken("names no recipe", "settings.recipe", self.recipe)
        self._by_role = {strip_root(name): name for name in self.points}
        self._file = DistributionFile(folder / TABLES)
        if missing := sorted(self.points.keys() - set(self._file.points)):
            self._file.close()
            raise self._broken("has points without tables", "alphas[0].points", missing[0])

    def __contains__(self, name: str) -> bool:
        return name in self.points or name in self._by_role

    def point(self, name: str) -> Point:
        """The point of a name or role. Raises UnknownKey for another."""
        found = self.points.get(self._by_role.get(name, name))
        if found is None:
            raise UnknownKey("there is no observation point of this name", file=self.path, key=name)
        return found

    def applied(self, name: str, alpha: float) -> Applied:
        """The recipe's rule at a point. Raises UnknownKey for another name."""
        return applied(self.recipe, self.point(name), alpha)

    def tables(self, name: str) -> list[MagnitudeTable]:
        """What the point's rule takes: a table of each sample in order, or the pooled one where no more was kept.
        Raises UnknownKey for another name, BrokenFile where the tables are damaged."""
        stored = self.point(name).name
        return self._file.samples(stored) or [self._file.pooled(stored)]

    def pooled(self, name: str) -> MagnitudeTable:
        """All samples of a point together. Raises as `tables` does."""
        return self._file.pooled(self.point(name).name)

    def n_samples(self, name: str) -> int:
        """Tables of samples that the point has; 0 where only their sum was kept."""
        return self._file.n_samples(self.point(name).name)

    def keeps_samples(self, name: str) -> bool:
        """Whether the point has a table of each sample."""
        return self.n_samples(name) > 0

    def fingerprint(self) -> str:
        """Of all tables."""
        return self._file.fingerprint()

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """All that were written and are still there, in the order of alphas."""
        return tuple(c for r in self.results for c in r.checkpoints if c.exists())

    @property
    def model_sha256(self) -> str | None:
        """Of the weights that were calibrated; None where it is not stored."""
        decides = self.record.get("decides")
        found = decides.get("model") if isinstance(decides, dict) else None
        return found if isinstance(found, str) else None

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _result(self, number: int, row: _Result) -> AlphaResult:
        scales = {}
        for i, p in enumerate(row.points):
            try:
                scales[p.point] = np.asarray(p.scale, np.float32)  # nan and infinities are texts
            except (TypeError, ValueError, OverflowError) as e:
                raise self._broken("is not a scale", f"alphas[{number}].points[{i}].scale", p.scale) from e
        return AlphaResult(row.alpha, scales, tuple(map(Path, row.checkpoints)))

    def _broken(self, problem: str, key: str | None = None, found: object = None) -> BrokenFile:
        return BrokenFile(
            problem, file=self.path, key=key, found=None if found is None else brief(found),
            cure="Calibrate again: the samples that are done are used again.",
        )  # fmt: skip


def open_calibration(run: Run) -> Calibration:
    """The calibration of a run. Raises CannotOpen for a run that is none, and as Calibration does."""
    folder = calibration_folder(run)
    if folder is None:
        raise CannotOpen(
            "is not a calibration by qinspect", file=run.folder, expected="a run of `qinspect calibrate`",
            found=run.spec.command, cure="`qinspect calibrate MODEL` makes one.",
        )  # fmt: skip
    return Calibration(folder)


def calibration_named(name: str) -> Calibration:
    """The calibration that a user names: a folder (what is a folder here is no run), or the id or name of a run.

    Raises UnknownRun for a name that is neither, and as `open_calibration` does.
    """
    from qinspect.inspector.runs import find

    folder = Path(name)
    if folder.is_dir():
        inner = folder / CALIBRATION
        return Calibration(inner if not (folder / RESULT).exists() and (inner / RESULT).exists() else folder)
    try:
        return open_calibration(find(name))
    except UnknownRun as e:
        e.expected = "a run, or a folder with calibration.json"
        raise


def _read(path: Path) -> dict[str, Any]:
    cure = "A calibration that ended early is continued with `qinspect calibrate --resume RUN`."
    return read_object(path, SCHEMA, CannotOpen("there is no finished calibration", file=path, cure=cure))
