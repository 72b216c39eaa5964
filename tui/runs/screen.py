"""The runs screen: jobs, their logs, their points, the GPUs."""

from __future__ import annotations

from textual import on

from qinspect.inspector.runs.show import duration, duration_s, progress_text
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.runs.log_source import Levels
from qinspect.tui.runs.moving import RunsMoving
from qinspect.tui.runs.run_list import sign
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import LineList
from qinspect.tui.widgets.log import LogView
from qinspect.tui.widgets.text_pane import TextPane


class RunsScreen(RunsMoving):
    """What the lists have to say, and the titles."""

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        if event.source is self.list:
            self.when_rested()

    @on(LineList.Clicked)
    def _on_clicked(self, event: LineList.Clicked) -> None:
        self.activate("list" if event.source is self.list else "view")

    @on(LogView.Clicked)
    @on(TextPane.Clicked)
    def _on_view_clicked(self) -> None:
        self.activate("view")

    @on(LogView.Changed)
    def _on_log_changed(self) -> None:
        self.show_view_title()

    def show_head(self) -> None:
        title, more = self.query_one("#run-title", TitleLine), self.query_one("#run-more", TitleLine)
        seen = self.shown
        if seen is None:
            title.update("")
            more.update("")
            return
        result, live, g = seen.state.result, seen.state.state.is_live, self.glyphs
        took = duration_s(seen)
        parts = [f"{sign(seen, g)[0]} {shown(seen.run.spec.name, 80)}", str(seen.state.state)]
        parts += [duration(took)] if took is not None else []
        parts += [f"exit code {result.exit_code}"] if result and result.exit_code is not None else []
        parts += [result.signal] if result and result.signal else []
        parts += [progress_text(seen.progress.fields)] if live and seen.progress else []
        title.update(f" {g.dot} ".join(parts))
        phase = shown(str(seen.phase.fields.get("name", "")), 80) if seen.phase else ""
        said = seen.state.reason or (result.last_error or result.cancelled_by or "" if result else phase)
        text = shown(said or seen.run.spec.command, 2000)
        more.update(fill(text, max(1, self.size.width - 2), g.cut).rstrip())

    def show_view_title(self) -> None:
        feed, log = self.feed, self.log_view
        counts = {"points": feed.n_points, "events": feed.n_events} if feed else {}
        names = []
        for name in ("log", "points", "spec", "events", "gpus"):
            text = f"{name} {counts[name]:,}" if counts.get(name) else name
            names.append(f"[{text}]" if name == self.view else text)
        parts = [" ".join(names)]
        if self.view == "log" and self.source:
            if not log.follows:
                parts.append(f"stays here, {log.n_new:,} new" if log.n_new else "stays here")
            elif self.is_live:
                parts.append("follows")
            if self.source.levels is not Levels.ALL:
                parts.append(f"{self.source.levels.value}: {self.source.n_rows:,}")
            if log.text:
                parts.append(f"find {shown(log.text, 30)!r}")
        self.query_one("#view-title", TitleLine).update(f"2 {f' {self.glyphs.dot} '.join(parts)}")
