"""The figures so far of an evaluation that goes on: a small file in its folder, for those who watch it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.evaluate import payload
from qinspect.inspector.evaluate.intervals import estimate_so_far
from qinspect.inspector.evaluate.layout import LIVE, LIVE_SCHEMA
from qinspect.inspector.json_text import Json
from qinspect.inspector.runs.folder import write_json

if TYPE_CHECKING:
    from qinspect.inspector.evaluate.results import Floor
    from qinspect.inspector.evaluate.tokens import TokenFigures

EVERY_S = 0.5


class LiveFigures:
    """Written at most every EVERY_S seconds. A file that cannot be written ends nothing: it is for watching."""

    def __init__(self, folder: Path | None, names: Sequence[str]) -> None:
        """names: of all that is to be measured. folder: None writes nothing. It must be there."""
        self._path = None if folder is None else folder / LIVE
        self._models = [_Sums(name) for name in names]
        self._floor: Floor | None = None
        self._n_windows = 0
        self._written = 0.0
        self._write()

    def begin(self, n_windows: int, floor: Floor | None) -> None:
        """What is known before the first model. n_windows: of each."""
        self._n_windows, self._floor = n_windows, floor
        self._write()

    def add(self, number: int, tokens: TokenFigures) -> None:
        """A window, or all of them, of the model of this number."""
        self._models[number].add(tokens)
        if time.monotonic() - self._written > EVERY_S:
            self._write()

    def failed(self, number: int, problem: str) -> None:
        """The model of this number is not measured."""
        self._models[number] = _Sums(self._models[number].name, problem)
        self._write()

    def end(self) -> None:
        """All that is known, whenever it was written last."""
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._path is not None:
            floor = None if self._floor is None else payload.floor(self._floor)
            models = [m.described() for m in self._models]
            content = {"schema": LIVE_SCHEMA, "windows": self._n_windows, "noise_floor": floor, "models": models}
            with suppress(OSError):
                write_json(self._path, content)


class _Sums:
    """Of one model, window by window: sums of figures over its finite tokens, and how many these are."""

    def __init__(self, name: str, problem: str = "") -> None:
        self.name, self.problem = name, problem
        self._sums: list[NDArray[np.float64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._said: Json | None = None

    def add(self, tokens: TokenFigures) -> None:
        ok = tokens.finite
        _, window = np.unique(tokens.window, return_inverse=True)
        n = int(window.max(initial=-1)) + 1
        of = [x[ok] for x in (tokens.kl, tokens.nll - tokens.nll_reference, tokens.same_top)]
        self._sums.append(np.array([np.bincount(window[ok], x, n) for x in of]))
        self._counts.append(np.bincount(window[ok], minlength=n))
        self._said = None

    def described(self) -> Json:
        self._said = self._said or self._described()
        return self._said

    def _described(self) -> Json:
        figures: Json = {"kl": None, "ln_ratio": None, "same_top": None}
        n = 0
        if self._counts:
            counts = np.concatenate(self._counts).astype(float)
            sums, n = np.concatenate(self._sums, axis=1), counts.size
            figures = {k: payload.estimate(estimate_so_far(of, counts)) for k, of in zip(figures, sums, strict=True)}
        return {"name": self.name, "windows": n, "problem": self.problem or None, **figures}
