"""What effectively happened in the runs of a log: settings asked for beside those that took effect, and conclusions.

Each conclusion is drawn by a named rule and names the lines that it rests on. What a log cannot show is not concluded:
observer lines, for one, are printed with --verbose only, so their absence says something only if other DEBUG lines are
there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.finding import Finding, Severity, Where
from qinspect.inspector.logs.event import LogEvent
from qinspect.inspector.logs.failures import Failure, Failures
from qinspect.inspector.logs.patterns import Pattern
from qinspect.inspector.logs.sentences import Said
from qinspect.inspector.text import visible

ALPHA = "percentile_alpha"
CALIBRATION_SETTINGS = (
    ALPHA,
    "calib_data_num",
    "calib_seqlen",
    "group_heads",
    "apply_gptq",
    "quantize_embedding",
    "quantize_lm_head",
    "hybrid_blocks",
)
"""What only a calibration can put into a model."""
_FLAGS = ("group_heads", "apply_gptq", "quantize_embedding", "quantize_lm_head")
"""What Quamba announces when it does it: a complete quantization without the line did not do it."""
_SCORES = ("lm_eval", "ppl", "ppl_results", "results")
MAX_RUNS = 1000
MAX_SETTINGS = 500
MAX_SENTENCES = 500
WENT_ON_AFTER = 10
"""Lines at level info after an error that show that the run went on: a program that ends says fewer."""
POINTS_AFTER = 3
"""Points after an error that show the same: a peer of a process that died writes one or two before it waits for it."""
ENDED_WELL = "program.ended-well."
"""The beginning of the patterns of a program's own sentence that its work is done."""
STOPPED = "program.stopped."
"""The beginning of the patterns of a server's sentence that it was asked to end: what it then ends is no failure."""
NOT_USED = "not used"


_SEVERITIES = {
    "failed": Severity.ERROR, "ends-in-error": Severity.ERROR,
    **dict.fromkeys(
        ("alpha-differs", "alpha-unread", "error-logged", "incomplete", "loaded-existing", "no-statistics",
         "not-finite", "not-stored", "same-scores", "setting-differs", "settings-without-effect"), Severity.WARNING,
    ),
}  # fmt: skip
"""Of conclusions that are more than worth knowing, by rule."""


def noted(text: str, rule: str, lines: tuple[int, ...]) -> Finding:
    """A conclusion. lines: numbers of the lines it rests on, from 1; a range is its first and last line."""
    return Finding(rule, text, _SEVERITIES.get(rule, Severity.NOTE), Where(lines=lines))


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as it was asked for and as it took effect; None where the log does not say. Lines from 1, 0: not from a
    line of the log."""

    name: str
    requested: Any
    effective: Any
    requested_line: int | None = None
    effective_line: int | None = None

    @property
    def differs(self) -> bool:
        """Whether both are known and not the same."""
        return None not in (self.requested, self.effective) and not same_value(self.requested, self.effective)


def same_value(requested: Any, effective: Any) -> bool:
    """Whether a setting is what was asked for. Logs print an alpha with five digits: 0.999996 as 1.00000."""
    if isinstance(requested, float) and isinstance(effective, (int, float)) and not isinstance(effective, bool):
        return requested == effective or round(requested, 5) == effective
    return bool(requested == effective)


@dataclass
class LoggedRun:
    """The facts of one run: phases by the name of their pattern, observers by alpha, settings, how it ended."""

    first_line: int = 1
    started: bool = False
    tool: str = ""
    phases: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    alphas: dict[float | str, list[int]] = field(default_factory=dict)
    requested: dict[str, tuple[Any, int]] = field(default_factory=dict)
    effective: dict[str, tuple[Any, int]] = field(default_factory=dict)
    extra: list[Finding] = field(default_factory=list)
    bar: tuple[dict[str, Any], int] | None = None
    phase: tuple[str, int] | None = None
    failures: Failures = field(default_factory=Failures)
    logged: Failure | None = None
    """The last error that ended nothing, or only may have."""
    n_logged: int = 0
    n_since: int = 0
    """Lines at level info, and progress, since the last error."""
    n_points_since: int = 0
    said: dict[str, Said] = field(default_factory=dict)
    not_finite: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """Of a field of points: how often it was no number, the first such point, its line and the last's."""
    n_points: dict[str, int] = field(default_factory=dict)
    end_line: int | None = None
    stopped: bool = False
    """Whether it was asked to end, and had not failed."""
    calibrated: tuple[int, int] | None = None  # samples, line

    def line(self, pattern: str) -> int | None:
        """The line of the last phase of this pattern."""
        return self.phases[pattern][0] if pattern in self.phases else None

    @property
    def did_calibrate(self) -> bool:
        """Whether a calibration came to its end: its bar did, or the next step began where bars are off."""
        return "quamba.calibrate" in self.phases and (self.calibrated is not None or "quamba.layers" in self.phases)

    @property
    def loaded(self) -> tuple[str, int] | None:
        """The stored model that was taken instead of quantizing: its path or name, and the line."""
        if "quamba.load" in self.phases:
            line, groups = self.phases["quamba.load"]
            return str(groups.get("path", "")), line
        line, groups = self.phases.get("quamba.start", (0, {}))
        model = str(groups.get("model", ""))
        if model.split("/")[-1].startswith("quamba") and "quamba.from_scratch" not in self.phases:
            return model, line
        return None

    def wants(self, name: str) -> Any:
        """The requested value, or None."""
        return self.requested.get(name, (None, 0))[0]


class Conclusions:
    """Collects facts from events; `notes` and `settings` can be asked at any time. conclude: what draws the
    conclusions of one run, `rules.conclude`."""

    def __init__(self, conclude: Callable[..., list[Any]]) -> None:
        self._conclude = conclude
        self._runs: list[LoggedRun] = [LoggedRun()]
        self._results: list[tuple[dict[str, Any], dict[str, Any], int]] = []
        self._n_runs_left_out = 0
        self.last_text_line = 0

    def observe(self, event: LogEvent) -> None:
        """Take one event."""
        run = self._runs[-1]
        fields = event.fields
        if event.kind == "phase":
            self._phase(event)
        elif event.kind == "setting":
            table = run.requested if fields["role"] == "requested" else run.effective
            if len(table) < MAX_SETTINGS or fields["name"] in table:
                table[fields["name"]] = (fields["value"], event.line)
        elif event.kind == "progress":
            if run.failures and fields["done"] and (run.bar is None or not _same_bar(run.bar[0], fields)):
                self._went_on(run)
            if run.bar is None or fields["done"] > run.bar[0]["done"]:
                run.failures.moved(event.line)
            run.bar, run.stopped = (fields, event.line), False
            done, total = fields["done"], fields["total"]
            if run.phase and run.phase[0] == "calibration" and total and done >= total and not run.calibrated:
                run.calibrated = (int(total), event.line)
                run.effective.setdefault("calib_data_num", (int(total), event.line))
        elif event.kind == "point":
            self._point(event)
        elif event.kind == "error":
            self._error(event)
        elif event.kind == "result":
            self._result(fields["json"], event.line)

    def count(self, pattern: Pattern, groups: dict[str, Any], line: int) -> None:
        """A line from which something is concluded at the end."""
        run = self._runs[-1]
        if pattern.name.startswith("torchrun."):
            run.failures.launcher(pattern.name, groups)
        elif pattern.name.startswith(ENDED_WELL):
            self._went_on(run)
        elif pattern.name.startswith(STOPPED):
            run.stopped = not run.failures
        elif pattern.name in run.said or len(run.said) < MAX_SENTENCES:
            for said in list(run.said.values()):
                said.settle(pattern.name, run.said)
            if pattern.name in run.said and run.said[pattern.name].is_settled:
                del run.said[pattern.name]
            run.said.setdefault(pattern.name, Said(pattern)).add(groups, line)

    def calm(self) -> None:
        """A logger says something that is no error: the run goes on."""
        run = self._runs[-1]
        if run.failures or run.logged:
            run.n_since += 1
            if run.n_since >= WENT_ON_AFTER:
                self._went_on(run)

    def _error(self, event: LogEvent) -> None:
        run, fields = self._runs[-1], event.fields
        if "handled" in fields:
            return
        found = Failure(fields["text"], event.line, fields.get("who", ""))
        if run.stopped and found.is_asked_for:
            return
        run.n_since = run.n_points_since = 0
        told_calmly = "level" in fields and not found.is_consequence
        if ("type" in fields or "pattern" in fields) and not told_calmly:
            run.failures.add(found)
        elif any(c.isalnum() for c in found.text):
            run.n_logged += 1
            run.logged = found

    def _went_on(self, run: LoggedRun) -> None:
        if run.failures:
            run.n_logged += len(run.failures.kept)
            run.logged = run.failures.cause()
            run.failures.forget()

    def _phase(self, event: LogEvent) -> None:
        fields, run = event.fields, self._runs[-1]
        if fields["starts_run"]:
            if run.started:
                if len(self._runs) >= MAX_RUNS:  # the first and the last are kept
                    del self._runs[MAX_RUNS // 2]
                    self._n_runs_left_out += 1
                self._runs.append(run := LoggedRun(first_line=event.line))
            run.started = True
        run.phases[fields["pattern"]] = (event.line, fields["groups"])
        run.phase = (fields["name"], event.line)
        run.n_since = WENT_ON_AFTER
        self._went_on(run)
        if fields["ends_run"]:
            run.end_line = event.line

    def _point(self, event: LogEvent) -> None:
        fields, run = event.fields, self._runs[-1]
        values = fields["fields"]
        self._look_for_nan(run, event)
        run.n_points_since += 1
        if run.failures and run.n_points_since >= POINTS_AFTER:
            self._went_on(run)
        if fields["name"] == "observer" and ALPHA in values:
            span = run.alphas.setdefault(values[ALPHA], [0, event.line, event.line])
            span[0] += 1
            span[2] = event.line
        elif fields["name"] == "perplexity" and isinstance(values.get("perplexity"), str):
            self._add(
                f"perplexity on {values.get('dataset')} is {values['perplexity']}: not a number to compare",
                "not-finite",
                event.line,
            )

    def _look_for_nan(self, run: LoggedRun, event: LogEvent) -> None:
        name, values = event.fields["name"], event.fields["fields"]
        if len(run.n_points) < MAX_SETTINGS or name in run.n_points:
            run.n_points[name] = run.n_points.get(name, 0) + 1
        if name == "perplexity":  # has a sentence of its own
            return
        for key, value in values.items():
            has_room = len(run.not_finite) < MAX_SETTINGS or (name, key) in run.not_finite
            if value in ("nan", "inf", "-inf") and has_room:
                found = run.not_finite.setdefault((name, key), [0, values, event.line, event.line])
                found[0] += 1
                found[3] = event.line

    def _result(self, content: dict[str, Any], line: int) -> None:
        asked: dict[str, Any] = next((content[k] for k in ("args", "config") if isinstance(content.get(k), dict)), {})
        run = self._runs[-1]
        for name, value in asked.items():
            if isinstance(value, (str, int, float, bool)) and len(run.requested) < MAX_SETTINGS:
                run.requested[visible(name, 80)] = (visible(value, 400) if isinstance(value, str) else value, line)
        scores = {k: v for k, v in content.items() if k in _SCORES}
        self._same_scores(scores, asked, line)
        alpha = asked.get(ALPHA)
        if alpha is not None and asked.get("group_heads") is True:
            self._add(
                f"0 observers used alpha: {ALPHA} {alpha} was asked for together with group heads, where nothing "
                "reads it",
                "alpha-unread",
                line,
            )
        elif alpha is not None and content.get("activation_stats") == {}:
            self._add(
                f"no calibration happened: {ALPHA} {alpha} was asked for, and no activation statistics were recorded",
                "no-statistics",
                line,
            )
        for dataset, value in _pairs(content.get("ppl") or content.get("ppl_results")):
            if isinstance(value, str) and value in ("inf", "-inf", "nan"):
                self._add(
                    f"perplexity on {visible(dataset, 80)} is {value}: not a number to compare", "not-finite", line
                )

    def _same_scores(self, scores: dict[str, Any], asked: dict[str, Any], line: int) -> None:
        """Scores equal to the last digit with other calibration settings: the model was probably not made anew."""
        if not scores:
            return
        for before, before_asked, before_line in self._results:
            names = [n for n in CALIBRATION_SETTINGS if before_asked.get(n) != asked.get(n)]
            same_target = all(before_asked.get(n) == asked.get(n) for n in ("model", "w_bits", "a_bits"))
            if names and same_target and before == scores:
                text = (
                    f"the scores are those of line {before_line} to the last digit, although other settings were asked"
                )
                text += f" for ({', '.join(names)}): probably the same stored model was loaded"
                self._add(text, "same-scores", before_line, line)
                break
        if len(self._results) < MAX_RUNS:
            self._results.append((scores, asked, line))

    def _add(self, text: str, rule: str, *lines: int) -> None:
        if len(self._runs[-1].extra) < MAX_SETTINGS:
            self._runs[-1].extra.append(noted(text, rule, lines))

    def notes(self, *, final: bool) -> list[Finding]:
        """What can be said. With `final`, also what only the end of a log shows: that a run is not complete."""
        made: list[Finding] = []
        for i, run in enumerate(self._runs):
            found = self._conclude(run, complete=final or i < len(self._runs) - 1, last_text_line=self.last_text_line)
            number = i + 1 + (self._n_runs_left_out if i >= MAX_RUNS // 2 else 0)
            prefix = f"run {number}: " if len(self._runs) > 1 else ""
            made += [noted(prefix + n.text, n.rule, n.where.lines) for n in found]
        return made

    def settings(self) -> list[Setting]:
        """Of the last run, in the order they were first seen, requested ones first."""
        run = self._runs[-1]
        effective = dict(run.effective)
        stored = run.line("quamba.stored")
        if stored and run.did_calibrate:
            for flag in _FLAGS:
                effective.setdefault(flag, (False, stored))
        if run.alphas:
            alphas = list(run.alphas)
            value = alphas[0] if len(alphas) == 1 else ", ".join(map(str, alphas))
            effective[ALPHA] = (value, run.alphas[alphas[0]][1])
        elif run.did_calibrate and run.wants(ALPHA) is not None and effective.get("group_heads", (None, 0))[0] is True:
            effective[ALPHA] = (NOT_USED, effective["group_heads"][1])
        made = []
        for name in dict.fromkeys([*run.requested, *effective]):
            asked, found = run.requested.get(name), effective.get(name)
            made.append(
                Setting(
                    name,
                    asked[0] if asked else None,
                    found[0] if found else None,
                    asked[1] if asked else None,
                    found[1] if found else None,
                )
            )
        return made


def _same_bar(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return bool(before["name"] == after["name"] and before["total"] == after["total"])


def _pairs(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
