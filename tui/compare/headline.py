"""The lines over the panes as text: the models, the answer with its verdict, and the verdict with all reasons."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from rich.cells import cell_len

from qinspect.inspector.text import count, size
from qinspect.tui.compare.session import Session
from qinspect.tui.key_names import key
from qinspect.tui.labels import fill, fit, short_paths
from qinspect.tui.names import in_locale, shown

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint import Checkpoint
    from qinspect.inspector.compare import Comparison
    from qinspect.inspector.formats import Format
    from qinspect.inspector.formats.bits import WeightBits


def model_lines(s: Session, changed: Collection[Checkpoint], notice: str, width: int, cut: str) -> list[str]:
    """A line a model: its name, what it is, whether its files changed since; then what else is to be known."""
    name_a, name_b = short_paths(s.path_a, s.path_b)
    lines = [_model_line("A", name_a, s.checkpoint_a, s.a, s.bits_a, s.error_a, changed, width, cut)]
    if s.path_b is not None:
        lines.append(_model_line("B", name_b, s.checkpoint_b, s.b, s.bits_b, s.error_b, changed, width, cut))
    return [*lines, fill(shown(notice), width + 3, cut).rstrip()] if notice else lines


def _model_line(
    label: str,
    name: str,
    checkpoint: Checkpoint | None,
    fmt: Format | None,
    bits: WeightBits | None,
    error: str,
    changed: Collection[Checkpoint],
    width: int,
    cut: str,
) -> str:
    if error:
        return f"{label}  {fit(name, f'cannot be opened: {in_locale(error)}', width, cut)}"
    if checkpoint is None:
        return f"{label}  {fit(name, '', width, cut)}"
    what = shown(fmt.description, 120) if fmt else checkpoint.kind
    since = "CHANGED ON DISK, " if checkpoint in changed else ""
    if since and any(f.gone() for f in checkpoint.files):
        since = "GONE FROM DISK, "
    holds = f"{count(len(checkpoint.entries))} entries, {size(checkpoint.nbytes)}"
    if bits is None:
        return f"{label}  {fit(name, f'{since}{what}, {holds}', width, cut)}"
    rest = f"{since}{what}, {bits.whole.sentence}, {holds}"
    if cell_len(name) + 2 + cell_len(rest) > width:  # what is cut off is what matters least
        rest = f"{since}{bits.whole.short}, {what}, {holds}"
    return f"{label}  {fit(name, rest, width, cut)}"


def headline_lines(answer: str, verdict: str, evaluated: str, width: int, most: int, cut: str) -> list[str]:
    """The answer, the verdict, and what an evaluation says, in at most so many lines, of which this has the last. What
    the answer ends with is not repeated."""
    lines: list[str] = []
    last = [fill(shown(evaluated), width, cut).rstrip()] if evaluated and most > 1 else []
    most -= len(last)
    for said in (answer, "" if answer.endswith(verdict) else verdict):
        if len(lines) < most:
            lines += textwrap.wrap(
                in_locale(said), width, max_lines=most - len(lines), placeholder=f" {cut} ({key('verdict')}: all)",
                break_on_hyphens=False,
            )  # fmt: skip
    return [*lines, *last]


def said_beside(c: Comparison) -> str:
    """What the bottom line says of a comparison: what was left out of it, and whose noise bands it has."""
    said = [] if c.weights_compared else [f"weights: not compared ({size(c.weight_bytes)})"]
    said += [f"noise bands by the run {'at hand ' * c.noise.at_hand}{shown(c.noise.run, 60)}"] if c.noise.run else []
    return "; ".join(said)


def verdict_said(c: Comparison, noise_problem: str) -> str:
    """The verdict, behind why its noise bands are not those that were asked for."""
    before = f"Noise: {noise_problem}; the measured defaults are used. " if noise_problem else ""
    return f"{before}{c.headline.text}"


def verdict_lines(c: Comparison | None, verdict: str, found: Mapping[str, str], width: int) -> list[str]:
    """The verdict with all reasons and notes, or what stands in its place, a blank line after each. found: what was
    measured, by what it is of; "" of what was not."""
    texts = [verdict]
    if c is not None:
        reasons = (f"- {r.text} [{r.rule}]" for r in c.reasons)
        following = [f"next: {c.next}"] if c.next else []
        texts = [f"{c.headline.text} [{c.headline.rule}]", *reasons, *following, *map(shown, c.notes)]
    texts += [f"{what}: {shown(said)}" for what, said in found.items() if said]
    lines = []
    for text in texts:
        lines += [*textwrap.wrap(in_locale(text), width, subsequent_indent="  ", break_on_hyphens=False), ""]
    return lines
