"""The screen that answers which alpha made a scale: from a distribution with stored scales on it one key leads here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import wrap
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.formats import Format
from qinspect.inspector.text import shell_words
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import WHENCE_ACTIONS, bindings
from qinspect.tui.alpha.origin import Origin, Origins, of_one_point, origins_of
from qinspect.tui.alpha.origin_lines import origin_lines, point_lines
from qinspect.tui.compare.session import Cancelled, Progressed
from qinspect.tui.distribution.run_points import RunSource
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.later import is_going
from qinspect.tui.look import Line
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.widgets.bars import HintBar, TitleLine
from qinspect.tui.widgets.lines import text_width
from qinspect.tui.widgets.text_pane import TextPane

WAITING = (
    "Every rule is solved for the alpha of every scale: of this point first, then of all, of one checkpoint after the "
    "other. The answer of all and the best alpha stand here then."
)


class OfPoint(Message):
    """What the run answers about the point that the screen began with."""

    def __init__(self, found: tuple[Origin, ...]) -> None:
        super().__init__()
        self.found = found


class Answered(Message):
    """The run has answered, or why it could not."""

    def __init__(self, found: Origins | None, problem: str) -> None:
        super().__init__()
        self.found, self.problem = found, problem


class WhenceScreen(ActionScreen):
    """One point at a time; the answers are of all."""

    BINDINGS: ClassVar[list[BindingType]] = bindings(WHENCE_ACTIONS)  # type: ignore[assignment]
    AUTO_FOCUS = ""
    actions = WHENCE_ACTIONS

    def __init__(
        self,
        source: RunSource,
        formats: Mapping[str, Format],
        name: str,
        glyphs: Glyphs,
        apply: Callable[[float], None] | None,
    ) -> None:
        """formats: the checkpoints by label. name: of the point to begin with. apply: asks for a checkpoint that an
        alpha shall be put into; None where that cannot be asked here."""
        super().__init__()
        self.source, self.formats, self.name_shown, self.glyphs = source, formats, name, glyphs
        self._apply = apply
        self.problem = ""
        self.of_point: tuple[Origin, ...] = ()

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is computed here."""
        yield TitleLine("", id="whence-title")
        yield TextPane(id="whence")
        yield HintBar()

    def on_mount(self) -> None:
        self.pane = self.query_one(TextPane)
        self.hints = self.query_one(HintBar)
        self.query_one(TitleLine).add_class("active")
        self.query_one(TitleLine).update(f"which alpha made the scales {self.glyphs.dot} by run {self._run}")
        if self.source.origins is None:
            self.hints.work("solving for alpha")
            self.call_after_refresh(self._ask)
        self.show_answers()

    @property
    def _run(self) -> str:
        stored = self.source.stored
        return shown(stored.run, 60) if stored else ""

    # --- asking ---

    @work(thread=True, exclusive=True, exit_on_error=False, group="whence")
    def _ask(self) -> None:
        """Every scale of every checkpoint, in a thread."""
        worker = get_current_worker()

        def check(phase: str, done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Cancelled
            self.post_message(Progressed(phase, done, total))

        found, problem = None, ""
        try:
            self.post_message(OfPoint(of_one_point(self.source.calibration, self.formats, self.name_shown, check)))
            found = origins_of(self.source.calibration, self.formats, check)
        except Cancelled:
            return
        except Exception as e:  # whatever a run has in store is this screen's problem, not the program's
            problem = str(e) or type(e).__name__
        self.post_message(Answered(found, problem))

    @on(Progressed)
    def _on_progress(self, event: Progressed) -> None:
        event.stop()
        if self.source.origins is None and not is_going(self):
            self.hints.work(f"{event.phase}{event.share} ({key('close')} ends it)")

    @on(OfPoint)
    def _on_point(self, event: OfPoint) -> None:
        if not is_going(self) and self.source.origins is None:
            self.of_point = event.found
            self.show_answers()

    @on(Answered)
    def _on_answered(self, event: Answered) -> None:
        if is_going(self):
            return
        self.hints.work("")
        self.source.origins, self.problem = event.found, event.problem
        self.show_answers()

    # --- what is shown ---

    def show_answers(self) -> None:
        """Of the point that is looked at, and of all."""
        width = max(40, text_width(self.pane))
        found = self.source.origins
        if found is None:
            self.pane.show([shown(self.problem, 2000)] if self.problem else self._so_far(width))
            return
        bits = self.source.bits(self.name_shown)
        self.pane.show(origin_lines(found, self.name_shown, bits, width, self._apply is not None))

    def _so_far(self, width: int) -> list[Line]:
        """Before all scales were asked."""
        point = ["", *point_lines(self.of_point, self.name_shown, width)] if self.of_point else []
        return [*wrap(WAITING, width), *point]

    @on(TextPane.Resized)
    def _on_resized(self) -> None:
        self.show_answers()

    def theme_changed(self) -> None:
        self.show_answers()

    def action_next_point(self) -> None:
        self._go(1)

    def action_previous_point(self) -> None:
        self._go(-1)

    def _go(self, steps: int) -> None:
        self.name_shown = self.source.beside(self.name_shown, steps)
        self.show_answers()

    def action_page_down(self) -> None:
        self._scroll(self.pane.scroll_offset.y + self._page)

    def action_page_up(self) -> None:
        self._scroll(self.pane.scroll_offset.y - self._page)

    def action_top(self) -> None:
        self._scroll(0)

    def action_bottom(self) -> None:
        self._scroll(len(self.pane.plain))

    @property
    def _page(self) -> int:
        """All lines of the pane but one."""
        return max(1, self.pane.scrollable_content_region.height - 1)

    def _scroll(self, line: int) -> None:
        """To a line, or to the last page: what the pane can scroll over is longer than its text."""
        last = max(0, len(self.pane.plain) - self._page - 1)
        self.pane.scroll_to(y=max(0, min(line, last)), animate=False, force=True)

    # --- taking along, leaving ---

    def action_apply_alpha(self) -> None:
        found = self.source.origins
        one = found.best_to_apply(self.source.bits(self.name_shown)) if found else None
        if self._apply is None:
            self.hints.say("from the runs screen; else: qinspect apply RUN --alpha A")
        elif one is None or one.alpha is None:
            self.hints.say("no alpha is better than another here" if found else "the best alpha is not known yet")
        else:
            self._apply(one.alpha)

    def action_copy_command(self) -> None:
        run = str(self.source.calibration.folder)
        words = (["qinspect", "whence", str(fmt.checkpoint.path), "--run", run] for fmt in self.formats.values())
        command = "; ".join(map(shell_words, words))
        copy_to_terminal(self.app, command)
        self.hints.say(f"sent to the terminal's clipboard: {shown(command, 200)}")

    def action_close(self) -> None:
        self.workers.cancel_group(self, "whence")
        self.dismiss()

    def action_quit(self) -> None:
        self.action_close()
