"""Which of several errors is told as the cause: of C++, of ranks that wait for each other, of a shell; and of a server
that was asked to end, none."""

from __future__ import annotations

import pytest

from qinspect.inspector.logs import LogParser
from qinspect.inspector.logs.patterns import builtin_patterns

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    run()\n'
WATCHDOG = (
    "[rank{0}]:[E501 11:12:34.903881913 ProcessGroupNCCL.cpp:616] [Rank {0}] Watchdog caught collective operation "
    "timeout: WorkNCCL(SeqNum=808, OpType=ALLREDUCE) ran for 600020 milliseconds before timing out.\n"
)
THROWN = (
    "terminate called after throwing an instance of 'c10::DistBackendError'\n"
    "  what():  [PG ID 0 PG GUID 0(default_pg) Rank 0] Process group watchdog thread terminated with exception: "
    "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=808, OpType=ALLREDUCE)\n"
)
REPORT = (
    "E0501 11:12:36.525000 3400 torch/distributed/elastic/multiprocessing/api.py:869] failed (exitcode: -6) "
    "local_rank: 0 (pid: 3431) of binary: /opt/conda/bin/python\n"
    'Traceback (most recent call last):\n  File "/opt/bin/torchrun", line 8, in <module>\n    sys.exit(main())\n'
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    "Root Cause (first observed failure):\n[0]:\n  rank      : 0 (local_rank: 0)\n  exitcode  : -6 (pid: 3431)\n"
)


def notes(text: str) -> list[str]:
    parser = LogParser(builtin_patterns())
    parser.feed(text.encode())
    parser.close()
    return [n.text for n in parser.notes(final=True)]


def test_ranks_that_waited_in_vain() -> None:
    waited = WATCHDOG.format(1) + WATCHDOG.format(0) + THROWN + REPORT
    said = "the run failed since rank 0 failed: [Rank 0] Watchdog caught collective operation timeout: WorkNCCL("
    (note,) = notes(waited)
    assert note.startswith(said)
    (note,) = notes(WATCHDOG.format(1) + THROWN)
    assert note.startswith(said.replace("rank 0", "rank 1").replace("Rank 0", "Rank 1"))


def test_a_rank_that_others_waited_for() -> None:
    own = "".join(f"[rank3]: {line}\n" for line in f"{TRACEBACK}ValueError: amax is nan".split("\n"))
    assert notes(own + WATCHDOG.format(0) + THROWN + REPORT) == [
        "the run failed since rank 3 failed: ValueError: amax is nan"
    ]


def test_why_cpp_was_terminated() -> None:
    thrown = "terminate called after throwing an instance of 'std::{}'\n"
    assert notes(thrown.format("bad_alloc") + "  what():  std::bad_alloc\n") == ["the run failed: std::bad_alloc"]
    assert notes(thrown.format("logic_error")) == ["the run failed: " + thrown.format("logic_error").strip()]


KILLED = "/app/serve.sh: line 12:   412 Killed                  vllm serve m\n"
RAY = f"{TRACEBACK}ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.\n"
BAR = "Calibrating:  {0}%|███       | {0}/100 [00:10<00:20,  1.22it/s]\n"


def test_a_shell_that_buries_what_had_failed() -> None:
    last = "the run failed: ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory."
    assert notes(BAR.format(20) + RAY + KILLED) == [last]
    assert notes(RAY + "Killed\n") == [last]


def test_a_kill_after_the_bar_went_on_is_its_own() -> None:
    assert notes(BAR.format(20) + RAY + BAR.format(60) + KILLED) == [f"the run failed: {KILLED.strip()}"]
    assert notes(KILLED) == [f"the run failed: {KILLED.strip()}"]


STOPPED = [
    "INFO:     Shutting down\nINFO:     Application shutdown complete.\nINFO:     Finished server process [1558425]\n",
    "INFO 08-18 03:43:40 async_llm_engine.py:51] Engine is gracefully shutting down.\n",
    "(APIServer pid=98719) INFO 08-18 03:43:03 [launcher.py:100] [shutdown] API server: shutdown triggered\n",
]
WORKER = "ERROR 08-18 03:43:42 multiproc_worker_utils.py:120] Worker VllmWorkerProcess pid 15 died, exit code: {}\n"


@pytest.mark.parametrize("stopped", STOPPED)
def test_workers_of_a_server_that_was_asked_to_end(stopped: str) -> None:
    assert notes(stopped + WORKER.format(-15)) == []
    assert notes(WORKER.format(-15)) == [
        "the run failed: Worker VllmWorkerProcess pid 15 died, exit code: -15 (SIGTERM)"
    ]
    assert notes(stopped + WORKER.format(-11))[0].startswith("the run failed: Worker")
    failed = f"{TRACEBACK}ValueError: no memory\n"
    assert notes(failed + stopped + WORKER.format(-15)) == ["the run failed: ValueError: no memory"]


def test_levels_of_ray() -> None:
    head = "(raylet) [2026-03-21 17:27:40,117 {} 135782 135782] (raylet) node_manager.cc:3069: "
    assert notes(head.format("E") + "1 Workers (tasks / actors) killed due to memory pressure (OOM)\n") == [
        "the log ends with an error: 1 Workers (tasks / actors) killed due to memory pressure (OOM)"
    ]
    assert notes(head.format("I") + "starting\n") == []
