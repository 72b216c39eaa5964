"""Keys as pages of the documentation: docs/keys.md, the tables of docs/screen.md."""

from __future__ import annotations

from itertools import zip_longest

from qinspect.tui.actions import ACTIONS, ALL_ACTIONS, EVERYWHERE, OF_VIEWS, SCREENS, Action, key_text
from qinspect.tui.dialogs.keys import DIALOG_KEYS, TITLES
from qinspect.tui.key_names import with_built_in_keys

IN_KEY_TABLE = (
    *("down", "up", "expand", "collapse", "previous_difference", "go_to_index", "copy_command", "palette", "suspend"),
)
"""Actions that a newcomer needs besides those of the hint bar."""
RUNS_IN_KEY_TABLE = (
    *("remove_run", "again", "view_figures", "view_effect", "next_match", "follow", "wrap", "timestamps", "explore"),
    *("apply_alpha", "open_output"),
)
"""The same for the runs screen."""


def key_table(actions: tuple[Action, ...] = ACTIONS, more: tuple[str, ...] = IN_KEY_TABLE) -> str:
    """For docs/screen.md, two actions a line: those of the hint bar and of `more`, in the order of the help."""
    cells = [f"{_keys(a)} | {_sentence(a)}" for a in actions if a.label or a.name in more]
    half = (len(cells) + 1) // 2
    pairs = zip_longest(cells[:half], cells[half:], fillvalue=" | ")
    return "\n".join(["| key | does | key | does |", "|---|---|---|---|", *(f"| {a} | {b} |" for a, b in pairs)])


def _keys(action: Action) -> str:
    return " ".join(f"`{key_text(key)}`" for key in action.keys)


INTRODUCTION = """# Keys

A key means one thing on every screen; where a screen has nothing of the kind, it does nothing there. This page is made
of the table behind bindings, `?`, `:` and the bottom line (`tui/actions.py`). The last column is the name of an action
in the [config file](screen.md#settings), which gives it other keys."""

GROUPS = (
    ("Everywhere", "Moving, finding, copying, leaving.", EVERYWHERE),
    ("Views of what is under the cursor", "And how they are drawn.", OF_VIEWS),
    ("A screen's own", "These letters mean nothing on the other screens.", None),
)


def keys_page() -> str:
    """All of docs/keys.md: what every key is on every screen, then the actions by group."""
    parts = [INTRODUCTION, "## By key", _by_key()]
    for heading, said, senses in GROUPS:
        parts += [f"## {heading}", said, _of_group(senses)]
    return "\n\n".join([*parts, "## In a dialog", _of_dialogs()]) + "\n"


def _of_dialogs() -> str:
    rows = (
        f"| {TITLES[k.dialog]} | {' '.join(f'`{key_text(key)}`' for key in k.all_keys)} | {k.help.removesuffix('.')} |"
        for k in DIALOG_KEYS
    )
    return "\n".join(["| dialog | key | does |", "|---|---|---|", *rows])


def _by_key() -> str:
    keys = {key for actions in ALL_ACTIONS for a in actions for key in a.keys}
    lines = [f"| key | {' | '.join(SCREENS)} |", "|---" * (1 + len(SCREENS)) + "|"]
    for key in sorted(keys, key=_order):
        found = (next((a for a in actions if key in a.keys), None) for actions in ALL_ACTIONS)
        lines.append(f"| `{key_text(key)}` | {' | '.join(a.name.replace('_', ' ') if a else '' for a in found)} |")
    return "\n".join(lines)


def _order(key: str) -> tuple[int, str, bool]:
    """Letters, the small one before the capital; digits; signs; keys that have a name."""
    text = key_text(key)
    kind = 3 if len(text) > 1 else 0 if text.isalpha() else 1 if text.isdigit() else 2
    return kind, text.lower(), text.isupper()


def _of_group(senses: frozenset[str] | None) -> str:
    known = EVERYWHERE | OF_VIEWS
    of_sense: dict[str, dict[Action, None]] = {}
    for a in (a for actions in ALL_ACTIONS for a in actions):
        if a.means in senses if senses is not None else a.means not in known:
            of_sense.setdefault(a.means, {})[a] = None  # one sense's stand together
    lines = ["| key | does | screen | name |", "|---|---|---|---|"]
    for a in (a for found in of_sense.values() for a in found):
        where = ", ".join(screen for screen, actions in SCREENS.items() if a in actions)
        lines.append(f"| {_keys(a)} | {_sentence(a)} | {where} | `{a.name}` |")
    return "\n".join(lines)


def _sentence(action: Action) -> str:
    said = with_built_in_keys(action.help)
    return said if said.endswith("...") else said.removesuffix(".")
