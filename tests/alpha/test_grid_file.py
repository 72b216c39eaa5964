"""The stored grid: read again as it was, and made anew where it is of something else, damaged, or cannot be there."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import whence_cases as cases
from numpy.testing import assert_array_equal

from qinspect.inspector.alpha.sweep import grid_file
from qinspect.inspector.alpha.sweep.grid import Grid
from qinspect.inspector.alpha.sweep.grid_file import FILE, fingerprint, opened, read
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import BrokenFile

STREAMS = cases.streams(6, 2, 4, "bfloat16")


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    return cases.calibration(tmp_path / "run", STREAMS)


def same(a: Grid, b: Grid) -> None:
    assert a.points == b.points
    for name in grid_file._ARRAYS:
        assert_array_equal(getattr(a, name), getattr(b, name))


def test_it_is_computed_once(calibration: Calibration) -> None:
    seen: list[tuple[int, int]] = []
    first = opened(calibration, lambda d, t: seen.append((d, t)))
    assert seen == [(1, 2), (2, 2)]
    again = opened(calibration, lambda d, t: pytest.fail("it was computed again"))
    assert (first.was_kept, again.was_kept, first.problem, again.problem) == (False, True, "", "")
    same(first.grid, again.grid)
    assert sorted(p.name for p in calibration.folder.iterdir() if p.name.startswith(".")) == []


def test_of_other_tables_it_is_made_anew(calibration: Calibration, tmp_path: Path) -> None:
    opened(calibration)
    other = cases.calibration(tmp_path / "other", cases.streams(7, 2, 4, "bfloat16"))
    shutil.copy(calibration.folder / FILE, other.folder / FILE)
    assert fingerprint(calibration) != fingerprint(other)
    found = opened(other)
    assert not found.was_kept
    assert opened(other).was_kept
    assert not np.array_equal(found.grid.w_max, opened(calibration).grid.w_max)


def test_of_another_recipe_or_version_it_is_made_anew(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(calibration)
    monkeypatch.setattr(grid_file, "VERSION", grid_file.VERSION + 1)
    assert not opened(calibration).was_kept
    calibration.recipe = "minmax"
    assert not opened(calibration).was_kept


def test_whatever_is_damaged_is_made_anew(calibration: Calibration) -> None:
    grid = opened(calibration).grid
    path, mark = calibration.folder / FILE, fingerprint(calibration)
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 60)
    for at in (*places.tolist(), 0, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        found = read(path, mark)
        if found is not None:  # in what a zip says twice, or nobody asks
            same(found, grid)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read(path, mark) is None
    same(opened(calibration).grid, grid)
    assert path.read_bytes()[: len(whole) // 4] == whole[: len(whole) // 4]


def test_every_one_of_a_zip_s_own_bytes_may_be_another(calibration: Calibration) -> None:
    """Encrypted, of another compression, of a later version, a header that is no Python: zip and numpy raise what they
    like."""
    opened(calibration)
    path, mark = calibration.folder / FILE, fingerprint(calibration)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as z:
        starts = [m.header_offset for m in z.infolist()]
    places = {at for start in (*starts, len(whole) - 220) for at in range(start, start + 200)}
    for at in sorted(places):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1, 8, 64)[at % 3]]) + whole[at + 1 :])
        read(path, mark)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: {"rows": g.rows.astype(np.float64)}, lambda g: {"rows": g.rows[:2]}, lambda g: {"fixed": g.fixed[:2]},
        lambda g: {"w_max": g.w_max.astype(str)}, lambda g: {"w_max": np.float32(1)},
        lambda g: {"points": np.array("[" * 100_000)}, lambda g: {"points": np.array("3")},
        lambda g: {"points": np.array(json.dumps([{**asdict(p), "name": 1} for p in g.points]))},
        lambda g: {"points": np.array(json.dumps([{**asdict(p), "n": "x"} for p in g.points]))},
    ],
)  # fmt: skip
def test_what_has_the_right_mark_may_still_be_no_grid(
    calibration: Calibration, change: Callable[[Grid], dict[str, Any]]
) -> None:
    """The mark is no secret."""
    grid = opened(calibration).grid
    path, mark = calibration.folder / FILE, fingerprint(calibration)
    own = {"mark": np.array(mark), "points": np.array(json.dumps([asdict(p) for p in grid.points]))}
    whole = own | {name: getattr(grid, name) for name in grid_file._ARRAYS}
    np.savez(path, **whole)
    assert read(path, mark) is not None
    np.savez(path, **(whole | change(grid)))
    assert read(path, mark) is None
    np.savez_compressed(path, **whole)  # it may stand for a thousand times its size
    assert read(path, mark) is None


def test_arrays_that_do_not_belong_together_are_not_believed(calibration: Calibration) -> None:
    grid = opened(calibration).grid
    path, mark = calibration.folder / FILE, fingerprint(calibration)
    arrays = {name: getattr(grid, name) for name in grid_file._ARRAYS}
    for name, wrong in {
        "rows": arrays["rows"] + 1000,
        "w_max": arrays["w_max"][:, :-1],
        "clipped": arrays["clipped"][:-1],
        "fixed": arrays["fixed"][..., :-1],
        "alphas": arrays["alphas"][:-1],
    }.items():
        grid_file.write(path, Grid(grid.points, **(arrays | {name: wrong})), mark)
        assert read(path, mark) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_no_failure(calibration: Calibration) -> None:
    calibration.folder.chmod(0o500)
    try:
        found = opened(calibration)
    finally:
        calibration.folder.chmod(0o700)
    assert found.grid.points
    assert FILE in found.problem


def test_a_full_disk_is_no_failure(calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(grid_file, "write", full)
    found = opened(calibration)
    assert found.problem == f"{calibration.folder / FILE} cannot be written: No space left on device"
    assert len(found.grid.points) == 2


def test_cancelling_ends_it_and_leaves_nothing(calibration: Calibration) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(calibration, stop)
    assert not (calibration.folder / FILE).exists()


def test_damaged_tables_are_named(calibration: Calibration) -> None:
    path = calibration.folder / "distributions.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BrokenFile, match=r"distributions\.safetensors"):
        opened(Calibration(calibration.folder))
