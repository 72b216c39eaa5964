"""The form that starts a run: a template's fields, where it runs, and the command that comes of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.runs import RunSpec, check_before_start, make_spec, start, typed
from qinspect.inspector.runs.spec import NOT_STORED
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.dialogs.keys import FORM, dialog_bindings
from qinspect.tui.names import shown
from qinspect.tui.runs.paths import completed, free_name
from qinspect.tui.runs.templates import COMMAND, Field, Template, parse_variables
from qinspect.tui.widgets.text_input import TextInput

_OWN = (
    Field("name", "name of the run; empty: that of its program"),
    Field("cwd", "the folder it runs in", type="path"),
    Field("variables", "others, as NAME=VALUE NAME='two words'"),
)


_MOST_LISTED = 40
"""Names that a path can go on with."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What the form begins with."""

    template: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


def filled_from(spec: RunSpec) -> Filled:
    """The form as it would have made this run. Values that were not stored are left out."""
    given = {k: v for k, v in spec.env.items() if NOT_STORED not in v}
    cuda = given.pop("CUDA_VISIBLE_DEVICES", "")
    variables = " ".join(map(_assignment, given.items()))
    values = {COMMAND.name: spec.command, "name": spec.name, "cwd": spec.cwd, "variables": variables}
    return Filled("", {**values, "CUDA_VISIBLE_DEVICES": cuda})


def _assignment(variable: tuple[str, str]) -> str:
    """A name and its value as `parse_variables` reads them: a name may be as odd as a value."""
    name, value = variable
    return f"{name}={shlex.quote(value)}" if shlex.quote(name) == name else shlex.quote(f"{name}={value}")


class FieldInput(TextInput):
    """One field. Where all values are known, space goes from one to the next."""

    def __init__(self, of: Field, value: str) -> None:
        hint = " or ".join(of.values) + " (space)" if of.values else of.range_text
        text = ", ".join(filter(None, (hint, of.help)))
        super().__init__(value, placeholder=text, compact=True, select_on_focus=False, id=f"field-{_safe(of.name)}")
        self.of = of
        self.cursor_position = len(value)

    async def _on_key(self, event: events.Key) -> None:  # before that of Input, which Textual calls itself
        if event.key == "space" and self.of.values:
            event.stop()
            event.prevent_default()
            at = self.of.values.index(self.value) + 1 if self.value in self.of.values else 0
            self.value = self.of.values[at % len(self.of.values)]
            self.cursor_position = len(self.value)


class Checked(Message):
    """What is to be said before the run is started; or why it cannot be."""

    def __init__(self, spec: RunSpec | None, said: list[str], problem: str = "") -> None:
        super().__init__()
        self.spec, self.said, self.problem = spec, said, problem


class Started(Message):
    """The run was started, or could not be."""

    def __init__(self, run_id: str, problem: str = "") -> None:
        super().__init__()
        self.run_id, self.problem = run_id, problem


class StartScreen(ModalScreen[str]):
    """Dismissed with the id of the run that was started, or with ""."""

    BINDINGS: ClassVar[list[BindingType]] = dialog_bindings(FORM)
    AUTO_FOCUS = ""

    def __init__(self, templates: list[Template], filled: Filled, problems: list[str]) -> None:
        super().__init__()
        self.templates = templates
        self.at = next((i for i, t in enumerate(templates) if t.name == filled.template), 0)
        self.filled = dict(filled.values)
        self.problems = problems
        self.said: list[str] = []
        self._confirmed: tuple[str, ...] | None = None
        self._working = False
        self._listed = ""
        self._proposed: dict[str, str] = {}
        """Names of what is to be written, as long as nobody typed others."""

    @property
    def template(self) -> Template:
        """The one that is filled in."""
        return self.templates[self.at]

    @property
    def fields(self) -> list[Field]:
        """All that is asked for."""
        variables = [Field(v, "the GPUs that it may see: 0, or 0,1" if "CUDA" in v else "") for v in self._variables]
        return [*self.template.fields, _OWN[0], _OWN[1], *variables, _OWN[2]]

    @property
    def _variables(self) -> tuple[str, ...]:
        return self.template.variables

    def compose(self) -> ComposeResult:
        with Vertical(id="start-box"):
            yield Static(id="start-title", markup=False)
            yield VerticalScroll(id="start-fields", can_focus=False)
            yield Static(id="start-command", markup=False)
            yield Static(id="start-said", markup=False)
            yield Static(
                "enter starts it  down next field  tab path  ctrl+t templates  escape closes",
                classes="title",
                markup=False,
            )

    async def on_mount(self) -> None:
        await self._show_fields()

    async def _show_fields(self) -> None:
        box = self.query_one("#start-fields")
        await box.remove_children()
        self._proposed = {}
        rows = []
        for f in self.fields:
            default = str(Path.cwd()) if f.name == "cwd" and not self.template.cwd else f.default
            if f.fresh and default:
                default = free_name(default, self.filled.get("cwd", self.template.cwd))
                self._proposed[f.name] = default
            value = self.filled.get(f.name, self.template.cwd if f.name == "cwd" and self.template.cwd else default)
            label = Static(f"{shown(f.name, 24)}{' *' if f.required else ''}", classes="label", markup=False)
            given = FieldInput(f, value)
            given.cursor_blink = False
            given.cursor_position = len(value)  # one goes on typing
            problem = Static("", classes="problem hidden", id=f"problem-{_safe(f.name)}", markup=False)
            rows.append(Vertical(Horizontal(label, given, classes="row"), problem, classes="field"))
        await box.mount(*rows)
        n = f"{self.at + 1} of {len(self.templates)}"
        self.query_one("#start-title", Static).update(
            shown(f"Start a run: {self.template.name} ({n}). {self.template.help}", 300)
        )
        self.set_focus(self.inputs[0])
        self.show_command()
        if self.problems:
            self.query_one("#start-said", Static).update("\n".join(shown(p, 400) for p in self.problems[:2]))

    @property
    def inputs(self) -> list[FieldInput]:
        """From top to bottom."""
        return list(self.query(FieldInput))

    @property
    def values(self) -> dict[str, str]:
        """Field name to what is in it."""
        return {i.of.name: i.value for i in self.inputs}

    def action_step(self, n: int) -> None:
        """To another field."""
        inputs = self.inputs
        at = inputs.index(self.focused) if isinstance(self.focused, FieldInput) else 0
        to = (at + n) % len(inputs) if abs(n) == 1 else max(0, min(len(inputs) - 1, at + n))
        self.set_focus(inputs[to])

    def action_complete(self) -> None:
        """As far as a path can be completed; what it can go on with, where that is not clear; then the next field."""
        given = self.focused
        if not isinstance(given, FieldInput) or given.of.type != "path" or not given.value:
            self.action_step(1)
            return
        found = completed(given.value, "" if given.of.name == "cwd" else _folder(self.values))
        if found.text != given.value:
            given.value = found.text
            given.cursor_position = len(found.text)
        elif not found.names or self._listed == found.text:
            self.action_step(1)
            return
        self._listed = found.text if found.names else ""
        self._say(["  ".join(found.names[:_MOST_LISTED])] if found.names else [])

    def action_templates(self) -> None:
        """All templates as a list."""
        self.app.push_screen(JumpScreen([t.name for t in self.templates], "letters of a template's name"), self._chosen)

    async def _chosen(self, name: str | None) -> None:
        if name:
            await self.action_template(next(i for i, t in enumerate(self.templates) if t.name == name) - self.at)

    async def action_template(self, n: int) -> None:
        """Another template; what both ask for is kept."""
        self.filled.update(
            {k: v for k, v in self.values.items() if k in ("name", "cwd", "variables", *self._variables)}
        )
        self.at = (self.at + n) % len(self.templates)
        self._confirmed = None
        self._say([])
        await self._show_fields()

    # --- what comes of it ---

    @on(Input.Changed)
    def _on_changed(self, event: Input.Changed) -> None:
        self._confirmed = None
        if isinstance(event.input, FieldInput) and event.input.of.name == "cwd":
            self._propose(_folder(self.values))
        self.show_command()

    def _propose(self, cwd: str) -> None:
        """Names that are free in another folder, for what is to be written; one that was typed stays."""
        for given in self.inputs:
            if given.of.fresh and given.value == self._proposed.get(given.of.name):
                given.value = self._proposed[given.of.name] = free_name(given.of.default, cwd)

    def show_command(self) -> None:
        """The command as it would be started now, and what is wrong at each field that was filled in."""
        values = self.values
        argv = self.template.argv(values)
        self.query_one("#start-command", Static).update(f"$ {shown(typed(argv), 2000)}")
        problems = self._problems()
        for f in self.fields:
            text = problems.get(f.name, "")
            # what is still empty is marked with its star
            self._show_problem(f.name, text if values.get(f.name) else "")

    def _show_problem(self, name: str, text: str) -> None:
        at = self.query_one(f"#problem-{_safe(name)}", Static)
        at.update(shown(text, 200))
        at.set_class(not text, "hidden")

    def _problems(self) -> dict[str, str]:
        values = self.values
        found = self.template.problems(values)
        try:
            parse_variables(values.get("variables", ""))
        except ValueError as e:
            found["variables"] = str(e)
        cwd = _folder(values)
        if cwd and not _is_folder(cwd):
            found["cwd"] = "there is no such folder"
        return found

    @on(Input.Submitted)
    def _on_submitted(self) -> None:
        if self._working:
            return
        problems = self._problems()
        for name, text in problems.items():
            self._show_problem(name, text)
        if problems:
            self.set_focus(next(i for i in self.inputs if i.of.name in problems))
            return
        self._working = True
        values = self.values
        env = {v: values[v].strip() for v in self._variables if values.get(v, "").strip()}
        env |= parse_variables(values.get("variables", ""))
        argv = self.template.argv(values)
        cwd = _folder(values) or None
        if self._confirmed == tuple(argv):
            self._start(argv, values["name"], env, cwd)
        else:
            self._say(["checking what else is running"])
            self._check(argv, values["name"], env, cwd)

    @work(thread=True, exit_on_error=False, group="start")
    def _check(self, argv: list[str], name: str, env: dict[str, str], cwd: str | None) -> None:
        try:
            spec = make_spec(argv, name=name, env=env, cwd=cwd)
            said = check_before_start(spec)
        except (QinspectError, OSError) as e:
            self.post_message(Checked(None, [], str(e)))
            return
        self.post_message(Checked(spec, said))

    @on(Checked)
    def _on_checked(self, event: Checked) -> None:
        self._working = False
        if event.spec is None:
            self._say([event.problem])
        elif event.said:
            self._confirmed = event.spec.argv
            self._say([*event.said, "enter again starts it anyway"])
        else:
            self._working = True
            self._start_spec(event.spec)

    @work(thread=True, exit_on_error=False, group="start")
    def _start(self, argv: list[str], name: str, env: dict[str, str], cwd: str | None) -> None:
        try:
            self._start_now(make_spec(argv, name=name, env=env, cwd=cwd))
        except (QinspectError, OSError) as e:
            self.post_message(Started("", str(e)))

    @work(thread=True, exit_on_error=False, group="start")
    def _start_spec(self, spec: RunSpec) -> None:
        self._start_now(spec)

    def _start_now(self, spec: RunSpec) -> None:
        try:
            run = start(spec)
        except (QinspectError, OSError) as e:
            self.post_message(Started("", str(e)))
        else:
            self.post_message(Started(run.id))

    @on(Started)
    def _on_started(self, event: Started) -> None:
        self._working = False
        if event.run_id:
            self.dismiss(event.run_id)
        else:
            self._say([event.problem])

    def _say(self, lines: list[str]) -> None:
        self.said = lines
        self.query_one("#start-said", Static).update("\n".join(shown(line, 400) for line in lines))


def _folder(values: Mapping[str, str]) -> str:
    """The folder to run in; blanks at its ends are left out where they are not a part of its name."""
    given = values.get("cwd", "")
    return given if _is_folder(given) else given.strip()


def _is_folder(path: str) -> bool:
    try:
        return Path(path).expanduser().is_dir()
    except (RuntimeError, OSError):  # ~user, and there is no such user; a name that is too long
        return False


def _safe(name: str) -> str:
    """A name as an identifier of a widget: names of the user's fields may be anything."""
    return "".join(c if c.isascii() and c.isalnum() else f"-{ord(c):x}-" for c in name)
