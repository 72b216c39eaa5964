"""Two numbers under one name: what is compared is of one task, metric and filter, and is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Command

N, FLEXIBLE, STRICT = 400, 314, 81


@pytest.fixture
def accuracy(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("accuracy", capsys, source_root)


def error(right: int, n: int = N) -> float:
    p = right / n
    return float((p * (1 - p) / (n - 1)) ** 0.5)


def table(
    path: Path, *rows: tuple[str, ...], columns: str = "Tasks|Version|Filter|n-shot|Metric||Value||Stderr"
) -> Path:
    """A log with lm_eval's table: rows of (task, version, filter, n-shot, metric, value, error)."""
    lines = [f"|{columns}|", f"|{'|'.join('---' for _ in columns.split('|'))}|"]
    for task, version, how, shots, metric, value, stderr in rows:
        lines.append(f"|{task}|{version}|{how}|{shots}|{metric}|↑|{value}|±|{stderr}|")
    path.write_text("2026-01-02:03:04:05 INFO [main.py:18] done\n" + "\n".join(lines) + "\n")
    return path


def gsm8k_log(path: Path) -> Path:
    return table(
        path,
        ("gsm8k", "3", "flexible-extract", "5", "exact_match", f"{FLEXIBLE / N:.4f}", f"{error(FLEXIBLE):.4f}"),
        ("", "", "strict-match", "5", "exact_match", f"{STRICT / N:.4f}", f"{error(STRICT):.4f}"),
    )


def results(path: Path, tasks: dict[str, dict[str, Any]], **more: Any) -> Path:
    path.write_text(json.dumps({"results": tasks, **more}))
    return path


def gsm8k_results(path: Path, **more: Any) -> Path:
    scores = {
        "alias": "gsm8k",
        "exact_match,strict-match": STRICT / N, "exact_match_stderr,strict-match": error(STRICT),
        "exact_match,flexible-extract": FLEXIBLE / N, "exact_match_stderr,flexible-extract": error(FLEXIBLE),
    }  # fmt: skip
    more = {"n-samples": {"gsm8k": {"original": 1319, "effective": N}}, "versions": {"gsm8k": 3}, **more}
    return results(path, {"gsm8k": scores}, **more)


def gsm8k_samples(path: Path, strict: int = STRICT, flexible: int = FLEXIBLE) -> Path:
    with path.open("w") as f:
        for i in range(N):
            for name, right in (("strict-match", i < strict), ("flexible-extract", i < flexible)):
                item = {"doc_id": i, "doc_hash": f"h{i}", "filter": name, "exact_match": float(right)}
                f.write(json.dumps(item) + "\n")
    return path


@pytest.mark.parametrize("how", [["--metric", "exact_match,strict-match"], ["--filter", "strict-match"]])
def test_one_evaluation_in_three_files_is_no_difference(accuracy: Command, tmp_path: Path, how: list[str]) -> None:
    log, made = gsm8k_log(tmp_path / "run.log"), gsm8k_results(tmp_path / "results.json")
    items = gsm8k_samples(tmp_path / "samples_gsm8k_2026-01-02T03-04-05.678901.jsonl")
    for a, b in ((log, made), (made, items), (items, log), (items, items)):
        assert "found flexible-extract, strict-match" in accuracy.error(a, b).replace(
            "strict-match, flexible-extract", "flexible-extract, strict-match"
        )
        found = accuracy.json(a, b, *how)
        assert (found["a"]["share"], found["b"]["share"]) == (pytest.approx(STRICT / N),) * 2
        assert (found["a"]["task"], found["b"]["filter"]) == ("gsm8k", "strict-match")
        assert found["difference"] == 0
        assert "gsm8k exact_match, strict-match" in accuracy(a, b, *how)[0]


def test_the_filter_that_both_files_have_is_taken(accuracy: Command, tmp_path: Path) -> None:
    one = results(tmp_path / "one.json", {"gsm8k": {"exact_match,strict-match": 0.25}})
    found = accuracy.json(gsm8k_results(tmp_path / "two.json"), one, "--n", "400")
    assert [found[m]["share"] for m in "ab"] == [STRICT / N, 0.25]
    assert [found[m]["filter"] for m in "ab"] == ["strict-match"] * 2


def test_two_filters_are_never_compared(accuracy: Command, tmp_path: Path) -> None:
    a = results(tmp_path / "a.json", {"gsm8k": {"exact_match,strict-match": 0.25}})
    b = results(tmp_path / "b.json", {"gsm8k": {"exact_match,flexible-extract": 0.75}})
    assert "no filter in common" in accuracy.error(a, b, "--n", "9")
    unnamed = results(tmp_path / "c.json", {"gsm8k": {"exact_match": 0.75}})
    assert "found A strict-match; B none" in accuracy.error(a, unnamed, "--n", "9")
    assert "name two filters" in accuracy.error(a, a, "--metric", "exact_match,x", "--filter", "y")


def test_a_file_without_the_filter_lists_what_it_has(accuracy: Command, tmp_path: Path) -> None:
    a = gsm8k_results(tmp_path / "a.json")
    said = accuracy.error(a, a, "--filter", "get-answer")
    assert "has no accuracy of get-answer; found gsm8k exact_match,strict-match, gsm8k exact_match,flexible" in said


def test_a_filter_called_none_is_no_filter(accuracy: Command, tmp_path: Path) -> None:
    old = results(tmp_path / "old.json", {"piqa": {"acc": 0.7, "acc_stderr": 0.01}})
    new = results(tmp_path / "new.json", {"piqa": {"acc,none": 0.7, "acc_stderr,none": 0.01}})
    assert accuracy.json(old, new)["difference"] == 0
    assert "piqa acc;" in accuracy(old, new)[0]


def test_the_metric_is_one_that_both_have(accuracy: Command, tmp_path: Path) -> None:
    both = results(tmp_path / "a.json", {"arc": {"acc,none": 0.4, "acc_norm,none": 0.5}})
    norm = results(tmp_path / "b.json", {"arc": {"acc_norm,none": 0.5}})
    found = accuracy.json(both, norm, "--n", "1000")
    assert [found[m]["metric"] for m in "ab"] == ["acc_norm"] * 2
    assert found["difference"] == 0
    plain = results(tmp_path / "c.json", {"arc": {"acc,none": 0.5}})
    assert "no metric in common; expected the same metric in both; found A acc; B acc_norm" in (
        accuracy.error(plain, norm, "--n", "9")
    )


def test_the_task_is_one_that_both_have(accuracy: Command, tmp_path: Path) -> None:
    two = results(tmp_path / "a.json", {"arc": {"acc,none": 0.4}, "piqa": {"acc,none": 0.7}})
    piqa = results(tmp_path / "b.json", {"piqa": {"acc,none": 0.7}})
    assert accuracy.json(two, piqa, "--n", "100")["a"]["task"] == "piqa"
    other = results(tmp_path / "c.json", {"boolq": {"acc,none": 0.7}})
    assert "no task in common" in accuracy.error(two, other, "--n", "100")


def test_a_file_of_items_is_of_the_task_in_its_name(accuracy: Command, tmp_path: Path) -> None:
    line = json.dumps({"doc_id": 0, "acc": 1.0}) + "\n"
    piqa, boolq, unnamed = (tmp_path / n for n in ("samples_piqa.jsonl", "samples_boolq.jsonl", "mine.jsonl"))
    for path in (piqa, boolq, unnamed):
        path.write_text(line)
    assert "no task in common; expected the same task in both; found A piqa; B boolq" in accuracy.error(piqa, boolq)
    assert accuracy.json(unnamed, boolq)["notes"] == ["A does not say its task; it is taken to be B's, boolq."]
    assert accuracy.json(unnamed, unnamed)["notes"] == []


def test_a_word_after_the_date_of_a_file_of_items_is_no_part_of_its_task(accuracy: Command, tmp_path: Path) -> None:
    line = json.dumps({"doc_id": 0, "acc": 1.0}) + "\n"
    stem = "samples_piqa_2025-01-01T00-00-00.123456"
    a, b = (tmp_path / f"{stem}{end}.jsonl" for end in (".w8a8", "_(1)"))
    for path in (a, b):
        path.write_text(line)
    assert (accuracy.json(a, b)["a"]["task"], accuracy.json(a, b)["notes"]) == ("piqa", [])


def test_versions_and_examples_that_differ_are_said(accuracy: Command, tmp_path: Path) -> None:
    a = gsm8k_results(tmp_path / "a.json", **{"n-shot": {"gsm8k": 5}})
    b = gsm8k_results(tmp_path / "b.json", **{"n-shot": {"gsm8k": 8}, "versions": {"gsm8k": 2.0}})
    words = ("--filter", "strict-match")
    notes = accuracy.json(a, b, *words)["notes"]
    assert "A was asked with 5 examples, B with 8" in notes[0]
    assert notes[1] == "The versions of the task differ: A 3, B 2.0."
    text = accuracy(a, b, *words)[0]
    assert "note, A was asked with 5" in text
    assert "strict-match, 5-shot" in text


def test_one_task_with_two_numbers_of_examples_needs_a_choice(accuracy: Command, tmp_path: Path) -> None:
    rows = [("arc", "1", "none", "0", "acc", "0.40", "0.01"), ("arc", "1", "none", "25", "acc", "0.45", "0.01")]
    both, one = table(tmp_path / "a.log", *rows), table(tmp_path / "b.log", rows[1])
    assert "several numbers of examples" in accuracy.error(both, both)
    assert accuracy.json(both, both, "--n-shot", "0")["a"]["share"] == 0.4
    found = accuracy.json(both, one)
    assert [found[m]["share"] for m in "ab"] == [0.45, 0.45]


def test_a_subtask_has_two_names(accuracy: Command, tmp_path: Path) -> None:
    log = table(
        tmp_path / "a.log",
        ("mmlu", "2", "none", "", "acc", "0.5", "0.01"),
        (" - anatomy", "1", "none", "5", "acc", "0.3", "0.04"),
        (" - virology", "1", "none", "5", "acc", "0.4", "0.04"),
    )
    made = results(
        tmp_path / "b.json",
        {
            "mmlu_anatomy": {"alias": " - anatomy", "acc,none": 0.3, "acc_stderr,none": 0.04},
            "mmlu_virology": {"alias": " - virology", "acc,none": 0.4, "acc_stderr,none": 0.04},
        },
    )
    found = accuracy.json(log, made, "--task", "anatomy")
    assert [found[m]["share"] for m in "ab"] == [0.3, 0.3]
    assert "several tasks; found mmlu_anatomy, mmlu_virology" in accuracy.error(log, made)


def test_items_of_a_group_are_those_of_its_subtasks(accuracy: Command, tmp_path: Path) -> None:
    """A group's standard error is pooled: no number of items follows from it."""
    path = results(
        tmp_path / "a.json",
        {"mmlu": {"acc,none": 0.5, "acc_stderr,none": 0.004}},
        **{
            "n-samples": {"x": {"effective": 100}, "y": {"effective": 50}, "z": {"effective": 7}},
            "group_subtasks": {"mmlu": ["stem", "z"], "stem": ["x", "y"], "x": []},
        },
    )
    a = accuracy.json(path, path)["a"]
    assert (a["n"], a["n_derived"]) == (157, False)
    deep = results(tmp_path / "b.json", {"g": {"acc,none": 0.5}}, **{"n-samples": {}, "group_subtasks": {"g": ["g"]}})
    assert "number of items is not known" in accuracy.error(deep, deep)


def test_a_table_of_groups_and_old_tables_are_read(accuracy: Command, tmp_path: Path) -> None:
    groups = table(
        tmp_path / "a.log", ("mmlu", "2", "none", "", "acc", "0.5", "0.01"),
        columns="Groups|Version|Filter|n-shot|Metric||Value||Stderr",
    )  # fmt: skip
    assert accuracy.json(groups, groups)["a"]["task"] == "mmlu"
    old = tmp_path / "old.log"
    old.write_text("|Task|Version| Metric |Value |   |Stderr|\n|----|---|---|---|---|---|\n|piqa|0|acc|0.7|±|0.01|\n")
    found = accuracy.json(old, old)["a"]
    assert (found["task"], found["share"], found["version"], found["filter"]) == ("piqa", 0.7, "0", "")


def test_an_error_that_is_not_given_is_none(accuracy: Command, tmp_path: Path) -> None:
    made = results(tmp_path / "a.json", {"piqa": {"acc,none": 0.7, "acc_stderr,none": "N/A"}})
    log = table(tmp_path / "a.log", ("piqa", "1", "none", "0", "acc", "0.7", "N/A"))
    for path in (made, log):
        assert "number of items is not known" in accuracy.error(path, path)
        assert accuracy.json(path, path, "--n", "10")["a"]["n"] == 10


def test_two_values_side_by_side_are_not_chosen_from(accuracy: Command, tmp_path: Path) -> None:
    row = ("anatomy", "1", "none", "5", "acc", "0.3", "0.04")
    path = table(tmp_path / "a.log", row, (*row[:5], "0.6", "0.04"))
    assert "several values of anatomy acc side by side; found 0.3, 0.6" in accuracy.error(path, path)


def test_the_last_of_several_evaluations_counts_and_is_said(accuracy: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    first = table(tmp_path / "x.log", ("piqa", "1", "none", "0", "acc", "0.7", "0.01")).read_text()
    second = table(tmp_path / "y.log", ("piqa", "1", "none", "0", "acc", "0.6", "0.01")).read_text()
    path.write_text(first + "\n" + second)
    found = accuracy.json(path, path)
    assert found["a"]["share"] == 0.6
    assert found["notes"][0] == "A's file has 2 values of piqa acc; the last one counts."


def test_items_of_the_filter_that_was_chosen_alone_must_be_whole(accuracy: Command, tmp_path: Path) -> None:
    lines = [{"doc_id": i, "filter": f, "exact_match": 1.0 if f == "x" else 0.5} for i in range(3) for f in "xy"]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert accuracy.json(path, path, "--filter", "x")["a"]["share"] == 1
    assert "line 2: an item is neither right nor wrong" in accuracy.error(path, path, "--filter", "y")


@pytest.mark.parametrize("value", [[], {}, None, True, -1, 10**400, "x" * 10_000])
def test_no_field_of_a_result_breaks_the_reading(accuracy: Command, tmp_path: Path, value: Any) -> None:
    path = results(
        tmp_path / "a.json",
        {"t": {"alias": value, "acc,none": 0.5, "acc_stderr,none": 0.01}},
        **{key: {"t": value} for key in ("n-samples", "versions", "n-shot", "group_subtasks")},
    )
    assert accuracy.json(path, path)["a"]["share"] == 0.5
    beside = results(tmp_path / "b.json", {"t": {"acc": 0.5, "acc_stderr": 0.01}}, versions=value, configs=value)
    assert accuracy.json(beside, path)["difference"] == 0
