"""Keys as sentences name them: those that the user's config file left to the actions. They are those of all of this
process, since sentences are made in threads too, and where no screen is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from textual.binding import BindingsMap

from qinspect.tui.actions import BY_NAME, SCREENS, bindings, key_text

_keymap: dict[str, str] = {}
_NAMED = re.compile(r"\{([a-z_]+)\}")


def use_keys(keymap: Mapping[str, str]) -> None:
    """Action name to keys, joined by commas, for those that have others than the built-in ones."""
    _keymap.clear()
    _keymap.update(keymap)


SHORT = {"escape": "esc"}
"""In titles and in the bottom line."""


def key(name: str) -> str:
    """The first key of an action, as it is written where there is little room. Without one, as an action whose key
    another one took: where it is found, `:name`."""
    found = _first_key(name)
    return SHORT.get(found, found)


def _first_key(name: str) -> str:
    for screen, actions in SCREENS.items():
        if any(a.name == name for a in actions):
            found = _keys_of(screen, tuple(_keymap.items())).get(name)
            if found:
                return key_text(found)
    return f":{name}"


def with_keys(sentence: str) -> str:
    """`{reverse}` in a sentence of our own is the key of that action."""
    return _NAMED.sub(lambda m: _first_key(m[1]), sentence)


def with_built_in_keys(sentence: str) -> str:
    """The same for a page of the documentation, whatever is bound here."""
    return _NAMED.sub(lambda m: key_text(BY_NAME[m[1]].keys[0]), sentence)


@cache
def _keys_of(screen: str, keymap: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The first key of each action of a screen that has one."""
    bound = BindingsMap(bindings(SCREENS[screen]))
    bound.apply_keymap(dict(keymap))
    found: dict[str, str] = {}
    for pressed, several in bound.key_to_bindings.items():
        found.setdefault(several[0].id or "", pressed)
    return found
