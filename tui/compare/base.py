"""What the compare screen is made of: panes, state, and what is shown of it. Actions are in the mixins beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from qinspect.inspector.compare.paired_tree import PairedTree
from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import count
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import bindings
from qinspect.tui.charts.inks import look_of
from qinspect.tui.compare.detail import detail_lines, folded, node_lines
from qinspect.tui.compare.filters import HINT
from qinspect.tui.compare.headline import headline_lines, model_lines, verdict_lines
from qinspect.tui.compare.overview_pane import OverviewPane
from qinspect.tui.compare.rows import Selection
from qinspect.tui.compare.session import DRAWING, Cancelled, Drawn, Progressed, Session
from qinspect.tui.compare.table import ScaleTable, TableHeader
from qinspect.tui.compare.tree import LayerTree
from qinspect.tui.glyphs import CHARTS, LEVELS, MAP, SCALES, Glyphs
from qinspect.tui.later import REST_S, Later
from qinspect.tui.look import Line, Look, Options, Picture
from qinspect.tui.names import in_locale, shown
from qinspect.tui.pane import Pane
from qinspect.tui.widgets.bars import HintBar, TitleLine
from qinspect.tui.widgets.lines import LineList, text_width
from qinspect.tui.widgets.text_pane import TextPane
from qinspect.tui.widgets.typed_line import TypedLine

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint import Checkpoint


WATCH_EVERY_S = 3.0
"""How often the files' sizes and times are looked at."""

SMALL_HEIGHT = 30
"""Lines of a terminal under which a plot has to take its room from the verdict and the table."""

SMALL_TABLE = 5
"""Lines of the table there: its title, its header, and the scales around the cursor."""

PANES = ("tree", "table", "detail")
TWO_MODELS = frozenset({"next_difference", "previous_difference", "largest_difference", "only_changed"})
"""Actions that need a B."""
OF_LISTS = frozenset({
    "open", "sort", "only_changed", "view_detail", "view_histogram", "view_weight", "view_codes", "view_profile",
    "view_values", "distribution", "zoom", "pane_overview", "export",
})  # fmt: skip
"""Actions that the overview does not offer in the bottom line."""


class CompareBase(ActionScreen):
    """Panes and state."""

    BINDINGS: ClassVar[list[BindingType]] = bindings()  # type: ignore[assignment]
    AUTO_FOCUS = ""
    SIGNS = (SCALES, MAP, CHARTS, LEVELS)
    LABELLED = ("overview", *PANES, "runs")

    def __init__(self, session: Session, glyphs: Glyphs, notice: str = "") -> None:
        super().__init__()
        self.notice = notice
        self.session = session
        self.glyphs = glyphs
        self.selection = Selection()
        self.view = "detail"
        self.options = Options()
        self.zoomed = ""
        self.active = "overview"
        self.answer = ""
        """The comparison in one line; empty until it is complete."""
        self.history: list[str] = []
        self.history_at = -1
        self.verdict_text = ""
        self.verdict_in_detail = False
        self.drawing = False
        self._drawn_for: Look | None = None
        self.map_cells = (0, 0)
        self._fitted_for = self.view
        self._request = 0
        self._changed: list[Checkpoint] = []
        self._then: dict[Callable[[], None], None] = {}
        self._rested = Later(self, self._do_then)
        self.paired: PairedTree | None = None
        self._paths: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is opened here."""
        yield Static(id="models", markup=False)
        yield Static(id="verdict", markup=False)
        with Horizontal(id="body"):
            yield OverviewPane(self.glyphs)
            with Vertical(id="left"), Vertical(id="tree-box"):
                yield TitleLine("1 layers", id="tree-title")
                yield LayerTree(self.glyphs, id="tree")
            with Vertical(id="right"):
                with Vertical(id="table-box"):
                    yield TitleLine("2 scales", id="table-title")
                    table = ScaleTable(self.glyphs, id="table")
                    table.two = self.session.path_b is not None
                    yield TableHeader(table)
                    yield table
                with Vertical(id="detail-box"):
                    yield TitleLine("3 detail", id="detail-title")
                    yield TextPane(id="detail")
        yield TypedLine(id="filter", placeholder=HINT, compact=True)
        yield HintBar()

    def on_mount(self) -> None:
        self.overview = self.query_one(OverviewPane)
        self.layers_tree = self.query_one("#tree", LayerTree)
        self.table = self.query_one("#table", ScaleTable)
        self.detail = self.query_one("#detail", TextPane)
        self.hints = self.query_one(HintBar)
        self.show_models()
        self.show_headline("opening")
        self.activate("overview")
        self.call_after_refresh(self.open_models)
        self.set_interval(WATCH_EVERY_S, self._watch_files)

    @work(thread=True, exclusive=True, exit_on_error=False, group="session")
    def open_models(self) -> None:
        """Open and compare in a thread; results arrive as messages."""
        worker = get_current_worker()
        self.session.run(self.post_message, lambda: worker.is_cancelled)

    def show_models(self) -> None:
        width = max(20, self.size.width - 5)
        lines = model_lines(self.session, self._changed, self.notice, width, self.glyphs.cut)
        models = self.query_one("#models", Static)
        models.update("\n".join(lines))
        models.styles.height = len(lines)

    def show_headline(self, text: str) -> None:
        """The verdict, or why there is none, in a few lines; `t` shows all of it."""
        self.verdict_text = text = in_locale(text)
        width = max(20, self.size.width - 2)
        most = 1 if self.view != "detail" and self.size.height < SMALL_HEIGHT else 3
        lines = headline_lines(self.answer, text, width, most, self.glyphs.cut)
        verdict = self.query_one("#verdict", Static)
        verdict.update("\n".join(lines))
        verdict.styles.height = max(1, len(lines))  # said, not measured: a height that follows later is a jump
        verdict.set_class(not lines and not self.session.two, "hidden")  # one model: nothing will come in its place

    def _watch_files(self) -> None:
        """Say when a file was replaced or removed under us: what is shown is of the old one."""
        found = [c for c in (self.session.checkpoint_a, self.session.checkpoint_b) if c and c.changed_files()]
        if found != self._changed:
            self._changed = found
            self.show_models()
            letters = [k for k, c in (("A", self.session.checkpoint_a), ("B", self.session.checkpoint_b)) if c in found]
            self.hints.say(f"{' and '.join(letters)} changed on disk: ctrl+r opens again" if found else "")

    def path_of(self, pair: ScalePair) -> str:
        """Where a scale stands in the tree."""
        path = self._paths.get(pair.role)
        if path is None:
            path = self._paths[pair.role] = strip_root(pair.record.key)
        return path

    def refill(self) -> None:
        schemes = self.session.weight_schemes() if self.selection.text else {}
        rows = self.selection.choose(self.session.pairs, self.path_of, self.table.values, schemes)
        self.table.show(rows, self.session.two)
        s = self.selection
        parts = [f"2 scales {count(len(rows))} of {count(len(self.session.pairs))}"]
        parts += [f"under {shown(s.under, 60)} (esc: all)"] if s.under else []
        parts += [f"of {shown(s.cell_name, 60)} (esc: overview)"] if s.cell else []
        parts += [f"matching {shown(s.text, 30)!r}"] if s.text else []
        parts += ["only changed"] if s.only_changed else []
        parts += [f"by {s.sort}{' reversed' if s.reverse else ''}"] if s.sort != "forward" or s.reverse else []
        self.query_one("#table-title", TitleLine).update(f" {self.glyphs.dot} ".join(parts))
        header = self.query_one(TableHeader)
        header.sort = s.sort
        header.refresh()

    def refill_and_show(self) -> None:
        self.refill()
        self.show_selected()

    def after_rest(self, then: Callable[[], None]) -> None:
        """Call `then` when the cursor has rested: a held key must not draw a detail for every row it passes."""
        self._then[then] = None
        self._rested.ask(REST_S)

    @property
    def waits(self) -> bool:
        """Whether the cursor has to rest before what it is on is shown."""
        return self._rested.comes

    def _do_then(self) -> None:
        waiting, self._then = self._then, {}
        if len(waiting) > 1:
            waiting.pop(self.show_selected, None)  # the others end with it
        for then in waiting:
            then()

    def show_selected(self) -> None:
        self.verdict_in_detail = False
        if self.drawing:
            self._stop_drawing()
        pair = self.table.pair
        title = self.query_one("#detail-title", TitleLine)
        if pair is None:
            title.update("3 detail")
            self.detail.show(node_lines(self.layers_tree.node, self.paired))
            return
        self.fit_hints()
        if (self._fitted_for == "detail") != (self.view == "detail"):
            self.fit_panes()
        title.update(f"3 {self.view} {self.glyphs.dot} {shown(pair.role, 100)}")
        self._remember(pair.role)
        problems = self.session.comparison.copies if self.session.comparison else ()
        if self.session.a is None:
            return
        self._drawn_for = self._look()
        if self.view == "detail":
            lines = detail_lines(pair, self.session.a, self.session.b, problems, self.glyphs)
            self.detail.show(list(folded(lines, self._drawn_for.width)))
        else:
            self.drawing = True
            self.hints.work(DRAWING)
            self._request += 1
            self._draw(self._request, self.view, pair, self._drawn_for, self.options)

    def _stop_drawing(self) -> None:
        self.drawing = False
        self.workers.cancel_group(self, "view")
        self.hints.work("")

    def redraw(self) -> None:
        """The pane has another size: what it shows is made for its width."""
        if self.verdict_in_detail:
            self.show_verdict()
        elif self._drawn_for not in (None, self._look()):
            self.show_selected()

    def show_verdict(self) -> None:
        """The headline with all reasons, or why there is none, in the detail pane."""
        c = self.session.comparison
        if self.drawing:
            self._stop_drawing()
        self.verdict_in_detail = True
        width = max(20, text_width(self.detail))
        lines = verdict_lines(c, self.verdict_text, width)
        self.query_one("#detail-title", TitleLine).update("3 verdict")
        self.detail.show(lines)

    def _look(self) -> Look:
        """The pane as a plot sees it. Its height is the one that was given to it: the layout may follow later."""
        area = self.detail.content_region
        height = area.height if self.zoomed else self._detail_height(self.size.height) - 1
        return look_of(self.app, max(20, area.width - 1), max(6, height), self.glyphs)

    @work(thread=True, exclusive=True, exit_on_error=False, group="view")
    def _draw(self, number: int, view: str, pair: ScalePair, look: Look, options: Options) -> None:
        """Build a view in a thread. A late answer is dropped; an error is shown in the pane."""
        from qinspect.tui.views import VIEWS

        worker = get_current_worker()

        def check(done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Cancelled
            self.post_message(Progressed(DRAWING, done, total))

        try:
            lines: list[Line] = VIEWS[view](self.session, pair, look, options, check)
        except Cancelled:
            return
        except Exception as e:  # whatever a view stumbles over is this pane's problem, not the program's
            lines = [f"  {view} cannot be drawn: {shown(str(e), 400)}"]
        self.post_message(Drawn(number, lines))

    @on(Drawn)
    def _on_drawn(self, event: Drawn) -> None:
        if self.drawing and event.number == self._request:
            self.drawing = False
            self.hints.work("")
            self.map_cells = event.lines.cells if isinstance(event.lines, Picture) else (0, 0)
            self.detail.show(event.lines)
            self.fit_hints()

    def _remember(self, role: str) -> None:
        if self.history_at >= 0 and self.history[self.history_at] == role:
            return
        del self.history[self.history_at + 1 :]
        self.history.append(role)
        del self.history[:-200]
        self.history_at = len(self.history) - 1

    def select(self, role: str) -> None:
        """Put the cursor of the table on a scale, whatever is filtered away now."""
        index = next((i for i, p in enumerate(self.table.pairs) if p.role == role), None)
        if index is None:
            self.selection.text, self.selection.under, self.selection.only_changed = "", "", False
            self.selection.cell = frozenset()
            with self.prevent(Input.Changed):
                self.query_one("#filter", Input).value = ""
            self.refill()
            index = next((i for i, p in enumerate(self.table.pairs) if p.role == role), None)
        if index is not None:
            self.table.move_to(index)

    @property
    def active_list(self) -> LineList | None:
        """The list that the moving keys move in; None in the detail."""
        return {"tree": self.layers_tree, "table": self.table}.get(self.active)

    @property
    def active_pane(self) -> Pane | None:
        return self.overview if self.active == "overview" else None

    @property
    def on_plot(self) -> bool:
        """Whether left, right, plus and minus belong to a histogram's cursor and zoom."""
        return self.active == "detail" and self.view in ("histogram", "weight")

    @property
    def on_codes(self) -> bool:
        """Whether left and right move along the levels of codes."""
        return self.active == "detail" and self.view == "codes"

    @property
    def on_map(self) -> bool:
        """Whether the moving keys belong to the cursor of a heat map."""
        return self.active == "detail" and self.view == "profile" and self.map_cells[1] > 0

    def zoom_pane(self, name: str) -> None:
        self.zoomed = name
        self.set_class(bool(name), "zoomed")
        for pane in PANES:
            self.query_one(f"#{pane}-box").set_class(bool(name) and pane != name, "hidden")
        self.query_one("#left").set_class(name in ("table", "detail"), "hidden")
        self.query_one("#right").set_class(name == "tree", "hidden")
        if name:
            self.query_one(f"#{name}-box").styles.height = "1fr"
            self.activate(name)
        self.fit_panes()

    def on_resize(self) -> None:
        self.fit_panes()

    def fit_panes(self) -> None:
        """Panes by the size of the terminal."""
        width, height = self.size
        narrow = 30 if width < 100 else 38 if width < 160 else 56
        self.query_one("#left").styles.width = "1fr" if self.zoomed == "tree" else narrow
        self._fitted_for = self.view
        if not self.zoomed:
            self.query_one("#detail-box").styles.height = self._detail_height(height)
            self.query_one("#table-box").styles.height = "1fr"
        self.show_models()
        self.show_headline(self.verdict_text)

    def _detail_height(self, height: int) -> int:
        """Lines of the detail pane and its title. It depends on the view alone, so that nothing jumps from scale to
        scale: a plot needs room for axes and legend, and gets it from the table and the verdict."""
        if self.view == "detail":
            return 7 if height < SMALL_HEIGHT else 15 if height < 50 else 24
        if height < SMALL_HEIGHT:
            chrome = 3 + (self.session.path_b is not None) + bool(self.notice)  # models, a line of verdict, hints
            return max(7, min(19, height - chrome - SMALL_TABLE))
        return 19 if height < 50 else 28

    def activate(self, name: str) -> None:
        """Let the keys work in this pane.

        Not Textual's focus: that repaints both panes whole (40 kB); this repaints their titles and cursor lines. Only
        the filter has the focus while it is open.
        """
        if self.zoomed and name == "overview":
            self.zoom_pane("")
        if self.zoomed not in ("", name):
            self.zoom_pane(name)
            return
        self.active = name
        self.set_class(name == "overview", "on-overview")
        self.overview.set_active(name == "overview")
        self.set_focus(None)
        for pane in PANES:
            self.query_one(f"#{pane}-title").set_class(pane == name, "active")
        self.layers_tree.set_active(name == "tree")
        self.table.set_active(name == "table")
        self.fit_hints()

    def fit_hints(self) -> None:
        """The keys that matter here: those of a plot, and none that find nothing."""
        first: tuple[tuple[str, str], ...] = ()
        if self.active == "overview":
            self.hints.show_for(
                (("h l", "kind"), ("enter", "scales")), OF_LISTS | (frozenset() if self.session.two else TWO_MODELS)
            )
            return
        if self.on_plot:
            first = (("h l", "cursor"), ("+ -", "tail"), ("x y", "log"))
        elif self.on_map:
            first = (("h j k l", "cell"), ("y", "log"))
        elif self.on_codes:
            first = (("h l", "level"), ("j k", "list"))
        elif self.view in ("histogram", "weight"):
            first = (("x y", "log"),)
        self.hints.show_for(first, frozenset() if self.session.two else TWO_MODELS)
