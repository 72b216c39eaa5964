"""The contract of docs/cli.md: what is printed where, in which form, with which exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import load_file

import qinspect.inspector.checkpoint
from qinspect.inspector import errors
from qinspect.inspector.cli import main
from qinspect.inspector.compare import Status
from qinspect.inspector.errors import QinspectError

if TYPE_CHECKING:
    from conftest import Plain, Quamba

LOW, HIGH = "m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"
PERCENTILE_POINTS = [f"layers.{i}.mixer.{point}:input" for i in (0, 1) for point in ("x_proj", "ssm_state_act")]
DIFF_COLUMNS = ["scale", "kind", "alpha", "A", "B", "B vs A", "log2", "changed", "status", "note", "noise"]
SCHEMAS = (
    *("tree", "scales", "diff", "show", "dequantize", "logs", "error", "run", "runs", "runs_diff", "removed"),
    "verify",
    "whence",
    "explain",
    "apply",
    "accuracy",
    "alpha",
    "fidelity",
    "lint",
    "experts",
    "loaders",
    "evaluate",
    "calibration",
)
AWKWARD = {"a|b\\|c.scales": [1.0], "é.scales": [1.0], "=1+1.scales": [0.0, 4.0], "x\n\x1b[31m.scales": [1.0]}
"""Names that break a table, an encoding, a spreadsheet and a terminal."""
AWKWARD_CHANGED = {"a|b\\|c.scales": [2.0], "é.scales": [0.5], "=1+1.scales": [3.0, 4.0], "x\n\x1b[31m.scales": [9.0]}


class Cli:
    """Runs one command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], source_root: Path) -> None:
        self._capsys = capsys
        self._schemas = source_root / "docs" / "schema"

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = main([str(w) for w in words])
        out, err = self._capsys.readouterr()
        return code, out, err

    def text(self, *words: str | Path, code: int = 0) -> str:
        """stdout of a command that must say nothing on stderr."""
        found, out, err = self(*words)
        assert (found, err) == (code, "")
        return out

    def json(self, schema: str, *words: str | Path, code: int = 0) -> Any:
        """What the command prints with --json, valid by docs/schema/<schema>.json; stderr is empty unless it failed."""
        found, out, err = self(*words, "--json")
        assert found == code
        assert bool(err) == (schema == "error")
        content = json.loads(out, parse_constant=_no_constant)
        definition = json.loads((self._schemas / f"{schema}.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(definition).validate(content)
        return content

    def error(self, *words: str | Path) -> str:
        """The one line on stderr of a command that fails before it prints, the same that the JSON object carries."""
        code, out, err = self(*words)
        assert (code, out) == (2, "")
        (line,) = err.splitlines()
        if "--json" not in words:
            assert line == f"qinspect: {self.json('error', *words, code=2)['error']['message']}"
        return line

    def rows(self, *words: str | Path, code: int = 1) -> list[dict[str, str]]:
        """Rows of `diff ... --csv`."""
        reader = csv.DictReader(io.StringIO(self.text("diff", *words, "--csv", code=code), newline=""), strict=True)
        assert reader.fieldnames == DIFF_COLUMNS
        return list(reader)


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], source_root: Path) -> Cli:
    return Cli(capsys, source_root)


@pytest.fixture(scope="session")
def low(quamba: Quamba) -> Path:
    return quamba(LOW)


@pytest.fixture(scope="session")
def high(quamba: Quamba) -> Path:
    return quamba(HIGH)


def every_fixture() -> list[str]:
    return sorted(p.name for p in (Path(__file__).parent / "data" / "quamba").iterdir())


def in_shell(command: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A bash line in which $QINSPECT stands for the installed command."""
    qinspect = str(Path(sys.executable).with_name("qinspect"))
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd, env={**os.environ, "QINSPECT": qinspect, **(env or {})},
        capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=120, check=False,
    )  # fmt: skip


# --- the examples ---

EXAMPLES = re.findall(
    r"^```\n\$ qinspect ([^\n]*); echo \"exit code \$\?\"\n(.*?)exit code (\d)\n```",
    (Path(__file__).parent.parent / "docs" / "cli.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


def test_the_page_has_examples_of_every_exit_code() -> None:
    assert {code for _, _, code in EXAMPLES} == {"0", "1", "2"}


@pytest.mark.parametrize(("words", "printed", "code"), EXAMPLES)
def test_examples_print_what_the_page_says(
    words: str, printed: str, code: str, cli: Cli, source_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(source_root / "tests" / "data" / "quamba" / LOW, tmp_path / LOW)
    shutil.copytree(source_root / "tests" / "data" / "quamba" / HIGH, tmp_path / HIGH)
    shutil.copy(source_root / "tests" / "data" / "logs" / "se_mamba1_w8a8_pa1_again.log", tmp_path)
    monkeypatch.chdir(tmp_path)
    found, out, err = cli(*shlex.split(words))
    assert (out + err, found) == (printed, int(code))


# --- the schemas themselves ---


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_strict_and_describe_every_field(name: str, source_root: Path) -> None:
    schema = json.loads((source_root / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == schema["properties"]["schema"]["const"] == f"qinspect.{name}/1"
    assert schema["title"]
    objects = [s for s in _subschemas(schema) if "properties" in s]
    assert objects
    for s in objects:
        assert s["additionalProperties"] is False
        assert set(s["required"]) <= set(s["properties"])
        for field, definition in s["properties"].items():
            assert definition.get("description") or "$ref" in definition, field


def _subschemas(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [s for item in node for s in _subschemas(item)]
    if not isinstance(node, dict):
        return []
    return [node, *(s for item in node.values() for s in _subschemas(item))]


def test_schemas_agree_on_what_they_share(source_root: Path) -> None:
    seen: dict[str, Any] = {}
    for path in sorted((source_root / "docs" / "schema").glob("*.json")):
        for name, definition in json.loads(path.read_text(encoding="utf-8")).get("$defs", {}).items():
            assert seen.setdefault(name, definition) == definition, (path.name, name)
    assert "model" in seen


def test_schemas_list_every_status_and_every_error(source_root: Path) -> None:
    def load(name: str) -> Any:
        return json.loads((source_root / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8"))

    assert load("diff")["$defs"]["status"]["enum"] == [str(s) for s in Status]
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, QinspectError)]
    named = load("error")["properties"]["error"]["properties"]["type"]["enum"]
    assert set(named) == {c.__name__ for c in classes} - {"QinspectError"}


# --- one checkpoint ---


@pytest.mark.parametrize("name", every_fixture())
def test_every_command_prints_what_its_schema_says(name: str, cli: Cli, quamba: Quamba, low: Path) -> None:
    folder = quamba(name)
    tree = cli.json("tree", "tree", folder)
    found = cli.json("scales", "scales", folder)
    assert tree["model"] == found["model"]
    assert found["model"]["family"] == "quamba"
    keys = {s["key"] for s in found["scales"]} | {c["key"] for s in found["scales"] for c in s["copies"]}
    for key in sorted(keys)[::7]:
        assert cli.json("show", "show", folder, key)["stored"]["key"] == key
    assert cli.json("diff", "diff", folder, folder, "--only", "all")["same"] is True
    difference = cli.json("diff", "diff", low, folder, "--only", "all", "--exit-zero")
    assert difference["same"] is (name == LOW)


def test_one_path_reports_its_scales(cli: Cli, low: Path) -> None:
    assert cli.text(low) == cli.text("scales", low)
    assert cli.json("scales", low) == cli.json("scales", "scales", low)
    out = cli.text(low)
    assert str(low) in out
    assert "Quamba W8A8" in out
    for point in PERCENTILE_POINTS:
        assert point in out


def test_tree_folds_repeated_layers_unless_asked(cli: Cli, low: Path) -> None:
    folded, expanded = cli.text("tree", low), cli.text("tree", low, "--expand")
    assert "0-1 (2 alike)" in folded
    assert "alike" not in expanded
    assert expanded.count("selective_scan ") == 2 * folded.count("selective_scan ") == 2


def test_tree_depth_means_the_same_in_text_and_json(cli: Cli, low: Path) -> None:
    out = cli.text("tree", low, "--depth", "1")
    assert re.findall(r"^(\w+) .* parameters", out, re.MULTILINE) == ["backbone", "lm_head"]
    children = cli.json("tree", "tree", low, "--depth", "1")["tree"]["children"]
    assert [c["name"] for c in children] == ["backbone", "lm_head"]
    assert not any("children" in c for c in children)
    assert "--depth must be at least 1" in cli.error("tree", low, "--depth", "0")


def test_show_takes_a_key_or_a_role(cli: Cli, low: Path) -> None:
    key = "backbone.layers.0.mixer.conv1d.output_scale"
    by_role = cli.json("show", "show", low, "layers.0.mixer.x_proj:input")
    assert by_role == cli.json("show", "show", low, key)
    assert by_role["stored"]["value"] == pytest.approx(0.0830309, rel=1e-5)
    assert by_role["scale"]["alpha_sensitive"] is True
    out = cli.text("show", low, key)
    assert "layers.0.mixer.x_proj:input" in out
    assert "0.0830309" in out


def test_show_counts_codes(cli: Cli, low: Path) -> None:
    found = cli.json("show", "show", low, "backbone.layers.0.mixer.in_proj.weight")
    weight = found["weight"]
    assert sum(c["count"] for c in weight["codes"]) == weight["shape"][0] * weight["shape"][1]
    assert len(weight["codes"]) == 1 << weight["bits"]
    assert weight["dequantized"]["elements"] == found["statistics"]["elements"]
    assert "256 levels" in cli.text("show", low, "backbone.layers.0.mixer.in_proj.weight")


def test_what_is_not_finite_is_null_in_json(cli: Cli, plain: Plain) -> None:
    odd = np.array([np.nan, np.inf, 2], np.float32)
    path = plain("odd.safetensors", {"a.scales": odd, "c": np.ones(2, np.complex64)})
    shown = cli.json("show", "show", path, "a.scales")
    assert shown["stored"]["values"] == [None, None, 2.0]
    assert shown["statistics"]["maximum"] == 2.0
    (scale,) = cli.json("scales", "scales", path)["scales"]
    assert (scale["minimum"], scale["maximum"], scale["not_finite"]) == (2.0, 2.0, 2)
    assert cli.json("show", "show", path, "c")["stored"]["values"] == ["(1+0j)", "(1+0j)"]
    assert "[1+0j 1+0j]" in cli.text("show", path, "c")
    assert "2, 2 not finite" in cli.text("scales", path)


def test_dequantize_says_what_it_wrote(cli: Cli, low: Path, tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    found = cli.json("dequantize", "dequantize", low, out)
    assert (found["out"], found["tensors"]) == (str(out), 18)
    assert found["bytes"] == sum(w.nbytes for w in load_file(out).values())
    assert str(out) in cli.text("dequantize", low, out, "--keys", "*in_proj*")
    assert len(load_file(out)) == 2
    assert "no quantized weight matches" in cli.error("dequantize", low, out, "--keys", "nothing")
    assert len(load_file(out)) == 2
    assert "a name ending in .safetensors" in cli.error("dequantize", low, tmp_path / "weights.bin")
    assert "No such file or directory" in cli.error("dequantize", low, tmp_path / "none" / "w.safetensors")
    assert "name too long" in cli.error("dequantize", low, tmp_path / ("w" * 300 + ".safetensors"))


# --- two checkpoints ---


def test_diff_finds_the_percentile_points(cli: Cli, low: Path, high: Path) -> None:
    found = cli.json("diff", "diff", low, high, code=1)
    assert sorted(p["role"] for p in found["scales"]) == sorted(PERCENTILE_POINTS)
    assert found["verdict"]["rule"] == "alpha-signature"
    for pair in found["scales"]:
        d = pair["difference"]
        assert d["largest_percent"] == pytest.approx(100 * (d["b"] - d["a"]) / abs(d["a"]))
        assert d["log2_ratio"] == pytest.approx(np.log2(d["b"] / d["a"]))
        assert (pair["status"], d["direction"], d["base"]) == ("different", "up", "A")
    assert found["tensors"] == []
    assert found["summary"]["different"] == len(PERCENTILE_POINTS)
    out = cli.text("diff", low, high, code=1)
    for expected in (*PERCENTILE_POINTS, "alpha-signature", "+139.67 %", "VERDICT"):
        assert expected in out


def test_two_paths_print_the_same_comparison_and_exit_zero(cli: Cli, low: Path, high: Path) -> None:
    assert cli.text(low, high) == cli.text("diff", low, high, code=1)
    assert cli.json("diff", low, high) == cli.json("diff", "diff", low, high, code=1)
    assert cli.text("diff", low, high, "--exit-zero") == cli.text(low, high)


def test_exit_code_counts_only_what_was_read(cli: Cli, plain: Plain) -> None:
    a = plain("a.safetensors", {"w": [1.0, 2.0], "w.scales": [1.0]})
    b = plain("b.safetensors", {"w": [1.0, 3.0], "w.scales": [1.0]})
    read = cli.json("diff", "diff", a, b, code=1)
    assert read["level"] == "headers, scales, codes and other tensors"
    assert [(t["role"], t["status"], t["changed"]) for t in read["tensors"]] == [("w", "different", 1)]
    unread = cli.json("diff", "diff", a, b, "--no-codes", "--only", "all")
    assert (unread["same"], unread["level"]) == (True, "headers and scales")
    assert [t["status"] for t in unread["tensors"]] == ["not compared"]
    assert "not compared" in cli.text("diff", a, b, "--no-codes")
    assert cli.json("diff", "diff", a, b, "--codes", code=1)["weights"]["compared"] is True
    assert cli.rows(a, b) == []


def test_only_all_prints_every_scale_and_tensor(cli: Cli, low: Path, high: Path) -> None:
    every = cli.json("diff", "diff", low, high, "--only", "all", code=1)
    assert len(every["scales"]) == every["summary"]["pairs"] == 32
    assert [p["order"] for p in every["scales"]] == list(range(32))
    assert {t["status"] for t in every["tensors"]} == {"identical"}
    assert [r["scale"] for r in cli.rows(low, high, "--only", "all")] == [p["role"] for p in every["scales"]]


def test_sort_diff_puts_the_largest_first(cli: Cli, low: Path, high: Path) -> None:
    rows = cli.rows(low, high, "--sort", "diff")
    percentages = [float(row["B vs A"].removesuffix(" %")) for row in rows]
    assert percentages == sorted(percentages, reverse=True)
    assert sorted(r["scale"] for r in rows) == sorted(PERCENTILE_POINTS)
    assert rows != cli.rows(low, high)
    everything = cli.rows(low, high, "--sort", "diff", "--only", "all")
    assert everything[: len(rows)] == rows
    assert {r["status"] for r in everything[len(rows) :]} == {"identical"}


def test_sort_diff_puts_what_has_no_percentage_before_what_has_one(cli: Cli, plain: Plain) -> None:
    a = plain(
        "a.safetensors", {"a.scales": [1.0], "b.scales": [1.0], "c.scales": [0.0], "d.scales": [1.0], "e.scales": 1.0}
    )
    b = plain("b.safetensors", {"a.scales": [1.0], "b.scales": [1.5], "c.scales": [2.0], "d.scales": [9.0]})
    rows = cli.rows(a, b, "--sort", "diff", "--only", "all")
    assert [r["scale"] for r in rows] == ["c.scales", "e.scales", "d.scales", "b.scales", "a.scales"]
    assert rows[0]["B vs A"] == "n/a"


def test_csv_reads_back(cli: Cli, plain: Plain) -> None:
    a, b = plain("a.safetensors", AWKWARD), plain("b.safetensors", AWKWARD_CHANGED)
    rows = {r["scale"]: r for r in cli.rows(a, b)}
    assert rows.keys() == {"a|b\\|c.scales", "é.scales", "'=1+1.scales", "x\\x0a\\x1b[31m.scales"}
    assert rows["é.scales"]["B vs A"] == "-50.00 %"
    assert rows["'=1+1.scales"]["changed"] == "1 of 2"
    assert rows["'=1+1.scales"]["B vs A"] == "n/a"
    assert not rows["'=1+1.scales"]["note"].startswith(";")


@pytest.mark.parametrize("only", ["changed", "all"])
def test_markdown_has_a_cell_for_every_column(only: str, cli: Cli, plain: Plain) -> None:
    a, b = plain("a.safetensors", AWKWARD), plain("b.safetensors", AWKWARD_CHANGED)
    lines = cli.text("diff", a, b, "--markdown", "--only", only, code=1).splitlines()
    assert len(lines) == 2 + len(AWKWARD)
    for line in lines:
        start, *cells, end = re.split(r"(?<!\\)\|", line)
        assert (start, len(cells), end) == ("", len(DIFF_COLUMNS), "")


@pytest.mark.parametrize(
    "words",
    [
        "diff A B",
        "diff A B --csv",
        "diff A B --markdown",
        "diff A B --json",
        "tree A",
        "tree A --json",
        "A",
        "A --json",
    ],
)
def test_nothing_of_a_name_reaches_the_terminal_raw(words: str, cli: Cli, plain: Plain) -> None:
    places = {"A": plain("a.safetensors", AWKWARD), "B": plain("b.safetensors", AWKWARD_CHANGED)}
    code, out, _ = cli(*(places.get(w, w) for w in words.split()))
    assert code < 2
    assert "[31m" in out
    assert "\x1b" not in out


def test_a_terminal_gets_the_same_rows(cli: Cli, low: Path, high: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setenv("COLUMNS", "200")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", shown)
        assert main(["diff", str(low), str(high)]) == 1
    for expected in (*PERCENTILE_POINTS, "alpha-signature", "+139.67 %"):
        assert expected in shown.getvalue()


# --- errors ---


def test_errors_are_one_line_and_say_what_to_do(cli: Cli, low: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none"
    assert cli.error("tree", missing) == f"qinspect: {missing}: no such file or folder"
    assert "no such file or folder" in cli.error("diff", low, missing)
    assert "holds no checkpoint" in cli.error("scales", tmp_path)
    assert "Unknown option: --bogus" in cli.error("tree", low, "--bogus")
    assert "Did you mean --depth?" in cli.error("tree", low, "--dept", "3")
    assert '"all", "changed"' in cli.error("diff", low, low, "--only", "nothing")
    assert "--depth" in cli.error("tree", low, "--depth", "many")
    assert "B is missing" in cli.error("diff", low)
    assert "A is missing" in cli.error()
    assert ".." not in cli.error("diff", low, low, "--bogus").removeprefix("qinspect: ")


def test_an_unknown_key_comes_with_the_nearest(cli: Cli, low: Path) -> None:
    line = cli.error("show", low, "backbone.layers.0.mixer.in_proj.weigth")
    assert "backbone.layers.0.mixer.in_proj.weight" in line
    assert "qinspect tree" in line


@pytest.mark.parametrize("two", [("--csv", "--json"), ("--markdown", "--json"), ("--csv", "--markdown")])
def test_one_form_of_output_at_a_time(two: tuple[str, str], cli: Cli, low: Path, high: Path) -> None:
    if "--json" in two:
        found = cli.json("error", "diff", low, high, *(w for w in two if w != "--json"), code=2)["error"]
        assert (found["type"], found["file"]) == ("UsageError", None)
    assert cli("diff", low, high, *two)[0] == 2
    assert "exclude each other" in cli("diff", low, high, *two)[2]


def test_a_name_cannot_break_the_line_of_an_error(cli: Cli, low: Path) -> None:
    line = cli.error("show", low, "a\nb\x1b[31m")
    assert "a\\x0ab\\x1b[31m" in line


def test_broken_b_still_shows_a(cli: Cli, low: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"\xff" * 100)
    code, out, err = cli(low, broken)
    assert code == 2
    assert out.startswith(cli.text("scales", low).splitlines()[0])
    assert "layers.1.mixer.ssm_state_act:input" in out
    (line,) = err.splitlines()
    assert str(broken) in line
    assert line.removeprefix("qinspect: ") in out.splitlines()[-1]
    assert cli.json("error", low, broken, code=2)["error"]["file"] == str(broken)


def test_broken_a_shows_nothing(cli: Cli, low: Path, tmp_path: Path) -> None:
    assert "no such file or folder" in cli.error(tmp_path / "none", low)


def test_ctrl_c_exits_130(cli: Cli, low: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(qinspect.inspector.checkpoint, "open_checkpoint", interrupt)
    assert cli("tree", low) == (130, "", "qinspect: interrupted\n")


def test_lack_of_memory_is_an_error_like_others(cli: Cli, low: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(qinspect.inspector.checkpoint, "open_checkpoint", exhaust)
    assert "not enough memory" in cli.error("tree", low)


# --- words ---


def test_a_first_word_that_is_a_command_is_the_command(
    cli: Cli, plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain("model.safetensors", {"a.scales": [1.0]}).rename(tmp_path / "diff")
    monkeypatch.chdir(tmp_path)
    assert "A is missing" in cli.error("diff")
    assert "no such file" in cli.error("diff", "./diff", "other")
    assert "a.scales" in cli.text("./diff")
    assert "scales  " in cli.text("tree", "diff")
    assert cli.json("diff", "./diff", "diff")["same"] is True


def test_version_and_help(cli: Cli) -> None:
    assert cli.text("--version") == f"{version('qinspect')}\n"
    for words in (("tree",), ("run",), ("runs",), ("runs", "show")):
        assert cli.text(*words, "--version") == f"{version('qinspect')}\n"
    out = cli.text("--help")
    for command in ("tree", "scales", "diff", "show", "dequantize", "run", "runs", "--version"):
        assert command in out
    assert cli.text("-h") == out
    assert "*in_proj*" in cli.text("dequantize", "--help")
    assert "--exit-zero" in cli.text("diff", "--help")


# --- the process ---


def test_the_module_is_the_command(low: Path, high: Path, tmp_path: Path) -> None:
    words = f"diff {low} {high} --json"
    command = in_shell(f"$QINSPECT {words}", tmp_path)
    module = in_shell(f"'{sys.executable}' -m qinspect.inspector {words}", tmp_path)
    assert (command.returncode, command.stderr) == (1, "")
    assert (module.returncode, module.stdout, module.stderr) == (1, command.stdout, "")


@pytest.mark.parametrize("words", ["tree . --expand", "tree . --expand --json", "scales .", ". .", "diff . . --csv"])
def test_a_reader_that_leaves_early_is_no_error(words: str, low: Path) -> None:
    found = in_shell(f"set -o pipefail; $QINSPECT {words} | head -c 1", low)
    assert (found.returncode, len(found.stdout), found.stderr) == (0, 1, "")


def test_an_error_exits_2_even_if_nobody_reads_it(tmp_path: Path) -> None:
    found = in_shell("$QINSPECT none --json | true; exit ${PIPESTATUS[0]}", tmp_path)
    assert found.returncode == 2
    assert found.stderr == "qinspect: none: no such file or folder\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_full_disk_is_one_line(form: str, low: Path) -> None:
    found = in_shell(f"$QINSPECT tree . {form} > /dev/full", low)
    assert found.returncode == 2
    assert found.stderr == "qinspect: the system refused to read or write: No space left on device\n"


@pytest.mark.parametrize(("words", "code"), [("tree .", 0), ("tree none", 2), ("tree none --json", 2)])
def test_closed_streams_are_dropped(words: str, code: int, low: Path) -> None:
    for redirection in (">&-", "2>&-", ">&- 2>&-"):
        found = in_shell(f"$QINSPECT {words} {redirection}", low)
        assert found.returncode == code, redirection
        assert not found.stdout or redirection == "2>&-"
        assert found.stderr == ("qinspect: none: no such file or folder\n" if code and redirection == ">&-" else "")


@pytest.mark.parametrize("form", ["", "--csv", "--markdown", "--json", "--help"])
def test_an_encoding_without_the_letters_is_no_error(form: str, plain: Plain, tmp_path: Path) -> None:
    plain("a.safetensors", AWKWARD)
    plain("b.safetensors", AWKWARD_CHANGED)
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    found = in_shell(f"$QINSPECT diff a.safetensors b.safetensors --exit-zero {form}", tmp_path, ascii_only)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.isascii()
    if form != "--help":
        assert "\\xe9.scales" in found.stdout or "\\u00e9.scales" in found.stdout
