"""What the names of a checkpoint are asked for at once: the same as going over all of them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.checkpoint.columns import Columns, Entries
from qinspect.inspector.checkpoint.dtypes import DTYPES
from qinspect.inspector.checkpoint.source import Memory

_SETTINGS = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
FORMS = ((DTYPES["float32"], (2,)), (DTYPES["int32"], (1, 2)), (DTYPES["int8"], ()))
PARTS = ("a", "b", "weight", "weight_scale", "scale", "qweight", "")
names = st.lists(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map(".".join).filter(bool), unique=True, max_size=20
)


def entries_of(found: list[str], forms: list[int], split: int, columnar: bool) -> Entries:
    """The names in two files, the second of handles where not all is to be in columns."""
    file = Memory(bytes(64), Path("m"))
    form_of = [FORMS[f % len(FORMS)] for f in forms]
    tensors = [Tensor(n, dtype, shape, None, file, 0) for n, (dtype, shape) in zip(found, form_of, strict=True)]
    entries = Entries()
    entries.add(Columns.of(file, tensors[:split], {}))
    rest = tensors[split:]
    entries.add(Columns.of(file, rest, {}) if columnar else {t.name: t for t in rest})
    return entries


@st.composite
def models(draw: st.DrawFn) -> Entries:
    found = draw(names)
    forms = draw(st.lists(st.integers(0, 2), min_size=len(found), max_size=len(found)))
    return entries_of(found, forms, draw(st.integers(0, len(found))), draw(st.booleans()))


@settings(_SETTINGS, max_examples=300)
@given(models())
def test_last_parts_are_those_of_all_names(entries: Entries) -> None:
    lasts = [name.split(".")[-1] for name in entries]
    assert entries.lasts == set(lasts)
    assert list(entries.ending("scale", "weight")) == [n for n in entries if n.endswith(("scale", "weight"))]
    modules = dict.fromkeys(n[: -len(".weight")] for n in entries if n.endswith(".weight"))
    assert entries.modules_with(["weight"]) == list(modules)


def test_last_parts_follow_a_file_that_comes_later() -> None:
    entries = entries_of(["a.weight"], [0], 1, True)
    assert entries.lasts == {"weight"}
    entries.add({"b.scale": Tensor("b.scale", *FORMS[0], None, Memory(bytes(8), Path("m")), 0)})
    assert entries.lasts == {"weight", "scale"}
    assert entries.dtypes == {"float32"}


@settings(_SETTINGS, max_examples=300)
@given(models())
def test_tensors_and_places_are_those_of_the_entries(entries: Entries) -> None:
    asked = [*entries, "not there"]
    handles = [entries.tensor(name) for name in asked]
    assert [t and (t.name, t.dtype, t.shape, t.offset) for t in handles] == [
        *((t.name, t.dtype, t.shape, t.offset) for t in entries.values() if isinstance(t, Tensor)), None
    ]  # fmt: skip
    assert entries.places(asked) == [entries.place(name) for name in asked]
    assert entries.dtypes == {t.dtype.name for t in entries.values() if isinstance(t, Tensor)}


@settings(_SETTINGS, max_examples=300)
@given(models())
def test_every_kind_of_module_is_there(entries: Entries) -> None:
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in entries))

    def kind(module: str) -> list[object]:
        found = [entries.get(f"{module}.{last}") for last in ("weight", "scale")]
        return [None if t is None else (t.dtype, t.shape) for t in found if t is None or isinstance(t, Tensor)]

    chosen = list(entries.one_of_each_kind(modules, ("weight", "scale")))
    assert chosen == [m for m in modules if m in chosen]
    assert all(kind(m) in [kind(c) for c in chosen] for m in modules)
    assert not entries.columnar or len(chosen) == len({repr(kind(m)) for m in modules})


def test_a_shape_that_no_bytes_vouch_for_is_no_tensor() -> None:
    file = Memory(b"", Path("m"))
    huge = Tensor("x", DTYPES["float32"], (0, 1 << 40), None, file, 0)
    many = Tensor("y", DTYPES["float32"], (1,) * 40, None, file, 0)
    empty = Tensor("z", DTYPES["float32"], (0, 4), None, file, 0)
    entries = Entries()
    entries.add(Columns.of(file, [huge, many, empty], {}))
    assert [entries.tensor(n) is None for n in "xyz"] == [True, True, False]
