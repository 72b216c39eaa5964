"""Files of distributions: what is written is read, and damage is one of our errors, whatever it hits."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from distribution_cases import DTYPES, KINDS, patterns, silu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate
from safetensors.numpy import load_file, save_file

from qinspect.inspector.distribution import DistributionFile, MagnitudeTable, merge, write_distributions
from qinspect.inspector.distribution.packing import FIELDS, Damaged, Packed, checksum, pack, unpack
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError, UnknownKey

POINT = "layers.0.mixer.x_conv_out:input"


def same(a: MagnitudeTable, b: MagnitudeTable) -> bool:
    numbers = [(t.dtype, t.n_inf, t.n_nan, t.dropped_bits, repr(float(t.signed_absmax))) for t in (a, b)]
    return (
        numbers[0] == numbers[1] and np.array_equal(a.magnitudes, b.magnitudes) and np.array_equal(a.counts, b.counts)
    )


def tables() -> list[MagnitudeTable]:
    arrays: list[Any] = [silu(9000, d, s) for s in range(3) for d in DTYPES]
    arrays += [silu(70_000, "float32"), np.zeros(0, np.float16), np.array([np.nan, -np.inf], np.float16)]
    return [MagnitudeTable.of(x) for x in arrays]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run.qcal.safetensors"
    write_distributions(path, {POINT: tables(), "é\n": tables()[:2]}, {"model": "m", "alpha": "0.9995"})
    return path


def test_what_is_written_is_read(written: Path) -> None:
    file = DistributionFile(written)
    assert file.points == (POINT, "é\n")
    assert file.metadata == {"model": "m", "alpha": "0.9995"}
    assert file.n_samples(POINT) == len(tables())
    assert all(same(a, b) for a, b in zip(file.samples(POINT), tables(), strict=True))
    assert same(file.pooled(POINT), merge(tables()))
    assert same(file.pooled("é\n"), merge(tables()[:2]))
    file.close()


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_any_table_is_packed_and_unpacked(dtype: str, data: st.DataObject) -> None:
    table = MagnitudeTable.of(data.draw(patterns(dtype, finite=False, min_size=0)))
    assert same(unpack(pack(table, 0)), table)


def test_large_counts_are_kept() -> None:
    counts = np.zeros(32768, np.int64)
    counts[[0, 7, 31743]] = 2**60, 1, 2**33
    packed = pack(MagnitudeTable.from_counts(counts, "float16"), 0)
    assert unpack(packed).counts.tolist() == [2**60, 1, 2**33]


def test_a_sample_takes_less_than_a_tenth_of_its_dense_table() -> None:
    sizes = {d: len(pack(MagnitudeTable.of(silu(100_000, d)), 0).payload) for d in ("float16", "bfloat16")}
    assert sizes["float16"] < 8_000
    assert sizes["bfloat16"] < 2_500


def test_the_file_is_safetensors_for_others_too(written: Path) -> None:
    found = load_file(written)
    assert sorted(found) == ["point.0.index", "point.0.tables", "point.1.index", "point.1.tables"]
    assert found["point.0.index"].shape == (1 + len(tables()), len(FIELDS))


def test_unknown_points_and_other_files(written: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownKey, match="no observation point"):
        DistributionFile(written).pooled("layers.9")
    with pytest.raises(CannotOpen, match="cannot be opened"):
        DistributionFile(tmp_path / "none")
    other = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3)}, other)
    with pytest.raises(CannotOpen, match="is not a file of distributions"):
        DistributionFile(other)
    save_file({}, other, {"format": "qinspect-distributions", "version": "2"})
    with pytest.raises(CannotOpen, match="another version"):
        DistributionFile(other)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotOpen, match="cannot be written"):
        write_distributions(tmp_path / "none" / "a", {POINT: tables()})
    with pytest.raises(ValueError, match="format's own: version"):
        write_distributions(tmp_path / "a", {}, {"version": "9"})
    old = tmp_path / "old"
    old.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotOpen, match="No space left"):
        write_distributions(old, {POINT: tables()})
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert old.read_text() == "old"


def change(path: Path, point: int, row: int, field: str, value: int) -> None:
    tensors = load_file(path)
    tensors[f"point.{point}.index"][row, FIELDS.index(field)] = value
    metadata = {"format": "qinspect-distributions", "version": "1", "points": json.dumps([POINT, "é\n"])}
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [-1, 3, 9, 1 << 20, 1 << 40, (1 << 63) - 1, -(1 << 63)])
def test_an_index_that_lies_is_an_error(written: Path, field: str, value: int) -> None:
    change(written, 1, 1, field, value)
    with pytest.raises(BrokenFile) as caught:
        DistributionFile(written).samples("é\n")
    assert caught.value.file == str(written)
    assert (caught.value.key or "").startswith("point.1.")


def test_payloads_that_lie_are_damaged() -> None:
    """With a checksum that fits: what a hostile writer can do."""
    table = tables()[0]
    good = pack(table, 0)

    def with_fields(**changes: int) -> tuple[int, ...]:
        fields = [changes.get(name, value) for name, value in zip(FIELDS, good.fields, strict=True)]
        fields[FIELDS.index("crc32")] = checksum(good.payload, tuple(fields))
        return tuple(fields)

    cases = {
        "checksum": (good.payload[:-1] + b"x", good.fields),
        "more entries": (good.payload, with_fields(entries=1 << 30)),
        "different size": (good.payload, with_fields(entries=table.counts.size + 1)),
        "unknown kind": (good.payload, with_fields(encoding=2)),
        "impossible precision": (good.payload, with_fields(dropped_bits=12)),
        "largest value": (good.payload, with_fields(signed_absmax=0x7F800000)),
        "impossible count": (good.payload, with_fields(n_nan=-1)),
    }
    for x in ([1.0, 1.0], [1.0, np.inf]):
        wrong = MagnitudeTable("float32", np.array(x, np.float32), np.array([1, 1]), signed_absmax=1.0)
        packed = pack(wrong, 0)
        with pytest.raises(Damaged, match="do not ascend"):
            unpack(packed)
    for problem, (payload, fields) in cases.items():
        with pytest.raises(Damaged, match=problem):
            unpack(Packed(payload, fields))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_no_damage_escapes_as_another_error(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    whole = tmp_path / "whole"
    if not whole.exists():
        write_distributions(whole, {POINT: [MagnitudeTable.of(KINDS["ties"](50, "float16", 0))]})
    path.write_bytes(mutate(whole.read_bytes(), Random(seed)))
    with contextlib.suppress(QinspectError):
        file = DistributionFile(path)
        for point in file.points:
            file.pooled(point)
            file.samples(point)
