"""The list of runs, and what one does to a run: start, start again, cancel, remove, copy."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message

from qinspect.inspector.config import config_path
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.runs import Run
from qinspect.inspector.runs.show import Seen, outcome_text
from qinspect.inspector.text import columns, shell_words, some
from qinspect.tui.dialogs.confirm import ConfirmScreen
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.list_pane import ListPane
from qinspect.tui.names import shown
from qinspect.tui.runs.form import Filled, StartScreen, filled_from
from qinspect.tui.runs.run_list import RunList
from qinspect.tui.runs.templates import load_templates
from qinspect.tui.runs.watch import Looked
from qinspect.tui.widgets.bars import TitleLine

if TYPE_CHECKING:
    from qinspect.inspector.table import Table


class _Done(Message):
    """Something was done to a run, or could not be."""

    def __init__(self, text: str, gone: str = "") -> None:
        super().__init__()
        self.text, self.gone = text, gone


class RunListPane(ListPane):
    """The left of the runs screen, or its top."""

    EVERYWHERE: ClassVar[frozenset[str]] = frozenset({
        "next_run", "previous_run", "start_run", "again", "cancel_run", "remove_run", "copy_command", "copy_line",
    })  # fmt: skip

    class Changed(Message):
        """Something was done to a run: look at all of them. gone: the id of one that is no more."""

        def __init__(self, gone: str = "") -> None:
            super().__init__()
            self.gone = gone

    def __init__(self, glyphs: Glyphs, choose: str = "") -> None:
        """choose: the id of the run to put the cursor on, once it is there."""
        super().__init__(id="runs-left")
        self.list = RunList(glyphs, id="runs")
        self._choose_next = choose

    def compose(self) -> ComposeResult:
        yield TitleLine("1 runs", id="list-title")
        yield self.list

    @property
    def seen(self) -> Seen | None:
        """The run under the cursor."""
        return self.list.seen

    def show(self, looked: Looked, problem: str) -> None:
        """The runs as they are now. problem: why they cannot be looked at."""
        self.list.show(looked.runs)
        if self._choose_next:
            self.list.choose(self._choose_next)
            self._choose_next = ""
        live = f", {looked.n_live} live" if looked.n_live else ""
        text = problem or f"1 {some(len(looked.runs), 'run')}{live}"
        self.title.update(shown(text))

    @property
    def names(self) -> list[str]:
        """Of all runs, to be found by."""
        return [f"{s.run.spec.name}  {s.run.id}" for s in self.list.runs]

    def choose(self, name: str) -> None:
        """The cursor on one of these names."""
        self.list.choose(name.rpartition("  ")[2])

    @property
    def table(self) -> Table:
        """The list as rows, for a file."""
        from qinspect.inspector.table import Column, Table

        heads = ("run", "name", "state", "command", "log")
        rows = [
            (s.run.id, s.run.spec.name, str(s.state.state), s.run.spec.command, str(s.run.log_path))
            for s in self.list.runs
        ]
        return Table(tuple(map(Column, heads)), rows)

    # --- keys ---

    def action_next_run(self) -> None:
        self.action_down()

    def action_previous_run(self) -> None:
        self.action_up()

    def action_start_run(self) -> None:
        self.open_form(Filled())

    def action_again(self) -> None:
        if self.seen:
            self.open_form(filled_from(self.seen.run.spec))

    def open_form(self, filled: Filled) -> None:
        """The form that starts a run."""
        templates, problems = load_templates(config_path())
        self.app.push_screen(StartScreen(templates, filled, problems), self._on_form)

    def _on_form(self, run_id: str | None) -> None:
        if run_id:
            self._choose_next = run_id
            self.say("started")
            self.post_message(self.Changed())

    def action_cancel_run(self) -> None:
        seen = self.seen
        if seen is None or not seen.state.state.is_live:
            self.say("only a run that is still running can be cancelled")
            return
        run = seen.run
        question = f"Cancel {shown(run.spec.name, 40)} ({run.id})? SIGTERM to its processes, SIGKILL after 10 s."

        def answer(yes: bool | None) -> None:
            if yes:
                self.post_message(self.Working(f"cancelling {shown(run.spec.name, 40)}"))
                self._cancel(run)

        self.app.push_screen(ConfirmScreen(question), answer)

    @work(thread=True, exit_on_error=False, group="cancel")
    def _cancel(self, run: Run) -> None:
        try:
            text = outcome_text(run, run.cancel())
        except (QinspectError, OSError) as e:
            text = str(e)
        self.post_message(_Done(text))

    def action_remove_run(self) -> None:
        seen = self.seen
        if seen is None:
            return
        if seen.state.state.is_live:
            self.say(f"it is still running: {key('cancel_run')} cancels it first")
            return
        run = seen.run

        def answer(yes: bool | None) -> None:
            if yes:
                self._remove(run)

        question = f"Remove {shown(run.spec.name, 40)} ({run.id}), its log and its folder?"
        self.app.push_screen(ConfirmScreen(question), answer)

    @work(thread=True, exit_on_error=False, group="remove")
    def _remove(self, run: Run) -> None:
        try:
            run.remove()
        except (QinspectError, OSError) as e:
            self.post_message(_Done(str(e)))
        else:
            self.post_message(_Done(f"removed {shown(run.spec.name, 40)}", run.id))

    @on(_Done)
    def _on_done(self, event: _Done) -> None:
        event.stop()
        self.post_message(self.Working(""))
        self.say(shown(event.text, 300))
        self.post_message(self.Changed(event.gone))

    def action_copy_command(self) -> None:
        if self.seen:
            self.copy(shell_words(shlex.split(self.seen.run.spec.command)))

    def action_copy_line(self) -> None:
        if self.seen:
            self.copy(columns(self.seen.run.id, self.seen.run.spec.name, str(self.seen.state.state)))
