"""The rules by which conclusions are drawn from the facts of one run, in the order they are told."""

from __future__ import annotations

from typing import Any

from qinspect.inspector.finding import Finding
from qinspect.inspector.logs.conclusions import ALPHA, CALIBRATION_SETTINGS, LoggedRun, noted, same_value
from qinspect.inspector.logs.ends import both_ends
from qinspect.inspector.text import count, some, visible


def conclude(run: LoggedRun, *, complete: bool, last_text_line: int) -> list[Finding]:
    """All conclusions of a run. complete: nothing more comes."""
    made = [*_model(run), *_alpha(run), *_settings(run), *run.extra, *_results(run)]
    made += [*_sentences(run), *_not_finite(run)]
    return [*made, *_end(run, last_text_line)] if complete else made


def _model(run: LoggedRun) -> list[Finding]:
    made = []
    loaded = run.loaded
    if loaded:
        path, line = loaded
        if "quamba.load" in run.phases:
            made.append(
                noted(f"no calibration happened: loaded an existing directory {path}", "loaded-existing", (line,))
            )
        else:
            made.append(
                noted(f"no calibration in this run: {path} is a stored quantized model", "loaded-existing", (line,))
            )
        # Settings that only the summary at the end repeats are known too late for a running log, and then said.
        lost = [n for n in CALIBRATION_SETTINGS if run.wants(n) not in (None, False)]
        if lost:
            asked = ", ".join(f"{n} {value_text(run.wants(n))}" for n in lost)
            lines = sorted({run.requested[n][1] for n in lost if run.requested[n][1]})
            made.append(
                noted(
                    f"asked for without effect, because the directory decides: {asked}",
                    "settings-without-effect",
                    (line, *lines),
                )
            )
    if run.calibrated:
        n, line = run.calibrated
        made.append(noted(f"calibrated with {some(n, 'sample')}{_source(run)}", "calibrated", (line,)))
    if "quamba.stored" in run.phases:
        line, groups = run.phases["quamba.stored"]
        made.append(noted(f"the quantized model was stored at {groups.get('path', '')}", "stored", (line,)))
    elif run.end_line and run.did_calibrate:
        made.append(noted("the quantized model was not stored", "not-stored", (run.end_line,)))
    return made


def _source(run: LoggedRun) -> str:
    cache = run.phases.get("quamba.calib_cache_read")
    if cache:
        return f" from the cache {cache[1].get('path', '')}"
    dataset = run.effective.get("calib_dataset")
    return f" of {dataset[0]}" if dataset else ""


def _alpha(run: LoggedRun) -> list[Finding]:
    asked, asked_line = run.requested.get(ALPHA, (None, 0))
    made = []
    for alpha, (n, first, last) in run.alphas.items():
        lines = (first, last) if last > first else (first,)
        made.append(noted(f"{some(n, 'observer')} used alpha {alpha}", "alpha-used", lines))
        if asked is not None and not same_value(asked, alpha):
            made.append(
                noted(f"{ALPHA} {asked} was asked for, and {alpha} was used", "alpha-differs", (asked_line, first))
            )
    if run.alphas or asked is None:
        return made
    if run.loaded:
        text = f"0 observers used alpha: {ALPHA} {asked} was asked for, and nothing was calibrated"
        return [noted(text, "alpha-unread", _known(asked_line, run.loaded[1]))]
    if not run.did_calibrate:
        return []
    groups = run.effective.get("group_heads") or run.requested.get("group_heads")
    if groups and groups[0] is True:
        text = (
            f"0 observers used alpha: {ALPHA} {asked} was asked for together with group heads, where nothing reads it"
        )
        return [noted(text, "alpha-unread", _known(asked_line, groups[1]))]
    if run.effective.get("verbose"):
        text = f"0 observers used alpha: {ALPHA} {asked} was asked for, and no observer reported one"
        return [noted(text, "alpha-unread", _known(asked_line))]
    text = f"which alpha was used is unknown: {asked} was asked for, and observers report it with --verbose only"
    return [noted(text, "alpha-unknown", _known(asked_line))]


def _settings(run: LoggedRun) -> list[Finding]:
    made = []
    for name, (asked, line) in run.requested.items():
        if name in run.effective and name not in (ALPHA, "model") and run.effective[name][0] != "":
            found, found_line = run.effective[name]
            if not same_value(asked, found) and type(asked) is type(found):
                text = f"{name} {value_text(asked)} was asked for, and {value_text(found)} took effect"
                made.append(noted(text, "setting-differs", _known(line, found_line)))
    return made


def _results(run: LoggedRun) -> list[Finding]:
    made = []
    fp16, ppl = run.line("quamba.fp16"), run.line("quamba.ppl_start")
    if fp16:
        text = "nothing was quantized: the fp16 model was evaluated"
        if ppl:
            text += "; '(quantized)' in the log is a fixed text"
        made.append(noted(text, "fp16", (fp16, ppl) if ppl else (fp16,)))
    none = run.line("quamba.no_task")
    if none:
        made.append(noted("nothing was evaluated: the command named no task", "no-task", (none,)))
    return made


def _sentences(run: LoggedRun) -> list[Finding]:
    """What tools said themselves."""
    return [
        noted(said.text(run.said), name, (said.first,) if said.first == said.last else (said.first, said.last))
        for name, said in run.said.items()
        if said.pattern.concludes
    ]


def _not_finite(run: LoggedRun) -> list[Finding]:
    made = []
    for (name, key), (n, first, line, last) in run.not_finite.items():
        where = ", ".join(f"{k} {value_text(v)}" for k, v in first.items() if k in ("layer", "module", "step", "epoch"))
        text = f"{key} is {first[key]} in {count(n)} of {some(run.n_points.get(name, n), 'row')} of {name}"
        text += f", first at {where}" if where else ""
        made.append(noted(visible(text, 400), "not-finite", (line,) if line == last else (line, last)))
    return made


def _end(run: LoggedRun, last_text_line: int) -> list[Finding]:
    after = f" after '{run.phase[0]}'" if run.phase else ""
    if run.failures:
        why, lines = run.failures.told()
        return [noted(f"the run failed{after if why.startswith(':') else ''}{why}", "failed", lines)]
    made = []
    if run.logged:
        text = visible(both_ends(run.logged.text, 400))
        if last_text_line <= run.logged.line:
            return [noted(f"the log ends with an error{after}: {text}", "ends-in-error", (run.logged.line,))]
        which = "an error, which is" if run.n_logged == 1 else f"{count(run.n_logged)} errors, the last of which is"
        made.append(noted(f"the log goes on after {which}: {text}", "error-logged", (run.logged.line,)))
    return made + _incomplete(run, last_text_line)


def _incomplete(run: LoggedRun, last_text_line: int) -> list[Finding]:
    if run.bar and run.bar[1] >= last_text_line:
        fields, line = run.bar
        done, total = fields["done"], fields["total"]
        if total and done < total:
            at = f"{value_text(done)} of {value_text(total)}"
            text = f"the run is incomplete: the log ends in '{fields['name']}' at {at}"
            return [noted(text, "incomplete", (line,))]
    if run.started and not run.end_line and run.phase:
        name, line = run.phase
        return [noted(f"the run is incomplete: the log ends after '{name}'", "incomplete", (line,))]
    return []


def value_text(value: Any) -> str:
    """A setting's value for people: what the command line would call it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) and abs(value) >= 1e6 else str(value)


def _known(*lines: int) -> tuple[int, ...]:
    return tuple(sorted({line for line in lines if line}))
