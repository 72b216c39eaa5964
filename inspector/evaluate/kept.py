"""What an evaluation keeps in its folder: the figures of tokens of each candidate that is done, so that one that was
killed goes on, and its result."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from qinspect.inspector.evaluate.answers import Answers
from qinspect.inspector.evaluate.layout import EVALUATION
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.tokens import TokenFigures
from qinspect.inspector.runs.folder import RUN_VARIABLE, runs_folder
from qinspect.inspector.whole_file import replacing

T = TypeVar("T", TokenFigures, Answers)


def state_folder(state: str) -> Path | None:
    """Where the files of an evaluation are: what was asked for, else in the run's folder; None where it is neither a
    run nor asked for."""
    if state:
        return Path(state)
    run = os.environ.get(RUN_VARIABLE)
    return runs_folder() / run / EVALUATION if run else None


class Kept:
    """The files of one evaluation. Those of other settings, or of other files, are not taken for its own."""

    def __init__(self, folder: Path | None, settings: EvaluateSettings, identities: Sequence[object]) -> None:
        """identities: of all that has a part in it, as JSON. folder: None keeps nothing."""
        self.folder = folder
        decides = json.dumps([asdict(settings), identities])
        self._mark = hashlib.sha256(decides.encode()).hexdigest()[:16]
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def tokens(self, number: int | str) -> TokenFigures | None:
        """Of the candidate of this number, or what else has a name; None where they are not there, or damaged."""
        return self._read(self._of_tokens(number), TokenFigures)

    def keep(self, number: int | str, tokens: TokenFigures) -> None:
        """The figures of a candidate."""
        self._write(self._of_tokens(number), tokens)

    def answers(self, number: int, task: int) -> Answers | None:
        """Of the candidate of this number to a task; None where they are not there, or damaged."""
        return self._read(self._of_answers(number, task), Answers)

    def keep_answers(self, number: int, task: int, given: Answers) -> None:
        """The answers of a candidate to a task."""
        self._write(self._of_answers(number, task), given)

    def _of_tokens(self, number: int | str) -> str:
        return f"tokens-{self._mark}-{number}.npz"

    def _of_answers(self, number: int, task: int) -> str:
        return f"answers-{task}-{self._of_tokens(number)}"

    def _read(self, name: str, kind: type[T]) -> T | None:
        """A dataclass of arrays."""
        if self.folder is None or not (self.folder / name).exists():
            return None
        try:
            with np.load(self.folder / name, allow_pickle=False) as found:
                return kind(*(found[f.name] for f in fields(kind)))
        except (OSError, ValueError, KeyError):
            return None

    def _write(self, name: str, content: T) -> None:
        if self.folder is not None:
            with replacing(self.folder / name) as file:
                np.savez(file, **{f.name: getattr(content, f.name) for f in fields(content)})
