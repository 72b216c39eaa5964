"""Whether what the run was asked for took effect in the models that it made: the page of `qinspect explain`; and what
else one does with these models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.printing import folded
from qinspect.inspector.runs import Run, RunEvent
from qinspect.inspector.runs.show import Seen
from qinspect.inspector.text import shell_words
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.host import host_of
from qinspect.tui.key_names import key
from qinspect.tui.names import shown
from qinspect.tui.runs.form import Filled
from qinspect.tui.runs.outputs import made_by, to_compare
from qinspect.tui.runs.shown_run import New, ShownRun
from qinspect.tui.runs.view import Lines, TextView
from qinspect.tui.widgets.lines import Piece, text_width

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration
    from qinspect.inspector.explain.report import Section

MOST_KEPT = 20
"""Pages that are kept: a run that ended makes no other models."""
NOTHING_MADE = "no folder with a model is known for this run"


class _Cancelled(Exception):
    """Nobody waits for the page any more."""


@dataclass(frozen=True, slots=True)
class Page:
    """The answer about two models. models: which; fewer than two are not compared. problem: why there is no answer."""

    models: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    problem: str = ""


class Explained(Message):
    """A page is made."""

    def __init__(self, key: tuple[str, str], page: Page) -> None:
        super().__init__()
        self.key, self.page = key, page


class FormWanted(Message):
    """The form that starts a run, so filled."""

    def __init__(self, filled: Filled) -> None:
        super().__init__()
        self.filled = filled


class EffectPane(TextView):
    """Made when it is looked at, of a run that ended, and kept."""

    NAME = "effect"
    EVERYWHERE = frozenset({"distribution", "explore", "compare_outputs", "open_output", "apply_alpha"})

    def __init__(self, glyphs: Glyphs, point: Callable[[], str]) -> None:
        """point: the name of the point that is chosen, "" for none."""
        super().__init__(glyphs)
        self._point = point
        self._pages: dict[tuple[str, str], Page] = {}
        self._asked: tuple[str, str] | None = None
        self._was_ended = False

    def show_run(self, run: ShownRun | None) -> None:
        super().show_run(run)
        self.end()
        self._was_ended = False

    def end(self) -> bool:
        """Nobody waits for the page that is being made; whether there was one."""
        if self._asked is None:
            return False
        self._asked, self._was_ended = None, True
        self.workers.cancel_group(self, "explain")
        self.post_message(self.Working(""))
        if self.display:
            self.text.show(self.lines(max(20, text_width(self.text))))
        return True

    # --- the page ---

    @property
    def _key(self) -> tuple[str, str] | None:
        """Of which run, and beside which model; None while there is nothing to compare yet."""
        if self.shown is None or not self.shown.all_read:
            return None
        return self.shown.seen.run.id, self._open_model

    @property
    def _open_model(self) -> str:
        """The model that was open before, "" where there is none."""
        host = host_of(self.screen)
        return host.session.path_a if host.has_models else ""

    def more(self, new: New) -> None:
        if self._key and self._key not in self._pages:
            self.fill()

    def fill(self, fresh: bool = False) -> None:
        key = self._key
        self._was_ended = self._was_ended and not fresh
        if key and self.shown and key not in self._pages and self._asked != key and not self._was_ended:
            self.end()
            self._asked, self._was_ended = key, False
            self._explain(key, self.shown.seen, list(self.shown.feed.events))
        super().fill(fresh)

    def lines(self, width: int) -> Lines:
        run = self.shown
        if run is None:
            return [[("no run is chosen", "")]]
        if run.is_live:
            return _folded("Not known while the run goes on: what it makes is compared when it has ended.", width)
        page = self._pages.get(self._key or ("", ""))
        if page is not None:
            return page_lines(page, width)
        if self._was_ended:
            return _folded(f"Not known: the comparison was ended. {key('view_effect')} begins again.", width)
        return [[(f"not known yet: its models are being compared ({key('close_runs')} ends it)", "dim")]]

    @work(thread=True, exclusive=True, exit_on_error=False, group="explain")
    def _explain(self, key: tuple[str, str], seen: Seen, events: Sequence[RunEvent]) -> None:
        worker = get_current_worker()
        last = ""

        def progress(phase: str, done: int, total: int) -> None:
            nonlocal last
            if worker.is_cancelled:
                raise _Cancelled
            text = f"{phase} {100 * done // total} %" if total else phase
            if text != last:
                last = text
                self.post_message(self.Working(text))

        models: tuple[str, ...] = ()
        try:
            models = tuple(map(str, beside(key[1], to_compare(seen, events))))
            page = _page_of(models, progress) if len(models) == 2 else Page(models)
        except _Cancelled:
            return
        except Exception as e:  # whatever it is: the view says so
            page = Page(models, problem=str(e) or type(e).__name__)
        self.post_message(Explained(key, page))

    @on(Explained)
    def _on_explained(self, event: Explained) -> None:
        event.stop()
        while len(self._pages) >= MOST_KEPT:
            del self._pages[next(iter(self._pages))]
        self._pages[event.key] = event.page
        if self._asked == event.key:
            self._asked = None
            self.post_message(self.Working(""))
            if self.display:
                self.fill()

    # --- keys ---

    def action_distribution(self) -> None:
        """The distributions that a calibration recorded, from the chosen point on. Imported now: they need numpy."""
        if self.shown is None:
            return
        from qinspect.inspector.calibration.stored import open_calibration
        from qinspect.tui.distribution.run_points import RunSource
        from qinspect.tui.distribution.screen import DistributionScreen

        run = self.shown.seen.run
        try:
            source = RunSource(open_calibration(run))
        except QinspectError as e:
            self.say(shown(str(e), 300))
            return
        chosen = self._point()
        name = chosen if chosen in source.names else source.first()
        ask = partial(self._ask_to_apply, run, source.calibration)
        self.app.push_screen(DistributionScreen(source, name, self.glyphs, ask))

    def action_explore(self) -> None:
        """Every alpha of a calibration. Imported now: it needs numpy."""
        if self.shown is None:
            return
        from qinspect.inspector.calibration.stored import open_calibration
        from qinspect.tui.alpha.alpha_words import AlphaWords
        from qinspect.tui.alpha.screen import ExploreScreen

        run = self.shown.seen.run
        try:
            open_calibration(run).close()
        except QinspectError as e:
            self.say(shown(str(e), 300))
            return
        wanted, ask = AlphaWords(run.spec.name), partial(self._ask_to_apply, run)
        self.app.push_screen(ExploreScreen(lambda: open_calibration(run), wanted, self.glyphs, apply=ask))

    def action_apply_alpha(self) -> None:
        """The form of `apply`, for any alpha."""
        if self.shown is not None:
            self.ask_to_apply(self.shown.seen.run)

    def ask_to_apply(self, run: Run, alpha: float | None = None, to: str = "") -> None:
        """The same for a run, whatever is shown. to: a checkpoint; empty for the first that the run wrote."""
        from qinspect.inspector.calibration.stored import open_calibration

        try:
            calibration = open_calibration(run)
        except QinspectError as e:
            self.say(shown(str(e), 300))
            return
        self._ask_to_apply(run, calibration, alpha, to)
        calibration.close()

    def _ask_to_apply(self, run: Run, calibration: Calibration, alpha: float | None = None, to: str = "") -> None:
        """The form of `apply` for a calibration: into the first checkpoint that it wrote, unless another is typed."""
        from qinspect.inspector.observers.recipes import short

        values = {"run": run.id, "cwd": run.spec.cwd}
        for written in (to,) if to else calibration.checkpoints[:1]:
            values["to"] = _seen_from(run.spec.cwd, str(written))
        if alpha is not None:
            values["alpha"] = short(alpha)
            if "to" in values:
                values["out"] = f"{values['to']}-alpha-{short(alpha)}"
        self.post_message(FormWanted(Filled("apply", values)))

    def action_compare_outputs(self) -> None:
        """The first and the last of the models that the run made; one alone beside the model that is open."""
        if self.shown is None:
            return
        made = beside(self._open_model, to_compare(self.shown.seen, self.shown.feed.events))
        if len(made) < 2:
            self.say(f"the run made one model: {key('open_output')} opens it" if made else NOTHING_MADE)
        else:
            host_of(self.screen).open_model(str(made[0]), str(made[-1]))

    def action_open_output(self) -> None:
        made = made_by(self.shown.seen, self.shown.feed.events) if self.shown else []
        if made:
            host_of(self.screen).open_model(str(made[0]))
        else:
            self.say(NOTHING_MADE)


def beside(open_model: str, made: Sequence[Path]) -> list[Path]:
    """What is compared: two that the run made; one alone beside the model that is open."""
    return [Path(open_model), *made] if len(made) == 1 and open_model else list(made)


def _page_of(models: tuple[str, ...], progress: Callable[[str, int, int], None]) -> Page:
    """Imported now: it needs numpy, and most who watch runs never look at it."""
    from qinspect.inspector.explain.asking import explanation_of
    from qinspect.inspector.explain.report import heads, sections

    a, b = models
    explanation = explanation_of(a, b, progress=progress)
    return Page(models, tuple(heads(explanation)), tuple(sections(explanation)))


def page_lines(page: Page, width: int) -> list[list[Piece]]:
    """The page as `qinspect explain` prints it, or why there is none."""
    if page.problem:
        return _folded(f"Not known: {page.problem}", width)
    if not page.models:
        return _folded(f"Not known: {NOTHING_MADE}.", width)
    if len(page.models) == 1:
        said = _folded("Not known: the run made one model. What took effect in it is seen beside another:", width)
        return [*said, [(f"$ qinspect explain OTHER {shell_words(page.models)}", "dim")]]
    lines: list[list[Piece]] = [[(x, "name")] for head in page.heads for x in folded(head[:5], head[5:], width)]
    for section in page.sections:
        sentences = [x for s in section.sentences for x in folded("  ", s, width)]
        lines += [[], [(section.title, "accent")], *([(x, "")] for x in sentences)]
        if section.table and section.table.rows:
            head, *rows = section.table.without_empty().fitted(width - 2).text().split("\n")
            lines += [[(head, "dim")], *([(row, "")] for row in rows)]
    return [*lines, [], [(f"$ qinspect explain {shell_words(page.models)}", "dim")]]


def _folded(text: str, width: int) -> list[list[Piece]]:
    return [[(line, "")] for line in folded("", shown(text, 4000), width)]


def _seen_from(cwd: str, path: str) -> str:
    """A path of this program as a program in another folder has to name it."""
    here = Path(path)
    return str(here.absolute()) if here.exists() and Path(cwd) != Path.cwd() else path
