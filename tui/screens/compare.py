"""The compare screen: tree, scales, detail. One model is the same screen without B."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.color import Color
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.paired_tree import Badge, PairedNode, PairedTree
from qinspect.inspector.text import count, number, percent, size, strip_root, visible
from qinspect.tui.actions import bindings
from qinspect.tui.detail import detail_lines
from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.labels import fit, short_paths
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.outside import copy_to_terminal, write_view
from qinspect.tui.rows import SORTS, Selection
from qinspect.tui.screens.export import ExportScreen
from qinspect.tui.screens.help import HelpScreen
from qinspect.tui.screens.jump import JumpScreen
from qinspect.tui.session import Cancelled, Compared, Drawn, Failed, Opened, Progress, ScalesReady, Session
from qinspect.tui.theme import THEMES
from qinspect.tui.widgets.bars import HintBar
from qinspect.tui.widgets.lines import LineList
from qinspect.tui.widgets.table import ScaleTable, TableHeader
from qinspect.tui.widgets.text_pane import TextPane
from qinspect.tui.widgets.tree import LayerTree

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint import Checkpoint
    from qinspect.inspector.formats import Format

DETAIL_AFTER_S = 0.06
"""The cursor rests this long before anything is drawn for it."""

WATCH_EVERY_S = 3.0
"""How often the files' sizes and times are looked at."""

PANES = ("tree", "table", "detail")


class CompareScreen(Screen[None]):
    """Everything about A and B, or about A."""

    BINDINGS: ClassVar[list[BindingType]] = bindings()  # type: ignore[assignment]
    AUTO_FOCUS = ""

    def __init__(self, session: Session, glyphs: Glyphs, notice: str = "") -> None:
        super().__init__()
        self.notice = notice
        self.session = session
        self.glyphs = glyphs
        self.selection = Selection()
        self.view = "detail"
        self.options = Options()
        self.zoomed = ""
        self.history: list[str] = []
        self.history_at = -1
        self._timer_running = False
        self._changed: list[Checkpoint] = []

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is opened here."""
        yield Static(id="models", markup=False)
        yield Static(id="verdict", markup=False)
        with Horizontal(id="body"):
            with Vertical(id="left"), Vertical(id="tree-box"):
                yield Static("1 layers", id="tree-title", classes="title", markup=False)
                yield LayerTree(self.glyphs, id="tree")
            with Vertical(id="right"):
                with Vertical(id="table-box"):
                    yield Static("2 scales", id="table-title", classes="title", markup=False)
                    table = ScaleTable(self.glyphs, id="table")
                    table.two = self.session.path_b is not None
                    yield TableHeader(table)
                    yield table
                with Vertical(id="detail-box"):
                    yield Static("3 detail", id="detail-title", classes="title", markup=False)
                    yield TextPane(id="detail")
        yield Input(id="filter", placeholder="words in name, status or kind; escape clears", compact=True)
        yield HintBar()

    def on_mount(self) -> None:
        self.layers_tree = self.query_one("#tree", LayerTree)
        self.table = self.query_one("#table", ScaleTable)
        self.detail = self.query_one("#detail", TextPane)
        self.hints = self.query_one(HintBar)
        self._show_models()
        self.query_one("#verdict", Static).update(self.notice or "opening")
        self.set_focus(self.layers_tree)
        self.call_after_refresh(self.open_models)
        self.set_interval(WATCH_EVERY_S, self._watch_files)

    # --- opening and comparing ---

    @work(thread=True, exclusive=True, exit_on_error=False, group="session")
    def open_models(self) -> None:
        """Open and compare in a thread; results arrive as messages."""
        worker = get_current_worker()
        self.session.run(self.post_message, lambda: worker.is_cancelled)

    def _show_models(self) -> None:
        s = self.session
        name_a, name_b = short_paths(s.path_a, s.path_b)
        width = max(20, self.size.width - 5)
        lines = [self._model_line("A", name_a, s.checkpoint_a, s.a, s.error_a, width)]
        if s.path_b is not None:
            lines.append(self._model_line("B", name_b, s.checkpoint_b, s.b, s.error_b, width))
        self.query_one("#models", Static).update("\n".join(lines))

    def _model_line(
        self, label: str, name: str, checkpoint: Checkpoint | None, fmt: Format | None, error: str, width: int
    ) -> str:
        if error:
            return f"{label}  {fit(name, f'cannot be opened: {error}', width, self.glyphs.cut)}"
        if checkpoint is None:
            return f"{label}  {fit(name, '', width, self.glyphs.cut)}"
        what = visible(fmt.description, 120) if fmt else checkpoint.kind
        changed = "CHANGED ON DISK, " if checkpoint in self._changed else ""
        rest = f"{changed}{what}, {count(len(checkpoint.entries))} entries, {size(checkpoint.nbytes)}"
        return f"{label}  {fit(name, rest, width, self.glyphs.cut)}"

    def _watch_files(self) -> None:
        """Say when a file was replaced or removed under us: what is shown is of the old one."""
        found = [c for c in (self.session.checkpoint_a, self.session.checkpoint_b) if c and c.changed_files()]
        if found != self._changed:
            self._changed = found
            self._show_models()
            names = ", ".join(visible(p.name, 60) for c in found for p in c.changed_files())
            self.hints.say(f"changed on disk: {names}" if names else "")

    @on(Progress)
    def _on_progress(self, event: Progress) -> None:
        share = f" {100 * event.done // event.total} %" if event.total else ""
        self.hints.say(f"{event.phase}{share}")

    @on(Failed)
    def _on_failed(self, event: Failed) -> None:
        self._show_models()
        if event.model != "B":
            self.query_one("#verdict", Static).update(event.error)
        self.hints.say("")

    @on(Opened)
    def _on_opened(self, event: Opened) -> None:
        self._tree = event.tree
        self._show_models()
        self.query_one("#verdict", Static).update("")
        self.layers_tree.show(event.tree, self.session.two)

    @on(ScalesReady)
    def _on_scales(self, event: ScalesReady) -> None:
        self._show_models()
        if self.session.two:
            self._place_badges(self._tree, event.pairs)
            self.layers_tree.refresh_rows()
        self._refill()
        self.hints.say("" if not self.session.two else "comparing codes")
        if event.pairs and self.history_at < 0:
            self._show_selected()

    @on(Compared)
    def _on_compared(self, event: Compared) -> None:
        c = event.comparison
        for w in c.weights:
            if w.status is Status.DIFFERENT:
                path = strip_root(w.a or w.b or "")
                for node in self._tree.module_of(path.rpartition(".")[0]).chain():
                    _badge(node).n_tensors_different += 1
        self.layers_tree.refresh_rows()
        self.hints.say("" if c.weights_compared else f"weights: not compared ({size(c.weight_bytes)})")
        self.query_one("#verdict", Static).update(c.headline.text)
        self._show_selected()

    def _place_badges(self, tree: PairedTree, pairs: list[ScalePair]) -> None:
        for p in pairs:
            d = p.difference
            for node in tree.module_of(self.path_of(p).rpartition(".")[0]).chain():
                badge = _badge(node)
                badge.n_scales += 1
                badge.n_different += p.status is Status.DIFFERENT
                badge.n_only_a += p.status is Status.ONLY_A
                badge.n_only_b += p.status is Status.ONLY_B
                badge.n_broken += p.status is Status.BROKEN
                badge.n_odd += p.status in (Status.SHAPE, Status.SCHEME, Status.PERMUTED)
                if d and p.status is Status.DIFFERENT and abs(d.largest) > abs(badge.largest):
                    badge.largest = d.largest

    def path_of(self, pair: ScalePair) -> str:
        """Where a scale stands in the tree."""
        return strip_root(pair.record.key)

    # --- rows ---

    def _refill(self) -> None:
        rows = self.selection.choose(self.session.pairs, self.path_of)
        self.table.show(rows, self.session.two)
        s = self.selection
        parts = [f"2 scales {count(len(rows))} of {count(len(self.session.pairs))}"]
        parts += [f"under {visible(s.under, 60)}"] if s.under else []
        parts += [f"matching {visible(s.text, 30)!r}"] if s.text else []
        parts += ["only changed"] if s.only_changed else []
        parts += [f"by {s.sort}{' reversed' if s.reverse else ''}"] if s.sort != "forward" or s.reverse else []
        self.query_one("#table-title", Static).update(f" {self.glyphs.dot} ".join(parts))
        header = self.query_one(TableHeader)
        header.sort = s.sort
        header.refresh()

    @on(ScaleTable.Wanted)
    def _on_wanted(self, event: ScaleTable.Wanted) -> None:
        self._read_values(event.pairs)

    @work(thread=True, exit_on_error=False, group="values")
    def _read_values(self, pairs: list[ScalePair]) -> None:
        worker = get_current_worker()
        values = self.session.read_values(pairs, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self.table.learn, values)

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        if event.source is self.layers_tree:
            self._after_rest(self._follow_tree)
        else:
            self._after_rest(self._show_selected)

    def _after_rest(self, then: object) -> None:
        """Call `then` when the cursor has rested: a held key must not draw a detail for every row it passes."""
        self._then = then
        if self._timer_running:
            self._again = True
            return
        self._timer_running, self._again = True, False
        self.set_timer(DETAIL_AFTER_S, self._rested)

    def _rested(self) -> None:
        self._timer_running = False
        if self._again:
            self._after_rest(self._then)
        else:
            self._then()  # type: ignore[operator]

    def _follow_tree(self) -> None:
        node = self.layers_tree.node
        under = node.path if node else ""
        if under != self.selection.under:
            self.selection.under = under if node and node.parent is not None else ""
            self._refill()
        self._show_selected()

    @on(LineList.Chosen)
    def _on_chosen(self, event: LineList.Chosen) -> None:
        if event.source is self.layers_tree:
            self.layers_tree.toggle()
        else:
            self.action_open()

    # --- the detail pane ---

    def _show_selected(self) -> None:
        pair = self.table.pair
        title = self.query_one("#detail-title", Static)
        if pair is None:
            title.update("3 detail")
            self.detail.show(self._node_lines())
            return
        title.update(f"3 {self.view} {self.glyphs.dot} {visible(pair.role, 100)}")
        self._remember(pair.role)
        problems = self.session.comparison.copies if self.session.comparison else ()
        if self.session.a is None:
            return
        if self.view == "detail":
            self.detail.show(list(detail_lines(pair, self.session.a, self.session.b, problems, self.glyphs)))
        else:
            self.hints.say("drawing")
            self._draw(self.view, pair, self._look(), self.options)

    def _look(self) -> Look:
        """The pane as a plot sees it."""
        area = self.detail.scrollable_content_region
        theme = self.app.current_theme
        colors = None if theme.ansi or self.app.no_color else theme.variables
        a, b, mark = (Color.parse(colors[k]).rgb if colors else None for k in ("down", "up", "mark"))
        return Look(max(20, area.width - 1), max(6, area.height - 2), a, b, mark, self.glyphs is ASCII)

    @work(thread=True, exclusive=True, exit_on_error=False, group="view")
    def _draw(self, view: str, pair: ScalePair, look: Look, options: Options) -> None:
        """Build a view in a thread. A late answer is dropped; an error is shown in the pane."""
        from qinspect.tui.views import VIEWS

        worker = get_current_worker()

        def check(done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Cancelled
            self.post_message(Progress("drawing", done, total))

        try:
            lines: list[Line] = VIEWS[view](self.session, pair, look, options, check)
        except Cancelled:
            return
        except Exception as e:  # whatever a view stumbles over is this pane's problem, not the program's
            lines = [f"  {view} cannot be drawn: {visible(str(e), 400)}"]
        self.post_message(Drawn(view, pair.role, lines))

    @on(Drawn)
    def _on_drawn(self, event: Drawn) -> None:
        pair = self.table.pair
        if pair is not None and pair.role == event.role and self.view == event.view:
            self.hints.say("")
            self.detail.show(event.lines)

    def _node_lines(self) -> list[str]:
        node = self.layers_tree.node
        if node is None:
            return []
        return _describe(node)

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
            self._refill()
            index = next((i for i, p in enumerate(self.table.pairs) if p.role == role), None)
        if index is not None:
            self.table.move_to(index)

    # --- actions ---

    @property
    def list_in_focus(self) -> LineList | None:
        """The focused list, if it is one."""
        return self.focused if isinstance(self.focused, LineList) else None

    def _move(self, rows: int) -> None:
        if target := self.list_in_focus:
            target.move_by(rows)
        elif isinstance(self.focused, TextPane):
            self.detail.scroll_relative(y=rows, animate=False)

    def action_down(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-1)

    def action_page_down(self) -> None:
        self._move(self.list_in_focus.page if self.list_in_focus else self.detail.size.height)

    def action_page_up(self) -> None:
        self._move(-(self.list_in_focus.page if self.list_in_focus else self.detail.size.height))

    def action_top(self) -> None:
        self._move(-(1 << 40))

    def action_bottom(self) -> None:
        self._move(1 << 40)

    def action_open(self) -> None:
        if self.focused is self.layers_tree:
            self.layers_tree.toggle()
        else:
            self._zoom("" if self.zoomed == "detail" else "detail")

    def action_expand(self) -> None:
        if self.focused is self.layers_tree:
            self.layers_tree.go_in()
        elif self._on_plot:
            self._move_cursor(0.01)
        elif isinstance(self.focused, TextPane):
            self.detail.scroll_relative(x=8, animate=False)
        else:
            self.set_focus(self.detail)

    def action_collapse(self) -> None:
        if self.focused is self.layers_tree:
            self.layers_tree.go_out()
        elif self._on_plot:
            self._move_cursor(-0.01)
        elif isinstance(self.focused, TextPane) and self.detail.scroll_offset.x:
            self.detail.scroll_relative(x=-8, animate=False)
        else:
            self.set_focus(self.table if self.focused is self.detail else self.layers_tree)

    def _focus_pane(self, step: int) -> None:
        current = self.focused.id if self.focused and self.focused.id in PANES else "tree"
        name = PANES[(PANES.index(current) + step) % len(PANES)]
        if self.zoomed:
            self._zoom(name)
        self.set_focus(self.query_one(f"#{name}"))

    def action_next_pane(self) -> None:
        self._focus_pane(1)

    def action_previous_pane(self) -> None:
        self._focus_pane(-1)

    def action_pane_tree(self) -> None:
        self.set_focus(self.layers_tree)

    def action_pane_table(self) -> None:
        self.set_focus(self.table)

    def action_pane_detail(self) -> None:
        self.set_focus(self.detail)

    def on_descendant_focus(self) -> None:
        for name in PANES:
            active = self.focused is not None and self.focused.id == name
            self.query_one(f"#{name}-title").set_class(active, "active")

    def _step_difference(self, step: int) -> None:
        """To the next (previous) scale in forward order that is not the same, from the selected one."""
        found = [p for p in self.session.pairs if not p.status.counts_as_same] if self.session.two else []
        if not found:
            self.hints.say("no difference" if self.session.two else "one model: nothing to differ from")
            return
        here = self.table.pair.order if self.table.pair else -1
        later = [p for p in found if (p.order > here if step > 0 else p.order < here)]
        target = (later or found)[0 if step > 0 else -1]
        self.select(target.role)
        self.set_focus(self.table)

    def action_next_difference(self) -> None:
        self._step_difference(1)

    def action_previous_difference(self) -> None:
        self._step_difference(-1)

    def action_largest_difference(self) -> None:
        found = [p for p in self.session.pairs if p.difference and p.status is Status.DIFFERENT]
        if not found:
            self.hints.say("no difference")
            return
        worst = max(found, key=lambda p: abs(p.difference.largest) if p.difference else 0.0)
        self.select(worst.role)
        self.set_focus(self.table)
        self.hints.say(f"largest: {percent(worst.difference.largest)}" if worst.difference else "")

    def action_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.add_class("shown")
        self.set_focus(box)

    @on(Input.Changed, "#filter")
    def _on_filter_changed(self, event: Input.Changed) -> None:
        self.selection.text = event.value
        self._after_rest(self._refill_and_show)

    def _refill_and_show(self) -> None:
        self._refill()
        self._show_selected()

    @on(Input.Submitted, "#filter")
    def _on_filter_done(self) -> None:
        self.query_one("#filter").remove_class("shown")
        self.set_focus(self.table)

    def key_escape(self) -> None:
        """Leave the filter, then the zoom, then the selection of the tree."""
        box = self.query_one("#filter", Input)
        if box.has_class("shown") or self.selection.text:
            box.value = ""
            self.selection.text = ""
            box.remove_class("shown")
            self.set_focus(self.table)
            self._refill_and_show()
        elif self.zoomed:
            self._zoom("")

    def action_only_changed(self) -> None:
        self.selection.only_changed = not self.selection.only_changed
        self._refill_and_show()

    def action_sort(self) -> None:
        names = list(SORTS)
        self.selection.sort = names[(names.index(self.selection.sort) + 1) % len(names)]
        self._refill_and_show()

    def action_reverse(self) -> None:
        self.selection.reverse = not self.selection.reverse
        self._refill_and_show()

    def action_back(self) -> None:
        self._travel(-1)

    def action_forward(self) -> None:
        self._travel(1)

    def _travel(self, step: int) -> None:
        to = self.history_at + step
        if 0 <= to < len(self.history):
            self.history_at = to
            self.select(self.history[to])

    def action_bookmark(self) -> None:
        if pair := self.table.pair:
            self.table.bookmarks ^= {pair.role}
            self.table.refresh_rows()

    def action_next_bookmark(self) -> None:
        marked = [p for p in self.session.pairs if p.role in self.table.bookmarks]
        if marked:
            here = self.table.pair.order if self.table.pair else -1
            self.select(next((p for p in marked if p.order > here), marked[0]).role)

    def action_fold_all(self) -> None:
        if self._on_plot:
            self._zoom_axis(2)
        else:
            self.layers_tree.close_all()

    def action_fold_one_more(self) -> None:
        if self._on_plot:
            self._zoom_axis(0.5)
        else:
            self.layers_tree.open_one_more()

    def action_zoom(self) -> None:
        name = self.focused.id if self.focused and self.focused.id in PANES else "table"
        self._zoom("" if self.zoomed else name)

    def _zoom(self, name: str) -> None:
        self.zoomed = name
        self.set_class(bool(name), "zoomed")
        for pane in PANES:
            self.query_one(f"#{pane}-box").set_class(bool(name) and pane != name, "hidden")
        self.query_one("#left").set_class(name in ("table", "detail"), "hidden")
        self.query_one("#right").set_class(name == "tree", "hidden")
        if name:
            self.query_one(f"#{name}-box").styles.height = "1fr"
            self.set_focus(self.query_one(f"#{name}"))
        else:
            self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """Panes by the size of the terminal."""
        width, height = self.size
        self.query_one("#left").styles.width = 30 if width < 100 else 38 if width < 160 else 56
        if not self.zoomed:
            self.query_one("#detail-box").styles.height = 7 if height < 30 else 15 if height < 50 else 24
            self.query_one("#table-box").styles.height = "1fr"
        self._show_models()

    def _look_at(self, view: str) -> None:
        self.view = view
        self._show_selected()

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

    def action_log_scale(self) -> None:
        self.options = replace(self.options, log_counts=not self.options.log_counts)
        self._show_selected()

    def action_log_axis(self) -> None:
        self.options = replace(self.options, log_axis=not self.options.log_axis)
        self._show_selected()

    @property
    def _on_plot(self) -> bool:
        """Whether left, right, plus and minus belong to a histogram's cursor and zoom."""
        return self.focused is self.detail and self.view in ("histogram", "weight")

    def _move_cursor(self, step: float) -> None:
        at = (0.5 if self.options.cursor is None else self.options.cursor) + step
        self.options = replace(self.options, cursor=min(1.0, max(0.0, at)))
        self._after_rest(self._show_selected)

    def _zoom_axis(self, factor: float) -> None:
        self.options = replace(self.options, zoom=min(1.0, max(1e-4, self.options.zoom * factor)))
        self._after_rest(self._show_selected)

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen())

    def action_jump(self) -> None:
        names = [p.role for p in self.session.pairs]
        known = set(names)
        for checkpoint in (self.session.checkpoint_a, self.session.checkpoint_b):
            for name in checkpoint.entries if checkpoint else ():
                path = strip_root(name)
                if path not in known:
                    known.add(path)
                    names.append(path)
        self.app.push_screen(JumpScreen(names), self._jumped)

    def _jumped(self, name: str | None) -> None:
        if not name:
            return
        pair = next((p for p in self.session.pairs if p.role == name or self.path_of(p) == name), None)
        if pair is not None:
            self.select(pair.role)
            self.set_focus(self.table)
        else:
            self.layers_tree.reveal(name)
            self.set_focus(self.layers_tree)

    def action_theme(self) -> None:
        names = [t.name for t in THEMES]
        self.app.theme = names[(names.index(self.app.theme) + 1) % len(names)]
        self._show_selected()

    def action_copy_row(self) -> None:
        if pair := self.table.pair:
            d = pair.difference
            cells = [pair.role, *([number(d.a), number(d.b), percent(d.largest)] if d else []), str(pair.status)]
            self._copy("\t".join(cells))

    def action_copy_command(self) -> None:
        self._copy(self.command_line())

    def command_line(self) -> str:
        """The command that prints what is selected, or the whole comparison."""
        pair = self.table.pair
        s = self.session
        if self.focused is self.layers_tree or pair is None:
            words = ["qinspect", "diff", s.path_a, s.path_b] if s.path_b else ["qinspect", "scales", s.path_a]
            words += ["--only", "changed"] if s.path_b and self.selection.only_changed else []
        else:
            words = ["qinspect", "show", s.path_a if pair.a else s.path_b or "", pair.record.key]
        return shlex.join(words)

    def _copy(self, text: str) -> None:
        """OSC 52, which reaches the local clipboard through SSH, and through tmux where it allows passthrough."""
        copy_to_terminal(self.app, text)
        self.hints.say(f"sent to the terminal's clipboard: {visible(text, 40)}")

    def action_export(self) -> None:
        self.app.push_screen(ExportScreen(), self._export)

    def _export(self, kind: str | None) -> None:
        if not kind:
            return
        try:
            path = write_view(kind, self)
        except OSError as e:
            self.hints.say(f"not saved: {e.strerror}")
        else:
            self.hints.say(f"saved {path}")

    def action_verdict(self) -> None:
        c = self.session.comparison
        if c is None:
            self.hints.say("no comparison yet" if self.session.two else "one model: no verdict")
            return
        import textwrap

        width = max(40, self.detail.size.width - 4)
        lines = textwrap.wrap(f"{c.headline.text} [{c.headline.rule}]", width)
        for r in c.reasons:
            lines += ["", *textwrap.wrap(f"- {r.text} [{r.rule}]", width, subsequent_indent="  ")]
        lines += ["", *(visible(n) for n in c.notes)]
        self.query_one("#detail-title", Static).update("3 verdict")
        self.detail.show(lines)
        self.set_focus(self.detail)

    def action_quit(self) -> None:
        self.app.exit()


def _badge(node: PairedNode) -> Badge:
    if node.badge is None:
        node.badge = Badge()
    return node.badge


def _describe(node: PairedNode) -> list[str]:
    lines = [visible(node.path, 160), ""]
    lines.append(f"  {count(node.n_a)} entries in A, {count(node.n_b)} in B")
    lines.append(f"  {count(node.parameters)} parameters, {size(node.nbytes)}")
    for label, entry in (("A", node.a), ("B", node.b)):
        if entry is not None:
            lines.append(f"  {label}  {entry!r}"[:200])
    return lines
