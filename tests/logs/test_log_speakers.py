"""Who speaks: levels behind any prefix, blocks of several speakers in turn, prefixes learnt from the log itself."""

from __future__ import annotations

from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.logs import LogParser, LogSummary, summarize
from qinspect.inspector.logs.levels import LevelScan, level_of
from qinspect.inspector.logs.patterns import builtin_patterns

# what one program or collector writes before a line, and who that is
SPEAKERS = [
    ("", ""),
    ("[rank0]: ", "rank0"),
    ("[default7]:", "default7"),
    ("[0] ", "0"),
    ("[12]: ", "12"),
    ("3: ", "3"),
    (" 0: ", "0"),
    ("[1,0]<stderr>:", "1,0"),
    ("(VllmWorker rank=0 pid=217) ", "VllmWorker rank=0 pid=217"),
    ("(EngineCore_DP0 pid=93) ", "EngineCore_DP0 pid=93"),
    ("(APIServer pid=1) ", "APIServer pid=1"),
    ("(RayWorker pid=123, ip=10.0.0.1) ", "RayWorker pid=123, ip=10.0.0.1"),
    ("(raylet) ", "raylet"),
    ("quantize-1  | ", "quantize-1"),
    ("2025-01-01T00:00:00.0Z stderr F ", "stderr"),
    ("Nov 29 10:00:00 host unit[12]: ", "host unit[12]"),
    ("2025-11-29T10:00:00+0000 host unit[12]: ", "host unit[12]"),
    ("[pod/q-1/main] ", "pod/q-1/main"),
    ("2025-01-01T00:00:00.0000000Z ", ""),
    ("2026-05-01 19:08:53.166 | (EngineCore pid=187) ", "EngineCore pid=187"),
    ("api-1  | (Worker_TP1 pid=307) ", "api-1 Worker_TP1 pid=307"),
    ("[2025-01-15, 03:51:44 CST] {pod_manager.py:229} INFO - ", ""),
]
# what a logger writes then: the level, and the place it names
LOGGERS = [
    ("WARNING 05-27 22:31:29 [kv_cache.py:98] ", "warning", "kv_cache.py:98"),
    ("2026-07-30T08:00:01.007919+0000 | quantize_weight | WARNING - ", "warning", "quantize_weight"),
    ("2025-11-07 19:59:56.769 | ERROR    | mod:fn:12 - ", "error", "mod:fn:12"),
    ("2024-05-30 03:46:08 WARNING autoround.py L981: ", "warning", "autoround.py L981"),
    ("2025-11-07 19:59:56,769 - root.sub - ERROR - ", "error", "root.sub"),
    ("E0529 12:00:00.1 123 file.cc:10] ", "error", "file.cc:10"),
    ("WARNING: ", "warning", None),
]
ALONE = [
    ("[08/23/2024-05:15:07] [TRT-LLM] [W] ", "warning", "TRT-LLM"),
    ("[TensorRT-LLM][ERROR] ", "error", "TensorRT-LLM"),
    ("[TensorRT] ERROR: ", "error", "TensorRT"),
    ("2025-12-05 23:01:40.358 [Warning] [ComfyUI-0/STDERR] ", "warning", "ComfyUI-0/STDERR"),
    ("2025-12-05 23:01:40.358 [Error] [BackendHandler] ", "error", "BackendHandler"),
    ("[03/17/23 20:03:13] WARNING  ", "warning", None),
    ("WARN  ", "warning", None),
    ("ERROR ", "error", None),
    ("[ERROR] ", "error", None),
    ("2024-05-15 12:15:13 package.module WARNING     ", "warning", "package.module"),
    ("0.00.035.060 W ", "warning", None),
    ("[W:onnxruntime:Default, graph.cc:12 run] ", "warning", "onnxruntime:Default, graph.cc:12 run"),
    ("llama_model_load: error: ", "error", "llama_model_load"),
    ("2025-01-01T00:00:00.0000000Z ##[error]", "error", None),
    ("[Worker 3] [step 7] ERROR: ", "error", "step 7"),
]


def only(kind: str, data: bytes) -> list[dict[str, Any]]:
    parser = LogParser(builtin_patterns())
    return [e.fields for e in parser.feed(data) + parser.close() if e.kind == kind]


@pytest.mark.parametrize(("logger", "level", "where"), LOGGERS, ids=[x[0].strip() for x in LOGGERS])
@pytest.mark.parametrize(("speaker", "who"), SPEAKERS, ids=[x[0].strip() or "nobody" for x in SPEAKERS])
def test_levels_behind_speakers(speaker: str, who: str, logger: str, level: str, where: str | None) -> None:
    line = f"{speaker}{logger}some words".encode()
    (found,) = only(level, line)
    assert (found["text"], found.get("who", "")) == ("some words", who)
    if where:
        assert found["where"] == where
    assert level_of(line) == level


@pytest.mark.parametrize(("logger", "level", "where"), ALONE, ids=[x[0].strip() for x in ALONE])
def test_loggers_with_prefixes_of_their_own(logger: str, level: str, where: str | None) -> None:
    line = f"{logger}some words".encode()
    (found,) = only(level, line)
    assert (found["text"], found.get("where")) == ("some words", where)
    assert level_of(line) == level


@pytest.mark.parametrize("line", ["[Task: a] some words", "[3/1000] some words", "(see above) some words", "acc | 0.5"])
def test_brackets_without_a_level_are_text(line: str) -> None:
    assert only("warning", line.encode()) == only("error", line.encode()) == []
    assert level_of(line.encode()) == ""


def traceback(error: str) -> list[str]:
    return [
        "Traceback (most recent call last):",
        '  File "/w/a.py", line 8, in <module>',
        "    main()",
        "",
        '  File "/w/a.py", line 1, in main',
        "    all_reduce(amax)",
        error,
    ]


LEARNABLE = [
    ("<node-{}> ", True), ("host{} gpu{}> ", True), ("worker-{}@a10 ... ", True), ("#{} | ", True),
    *[(s.replace("0", "{}"), False) for s, _ in SPEAKERS if s.count("0") == 1],
]  # fmt: skip


@given(st.data())
@pytest.mark.parametrize(("prefix", "learnt"), LEARNABLE, ids=[p for p, _ in LEARNABLE])
def test_tracebacks_in_turn_are_whole(prefix: str, learnt: bool, data: st.DataObject) -> None:
    """Any merge of the lines of two speakers gives both errors, each with all its lines."""
    texts = [traceback("ValueError: one"), traceback("RuntimeError: two")]
    queues = [[prefix.replace("{}", str(i)) + t for t in text] for i, text in enumerate(texts)]
    lines = []
    while any(queues):
        which = data.draw(st.sampled_from([i for i, q in enumerate(queues) if q]))
        lines.append(queues[which].pop(0))
    found = only("error", "\n".join(lines).encode() + b"\n")
    assert {f["text"] for f in found} == {"ValueError: one", "RuntimeError: two"}
    for f in found:
        wanted = next(t for t in texts if t[-1] == f["text"])
        assert f["traceback"].split("\n") == [line for line in wanted if line]
        assert f["frames"] == 2
        assert bool(f["who"])


def test_a_logger_in_front_of_every_line_or_of_the_first() -> None:
    head = "2025-01-01 00:00:00,123 - app - ERROR - "
    every = [head + line for line in traceback("ValueError: one")]
    first = [head + traceback("")[0], *traceback("ValueError: two")[1:]]
    between = ["2025-01-01 00:00:00,123 - app - INFO - still here"]
    found = only("error", "\n".join([*every, *between, *first, *between]).encode())
    assert [f["text"] for f in found] == ["ValueError: one", "ValueError: two"]
    assert [f["frames"] for f in found] == [2, 2]


def test_sources_in_turn_behind_one_collector() -> None:
    head = "2025-12-05 23:01:4{}.358 [Warning] [Back-{}/STDERR] "
    sources = [[head.format(i, k) + text for i, text in enumerate(traceback(f"ValueError: {k}"))] for k in range(2)]
    lines = chain.from_iterable(zip_longest(*sources))
    found = only("error", "\r\n".join(lines).encode() + b"\r\n")
    assert [f["text"] for f in found] == ["ValueError: 0", "ValueError: 1"]
    assert [f["frames"] for f in found] == [2, 2]


def test_a_prefix_that_most_lines_have_is_learnt() -> None:
    log = "".join(f"<worker-{i % 3}> step {i}\n" for i in range(30)) + "<worker-1> Run calibration\n<worker-2> Killed\n"
    parser = LogParser(builtin_patterns())
    found = parser.feed(log.encode()) + parser.close()
    assert [e.fields["name"] for e in found if e.kind == "phase"] == ["calibration"]
    assert [(e.fields["text"], e.fields["who"]) for e in found if e.kind == "error"] == [("Killed", "<worker-2>")]


def test_what_only_looks_like_a_prefix_is_not_learnt() -> None:
    lines = b"PerTensorPercentileObserver: percentile_alpha=0.9, w_max=1.5\n" * 40 + b"loss: 0.5\n" * 40
    assert len(only("point", lines)) == 40


def test_many_speakers_are_bounded() -> None:
    data = b"".join(b"[rank%d]: Traceback (most recent call last):\n" % i for i in range(1000))
    assert len(only("error", data)) == 1000


# --- launchers ---


def summary(tmp_path: Path, lines: list[str]) -> LogSummary:
    path = tmp_path / "run.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return summarize(path, builtin_patterns())


TORCHRUN = "W1210 00:03:08.897000 285638 torch/distributed/run.py:793] "
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
PEER = "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.cpp:77, remote process exited"


def torchrun(ranks: dict[int, str], root: int) -> list[str]:
    tracebacks = [[f"[rank{i}]: {t}" for t in traceback(error)] for i, error in ranks.items()]
    return [
        TORCHRUN,
        TORCHRUN + "*" * 41,
        TORCHRUN + "Setting OMP_NUM_THREADS environment variable for each process to be 1",
        TORCHRUN + "*" * 41,
        *(line for lines in zip(*tracebacks, strict=True) for line in lines),
        "W1210 00:13:10.001000 285638 torch/api.py:897] Sending process 285702 closing signal SIGTERM",
        f"E1210 00:13:10.234000 285638 torch/api.py:869] failed (exitcode: 1) local_rank: {root} (pid: 285701)",
        "Traceback (most recent call last):",
        '  File "/opt/venv/bin/torchrun", line 8, in <module>',
        "    sys.exit(main())",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "=" * 60,
        "calibrate.py FAILED",
        "-" * 60,
        "Failures:",
        "[1]:",
        "  rank      : 5 (local_rank: 5)",
        "  exitcode  : -15 (pid: 285702)",
        "-" * 60,
        "Root Cause (first observed failure):",
        "[0]:",
        "  time      : 2025-12-10_00:13:10",
        f"  rank      : {root} (local_rank: {root})",
        "  exitcode  : -9 (pid: 285701)",
        "=" * 60,
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_root_cause_is_the_ranks_own_error(order: tuple[int, int], tmp_path: Path) -> None:
    for root in (0, 1):
        errors = {root: OOM, 1 - root: PEER}
        found = summary(tmp_path, torchrun({i: errors[i] for i in order}, root))
        assert [n.text for n in found.notes] == [f"the run failed since rank {root} ran out of memory: {OOM}"]
        assert len([e for e in found.errors if e.fields.get("frames") == 2]) == 2
        assert all(any(c.isalnum() for c in w.text) for w in found.warnings)
        assert len(found.warnings) == 2


def test_a_root_cause_whose_error_is_not_in_the_log(tmp_path: Path) -> None:
    (note,) = summary(tmp_path, torchrun({1: PEER}, 0)).notes
    assert note.text == "the run failed since rank 0 exited with code -9 (SIGKILL): its own error is not in this log"


# --- the log view ---


@pytest.mark.parametrize(("prefix", "_"), [s for s in SPEAKERS if s[0]], ids=[s[0].strip() for s in SPEAKERS if s[0]])
def test_the_view_shows_whole_tracebacks_of_speakers(prefix: str, _: str, tmp_path: Path) -> None:
    lines = [prefix + t for t in ["fine", *traceback("ValueError: one"), "fine again"]]
    path = tmp_path / "log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    scan = LevelScan(path)
    assert scan.scan(path.stat().st_size)
    assert list(scan.errors) == list(range(1, 8))
