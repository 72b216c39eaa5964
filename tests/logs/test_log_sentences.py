"""Sentences of quantizers that did not do what they were asked, each in the form of its tool."""

from __future__ import annotations

import pytest

from qinspect.inspector.logs import LogParser
from qinspect.inspector.logs.event import LogEvent
from qinspect.inspector.logs.patterns import builtin_patterns


def read(text: str) -> tuple[list[LogEvent], list[str]]:
    parser = LogParser(builtin_patterns())
    events = parser.feed(text.encode()) + parser.close()
    return events, [n.text for n in parser.notes(final=True)]


def notes(text: str) -> list[str]:
    return read(text)[1]


LLMC = "2026-07-30T08:00:01.007919+0000 | function | WARNING - "
GPTQ = "WARN  Quantization: Module `model.layers.1.mlp.experts.7.up_proj` -> "
ROUND = "2026-05-24 22:46:58 WARNING base.py L540: "
MODELOPT = "/usr/lib/modelopt/model_calib.py:1413: UserWarning: "

SAID = [
    (f"{LLMC}28 mappings were skipped due to incompatible shapes. Set logging to DEBUG to view full list.",
     "28 mappings of AWQ were skipped, since their shapes do not fit: nothing is smoothed there"),
    (f"{LLMC}Skipping smooth_layer model.layers.3.norm, NaN or inf outputs found during forward pass of the parent",
     "smoothing was left out at 1 layer, model.layers.3.norm among them: the model gave NaN or inf"),
    (f"{LLMC}imatrix_mse: no importance data available. Falling back to uniform MSE.",
     "the importance of columns was not used (no importance data available): scales are of a plain MSE"),
    (f"{LLMC}Requested 512 samples but the provided dataset only has 64 samples.",
     "calibrated with 64 samples, where 512 were asked for"),
    (f"{LLMC}Could not match `re:.*mlp.experts.*` in instance of Qwen3MoeForCausalLM",
     "nothing in Qwen3MoeForCausalLM matches 1 name of the recipe, re:.*mlp.experts.* among them"),
    (f"{LLMC}ActivationOrdering.GROUP requires a grouped strategy; falling back to actorder=None for this module.",
     "the order of columns that was asked for (GROUP) was not used in 1 module"),
    (f"{GPTQ}Using `rtn` fallback quantization (observed 12 samples, threshold=0.5%, max_total=262144).",
     "1 module fell back to rtn, since too few calibration tokens reached them: GPTQ had no effect there"),
    (f"{GPTQ}using fail safe mode. Please check if calibration data is sufficient.",
     ("the fail-safe mode took the place of GPTQ in 1 module, since too little calibration data reached them")),
    ("WARN  Quantization: `mlp.experts.7.up_proj` is not activated due to model inference logic (MoE)",
     "1 module saw no calibration token, mlp.experts.7.up_proj among them"),
    (f"{ROUND}could not find blocks, exit with original model",
     "nothing was quantized: AutoRound found no blocks in the model, and gave back the original"),
    (f"{ROUND}Insufficient number of samples: required 512, but only 3 were processed.",
     "calibrated with 3 samples, where 512 were asked for"),
    (f"{ROUND}layer lm_head: Please notes that unit scale is used for this layer.",
     "the activation scale of 1 layer is 1: no statistics were collected there"),
    (f"{ROUND}Failed to quantize lm_head.weight: out of range, keeping original weight",
     "quantization failed for 1 weight, lm_head.weight among them, and left the original there: out of range"),
    (f"{ROUND}fallback lm_head to gguf:bf16, because input_features(100) % block_size(32) != 0",
     "1 layer got another type than was asked for, lm_head among them"),
    (f"{MODELOPT}Skipping quantization: model is already quantized.",
     "nothing was quantized: the model was quantized already"),
    (f"{MODELOPT}forward_loop must be provided for awq_lite; skipping awq_lite",
     "awq_lite did not run: it was given no data to calibrate with"),
    ("No quantized linear layers found, skipping GPTQ", "GPTQ had no effect: no linear layer is quantized"),
    (f"{MODELOPT}model.layers.3.mlp.down_proj is not calibrated, skip smoothing",
     "smoothing was left out at 1 layer, model.layers.3.mlp.down_proj among them: not calibrated"),
    (f"{MODELOPT}awq_lite: Disabling for model.layers.5.mlp.down_proj, quantizing with max calibration.",
     "AWQ was left out in 1 layer, model.layers.5.mlp.down_proj among them: max calibration took its place"),
    (f"{MODELOPT}Expert 17 down_proj weight quantizer was not calibrated (amax missing or zero). Using weight-derived",
     "the range of 1 weight of experts is not calibrated: the largest weight took its place"),
    ("Warning: Hessian is not positive definite, using identity matrix",
     "the Hessian of 1 layer could not be inverted: GPTQ had no effect there"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), SAID)
def test_what_was_not_done(line: str, says: str) -> None:
    assert notes(f"{line}\n") == [says]
    assert len(notes(f"step 1\n{line}\nstep 2\n{line}\n")) == 1


def test_int8_without_a_calibration() -> None:
    line = "[01/14/2022-11:18:37] [TRT] [E] 4: Error Code 4: Internal Error (Calibration failure occurred with no"
    assert notes(f"{line} scaling factors detected.)\n")[0] == (
        "int8 has no scales: there was no calibrator, and too few were given"
    )


@pytest.mark.parametrize("level", ["INFO  ", ""])
def test_losses_of_gptqmodel_in_a_drawn_table(level: str) -> None:
    ruler = f"{level}+---------+-------+---------+---------+--------+------+---------+---------+\n"
    head = "| process | layer | module  | feat: in, out | dtype: size  | loss    | samples | damp    | time  |\n"
    row = "| gptq    | {}     | mlp.up  | 4096, 8192    | bf16: 66.0MB | {} | 91      | 0.05000 | 0.587 |\n"
    losses = ["0.0001319119", "nan         ", "rtn fallback"]
    rows = "".join(f"{level}{row.format(i, loss)}{ruler}" for i, loss in enumerate(losses))
    events, said = read(f"{ruler}{level}{head}{ruler}{rows}")
    points = [e.fields["fields"] for e in events if e.kind == "point"]
    assert [p["loss"] for p in points] == [0.0001319119, "nan", "rtn fallback"]
    assert points[0] == {
        "process": "gptq", "layer": 0, "module": "mlp.up", "loss": 0.0001319119, "samples": 91, "damp": 0.05,
    }  # fmt: skip
    assert said == ["loss is nan in 1 of 3 rows of gptq, first at layer 1, module mlp.up"]


# --- an importance matrix, which is stored again and again ---

STORED = "save_imatrix: stored collected data after {} chunks in m.imatrix\n"
PARTIAL = "save_imatrix: entry '             blk.7.ffn_up_exps.weight' has partial data (93.75%) - skipping\n"
NO_DATA = "save_imatrix: entry '             blk.9.ffn_up_exps.weight' has no data - skipping\n"
SOME = "save_imatrix: storing only 508 out of 510 entries\n\n"
OF_ALL = [
    "the importance matrix is partial for 1 tensor: some experts saw no token (blk.7.ffn_up_exps.weight: 93.75 %)",
    "the importance matrix has nothing for 1 tensor, blk.9.ffn_up_exps.weight among them: no token reached them",
    "508 of 510 entries of the importance matrix were stored",
]


def test_only_what_was_stored_last_counts() -> None:
    lacking = PARTIAL + NO_DATA + SOME
    assert notes(lacking + STORED.format(10)) == OF_ALL
    assert notes(lacking + STORED.format(10) + "[10]1.7,[11]1.8,\n" + STORED.format(20)) == []
    earlier = "save_imatrix: storing only 3 out of 510 entries\n"
    assert notes(earlier + STORED.format(10) + lacking + STORED.format(20)) == OF_ALL
    assert notes(earlier + STORED.format(10) + PARTIAL) == [
        "3 of 510 entries of the importance matrix were stored", OF_ALL[0],
    ]  # fmt: skip


def test_what_ends_tools_of_llama() -> None:
    assert notes("[736]4.8161,[737]4.8118,nan detected in blk.60.attn_output.weight\n") == [
        "the run failed: [736]4.8161,[737]4.8118,nan detected in blk.60.attn_output.weight"
    ]
    assert notes(
        "[ 466/ 707] blk.42.attn_k.weight - [ 5120, 1024, 1, 1], type = bf16, converting to q4_K .. "
        "ggml_validate_row_data: found nan value at block 40\n"
        "llama_model_quantize: failed to quantize: quantized data validation failed\n"
        "main: failed to quantize model from 'm.gguf'\n"
    ) == [
        "quantized values are not valid: nan value at block 40",
        "the run failed: llama_model_quantize: failed to quantize: quantized data validation failed",
    ]
