"""Roles of all names of a model: each as of the name alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.roles import Roles, strip_root

PARTS = ("model", "module", "_orig_mod", "layers", "0", "experts", "w1", "w2", "base_layer", "weight", "", "a\nmodel")
names = st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map(".".join), unique=True, max_size=4)


@settings(deadline=None, derandomize=True, database=None, max_examples=1000)
@given(names)
def test_each_name_has_the_role_that_it_has_alone(found: list[str]) -> None:
    roles = Roles(found)
    alone = [strip_root(n) for n in found]
    assert [roles.by_name[n] for n in found] == [
        r if alone.count(r) == 1 else n for n, r in zip(found, alone, strict=True)
    ]
