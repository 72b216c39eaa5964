"""Driving the screen in tests: open it on a checkpoint, press keys, wait for a state. Nothing sleeps for a time."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, chdir, contextmanager
from pathlib import Path
from unittest.mock import patch

from rich.console import RenderableType
from textual import events
from textual._compositor import Compositor
from textual._context import visible_screen_stack
from textual._styles_cache import StylesCache
from textual.dom import DOMNode
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

from qinspect.inspector.runs.show import Seen
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import actions_of
from qinspect.tui.alpha.alpha_words import AlphaWords
from qinspect.tui.alpha.base import ExploreBase
from qinspect.tui.app import QinspectApp
from qinspect.tui.compare.screen import CompareScreen
from qinspect.tui.runs.feed import Feed
from qinspect.tui.runs.log_pane import LogPane
from qinspect.tui.runs.screen import RunsScreen
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.log import LogView

PATIENCE_S = 60.0
"""How long a state may take to come on a busy machine; nobody waits that long unless the test fails."""

POLL_S, LONGEST_POLL_S = 0.001, 0.015
"""Between two looks at a state: longer and longer, since to look may mean to draw the whole screen."""

PAINTINGS = 5

CRASH_LOOKED_FOR_S = 1.0

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)
ALPHA_A = "m1_w8a8_pa0.9995/quamba-tiny-w8a8"
ALPHA_B = "m1_w8a8_pa0.99999/quamba-tiny-w8a8"
GROUPED = "m2_w4a8_gh_pa0.9995/quamba2-tiny-w4a8"
PERMUTED = "m2_w4a8_gh_perm/quamba2-tiny-w4a8"


CHARACTERS = {
    "space": " ",
    "full_stop": ".",
    "underscore": "_",
    "colon": ":",
    "slash": "/",
    "comma": ",",
    "dollar_sign": "$",
    "apostrophe": "'",
    "exclamation_mark": "!",
}


def handlers(of: type[DOMNode]) -> set[str]:
    """The names of the actions that a screen, or a pane, handles by itself, not by Textual; of what all screens have in
    common, those that its table names."""
    ours = [c for c in of.__mro__ if c.__module__.startswith("qinspect.") and c is not ActionScreen]
    shared = actions_of(of) if issubclass(of, ActionScreen) else ()  # type: ignore[arg-type]
    common = {a.name for a in shared if f"action_{a.name}" in vars(ActionScreen)}
    own = {n.removeprefix("action_") for c in ours for n in vars(c) if n.startswith("action_")}
    return own - {"act"} | common


@contextmanager
def in_empty_folder() -> Iterator[Path]:
    """Saved views go to the working folder."""
    with tempfile.TemporaryDirectory() as name, chdir(name):
        yield Path(name)


@contextmanager
def forgotten_lines() -> Iterator[None]:
    """A cache of Textual's, of the class, keeps what the last thousand widgets have painted: a million objects, which
    every search for cycles would walk through."""
    yield
    StylesCache.get_inner_outer.cache_clear()


class PutOff:
    """What is painted is thrown away where there is no terminal: widgets draw their lines when the screen has settled,
    and where somebody looks, not with every state on the way there, and nobody joins the lines for a terminal."""

    def __init__(self) -> None:
        self.settled = False
        self.as_textual = Compositor.render_update

    @contextmanager
    def in_place(self) -> Iterator[PutOff]:
        """While a screen is open."""

        def render_update(
            of: Compositor, full: bool = False, screen_stack: list[Screen[object]] | None = None, simplify: bool = False
        ) -> RenderableType | None:
            if full:
                return self.as_textual(of, full, screen_stack, simplify)
            if self.settled:
                visible_screen_stack.set(screen_stack or [])
                self._draw(of)
            return None

        with patch.object(Compositor, "render_update", render_update):
            yield self

    @staticmethod
    def _draw(of: Compositor) -> None:
        """Have every line drawn that changed."""
        changed = Region.from_union(of._dirty_regions or [Region()]).intersection(of.size.region)
        of._dirty_regions.clear()
        for _ in of._get_renders(changed):
            pass

    def paint(self, screen: Screen[object]) -> None:
        """What is to be painted by now."""
        self.settled = True
        try:
            screen._compositor_refresh()
        finally:
            self.settled = False


class Driver:
    """An open screen. What tests look at has a name here."""

    def __init__(self, app: QinspectApp, pilot: Pilot[None], painting: PutOff) -> None:
        self.app = app
        self.pilot = pilot
        self.painting = painting

    @property
    def screen(self) -> CompareScreen:
        """The compare screen, whatever lies over it."""
        return next(s for s in self.app.screen_stack if isinstance(s, CompareScreen))

    @property
    def runs(self) -> RunsScreen:
        """The runs screen, whatever lies over it."""
        return next(s for s in self.app.screen_stack if isinstance(s, RunsScreen))

    @property
    def log_pane(self) -> LogPane:
        """The view of a run's log."""
        return self.runs.run_pane.log_pane

    @property
    def log_view(self) -> LogView:
        """The lines in it."""
        return self.log_pane.log_view

    @property
    def seen_run(self) -> Seen | None:
        """The run that the runs screen shows, None for none."""
        run = self.runs.run_pane.shown
        return run.seen if run else None

    @property
    def feed(self) -> Feed | None:
        """What is known of its journal."""
        run = self.runs.run_pane.shown
        return run.feed if run else None

    @property
    def painted(self) -> str:
        """Everything that is painted."""
        return "\n".join(self.rows())

    @property
    def role(self) -> str:
        """The selected scale, "" where there is none."""
        pair = self.screen.table_pane.scales.pair
        return pair.role if pair else ""

    @property
    def roles(self) -> list[str]:
        """The scales in the table."""
        return [p.role for p in self.screen.table_pane.scales.pairs]

    @property
    def tree_paths(self) -> list[str]:
        """The nodes in the tree."""
        return [r.node.path for r in self.screen.tree_pane.nodes.rows]

    @property
    def detail(self) -> str:
        """The text of the detail pane, scrolled away or not."""
        return "\n".join(self.screen.detail_pane.text.plain)

    def text_of(self, selector: str) -> str:
        """What a line of text says."""
        widget = self.screen.query_one(selector)
        if isinstance(widget, TitleLine):
            return widget.text
        assert isinstance(widget, Static)
        return str(widget.content)

    def rows(self) -> list[str]:
        """Everything that is painted, a line each."""
        visible_screen_stack.set(self.app._background_screens)  # seen through a dialog
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    async def until(self, predicate: Callable[[], object], what: str = "") -> None:
        """Wait for a state."""
        end, pause = asyncio.get_running_loop().time() + PATIENCE_S, POLL_S
        while not predicate():
            self.raise_crash()
            assert asyncio.get_running_loop().time() < end, f"never came: {what or predicate}\n" + "\n".join(
                self.rows()
            )
            await asyncio.sleep(pause)
            pause = min(1.25 * pause, LONGEST_POLL_S)
            if self.app._running and self.app.screen_stack:
                self.app.screen._on_timer_update()

    def raise_crash(self) -> None:
        """A crashed program answers no more: what crashed it fails the test."""
        if self.app.crash_report is not None and self.app._exception is not None:
            raise self.app._exception

    async def settle(self) -> None:
        """Wait until no thread works, no timer is to come, every message was taken, and the layout is made."""

        def quiet() -> bool:
            if self.app._exit:
                return True
            shown = self.app.screen
            waits = any(getattr(s, "waits", False) for s in self.app.screen_stack)
            to_come = shown._layout_required or shown._layout_widgets or waits
            if to_come or not all(w.is_finished for w in self.app.workers):
                return False  # a message climbs through one queue after another
            return all(w._message_queue.empty() for w in (*shown.walk_children(with_self=True), self.app))

        for _ in range(PAINTINGS):  # what is painted first may ask for the numbers that it shows
            for _ in range(2):  # what a worker posted last may start another, and change the layout
                await self.until(quiet, "an idle screen")
                await self.pilot.pause(0)
            await self.until(quiet, "an idle screen")
            if not await self._paint():
                return

    async def _paint(self) -> bool:
        """As the screen does by itself: what fails there ends the program. Returns whether there was anything to do."""
        screen = self.app.screen
        if self.app._exit or not screen._compositor._dirty_regions:
            return False
        screen.call_later(self.painting.paint, screen)
        await self.pilot.pause(0)
        return True

    async def press(self, *keys: str) -> None:
        """Press keys, and wait for all that follows from them."""
        await self.send(*keys)
        await self.settle()

    async def send(self, *keys: str) -> None:
        """Press keys as fast as the screen takes them. (The pilot's own `press` waits 40 ms after every key.)"""
        for key in keys:
            taken = asyncio.Event()
            character = key if len(key) == 1 else CHARACTERS.get(key)
            self.app.post_message(events.Key(key, character))
            self.app.call_later(taken.set)
            await self._answer(taken)
            await self.pilot.pause(0)

    async def _answer(self, taken: asyncio.Event) -> None:
        waiting = asyncio.create_task(taken.wait())
        try:
            while not waiting.done():
                self.raise_crash()
                await asyncio.wait([waiting], timeout=CRASH_LOOKED_FOR_S)
        finally:
            waiting.cancel()

    async def type(self, text: str) -> None:
        """Press a key for every letter."""
        names = {character: key for key, character in CHARACTERS.items()}
        await self.press(*(names.get(c, c) for c in text))


@asynccontextmanager
async def open_app(
    a: str | Path | None = None,
    b: str | Path | None = None,
    size: tuple[int, int] = MIDDLE,
    wait: bool = True,
    alphas: AlphaWords | None = None,
    overview: bool = False,
) -> AsyncIterator[Driver]:
    """The screen on one or two checkpoints, on the alphas of a calibration, on the runs without; wait: until everything
    is opened and compared. overview: stay on the map that it opens on."""
    app = QinspectApp(None if a is None else str(a), None if b is None else str(b), alphas=alphas)
    with PutOff().in_place() as painting, forgotten_lines():
        async with app.run_test(size=size) as pilot:
            driver = Driver(app, pilot, painting)
            await driver.until(lambda: isinstance(app.screen, CompareScreen | RunsScreen | ExploreBase), "the screen")
            if isinstance(app.screen, CompareScreen) and not overview:
                app.screen.activate("tree")
            if wait:
                await driver.settle()
            yield driver
