"""The detail of one scale with its title and its keys: what it is, or one of the views of it, drawn in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.progress import Steps
from qinspect.tui.charts.inks import look_of
from qinspect.tui.compare.detail import detail_lines, folded, node_lines
from qinspect.tui.compare.headline import verdict_lines
from qinspect.tui.compare.session import DRAWING, Cancelled, Drawn, Progressed, Session
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill_name
from qinspect.tui.list_pane import FAR, MOVING
from qinspect.tui.look import ERROR_CHARTS, Line, Look, Options, Picture
from qinspect.tui.names import shown
from qinspect.tui.pane import Hint, Pane
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import text_width
from qinspect.tui.widgets.text_pane import TextPane

if TYPE_CHECKING:
    from qinspect.inspector.compare import Comparison
    from qinspect.inspector.compare.paired_tree import PairedNode, PairedTree

LOG_AXES: Hint = ("log_axis log_scale", "log")
"""For whom a plot is shown."""
NEXT_CHART: Hint = ("view_error", "next chart")
AXIS_STEP = 0.01
"""Of the axis, that a key moves the cursor of a plot."""


class DetailPane(Pane):
    """view: which one is shown. options: of what is drawn. given: lines that the layout gives to the pane, its title
    among them; 0 where it fills the screen. on_verdict: whether the verdict stands in place of the view."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING | {"expand", "collapse", "fold_all", "fold_one_more"}
    EVERYWHERE: ClassVar[frozenset[str]] = frozenset({
        "view_detail", "view_histogram", "view_weight", "view_codes", "view_profile", "view_values", "view_error",
        "log_scale", "log_axis", "go_to_index",
    })  # fmt: skip

    class Changed(Message):
        """What is shown is to be shown anew: by another view, or with other options. at_rest: once the keys rest."""

        def __init__(self, at_rest: bool = False) -> None:
            super().__init__()
            self.at_rest = at_rest

    def __init__(self, glyphs: Glyphs, view: str) -> None:
        super().__init__(id="detail-box")
        self.glyphs = glyphs
        self.view = view
        self.options = Options()
        self.given = 0
        self.drawing = False
        self.on_verdict = False
        self.text = TextPane(id="detail")
        self.title = TitleLine("3 detail", id="detail-title")
        self.request = 0
        """The number of the last view that was asked for: the answer to another comes too late."""
        self._map_cells = (0, 0)
        self._drawn_for: Look | None = None
        self._again: Callable[[], None] | None = None

    def compose(self) -> ComposeResult:
        yield self.title
        yield self.text

    def set_active(self, active: bool) -> None:
        self.title.set_class(active, "active")

    # --- what is shown ---

    def show(self, session: Session, pair: ScalePair, fidelity: Sequence[tuple[str, str]] = ()) -> None:
        """A scale, in the view that is chosen. fidelity: what was measured of its weight, by fields."""
        self.stop()
        self.on_verdict = False
        self._again = partial(self.show, session, pair, fidelity)
        before = f"3 {self._view_said} {self.glyphs.dot} "
        name = fill_name(shown(pair.role), max(20, self.text.size.width - 2 - len(before)), self.glyphs.cut)
        self.title.update(f"{before}{name.rstrip()}")
        if session.a is None:
            return
        self._drawn_for = look = self.look
        if self.view == "detail":
            problems = session.comparison.copies if session.comparison else ()
            rows = session.segments_of_scale(pair)
            lines = detail_lines(pair, session.a, session.b, problems, self.glyphs, rows, fidelity)
            self.text.show(list(folded(lines, look.width)))
            return
        view, options = self.view, self.options

        def draw(check: Steps) -> list[Line]:
            from qinspect.tui.views import VIEWS

            return VIEWS[view](session, pair, look, options, check)

        self._begin(view, draw)

    def show_error_of(self, session: Session, role: str) -> None:
        """The error of a weight that has no scale in the table: an entry of the tree."""
        self.stop()
        self.on_verdict = False
        self._again = partial(self.show_error_of, session, role)
        self.title.update(f"3 {self._view_said} {self.glyphs.dot} {shown(role)}")
        self._drawn_for = look = self.look
        options = self.options

        def draw(check: Steps) -> list[Line]:
            from qinspect.tui.error_view import error_of_weight

            return error_of_weight(session, role, look, options, check)

        self._begin("error", draw)

    @property
    def _view_said(self) -> str:
        """`error 2/3`: which of several charts."""
        return f"{self.view} {self.options.chart + 1}/{ERROR_CHARTS}" if self.view == "error" else self.view

    def show_node(self, node: PairedNode | None, paired: PairedTree | None, said: Sequence[str] = ()) -> None:
        """A node of the tree, where there is no scale. said: what else is known of it."""
        self.stop()
        self.on_verdict = False
        self._again = None
        self.title.update("3 detail")
        lines = node_lines(node, paired)
        self.text.show([*lines, "", *said] if said else lines)

    def show_verdict(self, c: Comparison | None, verdict: str, found: Mapping[str, str]) -> None:
        """The headline with all reasons, or why there is none. found: what was measured besides, in sentences, by what
        it is of."""
        self.stop()
        self.on_verdict = True
        self._again = partial(self.show_verdict, c, verdict, found)
        self._drawn_for = self.look
        self.title.update("3 verdict")
        self.text.show(verdict_lines(c, verdict, found, max(20, text_width(self.text))))

    @property
    def look(self) -> Look:
        """The pane as a plot sees it. Its height is the one that was given to it: the layout may follow later."""
        area = self.text.content_region
        height = self.given - 1 if self.given else area.height
        return look_of(self.app, max(20, area.width - 1), max(6, height), self.glyphs)

    @on(TextPane.Resized)
    def _on_resized(self, event: TextPane.Resized) -> None:
        """What is shown is made for a size."""
        event.stop()
        if self._again is not None and self._drawn_for not in (None, self.look):
            self._again()

    @on(TextPane.Clicked)
    def _on_clicked(self, event: TextPane.Clicked) -> None:
        event.stop()
        self.post_message(self.Entered(self))

    # --- a view, in a thread ---

    def stop(self) -> None:
        """What is drawn is not wanted any more."""
        if self.drawing:
            self.drawing = False
            self.workers.cancel_group(self, "view")
            self.post_message(self.Working(""))

    def _begin(self, view: str, draw: Callable[[Steps], list[Line]]) -> None:
        self.drawing = True
        self.request += 1
        self.post_message(self.Working(DRAWING))
        self._draw(self.request, view, draw)

    @work(thread=True, exclusive=True, exit_on_error=False, group="view")
    def _draw(self, number: int, view: str, draw: Callable[[Steps], list[Line]]) -> None:
        """A late answer is dropped; an error is shown in the pane."""
        worker = get_current_worker()

        def check(done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Cancelled
            self.post_message(Progressed(DRAWING, done, total))

        try:
            lines = draw(check)
        except Cancelled:
            return
        except Exception as e:  # whatever a view stumbles over is this pane's problem, not the program's
            lines = [f"  {view} cannot be drawn: {shown(str(e), 400)}"]
        self.post_message(Drawn(number, lines))

    @on(Drawn)
    def _on_drawn(self, event: Drawn) -> None:
        event.stop()
        if self.drawing and event.number == self.request:
            self.drawing = False
            self._map_cells = event.lines.cells if isinstance(event.lines, Picture) else (0, 0)
            self.text.show(event.lines)
            self.post_message(self.Working(""))

    # --- whose the keys are ---

    @property
    def on_plot(self) -> bool:
        """Whether left, right, plus and minus belong to a histogram's cursor and zoom."""
        return self.view in ("histogram", "weight")

    @property
    def on_codes(self) -> bool:
        """Whether left and right move along the levels of codes."""
        return self.view == "codes"

    @property
    def on_map(self) -> bool:
        """Whether the moving keys belong to the cursor of a heat map."""
        return self.view in ("profile", "error") and self._map_cells[1] > 0

    @property
    def has_cursor(self) -> bool:
        """Whether left and right move a cursor."""
        return self.on_plot or self.on_codes or self.on_map

    def serves(self, name: str) -> bool:
        if name == "collapse":
            return self.has_cursor or self.text.scroll_offset.x > 0
        if name in ("fold_all", "fold_one_more"):
            return self.on_plot
        return super().serves(name)

    @property
    def hints(self) -> tuple[Hint, ...]:
        if self.on_plot:
            return (("collapse expand", "cursor"), ("fold_one_more fold_all", "tail"), LOG_AXES)
        if self.on_map:
            more = (NEXT_CHART,) if self.view == "error" else ()
            return (("collapse down up expand", "cell"), *more, ("log_scale", "log"))
        if self.view == "error":
            return (NEXT_CHART, ("log_scale", "log"))
        return (("collapse expand", "level"), ("down up", "list")) if self.on_codes else ()

    # --- keys ---

    def _move(self, rows: int) -> None:
        if self.on_map:
            self._move_on_map(rows, 0)
        else:
            self.text.scroll_relative(y=rows, animate=False)

    def action_down(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-1)

    def action_page_down(self) -> None:
        self._move(self.text.size.height)

    def action_page_up(self) -> None:
        self._move(-self.text.size.height)

    def action_top(self) -> None:
        self._move(-FAR)

    def action_bottom(self) -> None:
        self._move(FAR)

    def action_expand(self) -> None:
        self._move_aside(1)

    def action_collapse(self) -> None:
        self._move_aside(-1)

    def _move_aside(self, step: int) -> None:
        if self.on_map:
            self._move_on_map(0, step)
        elif self.has_cursor:
            self.move_cursor(step * AXIS_STEP)
        else:
            self.text.scroll_relative(x=8 * step, animate=False)

    def _move_on_map(self, rows: int, columns: int) -> None:
        """From cell to cell of a heat map; first to its middle."""
        most = self._map_cells
        row, column = self.options.cell or (most[0] // 2, most[1] // 2)
        if self.options.cell is not None:
            row, column = min(row, most[0] - 1) + rows, min(column, most[1] - 1) + columns
        cell = min(max(0, row), most[0] - 1), min(max(0, column), most[1] - 1)
        self._choose(replace(self.options, cell=cell), at_rest=True)

    def move_cursor(self, step: float) -> None:
        """Along the axis of a plot; first to its middle."""
        at = (0.5 if self.options.cursor is None else self.options.cursor) + step
        self._choose(replace(self.options, cursor=min(1.0, max(0.0, at))), at_rest=True)

    def action_fold_all(self) -> None:
        self._zoom_axis(2)

    def action_fold_one_more(self) -> None:
        self._zoom_axis(0.5)

    def _zoom_axis(self, factor: float) -> None:
        self._choose(replace(self.options, zoom=min(1.0, max(1e-4, self.options.zoom * factor))), at_rest=True)

    def action_log_scale(self) -> None:
        self._choose(replace(self.options, log_counts=not self.options.log_counts))

    def action_log_axis(self) -> None:
        self._choose(replace(self.options, log_axis=not self.options.log_axis))

    def _choose(self, options: Options, at_rest: bool = False) -> None:
        self.options = options
        self.post_message(self.Changed(at_rest))

    def _look_at(self, view: str) -> None:
        self.view = view
        self.post_message(self.Changed())

    def action_view_detail(self) -> None:
        self._look_at("detail")

    def action_view_histogram(self) -> None:
        self._look_at("histogram")

    def action_view_weight(self) -> None:
        self._look_at("weight")

    def action_view_codes(self) -> None:
        self._look_at("codes")

    def action_view_profile(self) -> None:
        self._look_at("profile")

    def action_view_values(self) -> None:
        self._look_at("values")

    def action_view_error(self) -> None:
        """Where it is shown already, its next chart."""
        if self.view == "error":
            self.options = replace(self.options, chart=(self.options.chart + 1) % ERROR_CHARTS)
        self._look_at("error")

    def action_go_to_index(self) -> None:
        """Show the values from an index on."""
        if self.view != "values":
            self._look_at("values")
        self.app.push_screen(AskScreen("index, such as 17 or 3,17"), self._go_to)

    def _go_to(self, text: str | None) -> None:
        if not text:
            self.say("")
            return
        from qinspect.tui.views import row_of_index  # needs numpy

        row = row_of_index(text, self.text.plain)
        if row is None:
            self.say(f"there is no index {shown(text, 20)}")
            return
        self.post_message(self.Entered(self))
        self.text.scroll_to(0, row, animate=False, force=True, immediate=True)
