"""The lines over the panes: the models, and the answer with its verdict. Their heights are said, not measured: a height
that follows later is a jump."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message
from textual.widgets import Static

from qinspect.tui.compare.headline import headline_lines, model_lines
from qinspect.tui.compare.session import Session
from qinspect.tui.names import in_locale

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint import Checkpoint

WATCH_EVERY_S = 3.0
"""How often the files' sizes and times are looked at."""


class ModelLines(Static):
    """A line a model, and one for what else is to be known. session: whose models they are."""

    class FilesChanged(Message):
        """Files were replaced or removed under us: what is shown is of the old ones. letters: of whose, none where they
        are as they were again."""

        def __init__(self, letters: str) -> None:
            super().__init__()
            self.letters = letters

    def __init__(self, session: Session, notice: str, cut: str) -> None:
        super().__init__(id="models", markup=False)
        self.session = session
        self.notice = notice
        self._cut = cut
        self._changed: list[Checkpoint] = []

    def on_mount(self) -> None:
        self.set_interval(WATCH_EVERY_S, self._watch)

    def of(self, session: Session) -> None:
        """The models are opened anew."""
        self.session, self._changed = session, []

    @property
    def n(self) -> int:
        """Lines that are always there."""
        return 1 + (self.session.path_b is not None) + bool(self.notice)

    def show(self, width: int) -> None:
        """width: of the terminal."""
        lines = model_lines(self.session, self._changed, self.notice, max(20, width - 5), self._cut)
        self.update("\n".join(lines))
        self.styles.height = len(lines)

    def _watch(self) -> None:
        s = self.session
        found = [c for c in (s.checkpoint_a, s.checkpoint_b) if c and c.changed_files()]
        if found != self._changed:
            self._changed = found
            letters = [k for k, c in (("A", s.checkpoint_a), ("B", s.checkpoint_b)) if c in found]
            self.post_message(self.FilesChanged(" and ".join(letters)))


class Headline(Static):
    """The verdict, or why there is none, in a few lines. answer: the comparison in one line; empty until it is
    complete. of_fidelity: what was measured, in a sentence. evaluated, of_evaluation: what an evaluation says, in short
    and in a sentence."""

    def __init__(self, cut: str) -> None:
        super().__init__(id="verdict", markup=False)
        self._cut = cut
        self.answer = ""
        self.text = ""
        self.of_fidelity = ""
        self.evaluated = self.of_evaluation = ""

    def forget(self) -> None:
        """What was found of the models beside the comparison."""
        self.of_fidelity = self.evaluated = self.of_evaluation = ""

    def say(self, text: str) -> None:
        """What `show` shows."""
        self.text = in_locale(text)

    def show(self, width: int, most: int, two: bool) -> None:
        """width: of the terminal. most: lines at most. two: of two models a verdict comes, and its place is kept."""
        lines = headline_lines(self.answer, self.text, self.evaluated, max(20, width - 2), most, self._cut)
        self.update("\n".join(lines))
        self.styles.height = max(1, len(lines))
        self.set_class(not lines and not two, "hidden")
