"""The command line that prints what the screen shows."""

from __future__ import annotations

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.text import shell_words
from qinspect.tui.compare.panes import Panes
from qinspect.tui.compare.session import Session


def command_of(s: Session, panes: Panes) -> str:
    """Of the scale that is chosen where one is seen to be, else of the whole comparison."""
    of_scale = panes.active in ("table", "detail")
    only = panes.active != "overview" and panes.table.selection.only_changed
    return command_line(s, panes.table.pair if of_scale else None, only)


def command_line(s: Session, pair: ScalePair | None, only_changed: bool) -> str:
    """Of one scale, or of the whole comparison."""
    if pair is not None:
        return shell_words(["qinspect", "show", s.path_a if pair.a else s.path_b or "", pair.record.key])
    words = ["qinspect", "diff", s.path_a, s.path_b] if s.path_b else ["qinspect", "scales", s.path_a]
    words += ["--only", "changed"] if s.path_b and only_changed else []
    words += ["--noise", *s.noise] if s.noise else []
    words += ["--run", s.noise_run] if s.noise_run else []
    return shell_words(words)
