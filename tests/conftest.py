"""What tests share: where the fixtures are, and checkpoints written on the spot."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from safetensors.numpy import save_file

hypothesis.settings.register_profile("qinspect", deadline=None, print_blob=True)
hypothesis.settings.load_profile("qinspect")

# Ignored under nohup, or in the background of a shell's script, and so they would be by what tests start
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# Small models have no work for two threads, and two that wait for each other in every worker take the processor from
# all. What is loaded later, the workers and what tests start read it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Or every worker rewrites all asserts, and each of the processes that tests start compiles all that it imports
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


class _Failures:
    """Names a failure when it happens: a run that is cut off prints no summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            where = getattr(report.longrepr, "reprcrash", None) or report.longreprtext[-2000:]
            self.terminal.write_line(f"\n{report.nodeid}: {report.when} failed in {report.duration:.1f} s: {where}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if (terminal := config.pluginmanager.get_plugin("terminalreporter")) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Failures(terminal))
    config.pluginmanager.register(_Frozen())


class _Frozen:
    """What modules and collected tests made stays to the end: no search for cycles has to walk through a million
    objects of theirs again."""

    def __init__(self) -> None:
        self.modules = 0

    def pytest_collection_finish(self) -> None:
        self._freeze()

    def pytest_runtest_logfinish(self) -> None:
        if len(sys.modules) > self.modules + MANY_MODULES:  # torch, say, is loaded by the first test that needs it
            self._freeze()

    def _freeze(self) -> None:
        gc.collect()
        gc.freeze()
        self.modules = len(sys.modules)


MANY_MODULES = 100
"""So many more are worth a search."""

OBJECTS_BETWEEN_SEARCHES = 5_000
"""Python's own 700 are for programs that make few; here it would be a tenth of all work."""


SLOW_TIMEOUT_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that has a model calibrated with all its samples is slow: the first of a session waits for that. Slow ones
    have more time, for a loaded machine, and come first: one that comes last leaves other workers idle."""
    for item in items:
        if "run_of" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


Quamba = Callable[[str], Path]
"""Name of a fixture to the folder of its checkpoint."""

Run = Callable[[str], Path]
"""Name of a base model in tests/data/models to the folder of its calibration by the recipe `quamba`."""

Plain = Callable[[str, Mapping[str, Any]], Path]
"""plain(name, tensors): a safetensors file with these tensors."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """The command line collects cycles rarely; in a worker that runs thousands of commands, files would stay open."""
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES, 10, 10)
    yield
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES, 10, 10)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that runs a model logs to stderr for the rest of its process, which here runs the next test."""
    log = logging.getLogger("qinspect")
    kept = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = kept


@pytest.fixture(scope="session")
def source_root() -> Path:
    """The folder that pyproject.toml is in."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def quamba(source_root: Path) -> Quamba:
    def folder(name: str) -> Path:
        (found,) = (p for p in (source_root / "tests" / "data" / "quamba" / name).iterdir() if p.is_dir())
        return found

    return folder


@pytest.fixture(scope="session")
def run_of(source_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All 64 samples, on the CPU, once a session."""
    data, made = source_root / "tests" / "data" / "models", dict[str, Path]()

    def folder(base: str) -> Path:
        from qinspect.inspector.calibrate.work import calibrate
        from qinspect.inspector.calibration.settings import Settings

        if base not in made:
            (model,) = (data / base).iterdir()
            made[base] = tmp_path_factory.mktemp(base)
            calibrate(Settings(str(model), data=str(data / "calibration_tokens.json"), device="cpu"), made[base])
        return made[base]

    return folder


@pytest.fixture
def plain(tmp_path: Path) -> Plain:
    def write(name: str, tensors: Mapping[str, Any]) -> Path:
        path = tmp_path / name
        save_file({key: np.asarray(value) for key, value in tensors.items()}, path)
        return path

    return write
