"""The two lines over what is shown of a run: what it is, and what it has to say."""

from __future__ import annotations

from qinspect.inspector.runs.show import Seen, duration, duration_s, progress_text
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.runs.run_list import sign


def head_lines(seen: Seen | None, g: Glyphs, width: int) -> tuple[str, str]:
    """Name, state, outcome; then why it ended so, its phase, or its command, in so many cells."""
    if seen is None:
        return "", ""
    result, live = seen.state.result, seen.state.state.is_live
    took = duration_s(seen)
    parts = [f"{sign(seen, g)[0]} {shown(seen.run.spec.name, 80)}", str(seen.state.state)]
    parts += [duration(took)] if took is not None else []
    parts += [f"exit code {result.exit_code}"] if result and result.exit_code is not None else []
    parts += [result.signal] if result and result.signal else []
    parts += [progress_text(seen.progress.fields)] if live and seen.progress else []
    phase = shown(str(seen.phase.fields.get("name", "")), 80) if seen.phase else ""
    said = seen.state.reason or (result.last_error or result.cancelled_by or "" if result else phase)
    text = shown(said or seen.run.spec.command, 2000)
    return f" {g.dot} ".join(parts), fill(text, max(1, width), g.cut).rstrip()
