"""The settings that a command line asks for, from the arguments of a run or from a command that a log repeats."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from qinspect.inspector.text import visible
from qinspect.inspector.withheld import withhold_value

Value = str | int | float | bool
MAX_OPTIONS = 200
_COMMAND = re.compile(
    r"(?:\+ |\$ |[Cc]ommand: )?\s*(?:\S{0,200}/)?(?:python[\d.]{0,5}|torchrun|accelerate|lm_eval|srun)\s"
)
_NUMBER = re.compile(r"-?(?:\d{1,15}|\d{0,15}\.\d{1,20}|\d{1,15}\.)(?:[eE][+-]?\d{1,3})?")


def read_command(line: str) -> list[str]:
    """The words of a command, where a line of a log is one with options; [] where it is not."""
    if " --" not in line or not _COMMAND.match(line):
        return []
    try:
        return shlex.split(line.strip().removeprefix("+ ").removeprefix("$ "))
    except ValueError:
        return []


def requested_by(argv: Sequence[str]) -> dict[str, Value]:
    """`--name value`, `--name=value` and `--flag` (true). Dashes in a name become underscores. Secrets are withheld. An
    option that is given again asks for all its values: `--alpha 0.9995 --alpha 0.99999`."""
    made: dict[str, Value] = {}
    name = ""
    before: Value | None = None
    for word in argv:
        if word.startswith("--") and len(word) > 2 and len(made) < MAX_OPTIONS:
            key, equals, value = word[2:].partition("=")
            name = visible(key.replace("-", "_"), 80)
            before = made.get(name)
            made[name] = _with(before, value) if equals else True
            name = "" if equals else name
        elif name:
            if made[name] is True:
                made[name] = _with(before, word)
            else:  # a list: `--tasks a b`
                made[name] = visible(f"{made[name]} {word}", 400)
        else:
            continue
    return {name: _shown(name, value) for name, value in made.items()}


def _with(before: Value | None, word: str) -> Value:
    """A value, and those that the option had before where they are others."""
    value = typed(word)
    return value if before is None or before is True or before == value else visible(f"{before} {word}", 400)


def _shown(name: str, value: Value) -> Value:
    if value is True:  # a flag
        return value
    shown = withhold_value(name, str(value))
    return value if shown == str(value) else shown


def typed(text: str) -> Value:
    """A number where the text is one, else the text."""
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("-").isdigit() else float(text)
    return visible(text, 400)
