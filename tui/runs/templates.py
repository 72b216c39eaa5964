"""Templates of the start form: data of the package and of the user's config file, and how values become a command."""

from __future__ import annotations

import math
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from qinspect.inspector.runs.spec import ourselves
from qinspect.tui.names import shown

TYPES = ("text", "path", "integer", "number", "numbers", "flag")
YES, NO = "yes", "no"
OURSELVES = "{qinspect}"
"""A word of a template that stands for the program's own command line."""
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Field:
    """One value that the form asks for. option: what stands before it in the command, "" for none. fresh: a path that
    is written to, whose default is a name that nothing has yet."""

    name: str
    help: str = ""
    type: str = "text"
    option: str = ""
    default: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    min_open: bool = False
    fresh: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """All that it may be, where they can be counted."""
        return (NO, YES) if self.type == "flag" else self.choices

    def problem(self, value: str) -> str:
        """Why it cannot be this; "" where it can."""
        if not value:
            return f"{self.name} is needed" if self.required else ""
        if "\0" in value:
            return "a command cannot contain a NUL"
        if self.values and value not in self.values:
            return f"one of {', '.join(self.values)}"
        if self.type not in ("integer", "number", "numbers"):
            return ""
        if self.type == "numbers" and "," in value:
            each = replace(self, type="number", required=True)
            return next((p for v in value.split(",") if (p := each.problem(v.strip()))), "")
        try:
            number = int(value) if self.type == "integer" else float(value)
        except ValueError:
            return "a whole number" if self.type == "integer" else "a number"
        if math.isnan(number) or math.isinf(number):
            return "a number that is finite"
        below = self.min is not None and (number < self.min or (self.min_open and number == self.min))
        if below or (self.max is not None and number > self.max):
            return self.range_text
        return ""

    @property
    def range_text(self) -> str:
        """`above 0, at most 1`."""
        parts = []
        if self.min is not None:
            parts.append(f"{'above' if self.min_open else 'at least'} {self.min:g}")
        if self.max is not None:
            parts.append(f"at most {self.max:g}")
        return ", ".join(parts)


COMMAND = Field("command", "a program and its words, as in a shell; no pipes", required=True)


@dataclass(frozen=True, slots=True)
class Template:
    """A command with fields. words: its fixed words, `{field}` among them."""

    name: str
    help: str = ""
    words: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    variables: tuple[str, ...] = ()
    cwd: str = ""

    def problems(self, values: Mapping[str, str]) -> dict[str, str]:
        """Field name to what is wrong with its value."""
        found = {f.name: p for f in self.fields if (p := f.problem(values.get(f.name, "").strip()))}
        if self.fields == (COMMAND,) and not found:
            try:
                if not shlex.split(values.get(COMMAND.name, "")):
                    found[COMMAND.name] = "command is needed"
            except ValueError as e:
                found[COMMAND.name] = f"{str(e)[:1].lower()}{str(e)[1:]}"
        return found

    def argv(self, values: Mapping[str, str]) -> list[str]:
        """The command's words. Values that are wrong are in it as they are: the form shows it while one types."""
        if self.fields == (COMMAND,):
            text = values.get(COMMAND.name, "")
            try:
                return shlex.split(text)
            except ValueError:
                return text.split()
        given = {f.name: values.get(f.name, "").strip() for f in self.fields}
        argv: list[str] = []
        for word in self.words:
            filled = _PLACE.sub(lambda found: given.get(found[1], found[0]), word)
            if word == OURSELVES:
                argv += ourselves()
            elif filled or not word:
                argv.append(filled)
        for f in self.fields:
            value = given[f.name]
            if not f.option or not value or (f.type == "flag" and value != YES):
                continue
            if f.type == "flag":
                argv.append(f.option)
                continue
            for each in value.split(",") if f.type == "numbers" else (value,):
                argv += [f.option, each.strip()]
        return argv


PLAIN = Template("command", "Any command.", fields=(COMMAND,), variables=("CUDA_VISIBLE_DEVICES",))


def load_templates(config: Path | None = None) -> tuple[list[Template], list[str]]:
    """The plain command first, the user's templates, those that ship; and what is wrong in the config file."""
    shipped = tomllib.loads((files("qinspect.tui.runs") / "templates.toml").read_text(encoding="utf-8"))
    problems: list[str] = []
    made = {PLAIN.name: PLAIN}
    for source, tables in (
        (str(config), _user_tables(config, problems)),
        ("templates.toml", shipped["run_template"]),
    ):
        for table in tables:
            try:
                template = _template(table)
            except (TypeError, ValueError) as e:
                problems.append(shown(f"{source}: [[run_template]]: {e}", 300))
                continue
            made.setdefault(template.name, template)
    return list(made.values()), problems


def _user_tables(config: Path | None, problems: list[str]) -> Sequence[Any]:
    if config is None:
        return ()
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        problems.append(shown(f"{config}: {e}; only the built-in templates are available", 300))
        return ()
    tables = content.get("run_template", [])
    if not isinstance(tables, list):
        problems.append(shown(f"{config}: run_template must be written [[run_template]]", 300))
        return ()
    return tables


def _template(table: Any) -> Template:
    """Raises ValueError with what is wrong."""
    if not isinstance(table, Mapping):
        raise TypeError("must be a table")
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("has no name")
    words = _texts(table, "words", name)
    if not words:
        raise ValueError(f"{name}: has no words")
    listed = table.get("field", [])
    if not isinstance(listed, list):
        raise TypeError(f"{name}: field must be written [[run_template.field]]")
    fields = tuple(_field(f, name) for f in listed)
    names = [f.name for f in fields]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: two fields have one name")
    variables = _texts(table, "variables", name)
    return Template(name, str(table.get("help", "")), words, fields, variables, str(table.get("cwd", "")))


def _field(table: Any, template: str) -> Field:
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str) or not table["name"]:
        raise ValueError(f"{template}: a field has no name")
    name = table["name"]
    kind = table.get("type", "text")
    if kind not in TYPES:
        raise ValueError(f"{template}, {name}: type must be one of {', '.join(TYPES)}")
    limits = {k: table.get(k) for k in ("min", "max")}
    for key, value in limits.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{template}, {name}: {key} must be a number")
    made = Field(
        name=name,
        help=str(table.get("help", "")),
        type=kind,
        option=str(table.get("option", "")),
        default=str(table.get("default", "")),
        required=table.get("required") is True,
        choices=_choices(table, f"{template}, {name}"),
        min=limits["min"],
        max=limits["max"],
        min_open=table.get("min_open") is True,
        fresh=table.get("fresh") is True,
    )
    if made.type == "flag" and not made.default:
        made = replace(made, default=NO)
    if made.default and (problem := made.problem(made.default)):
        raise ValueError(f"{template}, {name}: the default must be {problem}")
    return made


def _choices(table: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """A list of texts; or `rules` or `recipes`, for the names of all."""
    if not isinstance(table.get("choices"), str):
        return _texts(table, "choices", where)
    from qinspect.inspector.observers import RECIPES, RULES

    named = {"rules": RULES, "recipes": RECIPES}.get(table["choices"])
    if named is None:
        raise TypeError(f"{where}: choices must be a list of strings, or rules, or recipes")
    return tuple(named)


def _texts(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str | int | float) for v in value):
        raise TypeError(f"{where}: {key} must be a list of strings")
    return tuple(map(str, value))


def parse_variables(text: str) -> dict[str, str]:
    """`A=1 B='two words'`. Raises ValueError with what is wrong."""
    made = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word}: written NAME=VALUE")
        made[name] = value
    return made
