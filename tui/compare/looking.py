"""Actions of the group Looking."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from textual import on, work
from textual.message import Message

from qinspect.inspector.compare.results import ScalePair
from qinspect.tui.compare.base import CompareBase
from qinspect.tui.compare.session import Session
from qinspect.tui.later import is_going
from qinspect.tui.names import shown

if TYPE_CHECKING:
    from qinspect.inspector.calibration.at_hand import AtHand
    from qinspect.tui.distribution.weights import WeightSource


class RunFound(Message):
    """The run that has the point of a scale, or why there is none."""

    def __init__(self, pair: ScalePair, found: AtHand | str) -> None:
        super().__init__()
        self.pair, self.found = pair, found


class Looking(CompareBase):
    """Views of the detail pane, folding, zoom, themes."""

    _weights: WeightSource | None = None
    """What was counted of this session's weights."""

    def action_fold_all(self) -> None:
        if self.on_plot:
            self.zoom_axis(2)
        else:
            self.layers_tree.close_all()

    def action_fold_one_more(self) -> None:
        if self.on_plot:
            self.zoom_axis(0.5)
        else:
            self.layers_tree.open_one_more()

    def _look_at(self, view: str) -> None:
        self.view = view
        self.hints.say("")
        if self.active == "overview":
            self.activate("table")
        self.show_selected()

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

    def action_distribution(self) -> None:
        """The exact distribution of the tensor under the cursor. Imported now: it needs numpy."""
        if self.session.a is None:
            return
        from qinspect.tui.distribution.screen import DistributionScreen
        from qinspect.tui.distribution.weights import NO_ACTIVATIONS, WeightSource, role_of_node, role_of_pair

        node, pair = self.layers_tree.node, self.table.pair
        if self.active == "tree" and node is not None and node.is_leaf:
            role, why = role_of_node(self.session, node)
        elif pair is not None:
            role, why = role_of_pair(self.session, pair)
        else:
            role, why = "", "choose a tensor, or a weight's scale"
        if self.active == "tree" and node is not None and node.is_leaf:
            keys = {e.name for e in (node.a, node.b) if e}
            pair = next(
                (p for p in self.session.pairs if keys & {p.record.key, *(c.key for c in p.record.copies)}), None
            )
        if not role and pair is not None and why == NO_ACTIVATIONS:
            self.hints.work("looking for a run that has this point")
            self._look_for_run(pair)
            return
        if not role:
            self.hints.say(why)
            return
        if self._weights is None or self._weights.session is not self.session:
            self._weights = WeightSource(self.session)
        self.app.push_screen(DistributionScreen(self._weights, role, self.glyphs))

    @work(thread=True, exclusive=True, exit_on_error=False, group="run at hand")
    def _look_for_run(self, pair: ScalePair) -> None:
        """The distribution behind an activation's scale: of the run that the noise bands are made by, or of another."""
        from qinspect.inspector.calibration.at_hand import calibration_with, why_none

        formats = [f for f in (self.session.a, self.session.b) if f]
        found = calibration_with(pair.role, formats)
        self.post_message(RunFound(pair, found or why_none(pair.role, formats)))

    @on(RunFound)
    def _on_run_found(self, event: RunFound) -> None:
        pair, found = event.pair, event.found
        if not isinstance(found, str) and (is_going(self) or self.app.screen is not self):
            found.calibration.close()
            return
        from qinspect.tui.distribution.run_points import RunSource, StoredScales
        from qinspect.tui.distribution.screen import DistributionScreen

        self.hints.work("")
        if isinstance(found, str):
            self.hints.say(found)
            return
        formats = {label: f for label, f in (("A", self.session.a), ("B", self.session.b)) if f}
        name = shown(found.run.spec.name or found.run.id, 60)
        sure = "" if found.of_model else "; whether it is of this model is not known"
        said = f"activations of run {name}, with the stored scales of A and B{sure}"
        if len(formats) == 1:
            said = f"activations of run {name}, with the stored scale of A{sure}"
        source = RunSource(found.calibration, StoredScales(formats, name, said))
        at = found.calibration.point(pair.role).name
        ask = partial(self.app.apply_alpha, found.run, self.session.path_a)  # type: ignore[attr-defined]
        self.app.push_screen(DistributionScreen(source, at, self.glyphs, ask), lambda _: found.calibration.close())

    def action_log_scale(self) -> None:
        self.options = replace(self.options, log_counts=not self.options.log_counts)
        self.show_selected()

    def action_log_axis(self) -> None:
        self.options = replace(self.options, log_axis=not self.options.log_axis)
        self.show_selected()

    def zoom_axis(self, factor: float) -> None:
        self.options = replace(self.options, zoom=min(1.0, max(1e-4, self.options.zoom * factor)))
        self.after_rest(self.show_selected)

    def action_verdict(self) -> None:
        if not self.verdict_text:
            self.hints.say("no comparison yet" if self.session.two else "one model: no verdict")
            return
        self.activate("detail")
        self.show_verdict()

    def action_zoom(self) -> None:
        name = "table" if self.active == "overview" else self.active
        self.zoom_pane("" if self.zoomed else name)

    def theme_changed(self) -> None:
        self.show_selected()

    def action_reload(self) -> None:
        """As if the program were started again; the view, the filter and the place in the table stay."""
        old = self.session
        self.session = Session(old.path_a, old.path_b, old.noise, old.noise_run)
        self.app.session = self.session  # type: ignore[attr-defined]
        self._changed = []
        self._paths.clear()
        self.table.forget_values()
        self.show_headline("opening")
        self.show_models()
        self.open_models()
