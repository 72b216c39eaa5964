"""GGUF: every block type against ggml's own numbers, names and rows against the original's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import ID, LIST, LLAMA, NUMBER, TEXT, GgufFile, Stored, plain
from hostile import safetensors_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from peer_truth import agree, folder, needs_fixtures, same_bits, truth
from safetensors.numpy import load_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.dtypes import BLOCKS
from qinspect.inspector.compare import Status, compare
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Kind, Quantity, QuantizedWeight, format_of
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.formats.families.gguf import names
from qinspect.inspector.formats.families.gguf.architectures import ARCHITECTURES
from qinspect.inspector.formats.families.gguf.block_types import BLOCK_TYPES
from qinspect.inspector.formats.families.gguf.codebooks import CODEBOOKS
from qinspect.inspector.values.inspection import inspect_entry
from qinspect.inspector.values.scale_faults import FaultScan

EVERY = Path(__file__).parents[1] / "data" / "gguf" / "every_type"
TYPES = {**BLOCK_TYPES, **CODEBOOKS}
RNG = np.random.default_rng(20)


@pytest.fixture(scope="module")
def every() -> Format:
    return format_of(open_checkpoint(EVERY / "model.gguf"))


def made(tmp_path: Path, file: GgufFile, name: str = "m.gguf") -> Format:
    (tmp_path / name).write_bytes(bytes(file))
    return format_of(open_checkpoint(tmp_path / name))


def blocks(type_name: str, *shape: int, rng: np.random.Generator = RNG) -> bytes:
    dtype = BLOCKS[type_name]
    return rng.integers(0, 256, dtype.nbytes(int(np.prod(shape))), dtype=np.uint8).tobytes()


def stored(name: str, type_name: str, *shape: int) -> Stored:
    return Stored(name, ID[type_name], shape, blocks(type_name, *shape))


def q8_0(values: np.ndarray) -> bytes:
    """Blocks with the scale 1."""
    rows = values.astype(np.int8).reshape(-1, 32).view(np.uint8)
    return np.concatenate((np.tile(np.array([0, 0x3C], np.uint8), (len(rows), 1)), rows), axis=1).tobytes()


def needs_tables(type_name: str) -> None:
    if type_name in CODEBOOKS:
        pytest.importorskip("gguf", reason="the tables of codebooks are in the package gguf")


def weight_of(fmt: Format, key: str) -> QuantizedWeight:
    return next(w for w in fmt.weights() if w.codes_key == key)


# --- the types ---


@pytest.mark.parametrize("name", sorted(TYPES.keys() - {"q8_1", "q8_k"}))
def test_every_type_to_the_bit(every: Format, name: str) -> None:
    needs_tables(name)
    key = f"blk.0.{name}.weight"
    expected = load_file(EVERY / "expected.safetensors")[key]
    assert same_bits(every.dequantize(weight_of(every, key), 0, 2), expected)


@pytest.mark.parametrize("name", sorted(TYPES.keys() - {"q8_1", "q8_k", "q1_0", "q2_0"}))
@given(seed=st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=20)
def test_any_bytes_are_what_the_package_of_the_format_makes_of_them(name: str, seed: int) -> None:
    gguf = pytest.importorskip("gguf")
    kind = BLOCKS[name]
    raw = np.random.default_rng(seed).integers(0, 256, (16, kind.block_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw.copy(), gguf.GGMLQuantizationType[name.upper()])
        assert same_bits(TYPES[name].dequantize(raw), expected.reshape(16, kind.block))


@pytest.mark.parametrize("name", TYPES)
def test_values_are_made_of_codes_scales_and_minima(tmp_path: Path, name: str) -> None:
    """By what the records say: scale * what the code stands for + minimum, each for a group of columns."""
    needs_tables(name)
    n = 2 * BLOCKS[name].block
    raw = np.frombuffer(blocks(name, 6, n), np.uint8).reshape(6, -1).copy()
    raw[raw == 0x7C] = 0x3C  # no infinite float16
    raw[raw == 0xFF] = 0x7E
    fmt = made(tmp_path, GgufFile([Stored("a.weight", ID[name], [6, n], raw.tobytes())]))
    (weight,) = fmt.weights()
    codes, values = fmt.codes(weight), fmt.dequantize(weight)
    low, high = weight.element.code_range
    assert low <= codes.min() <= codes.max() <= high
    assert values.shape == weight.shape == (6, n)
    assert codes.shape == (6, n // weight.element.n_values)
    by_role = {r.role: r for r in fmt.scales()}
    assert set(by_role) == set(weight.scale_roles)
    group = weight.grid.group_size
    assert group
    assert all(fmt.values(r).shape == r.shape == (6, n // group) for r in by_role.values())
    worth = weight.element.values(codes)
    if worth is None:
        assert weight.element.kind is ElementKind.VECTOR
        return
    minimum = by_role.get("a.weight#minimum")
    with np.errstate(all="ignore"):
        again = np.repeat(fmt.values(by_role["a.weight"]), group, axis=1) * worth
        if minimum is not None:
            assert minimum.quantity is Quantity.MINIMUM
            again += np.repeat(fmt.values(minimum), group, axis=1)
    assert same_bits(again + 0.0, values + 0.0)  # ggml has no negative zero in its tables of floats


@pytest.mark.parametrize("name", TYPES)
@given(start=st.integers(0, 9), n=st.integers(0, 9))
@settings(deadline=None, max_examples=15)
def test_rows_are_those_of_the_whole(every: Format, name: str, start: int, n: int) -> None:
    needs_tables(name)
    if name in ("q8_1", "q8_k"):
        return
    weight = weight_of(every, f"blk.0.{name}.weight")
    assert same_bits(every.dequantize(weight, start, start + n), every.dequantize(weight)[start : start + n])
    assert np.array_equal(every.codes(weight, start, start + n), every.codes(weight)[start : start + n])


def test_without_the_package_the_codes_and_scales_of_codebooks_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from qinspect.inspector.formats.families.gguf import codebooks

    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    codebooks._table.cache_clear()
    fmt = format_of(open_checkpoint(EVERY / "model.gguf"))
    weight = weight_of(fmt, "blk.0.iq2_xs.weight")
    assert fmt.codes(weight).shape == (4, 64)
    with pytest.raises(CannotDequantize, match="package gguf, which is not installed"):
        fmt.dequantize(weight)
    found = inspect_entry(fmt, "blk.0.iq2_xs.weight")
    assert found.codes
    assert "pip install" in found.problem


# --- names and rows of the original ---


def test_names_are_those_that_the_package_of_the_format_maps() -> None:
    gguf = pytest.importorskip("gguf")
    by_name = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    checked = 0
    # the package says of all that are asked for after arctic what it says of arctic
    for architecture in sorted(ARCHITECTURES, key=lambda name: name == "arctic"):
        table = gguf.get_tensor_name_map(by_name[architecture], 2)
        inverse = names.Names({"general.architecture": architecture})
        for ggml_name in {found for _, found in table.mapping.values()}:
            original = inverse.original(f"{ggml_name}.weight").removesuffix(".weight").replace(".{e}", "")
            if original and not ("exps" in ggml_name and architecture == "nemotron_h_moe"):
                # converters of some take the first word off before they ask
                asked = [original, original.removeprefix("transformer."), original.removeprefix("model.")]
                assert ggml_name in map(table.get_name, asked), (architecture, ggml_name)
                checked += 1
    assert checked > 1500


@pytest.mark.parametrize(
    ("architecture", "name", "role"),
    [
        ("llama", "blk.11.attn_q.weight", "layers.11.self_attn.q_proj.weight"),
        ("llama", "blk.1.attn_k.bias", "layers.1.self_attn.k_proj.bias"),
        ("llama", "token_embd.weight", "embed_tokens.weight"),
        ("llama", "output.weight", "lm_head.weight"),
        ("llama", "rope_freqs.weight", "rope_freqs.weight"),
        ("mamba2", "blk.0.ssm_dt.bias", "layers.0.mixer.dt_bias"),
        ("mamba", "blk.0.ssm_dt.bias", "layers.0.mixer.dt_proj.bias"),
        ("mamba2", "blk.0.ssm_a", "blk.0.ssm_a"),
        ("gemma2", "blk.0.attn_norm.weight", "blk.0.attn_norm.weight"),
        ("deepseek2", "blk.3.exp_probs_b.bias", "layers.3.mlp.gate.e_score_correction_bias"),
        ("gptneox", "blk.0.attn_q.weight", "blk.0.attn_q.weight"),
        ("gptneox", "blk.0.attn_qkv.weight", "blk.0.attn_qkv.weight"),
        ("gpt2", "blk.0.attn_qkv.weight", "blk.0.attn_qkv.weight"),
        ("gpt2", "blk.0.attn_qkv.bias", "h.0.attn.c_attn.bias"),
        ("phi3", "blk.0.attn_qkv.weight", "layers.0.self_attn.qkv_proj.weight"),
        ("phi3", "blk.0.ffn_up.weight", "layers.0.mlp.gate_up_proj.weight"),
        ("gpt-oss", "blk.0.attn_sinks.weight", "layers.0.self_attn.sinks"),
        ("gpt-oss", "blk.0.ffn_gate_inp.bias", "layers.0.mlp.router.bias"),
        ("qwen35", "blk.0.attn_norm.weight", "blk.0.attn_norm.weight"),
        ("internlm2", "blk.0.attn_q.weight", "layers.0.attention.wq.weight"),
        ("arctic", "blk.0.ffn_norm.weight", "layers.0.residual_layernorm.weight"),
        ("neo-bert", "blk.2.ffn_up.weight", "transformer_encoder.2.ffn.w12.weight"),
        ("gemma4", "blk.0.post_ffw_norm.weight", "layers.0.post_feedforward_layernorm.weight"),
        ("step35", "blk.0.attn_norm.weight", "blk.0.attn_norm.weight"),
        ("kimi-linear", "blk.0.ssm_dt.bias", "layers.0.self_attn.dt_bias"),
        ("plamo", "blk.0.attn_q.weight", "blk.0.attn_q.weight"),
        ("falcon-h1", "blk.0.attn_q.weight", "blk.0.attn_q.weight"),
        ("granitehybrid", "blk.0.ssm_dt.bias", "layers.0.mamba.dt_bias"),
        ("no-such-model", "blk.0.attn_q.weight", "blk.0.attn_q.weight"),
        ("llama", "blk.x.attn_q.weight", "blk.x.attn_q.weight"),
        ("llama", "blk.0", "blk.0"),
        ("", "blk.0.attn_q.weight", "blk.0.attn_q.weight"),
    ],
)
def test_roles(tmp_path: Path, architecture: str, name: str, role: str) -> None:
    facts: Any = {"general.architecture": (TEXT, architecture)} if architecture else {}
    fmt = made(tmp_path, GgufFile([plain(name, [1.0, 2.0])], facts))
    assert fmt.role_of(name) == role


def interleaved(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """What llama.cpp's converter makes of rows of q and k."""
    halves = rows.reshape(n_heads, 2, len(rows) // n_heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(rows.shape)


@given(start=st.integers(0, 24), n=st.integers(0, 24))
@settings(deadline=None, max_examples=40)
def test_rows_of_q_and_k_are_in_the_original_order(
    tmp_path_factory: pytest.TempPathFactory, start: int, n: int
) -> None:
    q = np.arange(24)[:, None] + np.zeros((24, 32))
    tensors = [
        Stored("blk.0.attn_q.weight", ID["q8_0"], [24, 32], q8_0(interleaved(q, 2))),
        Stored("blk.0.attn_k.weight", ID["q8_0"], [24, 32], q8_0(interleaved(q, 3))),
        Stored("blk.0.attn_v.weight", ID["q8_0"], [24, 32], q8_0(q)),
        plain("blk.1.attn_q.weight", interleaved(q, 2).reshape(-1).tolist(), [24, 32]),
        plain("blk.1.attn_q.bias", interleaved(q[:, :1], 2).reshape(-1).tolist()),
        plain("blk.1.attn_v.bias", q[:, 0].tolist()),
    ]
    facts = {**LLAMA, "llama.attention.head_count_kv": (LIST, (5, [3, 1]))}
    fmt = made(tmp_path_factory.getbasetemp(), GgufFile(tensors, facts))
    assert len(fmt.weights()) == 3
    for weight in fmt.weights():
        assert np.array_equal(fmt.dequantize(weight), q)
        assert np.array_equal(fmt.dequantize(weight, start, start + n), q[start : start + n])
        assert np.array_equal(fmt.codes(weight, start, start + n), q[start : start + n])
    others = {t.name: t for t in fmt.other_tensors()}
    assert np.array_equal(others["blk.1.attn_q.weight"].read(), q)
    assert np.array_equal(others["blk.1.attn_q.weight"].read_rows(start, start + n), q[start : start + n])
    first, last = sorted((start * 7, n * 31))
    assert np.array_equal(others["blk.1.attn_q.weight"].read_range(first, last), q.reshape(-1)[first:last])
    assert others["blk.1.attn_q.bias"].read().tolist() == others["blk.1.attn_v.bias"].read().tolist()


@pytest.mark.parametrize(
    ("architecture", "n_heads"),
    [("olmo", 3), ("deepseek", 3), ("xverse", 2), ("qwen2", 0), ("llama4", 0), ("apertus", 0), ("afmoe", 0)],
)
def test_rows_are_put_back_only_where_the_converter_moved_them(architecture: str, n_heads: int, tmp_path: Path) -> None:
    """Of six heads of q and three of k. xverse's converter takes 6 / 3 for the heads of k."""
    k = np.arange(12)[:, None] + np.zeros((12, 32))
    rows = interleaved(k, n_heads) if n_heads else k
    facts = {
        "general.architecture": (TEXT, architecture),
        f"{architecture}.attention.head_count": (NUMBER, 6), f"{architecture}.attention.head_count_kv": (NUMBER, 3),
    }  # fmt: skip
    fmt = made(tmp_path, GgufFile([Stored("blk.0.attn_k.weight", ID["q8_0"], [12, 32], q8_0(rows))], facts))
    assert np.array_equal(fmt.dequantize(fmt.weights()[0]), k)


@pytest.mark.parametrize(
    "facts", [{}, {"llama.attention.head_count": (NUMBER, 5)}, {"llama.attention.head_count": (TEXT, "x")}]
)
def test_without_a_head_count_rows_stay_and_a_note_says_so(tmp_path: Path, facts: dict[str | bytes, Any]) -> None:
    q = np.arange(24)[:, None] + np.zeros((24, 32))
    tensor = Stored("blk.0.attn_q.weight", ID["q8_0"], [24, 32], q8_0(q))
    fmt = made(tmp_path, GgufFile([tensor], {"general.architecture": (TEXT, "llama"), **facts}))
    assert np.array_equal(fmt.dequantize(fmt.weights()[0]), q)
    assert any("llama.cpp's order" in note and "head count" in note for note in fmt.notes())


def test_shapes_of_mamba2_are_those_of_the_original(tmp_path: Path) -> None:
    tensors = [
        plain("blk.0.ssm_d", [1, 2, 3], [3, 1]), plain("blk.0.ssm_norm.weight", [1, 2, 3, 4], [2, 2]),
        plain("blk.0.ssm_conv1d.weight", [1, 2, 3, 4, 5, 6], [3, 2]), plain("blk.0.ssm_a", [1, 2], [2, 1]),
    ]  # fmt: skip
    fmt = made(tmp_path, GgufFile(tensors, {"general.architecture": (TEXT, "mamba2")}))
    shapes = {fmt.role_of(t.name): t.shape for t in fmt.other_tensors()}
    assert shapes == {
        "layers.0.mixer.D": (3,), "layers.0.mixer.norm.weight": (4,), "layers.0.mixer.conv1d.weight": (3, 1, 2),
        "blk.0.ssm_a": (2,),
    }  # fmt: skip
    assert dict(fmt.other_forms()).keys() == {t.name for t in tensors}


# --- experts, factors, what does not fit ---


QWEN = {"general.architecture": (TEXT, "qwen3moe")}


def test_experts_are_a_weight_each(tmp_path: Path) -> None:
    key = "blk.2.ffn_up_exps.weight"
    factors = [1.0, 2.0, 0.5]
    tensors = [
        stored(key, "nvfp4", 3, 4, 64), plain("blk.2.ffn_up_exps.scale", factors),
        plain("blk.2.ffn_up_exps.input_scale", [7.0, 8.0, 9.0]),
    ]  # fmt: skip
    fmt = made(tmp_path, GgufFile(tensors, QWEN))
    alone = TYPES["nvfp4"].dequantize(np.frombuffer(tensors[0].data, np.uint8).reshape(-1, 36)).reshape(3, 4, 64)
    roles = [f"layers.2.mlp.experts.{e}.up_proj.weight" for e in range(3)]
    assert [w.role for w in fmt.weights()] == roles
    assert [w.name for w in fmt.weights()] == [f"model.{role}" for role in roles]
    by_role = {r.role: r for r in fmt.scales()}
    for e, weight in enumerate(fmt.weights()):
        assert same_bits(fmt.dequantize(weight), alone[e] * np.float32(factors[e]))
        assert same_bits(fmt.dequantize(weight, 1, 3), (alone[e] * np.float32(factors[e]))[1:3])
        outer = by_role[f"{weight.role}#global"]
        assert (outer.quantity, float(fmt.values(outer))) == (Quantity.GLOBAL_SCALE, factors[e])
        point = by_role[f"layers.2.mlp.experts.{e}.up_proj:input"]
        assert (point.kind, float(fmt.values(point))) == (Kind.ACTIVATION, 7.0 + e)
    assert parameter_counts(fmt) == {key: 3 * 4 * 64, tensors[1].name: 0, tensors[2].name: 0}
    assert fmt.other_tensors() == []


def test_one_factor_for_all_experts_and_another_name_for_it(tmp_path: Path) -> None:
    key = "blk.0.ffn_up_exps.weight"
    fmt = made(tmp_path, GgufFile([stored(key, "q8_0", 2, 3, 32), plain(f"{key}.scale", [4.0])], QWEN))
    plain_ones = made(tmp_path, GgufFile([stored(key, "q8_0", 2, 3, 32)], QWEN), "other.gguf")
    assert len(fmt.weights()) == len(plain_ones.weights()) == 2
    assert fmt.values(next(r for r in fmt.scales() if r.role.endswith("#global"))).tolist() == [4.0]


def test_stacks_of_unknown_architectures_have_numbers(tmp_path: Path) -> None:
    fmt = made(tmp_path, GgufFile([stored("blk.0.ffn_up_exps.weight", "q8_0", 2, 2, 3, 32)]))
    assert [w.name for w in fmt.weights()] == [f"blk.0.ffn_up_exps.{i}.{j}.weight" for i in (0, 1) for j in (0, 1)]
    assert len({fmt.dequantize(w).tobytes() for w in fmt.weights()}) == 4


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([stored("v.weight", "q8_0", 64)], "v.weight: is not a matrix"),
        ([stored("v.weight", "q8_0", 5000, 1, 32)], "v.weight: is not a matrix, or a matrix for each expert"),
        ([stored("v.weight", "nvfp4", 2, 64), plain("v.scale", [1.0, 2.0])], "v.scale: does not fit"),
        ([stored("v.weight", "nvfp4", 2, 64), Stored("v.scale", 26, [1], bytes(4))], "v.scale: does not fit"),
        ([stored("v.weight", "nvfp4", 3, 2, 64), plain("v.input_scale", [1.0, 2.0])], "v.input_scale: does not fit"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_module_that_does_not_fit_is_a_problem_and_the_rest_is_read(
    tmp_path: Path, bad: list[Stored], words: str
) -> None:
    fmt = made(tmp_path, GgufFile([*bad, stored("good.weight", "q4_0", 2, 32)]))
    assert [w.name for w in fmt.weights()] == ["good.weight"]
    (problem,) = fmt.problems()
    assert words in str(problem.error)
    assert "v.weight" in {t.name for t in fmt.other_tensors()}


def test_types_that_are_not_decoded_are_told_and_compared(tmp_path: Path) -> None:
    def model(last: int) -> GgufFile:
        unknown = Stored("blk.0.ffn_up.weight", 139, [2, 32], bytes(39) + bytes([last]))
        return GgufFile([unknown, Stored("blk.0.ffn_down.weight", ID["q8_0"], [1, 32], bytes(34))], LLAMA)

    a, same, other = (made(tmp_path, model(i), f"{n}.gguf") for n, i in enumerate((1, 1, 2)))
    assert any("1 tensor of types that are not decoded (GGML_139_IQ4_K)" in note for note in a.notes())
    assert parameter_counts(a)["blk.0.ffn_up.weight"] == 64
    assert {p.status for p in compare(a, same).weights} == {Status.IDENTICAL}
    (differs,) = [p for p in compare(a, other).weights if p.status is not Status.IDENTICAL]
    assert (differs.status, differs.n_changed) == (Status.DIFFERENT, None)
    assert "is not decoded" in differs.note


def test_blocks_of_zeros_are_no_fault(tmp_path: Path) -> None:
    raw = bytes(34) + b"\x00\x7e" + bytes(32)
    fmt = made(tmp_path, GgufFile([Stored("a.weight", ID["q8_0"], [2, 32], raw)]))
    scan = FaultScan()
    scan.add_scale(0, fmt.scales()[0], fmt.values(fmt.scales()[0]))
    assert (scan.found()[0].n_zero, scan.found()[0].n_nan) == (0, 1)


@pytest.mark.parametrize(
    ("facts", "types", "said"),
    [
        ({"general.file_type": (NUMBER, 7)}, ["q8_0"], "GGUF Q8_0"),
        ({"general.file_type": (NUMBER, 15), **LLAMA}, ["q4_k", "q6_k"], "GGUF Q4_K_M (llama): Q6_K, Q4_K"),
        ({"general.file_type": (NUMBER, 9999)}, ["q8_0"], "GGUF: Q8_0"),
        ({"general.file_type": (TEXT, "x")}, ["float16"], "GGUF: FLOAT16, no scales"),
        ({}, ["q4_0", "float32"], "GGUF: Q4_0"),
    ],
)
def test_descriptions(tmp_path: Path, facts: dict[str | bytes, Any], types: list[str], said: str) -> None:
    tensors = [Stored(f"{t}.weight", ID[t], [1, 256], bytes(1024)) for t in types]
    assert made(tmp_path, GgufFile(tensors, facts)).description == said


def test_a_file_type_that_no_tensor_has_is_told(tmp_path: Path) -> None:
    fmt = made(tmp_path, GgufFile([stored("a.weight", "q8_0", 1, 32)], {"general.file_type": (NUMBER, 15)}))
    assert "general.file_type says Q4_K_M, and no tensor is of type Q4_K: Q8_0" in fmt.notes()


def test_sixty_thousand_tensors_have_their_records_without_a_byte_of_data(tmp_path: Path) -> None:
    """The data is a hole: reading it would take 2 GB."""
    tensors = [Stored(f"blk.{i // 100}.t{i % 100}.weight", ID["q4_k"], [1, 256], b"", 160 * i) for i in range(20_000)]
    path = tmp_path / "m.gguf"
    with path.open("wb") as f:
        f.write(GgufFile(tensors).header())
        f.truncate(f.tell() + 160 * 20_000)
    fmt = format_of(open_checkpoint(path))
    assert (len(fmt.weights()), len(fmt.scales())) == (20_000, 40_000)


# --- importance matrices ---


def test_an_importance_matrix_is_statistics(tmp_path: Path) -> None:
    facts = {
        "general.type": (TEXT, "imatrix"), "imatrix.datasets": (LIST, (TEXT, ["wiki.txt"])),
        "imatrix.chunk_count": (NUMBER, 16), "imatrix.chunk_size": (NUMBER, 512),
    }  # fmt: skip
    tensors = [plain("a.weight.in_sum2", [1.0, 2.0]), plain("a.weight.counts", [2.0]), plain("b.weight.in_sum2", [3.0])]
    fmt = made(tmp_path, GgufFile(tensors, facts))
    assert fmt.description == "importance matrix of llama.cpp: the inputs of 2 weights, 16 chunks of 512 tokens"
    assert (fmt.scales(), fmt.weights(), len(fmt.other_tensors())) == ((), (), 3)
    notes = "\n".join(fmt.notes())
    assert "NAME.in_sum2 / NAME.counts" in notes
    assert "wiki.txt" in notes
    assert "1 sum without a count, first b.weight.in_sum2" in notes
    assert set(parameter_counts(fmt).values()) == {0}


# --- ggml's blocks in safetensors ---


def packed(tmp_path: Path, settings_: object, modules: dict[str, tuple[list[int], bytes]]) -> Format:
    header, data = {}, b""
    for name, (shape, raw) in modules.items():
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(header, data))
    if settings_ is not None:
        (tmp_path / "config.json").write_text(json.dumps({"quantization_config": settings_}))
    return format_of(open_checkpoint(tmp_path))


def module(type_name: str, n_rows: int, n_columns: int) -> tuple[list[int], bytes]:
    dtype = BLOCKS[type_name]
    padded = -(-n_columns // dtype.block) * dtype.block
    raw = blocks(type_name, n_rows, padded)
    return [n_rows, len(raw) // n_rows], raw


GPTQMODEL = {"quant_method": "gguf", "bits": 4, "format": "q_k_m", "meta": {"quantizer": ["gptqmodel:7.6.0"]}}


@pytest.mark.parametrize("prefix", ["model.", "model.language_model.", "module.", ""])
@pytest.mark.parametrize(
    ("said", "type_name"),
    [
        ({}, "q4_k"), ({"bits": "q4_k_m", "format": "gguf"}, "q4_k"), ({"bits": 5}, "q5_k"),
        ({"bits": 6, "format": "q_k"}, "q6_k"), ({"bits": 8, "format": "q_0"}, "q8_0"), ({"format": "q_0"}, "q4_0"),
    ],
)  # fmt: skip
def test_rows_are_as_wide_as_their_neighbours_say(
    tmp_path: Path, prefix: str, said: dict[str, object], type_name: str
) -> None:
    mlp = f"{prefix}layers.0.mlp"
    modules = {
        f"{mlp}.gate_proj.qweight": module(type_name, 48, 96), f"{mlp}.up_proj.qweight": module(type_name, 48, 96),
        f"{mlp}.down_proj.qweight": module(type_name, 96, 48),
    }  # fmt: skip
    fmt = packed(tmp_path, {**GPTQMODEL, **said}, modules)
    assert {w.name: w.shape for w in fmt.weights()} == {
        f"{mlp}.gate_proj.weight": (48, 96), f"{mlp}.up_proj.weight": (48, 96), f"{mlp}.down_proj.weight": (96, 48),
    }  # fmt: skip
    assert fmt.description == f"GGUF blocks in safetensors: {type_name.upper()}, gptqmodel:7.6.0"
    weight = next(w for w in fmt.weights() if w.name.endswith("down_proj.weight"))
    raw = np.frombuffer(modules[weight.codes_key][1], np.uint8).reshape(-1, BLOCKS[type_name].block_bytes)
    expected = TYPES[type_name].dequantize(raw).reshape(96, -1)[:, :48]
    assert same_bits(fmt.dequantize(weight), expected)
    assert same_bits(fmt.dequantize(weight, 5, 9), expected[5:9])
    assert fmt.codes(weight).shape == (96, 48)
    assert fmt.values(fmt.scales()[0]).shape == fmt.scales()[0].shape
    assert fmt.problems() == ()


def test_padding_that_nothing_tells_is_shown_and_said(tmp_path: Path) -> None:
    fmt = packed(tmp_path, GPTQMODEL, {"a.fc1.qweight": module("q4_k", 4, 100)})
    assert fmt.weights()[0].shape == (4, 256)
    assert any("shown with what fills their last block, first a.fc1.qweight" in note for note in fmt.notes())


def test_a_module_of_another_type_is_told_by_its_rows(tmp_path: Path) -> None:
    modules = {"m.up_proj.qweight": module("q4_k", 256, 256), "m.down_proj.qweight": module("q6_k", 256, 256)}
    fmt = packed(tmp_path, GPTQMODEL, modules)
    assert [w.called for w in fmt.weights()] == ["Q4_K", "Q6_K"]
    assert any("the settings name Q4_K; 1 weight of another type" in note for note in fmt.notes())


@pytest.mark.parametrize("said", [{"bits": 3}, {"format": "q_x"}, {"bits": None, "format": 7}, {"bits": [4]}])
def test_settings_that_name_no_type_are_never_guessed(tmp_path: Path, said: dict[str, object]) -> None:
    fmt = packed(tmp_path, {**GPTQMODEL, **said}, {"a.qweight": ([4, 144], bytes(576))})
    assert fmt.family == "plain"
    assert "the rows do not fit the type that the settings name" in " ".join(fmt.notes())


def test_without_settings_nobody_claims_it(tmp_path: Path) -> None:
    fmt = packed(tmp_path, None, {"a.qweight": ([4, 144], bytes(576))})
    assert (fmt.family, fmt.weights()) == ("plain", ())
    assert "looks quantized" in fmt.description


# --- what other programs wrote ---


WITH_TRUTH = (
    "gguf_big_endian_q4_0", "gguf_iq_imatrix", "gguf_llamacpp_q4_k_m", "gguf_mamba2_q8_0", "gguf_nemotronh_mixed",
    "gguf_nvfp4_scale", "gguf_q4_0", "gguf_q8_0", "gguf_qwen3moe_nvfp4", "gguf_split_q8_0", "gguf_unknown_type",
)  # fmt: skip


@needs_fixtures
@pytest.mark.parametrize("name", WITH_TRUTH)
def test_models_of_llama_cpp(name: str) -> None:
    """The truth has ggml's names and ggml's order of rows."""
    if name == "gguf_iq_imatrix":
        needs_tables("iq2_s")
    fmt = format_of(open_checkpoint(folder(name) / "model"))
    assert fmt.family == "gguf"
    facts = fmt.checkpoint.metadata
    by_key: dict[str, list[QuantizedWeight]] = {}
    for weight in fmt.weights():
        by_key.setdefault(weight.codes_key, []).append(weight)
    for key, expected in truth(name).items():
        found = np.stack([fmt.dequantize(w) for w in by_key[key]]).reshape(expected.shape)
        count = {"attn_q": "head_count", "attn_k": "head_count_kv"}.get(key.split(".")[-2])
        heads = facts.get(f"llama.attention.{count}")
        assert same_bits(interleaved(found, int(heads)) if heads else found, expected), key


@needs_fixtures
def test_blocks_of_gptqmodel() -> None:
    agree("gptqmodel_gguf_q4k", "gguf-safetensors")


@needs_fixtures
def test_a_conversion_that_loses_nothing_is_the_original() -> None:
    a, b = (format_of(open_checkpoint(folder(n))) for n in ("base_llama1", "gguf_bf16/model"))
    assert {p.status for p in compare(a, b).weights} <= {Status.IDENTICAL, Status.EQUAL}


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "base", "only"),
    [
        ("gguf_qwen3moe_nvfp4", "base_qwen3moe", ()), ("gguf_nvfp4_scale", "base_llama", ()),
        ("gguf_nemotronh_mixed", "base_nemotronh", ("blk.0.ssm_a", "layers.0.mixer.A_log")),
    ],
)  # fmt: skip
def test_every_tensor_has_the_role_of_the_original(name: str, base: str, only: tuple[str, ...]) -> None:
    fmt = format_of(open_checkpoint(folder(name) / "model"))
    original = open_checkpoint(folder(base))
    roles = {w.role for w in fmt.weights()} | {fmt.role_of(t.name) for t in fmt.other_tensors()}
    assert roles ^ {format_of(original).role_of(n) for n in original.entries} == set(only)
    for weight in fmt.weights():
        tensor = original.tensor(weight.name)
        assert tensor is not None
        values = np.asarray(tensor.read(), np.float32)
        error = np.linalg.norm(fmt.dequantize(weight) - values) / np.linalg.norm(values)
        assert error < 0.12, weight.name
