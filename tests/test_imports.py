"""What stays out of a process: the tool starts quickly, and reads a checkpoint without the library that wrote it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
import pytest

if TYPE_CHECKING:
    from conftest import Quamba

HEAVY = ("torch", "textual", "plotext", "transformers")
DISTRIBUTIONS = ("qinspect.kernels", "qinspect.inspector.distribution", "qinspect.inspector.observers")
LIST_MODULES = "import sys; sys.stderr.write(' '.join(sys.modules))"
A, B = "m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--help",),
    ("--version",),
    ("A",),
    ("A", "B"),
    ("diff", "A", "B", "--exit-zero"),
    ("diff", "A", "B", "--csv", "--exit-zero"),
    ("diff", "A", "B", "--markdown", "--exit-zero"),
    ("diff", "A", "B", "--json", "--exit-zero"),
    ("tree", "A"),
    ("scales", "A", "--json"),
    ("experts", "A"),
    ("show", "A", "layers.0.mixer.in_proj.weight"),
    ("dequantize", "A", "OUT"),
    ("logs", "LOG"),
    ("accuracy", "LOG", "LOG"),
    ("fidelity", "A", "B"),
    ("loaders", "A"),
    ("verify", "--samples", "2"),
    ("verify", "--samples", "2", "--json"),
    ("verify", "ACTIVATION", "--key", "x_bf16.*"),
)


def imported_by(statement: str, *arguments: str | Path) -> set[str]:
    """Top-level and dotted names of the modules in sys.modules after the statement ran in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{LIST_MODULES}", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return set(found.stderr.split())


def test_no_file_is_in_a_circle_of_imports() -> None:
    """lint-imports looks at packages beside each other; here a package's own file counts too. Imports for type checkers
    do not."""
    graph = grimp.build_graph("qinspect", exclude_type_checking_imports=True, cache_dir=None)
    for packages, least in ((("qinspect.inspector", "qinspect.kernels"), 200), (("qinspect.tui",), 80)):
        known = {m for m in graph.modules if m.startswith(packages)}
        assert len(known) > least
        TopologicalSorter({m: graph.find_modules_directly_imported_by(m) & known for m in known}).prepare()


def test_the_entry_point_imports_neither_a_screen_nor_torch() -> None:
    found = imported_by("import qinspect.tui.entry")
    assert "qinspect.tui.entry" in found
    assert found.isdisjoint(HEAVY)
    assert "numpy" not in found


def test_the_screen_is_imported_without_what_only_its_models_need() -> None:
    found = imported_by("import qinspect.tui.app, qinspect.tui.terminal")
    assert {"qinspect.tui.app", "textual"} <= found
    assert found.isdisjoint({"torch", "transformers", "numpy", "ml_dtypes", "plotext", "cyclopts"})
    assert found.isdisjoint({"psutil", "pynvml", "qinspect.inspector.runs", "qinspect.inspector.logs"})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_imports_a_screen_or_torch(
    words: Sequence[str], quamba: Quamba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "state"))
    log = Path(__file__).parent / "data" / "logs" / "quamba_mamba2_w4a8_again.log"
    activation = Path(__file__).parent / "data" / "observers" / "streams.safetensors"
    out = tmp_path / "out.safetensors"
    places = {"A": quamba(A), "B": quamba(B), "OUT": out, "LOG": log, "ACTIVATION": activation}
    run = "import sys; from qinspect.inspector.cli import main\nassert main(sys.argv[1:]) == 0"
    found = imported_by(run, *(places.get(w, w) for w in words))
    assert "qinspect.inspector.cli" in found
    assert found.isdisjoint(HEAVY)
    kernels = "qinspect.kernels" if words[0] == "fidelity" else "-"  # has one of its own, of no distribution
    named = (
        "qinspect.kernels",
        "qinspect.kernels.packing",
    )  # how codes lie, which families say: no body, nothing heavy
    of_distributions = {m for m in found if m.startswith(DISTRIBUTIONS) and not m.startswith(kernels)} - {*named}
    assert bool(of_distributions) == (words[0] == "verify")


def test_a_checkpoint_is_opened_without_numpy(quamba: Quamba) -> None:
    found = imported_by(
        "import sys; from qinspect.inspector.checkpoint import open_checkpoint\n"
        "assert len(open_checkpoint(sys.argv[1]).entries) == 77",
        quamba(A),
    )
    assert "qinspect.inspector.checkpoint" in found
    assert found.isdisjoint((*HEAVY, "numpy", "ml_dtypes", "rich", "cyclopts"))


def test_distributions_are_computed_without_torch() -> None:
    found = imported_by(
        "import numpy as np\nfrom qinspect.inspector.distribution import MagnitudeTable\n"
        "from qinspect.inspector.observers import quamba_percentile\n"
        "quamba_percentile(0.5).scale([MagnitudeTable.of(np.ones(3, np.float16))])"
    )
    assert "qinspect.kernels.counts" in found
    assert found.isdisjoint((*HEAVY, "rich", "cyclopts", "numba"))
