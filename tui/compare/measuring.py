"""Measuring fidelity beside a comparison: in a thread, once it is asked for, and no longer than it is wanted."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.text import size
from qinspect.tui.compare.fidelity import Measured
from qinspect.tui.compare.session import REPORT_EVERY_S, Cancelled, Session
from qinspect.tui.key_names import key
from qinspect.tui.names import shown
from qinspect.tui.settings import write_crash_report

if TYPE_CHECKING:
    from qinspect.inspector.fidelity.pairs import NotCompared, Pair
    from qinspect.inspector.fidelity.results import WeightFidelity
    from qinspect.inspector.fidelity.work import Result

UNASKED_BYTES = 128_000_000
"""Of both models: about a second and a half of one core, at 12 to 16 ns a value. Larger ones are measured when a key
asks for it."""
GROUP = "fidelity"
"""Of its worker."""
READING = "reading weights"
"""The phase whose progress is in bytes."""
PACE_AFTER_S = 1.0
"""Before that nothing is said of the time left."""
FILL_EVERY_S = 0.4
"""The map is painted anew this often at most: of 20,000 experts that takes 50 ms."""


class MeasuredMore(Message):
    """number: of the request; of an older one nothing is wanted. doing: what is being done."""

    def __init__(self, number: int, weights: list[WeightFidelity], others: list[NotCompared], doing: str) -> None:
        super().__init__()
        self.number = number
        self.weights = weights
        self.others = others
        self.doing = doing


class MeasuredAll(Message):
    """All of it is known. said: in a sentence, or why it could not be measured. answer: in a line, of an original and
    what was made of it; "" where that is not what the models are. failed: it could not."""

    def __init__(self, number: int, said: str, answer: str = "", failed: bool = False) -> None:
        super().__init__()
        self.number = number
        self.said = said
        self.answer = answer
        self.failed = failed


def is_quick(session: Session) -> bool:
    """Whether fidelity is measured without being asked for: it is what two models are compared for, and takes no
    time."""
    both = (session.checkpoint_a, session.checkpoint_b)
    return _is_of_fidelity(session) and sum(c.nbytes for c in both if c) <= UNASKED_BYTES


def _is_of_fidelity(session: Session) -> bool:
    """Of an original and its quantized copy, or of two families: nothing but their values can be compared."""
    c = session.comparison
    if c is None:
        return False
    return bool(c.a.weights()) != bool(c.b.weights()) or c.headline.rule == "two-schemes"


class State(StrEnum):
    """How far it is."""

    UNASKED = "unasked"
    GOING = "going"
    STOPPED = "stopped"
    """By the user, or by an error; what is known stays."""
    DONE = "done"


class Measuring:
    """found: what is known so far; a map and a table hold it too."""

    def __init__(self, screen: Screen[Any]) -> None:
        self._screen = screen
        self._number = 0
        self.found = Measured()
        self.state = State.UNASKED

    @property
    def going(self) -> bool:
        """Whether a thread works on it."""
        return self.state is State.GOING

    def ask(self, session: Session) -> None:
        """Begin, unless it is known or under way, or the models are not compared yet."""
        if self.state in (State.GOING, State.DONE) or session.comparison is None:
            return
        self.state = State.GOING
        self._number += 1
        number = self._number
        self._screen.run_worker(
            lambda: self._run(number, session), thread=True, exclusive=True, exit_on_error=False, group=GROUP
        )

    def stop(self) -> str:
        """End it; what is known stays. A word about that."""
        self._end(State.STOPPED)
        return f"measuring stopped; {key('measure')} to a measure of it goes on"

    def forget(self) -> None:
        """The models are opened anew."""
        self._end(State.UNASKED)
        self.found = Measured()

    def _end(self, state: State) -> None:
        self._number += 1
        self.state = state
        self._screen.workers.cancel_group(self._screen, GROUP)

    def learn(self, more: MeasuredMore) -> bool:
        """Whether that was wanted."""
        if more.number != self._number or not self.going:
            return False
        self.found.learn(more.weights, more.others)
        return True

    def finish(self, all_of_it: MeasuredAll) -> bool:
        """Whether that was wanted."""
        if all_of_it.number != self._number:
            return False
        self.state = State.STOPPED if all_of_it.failed else State.DONE
        return True

    # --- in a thread ---

    def _run(self, number: int, session: Session) -> None:
        worker = get_current_worker()
        found = _measure(session, number, self._screen.post_message, lambda: worker.is_cancelled)
        if found is not None:
            self._screen.post_message(found)


def _measure(
    session: Session, number: int, post: Callable[[Message], object], cancelled: Callable[[], bool]
) -> MeasuredAll | None:
    """What is to be said at the end; None where it is not wanted any more."""
    from qinspect.inspector.fidelity.kept import kept_or_measured
    from qinspect.inspector.fidelity.order import worst_first
    from qinspect.inspector.fidelity.results import WeightFidelity
    from qinspect.inspector.fidelity.verdict import answer, sentence

    assert session.a is not None
    assert session.b is not None
    weights: list[WeightFidelity] = []
    others: list[NotCompared] = []
    last = filled = 0.0
    clock = _Clock()

    def told(result: Result) -> None:
        if isinstance(result, WeightFidelity):
            weights.append(result)
        else:
            others.append(result)

    def send(doing: str, at_once: bool = True) -> None:
        nonlocal last, filled
        last = time.monotonic()
        if at_once or last - filled >= FILL_EVERY_S:
            filled = last
            post(MeasuredMore(number, list(weights), list(others), doing))
            weights.clear()
            others.clear()
        else:
            post(MeasuredMore(number, [], [], doing))

    def progress(phase: str, done: int, total: int) -> None:
        if cancelled():
            raise Cancelled
        if time.monotonic() - last >= REPORT_EVERY_S:
            send(f"{phase}{clock.share(phase, done, total)} ({key('close')} stops)", at_once=False)

    def arrange(pairs: Sequence[Pair]) -> list[Pair]:
        send("looking for the worst")
        return worst_first(pairs)

    try:
        found = kept_or_measured(session.a, session.b, progress, told, arrange=arrange)
    except Cancelled:
        return None
    except QinspectError as e:
        send("")
        return MeasuredAll(number, f"not measured: {e}", failed=True)
    except Exception as e:  # a bug; the comparison stays usable
        report = write_crash_report(traceback.format_exc())
        said = f"a bug in the program ({type(e).__name__}); the report is in {shown(str(report))}"
        return MeasuredAll(number, said, failed=True)
    send("")
    return MeasuredAll(number, sentence(found), answer(found) if _is_of_fidelity(session) else "")


class _Clock:
    """How much of a phase is done, and how long it will go on at the pace that it had."""

    def __init__(self) -> None:
        self._phase, self._began = "", 0.0

    def share(self, phase: str, done: int, total: int) -> str:
        """` 40 % of 2.1 GB, 12 s left`, "" where the total is not known."""
        from qinspect.inspector.runs.show import duration

        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began = phase, now
        if not total:
            return ""
        said = f" {100 * done // total} %"
        if phase != READING:
            return said
        spent = now - self._began
        left = f", {duration(spent * (total - done) / done)} left" if done and spent > PACE_AFTER_S else ""
        return f"{said} of {size(total)}{left}"
