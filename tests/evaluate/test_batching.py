"""Windows that share a forward: which, and that the figures are those of windows one by one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from qinspect.inspector.demo import MODEL
from qinspect.inspector.evaluate.batching import LOGITS, batches_of, rows_at_once, windows_at_once
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.work import evaluate
from qinspect.inspector.models.load import open_model

CPU = torch.device("cpu")


def test_neighbours_of_one_length_share_a_forward() -> None:
    ids = [np.full(n, i) for i, n in enumerate([4, 4, 4, 7, 4, 4])]
    found = batches_of(ids, 2)
    assert [(b.first, tuple(b.ids.shape)) for b in found] == [(0, (2, 4)), (2, (1, 4)), (3, (1, 7)), (4, (2, 4))]
    assert torch.cat([b.ids.flatten() for b in found]).tolist() == np.concatenate(ids).tolist()


def test_a_cpu_is_filled_by_one_window() -> None:
    assert windows_at_once(CPU, 512) == 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("vocabulary", [2, 256, 32_000, 128_256, 1 << 30])
def test_logits_that_are_there_at_a_time_are_bounded(device: str, vocabulary: int) -> None:
    rows = rows_at_once(torch.device(device), vocabulary)
    assert rows >= 1
    assert rows == 1 or rows * vocabulary <= LOGITS[device]
    assert rows < 256 or rows % 256 == 0


def test_the_figures_are_those_of_windows_one_by_one(tmp_path: Path) -> None:
    """To what another order of adding up changes; and one who asks for another batch does not get what was kept."""
    text = tmp_path / "text.txt"
    text.write_text("A text of some words, and of others, that ends in the middle of a wind" * 3)
    found = []
    for batch in (1, 3):
        settings = EvaluateSettings(
            str(MODEL), (str(MODEL),), data=str(text), samples=4, seq_len=16, floor_seeds=1, batch=batch
        )
        evaluation = evaluate(settings, folder=tmp_path / "kept")
        found.append(evaluation)
        (m,) = evaluation.models
        assert (m.answer, m.kl_max) == ("equal", 0)
    one, three = (e.models[0] for e in found)
    assert one.n == three.n
    assert three.perplexity == pytest.approx(one.perplexity, rel=1e-3)
    assert [e.n_windows for e in found] == [found[0].n_windows] * 2
    assert len(list((tmp_path / "kept").glob("tokens-*.npz"))) == 2
    with np.load(next((tmp_path / "kept").glob("tokens-*.npz"))) as kept:
        assert kept["window"].max() == found[0].n_windows - 1


def test_positions_stand_where_they_stood() -> None:
    from qinspect.inspector.evaluate.tokens import TokenFigures, figures_of, joined

    model = open_model(str(MODEL), False, CPU)
    executor = Executor(model)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 24)))

    def figures(rows: slice) -> TokenFigures:
        hidden = executor.hidden(ids[rows])
        return figures_of(hidden, hidden, model.head, model.head, ids[rows], rows.start, at_once=10)

    together, alone = figures(slice(0, 3)), joined([figures(slice(i, i + 1)) for i in range(3)])
    for field in fields(TokenFigures):
        a, b = getattr(together, field.name), getattr(alone, field.name)
        assert a == pytest.approx(b, rel=1e-2, abs=1e-3), field.name
    assert together.window.tolist() == np.repeat([0, 1, 2], 23).tolist()
