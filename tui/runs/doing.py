"""What one does to runs: start, cancel, remove, copy, open what one made."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.message import Message

from qinspect.inspector.config import config_path
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.runs import Run
from qinspect.inspector.runs.show import Seen, outcome_text
from qinspect.inspector.text import columns, shell_words, visible
from qinspect.tui.dialogs.confirm import ConfirmScreen
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.runs.base import RunsBase
from qinspect.tui.runs.feed import Feed
from qinspect.tui.runs.form import Filled, StartScreen, filled_from
from qinspect.tui.runs.lists import PointsList, event_text
from qinspect.tui.runs.templates import load_templates

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.safetensors.index.json", "*.pt", "*.pth")


class Done(Message):
    """Something was done to a run, or could not be."""

    def __init__(self, text: str, gone: str = "") -> None:
        super().__init__()
        self.text, self.gone = text, gone


class RunsDoing(RunsBase):
    """Actions that change something."""

    def action_start_run(self) -> None:
        self._open_form(Filled())

    def action_again(self) -> None:
        if self.shown:
            self._open_form(filled_from(self.shown.run.spec))

    def _open_form(self, filled: Filled) -> None:
        templates, problems = load_templates(config_path())
        self.app.push_screen(StartScreen(templates, filled, problems), self._on_form)

    def _on_form(self, run_id: str | None) -> None:
        if run_id:
            self.choose_first = run_id
            self.hints.say("started")
            self.service.look_now()

    def action_cancel_run(self) -> None:
        seen = self.list.seen
        if seen is None or not seen.state.state.is_live:
            self.hints.say("only a run that is still running can be cancelled")
            return
        run = seen.run
        question = f"Cancel {shown(run.spec.name, 40)} ({run.id})? SIGTERM to its processes, SIGKILL after 10 s."

        def answer(yes: bool | None) -> None:
            if yes:
                self.hints.work(f"cancelling {shown(run.spec.name, 40)}")
                self._cancel(run)

        self.app.push_screen(ConfirmScreen(question), answer)

    @work(thread=True, exit_on_error=False, group="cancel")
    def _cancel(self, run: Run) -> None:
        try:
            text = outcome_text(run, run.cancel())
        except (QinspectError, OSError) as e:
            text = str(e)
        self.post_message(Done(text))

    def action_remove_run(self) -> None:
        seen = self.list.seen
        if seen is None:
            return
        if seen.state.state.is_live:
            self.hints.say("it is still running: X cancels it first")
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
            self.post_message(Done(str(e)))
        else:
            self.post_message(Done(f"removed {shown(run.spec.name, 40)}", run.id))

    @on(Done)
    def _on_done(self, event: Done) -> None:
        if self.is_closed:
            return
        self.hints.work("")
        self.hints.say(shown(event.text, 300))
        if event.gone and self.shown and self.shown.run.id == event.gone:
            self.close_run()
        self.service.look_now()

    # --- taking along ---

    def action_copy_command(self) -> None:
        if self.shown:
            self._copy(shell_words(shlex.split(self.shown.run.spec.command)))

    def action_copy_line(self) -> None:
        text = ""
        if self.active == "view" and self.view == "log":
            text = self.log_view.text_of_mark()
        elif self.active == "view" and self.view == "events" and self.events_list.event:
            text = visible(event_text(self.events_list.event))
        elif self.shown:
            text = columns(self.shown.run.id, self.shown.run.spec.name, str(self.shown.state.state))
        if text:
            self._copy(text)
        else:
            self.hints.say("no line is marked: / finds one")

    def _copy(self, text: str) -> None:
        copy_to_terminal(self.app, text)
        self.hints.say(f"sent to the terminal's clipboard: {shown(text, 40)}")

    def action_distribution(self) -> None:
        """The distributions that a calibration recorded, from the chosen point on. Imported now: they need numpy."""
        if self.shown is None:
            return
        from qinspect.inspector.calibration.stored import open_calibration
        from qinspect.tui.distribution.run_points import RunSource
        from qinspect.tui.distribution.screen import DistributionScreen

        run = self.shown.run
        try:
            source = RunSource(open_calibration(run))
        except QinspectError as e:
            self.hints.say(shown(str(e), 300))
            return
        point = self.query_one("#points", PointsList).point if self.view == "points" else None
        chosen = point.name.rpartition(" ")[2] if point else ""
        name = chosen if chosen in source.names else source.first()
        ask = partial(self._ask_to_apply, run, source.calibration)
        self.app.push_screen(DistributionScreen(source, name, self.glyphs, ask))

    def action_apply_alpha(self) -> None:
        """The form of `apply`, for any alpha."""
        if self.shown is not None:
            self.ask_to_apply(self.shown.run)

    def ask_to_apply(self, run: Run, alpha: float | None = None, to: str = "") -> None:
        """The same for a run, whatever is shown. to: a checkpoint; empty for the first that the run wrote."""
        from qinspect.inspector.calibration.stored import open_calibration

        try:
            calibration = open_calibration(run)
        except QinspectError as e:
            self.hints.say(shown(str(e), 300))
            return
        self._ask_to_apply(run, calibration, alpha, to)
        calibration.close()

    def _ask_to_apply(self, run: Run, calibration: Calibration, alpha: float | None = None, to: str = "") -> None:
        """The form of `apply` for a calibration: into the first checkpoint that it wrote, unless another is typed."""
        from qinspect.inspector.observers.recipes import short

        values = {"run": run.id, "cwd": run.spec.cwd}
        for written in (to,) if to else calibration.checkpoints[:1]:
            values["to"] = str(written)
        if alpha is not None:
            values["alpha"] = short(alpha)
            if "to" in values:
                values["out"] = f"{values['to']}-alpha-{short(alpha)}"
        self._open_form(Filled("apply", values))

    def action_explore(self) -> None:
        """Every alpha of a calibration. Imported now: it needs numpy."""
        if self.shown is None:
            return
        from qinspect.inspector.calibration.stored import open_calibration
        from qinspect.tui.alpha.alpha_words import AlphaWords
        from qinspect.tui.alpha.screen import ExploreScreen

        run = self.shown.run
        try:
            open_calibration(run).close()
        except QinspectError as e:
            self.hints.say(shown(str(e), 300))
            return
        wanted, ask = AlphaWords(run.spec.name), partial(self._ask_to_apply, run)
        self.app.push_screen(ExploreScreen(lambda: open_calibration(run), wanted, self.glyphs, apply=ask))

    def action_compare_outputs(self) -> None:
        """The first and the last of the models that the run made; one alone beside the model that is open."""
        if self.shown is None:
            return
        made = outputs_of(self.shown, self.feed)
        if len(made) < 2 and self.app.has_models:  # type: ignore[attr-defined]
            made = [Path(self.app.session.path_a), *made]  # type: ignore[attr-defined]
        if len(made) < 2:
            self.hints.say(
                "the run made one model: O opens it" if made else "no folder with a model is known for this run"
            )
        else:
            self.app.open_model(str(made[0]), str(made[-1]))  # type: ignore[attr-defined]

    def action_open_output(self) -> None:
        place = output_of(self.shown, self.feed) if self.shown else None
        if place is None:
            self.hints.say("no folder with a model is known for this run")
        else:
            self.app.open_model(str(place))  # type: ignore[attr-defined]


def outputs_of(seen: Seen, feed: Feed | None) -> list[Path]:
    """All models that the run is known to have made: a calibration's checkpoints, else what its log says."""
    from qinspect.inspector.calibration.stored import calibration_folder, open_calibration

    if calibration_folder(seen.run) is not None:
        try:
            calibration = open_calibration(seen.run)
        except QinspectError:
            return []
        calibration.close()
        return list(calibration.checkpoints)
    place = output_of(seen, feed)
    return [place] if place else []


def output_of(seen: Seen, feed: Feed | None) -> Path | None:
    """Where the run stored a model: what its log says, else a folder that its command names."""
    said = [
        groups["path"]
        for event in (reversed(feed.events) if feed else ())
        if isinstance(groups := event.fields.get("groups"), dict) and isinstance(groups.get("path"), str)
    ]
    words = [w.partition("=")[2] or w for w in reversed(seen.run.spec.argv[1:])]
    for text in (*said, *words):
        try:
            place = Path(seen.run.spec.cwd, text).expanduser()
            if place.is_dir() and any(next(place.glob(pattern), None) for pattern in _WEIGHTS):
                return place
        except (OSError, ValueError):
            continue
    return None
