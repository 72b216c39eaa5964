"""Whatever names, values and configs a checkpoint holds: the terminal gets text, and every error is one line."""

from __future__ import annotations

import json
import os
import re
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import HOSTILE_CHARACTERS, assert_clean, entry, floats, safetensors_bytes, write_safetensors

from qinspect.inspector.cli import main
from qinspect.inspector.table import Column, Table

HOSTILE_NAMES = (
    "layers.0.\x1b[31mred\x1b[0m.scales",
    "layers.0.\x1b]0;title\x07.scales",
    "layers.0.\x1b]8;;http://x\x1b\\link.weight",
    "layers.0.line\nfeed\r\nreturn.scales",
    "layers.0.\x9b2J\x85.scales",
    "[bold red]markup[/bold red].scales",
    "[link=file:///etc/passwd]x[/link].scales",
    ":smile: \\[x] {0} %s $(id) `id` .scales",
    "\u202escale.weight",
    "a\u2066b\u2069\u200b\ufeff.scales",
    HOSTILE_CHARACTERS.replace("\ud800", "") + ".scales",
    "x" * 10_000 + ".scales",
    "." * 10_000,
    "n\u00e4me \u4e2d.scales",
    "",
    " ",
    "--json",
    "=HYPERLINK(1).scales",
)
TRUST = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 3.4e38, 1e-45)


def assert_safe(out: bytes, err: bytes) -> None:
    for stream in (out, err):
        assert not [b for b in stream if (b < 0x20 and b != 0x0A) or b == 0x7F]
        assert_clean(stream.decode())


class Cli:
    """Runs a command in this process; its output must be safe. Returns (exit code, stdout)."""

    def __init__(self, capture: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capture

    def __call__(self, *words: str | Path) -> tuple[int, str]:
        code = main([str(w) for w in words])
        out, err = self._capture.readouterr()
        assert_safe(out, err)
        assert b"Traceback" not in err
        assert err.count(b"\n") == (1 if code == 2 else 0)
        if "--json" in words:
            json.loads(out)
        return code, out.decode()


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    return Cli(capfdbinary)


def safetensors_model(path: Path, value: float = 1.0) -> Path:
    header: dict[str, Any] = {"__metadata__": {f"\x1b[{i}m": name for i, name in enumerate(HOSTILE_NAMES)}}
    data = b""
    for name in HOSTILE_NAMES:
        header[name] = entry("F32", [len(TRUST) + 1], len(data), len(data) + 4 * len(TRUST) + 4)
        data += struct.pack(f"<{len(TRUST) + 1}f", *TRUST, value)
    path.mkdir(parents=True)
    write_safetensors(path / "model.safetensors", header, data)
    config = {name: {name: name} for name in HOSTILE_NAMES}
    (path / "config.json").write_text(json.dumps({**config, "ssm_cfg": {"layer": HOSTILE_CHARACTERS}}))
    (path / "quantize_config.json").write_text("{\x1b[31m")
    return path


def torch_model(path: Path, value: float = 1.0) -> Path:
    path.mkdir(parents=True)
    state: dict[str, Any] = {name: torch.tensor([*TRUST, value]) for name in HOSTILE_NAMES if name}
    state |= {f"value.{i}": name for i, name in enumerate(HOSTILE_NAMES)}
    state |= {
        "s.scales": value,
        "nan.scales": float("nan"),
        "big.scales": 10**300 * int(value + 1),
        "huge.scales": 10**400,
    }
    state |= {
        "bytes": b"\x1b[31m\x00\xff",
        "nest": {("\x1b", 1): "\x1b", None: [HOSTILE_CHARACTERS]},
        "f64.scales": 1e300,
    }
    state["complex.scales"] = torch.tensor([1j, value])
    torch.save(state, path / "pytorch_model.bin")
    return path


@pytest.fixture(params=["safetensors", "torch"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    make = safetensors_model if request.param == "safetensors" else torch_model
    return make(tmp_path / "a\x1b[31m\u202e"), make(tmp_path / "b [bold]x[/bold]\nc", 2.0)


@pytest.mark.parametrize(
    "words",
    [[], ["--json"], ["--codes"]],
)
def test_report(cli: Cli, pair: tuple[Path, Path], words: list[str]) -> None:
    assert cli(*pair, *words)[0] == 0
    assert cli(pair[0], *(w for w in words if w == "--json"))[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        [], ["--json"], ["--only", "all"], ["--only", "all", "--json"], ["--sort", "diff"], ["--csv"], ["--markdown"],
        ["--no-codes"], ["--csv", "--markdown"],
    ],
)  # fmt: skip
def test_diff(cli: Cli, pair: tuple[Path, Path], words: list[str]) -> None:
    assert cli("diff", *pair, *words)[0] == (2 if len(words) == 2 and "--csv" in words else 1)
    assert cli("diff", pair[0], pair[0], *words)[0] in (0, 2)


@pytest.mark.parametrize("words", [[], ["--json"], ["--expand"], ["--depth", "1"], ["--depth", "1", "--json"]])
def test_tree(cli: Cli, pair: tuple[Path, Path], words: list[str]) -> None:
    code, out = cli("tree", pair[0], *words)
    assert code == 0
    assert "--json" in words or "--depth" in words or "\\x1b[31mred\\x1b[0m" in out


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_scales(cli: Cli, pair: tuple[Path, Path], words: list[str]) -> None:
    code, out = cli("scales", pair[0], *words)
    assert code == 0
    assert "[bold red]markup[/bold red]" in out


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_show_every_entry(cli: Cli, pair: tuple[Path, Path], words: list[str]) -> None:
    values = [f"value.{i}" for i in range(len(HOSTILE_NAMES))]
    for name in (
        *HOSTILE_NAMES,
        *values,
        "s.scales",
        "nan.scales",
        "big.scales",
        "huge.scales",
        "complex.scales",
        "bytes",
    ):
        if not name.startswith("--"):
            assert cli("show", pair[0], name, *words)[0] in (0, 2)
    assert cli("show", pair[0], "s\x1b[31m\u202e", *words)[0] == 2


def test_dequantize(cli: Cli, pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert cli("dequantize", pair[0], tmp_path / "o\x1b.safetensors", "--keys", "\x1b*")[0] == 2
    assert cli("dequantize", pair[0], tmp_path / "o\x1b.txt", "--json")[0] == 2


@pytest.mark.parametrize(
    "words", [["\x1b[31m"], ["tree", "\u202e"], ["diff", "a\x9b", "b\n"], ["tree"], ["--\x1b[31m"], ["show", "a"]]
)
@pytest.mark.parametrize("json_too", [False, True])
def test_what_is_typed(cli: Cli, words: list[str], json_too: bool) -> None:
    assert cli(*words, *(["--json"] if json_too else []))[0] == 2


BROKEN = {
    "truncated": safetensors_bytes({"a\x1b[31m": entry("F32", [1], 0, 4)}),
    "dtype": safetensors_bytes({"a\x1b[31m": entry("F\x1b[31m\u202e", [1], 0, 4)}, bytes(4)),
    "json": safetensors_bytes(b'{"\x1b[31m'),
    "metadata": safetensors_bytes({"__metadata__": {"\x1b]0;x\x07\n": 1}}),
    "long name": safetensors_bytes({"x" * 10_000 + "\x1b": {}}),
    "global": b"\x80\x02c\x1b[31m\nsystem" + "\u202e".encode() + b"\n.",
    "call": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00exit\x85R.",
    "nothing": b"",
    "other": b"\x1b[31m\x1b[31m\x1b[31m",
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("json_too", [False, True])
def test_a_broken_b_leaves_a_visible(cli: Cli, tmp_path: Path, broken: str, json_too: bool) -> None:
    a = floats(tmp_path / "a.safetensors", {"layers.0.x.scales": [0.125], "\x1b[31m.scales": [2.0]})
    b = tmp_path / "b\x1b[31m.safetensors"
    b.write_bytes(BROKEN[broken])
    more = ["--json"] if json_too else []
    code, out = cli(a, b, *more)
    assert code == 2
    if json_too:
        assert json.loads(out)["error"]["file"] == str(b)
    else:
        assert "layers.0.x.scales" in out
        assert "0.125" in out
        assert "cannot be compared" in out
    for words in ([b, a], ["tree", b], ["scales", b], ["show", b, "x"], ["diff", a, b], ["diff", b, a]):
        assert cli(*words, *more)[0] == 2


def test_a_scale_that_cannot_be_read_is_a_row_and_not_the_end(cli: Cli, tmp_path: Path) -> None:
    torch.save({"a.scales": torch.ones(1), "b.scales": torch.ones(2)}, tmp_path / "m.bin")
    data = bytearray((tmp_path / "m.bin").read_bytes())
    at = data.index(b"data/1")
    data[at : at + 6] = b"\x1b[31m1"
    (tmp_path / "m.bin").write_bytes(bytes(data))
    code, out = cli("scales", tmp_path / "m.bin")
    assert code == 0
    assert "local header" in out
    assert cli(tmp_path / "m.bin", tmp_path / "m.bin")[0] == 0


def test_rich_tables_take_no_markup() -> None:
    table = Table((Column("name"), Column("n", True)), [[name, "1"] for name in HOSTILE_NAMES])
    shown = re.sub("\x1b\\[[0-9;]*m", "", table.rich(200))  # rich's own bold of the header
    assert_clean(shown)
    assert "[bold red]markup[/bold red]" in shown


def run(*words: str | Path, memory: int = 0) -> subprocess.CompletedProcess[bytes]:
    """qinspect in a process of its own, which may use `memory` bytes of address space."""
    limit = (lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory))) if memory else None
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "qinspect.inspector", *map(str, words)]
    return subprocess.run(command, capture_output=True, preexec_fn=limit, env=environment, check=False)


@pytest.mark.parametrize("command", ["tree", "scales"])
def test_as_a_process(pair: tuple[Path, Path], command: str) -> None:
    found = run(command, pair[0])
    assert found.returncode == 0
    assert_safe(found.stdout, found.stderr)
    assert found.stderr == b""


def test_a_header_of_100_mb_needs_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors_bytes(b'{"a":[' + b"[]," * 33_000_000 + b"0]}"))
    found = run("tree", path, memory=5 << 30)
    assert found.returncode == 2
    assert_safe(found.stdout, found.stderr)
    assert b"not a JSON object; found a list" in found.stderr


def test_a_hostile_pickle_needs_bounded_memory(tmp_path: Path) -> None:
    import zipfile

    laugh = b"\x80\x02](NNe" + b"q\x000](h\x00h\x00e" * 60 + b"."
    copies = (
        b"\x80\x02X\x40\x42\x0f\x00" + b"x" * 1_000_000 + b"q\x000](" + b"c_codecs\nencode\nh\x00\x85R" * 50_000 + b"e."
    )
    for name, data in (("laugh.bin", laugh), ("copies.bin", copies)):
        with zipfile.ZipFile(tmp_path / name, "w") as z:
            z.writestr("x/data.pkl", data)
        found = run("tree", tmp_path / name, memory=2 << 30)
        assert found.returncode == 2
        assert_safe(found.stdout, found.stderr)
        assert found.stderr.count(b"\n") == 1
