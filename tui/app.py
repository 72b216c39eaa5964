"""The full-screen app: themes, remembered settings, signals, and what is left behind by a crash."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from textual import events
from textual.app import App
from textual.filter import LineFilter

from qinspect.tui import settings
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import BY_NAME
from qinspect.tui.border import with_border
from qinspect.tui.compare.screen import CANNOT_OPEN, CompareScreen
from qinspect.tui.compare.session import Session
from qinspect.tui.glyphs import ASCII, glyphs_for_locale
from qinspect.tui.key_names import key, use_keys
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.runs.service import RunsService
from qinspect.tui.suspending import NO_SHELL, has_job_control
from qinspect.tui.terminal import Terminal
from qinspect.tui.theme import ANSI, DARK, THEMES
from qinspect.tui.widgets.bars import HintBar

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run
    from qinspect.tui.alpha.alpha_words import AlphaWords
    from qinspect.tui.runs.screen import RunsScreen


FIRST_THEME = {settings.FEW_COLORS: ANSI.name}
"""Of a kind of terminal: what comes out of other themes where there are sixteen colours, nobody chose."""


class QinspectApp(App[None]):
    """Opens the compare screen on one or two models; the alpha explorer on a run; the runs screen without any."""

    CSS_PATH = "qinspect.tcss"
    TITLE = "qinspect"
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        path_a: str | None,
        path_b: str | None = None,
        theme: str | None = None,
        noise: tuple[str, ...] = (),
        noise_run: str | None = None,
        alphas: AlphaWords | None = None,
    ) -> None:
        super().__init__(driver_class=Terminal)
        self.alphas = alphas
        self.session = Session(path_a or "", path_b, noise, noise_run)
        self.has_models = path_a is not None
        self.runs = RunsService(self)
        self.remembered = settings.load_state()
        self.crash_report: Path | None = None
        self._given_theme = theme
        self._said_slow = False
        names = [t.name for t in THEMES]
        wanted = theme or self.remembered.themes.get(self.terminal_colors)
        self._first_theme = wanted if wanted in names else FIRST_THEME.get(self.terminal_colors, DARK.name)

    @property
    def terminal_colors(self) -> str:
        """Which kind of terminal this is."""
        if self.no_color or self.console.color_system is None:
            return settings.NO_COLORS
        few = self.console.color_system in ("standard", "windows")
        return settings.FEW_COLORS if few else settings.MANY_COLORS

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The variables that our themes add, for the moment before one is chosen."""
        return dict(DARK.variables)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's, behind the one that lets no text through that a terminal would obey."""
        return with_border(super().get_line_filters())

    def copy_to_clipboard(self, text: str) -> None:
        """What Textual itself copies: a selection."""
        copy_to_terminal(self, text)

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self._first_theme
        problems = self._read_config()
        self.set_class(glyphs_for_locale() is ASCII, "plain")
        if self.alphas is not None:
            self.show_alphas(self.alphas)
        elif self.has_models:
            glyphs = glyphs_for_locale()
            view = self.remembered.view_of(self.session.path_a, self.session.path_b)
            self.push_screen(CompareScreen(self.session, glyphs, self.runs, problems, view))
            self.runs.start()
        else:
            self.show_runs(is_root=True, notice=problems)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)

    def show_runs(self, choose: str = "", is_root: bool = False, notice: str = "") -> RunsScreen:
        """The runs screen, with the cursor on one of them. Imported now: most who compare models never open it."""
        from qinspect.tui.runs.screen import RunsScreen

        glyphs = glyphs_for_locale()
        screen = RunsScreen(self.runs, glyphs, is_root, choose, notice)
        self.push_screen(screen)
        return screen

    def apply_alpha(self, run: Run, to: str, alpha: float | None = None) -> None:
        """The form that puts an alpha of a calibration into a checkpoint, over the runs screen, where the run that it
        starts is seen."""
        screen = self.show_runs(run.id)
        screen.call_after_refresh(screen.ask_to_apply, run, alpha, to)

    def open_model(self, path: str, other: str | None = None) -> None:
        """What a run made, one or two models, over the runs; `q` leads back to them."""
        from qinspect.tui.compare.output import OutputScreen

        glyphs = glyphs_for_locale()
        view = self.remembered.view_of(path, other)
        self.push_screen(OutputScreen(Session(path, other), glyphs, self.runs, view=view))

    def show_alphas(self, wanted: AlphaWords) -> None:
        """The alpha explorer alone. Imported now: it needs numpy."""
        from qinspect.inspector.calibration.stored import calibration_named
        from qinspect.tui.alpha.screen import ExploreScreen

        glyphs = glyphs_for_locale()
        screen = ExploreScreen(lambda: calibration_named(wanted.run), wanted, glyphs, is_root=True)
        self.push_screen(screen)

    def _read_config(self) -> str:
        """Bindings and notifications from the config file; returns what is wrong with it, "" where nothing is."""
        use_keys({})
        try:
            keys = settings.load_keys()
            self.runs.notify = settings.load_notify()
        except settings.BadConfig as e:
            return str(e)
        self.set_keymap(keys)
        use_keys(keys)
        return settings.clashing_keys(keys)

    async def on_event(self, event: events.Event) -> None:
        """A key ends what the last one had to say. What was typed before we went to the shell and not served by then
        was meant for the shell."""
        if isinstance(event, events.Key | events.Paste | events.MouseEvent) and event.time < self._resumed_at:
            return
        if isinstance(event, events.Key) and not event.is_forwarded:
            if event.key in self._suspend_keys and not isinstance(self.screen, ActionScreen):  # a dialog
                self.suspend_to_shell()
                return
            for hints in self.screen.query(HintBar):
                hints.fade()
        await super().on_event(event)

    def _on_signal(self, number: int) -> None:
        """The connection or the session went away: leave in order, so that the terminal is restored."""
        self.call_later(self.exit, return_code=128 + number)

    def on_slow_terminal(self) -> None:
        """Writes back up: offer what helps, once."""
        if not self._said_slow and self.theme != ANSI.name:
            self._said_slow = True
            self.notify(
                f"This connection is slow. 16 colours need fewer bytes: {key('theme')}, or start with --low-bandwidth.",
                markup=False,
            )

    def repaint(self) -> None:
        """Write the whole screen again: another program wrote over it."""
        if isinstance(self._driver, Terminal):
            self._driver.repaint()

    @property
    def _resumed_at(self) -> float:
        return self._driver.resumed_at if isinstance(self._driver, Terminal) else 0.0

    @property
    def _suspend_keys(self) -> tuple[str, ...]:
        keys = self._keymap.get("suspend")
        return tuple(keys.split(",")) if keys else BY_NAME["suspend"].keys

    def suspend_to_shell(self) -> None:
        """What ctrl+z does everywhere."""
        if not isinstance(self._driver, Terminal) or not has_job_control():
            self.notify(f"{NO_SHELL}. {key('quit')} leaves", markup=False)
            return
        self._suspend_signal()
        self._driver.suspend()

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Remember the view and the theme, then leave. (When the app is unmounted, its screens are gone.)"""
        state = settings.load_state()  # another one may have left since
        if self.theme not in (self._given_theme, self._first_theme):
            state = state.with_theme(self.terminal_colors, self.theme)
        for screen in self.screen_stack:
            if isinstance(screen, CompareScreen):
                state = state.with_view(screen.session.path_a, screen.session.path_b, screen.detail_pane.view)
        settings.save_state(state)
        self.runs.stop()
        super().exit(result, return_code, message)

    async def action_quit(self) -> None:
        """ctrl+q, which Textual takes everywhere: as leaving the models does, with its exit code."""
        s = self.session
        self.exit(return_code=CANNOT_OPEN if self.has_models and (s.error_a or s.error_b) else 0)

    def _handle_exception(self, error: Exception) -> None:
        """A bug in the program: leave a report, say where, restore the terminal."""
        self.crash_report = settings.write_crash_report("".join(traceback.format_exception(error)))
        super()._handle_exception(error)

    def _print_error_renderables(self) -> None:
        if self.crash_report is None:
            super()._print_error_renderables()
            return
        self._exit_renderables.clear()
        from qinspect.inspector.printing import narrate

        narrate(f"a bug in the program; the report is in {self.crash_report}")
