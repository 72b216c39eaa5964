"""What an evaluation keeps in its folder: the figures of tokens of each candidate that is done, so that one that was
killed goes on, and its result."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from qinspect.inspector.evaluate.answers import Answers
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.tokens import TokenFigures
from qinspect.inspector.runs.folder import RUN_VARIABLE, runs_folder
from qinspect.inspector.whole_file import replacing

EVALUATION = "evaluation"
"""The folder of an evaluation inside that of its run."""
RESULT = "evaluation.json"


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

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"tokens-{self._mark}-{number}.npz"

    def tokens(self, number: int) -> TokenFigures | None:
        """Of the candidate of this number; None where they are not there, or damaged."""
        path = self._path(number)
        if path is None or not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as found:
                return TokenFigures(*(found[f.name] for f in fields(TokenFigures)))
        except (OSError, ValueError, KeyError):
            return None

    def answers(self, number: int, task: int) -> Answers | None:
        """Of the candidate of this number to a task; None where they are not there, or damaged."""
        path = self._path(number)
        path = None if path is None else path.with_name(f"answers-{task}-{path.name}")
        if path is None or not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as found:
                return Answers(found["ln_p"], found["greedy"])
        except (OSError, ValueError, KeyError):
            return None

    def keep_answers(self, number: int, task: int, given: Answers) -> None:
        """The answers of a candidate to a task."""
        path = self._path(number)
        if path is not None:
            with replacing(path.with_name(f"answers-{task}-{path.name}")) as file:
                np.savez(file, ln_p=given.ln_p, greedy=given.greedy)

    def keep(self, number: int, tokens: TokenFigures) -> None:
        """The figures of a candidate."""
        path = self._path(number)
        if path is not None:
            with replacing(path) as file:
                np.savez(file, **{f.name: getattr(tokens, f.name) for f in fields(TokenFigures)})
