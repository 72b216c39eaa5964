"""What a config says of tensors, against the tensors: each rule on what it is for, and on what is nearly that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_declared import FP8_CACHE, attention, cache, copied, fp8_model, mlp, of_modelopt
from broken_files import codes, linted, of_rule
from peer_truth import ROOT, folder, needs_fixtures

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Format, format_of


def opened(path: Path) -> Format:
    return format_of(open_checkpoint(path))


DECLARED = {f"D0{i}" for i in range(1, 6)} | {"D07", "D08", "D09", "D10", "D11"}
"""All but that of effective bits, which a model of a few kB with its embedding always has."""


def found(path: Path) -> set[str]:
    return codes(linted(path)) & DECLARED


@pytest.mark.parametrize("name", ["autoawq_gemm_g32", "gptq_v1_descact_g32", "gptq_v1_3bit_g32", "deepseek_fp8_ragged"])
def test_sound_checkpoints_are_silent(name: str, tmp_path: Path) -> None:
    assert not found(copied(name, tmp_path / "m"))
    assert not found(mixed(tmp_path / "mixed"))


def mixed(path: Path, edit: Callable[[dict[str, Any]], object] = lambda _: None, ignore: Sequence[str] = ()) -> Path:
    """Three modules of compressed-tensors in three schemes, each the target of an expression."""

    def both(content: dict[str, Any]) -> None:
        content["quantization_config"]["ignore"] = list(ignore)
        edit(content)

    return copied("ct_mixed_three", path, both)


# --- D01 ---


def groups_of(content: dict[str, Any]) -> dict[str, Any]:
    groups: dict[str, Any] = content["quantization_config"]["config_groups"]
    return groups


def test_group_sizes_of_compressed_tensors_that_the_tensors_do_not_have(tmp_path: Path) -> None:
    path = mixed(tmp_path / "m", lambda c: groups_of(c)["group_2"]["weights"].update(group_size=64))
    (one,) = of_rule(linted(path), "D01")
    assert "64" in one.found.text
    assert "32" in one.found.text
    assert [p.key for p in one.places] == ["model.layers.0.mlp.down_proj"]


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("autoawq_gemm_g32", {"group_size": 64}, ("group_size 64", "groups of 32")),
        ("gptq_v1_descact_g32", {"group_size": 64}, ("group_size 64", "group_size 32")),
        ("gptq_v1_3bit_g32", {"bits": 4}, ("bits 4", "bits 3")),
    ],
)
def test_settings_of_a_whole_model(name: str, edit: dict[str, Any], words: tuple[str, ...], tmp_path: Path) -> None:
    path = copied(name, tmp_path / "m", lambda c: c["quantization_config"].update(edit))
    said = of_rule(linted(path), "D01")
    assert said, [f.found.text for f in linted(path).findings]
    for word in words:
        assert word in said[0].found.text


def test_algorithms_of_modelopt_that_disagree(tmp_path: Path) -> None:
    path = fp8_model(tmp_path / "m", mlp(0), settings=of_modelopt(quant_algo="NVFP4", group_size=16))
    (one,) = of_rule(linted(path), "D01")
    assert "NVFP4" in one.found.text
    assert "3 modules" in one.found.text


# --- D02 ---


def test_names_with_a_sentinel_are_those_of_modules_that_a_loader_drops() -> None:
    """What ModelOpt 0.47 wrote for NemotronH."""
    from broken_declared import DATA

    (one,) = of_rule(linted(DATA / "modelopt_nemotronh_badnames" / "model"), "D02")
    assert one.severity is Severity.ERROR
    assert "3 names of quantized_layers" in one.found.text
    assert "3 modules for plain" in one.found.text
    assert "NUL" in one.found.text


@pytest.mark.parametrize(
    ("ignore", "severity"),
    [
        (["model.layers.7.mlp.gate_proj"], Severity.WARNING),
        (["language_model.model.layers.0.mlp.gatte_proj"], Severity.WARNING),
        (["re:.*vision.*"], Severity.NOTE),
        (["visual"], Severity.NOTE),
    ],
)
def test_ignored_names_that_are_for_no_module(ignore: list[str], severity: Severity, tmp_path: Path) -> None:
    path = mixed(tmp_path / "m", ignore=ignore)
    (one,) = of_rule(linted(path), "D02")
    assert one.severity is severity
    assert [p.key for p in one.places] == ignore
    assert one.found.numbers["of"] == 4  # three targets too


def test_no_name_is_the_only_one_beside_another(tmp_path: Path) -> None:
    path = mixed(tmp_path / "m", ignore=["model.layers.7.mlp.gate_proj", "visual"])
    assert sorted(f.found.text for f in of_rule(linted(path), "D02")) == [
        "model.layers.7.mlp.gate_proj of ignore of config.json is for no module.",
        "visual of ignore of config.json is for no module.",
    ]


def test_a_target_that_is_for_no_module(tmp_path: Path) -> None:
    path = mixed(tmp_path / "m", lambda c: groups_of(c)["group_2"].update(targets=["re:.*dwn_proj$"]))
    (one,) = of_rule(linted(path), "D02")
    assert one.severity is Severity.WARNING
    assert "targets of group_2" in one.found.text


@pytest.mark.parametrize("name", ["layers.0.input_layernorm", "module.model.layers.0.input_layernorm", "re:.*norm$"])
def test_names_that_savers_write_otherwise_and_expressions_are_for_modules(name: str, tmp_path: Path) -> None:
    assert not found(mixed(tmp_path / "m", ignore=[name]))


def test_an_output_layer_that_is_tied_is_not_in_the_file(tmp_path: Path) -> None:
    settings = of_modelopt(ignore=["lm_head"])
    assert "D02" in found(fp8_model(tmp_path / "own", mlp(0), settings=settings))
    assert "D02" not in found(fp8_model(tmp_path / "tied", mlp(0), settings=settings, tie_word_embeddings=True))


def test_a_shard_by_itself_says_nothing_of_names(tmp_path: Path) -> None:
    path = fp8_model(tmp_path / "m", mlp(0), settings=of_modelopt(ignore=["model.layers.1.mlp.up_proj"]))
    assert "D02" in found(path)
    shard = path / "model-00001-of-00002.safetensors"
    (path / "model.safetensors").rename(shard)
    assert "D02" not in found(shard)
    assert "D02" not in found(path)  # F04 says that one is missing
    assert "F04" in codes(linted(path))


# --- D03, D04, D05 ---


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (of_modelopt(ignore=["model.layers.0.mlp.up_proj"]), "ignore of config.json"),
        (of_modelopt(ignore=["*up_proj"]), "ignore of config.json"),
        (of_modelopt(exclude_modules=["model.layers.0.mlp.up*"]), "exclude_modules"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["up_proj"]}, "modules_to_not_convert"),
    ],
)
def test_modules_that_are_left_out_and_quantized_all_the_same(
    settings: dict[str, Any], why: str, tmp_path: Path
) -> None:
    (one,) = of_rule(linted(fp8_model(tmp_path / "m", mlp(0), settings=settings)), "D03")
    assert one.found.text.startswith("1 of 3 quantized modules")
    assert why in one.places[0].text
    assert [p.key for p in one.places] == ["model.layers.0.mlp.up_proj"]


def test_codes_of_compressed_tensors_under_ignore(tmp_path: Path) -> None:
    """As an MTP block that the saver packs although it is ignored."""
    lint = linted(mixed(tmp_path / "m", ignore=["re:.*mlp.*"]))
    assert not of_rule(lint, "D01")  # it is said once
    (one,) = of_rule(lint, "D03")
    assert "2 of 3 quantized modules" in one.found.text
    assert "re:.*mlp.*" in one.places[0].text


def test_a_module_without_an_algorithm_of_its_own(tmp_path: Path) -> None:
    layers = {m: {"quant_algo": "FP8"} for m in mlp(0)[:2]}
    settings = of_modelopt(quant_algo="MIXED_PRECISION", quantized_layers=layers)
    (one,) = of_rule(linted(fp8_model(tmp_path / "m", mlp(0), settings=settings)), "D03")
    assert [p.key for p in one.places] == mlp(0)[2:]
    assert "no entry is for it" in one.places[0].text


def test_plain_modules_that_nothing_leaves_out(tmp_path: Path) -> None:
    settings = of_modelopt(ignore=["lm_head"])
    path = fp8_model(tmp_path / "m", mlp(0), [*mlp(1), "lm_head", "model.embed_tokens"], settings)
    (one,) = of_rule(linted(path), "D04")
    assert {p.key for p in one.places} == {*mlp(1)}
    settings = of_modelopt(ignore=["lm_head", "model.layers.1*"])
    assert "D04" not in found(fp8_model(tmp_path / "n", mlp(0), [*mlp(1), "lm_head"], settings))


def test_a_router_that_no_other_module_is_called_like_may_be_plain(tmp_path: Path) -> None:
    path = fp8_model(tmp_path / "m", mlp(0), ["model.layers.0.mlp.router"], of_modelopt())
    assert "D04" not in found(path)


EXPERTS = [f"model.layers.0.mlp.experts.{n}.{name}" for n in (0, 1) for name in ("gate_proj", "up_proj", "down_proj")]


@pytest.mark.parametrize("name", ["gate", "router"])
def test_a_router_that_the_settings_forget(name: str, tmp_path: Path) -> None:
    """As ModelOpt wrote NemotronH's until 0.46."""
    plain = ["lm_head", f"model.layers.0.mlp.{name}"]
    (one,) = of_rule(linted(fp8_model(tmp_path / "m", EXPERTS, plain, of_modelopt(ignore=["lm_head"]))), "D11")
    assert [p.key for p in one.places] == [f"model.layers.0.mlp.{name}"]
    assert one.severity is Severity.WARNING
    named = of_modelopt(ignore=["lm_head", f"*mlp.{name}"])
    assert not found(fp8_model(tmp_path / "named", EXPERTS, plain, named))
    assert not found(fp8_model(tmp_path / "none", EXPERTS, plain[1:], of_modelopt()))  # as DeepSeek's: no names at all
    beside = ["lm_head", f"model.layers.0.mixer.{name}"]  # a gate of something else
    assert not found(fp8_model(tmp_path / "beside", EXPERTS, beside, of_modelopt(ignore=["lm_head"])))


def test_layers_1_is_a_part_of_layers_10(tmp_path: Path) -> None:
    quantized = [*mlp(0), *mlp(10), *mlp(11)]
    path = fp8_model(tmp_path / "m", quantized, mlp(1), of_modelopt(ignore=["model.layers.1"]))
    (one,) = of_rule(linted(path), "D05")
    assert {p.key for p in one.places} == {*mlp(10), *mlp(11)}
    assert "layers.1 " in one.found.text
    path = fp8_model(tmp_path / "n", quantized, mlp(1), of_modelopt(ignore=["model.layers.1.*", *mlp(1)]))
    assert not found(path)


# --- D06 ---


def test_scales_that_take_more_than_codes(tmp_path: Path) -> None:
    from broken_declared import DATA

    said = of_rule(linted(DATA / "gptq_v1_3bit_g32" / "model"), "D06")
    assert all(f.severity is Severity.NOTE for f in said)
    assert "3 is declared" in said[0].found.text
    path = fp8_model(tmp_path / "m", mlp(0), settings=of_modelopt())
    assert "D06" not in codes(linted(path))


def test_of_several_widths_how_much_there_is_of_each(tmp_path: Path) -> None:
    (one,) = of_rule(linted(mixed(tmp_path / "m")), "D06")
    assert "4 and 8 are declared: of 3 quantized weights 2 of 4 bits and 1 of 8 bits" in one.found.text
    sizes = {w.role: int(np.prod(w.shape)) for w in opened(tmp_path / "m").weights()}
    mean = sum((8 if "k_proj" in role else 4) * n for role, n in sizes.items()) / sum(sizes.values())
    assert one.found.numbers["codes"] == pytest.approx(mean)


# --- D07, D08 ---


def kv_model(path: Path, *layers: dict[str, np.ndarray], settings: dict[str, Any] | None = None) -> Path:
    """A model with as many layers of attention, with these scales of their caches."""
    modules = [m for layer in range(len(layers)) for m in attention(layer)]
    more = {name: x for layer in layers for name, x in layer.items()}
    return fp8_model(path, modules, settings=settings or of_modelopt(**FP8_CACHE), more=more)


def test_calibrated_caches_are_silent(tmp_path: Path) -> None:
    assert not found(kv_model(tmp_path / "m", cache(0), cache(1, 0.2, 0.1)))


def test_a_cache_that_is_cast_is_a_note(tmp_path: Path) -> None:
    (one,) = of_rule(linted(kv_model(tmp_path / "m", cache(0, 1.0, 1.0), cache(1, 1.0, 1.0))), "D07")
    assert one.severity is Severity.NOTE
    assert "all 4 scales" in one.found.text
    assert "a scale of exactly 1.0 cannot be told from the default" in one.found.text
    (one,) = of_rule(linted(kv_model(tmp_path / "n", {}, {})), "D07")
    assert one.severity is Severity.NOTE


def test_some_scales_of_one_are_a_warning(tmp_path: Path) -> None:
    (one,) = of_rule(linted(kv_model(tmp_path / "m", cache(0), cache(1, 1.0, 0.3))), "D07")
    assert one.severity is Severity.WARNING
    assert "1 of 4 scales" in one.found.text
    assert "0.04 to 0.3" in one.found.text


def test_a_cache_of_another_library_without_scales_is_a_warning(tmp_path: Path) -> None:
    def declare(content: dict[str, Any]) -> None:
        scheme = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
        content["quantization_config"]["kv_cache_scheme"] = scheme

    (one,) = of_rule(linted(mixed(tmp_path / "m", declare)), "D07")
    assert one.severity is Severity.WARNING
    assert "1 layer of attention" in one.found.text


@pytest.mark.parametrize(
    ("layers", "severity", "words"),
    [
        ([cache(0), {}], Severity.WARNING, "1 of 2 layers of attention has no scale"),
        ([cache(0, k=None), cache(1, k=None)], Severity.ERROR, "2 layers have a scale of the cache of values and none"),
        ([cache(0, v=None), cache(1)], Severity.WARNING, "1 layer has a scale of the cache of keys and none of values"),
        ([cache(0, k=np.full(16, 0.1)), cache(1)], Severity.WARNING, "neither one number nor one a head"),
    ],
)
def test_caches_with_half_of_their_scales(
    layers: list[dict[str, np.ndarray]], severity: Severity, words: str, tmp_path: Path
) -> None:
    (one,) = of_rule(linted(kv_model(tmp_path / "m", *layers)), "D08")
    assert one.severity is severity
    assert words in one.found.text


def test_a_number_a_head_is_read(tmp_path: Path) -> None:
    heads = np.full((2, 1, 1), 0.1)
    assert "D08" not in found(kv_model(tmp_path / "m", cache(0, heads, heads), cache(1, heads, heads)))


# --- on the checkpoints of the libraries themselves ---

SPEAK = {
    "modelopt_nemotronh_badnames": {("D02", "error")},
    "modelopt_qwen3moe_inputscale1_kvcast": {("D07", "note")},
}


@needs_fixtures
@pytest.mark.parametrize("name", sorted(p.parent.name for p in Path(ROOT or "/nowhere").glob("*/model")))
def test_what_libraries_write_is_not_accused(name: str) -> None:
    """But for the two that are: one by a mistake of its exporter, one by its recipe."""
    from qinspect.inspector.errors import CannotOpen

    try:
        lint = linted(folder(name) / "model")
    except CannotOpen:
        return
    said = {(f.rule.code, f.severity.value) for f in lint.findings if f.rule.code[0] in "DF" and f.rule.code != "D06"}
    assert said == SPEAK.get(name, set())
