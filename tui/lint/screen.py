"""The screen of findings: rules run in a thread, what is had at once first; a place leads to its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.formats import Format
from qinspect.inspector.lint.check import Lint
from qinspect.inspector.lint.report import nothing_to_check
from qinspect.inspector.text import shell_words, some
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import LINT_ACTIONS, bindings
from qinspect.tui.compare.session import Cancelled, Progressed
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.later import REST_S, Later, is_going
from qinspect.tui.lint.beside import Beside
from qinspect.tui.lint.experts_pane import ExpertsPane
from qinspect.tui.lint.findings_pane import FindingsPane, findings_counted
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.pane import Pane
from qinspect.tui.widgets.bars import HintBar, TitleLine
from qinspect.tui.widgets.lines import LineList

if TYPE_CHECKING:
    from qinspect.inspector.experts.coverage import Coverage
    from qinspect.inspector.lint.rule import Rule
    from qinspect.inspector.loaders import Loaders
    from qinspect.inspector.table import Table

WIDE = 110
"""From this width on the rule stands beside the list, not under it."""
READ_AT_ONCE_BYTES = 8 << 30
"""Weights of so many bytes are read without being asked for, as `qinspect diff` does."""


class Linted(Message):
    """What the rules found so far, or why they cannot be run. whole: no rule is left out."""

    def __init__(self, found: Lint | None, problem: str, whole: bool) -> None:
        super().__init__()
        self.found, self.problem, self.whole = found, problem, whole


class Covered(Message):
    """The experts of each model."""

    def __init__(self, found: Mapping[str, Coverage]) -> None:
        super().__init__()
        self.found = found


class Loaded(Message):
    """What engines do with each model."""

    def __init__(self, found: Mapping[str, Loaders]) -> None:
        super().__init__()
        self.found = found


class LintScreen(ActionScreen):
    """Findings of one model, or of two."""

    BINDINGS: ClassVar[list[BindingType]] = bindings(LINT_ACTIONS)  # type: ignore[assignment]
    AUTO_FOCUS = ""
    LABELLED: ClassVar[tuple[str, ...]] = ("findings", "rule", "engines", "experts")
    JUMP_HINT = "letters of a place's name"
    actions = LINT_ACTIONS

    def __init__(self, formats: Mapping[str, Format], glyphs: Glyphs, go_to: Callable[[str], None]) -> None:
        """formats: `A`, and `B` where there are two. go_to: shows a scale or an entry by its name."""
        super().__init__()
        self.formats, self.glyphs, self._go_to = formats, glyphs, go_to
        self.findings = FindingsPane(glyphs)
        self.beside = Beside(glyphs)
        self.active = "findings"
        self.zoomed = False
        self._rested = Later(self, self._show_rule)

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is read here."""
        yield TitleLine("", id="lint-title")
        with Horizontal(id="lint-body"):
            yield self.findings
            yield self.beside
        yield HintBar()

    def on_mount(self) -> None:
        self.hints = self.query_one(HintBar)
        self.activate("findings")
        self.fit_panes()
        self._show_title("")
        self.beside.rule.show(None, None)
        self.hints.work("looking at scales")
        self.call_after_refresh(self._ask, self._is_small)

    def on_unmount(self) -> None:
        self._rested.stop()

    @property
    def waits(self) -> bool:
        """Whether the cursor has to rest before the rule of what it is on is shown."""
        return self._rested.comes

    @property
    def _is_small(self) -> bool:
        return sum(f.checkpoint.nbytes for f in self.formats.values()) <= READ_AT_ONCE_BYTES

    # --- asking ---

    @work(thread=True, exclusive=True, exit_on_error=False, group="lint")
    def _ask(self, whole: bool) -> None:
        """What is had at once first, then the rest, in a thread."""
        from qinspect.inspector.checkpoint.sound import looked_over
        from qinspect.inspector.lint.check import lint
        from qinspect.inspector.lint.engines_said import EnginesSaid
        from qinspect.inspector.lint.subject import subjects_of
        from qinspect.inspector.loaders import statements_of

        worker = get_current_worker()

        def check(phase: str, done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Cancelled
            self.post_message(Progressed(phase, done, total))

        a, b = self.formats["A"], self.formats.get("B")
        engines = {model: EnginesSaid(fmt) for model, fmt in self.formats.items()}
        try:
            opened = {model: looked_over(f.checkpoint, f.checkpoint.path) for model, f in self.formats.items()}
            for fast in (True, False) if whole else (True,):
                subjects = subjects_of(a, b, None, fast=fast, meter=check, opened=opened, engines=engines)
                self.post_message(Linted(lint(subjects), "", not fast))
                self.post_message(Covered({model: s.experts for model, s in subjects}))
                if fast:
                    self.post_message(Loaded({model: statements_of(s.fmt) for model, s in subjects}))
        except Cancelled:
            return
        except Exception as e:  # whatever a file has in store is this screen's problem, not the program's
            self.post_message(Linted(None, str(e) or type(e).__name__, True))

    @on(Progressed)
    def _on_progress(self, event: Progressed) -> None:
        event.stop()
        if not is_going(self):
            self.hints.work(f"{event.phase}{event.share} ({key('close')} ends it)")

    @on(Linted)
    def _on_linted(self, event: Linted) -> None:
        if is_going(self):
            return
        left = not event.whole and self._is_small
        self.hints.work("reading the rest" if left else "")
        if event.found is None:
            self.hints.say(shown(event.problem, 400))
            return
        self.findings.show(event.found)
        self._show_title(self._counted(event.found))
        self._show_rule()
        if not event.whole and not self._is_small:
            self.hints.say(f"{key('reload')} reads all scales and codes")

    @on(Covered)
    def _on_covered(self, event: Covered) -> None:
        if not is_going(self):
            self.beside.experts.show(event.found)

    @on(Loaded)
    def _on_loaded(self, event: Loaded) -> None:
        if not is_going(self):
            self.beside.engines.show(event.found)

    def _counted(self, found: Lint) -> str:
        """`2 errors, 1 warning by 31 rules; 5 not checked`."""
        if nothing := nothing_to_check(found):
            return f"{findings_counted(found)}: {nothing}"
        looked = {o.rule.code for o in found.outcomes if o.checked and o.checked.n}
        skipped = {o.rule.code for o in found.outcomes if o.checked is None} - looked
        left = f"; {len(skipped)} not checked" if skipped else ""
        return f"{findings_counted(found)} by {some(len(looked), 'rule')}{left}"

    # --- what is shown ---

    def _show_title(self, counted: str) -> None:
        paths = f" {self.glyphs.dot} ".join(shown(str(f.checkpoint.path), 60) for f in self.formats.values())
        said = (
            f"lint {self.glyphs.dot} {counted} {self.glyphs.dot} {paths}"
            if counted
            else f"lint {self.glyphs.dot} {paths}"
        )
        self.query_one("#lint-title", TitleLine).update(said)

    def _show_rule(self) -> None:
        if not is_going(self):
            self.beside.rule.show(self.findings.list.row, self.findings.found)

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        if event.source is self.findings.list:
            self._rested.ask(REST_S)

    @on(LineList.Chosen)
    def _on_chosen(self) -> None:
        self.action_open()

    @on(FindingsPane.Changed)
    def _on_changed(self) -> None:
        self._show_rule()

    @on(Pane.Said)
    def _on_said(self, event: Pane.Said) -> None:
        self.hints.say(event.text)

    # --- where the keys work ---

    @property
    def active_pane(self) -> Pane:
        return self.findings if self.active == "findings" else self.beside.named[self.active]

    @property
    def panes(self) -> tuple[Pane, ...]:
        return self.findings, *self.beside.named.values()

    def activate(self, name: str) -> None:
        """Let the moving keys work in this pane, which is seen then."""
        self.active = name
        self.set_focus(None)
        fits = not self.zoomed and name in ("findings", self.beside.seen)
        if name != "findings":
            self.beside.show(name)
        self.findings.set_active(name == "findings")
        self.beside.set_active(name != "findings")
        if not fits:
            self.fit_panes()

    @on(Pane.Entered)
    def _on_entered(self, event: Pane.Entered) -> None:
        self.activate(next((n for n, pane in self.beside.named.items() if pane is event.pane), "findings"))

    def action_next_pane(self) -> None:
        self.activate(self.beside.seen if self.active == "findings" else "findings")

    def action_previous_pane(self) -> None:
        self.action_next_pane()

    def action_pane_list(self) -> None:
        self.activate("findings")

    def action_pane_view(self) -> None:
        self.activate("rule")

    def action_pane_engines(self) -> None:
        self.activate("engines")

    def action_pane_experts(self) -> None:
        self.activate("experts")

    def action_open(self) -> None:
        pane = self.active_pane
        if isinstance(pane, FindingsPane | ExpertsPane):
            pane.action_open()
        else:
            self.action_zoom()

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.fit_panes()

    def on_resize(self) -> None:
        self.fit_panes()

    def fit_panes(self) -> None:
        """Side by side where it is wide."""
        width, height = self.size
        wide = width >= WIDE
        self.set_class(wide and not self.zoomed, "wide")
        self.findings.set_class(self.zoomed and self.active != "findings", "hidden")
        self.beside.set_class(self.zoomed and self.active == "findings", "hidden")
        self.query_one("#lint-body").styles.layout = "horizontal" if wide else "vertical"
        much = self.beside.seen != "rule"
        self.findings.styles.width = "2fr" if much else "3fr"
        self.beside.styles.width = ("3fr" if much else "2fr") if wide else "1fr"
        self.findings.styles.height = "1fr"
        self.beside.styles.height = "1fr" if wide or self.zoomed else max(6, height * 2 // 5)

    # --- finding, taking along, leaving ---

    @on(FindingsPane.Wanted)
    @on(ExpertsPane.Wanted)
    def _on_wanted(self, event: FindingsPane.Wanted | ExpertsPane.Wanted) -> None:
        self._leave()
        self._go_to(event.name)

    def more_in_palette(self) -> dict[str, Callable[[], None]]:
        """Every rule: to what it found, or to what it looks for."""
        from qinspect.inspector.lint.registry import all_rules

        return {f"{r.code} {r.name}": partial(self._to_rule, r) for r in all_rules()}

    def _to_rule(self, rule: Rule) -> None:
        if self.findings.go_to(rule.code):
            self.activate("findings")
        else:
            self.activate("rule")
            self.beside.rule.explain(rule, self.findings.found)

    def names_to_jump_to(self) -> list[str]:
        found = self.findings.found
        return list(dict.fromkeys(p.key for f in found.findings for p in f.places)) if found else []

    def jumped_to(self, name: str) -> None:
        self._leave()
        self._go_to(name)

    def action_reload(self) -> None:
        """Everything, however much it is."""
        self.hints.work("looking at scales")
        self._ask(True)

    def action_copy_command(self) -> None:
        command = shell_words(["qinspect", "lint", *(str(f.checkpoint.path) for f in self.formats.values())])
        copy_to_terminal(self.app, command)
        self.hints.say(f"sent to the terminal's clipboard: {shown(command, 200)}")

    def view_table(self) -> Table | None:
        from qinspect.inspector.lint.report import places_table

        return None if self.findings.found is None else places_table(self.findings.found)

    def view_json(self) -> object:
        from qinspect.inspector.lint import payload

        return None if self.findings.found is None else payload.lint(self.findings.found)

    def action_close(self) -> None:
        self._leave()

    def action_quit(self) -> None:
        self._leave()

    def _leave(self) -> None:
        self.workers.cancel_group(self, "lint")
        self.dismiss()
