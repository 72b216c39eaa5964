"""GPUs, seen through an NVML that is not there, lies, or breaks; and who is warned about whom."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from run_processes import shell

from qinspect.inspector.runs import RunSpec, check_before_start, gpus, make_spec
from qinspect.inspector.runs import run as runs
from qinspect.inspector.runs.before import LiveRun, devices, overlap, warnings_for
from qinspect.inspector.runs.gpus import Gpu, GpuProcess, GpuSample, GpuSampler
from qinspect.inspector.runs.logind import Survival
from qinspect.inspector.runs.watch import GpuWatch

NOT_AVAILABLE = (1 << 64) - 1


class Refused(Exception):
    """What NVML raises for what it does not support."""


class Nvml:
    """A driver with two GPUs: the first tells all, the second only its name."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        self.opened = 0
        self.broken = False

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        if self.broken:
            raise Refused("driver was unloaded")
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == 2:
            raise Refused("lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return (b"old binding", "H200")[handle]

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}abc"

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=93, memory=10),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=5, total=9),
            "nvmlDeviceGetPowerUsage": 350_500,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetComputeRunningProcesses": [
                SimpleNamespace(pid=1, usedGpuMemory=5), SimpleNamespace(pid=4_000_000, usedGpuMemory=NOT_AVAILABLE),
            ],
            "nvmlDeviceGetGraphicsRunningProcesses": [SimpleNamespace(pid=1, usedGpuMemory=None)],
        }  # fmt: skip

        def ask(handle: int, *_: object) -> Any:
            if handle == 1:
                raise Refused("not supported")
            return answers[name]

        return ask


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_what_a_gpu_tells_and_what_it_does_not(nvml: Nvml) -> None:
    found = gpus.sample()
    assert found.reason == ""
    first, second = found.gpus
    assert (first.index, first.name, first.uuid) == (0, "old binding", "GPU-0abc")
    assert (first.utilisation_percent, first.memory_used_bytes, first.memory_total_bytes) == (93, 5, 9)
    assert (first.power_w, first.power_limit_w, first.temperature_c) == (350.5, 700.0, 61)
    assert [(p.pid, p.memory_bytes) for p in first.processes] == [(1, 5), (4_000_000, None)]
    assert first.processes[1].name == ""
    assert second == Gpu(1, "GPU-1abc", "H200", None, None, None, None, None, None, ())


def test_nvml_stays_open_between_samples_and_is_opened_again_when_it_breaks(nvml: Nvml) -> None:
    sampler = GpuSampler()
    sampler.sample()
    sampler.sample()
    assert nvml.opened == 1
    nvml.broken = True
    assert sampler.sample().reason == "NVML stopped answering: driver was unloaded"
    nvml.broken = False
    assert len(sampler.sample().gpus) == 2
    assert nvml.opened == 2
    sampler.close()


def test_no_driver_is_a_reason_and_no_error(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise Refused("NVML Shared Library Not Found")

    monkeypatch.setattr(nvml, "nvmlInit", refuse)
    found = gpus.sample()
    assert (found.gpus, found.reason) == ((), "no NVIDIA driver: NVML Shared Library Not Found")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "cannot be imported" in gpus.sample().reason


def test_the_real_nvml_answers_whatever_is_here() -> None:
    found = gpus.sample()
    assert bool(found.gpus) != bool(found.reason)


def test_samples_are_events_at_a_gentle_rate(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = GpuWatch()
    watch._sampler = GpuSampler()
    ((kind, fields),) = watch.due(100.0)
    assert kind == "gpu"
    assert [g["utilisation_percent"] for g in fields["gpus"]] == [93, None]
    assert list(watch.due(101.0)) == []
    nvml.broken = True
    ((kind, fields),) = watch.due(200.0)
    assert kind == "warning"
    assert list(watch.due(300.0)) == []


# --- two on one GPU ---


def gpu(index: int, *processes: GpuProcess) -> Gpu:
    return Gpu(index, f"GPU-{index}abc", "x", 0, 0, 0, 0.0, 0.0, 0, processes)


def test_which_devices_a_variable_lets_through() -> None:
    two = [gpu(0), gpu(1)]
    assert devices(None, two) is None
    assert devices("", two) == frozenset()
    assert devices("0, 1", two) == frozenset({"0", "1"})
    assert devices("1,-1,0", two) == frozenset({"1"})
    assert devices("GPU-1ab", two) == frozenset({"1"})
    assert devices("MIG-x", two) == frozenset({"MIG-x"})


def test_which_devices_two_share() -> None:
    zero, one = frozenset("0"), frozenset("1")
    assert overlap(zero, one) is None
    assert overlap(zero, zero) == zero
    assert overlap(None, one) == one
    assert overlap(frozenset(), None) is None
    assert overlap(None, None) == frozenset()


def spec(visible: str | None) -> RunSpec:
    return RunSpec(("a",), "n", "/", {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})


@pytest.mark.parametrize(
    ("mine", "theirs", "driver", "expected"),
    [
        ("0", "0", False, "GPU 0"),
        ("0", "1", False, None),
        ("0,1", "1,2", True, "GPU 1"),
        ("", None, True, None),
        (None, "1", True, "GPU 1"),
        (None, None, True, "any GPU"),
        (None, None, False, None),
    ],
)
def test_two_runs_on_one_gpu(mine: str | None, theirs: str | None, driver: bool, expected: str | None) -> None:
    sample = GpuSample(0, (gpu(0), gpu(1)) if driver else ())
    said = warnings_for(spec(mine), [LiveRun("other", spec(theirs))], sample, Survival())
    if expected is None:
        assert said == []
    else:
        assert said == [f"run other is still running and may use {expected} too (CUDA_VISIBLE_DEVICES)"]


def test_a_busy_gpu_is_named_with_who_uses_it() -> None:
    crowd = [GpuProcess(n, "py", 1) for n in range(10, 15)]
    sample = GpuSample(0, (gpu(0, *crowd), gpu(1)))
    assert warnings_for(spec("0"), [], sample, Survival()) == ["GPU 0 is in use by py 10, py 11, py 12 and 2 more"]
    assert warnings_for(spec("1"), [], sample, Survival()) == []
    assert warnings_for(spec(None), [], sample, Survival(warning="logout kills")) == [
        "logout kills",
        "GPU 0 is in use by py 10, py 11, py 12 and 2 more",
    ]


def test_a_live_run_is_found_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "sample", lambda: GpuSample(0, (), "none"))
    monkeypatch.setattr(runs, "here", Survival)
    mine = make_spec(["true"], env={"CUDA_VISIBLE_DEVICES": "0"})
    assert check_before_start(mine) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    run = shell("exec sleep 600", name="other")
    (line,) = check_before_start(mine)
    assert line.startswith(f"run {run.id} (other) is still running and may use GPU 0 too")
    run.cancel()
    assert check_before_start(mine) == []
