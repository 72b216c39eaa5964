"""The way from a scale, or an entry of the tree, to the exact distribution behind it. What needs numpy comes late."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from qinspect.inspector.compare.paired_tree import PairedNode
from qinspect.inspector.compare.results import ScalePair
from qinspect.tui.compare.session import Session
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.host import host_of
from qinspect.tui.key_names import key
from qinspect.tui.later import is_going
from qinspect.tui.names import shown
from qinspect.tui.widgets.bars import HintBar

if TYPE_CHECKING:
    from qinspect.inspector.calibration.at_hand import AtHand
    from qinspect.tui.distribution.screen import DistributionScreen
    from qinspect.tui.distribution.weights import WeightSource


class Distributions:
    """Opens them over a screen; what was counted of a session's weights is kept with it."""

    def __init__(self, screen: Screen[Any], hints: HintBar, glyphs: Glyphs) -> None:
        self._screen, self._hints, self._glyphs = screen, hints, glyphs
        self._weights: WeightSource | None = None

    def open(self, session: Session, leaf: PairedNode | None, pair: ScalePair | None) -> None:
        """Of an entry of the tree, else of what a scale is a scale of."""
        if session.a is None:
            return
        from qinspect.tui.distribution.weights import NO_ACTIVATIONS, role_of_node, role_of_pair

        if leaf is not None:
            role, why = role_of_node(session, leaf)
            pair = _scale_of(session, leaf)
        elif pair is not None:
            role, why = role_of_pair(session, pair)
        else:
            role, why = "", "choose a tensor, or a weight's scale"
        if role:
            self._open_weight(session, role)
        elif pair is not None and why == NO_ACTIVATIONS:
            self._open_run(session, pair)
        else:
            self._hints.say(why)

    def _open_weight(self, session: Session, role: str) -> None:
        from qinspect.tui.distribution.screen import DistributionScreen
        from qinspect.tui.distribution.weights import WeightSource

        if self._weights is None or self._weights.session is not session:
            self._weights = WeightSource(session)
        self._screen.app.push_screen(DistributionScreen(self._weights, role, self._glyphs))

    def _open_run(self, session: Session, pair: ScalePair) -> None:
        """The distribution behind an activation's scale: of the run that the noise bands are made by, or of another."""

        def look() -> None:
            from qinspect.inspector.calibration.at_hand import calibration_with, why_none

            formats = [f for f in (session.a, session.b) if f]
            found: AtHand | str | None = calibration_with(pair.role, formats)
            if found is None:
                found = f"{why_none(pair.role, formats)}: {key('runs')}, then {key('start_run')}, calibrates"
            self._screen.app.call_from_thread(self._show_point, session, pair, found)

        self._hints.work("looking for a run that has this point")
        self._screen.run_worker(look, thread=True, exclusive=True, exit_on_error=False, group="run at hand")

    def _show_point(self, session: Session, pair: ScalePair, found: AtHand | str) -> None:
        """found: why there is none, where it is a sentence."""
        self._hints.work("")
        if isinstance(found, str):
            self._hints.say(found)
            return
        if is_going(self._screen) or self._screen.app.screen is not self._screen:  # it came too late
            found.calibration.close()
            return
        host = host_of(self._screen)
        made = _screen_of(session, pair, found, self._glyphs, lambda x: host.apply_alpha(found.run, session.path_a, x))
        self._screen.app.push_screen(made, lambda _: found.calibration.close())


def _scale_of(session: Session, leaf: PairedNode) -> ScalePair | None:
    keys = {e.name for e in (leaf.a, leaf.b) if e}
    return next((p for p in session.pairs if keys & {p.record.key, *(c.key for c in p.record.copies)}), None)


def _screen_of(
    session: Session, pair: ScalePair, found: AtHand, glyphs: Glyphs, apply: Callable[[float], None]
) -> DistributionScreen:
    from qinspect.tui.distribution.run_points import RunSource, StoredScales
    from qinspect.tui.distribution.screen import DistributionScreen

    formats = {label: f for label, f in (("A", session.a), ("B", session.b)) if f}
    name = shown(found.run.spec.name or found.run.id, 60)
    sure = "" if found.of_model else "; whether it is of this model is not known"
    said = f"activations of run {name}, with the stored scales of A and B{sure}"
    if len(formats) == 1:
        said = f"activations of run {name}, with the stored scale of A{sure}"
    source = RunSource(found.calibration, StoredScales(formats, name, said))
    return DistributionScreen(source, found.calibration.point(pair.role).name, glyphs, apply)
