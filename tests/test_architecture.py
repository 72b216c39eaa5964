"""Kinds of layers and segments of projections, against the sizes that a mixer is built of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.architecture import kind_of_layer, layer_kinds, mixer_segments

SIZES = st.integers(1, 64)


def mamba2(n_heads: int, head: int, n_groups: int, n_states: int, d_model: int = 48) -> dict[str, tuple[int, ...]]:
    """Shapes of a mixer as transformers and mamba_ssm build it."""
    d, convolved = n_heads * head, n_heads * head + 2 * n_groups * n_states
    return {
        "in_proj": (d + convolved + n_heads, d_model),
        "conv1d": (convolved, 1, 4),
        "out_proj": (d_model, d),
        "A_log": (n_heads,),
    }


@given(SIZES, SIZES, SIZES, SIZES)
def test_segments_have_the_sizes_that_a_mamba2_is_built_of(n_heads: int, head: int, n_groups: int, n: int) -> None:
    d, states = n_heads * head, n_groups * n
    for config in ({"n_groups": n_groups, "ssm_state_size": n}, {"ssm_cfg": {"ngroups": n_groups, "d_state": n}}):
        found = mixer_segments(mamba2(n_heads, head, n_groups, n), config)
        sizes = [(s.name, s.stop - s.start) for s in found["in_proj"]]
        assert sizes == [("z", d), ("x", d), ("B", states), ("C", states), ("dt", n_heads)]
        assert [(s.name, s.stop - s.start) for s in found["conv1d"]] == [("x", d), ("B", states), ("C", states)]
        assert [s.start for s in found["in_proj"]] == [0, *(s.stop for s in found["in_proj"])][:-1]
        assert found["in_proj"][1].of == f"{n_heads} heads of {head}"
        assert found["in_proj"][2].of == f"{n_groups} group{'s' * (n_groups > 1)} of {n}"


def test_groups_that_do_not_fit_the_shapes_are_not_said() -> None:
    found = mixer_segments(mamba2(4, 32, 2, 16), {"n_groups": 2, "ssm_state_size": 64})
    assert [s.of for s in found["conv1d"]] == ["4 heads of 32", "", ""]


def test_without_a_tensor_of_heads_the_settings_say_how_many() -> None:
    shapes = {k: v for k, v in mamba2(4, 32, 2, 16).items() if k != "A_log"}
    assert mixer_segments(shapes, {}) == {}
    assert mixer_segments(shapes, {"mamba_num_heads": 8}) == {}
    assert str(mixer_segments(shapes, {"mamba_num_heads": 4})["in_proj"][-1]) == "dt 320-323 (one a head)"


def test_of_a_part_of_a_mixer_the_settings_say_all_sizes() -> None:
    config = {"mamba_num_heads": 4, "mamba_head_dim": 32, "n_groups": 2, "ssm_state_size": 16}
    alone = {"in_proj": (324, 128)}
    assert mixer_segments(alone, config) == mixer_segments(mamba2(4, 32, 2, 16), config)
    assert mixer_segments({"in_proj": (325, 128)}, config) == {}
    for key in config:
        assert mixer_segments(alone, {k: v for k, v in config.items() if k != key}) == {}


def test_mamba1_has_x_before_z() -> None:
    shapes = {"in_proj": (512, 128), "conv1d": (256, 1, 4), "out_proj": (128, 256), "x_proj": (40, 256)}
    assert list(map(str, mixer_segments(shapes, {})["in_proj"])) == ["x 0-255", "z 256-511"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("in_proj", (325, 128)), ("in_proj", (0, 128)), ("in_proj", ()), ("conv1d", (193, 1, 4)),
        ("conv1d", (128, 1, 4)), ("out_proj", (128, 64)), ("out_proj", (128,)), ("A_log", (5,)),
        ("A_log", (0,)), ("x_proj", (40, 128)),
    ],
)  # fmt: skip
def test_shapes_of_another_mixer_name_nothing(name: str, shape: tuple[int, ...]) -> None:
    assert mixer_segments({**mamba2(4, 32, 2, 16), name: shape}, {}) == {}


@given(st.dictionaries(st.sampled_from(["in_proj", "conv1d", "out_proj", "A_log", "D", "x_proj"]),
                       st.lists(st.integers(0, 600), max_size=3)))  # fmt: skip
def test_what_is_named_covers_every_row_once(shapes: Mapping[str, Sequence[int]]) -> None:
    config = {"num_heads": 2, "head_dim": 8, "n_groups": 1, "state_size": 8}
    for name, found in mixer_segments(shapes, config).items():
        if name not in shapes:
            continue
        rows = [row for s in found for row in range(s.start, s.stop)]
        assert rows == list(range(shapes[name][0]))


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"hybrid_override_pattern": "M*-E"}, ("Mamba", "attention", "MLP", "MoE")),
        ({"text_config": {"hybrid_override_pattern": "M-?"}}, ("Mamba", "MLP", "")),
        ({"hybrid_override_pattern": "MM"}, ()),
        ({"hybrid_override_pattern": 7}, ()),
        ({"model_type": "nemotron_h", "layers_block_type": ["linear_attention", "moe"]}, ("Mamba", "MoE")),
        ({"layer_types": ["linear_attention", "full_attention"]}, ("linear attention", "attention")),
        ({"layer_types": ["full_attention", ["mamba"], None]}, ("attention", "", "")),
        ({"layers_block_type": {"mamba": 1}}, ()),
        ({"text_config": "M*"}, ()),
        ({}, ()),
    ],
)
def test_layers_are_what_the_settings_say(config: Mapping[str, object], kinds: tuple[str, ...]) -> None:
    assert layer_kinds(config) == kinds


def test_only_layers_of_the_one_stack_have_a_kind() -> None:
    kinds = ("Mamba", "attention")
    assert kind_of_layer("backbone.layers.1", kinds) == kind_of_layer("model.layers.1", kinds) == "attention"
    others = ("layers", "layers.2", "mtp.layers.0", "layers.0.mixer", "layers.99999999999999999999", "", "1")
    assert {kind_of_layer(path, kinds) for path in others} == {""}
    assert kind_of_layer("layers.0", ()) == ""
