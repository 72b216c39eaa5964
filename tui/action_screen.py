"""What every full screen with a table of actions has: help, palette, jump, saving, labels of panes, themes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, ClassVar, Self

from textual.geometry import Region
from textual.screen import Screen

from qinspect.tui.actions import actions_of, key_text, keys_now
from qinspect.tui.dialogs.export import ExportScreen
from qinspect.tui.dialogs.help import HelpScreen
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.dialogs.pane_labels import PaneLabels
from qinspect.tui.glyphs import glyphs_for_locale
from qinspect.tui.host import host_of
from qinspect.tui.key_names import with_keys
from qinspect.tui.later import is_going
from qinspect.tui.names import shown
from qinspect.tui.outside import write_view
from qinspect.tui.pane import Pane
from qinspect.tui.theme import THEMES
from qinspect.tui.widgets.bars import HintBar

if TYPE_CHECKING:
    from qinspect.inspector.table import Table


class ActionScreen(Screen[None]):
    """A screen whose keys are the actions of a table."""

    SIGNS: ClassVar[tuple[str, ...]] = ()
    """Which tables of signs the help shows first."""
    JUMP_HINT: ClassVar[str] = "letters of a name"
    ONE_PLACE: ClassVar[str] = "there is one pane to be seen: it has the keys"
    """Said where there are no labels to choose from."""
    LABELLED: ClassVar[tuple[str, ...]] = ()
    """Panes that can be gone to by name; `NAME-title` is where a label stands."""

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

    async def action_act(self, name: str) -> None:
        """What every key does. One that was pressed before there was anything to act on waits for it: it comes in its
        turn, and those behind it wait too."""
        if not self.is_mounted:
            await self._mounted_event.wait()
        if not is_going(self):
            done = self.act(name)
            if isawaitable(done):
                await done

    def act(self, name: str) -> object:
        """Let the one who serves an action do it."""
        return getattr(self.owner_of(name), f"action_{name}")()

    def say(self, text: str) -> None:
        """A word for the bottom line."""
        self.query_one(HintBar).say(text)

    # --- finding ---

    def action_help(self) -> None:
        pane = self.active_pane
        told = pane.ACTIONS | pane.SENTENCES.keys() if pane is not None else ()
        of_pane = {name: pane.SENTENCES.get(name, "") for name in told} if pane is not None else {}
        self.app.push_screen(HelpScreen(glyphs_for_locale(), keys_now(self), actions_of(self), of_pane, self.SIGNS))

    def more_in_palette(self) -> Mapping[str, Callable[[], None]]:
        """Lines of the palette that no key has, and what each does."""
        return {}

    def action_palette(self) -> None:
        """Every action, found by its name or its sentence."""
        keys, actions = keys_now(self), actions_of(self)
        told = ((a, with_keys(a.help), ", ".join(map(key_text, keys[a.name])) or "no key") for a in actions)
        lines: dict[str, Callable[[], object]] = {
            f"{a.name}: {said}  ({bound})": partial(self.action_act, a.name) for a, said, bound in told
        }
        lines |= self.more_in_palette()

        def run(line: str | None) -> None:
            action = lines.get(line or "")
            if action is not None:
                self.call_later(action)

        self.app.push_screen(JumpScreen(list(lines), "letters of an action's name or sentence"), run)

    def names_to_jump_to(self) -> Sequence[str]:
        """What `jump` finds."""
        return ()

    def jumped_to(self, name: str) -> None:
        """One of these was chosen."""

    def action_jump(self) -> None:
        names = self.names_to_jump_to()

        def go(name: str | None) -> None:
            if name:
                self.jumped_to(name)

        if names:
            self.app.push_screen(JumpScreen(list(names), self.JUMP_HINT), go)
        else:
            self.say("there is nothing to jump to")

    # --- panes ---

    def places_to_label(self) -> dict[str, Region]:
        """Name to the place that a label stands on, of the panes that are seen."""
        titles = {w.id.removesuffix("-title"): w for w in self.query(".title") if w.id and w.id.endswith("-title")}
        return {name: w.region for name, w in titles.items() if w.region and name in self.LABELLED}

    def activate(self, name: str) -> None:
        """Go to what a label stood on."""
        raise NotImplementedError

    def action_label_panes(self) -> None:
        """A letter on every pane that is seen; the next key goes there."""
        places = self.places_to_label()

        def go(name: str | None) -> None:
            if name:
                self.activate(name)

        if len(places) < 2:
            self.say(self.ONE_PLACE)
        else:
            self.app.push_screen(PaneLabels(places), go)

    # --- taking along ---

    def view_table(self) -> Table | None:
        """The rows that a saved view has besides its picture; None where it has none."""
        return None

    def view_json(self) -> object:
        """What a view saved as JSON has: its rows, unless a screen knows better."""
        table = self.view_table()
        names = [c.name for c in table.columns] if table else []
        return [dict(zip(names, row, strict=True)) for row in (table.rows if table else ())]

    def action_export(self) -> None:
        self.app.push_screen(ExportScreen(self.view_table() is not None), self._export)

    def _export(self, kind: str | None) -> None:
        if not kind:
            return
        try:
            path = write_view(kind, self)
        except OSError as e:
            self.say(f"not saved: {e.strerror or e}")
        else:
            self.say(f"saved {shown(str(path))}")

    # --- how it looks ---

    def action_theme(self) -> None:
        names = [t.name for t in THEMES]
        self.app.theme = names[(names.index(self.app.theme) + 1) % len(names)]
        self.theme_changed()

    def theme_changed(self) -> None:
        """Draw anew what has colours of its own."""

    def action_repaint(self) -> None:
        host_of(self).repaint()

    async def action_leave(self) -> None:
        await self.app.action_quit()

    def action_suspend(self) -> None:
        host_of(self).suspend_to_shell()
