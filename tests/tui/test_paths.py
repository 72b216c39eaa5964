"""What Tab makes of the beginning of a path."""

from __future__ import annotations

from pathlib import Path

from qinspect.tui.runs.paths import Completion, completed, free_name


def test_as_far_as_all_agree(tmp_path: Path) -> None:
    for name in ("model-a", "model-b", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "log.txt").write_text("")
    here = str(tmp_path)
    assert completed("mo", here) == Completion("model-", ("model-a/", "model-b/"))
    assert completed("model-a", here) == Completion("model-a/")
    assert completed("l", here) == Completion("log.txt")
    assert completed(".h", here) == Completion(".hidden/")
    assert completed(f"{here}/l", "/nowhere") == Completion(f"{here}/log.txt")
    assert completed("../", here).text.startswith("../")


def test_what_cannot_be_completed_stays(tmp_path: Path) -> None:
    for text in ("x", "nowhere/x", "~no-such-user-anywhere/x", "a\0b/c", "/" * 5000 + "x", "x" * 5000 + "/y"):
        assert completed(text, str(tmp_path)) == Completion(text)


def test_a_name_that_nothing_has(tmp_path: Path) -> None:
    assert free_name("out", str(tmp_path)) == "out"
    (tmp_path / "out").mkdir()
    (tmp_path / "out-2").symlink_to("nowhere")
    assert free_name("out", str(tmp_path)) == "out-3"
    assert free_name("out", str(tmp_path / "nowhere")) == "out"
