"""Actions of the group Moving."""

from __future__ import annotations

from dataclasses import replace

from qinspect.tui.compare.base import PANES, CompareBase


class Moving(CompareBase):
    """Rows, layers, panes, history."""

    def _move(self, rows: int) -> None:
        self.hints.say("")
        if target := self.active_list:
            target.move_by(rows)
        elif self.on_map:
            self.move_on_map(rows, 0)
        elif self.active == "detail":
            self.detail.scroll_relative(y=rows, animate=False)

    def action_down(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-1)

    def action_page_down(self) -> None:
        self._move(self.active_list.page if self.active_list else self.detail.size.height)

    def action_page_up(self) -> None:
        self._move(-(self.active_list.page if self.active_list else self.detail.size.height))

    def action_top(self) -> None:
        self._move(-(1 << 40))

    def action_bottom(self) -> None:
        self._move(1 << 40)

    def action_open(self) -> None:
        if self.active == "tree":
            self.layers_tree.toggle()
        else:
            self.zoom_pane("" if self.zoomed == "detail" else "detail")

    def action_expand(self) -> None:
        if self.active == "tree":
            self.layers_tree.go_in()
        elif self.on_map:
            self.move_on_map(0, 1)
        elif self.on_plot or self.on_codes:
            self.move_cursor(0.01)
        elif self.active == "detail":
            self.detail.scroll_relative(x=8, animate=False)
        else:
            self.activate("detail")

    def action_collapse(self) -> None:
        if self.active == "tree":
            self.layers_tree.go_out()
        elif self.on_map:
            self.move_on_map(0, -1)
        elif self.on_plot or self.on_codes:
            self.move_cursor(-0.01)
        elif self.active == "detail" and self.detail.scroll_offset.x:
            self.detail.scroll_relative(x=-8, animate=False)
        else:
            self.activate("table" if self.active == "detail" else "tree")

    def _focus_pane(self, step: int) -> None:
        if self.active == "overview":
            self.activate(PANES[0] if step > 0 else PANES[-1])
            return
        name = PANES[(PANES.index(self.active) + step) % len(PANES)]
        if self.zoomed:
            self.zoom_pane(name)
        self.activate(name)

    def action_next_pane(self) -> None:
        self._focus_pane(1)

    def action_previous_pane(self) -> None:
        self._focus_pane(-1)

    def action_pane_overview(self) -> None:
        self.activate("overview")

    def action_pane_tree(self) -> None:
        self.activate("tree")

    def action_pane_table(self) -> None:
        self.activate("table")

    def action_pane_detail(self) -> None:
        self.activate("detail")

    def action_back(self) -> None:
        self._travel(-1)

    def action_forward(self) -> None:
        self._travel(1)

    def _travel(self, step: int) -> None:
        to = self.history_at + step
        if 0 <= to < len(self.history):
            self.history_at = to
            self.select(self.history[to])

    # --- the cursor of a plot, and of a map ---

    def move_on_map(self, rows: int, columns: int) -> None:
        """From cell to cell of a heat map; first to its middle."""
        most = self.map_cells
        row, column = self.options.cell or (most[0] // 2, most[1] // 2)
        if self.options.cell is not None:
            row, column = min(row, most[0] - 1) + rows, min(column, most[1] - 1) + columns
        cell = min(max(0, row), most[0] - 1), min(max(0, column), most[1] - 1)
        self.options = replace(self.options, cell=cell)
        self.after_rest(self.show_selected)

    def move_cursor(self, step: float) -> None:
        at = (0.5 if self.options.cursor is None else self.options.cursor) + step
        self.options = replace(self.options, cursor=min(1.0, max(0.0, at)))
        self.after_rest(self.show_selected)
