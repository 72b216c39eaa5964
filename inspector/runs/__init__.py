"""Runs: commands that outlive the terminal they were started from, each with a folder of its own.

The screen and the command line read; a supervisor, one process a run, writes. docs/runs.md has the layout of a folder.

    spec = make_spec(["python", "main.py"], name="quantize", env={"CUDA_VISIBLE_DEVICES": "0"})
    for sentence in check_before_start(spec): ...     # one GPU for two runs, death at logout
    run = start(spec)                                 # returns when the command runs; CannotStartRun
    run.state()                                       # RunState: state, reason, result
    events, offset = run.events(offset)               # what is new in the journal, cheap to ask for again and again
    run.log_path                                      # raw bytes of stdout and stderr
    run.cancel(grace_s=10), run.remove()              # RunIsNotLive, CannotSignal; RunIsLive
    list_runs(), find("quantize")                     # UnknownRun
    compare_specs(find("3f9a").spec, run.spec)        # what changed: (field, before, after)

GPUs are sampled by `gpus.GpuSampler`. What lives elsewhere: understanding what a log says (`qinspect.inspector.logs`),
and everything that is shown.
"""

from qinspect.inspector.runs.journal import RunEvent, missing, read_all_events, read_events
from qinspect.inspector.runs.result import Outcome, Result
from qinspect.inspector.runs.run import Run, check_before_start, find, list_runs, start, state_folder
from qinspect.inspector.runs.spec import RunSpec, compare_specs, make_spec, our_words, ourselves, typed
from qinspect.inspector.runs.state import RunState, State

__all__ = [
    "Outcome",
    "Result",
    "Run",
    "RunEvent",
    "RunSpec",
    "RunState",
    "State",
    "check_before_start",
    "compare_specs",
    "find",
    "list_runs",
    "make_spec",
    "missing",
    "our_words",
    "ourselves",
    "read_all_events",
    "read_events",
    "start",
    "state_folder",
    "typed",
]
