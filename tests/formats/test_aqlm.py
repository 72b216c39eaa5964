"""AQLM: against its own values, and against weights that are put together here group by group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import array_files
import numpy as np
import peer_truth
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import agree, needs_fixtures, same_bits

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.counts import parameter_counts

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
MODULE = "model.layers.0.self_attn.k_proj"
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def made(
    groups: tuple[int, int] = (4, 3), books: tuple[int, int] = (2, 8), vector: tuple[int, int] = (1, 8), seed: int = 0
) -> tuple[dict[str, Array], Array]:
    """Entries by their last names, and float32 values. books: how many, and the bits of an index. vector: rows and
    columns of one."""
    rng = np.random.default_rng(seed)
    n, bits = books
    indices = rng.integers(0, 1 << bits, (*groups, n))
    vectors = rng.normal(0, 1, (n, 1 << bits, *vector)).astype(np.float16)
    scales = rng.normal(0.05, 0.01, (groups[0], 1, 1, 1)).astype(np.float16)
    values = np.empty((groups[0] * vector[0], groups[1] * vector[1]), np.float32)
    for row, column in np.ndindex(groups):
        total = vectors[0][indices[row, column, 0]].astype(np.float32)
        for book in range(1, n):
            total = total + vectors[book][indices[row, column, book]].astype(np.float32)
        at = slice(row * vector[0], (row + 1) * vector[0]), slice(column * vector[1], (column + 1) * vector[1])
        values[at] = total * scales[row, 0, 0, 0].astype(np.float32)
    wide = np.int8 if bits <= 8 else np.int16
    signed = np.where(indices >= 1 << (bits - 1), indices - (1 << bits), indices)
    return {"codes": signed.astype(wide), "codebooks": vectors, "scales": scales}, values


def opened(folder: Path, modules: dict[str, dict[str, Array]], said: dict[str, Any] | None = None) -> Format:
    return array_files.opened(folder, array_files.of_modules(modules), said)


def test_values_are_the_librarys_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    fmt = agree("aqlm_2x8", "aqlm")
    assert (fmt.description, fmt.declared_bits) == ("AQLM 2x8 g8", (2.0,))


@needs_fixtures
def test_a_whole_file_with_and_without_its_settings() -> None:
    fmt = agree("aqlm_2x8", "aqlm")
    assert (fmt.notes(), len(fmt.weights())) == ((), 3)
    bare = open_checkpoint(peer_truth.folder("aqlm_2x8") / "model")
    bare.config = {}
    assert [w.convention for w in format_of(bare).weights()] == [w.convention for w in fmt.weights()]


@_SETTINGS
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 4)), st.sampled_from([(1, 1), (1, 5), (2, 8), (3, 4), (1, 10)]),
    st.sampled_from([(1, 8), (1, 4), (2, 4), (3, 1)]), st.integers(0, 99), st.integers(1, 7),
)  # fmt: skip
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, groups: tuple[int, int], books: tuple[int, int], vector: tuple[int, int],
    seed: int, step: int,
) -> None:  # fmt: skip
    entries, values = made(groups, books, vector, seed)
    fmt = opened(tmp_path_factory.mktemp("aqlm"), {MODULE: entries})
    assert (fmt.family, fmt.problems()) == ("aqlm", ())
    (w,) = fmt.weights()
    assert (w.shape, w.bits, w.row_step) == (values.shape, books[1], vector[0])
    assert same_bits(fmt.dequantize(w), values)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, len(values), step)]
    assert same_bits(np.concatenate(parts), values)
    codes = [fmt.codes(w, i, i + step) for i in range(0, len(values), step)]
    assert np.array_equal(np.concatenate(codes), fmt.codes(w))
    assert fmt.codes(w).max() < 1 << books[1]


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
def test_names(tmp_path: Path, prefix: str) -> None:
    entries, values = made()
    name = f"{prefix}layers.0.mlp.up_proj"
    fmt = opened(tmp_path, {name: {**entries, "bias": np.ones(4, np.float32)}})
    role = "layers.0.mlp.up_proj.weight"
    assert [(w.name, w.role) for w in fmt.weights()] == [(f"{name}.weight", role)]
    assert [r.role for r in fmt.scales()] == [role]
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == values.size + 4
    # vectors are compared as tensors: equal indices into others are other weights
    assert [t.name for t in fmt.other_tensors()] == [f"{name}.bias", f"{name}.codebooks"]


FINE, _ = made()
DAMAGES: dict[str, dict[str, Array]] = {
    "no scales": {"scales": np.ones(3, np.float16)},
    "scales that are integers": {"scales": np.ones((4, 1, 1, 1), np.int32)},
    "a scale a group": {"scales": np.ones((4, 3, 1, 1), np.float16)},
    "books of 200": {"codebooks": FINE["codebooks"][:, :200]},
    "one book for two indices": {"codebooks": FINE["codebooks"][:1]},
    "books of three axes": {"codebooks": FINE["codebooks"][:, :, 0]},
    "books that are integers": {"codebooks": FINE["codebooks"].astype(np.int32)},
    "empty vectors": {"codebooks": FINE["codebooks"][..., :0]},
    "codes of two axes": {"codes": FINE["codes"][..., 0]},
    "codes that are floats": {"codes": FINE["codes"].astype(np.float32)},
    "codes that are too narrow": {"codebooks": made(books=(2, 9))[0]["codebooks"]},
    "no codes": {"codes": FINE["codes"][:0]},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    fmt = opened(tmp_path, {MODULE: FINE | DAMAGES[damage], "model.fine": FINE})
    array_files.check_one_is_damaged(fmt, MODULE)


def test_what_is_said_otherwise_is_a_note_with_both(tmp_path: Path) -> None:
    said = {"quant_method": "aqlm", "num_codebooks": 1, "nbits_per_codebook": 8, "in_group_size": 8}
    (note,) = opened(tmp_path, {MODULE: FINE}, said).notes()
    assert "num_codebooks 1" in note
    assert "of 2" in note


@pytest.mark.parametrize("said", [{}, {"num_codebooks": "2"}, {"num_codebooks": 0}, {"nbits_per_codebook": 1 << 60}])
def test_settings_that_make_no_sense_declare_nothing(tmp_path: Path, said: dict[str, Any]) -> None:
    whole = {
        "quant_method": "aqlm",
        "num_codebooks": 2,
        "nbits_per_codebook": 8,
        "out_group_size": 1,
        "in_group_size": 8,
    }
    fmt = opened(tmp_path, {MODULE: FINE}, {**whole, **said} if said else {"quant_method": "aqlm"})
    assert fmt.declared_bits == ()
    assert fmt.family == "aqlm"


def test_others_are_not_claimed(tmp_path: Path) -> None:
    codec: dict[str, Array] = {
        "codes": np.ones((4, 4), np.int16),
        "codebooks": np.ones((2, 8, 4), np.float32),
        "scales": np.ones(4),
    }
    assert opened(tmp_path / "codec", {"q": codec}).family == "plain"
    assert opened(tmp_path / "other", {MODULE: FINE}, {"quant_method": "vptq"}).family == "plain"


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    assert len(opened(tmp_path, {MODULE: FINE}).weights()) == 1
