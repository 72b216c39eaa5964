"""Which method made each weight of B, where A is its original: found in a thread, for what is looked at. What needs
numpy comes late."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from textual.message import Message
from textual.screen import Screen
from textual.worker import Worker, get_current_worker

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.errors import QinspectError
from qinspect.tui.compare.session import Cancelled, Session
from qinspect.tui.names import shown
from qinspect.tui.settings import write_crash_report

if TYPE_CHECKING:
    from qinspect.inspector.method.answers import Look, WeightMethod

GROUP = "methods"
"""Of its worker."""


class MethodFound(Message):
    """number: of the models; of others nothing is wanted. found: None where that cannot be told. role: "" at the end of
    all that was asked for. problem: a bug."""

    def __init__(self, number: int, role: str, found: WeightMethod | None = None, problem: str = "") -> None:
        super().__init__()
        self.number = number
        self.role = role
        self.found = found
        self.problem = problem


class Methods:
    """Of one session."""

    def __init__(self, screen: Screen[Any]) -> None:
        self._screen = screen
        self._session: Session | None = None
        self._number = 0
        self._known: dict[str, WeightMethod | None] = {}
        self._asked: set[str] = set()
        self._waiting: deque[str] = deque()
        self._worker: Worker[None] | None = None
        self._look: Look | None = None

    def of(self, session: Session) -> None:
        """The models, once they are compared."""
        self.forget()
        self._session = session

    def forget(self) -> None:
        """The models are opened anew."""
        self._number += 1
        self._session = self._look = None
        self._known, self._asked, self._waiting = {}, set(), deque()
        self._end()

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
        self._worker = None

    def __bool__(self) -> bool:
        """Whether a method can be told: A is in full precision, B is not."""
        s = self._session
        return s is not None and s.a is not None and s.b is not None and not s.a.weights() and bool(s.b.weights())

    # --- what is known ---

    def short(self, pair: ScalePair) -> str | None:
        """In a column; None as long as it is not known."""
        role = weight_role(pair)
        if not role:
            return ""
        if role not in self._known:
            return None
        found = self._known[role]
        return "" if found is None else found.judged.method.short

    def said_of(self, role: str) -> list[tuple[str, str]]:
        """Of a weight, as names and texts of fields."""
        found = self._known.get(role)
        return [] if found is None else [("method", str(found.judged.method)), ("evidence", found.judged.said)]

    # --- asking ---

    def ask(self, roles: Iterable[str]) -> None:
        """Find the methods of these weights, unless that is known or under way."""
        if not self:
            return
        new = [r for r in dict.fromkeys(roles) if r and r not in self._asked]
        self._asked.update(new)
        self._waiting.extendleft(reversed(new))  # what is looked at now before what was scrolled past
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting and self._worker is None and self._session is not None:
            number, session, waiting = self._number, self._session, self._waiting
            self._worker = self._screen.run_worker(
                lambda: self._run(number, session, waiting), thread=True, exit_on_error=False, group=GROUP
            )

    def learn(self, event: MethodFound) -> bool:
        """Whether that was wanted and says something new."""
        if event.number != self._number:
            return False
        if not event.role:
            self._worker = None
            self._go_on()
            return False
        self._known[event.role] = event.found
        return True

    # --- in a thread ---

    def _run(self, number: int, session: Session, waiting: deque[str]) -> None:
        worker = get_current_worker()
        post = self._screen.post_message

        def tick(_: int) -> None:
            if worker.is_cancelled:
                raise Cancelled

        try:
            while waiting and not worker.is_cancelled:
                role = waiting.popleft()
                found = self._found(number, session, role, tick)
                for other, method in found.items():
                    if other != role:
                        post(MethodFound(number, other, method))
                post(MethodFound(number, role, found.get(role)))
        except Cancelled:
            return
        except Exception as e:  # a bug; the comparison stays usable
            report = write_crash_report(traceback.format_exc())
            said = f"a bug in the program ({type(e).__name__}); the report is in {shown(str(report))}"
            post(MethodFound(number, role, None, said))
        if not worker.is_cancelled:
            post(MethodFound(number, ""))

    def _found(self, number: int, session: Session, role: str, tick: Callable[[int], None]) -> dict[str, WeightMethod]:
        """By role: of what was asked for, and of what had to be looked at with it."""
        from qinspect.inspector.method.answers import Look

        a, b, look = session.a, session.b, self._look
        assert a is not None
        assert b is not None
        try:
            look = look or Look(a, b, session.lined_up(tick))
            if number == self._number:
                self._look = look
            return look.of_role(role, lambda *_: tick(0))
        except QinspectError:
            return {}


def weight_role(pair: ScalePair) -> str:
    """The weight that a scale belongs to, "" of an activation's."""
    return pair.role.partition("#")[0] if pair.record.kind == "weight" else ""
