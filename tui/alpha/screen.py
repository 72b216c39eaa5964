"""The alpha explorer: all points of a calibration, and a cursor over alpha that moves every number."""

from __future__ import annotations

from functools import partial

from textual import on

from qinspect.inspector.alpha.sweep.alphas import ALPHAS, LEAST, THUMB
from qinspect.inspector.alpha.sweep.rules import BITS, SWEPT
from qinspect.inspector.alpha.sweep.wording import alpha_text
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import columns, shell_words
from qinspect.tui.alpha.base import ExploreBase
from qinspect.tui.alpha.heat import QUANTITIES
from qinspect.tui.alpha.state import SORTS
from qinspect.tui.alpha.table import cell
from qinspect.tui.compare.table import TableHeader
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.distribution.alphas import parsed
from qinspect.tui.distribution.run_points import RunSource
from qinspect.tui.distribution.screen import DistributionScreen
from qinspect.tui.filtering import Filtering
from qinspect.tui.key_names import key
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal

NAMES = tuple(SWEPT)
NO_RUNS_HERE = "from the runs screen; else: qinspect apply RUN --alpha A"

OF_LIST = frozenset({"sort", "reverse"})
"""Actions that only the list of points shows."""


class ExploreScreen(Filtering, ExploreBase):
    """What the keys do."""

    _source: RunSource | None = None

    # --- the cursor over alpha ---

    def _go_to(self, alpha: float) -> None:
        if self.explorer is not None:
            self.explorer.chosen.alpha = alpha
            self._say_without_alpha()
            self.moved()

    def _say_without_alpha(self) -> None:
        if self.explorer is not None and not self.explorer.has_alpha:
            self.hints.say(f"{self.explorer.chosen.rule} has no alpha: {key('rule')} takes another rule")

    def _step(self, steps: int) -> None:
        if self.explorer is not None:
            self.explorer.move_by(steps)
            self._say_without_alpha()
            self.moved()

    def action_alpha_down(self) -> None:
        self._step(-1)

    def action_alpha_up(self) -> None:
        self._step(1)

    def action_alpha_decade_down(self) -> None:
        self._decade(-1)

    def action_alpha_decade_up(self) -> None:
        self._decade(1)

    def _decade(self, direction: int) -> None:
        if self.explorer is not None:
            self.explorer.move_decade(direction)
            self._go_to(self.explorer.chosen.alpha)

    def action_thumb_down(self) -> None:
        if self.explorer is not None:
            at = self.explorer.chosen.alpha
            self._go_to(next((a for a in reversed(THUMB) if a < at), THUMB[0]))

    def action_thumb_up(self) -> None:
        if self.explorer is not None:
            at = self.explorer.chosen.alpha
            self._go_to(next((a for a in THUMB if a > at), THUMB[-1]))

    def action_alpha_first(self) -> None:
        self._go_to(ALPHAS[0])

    def action_alpha_last(self) -> None:
        self._go_to(ALPHAS[-1])

    def action_type_alpha(self) -> None:
        self.app.push_screen(AskScreen("alpha, such as 0.9995"), self._typed)

    def _typed(self, text: str | None) -> None:
        alpha = parsed(text or "")
        if alpha is not None and alpha >= LEAST:
            self._go_to(alpha)
        elif text:
            self.hints.say(f"an alpha is a number from {LEAST} to 1 here, not {shown(text, 20)}")

    def action_alpha_best(self) -> None:
        x, point = self.explorer, self.table.point
        if x is None or point is None:
            return
        best = int(x.best_alphas(x.chosen.rule, x.chosen.bits)[point])
        if best < 0 or not x.has_alpha:
            self.hints.say("no alpha is better than another here")
        else:
            self._go_to(ALPHAS[best])

    def action_alpha_best_of_all(self) -> None:
        x = self.explorer
        best = x.best(x.chosen.rule, x.chosen.bits) if x is not None and x.has_alpha else []
        found = next((f.alpha for f in best if f.what == "all"), None)
        if found is None:
            self.hints.say("no alpha is better than another here")
        else:
            self._go_to(found)

    # --- what is shown ---

    def action_rule(self) -> None:
        self._turn_rule(1)

    def action_previous_rule(self) -> None:
        self._turn_rule(-1)

    def _turn_rule(self, step: int) -> None:
        x = self.explorer
        if x is not None:
            x.chosen.rule = NAMES[(NAMES.index(x.chosen.rule) + step) % len(NAMES)]
            self.hints.say(SWEPT[x.chosen.rule].says)
            self.refill()

    def action_bits(self) -> None:
        x = self.explorer
        if x is not None:
            x.chosen.bits = BITS[(x.b + 1) % len(BITS)]
            self.refill()

    def act(self, name: str) -> object:
        """What would change only a pane that is not on the screen is not done."""
        if self.zoomed and self.active == "view" and name in OF_LIST:
            self.say(f"the points are not on the screen: {key('zoom')} shows all panes")
            return None
        return super().act(name)

    def action_map(self) -> None:
        self.shows_map = not self.shows_map
        self.activate("view")
        self.show_view()

    def action_quantity(self) -> None:
        self.shows_map = True
        self.activate("view")
        self.quantity = QUANTITIES[(QUANTITIES.index(self.quantity) + 1) % len(QUANTITIES)]
        self.show_view()

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.fit_panes()

    def action_next_pane(self) -> None:
        self.activate("view" if self.active == "list" else "list")

    def action_previous_pane(self) -> None:
        self.action_next_pane()

    def action_pane_list(self) -> None:
        self.activate("list")

    def action_pane_view(self) -> None:
        self.activate("view")

    def action_distribution(self) -> None:
        x, point = self.explorer, self.table.point
        if x is None or point is None:
            return
        self._source = self._source or RunSource(x.calibration)
        ask = partial(self.apply, x.calibration) if self.apply else None
        name, alpha = x.grid.names[point], x.chosen.alpha
        self.app.push_screen(DistributionScreen(self._source, name, self.glyphs, ask, alpha, NO_RUNS_HERE))

    def action_open(self) -> None:
        self.action_distribution()

    # --- rows ---

    def action_down(self) -> None:
        self.table.move_by(1)

    def action_up(self) -> None:
        self.table.move_by(-1)

    def action_page_down(self) -> None:
        self.table.move_by(self.table.page)

    def action_page_up(self) -> None:
        self.table.move_by(-self.table.page)

    def action_top(self) -> None:
        self.table.move_by(-len(self.table.points))

    def action_bottom(self) -> None:
        self.table.move_by(len(self.table.points))

    def action_sort(self) -> None:
        if self.explorer is not None:
            sort = self.explorer.chosen.sort
            self._sort_by(SORTS[(SORTS.index(sort) + 1) % len(SORTS)])

    def _sort_by(self, name: str) -> None:
        if self.explorer is not None and name in SORTS:
            self.explorer.chosen.sort = name
            self.hints.say(f"sorted by {name}" if name != "forward" else "in forward order")
            self.refill()

    def action_reverse(self) -> None:
        if self.explorer is not None:
            self.explorer.chosen.reverse = not self.explorer.chosen.reverse
            self.refill()

    @on(TableHeader.Clicked)
    def _on_header_clicked(self, event: TableHeader.Clicked) -> None:
        if self.explorer is not None and event.column == self.explorer.chosen.sort:
            self.action_reverse()
        else:
            self._sort_by(event.column)

    # --- the filter ---

    def action_filter(self) -> None:
        """What is filtered is to be seen."""
        self.activate("list")
        super().action_filter()

    def filter_typed(self, text: str) -> None:
        if self.explorer is not None:
            self.explorer.chosen.text = text
            self.refill()

    def filter_closed(self) -> None:
        self.set_focus(None)

    def filter_dropped(self) -> None:
        self.set_focus(None)
        self.filter_typed("")

    # --- taking along, leaving ---

    def action_copy_row(self) -> None:
        """Tab-separated: point, rule, alpha, bits, and the cells of the table."""
        x, point = self.explorer, self.table.point
        if x is None or point is None:
            return
        chosen = x.chosen
        shown_at = ALPHAS[x.index] if x.exact_of(point) is None else chosen.alpha
        alpha = alpha_text(shown_at) if x.has_alpha else ""
        cells = [cell(x, point, c) for c in ("scale", "clipped", "dB 8", "dB 4", "lost", "best alpha", "lies at")]
        copy_to_terminal(self.app, columns(x.grid.names[point], chosen.rule, alpha, str(chosen.bits), *cells))
        self.hints.say("sent to the terminal's clipboard: the row")

    def action_copy_command(self) -> None:
        x = self.explorer
        if x is None:
            return
        words = ["qinspect", "alpha", self.wanted.run, "--rule", x.chosen.rule, "--bits", str(x.chosen.bits)]
        words += ["--alpha", alpha_text(x.chosen.alpha)] if x.has_alpha else []
        words += ["--checkpoint", self.wanted.checkpoint] if self.wanted.checkpoint else []
        command = f"{shell_words(words)} | cat"
        copy_to_terminal(self.app, command)
        self.hints.say(f"sent to the terminal's clipboard: {shown(command, 200)}")

    def names_to_jump_to(self) -> list[str]:
        return list(self.explorer.grid.names) if self.explorer is not None else []

    def jumped_to(self, name: str) -> None:
        x = self.explorer
        if x is not None:
            if x.grid.names.index(name) not in self.table.points:
                x.chosen.text = ""  # whatever is filtered away now
                self.refill()
            self.table.move_to(self.table.points.index(x.grid.names.index(name)))

    def view_table(self) -> Table | None:
        x = self.explorer
        if x is None:
            return None
        names = ("point", "scale", "clipped", "coverage", "dB 8", "dB 4", "lost", "best alpha", "lies at")
        rows = [(x.grid.names[p], *(cell(x, p, c) for c in names[1:])) for p in self.table.points]
        return Table(tuple(map(Column, names)), rows)

    def action_close(self) -> None:
        """Drop the filter, then the zoom, then leave; what is being computed ends."""
        x = self.explorer
        if x is not None and x.chosen.text:
            self.action_drop_text()
        elif self.zoomed:
            self.action_zoom()
        else:
            self.action_quit()

    def action_quit(self) -> None:
        self.workers.cancel_group(self, "explore")
        if self.is_root:
            self.app.exit()
        else:
            self.dismiss()
