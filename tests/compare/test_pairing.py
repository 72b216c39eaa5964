"""Lining up roles."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.compare.pairing import Pairs, T, in_order, line_up, partners


def pair_by_role(a: Mapping[str, T], b: Mapping[str, T]) -> Pairs[T]:
    return in_order(a, b, partners(a, b))


names = st.lists(st.text("abc.", min_size=1, max_size=8), unique=True, max_size=30)


@given(names, names)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_item_is_in_exactly_one_pair(a: list[str], b: list[str]) -> None:
    pairs = pair_by_role({n: ("a", n) for n in a}, {n: ("b", n) for n in b})
    assert [x for _, x, _ in pairs if x] == [("a", n) for n in a]
    assert sorted(y for _, _, y in pairs if y) == sorted(("b", n) for n in b)
    for role, x, y in pairs:
        assert x or y
        if role in a and role in b:
            assert x == ("a", role)
            assert y == ("b", role)


def test_what_only_b_has_stands_behind_its_predecessor() -> None:
    pairs = pair_by_role({"x": 1, "z": 3}, {"x": 1, "y": 2, "z": 3, "end": 4})
    assert [role for role, _, _ in pairs] == ["x", "y", "z", "end"]


def test_a_hybrid_variant_pairs_with_the_only_mixer() -> None:
    a = {"layers.0.mixer[W4A8].in_proj.weight": 1, "layers.0.mixer[W4A16].in_proj.weight": 2}
    pairs = pair_by_role(a, {"layers.0.mixer.in_proj.weight": 3})
    assert (pairs[0][1], pairs[0][2]) == (1, 3)
    assert pairs[1][2] is None


def by_name(a: Mapping[str, object], b: Mapping[str, object]) -> Mapping[str, str]:
    return partners(a, b)


@given(st.lists(names, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_item_of_every_model_is_in_exactly_one_row(models: list[list[str]]) -> None:
    made = line_up([{n: (i, n) for n in m} for i, m in enumerate(models)], by_name)
    for i, m in enumerate(models):
        assert sorted(x for _, row in made if (x := row[i])) == sorted((i, n) for n in m)
    assert [row[0] for _, row in made if row[0]] == [(0, n) for n in models[0]]
    assert all(len(row) == len(models) and any(row) for _, row in made)
    assert len({role for role, _ in made}) == len(made)


@given(names, names)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_two_models_are_a_case_of_many(a: list[str], b: list[str]) -> None:
    left, right = {n: ("a", n) for n in a}, {n: ("b", n) for n in b}
    assert line_up((left, right), by_name) == [(role, (x, y)) for role, x, y in pair_by_role(left, right)]


def test_a_third_model_pairs_with_what_only_the_second_has() -> None:
    rows = line_up(({"x": 1}, {"x": 2, "y": 3}, {"y": 4, "z": 5}), by_name)
    assert rows == [("x", (1, 2, None)), ("y", (None, 3, 4)), ("z", (None, None, 5))]
    assert line_up((), by_name) == []
