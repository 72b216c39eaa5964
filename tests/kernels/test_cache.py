"""The folder of compiled code: only one that nobody else can write to is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from qinspect.kernels.cache import CACHE_VARIABLE, private_folder, put


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_made_for_its_owner_alone(cache: Path) -> None:
    assert private_folder("kernels") == cache / "kernels"
    assert (cache / "kernels").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_can_write_to_is_not_used(cache: Path, mode: int) -> None:
    (cache / "kernels").mkdir(parents=True)
    (cache / "kernels").chmod(mode)
    assert private_folder("kernels") is None


def test_a_file_in_its_place(cache: Path) -> None:
    cache.mkdir()
    (cache / "kernels").write_text("")
    assert private_folder("kernels") is None


def test_put_writes_the_whole_or_nothing(tmp_path: Path) -> None:
    put(tmp_path / "code", b"first")
    put(tmp_path / "code", b"second")
    assert (tmp_path / "code").read_bytes() == b"second"
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "absent" / "code", b"")
    assert [p.name for p in tmp_path.iterdir()] == ["code"]
