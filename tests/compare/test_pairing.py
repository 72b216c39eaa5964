"""Lining up roles."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.compare.pairing import Pairs, T, in_order, partners


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
