"""Names of what an evaluation leaves in its folder, and where that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run

EVALUATION = "evaluation"
"""The folder of an evaluation inside that of its run."""
RESULT = "evaluation.json"
SCHEMA = "qinspect.evaluate/1"
"""`schema` of RESULT."""
LIVE = "figures.json"
"""The figures so far, while it goes on."""
LIVE_SCHEMA = "qinspect.evaluate.figures/1"


def evaluation_folder(run: Run) -> Path | None:
    """Where the files of an evaluation are, None for another run."""
    from qinspect.inspector.runs import our_words

    words = our_words(run.spec.argv) or ()
    if words[:1] != ("evaluate",):
        return None
    pairs = zip(words, (*words[1:], ""), strict=True)
    asked = [after if word == "--state" else word[8:] for word, after in pairs if word.split("=")[0] == "--state"]
    return Path(run.spec.cwd) / asked[-1] if asked and asked[-1] else run.folder / EVALUATION
