"""A point's exact distribution on a screen of its own: alpha, clipping, error. Where the point comes from, its source
knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Region
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import columns, number
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import DISTRIBUTION_ACTIONS, bindings
from qinspect.tui.charts.inks import look_of
from qinspect.tui.compare.session import Cancelled, Progressed
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.distribution.alphas import STEPS, parsed
from qinspect.tui.distribution.pane import DistributionPane
from qinspect.tui.distribution.source import Chart, Source
from qinspect.tui.glyphs import OF_ALPHA, Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.labels import fill
from qinspect.tui.later import REST_S, Later, is_going
from qinspect.tui.look import Look
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.widgets.bars import HintBar, TitleLine
from qinspect.tui.widgets.text_pane import TextPane

BITS = (8, 4, 5, 6)


class Loaded(Message):
    """A point is counted. number: of the request; only the answer to the last one is shown."""

    def __init__(self, number: int, chart: Chart | None, problem: str) -> None:
        super().__init__()
        self.number, self.chart, self.problem = number, chart, problem


class DistributionScreen(ActionScreen):
    """One point, and a cursor over alpha."""

    BINDINGS: ClassVar[list[BindingType]] = bindings(DISTRIBUTION_ACTIONS)  # type: ignore[assignment]
    AUTO_FOCUS = ""
    actions = DISTRIBUTION_ACTIONS
    SIGNS = (OF_ALPHA,)
    ONE_PLACE = "no two lines have an alpha of their own"

    def __init__(
        self,
        source: Source,
        name: str,
        glyphs: Glyphs,
        apply: Callable[[float], None] | None = None,
        alpha: float | None = None,
        why_not: str = "alpha is for activations: the runs screen has those of a calibration",
    ) -> None:
        """apply: asks for a checkpoint that an alpha shall be put into; None where that cannot be asked here, and
        `why_not` says why. alpha: where the cursor begins; None for where it always does."""
        super().__init__()
        self._why_not = why_not
        self._first_alpha = alpha
        self.source = source
        self._apply = apply
        self.name_shown = name
        self.glyphs = glyphs
        self._bits_chosen = False
        self._request = 0
        self._rested = Later(self, self._load_now)

    @property
    def waits(self) -> bool:
        """Whether a point is to be counted once the cursor has rested."""
        return self._rested.comes

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is counted here."""
        yield TitleLine("", id="distribution-title")
        yield DistributionPane(self.glyphs, id="distribution")
        yield HintBar()

    def on_mount(self) -> None:
        self.pane = self.query_one(DistributionPane)
        self.pane.alpha = self.pane.alpha if self._first_alpha is None else self._first_alpha
        self.hints = self.query_one(HintBar)
        self.query_one(TitleLine).add_class("active")
        self._show_title()
        self.call_after_refresh(self._load_now)

    def _show_title(self) -> None:
        self.query_one(TitleLine).update(f"exact |x| {self.glyphs.dot} {shown(self.name_shown, 160)}")

    def _look(self) -> Look:
        """The pane as a plot sees it."""
        area = self.pane.content_region
        return look_of(self.app, max(20, area.width - 1), max(6, area.height), self.glyphs)

    # --- counting ---

    def _load_now(self) -> None:
        if not is_going(self):  # else nobody will see it
            self._request += 1
            self.hints.work("counting")
            self._load(self._request, self.name_shown, self.pane.asked.bits if self._bits_chosen else 0)

    @work(thread=True, exclusive=True, exit_on_error=False, group="distribution")
    def _load(self, number: int, name: str, bits: int) -> None:
        """Count a point, and the error of its scales, in a thread."""
        worker = get_current_worker()

        def check(phase: str, done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Cancelled
            self.post_message(Progressed(phase, done, total))

        chart, problem = None, ""
        try:
            chart = self.source.load(name, bits, check)
        except Cancelled:
            return
        except Exception as e:  # whatever a file has in store is this screen's problem, not the program's
            problem = f"{name} cannot be counted: {e}"
        self.post_message(Loaded(number, chart, problem))

    @on(Progressed)
    def _on_progress(self, event: Progressed) -> None:
        event.stop()
        if self.pane.chart is None or self.pane.chart.name != self.name_shown or event.phase == "errors":
            self.hints.work(f"{event.phase}{event.share}")

    @on(Loaded)
    def _on_loaded(self, event: Loaded) -> None:
        if event.number != self._request:
            return
        self.hints.work("")
        if event.chart is None:
            self.pane.chart = None
            self.pane.show([fill(shown(event.problem, 400), self._look().width, self.glyphs.cut).rstrip()])
            return
        if not self._bits_chosen:
            self.pane.asked = replace(self.pane.asked, bits=event.chart.bits)
        self.pane.show_chart(event.chart, self._look())

    @on(TextPane.Resized)
    def _on_resized(self) -> None:
        self.pane.lay_out(self._look())

    # --- the cursor ---

    def action_alpha_down(self) -> None:
        self.pane.move_by(-1)

    def action_alpha_up(self) -> None:
        self.pane.move_by(1)

    def action_alpha_decade_down(self) -> None:
        self.pane.move_by(-9)

    def action_alpha_decade_up(self) -> None:
        self.pane.move_by(9)

    def action_alpha_first(self) -> None:
        self.pane.move_to(STEPS[0])

    def action_alpha_last(self) -> None:
        self.pane.move_to(STEPS[-1])

    def places_to_label(self) -> dict[str, Region]:
        """The lines of the table that have an alpha of their own."""
        area = self.pane.content_region
        return {repr(alpha): Region(area.x, y, area.width, 1) for y, alpha in self.pane.alphas.items()}

    def activate(self, name: str) -> None:
        self.pane.move_to(float(name))

    def action_type_alpha(self) -> None:
        self.app.push_screen(AskScreen("alpha, such as 0.9995"), self._typed)

    def _typed(self, text: str | None) -> None:
        alpha = parsed(text or "")
        if alpha is not None:
            self.pane.move_to(alpha)
        elif text:
            self.hints.say(f"an alpha is a number from 0 to 1, not {shown(text, 20)}")

    def action_alpha_best(self) -> None:
        best = self.pane.best_alpha()
        if best is None:
            self.hints.say("no alpha makes the scale of least error")
        else:
            self.pane.move_to(best)

    # --- what is shown ---

    def action_bits(self) -> None:
        self._bits_chosen = True
        bits = self.pane.asked.bits
        after = BITS[(BITS.index(bits) + 1) % len(BITS)] if bits in BITS else BITS[0]
        self.pane.ask(replace(self.pane.asked, bits=after), self._look())
        self._load_now()

    def action_zoom_in(self) -> None:
        self.pane.zoom(0.5, self._look())

    def action_zoom_out(self) -> None:
        self.pane.zoom(2.0, self._look())

    def action_log_scale(self) -> None:
        self.pane.ask(replace(self.pane.asked, log_counts=not self.pane.asked.log_counts), self._look())

    def action_next_point(self) -> None:
        self._go(1)

    def action_previous_point(self) -> None:
        self._go(-1)

    def action_top(self) -> None:
        self._go(-(1 << 40))

    def action_bottom(self) -> None:
        self._go(1 << 40)

    def _go(self, steps: int) -> None:
        self._show_point(self.source.beside(self.name_shown, steps))

    def _show_point(self, name: str) -> None:
        if name != self.name_shown:
            self.name_shown = name
            self._show_title()
            self.workers.cancel_group(self, "distribution")
            self._rested.ask(REST_S)

    def theme_changed(self) -> None:
        self.pane.lay_out(self._look())

    # --- taking along, leaving ---

    def action_copy_row(self) -> None:
        """Tab-separated, a line a model."""
        lines = [columns(*row) for row in self._readings()]
        if lines:
            copy_to_terminal(self.app, "\n".join(lines))
            self.hints.say(f"sent to the terminal's clipboard: alpha {number(self.pane.alpha)}")

    def _readings(self) -> list[tuple[str, ...]]:
        """Name, model, alpha, bits, w_max, scale, share beyond, coverage, mse, the rule."""
        chart, bits, alpha = self.pane.chart, self.pane.asked.bits, self.pane.alpha
        rows = []
        for series in chart.series if chart else ():
            r = series.gauge.at(alpha, bits)
            numbers = (alpha, bits, r.w_max.middle, r.scale, r.beyond.middle, r.coverage.middle, r.mse.middle)
            told = ["" if math.isnan(x) else repr(x) for x in numbers]
            rows.append((self.name_shown, series.label, *told, str(series.gauge.rule_at(alpha, bits))))
        return rows

    def action_apply_alpha(self) -> None:
        if self._apply is None:
            self.hints.say(self._why_not)
        else:
            self._apply(self.pane.alpha)

    def names_to_jump_to(self) -> Sequence[str]:
        return self.source.names

    def jumped_to(self, name: str) -> None:
        self._show_point(name)

    def view_table(self) -> Table | None:
        rows = self._readings()
        names = ("point", "model", "alpha", "bits", "w_max", "scale", "beyond", "coverage", "mse", "rule")
        return Table(tuple(map(Column, names)), rows) if rows else None

    def action_whence(self) -> None:
        """Which alpha made the scales that are marked. Imported now: most never ask."""
        from qinspect.tui.distribution.run_points import RunSource

        if not isinstance(self.source, RunSource):
            self.hints.say(
                f"alpha makes no scale of a weight: {key('distribution')} on the scale of an activation asks a run"
            )
        elif self.source.stored is None:
            self.hints.say("the run made these scales itself: their alphas stand above")
        else:
            from qinspect.tui.alpha.whence import WhenceScreen

            formats = self.source.stored.of
            self.app.push_screen(WhenceScreen(self.source, formats, self.name_shown, self.glyphs, self._apply))

    def action_close(self) -> None:
        self._rested.stop()
        self.dismiss()

    def action_quit(self) -> None:
        self.action_close()
