"""`qinspect accuracy` on published cases, on brute force, and on files as lm_eval writes them."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from hypothesis import given, settings
from hypothesis import strategies as st

from qinspect.inspector.accuracy import Score, compared, verdict_of
from qinspect.inspector.accuracy.comparing import equivalence_p, items_needed, mcnemar, smallest_detectable

LOGS = Path(__file__).parent.parent / "data" / "logs"


@pytest.fixture
def accuracy(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("accuracy", capsys, source_root)


def score(right: list[bool]) -> Score:
    return Score(sum(right) / len(right), len(right), "x", items={str(i): r for i, r in enumerate(right)})


# --- worked cases ---


def test_53_74_against_53_2_is_inconclusive(accuracy: Command) -> None:
    found = accuracy.json("--a", "53.74", "--b", "53.2", "--n", "5153")
    assert (found["verdict"]["kind"], found["verdict"]["weak"]) == ("inconclusive", True)
    assert abs(found["two_proportions"]["z"]) == pytest.approx(0.55, abs=0.005)
    assert found["supposed"]["disagreement"] == 0.05
    assert found["supposed"]["p"] == pytest.approx(0.08, abs=0.005)
    assert found["difference"] == pytest.approx(-0.0054)
    assert "--log_samples" in found["verdict"]["next"]
    assert "important" in accuracy("--a", "53.74", "--b", "53.2", "--n", "5153")[0]  # by the rule of thumb


def test_40_21_against_43_18_is_an_effect(accuracy: Command) -> None:
    found = accuracy.json("--a", "40.21%", "--b", "43.18", "--n", "5153")
    assert found["verdict"]["kind"] == "improved"
    assert found["two_proportions"]["z"] == pytest.approx(3.06, abs=0.01)
    low, high = found["interval"]
    assert 0 < low < found["difference"] < high
    assert accuracy.json("--a", "0.4318", "--b", "0.4021", "--n", "5153")["verdict"]["kind"] == "worse"


@pytest.mark.parametrize(
    ("n", "share", "points"), [(100, 0.44, 4.96), (5153, 0.44, 0.69), (10042, 0.5, 0.5), (100, 0.4, 4.9)]
)
def test_standard_errors_as_they_are_published(n: int, share: float, points: float) -> None:
    assert 100 * Score(share, n, "x").standard_error == pytest.approx(points, abs=0.01)


@pytest.mark.parametrize(  # percentage points, of paired items, by the share whose answer differs
    ("m", "rho", "points"),
    [
        (100, 0.05, 6.3), (100, 0.02, 4.0), (1000, 0.05, 2.0), (1000, 0.02, 1.25), (5153, 0.05, 0.87),
        (5153, 0.02, 0.55), (15_680, 0.05, 0.5), (392_000, 0.05, 0.1), (157_000, 0.02, 0.1),
    ],
)  # fmt: skip
def test_smallest_detectable_differences(m: int, rho: float, points: float) -> None:
    assert 100 * smallest_detectable(math.sqrt(rho / m)) == pytest.approx(points, rel=0.015)
    assert items_needed(points / 100, rho) == pytest.approx(m, rel=0.03)


def test_mcnemar_by_hand() -> None:
    # 9 discordant items, 8 of them one way: 2 (C(9,8) + C(9,9)) / 2^9
    assert mcnemar(1, 8) == mcnemar(8, 1)
    assert mcnemar(1, 8) == pytest.approx((20 / 512, 11 / 512))
    assert mcnemar(0, 0) == (1, 0.5)
    assert mcnemar(3, 3)[0] == 1


@given(st.integers(0, 7), st.integers(0, 7))
def test_mcnemar_is_the_share_of_all_ways_to_throw_the_coins(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    apart = abs(only_a - only_b)
    distances = [abs(2 * sum(t) - n) for t in itertools.product((0, 1), repeat=n)]
    exact, mid = mcnemar(only_a, only_b)
    assert exact == pytest.approx(sum(d >= apart for d in distances) / len(distances))
    more = sum(d > apart for d in distances)
    assert mid == pytest.approx((more + sum(d == apart for d in distances) / 2) / len(distances))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_items_are_counted_pair_by_pair(answers: list[tuple[bool, bool]]) -> None:
    c = compared(score([a for a, _ in answers]), score([b for _, b in answers]))
    assert c.paired is not None
    assert c.paired.n_only_a == answers.count((True, False))
    assert c.paired.n_only_b == answers.count((False, True))
    assert c.difference == pytest.approx(c.b.share - c.a.share)
    assert -1 <= c.low <= c.high <= 1
    assert verdict_of(c).weak is False


def test_intervals_cover_nineteen_of_twenty() -> None:
    rng = np.random.default_rng(0)
    held = {"independent": 0, "paired": 0}
    for _ in range(400):
        a, b = rng.random(80) < 0.4, rng.random(80) < 0.5
        c = compared(Score(a.mean(), 80, "x"), Score(b.mean(), 80, "x"))
        held["independent"] += c.low <= 0.1 <= c.high
        same = rng.random(80) < 0.9
        right = rng.random(80) < 0.45
        up = rng.random(80) < 0.75  # of the others, three of four go from wrong to right
        first = np.where(same, right, ~up)
        second = np.where(same, right, up)
        c = compared(score(first.tolist()), score(second.tolist()))
        held["paired"] += c.low <= 0.05 <= c.high
    for n in held.values():
        assert 365 <= n <= 396, held


def test_pairs_see_what_aggregates_do_not() -> None:
    a = [True] * 400 + [False] * 600
    b = [True] * 395 + [False] * 5 + [True] * 30 + [False] * 570
    items = compared(score(a), score(b))
    aggregates = compared(Score(0.4, 1000, "x"), Score(0.425, 1000, "x"))
    assert items.difference == pytest.approx(aggregates.difference)
    assert items.p < 0.001 < 0.2 < aggregates.p
    assert (verdict_of(items).kind, verdict_of(aggregates).kind) == ("improved", "inconclusive")
    assert items.detectable < aggregates.detectable / 3


def test_equal_answers_are_not_called_equal_for_want_of_items() -> None:
    few = compared(score([True, False] * 10), score([True, False] * 10), margin=0.01)
    assert verdict_of(few).kind == "inconclusive"
    assert few.detectable > 0.1
    many = compared(score([True, False] * 5000), score([True, False] * 5000), margin=0.01)
    assert verdict_of(many).kind == "equivalent"
    assert "0.1" not in verdict_of(many).next


def test_equivalence_needs_a_margin(accuracy: Command) -> None:
    words = ("--a", "53.4", "--b", "53.4", "--n", "200000")
    assert accuracy.json(*words)["verdict"]["kind"] == "inconclusive"
    found = accuracy.json(*words, "--margin", "0.5")
    assert found["verdict"]["kind"] == "equivalent"
    assert found["equivalence"]["p"] < 0.01
    assert accuracy.json("--a", "53.4", "--b", "53.4", "--n", "500", "--margin", "0.5")["verdict"]["kind"] == (
        "inconclusive"
    )


def test_a_difference_can_be_real_and_within_the_margin(accuracy: Command) -> None:
    found = accuracy.json("--a", "53.0", "--b", "53.4", "--n", "500000", "--margin", "1")
    assert found["verdict"]["kind"] == "improved"
    assert "within the margin" in found["verdict"]["text"]


@given(st.floats(0, 0.2), st.floats(1e-4, 0.1), st.floats(1e-3, 0.3))
def test_tost_is_two_one_sided_tests(difference: float, error: float, margin: float) -> None:
    def above(z: float) -> float:
        return math.erfc(z / math.sqrt(2)) / 2

    expected = max(above((difference + margin) / error), above((margin - difference) / error))
    assert equivalence_p(difference, error, margin) == pytest.approx(expected, abs=1e-12)
    assert equivalence_p(-difference, error, margin) == equivalence_p(difference, error, margin)


@settings(max_examples=50)
@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 50), st.integers(1, 50))
def test_no_accuracy_breaks_the_arithmetic(k_a: int, more_a: int, k_b: int, more_b: int) -> None:
    a, b = (Score(k / (k + more), k + more, "x") for k, more in ((k_a, more_a), (k_b, more_b)))
    c = compared(a, b, margin=0.1)
    assert 0 <= c.p <= 1
    assert c.low <= c.high
    assert verdict_of(c).text


# --- files ---


def samples(path: Path, right: list[int], **more: Any) -> Path:
    lines = [{"doc_id": i, "doc_hash": f"h{i}", "filter": "none", "acc": r, **more} for i, r in enumerate(right)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_per_item_files_are_paired(accuracy: Command, tmp_path: Path) -> None:
    a = samples(tmp_path / "a.jsonl", [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    b = samples(tmp_path / "b.jsonl", [1, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    found = accuracy.json(a, b)
    assert found["mcnemar"] == {
        "items": 10, "only_a": 1, "only_b": 8, "left_out": 1,
        "exact_p": pytest.approx(20 / 512), "mid_p": pytest.approx(11 / 512),
    }  # fmt: skip
    assert found["difference"] == pytest.approx(0.7)
    assert (found["verdict"]["kind"], found["verdict"]["weak"]) == ("improved", False)
    assert "1 item is not in both" in accuracy(a, b)[0]


def test_items_as_one_list(accuracy: Command, tmp_path: Path) -> None:
    """As lm_eval 0.4.2 writes them, in a file whose name ends in .jsonl."""
    lines = samples(tmp_path / "a.jsonl", [1, 0, 1, 1])
    listed = tmp_path / "b.jsonl"
    listed.write_text(json.dumps([json.loads(line) for line in lines.read_text().splitlines()], indent=2))
    found = accuracy.json(lines, listed)
    assert found["mcnemar"]["items"] == 4
    assert found["a"]["share"] == found["b"]["share"] == 0.75
    listed.write_text("  " + listed.read_text())
    assert accuracy.json(lines, listed) == found
    listed.write_text('[{"doc_id": 0, "acc": 1}, 7]')
    assert "item 1: is not a JSON object" in accuracy.error(listed, listed)


def test_items_of_another_content_are_no_pair(accuracy: Command, tmp_path: Path) -> None:
    a = samples(tmp_path / "a.jsonl", [1, 0, 1])
    b = samples(tmp_path / "b.jsonl", [1, 1, 1], doc_hash="another")
    found = accuracy.json(a, b)
    assert found["mcnemar"] is None
    assert found["verdict"]["weak"]
    assert found["verdict"]["text"].endswith("Weak: A and B have no item in common.")


def test_of_several_filters_the_user_names_one(accuracy: Command, tmp_path: Path) -> None:
    lines = [
        {"doc_id": i, "filter": f, "exact_match": float(i % 2 == (f == "strict")), "f1": 0.5}
        for i in range(4) for f in ("strict", "flexible")
    ]  # fmt: skip
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert "there are several filters; found strict, flexible" in accuracy.error(path, path)
    found = accuracy.json(path, path, "--filter", "strict")
    assert (found["a"]["n"], found["a"]["metric"], found["a"]["share"]) == (4, "exact_match", 0.5)
    assert (found["a"]["filter"], found["mcnemar"]["items"]) == ("strict", 4)
    assert "neither right nor wrong" in accuracy.error(path, path, "--metric", "f1", "--filter", "strict")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: is not valid JSON"), ("[1]", "line 2: is not a JSON object"),
        ('{"doc_id": 0, "acc": 1}', "an item occurs twice"), ('{"acc": 1}', "an item has no number"),
        ('{"doc_id": 1, "acc": 0.5}', "neither right nor wrong"), ("[" * 10_000, "line 2: is not valid JSON"),
    ],
)  # fmt: skip
def test_damaged_items_are_named(accuracy: Command, tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"doc_id": 0, "acc": 1}}\n{line}\n')
    assert said in accuracy.error(path, path)


def test_a_log_with_a_table_and_results_beside_it(accuracy: Command) -> None:
    log, results = LOGS / "quamba_mamba2_w4a8_again.log", LOGS / "se_mamba-tiny_w8a8.json"
    found = accuracy.json(log, results)
    assert [found[m]["share"] for m in "ab"] == [0.45, 0.39]  # of appended results, the last
    assert [found[m]["task"] for m in "ab"] == ["lambada_openai"] * 2
    assert [found[m]["n"] for m in "ab"] == [100, 100]  # of the standard errors, which are lm_eval's of 100 items
    assert found["a"]["n_derived"]
    assert found["verdict"]["kind"] == "inconclusive"
    assert accuracy.json(log, results, "--n", "5153")["a"]["n"] == 5153


def test_lm_evals_own_results(accuracy: Command, tmp_path: Path) -> None:
    content = {
        "results": {
            "piqa": {"alias": "piqa", "acc,none": 0.7, "acc_stderr,none": 0.01, "acc_norm,none": 0.72},
            "arc_easy": {"acc,none": 0.5, "acc_stderr,none": 0.01},
        },
        "n-samples": {"piqa": {"original": 1838, "effective": 1838}, "arc_easy": {"effective": 2376}},
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content, indent=2))
    assert "there are several tasks; found piqa, arc_easy" in accuracy.error(path, path)
    a = accuracy.json(path, path, "--task", "piqa")["a"]
    assert (a["share"], a["n"], a["metric"], a["n_derived"]) == (0.7, 1838, "acc", False)
    assert accuracy.json(path, path, "--task", "piqa", "--metric", "acc_norm")["a"]["share"] == 0.72
    assert "has no accuracy of boolq" in accuracy.error(path, path, "--task", "boolq")


def test_one_object_a_run_without_items(accuracy: Command) -> None:
    path = LOGS / "se_experiments.jsonl"
    assert "the number of items is not known" in accuracy.error(path, path)
    assert accuracy.json(path, path, "--n", "100")["a"]["share"] == 0.44  # the last one


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "two accuracies are compared"), (("--a", "50"), "two accuracies are compared"),
        (("--a", "50", "--b", "51"), "without the number of items"), (("nowhere.log", "nowhere.log"), "no such file"),
        (("--a", "120", "--b", "51", "--n", "10"), "--a is not an accuracy"),
        (("--a", "x", "--b", "51", "--n", "10"), "--a is not a number"),
        (("--a", "nan", "--b", "51", "--n", "10"), "--a is not a number"),
        (("--a", "50", "--b", "51", "--n", "0"), "--n must be at least 1"),
        (("--a", "50", "--b", "51", "--n", "10", "--margin", "0"), "--margin is in percent"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(accuracy: Command, words: tuple[str, ...], said: str) -> None:
    assert said in accuracy.error(*words)


@pytest.mark.parametrize("n", ["0", "-3", "1" + "0" * 400])
def test_a_number_of_items_is_checked_beside_files_too(accuracy: Command, tmp_path: Path, n: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": {"t": {"acc,none": 0.5}}}))
    assert "--n must be at least 1" in accuracy.error(path, path, "--n", n)
    assert "--n-b must be at least 1" in accuracy.error("--a", "50", "--b", "51", "--n", "5", "--n-b", n)


@pytest.mark.parametrize(
    ("values", "effective"),
    [
        ({"acc,none": 10**400}, 5), ({"acc,none": 0.5}, 10**400), ({"acc,none": 0.5, "acc_stderr,none": 1e-200}, None),
        ({"acc,none": 0.5, "acc_stderr,none": 1e-160}, None), ({"acc,none": 0.5, "acc_stderr,none": 5e-324}, None),
    ],
)  # fmt: skip
def test_numbers_beyond_all_measure_are_none(
    accuracy: Command, tmp_path: Path, values: dict[str, Any], effective: int | None
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": {"t": values}, "n-samples": {"t": {"effective": effective}}}))
    said = accuracy.error(path, path)
    assert "has no accuracy" in said or "the number of items is not known" in said


@pytest.mark.parametrize("b", ["100", "0", "50"])
def test_few_items_all_right_detect_next_to_nothing(accuracy: Command, b: str) -> None:
    """The standard error of 1 of 1 is 0, and no certainty."""
    found = accuracy.json("--a", "100", "--b", b, "--n", "1")
    assert 0.9 < found["detectable"] <= 1
    assert accuracy.json("--a", "100", "--b", b, "--n", "100000")["detectable"] < 0.005
    assert "of 1 item;" in accuracy("--a", "100", "--b", b, "--n", "1")[0]


def test_text_and_json_say_the_same(accuracy: Command) -> None:
    words = ("--a", "40.21", "--b", "43.18", "--n", "5153", "--margin", "0.5")
    found, (text, _) = accuracy.json(*words), accuracy(*words)
    flat = " ".join(text.split())
    assert f"VERDICT {found['verdict']['text']} [improved] next {found['verdict']['next']}" in flat
    assert f"z = {found['two_proportions']['z']:.2f}" in flat
    for rule in found["rules_of_thumb"]:
        assert f"{rule['items_needed']:,}" in flat
