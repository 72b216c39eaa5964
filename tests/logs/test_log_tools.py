"""Logs of other tools, made up in their form: what each shows is said, and nothing else."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from qinspect.inspector.logs import LogSummary, summarize
from qinspect.inspector.logs.patterns import builtin_patterns

NOTES = {
    "llmcompressor_in_airflow": [
        "the run failed: torch._C._LinAlgError: linalg.cholesky: The factorization could not be completed",
    ],
    "vllm_in_journal": [
        "the KV cache is stored as fp8_e4m3 with scale 1.0, since the checkpoint gives no k or v scales",
        ("the run failed: ValueError: Free memory on device (10.1/23.6 GiB) on startup is less than desired GPU memory "
         "utilization (said by vllm vllm[8707] EngineCore_DP0 pid=8801)"),
    ],
    "vllm_in_compose": [
        "the checkpoint gives no q scale: k_scale is used for it",
        ("loading left out 2 tensors of the checkpoint, first model.layers.37.input_layernorm.weight: the model has no "
         "such parameter"),
        "the run failed: qwen3-next-instruct exited with code 137 (SIGKILL)",
    ],
    "sglang": [
        ("the fp8 KV cache has scale 1.0, as the engine says: no file of scales was given (this does not refer to "
         "scales in the checkpoint)"),
        "the run failed: KeyError: 'model.layers.37.input_layernorm.weight' (said by TP1)",
    ],
    "tensorrt_llm": [
        "tensors of the checkpoint were not used: {'transformer.layers.0.attention.kv_cache_scaling_factor'}",
        "no scale was given for 2 tensors: the layers around do not run in int8",
        "the log ends with an error: Engine building failed, please check the error log.",
    ],
    "llama_quantize": [
        "2 tensors fell back to another type (q8_0 for q6_K): columns are not divisible by 256",
        "the importance matrix has nothing for 1 tensor, first blk.1.attn_k_b.weight",
        "144 of 168 tensors have another type than was asked for, since their columns do not fit its blocks",
    ],
    "json_lines": ["the run failed: ZeroDivisionError: division by zero"],
    "srun_labels": ["the run failed since rank 0 failed: RuntimeError: CUDA error: device-side assert triggered"],
    "auto_round": [
        "layers were left unquantized (shape not divisible by 32): model.visual.blocks.[0-26].mlp.linear_fc1",
        "in 1 block some layers were not quantized, self_attn.q_a_proj among them",
        "weights were not in the checkpoint and are newly initialized: ['lm_head.weight']",
        "loss is nan in 1 of 2 rows of block",
    ],
    "modelopt_in_actions": [
        "no calibration token reached the experts of 212 weight quantizers: their activation scales are not calibrated",
        "the run failed: AssertionError: Modules have different quantization formats",
    ],
}  # fmt: skip
COUNTS = {  # warnings, errors, frames of each traceback
    "llmcompressor_in_airflow": (1, 2, [1]),
    "vllm_in_journal": (1, 3, [1, 1]),
    "vllm_in_compose": (1, 1, []),
    "sglang": (1, 2, [2]),
    "tensorrt_llm": (4, 3, []),
    "llama_quantize": (4, 0, []),
    "json_lines": (1, 5, [1, 1]),
    "srun_labels": (0, 6, [1, 1]),
    "auto_round": (2, 0, []),
    "modelopt_in_actions": (1, 2, [1]),
}


def read(path: Path) -> LogSummary:
    return summarize(path, builtin_patterns())


@pytest.mark.parametrize("name", NOTES)
def test_what_is_concluded(name: str, source_root: Path) -> None:
    found = read(source_root / "tests" / "data" / "logs_of_others" / f"{name}.log")
    assert [n.text for n in found.notes] == NOTES[name]
    frames = [e.fields["frames"] for e in found.errors if e.fields.get("traceback")]
    assert (len(found.warnings), len(found.errors), frames) == COUNTS[name]
    assert "a traceback without its exception" not in {e.text for e in found.errors}


def written(tmp_path: Path, text: str) -> LogSummary:
    path = tmp_path / "run.log"
    path.write_text(text, encoding="utf-8")
    return read(path)


# --- a GPTQ run of llm-compressor ---

AT = "2026-07-30T08:00:01.007919+0000"
MODULE = f"{AT} | compress_modules | INFO - Quantizing model.layers.{{}}.q_proj using 4 samples\n"
FELL_BACK = (
    f"{AT} | quantize_weight | WARNING - Failed to invert hessian due to numerical instability. Consider increasing "
    "GPTQModifier.dampening_frac. Falling back to round-to-nearest for this module.\n"
)


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        (4, "4 of 4 modules fell back to round-to-nearest: GPTQ had no effect"),
        (1, "1 of 4 modules fell back to round-to-nearest"),
    ],
)
def test_modules_that_fell_back(failed: int, says: str, tmp_path: Path) -> None:
    bar = "({}/4): Calibrating: 100%|██████████| 4/4 [00:04<00:00,  1.93it/s]\n"
    layers = (bar.format(i) + MODULE.format(i) + (FELL_BACK if i < failed else "") for i in range(4))
    found = written(tmp_path, "".join(layers))
    assert [n.text for n in found.notes] == [says]
    (warning,) = found.warnings
    assert warning.count == failed
    assert [p.name for p in found.phases] == [f"({i}/4): Calibrating" for i in range(4)]


def test_a_count_without_its_whole(tmp_path: Path) -> None:
    assert [n.text for n in written(tmp_path, FELL_BACK * 2).notes] == ["2 modules fell back to round-to-nearest"]


# --- GPTQModel ---


def test_losses_bars_and_warnings_of_gptqmodel(tmp_path: Path) -> None:
    row = "INFO  {{'process': 'gptq', 'layer': {0}, 'module': 'mlp.up_proj', 'loss': '{1}', 'samples': '91'}}\n"
    bar = "Quantizing mlp.up_proj in layer {} of 2 |██--------| 0:01:45 / 0:28:00 [{}/3] 66.7%\n"
    losses = ["0.1", "nan", "0.3"]
    text = "WARN  Calibration dataset size should be more than 256. Current: 32.\n" + "".join(
        row.format(i, loss) + bar.format(i, i + 1) for i, loss in enumerate(losses)
    )
    found = written(tmp_path, text)
    assert [r.fields["loss"] for r in found.points["gptq"]] == [0.1, "nan", 0.3]
    assert [n.text for n in found.notes] == [
        "calibrated with 32 samples, where the tool asks for more than 256",
        "loss is nan in 1 of 3 rows of gptq, first at layer 1, module mlp.up_proj",
    ]
    assert found.phases[-1].progress is not None
    assert (found.phases[-1].progress["done"], found.phases[-1].progress["total"]) == (3, 3)
    assert (found.phases[-1].progress["elapsed_s"], found.phases[-1].progress["eta_s"]) == (105.0, 1575.0)


# --- rich ---


def test_folded_messages_and_their_place(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        "[03/17/23 20:03:13] WARNING  scale of layers.3.mlp.fc2 is 0,            quant.py:88\n"
        "                             clamped to 1e-8\n"
        "                    ERROR    amax is nan                                quant.py:91\n"
        "[03/17/23 20:03:14] INFO     saved\n",
    )
    (warning,), (error,) = found.warnings, found.errors
    assert (warning.text, warning.fields["where"]) == ("scale of layers.3.mlp.fc2 is 0, clamped to 1e-8", "quant.py:88")
    assert (warning.fields["time"], error.text) == ("2023-03-17T20:03:13", "amax is nan")


OOM = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a capacity of 79.11 GiB."


def test_a_traceback_in_a_box(tmp_path: Path) -> None:
    width = 60
    rows = ["/srv/quant.py:91 in calibrate", "", "   90 │   for batch in loader:", "❱  91 │   │   model(batch)"]
    box = "\n".join(f"│ {r:<{width - 4}} │" for r in rows)
    edge = "─" * ((width - 34) // 2)
    found = written(
        tmp_path,
        f"╭{edge} Traceback (most recent call last) {edge}╮\n{box}\n╰{'─' * (width - 2)}╯\n"
        f"{textwrap.fill(OOM, width)}\nnot of it\n",
    )
    (error,) = found.errors
    assert error.text == OOM
    assert "/srv/quant.py:91 in calibrate\n    model(batch)\n" in error.fields["traceback"]


# --- what ends runs, without a level ---

ENDS = [
    "Killed",
    "Segmentation fault (core dumped)",
    "/var/spool/job: line 12: 345 Bus error               (core dumped) python q.py",
    "Fatal Python error: Segmentation fault",
    "terminate called after throwing an instance of 'c10::DistBackendError'",
    "../aten/Indexing.cu:1284: operator(): block: [0,0,0], thread: [1,0,0] Assertion `srcIndex < size` failed.",
    "RuntimeError: CUDA error: device-side assert triggered",
    "[rank1]:[E1125 17:19:40.1 ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout: WorkNCCL(...)",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0.",
    "OSError: [Errno 28] No space left on device",
    "api-1 exited with code 137",
    "Error: Process completed with exit code 1.",
    "subprocess.CalledProcessError: Command '['x']' returned non-zero exit status 1.",
    "quant.sh: line 3: pyhton: command not found",
    "quant.py: error: unrecognized arguments: --percentile",
    "quant.py: error: the following arguments are required: --model",
    "python: can't open file '/w/quant.py': [Errno 2] No such file or directory",
    "ValueError: bad scale",
    "/w/ggml.c:1234: GGML_ASSERT(nb <= size) failed",
    "llama_model_quantize: failed to quantize: tensor is missing",
    "make: *** [Makefile:3: all] Error 2",
    "dmesg: Out of memory: Killed process 123 (python) total-vm:1kB",
]


@pytest.mark.parametrize("line", ENDS)
def test_a_failed_run_is_concluded(line: str, tmp_path: Path) -> None:
    found = written(tmp_path, f"starting\n{line}\n")
    assert [n.rule for n in found.notes] == ["failed"]
    assert len(found.errors) == 1


@pytest.mark.parametrize("line", ["exited with code 0", "0 errors", "exit code: 0", "step 5 completed with status ok"])
def test_what_is_no_failure(line: str, tmp_path: Path) -> None:
    assert written(tmp_path, f"starting\n{line}\n").notes == []


def test_an_error_after_which_the_log_goes_on(tmp_path: Path) -> None:
    request = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: one request\n'
    after = "INFO:     127.0.0.1 - POST /v1 200 OK\n"
    assert [n.rule for n in written(tmp_path, request + after * 3).notes] == ["failed"]
    (note,) = written(tmp_path, request + after * 20).notes
    assert note.rule == "error-logged"
    assert note.text == "the log goes on after an error, which is: ValueError: one request"
    assert [n.rule for n in written(tmp_path, after + "ERROR: no\n").notes] == ["ends-in-error"]


# --- floods ---


def test_of_a_flood_the_end_is_kept(tmp_path: Path) -> None:
    lines = [f"ERROR: number {i}\n" for i in range(3000)]
    found = written(tmp_path, "".join(lines) + "RuntimeError: the last word\n")
    assert [found.errors[0].text, found.errors[-1].text] == ["number 0", "RuntimeError: the last word"]
    assert (len(found.errors), found.left_out) == (1000, 2001)
    assert found.notes[-1].text == "the run failed: RuntimeError: the last word"
    rows = "".join(f"{{'loss': {i}.5}}\n" for i in range(120_000))
    points = written(tmp_path, rows).points["metrics"]
    assert (points[0].fields["loss"], points[-1].fields["loss"], len(points)) == (0.5, 119_999.5, 100_000)


def test_of_a_long_traceback_the_end_is_kept(tmp_path: Path) -> None:
    frames = "".join(f'  File "a.py", line {i}, in f\n' for i in range(1000))
    (error,) = written(tmp_path, f"Traceback (most recent call last):\n{frames}RecursionError: too deep\n").errors
    assert error.fields["traceback"].endswith("line 999, in f\nRecursionError: too deep")
    assert (error.fields["frames"], error.fields["lines_left_out"]) == (1000, 602)
