"""What an evaluation on this machine says of the two models: looked for in a thread, once they are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.message import Message
from textual.screen import Screen

from qinspect.inspector.errors import QinspectError
from qinspect.tui.compare.session import Session
from qinspect.tui.runs.service import any_runs

if TYPE_CHECKING:
    from qinspect.inspector.evaluate.known import KnownEvaluation

GROUP = "evaluated"
"""Of its worker."""


class EvaluationFound(Message):
    """session: of which models."""

    def __init__(self, session: Session, found: KnownEvaluation) -> None:
        super().__init__()
        self.session = session
        self.found = found


def look_for_evaluation(screen: Screen[Any], session: Session) -> None:
    """Tell the screen of one, if there is any. Nothing is imported where there are no runs."""
    if session.checkpoint_a is not None and session.checkpoint_b is not None and any_runs():
        screen.run_worker(lambda: _look(screen, session), thread=True, exit_on_error=False, exclusive=True, group=GROUP)


def _look(screen: Screen[Any], session: Session) -> None:
    from qinspect.inspector.evaluate.known import evaluation_between
    from qinspect.inspector.runs import list_runs

    a, b = session.checkpoint_a, session.checkpoint_b
    if a is None or b is None:
        return
    try:
        found = evaluation_between(a, b, list_runs())
    except QinspectError:  # the runs screen says what is wrong with the folder of runs
        return
    if found is not None:
        screen.post_message(EvaluationFound(session, found))
