"""What is built is what is in the source: every module imports from the installed wheel, every data file is in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

FOLDERS = ("inspector", "kernels", "tui")
DOOR = ("__init__.py", "model.py", "py.typed")
"""What the folder `qinspect` has besides links to the others."""
IGNORED = ("__pycache__",)
DEPENDENCIES = Path(np.__file__).parents[1]

# Run without `site`, so that no .pth file and no editable install is seen: the wheel's folder comes first, the folder
# of the dependencies, which is only searched for names, comes last.
NEED_TRITON = "qinspect.kernels.triton_"
IMPORT_ALL = """
import importlib, json, sys
wheel, dependencies, *names = sys.argv[1:]
sys.path.insert(0, wheel)
sys.path.append(dependencies)
modules = [importlib.import_module(name) for name in names]
files = {m.__name__: m.__file__ for m in modules}
from importlib.metadata import entry_points, version
scripts = {e.name: e.value for e in entry_points(group="console_scripts") if e.name == "qinspect"}
print(json.dumps({"files": files, "version": version("qinspect"), "scripts": scripts}))
"""


def run(command: Sequence[str | Path], cwd: Path) -> str:
    found = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def sources(root: Path) -> list[str]:
    """Files of the package, as `inspector/cli.py`; those of the folder `qinspect` as `model.py`."""
    files = [p.relative_to(root) for folder in FOLDERS for p in (root / folder).rglob("*") if p.is_file()]
    return sorted([*(p.as_posix() for p in files if not set(p.parts) & set(IGNORED)), *DOOR])


def module_name(source: str) -> str:
    return f"qinspect/{source}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.fixture(scope="module")
def copy(source_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source without tests, fixtures and what was built: nothing is written beside the original."""
    root = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source_root / name, root)
    for folder in (*FOLDERS, "qinspect"):
        ignored = shutil.ignore_patterns(*IGNORED)
        shutil.copytree(source_root / folder, root / folder, symlinks=True, ignore=ignored)
    return root


@pytest.fixture(scope="module")
def wheel(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with what is installed, without network."""
    place = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, copy], copy)
    (made,) = place.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target"]
    run([*pip, place, wheel], place)
    return place


def test_every_source_file_is_in_the_wheel_and_nothing_else(wheel: Path, copy: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    in_package = {n.removeprefix("qinspect/") for n in names if n.startswith("qinspect/")}
    assert in_package == set(sources(copy))
    assert {"inspector/cli.py", "py.typed", "inspector/py.typed", "kernels/py.typed", "tui/py.typed"} <= in_package
    information = f"qinspect-{version('qinspect')}.dist-info/"
    assert {n for n in names if not n.startswith(("qinspect/", information))} == set()
    assert f"{information}licenses/LICENSE" in names


def test_the_folder_of_the_package_has_the_api_and_links(source_root: Path) -> None:
    found = [p for p in (source_root / "qinspect").iterdir() if p.name not in IGNORED]
    assert sorted(p.name for p in found if not p.is_symlink()) == sorted(DOOR)
    links = {p.name: p.readlink().as_posix() for p in found if p.is_symlink()}
    assert links == {folder: f"../{folder}" for folder in FOLDERS}


def test_every_module_imports_from_the_wheel(installed: Path, copy: Path) -> None:
    modules = {module_name(s): s for s in sources(copy) if s.endswith(".py")}
    names = [n for n in modules if not n.startswith(NEED_TRITON)]  # which comes with torch for a GPU
    assert len(modules) - len(names) == 2
    assert "qinspect.inspector.formats.families.quamba.layout" in names
    command: list[str | Path] = [
        sys.executable,
        "-I",
        "-S",
        "-W",
        "error",
        "-c",
        IMPORT_ALL,
        installed,
        DEPENDENCIES,
        *names,
    ]
    found = json.loads(run(command, installed))
    expected = {n: str(installed / "qinspect" / modules[n]) for n in names}
    assert found["files"] == expected
    assert found["version"] == version("qinspect")
    assert found["scripts"] == {"qinspect": "qinspect.tui.entry:main"}


def test_the_installed_command_runs(installed: Path, source_root: Path) -> None:
    code = (
        "import sys\nsys.path.insert(0, sys.argv.pop(1))\nsys.path.append(sys.argv.pop(1))\n"
        "import qinspect.tui.entry as entry\nassert entry.__file__.startswith(sys.path[0])\nsys.exit(entry.main())"
    )
    data = source_root / "tests" / "data" / "quamba" / "m1_w4a8" / "quamba-small-w4a8"
    words: list[str | Path] = [installed, DEPENDENCIES, "tree", data, "--depth", "1"]
    assert "Quamba W4A8" in run([sys.executable, "-I", "-S", "-c", code, *words], installed)
