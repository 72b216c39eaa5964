"""Fields of a run's files against their annotations: each alone, whatever the others hold."""

from __future__ import annotations

import json
import math
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.runs import RunSpec
from qinspect.inspector.runs.identity import ProcessId, from_dict
from qinspect.inspector.runs.result import CancelRequest, Outcome, Result, result_from_dict
from qinspect.inspector.runs.stored import fields_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400) | st.just("\udc80"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KINDS = (RunSpec, Result, CancelRequest, ProcessId)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_each_field_is_taken_or_has_a_sentence(kind: type, data: st.DataObject) -> None:
    keys = list(get_type_hints(kind))
    content = data.draw(st.dictionaries(st.sampled_from([*keys, "of a newer version"]), ANYTHING))
    found, problems = fields_of(kind, content, "file.json")
    given_keys = {k for k, v in content.items() if v is not None and k in keys}
    wrong = {p.removeprefix("file.json: ").partition(" is ")[0] for p in problems}
    assert found.keys() | wrong == given_keys
    assert not found.keys() & wrong
    assert len(problems) == len(wrong)
    json.dumps(found, allow_nan=False)
    assert all(math.isfinite(v) for v in found.values() if isinstance(v, float))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("exit_code", math.nan, "exit_code is NaN; expected an exit code"),
        ("exit_code", 5.0, "exit_code is 5.0; expected an exit code"),
        ("exit_code", True, "exit_code is true; expected an exit code"),
        ("duration_s", -1, "duration_s is -1; expected seconds"),
        ("ended", 1e300, "ended is 1e+300; expected seconds since 1970"),
        ("signal", 9, "signal is 9; expected a string"),
        ("notes", ["x", 1], "notes is a list of 2; expected a list of strings"),
    ],
)
def test_what_is_said_of_a_field(key: str, value: Any, said: str) -> None:
    found = result_from_dict({"outcome": "failed", "last_line": "kept", key: value})
    assert found.problems == (f"result.json: {said}",)
    assert found.result is not None
    assert (found.result.outcome, found.result.last_line) == (Outcome.FAILED, "kept")


@pytest.mark.parametrize("outcome", [None, "gone", 3, ["failed"], math.inf])
def test_an_end_without_its_outcome_is_none(outcome: object) -> None:
    found = result_from_dict({"outcome": outcome, "ended": 1.0})
    assert found.result is None
    (problem,) = found.problems
    assert problem.endswith("; expected finished, failed, cancelled")


@pytest.mark.parametrize("ticks", [None, "x", 1.5, True])
def test_ticks_that_are_none_leave_the_process(ticks: object) -> None:
    assert from_dict({"pid": 7, "create_time": 3, "start_ticks": ticks}) == ProcessId(7, 3.0)
    assert from_dict({"pid": 7, "create_time": math.inf, "start_ticks": ticks}) is None
