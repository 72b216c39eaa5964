"""The order in which weights are measured changes nothing but when each is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.order import worst_first
from qinspect.inspector.fidelity.work import Result


def test_the_worst_comes_first_and_the_result_is_in_forward_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = {f"layers.{i}.q.weight": rng.standard_normal((64, 256)).astype(np.float32) for i in range(6)}
    a["norm.weight"] = np.ones(64, np.float32)
    noise = dict(zip(a, (0.01, 0.3, 0.0, 0.1, 0.001, 0.03, 0.5), strict=True))
    b = {k: (v + noise[k] * rng.standard_normal(v.shape)).astype(np.float32) for k, v in a.items()}
    for name, tensors in (("a", a), ("b", b)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    first, second = (open_model(str(tmp_path / f"{n}.safetensors")) for n in "ab")
    told: list[Result] = []
    found = measure_fidelity(first, second, told=told.append, arrange=worst_first)
    assert [w.role.split(".")[1] for w in told] == ["1", "3", "5", "0", "4", "2", "weight"]
    plain = measure_fidelity(first, second)
    assert found.weights == plain.weights
    assert found.not_compared == plain.not_compared
