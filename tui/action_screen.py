"""What every full screen with a table of actions has: its palette, the theme, a fresh painting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from textual.screen import Screen

from qinspect.tui.actions import actions_of, key_text, keys_now
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.host import host_of
from qinspect.tui.pane import Pane
from qinspect.tui.theme import THEMES


class ActionScreen(Screen[None]):
    """A screen whose keys are the actions of a table."""

    @property
    def active_pane(self) -> Pane | None:
        """The pane whose keys come before the screen's, where it is one that owns any."""
        return None

    @property
    def panes(self) -> Sequence[Pane]:
        """Those whose `EVERYWHERE` is served from any pane."""
        return ()

    def owner_of(self, name: str) -> Pane | Self:
        """Who serves an action now: the active pane, else a pane that does from everywhere, else the screen."""
        pane = self.active_pane
        if pane is not None and pane.serves(name):
            return pane
        return next((p for p in self.panes if name in p.EVERYWHERE), self)

    def action_act(self, name: str) -> object:
        """What every key does."""
        return getattr(self.owner_of(name), f"action_{name}")()

    def action_palette(self) -> None:
        """Every action, found by its name or its sentence."""
        keys, actions = keys_now(self), actions_of(self)
        lines = {f"{a.name}: {a.help}  ({', '.join(map(key_text, keys[a.name])) or 'no key'})": a for a in actions}

        def run(line: str | None) -> None:
            action = lines.get(line or "")
            if action is not None:
                self.call_later(self.action_act, action.name)

        self.app.push_screen(JumpScreen(list(lines)), run)

    def action_theme(self) -> None:
        names = [t.name for t in THEMES]
        self.app.theme = names[(names.index(self.app.theme) + 1) % len(names)]
        self.theme_changed()

    def theme_changed(self) -> None:
        """Draw anew what has colours of its own."""

    def action_repaint(self) -> None:
        host_of(self).repaint()

    def action_suspend(self) -> None:
        host_of(self).suspend_to_shell()
