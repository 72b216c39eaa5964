"""All bytes come through a source: what it is made of makes no difference, and what is read can be counted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value, open_checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.opening import open_source
from qinspect.inspector.checkpoint.source import MAX_GAP_BYTES, MAX_TOGETHER_BYTES, Memory, Source
from qinspect.inspector.errors import BrokenFile, CannotRead
from qinspect.inspector.formats import format_of

STATE = {
    "model.layers.0.weight": torch.arange(12, dtype=torch.int8).reshape(3, 4),
    "model.layers.0.weight_scale": torch.tensor([0.5, 0.25, 0.125]),
    "model.norm.weight": torch.ones(5, dtype=torch.bfloat16),
}


class Counting(Source):
    """Bytes whose reads are counted, as a server would count requests."""

    __slots__ = ("_data", "reads")

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self.path = Path(name)
        self.size = len(data)
        self.identity = (name,)
        self.notes = []
        self.reads: list[tuple[int, int]] = []

    def _pread(self, offset: int, n: int) -> bytes:
        self.reads.append((offset, n))
        return self._data[offset : offset + n]


def stored(kind: str, state: dict[str, torch.Tensor] = STATE) -> bytes:
    if kind == "safetensors":
        return save(state)
    out = io.BytesIO()
    torch.save(state, out, _use_new_zipfile_serialization=kind == "zip")
    return out.getvalue()


def contents(checkpoint: Checkpoint) -> dict[str, tuple[str, list[object]]]:
    return {
        e.name: (e.dtype.name, e.read().tolist()) if isinstance(e, Tensor) else ("value", [e.value])
        for e in checkpoint.entries.values()
        if isinstance(e, (Tensor, Value))
    }


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_memory_and_anything_else_are_the_same_to_every_reader(tmp_path: Path, kind: str) -> None:
    raw = stored(kind)
    path = tmp_path / ("m.safetensors" if kind == "safetensors" else "m.bin")
    path.write_bytes(raw)
    from_file = open_checkpoint(path)
    expected = {name: (str(t.dtype).removeprefix("torch."), t.tolist()) for name, t in STATE.items()}
    assert contents(from_file) == expected
    for source in (Memory(raw, path), Counting(raw, path.name)):
        opened = open_source(source)
        assert contents(opened) == expected
        assert opened.kind == from_file.kind
        assert [r.key for r in format_of(opened).scales()] == [r.key for r in format_of(from_file).scales()]


@pytest.mark.parametrize("kind", ["safetensors", "zip"])
def test_opening_reads_headers_and_looking_at_a_tensor_reads_that(kind: str) -> None:
    source = Counting(stored(kind, {**STATE, "large": torch.zeros(1 << 20)}), "m")
    checkpoint = open_source(source)
    assert sum(n for _, n in source.reads) < 1 << 18
    assert len(source.reads) < 20
    source.reads.clear()
    list(checkpoint.entries)
    assert len(checkpoint.entries) == 4
    assert source.reads == []
    t = checkpoint.tensor("model.layers.0.weight_scale")
    assert t is not None
    assert t.read().tolist() == [0.5, 0.25, 0.125]
    assert sum(n for _, n in source.reads) < 200


def test_an_empty_safetensors_file_and_a_broken_one_say_the_name_that_they_were_given() -> None:
    with pytest.raises(BrokenFile, match=r"there/m\.safetensors"):
        open_source(Memory(b"\x10\0\0\0\0\0\0\0{}", Path("there/m.safetensors")))
    with pytest.raises(BrokenFile, match=r"there: is empty"):
        open_source(Memory(b"", Path("there")))


@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(
    ranges=st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 3000)), max_size=30),
    step=st.sampled_from([1, 7, 64]),
)
def test_ranges_are_what_reads_of_each_are(ranges: list[tuple[int, int]], step: int) -> None:
    raw = (bytes(i * 31 % 251 for i in range(251)) * (256 * step))[: 64_000 * step]
    source = Counting(raw, "m")
    scaled = [(offset * step, n) for offset, n in ranges]
    assert source.read_ranges(scaled) == [raw[offset : offset + n] for offset, n in scaled]
    assert len(source.reads) <= len(ranges)
    asked = [(o, o + n) for o, n in scaled if n]
    assert all(n <= max(MAX_TOGETHER_BYTES, 3000) for _, n in source.reads)
    if asked and max(e for _, e in asked) - min(s for s, _ in asked) <= MAX_GAP_BYTES:
        assert len(source.reads) == 1


def test_a_range_that_is_not_inside() -> None:
    source = Memory(bytes(10), Path("m"))
    for ranges in ([(8, 3)], [(-1, 2)], [(0, 5), (20, 1)]):
        with pytest.raises(BrokenFile, match="beyond the end"):
            source.read_ranges(ranges)


def test_a_read_that_ends_early_goes_on_and_one_that_ends_is_an_error() -> None:
    class Slow(Counting):
        __slots__ = ()

        def _pread(self, offset: int, n: int) -> bytes:
            return super()._pread(offset, min(n, 3))

    raw = bytes(range(20))
    assert Slow(raw, "m").read(2, 10) == raw[2:12]
    cut = Slow(raw, "m")
    cut._data = raw[:6]
    with pytest.raises(CannotRead, match="became shorter"):
        cut.read(2, 10)


def test_memory_that_was_taken_out_of_a_file_changes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"abc")
    file = File(path)
    inner = Memory(b"b", file)
    assert (inner.changed(), inner.gone(), inner.path, inner.stored) == (False, False, path, False)
    inner.notes.append("odd")
    assert file.notes == ["odd"]
    path.unlink()
    assert inner.changed()
    assert inner.gone()


def test_many_small_scales_are_few_reads(tmp_path: Path) -> None:
    from qinspect.inspector.compare.ahead import BATCH_SCALES, read_ahead
    from qinspect.inspector.values.scale_faults import FaultScan

    state = {}
    n = BATCH_SCALES + 72
    for i in range(n):
        state[f"layers.{i}.weight"] = torch.zeros(4, 4, dtype=torch.int8)
        state[f"layers.{i}.weight_scale"] = torch.full((4,), 0.5 + i)
    save_file(state, tmp_path / "m.safetensors")
    raw = (tmp_path / "m.safetensors").read_bytes()
    a, b = Counting(raw, "a"), Counting(raw, "b")
    formats = [format_of(open_source(s)) for s in (a, b)]
    a.reads.clear()
    matched = [(r.role, (r, other)) for r, other in zip(formats[0].scales(), formats[1].scales(), strict=True)]
    assert len(matched) == n
    ahead = read_ahead(matched, 0, formats[0], formats[1], FaultScan())
    assert (ahead.same, ahead.apart, ahead.stop) == (set(range(BATCH_SCALES)), {}, BATCH_SCALES)
    assert len(a.reads) == 1
