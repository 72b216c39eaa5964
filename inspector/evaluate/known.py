"""Whether an evaluation of two opened checkpoints was made on this machine, and is still of their files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.evaluate.layout import RESULT, evaluation_folder
from qinspect.inspector.evaluate.report import sentence
from qinspect.inspector.evaluate.results import Answer, Evaluation, ModelFigures
from qinspect.inspector.evaluate.stored import stored_evaluation
from qinspect.inspector.text import count

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint import Checkpoint
    from qinspect.inspector.runs import Run


_ANSWERS = {
    Answer.EQUAL: "equal to the last bit",
    Answer.EQUIVALENT: "perplexity equivalent within {:g}",
    Answer.WORSE: "perplexity worse",
    Answer.BETTER: "perplexity better",
    Answer.UNRESOLVED: "perplexity not separable",
}


@dataclass(frozen=True, slots=True)
class KnownEvaluation:
    """run: its name, or its id. is_of_b: whether B is the model and A the reference; else it is the other way round."""

    run: str
    is_of_b: bool
    figures: ModelFigures

    @property
    def short(self) -> str:
        """`B's predictions: KL 0.0351 [0.0334, 0.0369], perplexity worse`."""
        return f"{self._kl_said}, {_ANSWERS[self.figures.answer].format(self.figures.margin)}"

    @property
    def said(self) -> str:
        """The whole of it in a sentence."""
        m = self.figures
        same = f"same likeliest token {100 * m.same_top.value:.2f} %"
        return f"{self._kl_said}, {same} ({count(m.n)} tokens, run {self.run}); {sentence(m)}"

    @property
    def _kl_said(self) -> str:
        kl = self.figures.kl
        interval = "" if math.isnan(kl.low) else f" [{kl.low:#.3g}, {kl.high:#.3g}]"
        return f"{'B' if self.is_of_b else 'A'}'s predictions: KL {kl.value:#.3g}{interval}"


def evaluation_between(a: Checkpoint, b: Checkpoint, runs: Iterable[Run]) -> KnownEvaluation | None:
    """The newest that has one of them as its reference, and the other as a model; none where a file of either was
    written, moved or replaced since it began. A result that cannot be read is none."""
    for run in sorted(runs, key=lambda r: -r.spec.created):
        found = _result_of(run)
        if found is None:
            continue
        for reference, model, is_of_b in ((a, b, True), (b, a, False)):
            if not _is(found.reference, run, reference):
                continue
            figures = next((m for m in found.models if _is(m.name, run, model)), None)
            if figures is not None and all(_is_older(c, run.spec.created) for c in (a, b)):
                return KnownEvaluation(run.spec.name or run.id, is_of_b, figures)
    return None


def _result_of(run: Run) -> Evaluation | None:
    folder = evaluation_folder(run)
    with suppress(OSError, QinspectError):
        if folder is not None and (folder / RESULT).stat().st_mtime >= run.spec.created:
            return stored_evaluation(folder)
    return None


def _is(name: str, run: Run, checkpoint: Checkpoint) -> bool:
    """Whether it is what the run was given by this name: the same folder or file."""
    with suppress(OSError, ValueError):
        return Path(run.spec.cwd, name).samefile(checkpoint.path)
    return False


def _is_older(checkpoint: Checkpoint, moment: float) -> bool:
    """Whether no file was touched since: by the time of its inode, which nobody sets back."""
    try:
        return all(path.stat().st_ctime < moment for path in _files(checkpoint))
    except OSError:
        return False


def _files(checkpoint: Checkpoint) -> Iterator[Path]:
    """Of its bytes, and the settings beside them."""
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    yield from (f.path for f in checkpoint.files)
    yield from folder.glob("*.json")
