"""The keys of dialogs. What the screens have too (moving, closing, help) has the keys that it has there; in a dialog
that is typed into, those of them that are no letters."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType

from qinspect.tui.actions import BY_NAME

HELP, TYPED, SAVE, ASK, FORM = "help", "typed", "save", "question", "form"
TITLES = {
    HELP: "The help",
    TYPED: "Jump, palette, and other lines that are typed",
    SAVE: "Saving a view",
    ASK: "A question",
    FORM: "The form that starts a run",
}


@dataclass(frozen=True, slots=True)
class DialogKey:
    """dialog: one of TITLES. keys: its own. does: what Textual calls. like: actions of the screens whose keys it has
    too."""

    dialog: str
    keys: tuple[str, ...]
    does: str
    help: str
    like: tuple[str, ...] = ()

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Its own, and those of the screens' actions."""
        found = [key for name in self.like for key in BY_NAME[name].keys]
        is_typed = self.dialog in (TYPED, FORM)
        return (*self.keys, *(key for key in found if not is_typed or _is_no_letter(key)))


def _is_no_letter(key: str) -> bool:
    return key in ("down", "up", "pagedown", "pageup", "escape") or key.startswith("f1")


DIALOG_KEYS = (
    DialogKey(HELP, (), "dismiss", "Close it.", ("close", "quit", "help", "open")),
    DialogKey(HELP, (), "scroll(1)", "A line down.", ("down",)),
    DialogKey(HELP, (), "scroll(-1)", "A line up.", ("up",)),
    DialogKey(HELP, (), "scroll(15)", "A page down.", ("page_down",)),
    DialogKey(HELP, (), "scroll(-15)", "A page up.", ("page_up",)),
    DialogKey(HELP, (), "scroll(-100000)", "To the top.", ("top",)),
    DialogKey(HELP, (), "scroll(100000)", "To the end.", ("bottom",)),
    DialogKey(TYPED, (), "dismiss('')", "Close it.", ("close",)),
    DialogKey(TYPED, ("ctrl+n",), "move(1)", "The next name.", ("down",)),
    DialogKey(TYPED, ("ctrl+p",), "move(-1)", "The name before.", ("up",)),
    DialogKey(TYPED, (), "move(15)", "A page of names down.", ("page_down",)),
    DialogKey(TYPED, (), "move(-15)", "A page of names up.", ("page_up",)),
    DialogKey(SAVE, ("s",), "take('svg')", "SVG, the screen as it is."),
    DialogKey(SAVE, ("t",), "take('txt')", "Text, the screen as it is."),
    DialogKey(SAVE, ("c",), "take('csv')", "CSV, the rows shown."),
    DialogKey(SAVE, ("j",), "take('json')", "JSON, the rows shown."),
    DialogKey(SAVE, ("m",), "take('md')", "Markdown, the rows shown."),
    DialogKey(SAVE, (), "dismiss('')", "Close it.", ("close", "quit")),
    DialogKey(ASK, ("y",), "dismiss(True)", "Yes."),
    DialogKey(ASK, ("n",), "dismiss(False)", "No.", ("close", "quit")),
    DialogKey(FORM, (), "dismiss('')", "Close it.", ("close",)),
    DialogKey(FORM, (), "step(1)", "The next field.", ("down",)),
    DialogKey(FORM, ("shift+tab",), "step(-1)", "The field before.", ("up",)),
    DialogKey(FORM, ("tab",), "complete", "Complete a path; the next field where there is none."),
    DialogKey(FORM, ("ctrl+t",), "templates", "Choose a template."),
    DialogKey(FORM, ("ctrl+n",), "template(1)", "The next template."),
    DialogKey(FORM, ("ctrl+p",), "template(-1)", "The template before."),
    DialogKey(FORM, (), "step(8)", "Eight fields down.", ("page_down",)),
    DialogKey(FORM, (), "step(-8)", "Eight fields up.", ("page_up",)),
)


def dialog_bindings(dialog: str) -> list[BindingType]:
    """Of one dialog. With priority: a key is served before the next one is looked at."""
    return [
        Binding(",".join(k.all_keys), k.does, k.help, show=False, priority=True)
        for k in DIALOG_KEYS
        if k.dialog == dialog
    ]
