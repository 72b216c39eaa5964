"""Which forwards are kept as CUDA graphs. What a graph does is tested where there is a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from qinspect.inspector.calibrate import graphs
from qinspect.inspector.calibrate.graphs import MAX_GRAPHS, WORTH_FROM, Graphs


class Captured:
    """In place of a graph."""

    def __init__(self, _model: Any, shape: tuple[int, ...]) -> None:
        if shape == (1, 13):
            raise RuntimeError("operation not permitted when stream is capturing")
        self.shape = shape


@pytest.fixture(autouse=True)
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "Graph", Captured)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)


def test_shapes_that_come_often_have_one_from_the_first_forward_on() -> None:
    shapes = [(1, 512)] * WORTH_FROM + [(1, 7)] * (WORTH_FROM - 1)
    made = Graphs(None, shapes)  # type: ignore[arg-type]
    assert made.of((1, 7)) is None
    first = made.of((1, 512))
    assert first is not None
    assert made.of((1, 512)) is first


def test_there_are_no_more_than_fit() -> None:
    shapes = [(1, length) for length in range(20, 40) for _ in range(length)]
    made = Graphs(None, shapes)  # type: ignore[arg-type]
    assert {s for s in shapes if made.of(s)} == set(sorted(set(shapes))[-MAX_GRAPHS:])


def test_a_forward_that_cannot_be_captured_is_never_tried_again() -> None:
    made = Graphs(None, [(1, 13)] * 9)  # type: ignore[arg-type]
    assert made.of((1, 13)) is None
    assert made.of((1, 13)) is None
