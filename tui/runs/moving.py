"""The runs screen's moving keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qinspect.tui.runs.base import PANES
from qinspect.tui.runs.doing import RunsDoing
from qinspect.tui.runs.looking import RunsLooking
from qinspect.tui.widgets.text_pane import TextPane

if TYPE_CHECKING:
    from qinspect.inspector.table import Table


class RunsMoving(RunsLooking, RunsDoing):
    """Rows, panes, leaving."""

    def _move(self, rows: int) -> None:
        self.hints.say("")
        if target := self.active_list:
            target.move_by(rows)
        elif self.view == "log":
            self.log_view.scroll_rows(rows)
        else:
            self.query_one(f"#{self.view}", TextPane).scroll_relative(y=rows, animate=False)

    @property
    def _page(self) -> int:
        target = self.active_list
        return target.page if target else self.log_view.page if self.view == "log" else max(1, self.size.height // 2)

    def action_down(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-1)

    def action_page_down(self) -> None:
        self._move(self._page)

    def action_page_up(self) -> None:
        self._move(-self._page)

    @property
    def _in_log(self) -> bool:
        return self.active == "view" and self.view == "log"

    def action_top(self) -> None:
        if self._in_log:
            self.log_view.go_to_top()
        else:
            self._move(-(1 << 40))

    def action_bottom(self) -> None:
        if self._in_log:
            self.log_view.follow()
        else:
            self._move(1 << 40)

    def action_scroll_left(self) -> None:
        self._scroll_columns(-8)

    def action_scroll_right(self) -> None:
        self._scroll_columns(8)

    def _scroll_columns(self, columns: int) -> None:
        if self.view == "log":
            self.log_view.scroll_columns(columns)
        elif self.active == "view" and not self.active_list:
            self.query_one(f"#{self.view}", TextPane).scroll_relative(x=columns, animate=False)

    def action_show_run(self) -> None:
        if self.active == "list":
            self.activate("view")
        elif self.view == "points":
            self.points_list.turn()
        else:
            self.action_zoom()

    def action_next_pane(self) -> None:
        self.activate(PANES[(PANES.index(self.active) + 1) % len(PANES)])

    def action_previous_pane(self) -> None:
        self.action_next_pane()

    def action_pane_list(self) -> None:
        self.activate("list")

    def action_pane_view(self) -> None:
        self.activate("view")

    def action_next_run(self) -> None:
        self.list.move_by(1)

    def action_previous_run(self) -> None:
        self.list.move_by(-1)

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.fit_panes()

    def names_to_jump_to(self) -> list[str]:
        return [f"{s.run.spec.name}  {s.run.id}" for s in self.list.runs]

    def jumped_to(self, name: str) -> None:
        self.list.choose(name.rpartition("  ")[2])
        self.activate("list")

    def view_table(self) -> Table:
        from qinspect.inspector.table import Column, Table

        names = ("run", "name", "state", "command", "log")
        rows = [
            (s.run.id, s.run.spec.name, str(s.state.state), s.run.spec.command, str(s.run.log_path))
            for s in self.list.runs
        ]
        return Table(tuple(map(Column, names)), rows)

    def action_quit(self) -> None:
        if self.is_root:
            self.app.exit()
        else:
            self.leave()

    def action_close_runs(self) -> None:
        if not self.end_search() and not self.is_root:
            self.leave()
