"""Logs that have the words of an error, of runs that did not fail; and the like of runs that did."""

from __future__ import annotations

from qinspect.inspector.logs import LogParser
from qinspect.inspector.logs.levels import level_of

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    import x\n'
SHARED = f"{TRACEBACK}ModuleNotFoundError: No module named 'flash_attn'\n"
GOES_ON = "the log goes on after an error, which is: ModuleNotFoundError: No module named 'flash_attn'"


def notes(text: str) -> list[str]:
    parser = LogParser()
    parser.feed(text.encode())
    parser.close()
    return [n.text for n in parser.notes(final=True)]


def test_measures_and_counts_called_error() -> None:
    lines = ["error: none", "Error: 0.00123", "ERROR: 0", "Errors: 0", "q_proj: error: 1.2e-3", "Error: 0.5%",
             "fatal: false", "error: []", "warning: none", "No CUDA out of memory so far", "CUDA error: no error",
             "Segmentation fault handler installed", "retry on CUDA out of memory: on"]  # fmt: skip
    parser = LogParser()
    events = parser.feed("\n".join([*lines, "end", ""]).encode()) + parser.close()
    assert [e.fields for e in events if e.kind in ("error", "warning", "note")] == []
    assert {line: level_of(line.encode()) for line in lines} == dict.fromkeys(lines, "")


def test_an_error_that_is_a_number_with_a_time_is_one() -> None:
    assert notes("2026-11-22 07:18:45,608 ERROR 404\n") == ["the log ends with an error: 404"]
    assert notes("error: 0 of 3 layers found\n") == ["the log ends with an error: 0 of 3 layers found"]


def test_an_exception_that_python_ignores_ends_nothing() -> None:
    for before in ("Exception ignored in: <function Pool.__del__ at 0x7f>", "--- Logging error ---"):
        assert notes(f"saved\n{before}\n{TRACEBACK}OSError: [Errno 9] Bad file descriptor\n") == []
    both = f"Exception ignored in: <x>\n{TRACEBACK}OSError: first\nthen\n{TRACEBACK}ValueError: second\n"
    assert notes(both) == ["the run failed: ValueError: second"]


def test_points_after_a_traceback_show_that_the_run_went_on() -> None:
    point = "{'loss': 2.5, 'epoch': 0.1}\n"
    assert notes(SHARED + point * 2) == ["the run failed: ModuleNotFoundError: No module named 'flash_attn'"]
    assert notes(SHARED + point * 3) == [GOES_ON]


def test_a_program_that_says_it_is_done() -> None:
    for said in ("Training completed.", "Quantization finished successfully", "Model was successfully converted"):
        assert notes(f"{SHARED}{said}\n") == [GOES_ON], said
    for said in ("Job finished at Mon", "Training not completed successfully", "Training finished with exit code 1"):
        assert notes(f"{SHARED}{said}\n")[0].startswith("the run failed: "), said


def test_an_error_that_a_logger_only_warns_of() -> None:
    at = "2026-11-22 07:18:45,608"
    text = f"{at} WARNING CUDA out of memory, falling back to batch size 1\n{at} INFO quantizing\n"
    said = "the log goes on after an error, which is: CUDA out of memory, falling back to batch size 1"
    assert notes(text) == [said]


def test_a_rank_that_failed_while_another_went_on() -> None:
    failed = "".join(f"[rank1]: {line}\n" for line in f"{TRACEBACK}ValueError: bad batch".splitlines())
    points = "[rank0]: {'loss': 1.5}\n" * 4
    launcher = (
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        "Root Cause (first observed failure):\n[0]:\n  rank      : 1 (local_rank: 1)\n  exitcode  : 1 (pid: 142)\n"
    )
    assert notes(failed + points + TRACEBACK + launcher) == [
        "the run failed since rank 1 failed: ValueError: bad batch"
    ]
    silent = f"{TRACEBACK}ValueError: whose\n" + "{'loss': 1.5}\n" * 4
    (note,) = notes(silent + TRACEBACK + launcher)
    assert note == "the run failed since rank 1 exited with code 1: which error is its own, this log does not say"


def test_what_ends_programs_that_are_not_python() -> None:
    rust = "thread 'main' panicked at src/main.rs:12:5:\ncalled `Result::unwrap()` on an `Err` value: TooLarge\n"
    assert notes(rust) == ["the run failed: thread 'main' panicked at src/main.rs:12:5"]
    assert notes("panic: runtime error: index out of range\n\ngoroutine 1 [running]:\n") == [
        "the run failed: panic: runtime error: index out of range"
    ]
    cpp = (
        "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: an illegal memory access\n"
    )
    assert notes(f"{cpp}Aborted (core dumped)\n") == ["the run failed: CUDA error: an illegal memory access"]
    supervisor = "2026-03-02 10:00:00,100 INFO exited: quant (exit status 137; not expected)\n"
    assert notes(supervisor) == ["the run failed: exited: quant (exit status 137; not expected) (SIGKILL)"]


def test_the_cause_in_a_json_line() -> None:
    said = '{"level":"error","ts":1772445601.1,"msg":"quantize failed","error":"KeyError: \'scale\'"}\n'
    assert notes(said) == ["the log ends with an error: quantize failed: KeyError: 'scale'"]


def test_secrets_in_a_command_are_no_settings() -> None:
    parser = LogParser(argv=["p", "--password", "pw12", "--pin_token=123456", "--use_auth_token", "--bits", "4"])
    parser.feed(b"+ python q.py --hf_token abcdefgh --n 3\n")
    asked = {s.name: s.requested for s in parser.settings()}
    withheld = "(not stored)"
    assert asked == {
        "password": withheld, "pin_token": 123456, "use_auth_token": True, "bits": 4, "hf_token": withheld, "n": 3,
    }  # fmt: skip
