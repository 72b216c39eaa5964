"""Bytes to events: any chunks give the same, nothing raises, and what common tools print is understood."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.logs import KINDS, LogEvent, LogParser
from qinspect.inspector.logs.encoding import encoding_of
from qinspect.inspector.logs.patterns import builtin_patterns

PIECES = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b" ",
        b"\x1b[31m",
        b"\x1b]0;title\x07",
        b"\x1b",
        b"\x00",
        b"\xff\xfe",
        "é█".encode(),
        b"2024-01-02 03:04:05,678 WARNING  [main.py:18] careful\n",
        b"[rank0]: Traceback (most recent call last):\n",
        b"Traceback (most recent call last):\n",
        b'  File "a.py", line 1, in f\n',
        b"ValueError: no\n",
        b"\nDuring handling of the above exception, another exception occurred:\n\n",
        b"x.py:3: UserWarning: odd\n  f()\n",
        b"| a | b |\n|---|--:|\n",
        b"| 1 | 2 |\n",
        b'{\n    "a": {"b": [1, Infinity]}\n}',
        b'{"a": "}"}\n',
        b"{'loss': 0.5}\n",
        b"\r 50%|#####     | 1/2 [00:01<00:01,  1.00s/it]",
        b"\rname: 100%|##########| 2/2 [00:02<00:00,  1.00it/s]",
        b"Creating Model:m\n",
        b"Run calibration\n",
        b"PerTensorPercentileObserver: percentile_alpha=0.99950, w_max=1.5, clip_ratio=1.0\n",
        b"python main.py --a 1 --b\n",
        b"Killed\n",
        b"(Worker_TP0 pid=3) ERROR 05-27 22:31:29 [core.py:9] Traceback (most recent call last):\n",
        b'(Worker_TP0 pid=3) ERROR 05-27 22:31:29 [core.py:9]   File "a.py", line 1, in f\n',
        b"node1> Traceback (most recent call last):\nnode1>   x\n",
        b"node1> ValueError: no\n",
        b"[03/17/23 20:03:12] WARNING  folded                                 a.py:1\n",
        b"                             further\n",
        "╭──────── Traceback (most recent call last) ────────╮\n│ a.py:1 in f │\n╰───╯\nValueError: x\n".encode(),
        b'{"level": "error", "msg": "m", "exc_info": "Traceback (most recent call last):\\nValueError: x"}\n',
        b'{"log": "  File \\"a\\"\\n", "stream": "stderr"}\n',
        "log: ok\r\n".encode("utf-16"),
    ]
)
LOGS = st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=40).map(b"".join)


def events(data: bytes, *cuts: int) -> list[LogEvent]:
    parser, made, at = LogParser(builtin_patterns()), [], 0
    for cut in (*sorted(cuts), len(data)):
        made += parser.feed(data[at:cut])
        at = max(at, cut)
    return made + parser.close()


def only(kind: str, data: bytes) -> list[dict[str, Any]]:
    return [e.fields for e in events(data) if e.kind == kind]


@given(LOGS, st.lists(st.integers(0, 2000), max_size=8))
def test_chunks_do_not_matter(data: bytes, cuts: list[int]) -> None:
    whole = events(data)
    assert events(data, *(c for c in cuts if c < len(data))) == whole
    assert events(data, *range(len(data))) == whole


def is_utf8(data: bytes) -> bool:
    """No line of it begins as UTF-16 does: line ends are bytes 0x0A."""
    found = (encoding_of(line) for line in data.split(b"\n"))
    return all(f is None or f[0] == "utf-8" for f in found)


@given(LOGS.filter(is_utf8))
def test_events_are_json_and_say_where_they_are(data: bytes) -> None:
    n_lines = data.count(b"\n") + 1
    parser = LogParser(builtin_patterns())
    parser.feed(data)
    assert parser.n_lines == n_lines - (not data or data.endswith(b"\n"))
    for event in events(data):
        assert event.kind in KINDS
        json.dumps(event.fields, allow_nan=False)
        assert 1 <= event.line <= n_lines
        assert 0 <= event.offset <= len(data)


@given(st.binary(max_size=300))
def test_nothing_raises(data: bytes) -> None:
    events(data)


def test_every_fixture_in_single_bytes(source_root: Path) -> None:
    for path in sorted((source_root / "tests" / "data" / "logs").iterdir()):
        data = path.read_bytes()[:12_000]
        assert events(data, *range(len(data))) == events(data), path.name


HOSTILE = {
    "one long line": b"a" * 10_000_000,
    "no end of returns": b"\r" * 3_000_000,
    "a bar of 10 MB": b"\r 10%|" + b"#" * 10_000_000,
    "brackets": b" [" * 2_000_000,
    "braces": b"{" * 2_000_000 + b"\n" + b'{"a":' * 400_000,
    "escapes": b"\x1b[" * 2_000_000 + b"\n" + b"\x1b]" * 2_000_000,
    "parameters": b"\x1b[" + b"1;" * 2_000_000,
    "pipes": b"|" * 3_000_000 + b"|\n" * 300_000,
    "colons": b"a:1: " * 1_000_000 + b"Warning: ",
    "quotes": b"python --" + b"'" * 1_000_000,
    "digits": b"9" * 3_000_000 + b"%|" + b"9" * 100_000 + b"/" + b"9" * 100_000 + b" [",
    "tracebacks": b"Traceback (most recent call last):\n" * 100_000,
    "nested list": b"{'a': " + b"[" * 3_000 + b"]" * 3_000 + b"}\n",
    "warnings": b"\n".join(b"a.py:%d: UserWarning: %d" % (i, i) for i in range(50_000)),
    "settings": b"\n".join(b"python x --name%d 1" % i for i in range(30_000)),
    "spaces": b"x" + b" " * 5_000_000 + b"x",
    "words before levels": b"a-b/c " * 300_000 + b"\n" + b"word: " * 300_000,
    "tokens": b"[a] " * 500_000 + b"\n" + b"(a) " * 200_000 + b"\n" + b"(pid=1) " * 200_000,
    "speakers": b"".join(b"[rank%d]: Traceback (most recent call last):\n" % (i % 10_000) for i in range(30_000)),
    "learnt": b"".join(b"node%d> Traceback (most recent call last):\n" % (i % 10_000) for i in range(30_000)),
    "rules": "━".encode() * 500_000 + b"\n" + b" [" + b"=" * 500_000 + b"> ] 100%",
    "nulls": b"\0" * 3_000_000 + b"\n" + b"a\0" * 300_000 + b"\n\0" * 300_000,
    "records": b'{"level": "error", "msg": "' + b"x" * 100_000 + b'"}\n' + b'{"log": "a", "stream": "b"}\n' * 20_000,
    "does not exist": (b"a" * 4_000 + b" does not exist.") * 200,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_logs_take_linear_time(name: str) -> None:
    data = HOSTILE[name]
    start = time.process_time()
    for event in events(data, *range(0, len(data), 65_536)):
        assert len(json.dumps(event.fields)) < 2_000_000
    assert time.process_time() - start < 15


def test_the_end_of_a_long_line_is_read() -> None:
    for end in (b"RuntimeError: the last word", b" CUDA out of memory"):
        for n in (5_000, 40_000, 70_000, 3_000_000):
            (found,) = only("error", b"." * n + end)
            assert found["text"].endswith(end.decode().strip())
    bar = b"\r 50%|#####     | 1/2 [00:01<00:01,  1.00s/it]"
    assert [f["done"] for f in only("progress", b"." * 100_000 + bar + b"\n")] == [1]


def test_what_is_cut_is_counted() -> None:
    parser = LogParser(builtin_patterns())
    parser.feed(b"ERROR: " + b"x" * 100_000 + b"\nERROR: y\n")
    assert parser.cut_bytes == 100_007 - 65_536
    assert parser.n_lines == 2


# --- progress bars ---

BARS = [
    ("  3%|3         | 2/64 [00:00<00:03, 17.28it/s]", "progress", 2, 64, "it", 17.28, 3.0),
    ("  5%|▍         | 1/22 [00:01<00:32,  1.54s/it]", "progress", 1, 22, "it", 1 / 1.54, 32.0),
    ("Loading checkpoint shards:  50%|#####     | 1/2 [00:10<00:10, 10.1s/it]", "Loading checkpoint shards", 1, 2,
     "it", 1 / 10.1, 10.0),
    ("model.safetensors:  45%|####5     | 123M/273M [00:10<00:12, 12.3MB/s]", "model.safetensors", 123e6, 273e6, "B",
     12.3e6, 12.0),
    ("Map: 100%|##########| 1000/1000 [00:00<00:00, 12000.50 examples/s]", "Map", 1000, 1000, "examples", 12000.5, 0.0),
    ("Generating train split: 1000 examples [00:00, 10000.00 examples/s]", "Generating train split", 1000, None,
     "examples", 10000.0, None),
    ("12it [00:03,  3.90it/s]", "progress", 12, None, "it", 3.9, None),
    ("0it [00:00, ?it/s]", "progress", 0, None, "it", None, None),
    ("  0%|          | 0/512 [00:00<?, ?it/s]", "progress", 0, 512, "it", None, None),
    ("100%|##########| 2/2 [1:02:03<2:03:04, 1.21kit/s, loss=0.5]", "progress", 2, 2, "it", 1210.0, 7384.0),
    ("Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.00s/it]",
     "Loading safetensors checkpoint shards", 1, 2, "it", 1.0, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "done", "total", "unit", "rate", "eta"), BARS, ids=[b[0][:30] for b in BARS])
def test_bars(text: str, name: str, done: float, total: float, unit: str, rate: float, eta: float) -> None:
    (found,) = only("progress", b"\r" + text.encode() + b"\n")
    assert (found["name"], found["done"], found["total"], found["unit"]) == (name, done, total, unit)
    assert found["rate"] == pytest.approx(rate)
    assert found["eta_s"] == eta


def test_a_bar_is_named_after_its_phase_and_text_may_follow_it() -> None:
    data = b"Run calibration\n\r 50%|##   | 1/2 [00:01<00:01, 1.00it/s]ERROR: no\n"
    found = events(data)
    assert [e.kind for e in found] == ["phase", "progress", "error", "note"]
    assert found[1].fields["name"] == "calibration"
    assert (found[1].line, found[1].offset) == (2, 17)


def test_nested_bars() -> None:
    outer, inner = (
        b"\router:  %d%%|#| %d/2 [00:00<00:00, 1.00it/s]",
        b"\n\rinner:  50%|#| 1/2 [00:00<00:00, 9.00it/s]\x1b[A",
    )
    found = only("progress", outer % (0, 0) + inner + outer % (50, 1) + inner + b"\n\n")
    assert [(f["name"], f["done"]) for f in found] == [("outer", 0), ("inner", 1), ("outer", 1), ("inner", 1)]


def test_a_fast_bar_is_thinned_but_its_last_state_is_kept() -> None:
    states = b"".join(b"\r %2d%%|#| %d/100000 [00:00<00:01, 9.00it/s]" % (i // 1000, i) for i in range(5500))
    found = only("progress", states)
    assert [f["done"] for f in found] == [0, 1000, 2000, 3000, 4000, 5000, 5499]


def test_the_open_line_can_be_asked_for_its_bar() -> None:
    parser = LogParser(builtin_patterns())
    assert parser.feed(b"\r 50%|##   | 1/2 [01:15<01:15, 75.22s/it]") == []
    found = parser.pending_progress()
    assert found is not None
    assert found["done"] == 1


# --- levels, warnings, errors ---

HEADERS = [
    ("2025-11-07:19:59:56,769 WARNING  [main.py:18] text", "main.py:18", "2025-11-07T19:59:56.769"),
    ("2025-11-07 19:59:56,769 - root.sub - WARNING - text", "root.sub", "2025-11-07T19:59:56.769"),
    ("2025-11-07 19:59:56.769 | WARNING  | mod:fn:12 - text", "mod:fn:12", "2025-11-07T19:59:56.769"),
    ("2025-11-07T19:59:56Z WARN text", None, "2025-11-07T19:59:56Z"),
    ("[2025-11-07 19:59:56,769] [WARNING] [file.py:12:fn] text", "file.py:12:fn", "2025-11-07T19:59:56.769"),
    ("[WARNING|trainer.py:123] 2025-11-07 19:59:56,769 >> text", "trainer.py:123", "2025-11-07T19:59:56.769"),
    ("[WARNING] text", None, None),
    ("WARNING:root:text", "root", None),
    ("WARNING: text", None, None),
    ("W1107 19:59:56.769123 12345 file.cc:123] text", "file.cc:123", "2000-11-07T19:59:56.769123"),
    ("WARNING 11-07 19:59:56 [file.py:9] text", "file.py:9", "2000-11-07T19:59:56"),
    ("[rank3]:[W1107 19:59:56.769 file.cpp:9] text", "file.cpp:9", "2000-11-07T19:59:56.769"),
    ("\x1b[33mWARNING\x1b[0m: text", None, None),
]


@pytest.mark.parametrize(("line", "where", "when"), HEADERS, ids=[h[0][:30] for h in HEADERS])
def test_loggers(line: str, where: str | None, when: str | None) -> None:
    (found,) = only("warning", line.encode())
    assert found["text"] == "text"
    assert (found.get("where"), found.get("time")) == (where, when)


ERRORS = [
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "RuntimeError: CUDA error: an illegal memory access was encountered",
    "node7:123:456 [0] NCCL WARN Cuda failure",
    "ncclSystemError: System call failed",
    "slurmstepd: error: *** JOB 123 ON node7 CANCELLED AT 2025-11-07T19:59:56 DUE TO TIME LIMIT ***",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.",
    "Killed",
    "run.sh: line 3:  1234 Killed                  python main.py",
    "Segmentation fault (core dumped)",
    "OSError: [Errno 28] No space left on device",
    "CRITICAL:root:all is lost",
]


@pytest.mark.parametrize("line", ERRORS)
def test_what_ends_runs(line: str) -> None:
    (found,) = only("error", line.encode() + b"\n")
    assert "\n" not in found["text"]


def test_words_that_only_look_like_an_end() -> None:
    assert only("error", b"Killed the goblin\nTerminated contracts: 3\nhttp://out of memory lane\n") == []


CHAINED = b"""[rank1]: Traceback (most recent call last):
[rank1]:   File "a.py", line 1, in f
[rank1]:     x = {}['k']
[rank1]: KeyError: 'k'

[rank1]: During handling of the above exception, another exception occurred:

[rank1]: Traceback (most recent call last):
[rank1]:   File "a.py", line 9, in <module>
[rank1]: RuntimeError: CUDA error: device-side assert triggered
[rank1]: CUDA kernel errors might be asynchronously reported
plain text
"""


def test_a_chained_traceback_is_one_error() -> None:
    (found,) = only("error", CHAINED)
    assert found["text"] == "RuntimeError: CUDA error: device-side assert triggered"
    assert (found["type"], found["chained"], found["frames"]) == ("RuntimeError", 1, 2)
    assert found["traceback"].count("\n") == 8
    assert "[rank1]" not in found["traceback"]


def test_two_tracebacks_are_two_errors() -> None:
    one = b'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: %d\n'
    assert [f["text"] for f in only("error", one % 1 + one % 2)] == ["ValueError: 1", "ValueError: 2"]


def test_a_message_over_several_lines_and_a_log_line_in_between() -> None:
    data = (
        b'Traceback (most recent call last):\n  File "a.py", line 1, in f\n'
        b"RuntimeError: Error(s) in loading state_dict for M:\n\tMissing key(s): a\nERROR: next\n"
    )
    first, second = only("error", data)
    assert first["traceback"].endswith("Missing key(s): a")
    assert second["text"] == "next"


def test_control_characters_in_fields_are_visible() -> None:
    (found,) = only("warning", b"WARNING: a\x00b\x1b[2Jc\xe2\x80\xaed\n")
    assert found["text"] == "a\\x00bc\\u202ed"


# --- objects, commands, conclusions ---


@pytest.mark.parametrize(
    ("line", "name", "fields"),
    [
        ("{'loss': 0.5, 'epoch': 1.0}", "metrics", {"loss": 0.5, "epoch": 1.0}),
        ("{'loss': 0.5, 'grad_norm': nan, 'x': -inf}", "metrics", {"loss": 0.5, "grad_norm": "nan", "x": "-inf"}),
        ("{'loss': np.float64(0.5), 'n': np.int64(3)}", "metrics", {"loss": 0.5, "n": 3}),
        ("{'loss': tensor(0.25, device='cuda:0')}", "metrics", {"loss": 0.25}),
        ("INFO  {'process': 'gptq', 'layer': 1, 'module': 'mlp.up_proj', 'loss': '0.1100', 'samples': '91'}", "gptq",
         {"process": "gptq", "layer": 1, "module": "mlp.up_proj", "loss": 0.11, "samples": 91}),
        ("INFO - {'layer': 19, 'module': 'self_attn.q_proj', 'loss': 'nan'}", "metrics",
         {"layer": 19, "module": "self_attn.q_proj", "loss": "nan"}),
        ("[rank1]: {'loss': '1e-3'}", "metrics", {"loss": 0.001}),
    ],
)  # fmt: skip
def test_metrics_of_a_trainer_are_a_point(line: str, name: str, fields: dict[str, Any]) -> None:
    (found,) = only("point", line.encode() + b"\n")
    assert found == {"name": name, "fields": fields}


def test_objects_without_anything_between() -> None:
    found = events(b'{\n "a": 1\n}{\n "b": "}{"\n}{"c": NaN}\ntext\n')
    assert [(e.fields["json"], e.line) for e in found] == [({"a": 1}, 1), ({"b": "}{"}, 3), ({"c": "nan"}, 5)]


def test_what_only_looks_like_an_object_hides_nothing() -> None:
    for line in (b"Killed\n", CHAINED, b"ERROR: no\n", b"[rank0]: ValueError: x\n"):
        assert len(only("error", b'config = \n{\n  "a": [\n' + line)) == 1


def test_a_command_says_what_was_asked_for() -> None:
    parser = LogParser(builtin_patterns(), ["python", "main.py", "m", "--percentile_alpha", "0.5", "--group-heads"])
    assert [(e.line, e.fields["name"], e.fields["value"]) for e in parser.feed(b"")] == [
        (0, "percentile_alpha", 0.5),
        (0, "group_heads", True),
    ]
    parser.feed(b"Creating Model:m\nLoading quantized model from here\n")
    assert {n.rule for n in parser.notes()} == {"loaded-existing", "settings-without-effect", "alpha-unread"}
    assert "incomplete" in {n.rule for n in parser.notes(final=True)}


OBSERVER = b"PerTensorPercentileObserver: percentile_alpha=%s, w_max=1.5, clip_ratio=1.0\n"
RUN = b"$ python main.py --percentile_alpha %s\nRun calibration\n%sApplying quantized layers\n"


@pytest.mark.parametrize(
    ("asked", "lines", "rules"),
    [
        (b"0.9995", OBSERVER % b"0.99950", {"alpha-used"}),
        (b"0.999996", OBSERVER % b"1.00000", {"alpha-used"}),
        (b"0.9995", OBSERVER % b"0.99900", {"alpha-used", "alpha-differs"}),
        (b"0.9995", b"", {"alpha-unknown"}),
        (b"0.9995", b"Reordering weights and activations for head grouping\n", {"alpha-unread"}),
        (b"0.9995", b"Register forward hook for a for getting reorder scales\n", {"alpha-unread"}),
    ],
)
def test_alpha_is_concluded_from_what_the_log_can_show(asked: bytes, lines: bytes, rules: set[str]) -> None:
    parser = LogParser(builtin_patterns())
    parser.feed(RUN % (asked, lines))
    assert {n.rule for n in parser.notes() if n.rule.startswith("alpha")} == rules


def test_runs_in_one_log_are_told_apart() -> None:
    parser = LogParser(builtin_patterns())
    parser.feed(b"Creating Model:a\nLoading quantized model from x\nSaving result to r\n" * 2)
    assert [n.text[:6] for n in parser.notes()] == ["run 1:", "run 2:"]


def test_closing_twice_and_feeding_nothing() -> None:
    parser = LogParser(builtin_patterns())
    assert parser.feed(b"") == []
    assert parser.close() == []
    assert parser.close() == []
