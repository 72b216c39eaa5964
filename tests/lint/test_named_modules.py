"""How each library matches the names in its settings: by its own loaders, as docs and sources have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from broken_declared import copied, fp8_model, mlp, of_modelopt
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.said import ModuleNames, NamedModules

LAYERS = [*mlp(1), *mlp(10), "model.layers.1.mlp.shared_expert_gate"]


def opened(path: Path) -> Format:
    return format_of(open_checkpoint(path))


def only(fmt: Format) -> NamedModules:
    (one,) = fmt.named_modules()
    return one


def short(modules: tuple[str, ...]) -> set[str]:
    """Those with weights, without what all have in front."""
    return {m.removeprefix("model.layers.") for m in modules if m.rpartition(".")[2].endswith(("proj", "gate"))}


ALL_OF_1 = {"1.mlp.gate_proj", "1.mlp.up_proj", "1.mlp.down_proj", "1.mlp.shared_expert_gate"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("model.layers.1", ALL_OF_1),  # from the beginning to a dot: not layers.10
        ("layers.1", ALL_OF_1),
        ("model.layers.1.mlp.up_proj", {"1.mlp.up_proj"}),
        ("up_proj", {"1.mlp.up_proj", "10.mlp.up_proj"}),  # the end of a name
        ("gate", {"1.mlp.shared_expert_gate"}),
        (r"model.layers.\d+.mlp.up", set()),
        (r"model.layers.\d+.mlp.up_proj", {"1.mlp.up_proj", "10.mlp.up_proj"}),
        ("model.layers.2", set()),
    ],
)
def test_transformers(entry: str, expected: set[str], tmp_path: Path) -> None:
    """quantizers_utils.should_convert_module of transformers 5.24."""
    settings = {"quant_method": "fp8", "modules_to_not_convert": [entry]}
    fmt = opened(fp8_model(tmp_path / "m", LAYERS, settings=settings))
    assert short(only(fmt).modules) == expected
    assert {m.removeprefix("model.layers.") for m in LAYERS if fmt.says_quantized(m) is False} == expected


@pytest.mark.parametrize(
    ("entry", "expected", "taken_for"),
    [
        ("model.layers.1.mlp.up_proj", {"1.mlp.up_proj"}, set()),
        ("model.layers.1.mlp*", ALL_OF_1, set()),
        ("model.layers.1", ALL_OF_1, {"10.mlp.gate_proj", "10.mlp.up_proj", "10.mlp.down_proj"}),
        ("*up_proj", {"1.mlp.up_proj", "10.mlp.up_proj"}, set()),
        ("model.layers.?.mlp.up_proj", {"1.mlp.up_proj"}, set()),
    ],
)
def test_modelopt(entry: str, expected: set[str], taken_for: set[str], tmp_path: Path) -> None:
    """fnmatch of the library; vLLM 0.33 takes any part of a name."""
    one = only(opened(fp8_model(tmp_path / "m", LAYERS, settings=of_modelopt(ignore=[entry]))))
    assert short(one.modules) == expected
    assert short(one.taken_for) == taken_for
    assert bool(one.taken_by) == bool(taken_for)


def test_the_file_beside_config_json_names_modules_too(tmp_path: Path) -> None:
    path = fp8_model(tmp_path / "m", mlp(0), settings=of_modelopt(ignore=["lm_head"]))
    beside = (
        '{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "exclude_modules": ["x", "lm_head"]}}'
    )
    (path / "hf_quant_config.json").write_text(beside)
    assert [(n.entry, n.where) for n in opened(path).named_modules()] == [
        ("lm_head", "ignore of config.json"),
        ("x", "exclude_modules of hf_quant_config.json"),
        ("lm_head", "exclude_modules of hf_quant_config.json"),
    ][:2]


MODULE = "model.layers.0.self_attn.k_proj"


@pytest.mark.parametrize(
    ("entry", "named"), [(MODULE, True), ("self_attn", True), ("layers.0.self", True), ("lm_head", False)]
)
def test_awq_takes_any_part_of_a_name(entry: str, named: bool, tmp_path: Path) -> None:
    fmt = opened(
        copied(
            "autoawq_gemm_g32",
            tmp_path / "m",
            lambda c: c["quantization_config"].update(modules_to_not_convert=[entry]),
        )
    )
    assert (MODULE in only(fmt).modules) == named
    assert (fmt.says_quantized(MODULE) is False) == named


@pytest.mark.parametrize(
    ("settings", "left_out", "named"),
    [
        ({"dynamic": {r"-:.*self_attn.*": {}}}, True, True),
        ({"dynamic": {r"+:.*self_attn.*": {"bits": 4}}}, False, True),
        ({"dynamic": {r"-:.*mlp.*": {}}}, False, False),
        ({"dynamic": {r"+:.*k_proj": {}, r"-:.*self_attn.*": {}}}, False, True),  # the first that fits
    ],
)
def test_patterns_of_gptqmodel(settings: dict[str, Any], left_out: bool, named: bool, tmp_path: Path) -> None:
    fmt = opened(copied("gptq_v1_descact_g32", tmp_path / "m", lambda c: c["quantization_config"].update(settings)))
    assert (fmt.says_quantized(MODULE) is False) == left_out
    assert (MODULE in fmt.named_modules()[0].modules) == named
    assert fmt.named_modules()[0].pattern


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("re:.*self_attn.*", {"self_attn.k_proj"}),
        ("re:self_attn", set()),  # from the beginning of the name
        ("model.layers.0.mlp.gate_proj", {"mlp.gate_proj"}),
        ("mlp.gate_proj", set()),  # the whole name, but for what savers put in front
        ("language_model.layers.0.mlp.gate_proj", {"mlp.gate_proj"}),
    ],
)
def test_compressed_tensors(entry: str, expected: set[str], tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["quantization_config"]["ignore"] = [entry]

    fmt = opened(copied("ct_mixed_three", tmp_path / "m", edit))
    one = next(n for n in fmt.named_modules() if n.left_out)
    found = {m.removeprefix("model.layers.0.") for m in one.modules if m.endswith("_proj")}
    assert found == expected
    quantized = ["self_attn.k_proj", "mlp.gate_proj", "mlp.down_proj"]
    assert {m for m in quantized if fmt.says_quantized(f"model.layers.0.{m}") is False} == expected


def test_an_expression_that_may_take_for_ever_is_not_tried(tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["quantization_config"]["ignore"] = ["re:(a+)+$", "re:["]

    assert not [n for n in opened(copied("ct_mixed_three", tmp_path / "m", edit)).named_modules() if n.left_out]


NAMES = st.lists(st.from_regex(r"\A[ab]{1,3}(\.[ab]{1,2}){0,3}\Z"), max_size=12)


@given(NAMES, st.from_regex(r"\A[ab.]{1,4}\Z"))
def test_searching_names_is_looking_at_each(entries: list[str], part: str) -> None:
    names = ModuleNames(f"{e}.weight" for e in entries)
    inside = list(dict.fromkeys(entries))
    assert list(names.inside) == inside
    assert list(names.containing(part)) == [m for m in inside if part in m]
    assert sorted(names.ending(part)) == sorted(m for m in names.all if m.endswith(part))
    for module in inside:
        expected = {m for m in names.all if m == module or m.startswith(f"{module}.")}
        assert set(names.below([module])) == expected
        assert module in names.called(module)
