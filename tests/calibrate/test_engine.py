"""The pass: what it finds, which samples go together, and what it does when memory is short."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qinspect.inspector.calibrate.engine import Pass, Progress, batches, find_points
from qinspect.inspector.calibrate.grouped import GroupedAbsmax
from qinspect.inspector.calibrate.shards import Shards
from qinspect.inspector.distribution import DistributionFile
from qinspect.inspector.errors import CannotRead
from qinspect.inspector.models.mamba import Probe
from qinspect.inspector.models.memory import Need

ORDER = ("lin:input", "lin:output", "late:input", "state:input")


class Toy:
    """A model with what makes observing hard: a point that it overwrites, one for long samples only, one whose size
    does not depend on the length."""

    path, dtype, vocab_size = "toy", "float16", 50
    device = torch.device("cpu")
    is_mamba = is_spread = rotated = False
    linears: tuple[str, ...] = ()
    may_show: tuple[str, ...] = ("late:input",)
    max_length: int | None = None
    unquantized = ""
    need = Need(0, "float16")
    notes: tuple[str, ...] = ()
    expert_inputs: Mapping[str, tuple[tuple[str, int], ...]] = MappingProxyType({})

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.embedding = nn.Embedding(50, 6)
        self.overwritten: set[str] = set()
        self.assumed: dict[str, Any] = {}
        self.ooms = 0
        self.seen: list[int] = []

    def forward(self, ids: Tensor, observe: Probe) -> Tensor:
        if self.ooms and ids.shape[1] > 16:
            self.ooms -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        self.seen.append(int(ids[0, 0]))
        with torch.inference_mode():
            x = self.embedding(ids).half()
            observe("lin:input", x.clone() if "lin:input" in self.overwritten else x)
            y = x * 2
            observe("lin:output", y)
            x.add_(1)
            if ids.shape[1] > 18:
                observe("late:input", y + 1)
            observe("state:input", y.amax(1)[:, None])
        return y

    def weights(self) -> dict[str, Tensor]:
        return {}

    def config(self) -> dict[str, Any]:
        return {}

    def decides(self) -> dict[str, Any]:
        return {}


def samples(*lengths: int) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    return [random.integers(0, 50, n) for n in lengths]


def observed(folder: Path, model: Toy, ids: list[Any], said: list[str] | None = None, batch: int = 1) -> Shards:
    points = find_points(model, ids[0][:16])
    shards = Shards(folder, "f", len(ids), size=2)
    progress = Progress(say=(said if said is not None else []).append)
    engine = Pass(model, points, frozenset(ORDER[:3]), GroupedAbsmax({}, 1, 1), progress, batch)
    engine.run(ids, shards)
    shards.join([p.name for p in points], {})
    return shards


def read(folder: Path) -> bytes:
    return (folder / "distributions.safetensors").read_bytes()


def test_points_are_found(tmp_path: Path) -> None:
    model = Toy()
    points = {p.name: p for p in find_points(model, samples(16)[0])}
    assert model.overwritten == {"lin:input"}
    assert list(points) == ["lin:input", "lin:output", "state:input", "late:input"]
    assert [points[n].n_values(100) for n in ("lin:input", "state:input", "late:input")] == [600, 6, 0]
    assert find_points(model, samples(1)[0])[0].n_values(100) == 600


def test_a_point_that_comes_late_is_counted(tmp_path: Path) -> None:
    model, ids = Toy(), samples(17, 18, 19, 17, 30)
    observed(tmp_path, model, ids)
    file = DistributionFile(tmp_path / "distributions.safetensors")
    try:
        assert [file.n_samples(n) for n in ("lin:input", "late:input", "state:input")] == [5, 2, 0]
        assert [t.n for t in file.samples("late:input")] == [19 * 6, 30 * 6]
        values = model.embedding.weight.half()
        for n, table in enumerate(file.samples("lin:input")):  # not what the model made of it afterwards
            expected = values[torch.from_numpy(ids[n])].abs().float().flatten().sort().values
            assert np.array_equal(np.repeat(table.magnitudes, table.counts), expected.detach().numpy())
    finally:
        file.close()


def test_samples_of_equal_length_go_together() -> None:
    ids = samples(5, 5, 5, 7, 5, 7, 7)
    assert batches(ids, (0, 7), 2) == [[0, 1], [2], [3], [4], [5, 6]]
    assert batches(ids, (1, 3), 4) == [[1, 2]]


def test_memory_runs_out_and_nothing_changes(tmp_path: Path) -> None:
    ids = samples(20, 20, 20, 20, 20)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    observed(tmp_path / "a", Toy(), ids, batch=2)
    short, said = Toy(), []  # type: ignore[var-annotated]
    short.ooms = 3
    observed(tmp_path / "b", short, ids, said, batch=2)
    assert read(tmp_path / "a") == read(tmp_path / "b")
    assert len(said) == 3
    assert all(text.startswith("the device ran out of memory: from here on") for text in said)
    assert "graphs" in said[0]
    assert "fewer activations" in said[1]
    assert "on the host" in said[2]
    firsts = [int(x[0]) for x in ids]
    assert short.seen[2:] == [firsts[0], firsts[2], firsts[4]]  # the same samples together as before


def test_memory_runs_out_for_good(tmp_path: Path) -> None:
    model = Toy()
    model.ooms = 4
    with pytest.raises(CannotRead, match=r"^toy: the device has too little memory.*--device auto or cpu") as e:
        observed(tmp_path, model, samples(20, 20))
    assert e.value.file == "toy"
    assert not list((tmp_path).rglob("*.safetensors"))


def test_what_fails_in_a_model_names_it(tmp_path: Path) -> None:
    with pytest.raises(CannotRead, match=r"toy: the model fails on 1 x 2 tokens: IndexError"):
        find_points(Toy(), np.array([1, 99]))


def test_live_samples_restart_with_their_shard(tmp_path: Path) -> None:
    model, ids = Toy(), samples(20, 20, 20)
    points = find_points(model, ids[0][:16])
    told: list[str] = []
    progress = Progress(
        sample=lambda _: told.append("sample"), shard=lambda _: told.append("shard"), restart=lambda: told.append("re")
    )
    model.ooms = 1
    Pass(model, points, frozenset(ORDER), GroupedAbsmax({}, 1, 1), progress).run(ids, Shards(tmp_path, "f", 3, size=2))
    assert told == ["re", "re", "sample", "sample", "shard", "re", "sample", "shard"]


@pytest.mark.parametrize("grouping", ["groups", "heads"])
def test_grouped_absmax_is_a_plain_loop(grouping: Any) -> None:
    torch.manual_seed(0)
    n_groups, n_heads, head_dim, n_state = 2, 8, 12, 3
    tensors = [torch.randn(2, 5, n_heads * head_dim).half() for _ in range(3)]
    states = [torch.randn(2, n_heads, head_dim, n_state).half() for _ in range(3)]
    observer = GroupedAbsmax({"x": grouping, "s": grouping}, n_groups, head_dim)
    for x, s in zip(tensors, states, strict=True):
        observer.observe("x", x)
        if grouping == "heads":
            observer.observe("s", s)
        observer.observe("other", x * math.inf)
    found = observer.arrays()
    values = torch.cat(tensors).abs().float().numpy()
    if grouping == "groups":
        half = n_heads * head_dim // 2
        assert found["x"].tolist() == [values[..., :half].max(), values[..., half:].max()]
        return
    expected = np.zeros((n_groups, 4, 4))
    of_state = np.zeros((n_groups, 4, 4, n_state))
    of_states = torch.cat(states).abs().float().numpy()
    for head in range(n_heads):
        group, block = head // 4, head % 4  # 4 heads a group: one a block
        for channel in range(head_dim):
            cell = (group, block, channel // 3)
            expected[cell] = max(expected[cell], values[..., head * head_dim + channel].max())
            of_state[cell] = np.maximum(of_state[cell], of_states[:, head, channel].max(0))
    assert np.array_equal(found["x"], expected)
    assert np.array_equal(found["s"], of_state)


def test_grouped_absmax_refuses_what_does_not_divide() -> None:
    with pytest.raises(ValueError, match="6 heads of 8 do not divide"):
        GroupedAbsmax({"x": "heads"}, 1, 8).observe("x", torch.zeros(1, 2, 48))
