"""`import qinspect`: what it costs, what it offers, and that its page is true."""

from __future__ import annotations

import ast
import doctest
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from quamba_files import DATA, expected_hashes, folder_of

import qinspect

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
W4A8, LOW, HIGH = "m1_w4a8", "m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with the models that docs/api.md speaks of."""
    for name, fixture in (("w4a8", W4A8), ("alpha_low", LOW), ("alpha_high", HIGH)):
        shutil.copytree(folder_of(fixture), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported_after(statement: str, *arguments: str | Path) -> set[str]:
    code = f"import sys\n{statement}\nsys.stdout.write(' '.join(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stderr
    return set(found.stdout.split())


def test_importing_it_imports_nothing_else() -> None:
    before = imported_after("import importlib, typing")
    assert {m for m in imported_after("import qinspect") - before if m.startswith("qinspect")} == {"qinspect"}
    assert imported_after("import qinspect").isdisjoint({"numpy", "torch", "textual", "rich", "qinspect.inspector"})


def test_opening_reads_headers_without_numpy_and_nothing_here_needs_torch() -> None:
    opened = "import qinspect; m = qinspect.open(sys.argv[1]); assert len(m) == len(m.keys()) == 43"
    assert imported_after(opened, folder_of(W4A8)).isdisjoint({"numpy", "torch", "textual"})
    everything = "import qinspect\nfor name in qinspect.__all__: getattr(qinspect, name)\n"
    compared = "print(qinspect.report(qinspect.compare(*sys.argv[1:])), file=sys.stderr)"
    found = imported_after(everything + compared, folder_of(LOW), folder_of(HIGH))
    assert "numpy" in found
    assert found.isdisjoint({"torch", "textual", "transformers", "cyclopts"})


def test_what_checkers_see_is_what_there_is() -> None:
    """The imports for type checkers name the same objects as the table for the interpreter."""
    assert qinspect.__file__ is not None
    tree = ast.parse(Path(qinspect.__file__).read_text(encoding="utf-8"))
    checked = next(n for n in tree.body if isinstance(n, ast.If))
    declared: dict[str, object] = {}
    for statement in checked.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module
        module = __import__(statement.module, fromlist=["*"])
        declared |= {alias.asname or alias.name: getattr(module, alias.name) for alias in statement.names}
    assert sorted(declared) == sorted(qinspect.__all__)
    assert [name for name, found in declared.items() if getattr(qinspect, name) != found] == []
    assert set(qinspect.__all__) <= set(dir(qinspect))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'qinspect' has no attribute 'opne'"):
        _ = qinspect.opne  # type: ignore[attr-defined]


def test_everything_public_is_documented() -> None:
    objects = [getattr(qinspect, name) for name in qinspect.__all__ if name != "__version__"]
    methods = [m for name, m in vars(qinspect.Model).items() if not name.startswith("_")]
    assert [o for o in (*objects, *methods) if not (o.__doc__ or "").strip()] == []


def test_the_page_names_what_there_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    hidden = {
        "__version__",
        "Comparison",
        "Inspection",
        "Kind",
        "Finding",
        "Calibration",
        "Rule",
        "quamba_absmax",
        "Model",
    }
    assert [name for name in qinspect.__all__ if name not in text and name not in hidden] == []


@pytest.mark.usefixtures("models")
def test_the_examples_of_the_page() -> None:
    blocks = PAGE.read_text(encoding="utf-8").split("```python\n")[1:]
    examples = "\n".join(block.split("```")[0] for block in blocks)
    assert examples.count(">>>") > 20
    printed: list[str] = []
    test = doctest.DocTestParser().get_doctest(examples, {}, PAGE.name, str(PAGE), 0)
    result = doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
    assert result.failed == 0, "".join(printed)
    assert result.attempted == examples.count(">>>")


def test_entries_are_those_that_torch_loads() -> None:
    path = folder_of(W4A8)
    truth = torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True)
    with qinspect.open(path) as m:
        assert list(m) == list(m.keys()) == list(truth)
        for key, stored in truth.items():
            entry = m[key]
            if isinstance(entry, qinspect.Tensor):
                assert entry.read().tobytes() == stored.contiguous().numpy().tobytes()
            else:
                assert entry.value == stored
        assert {t.name for t in m.tensors()} == {k for k, v in truth.items() if isinstance(v, torch.Tensor)}


def test_scales_are_those_that_the_observers_returned() -> None:
    m = qinspect.open(folder_of(LOW))
    layers = json.loads((DATA / LOW / "expected_scales.json").read_text())["layers"]
    named = {f"layers.{i}.mixer.{point}": value for i, layer in enumerate(layers) for point, value in layer.items()}
    stored = {s.role: s for s in m.scales() if s.kind == qinspect.Kind.ACTIVATION}
    both = sorted(named.keys() & stored.keys())
    assert len(both) >= 14
    for role in both:
        of_role, of_key, of_record = m.values(role), m.values(stored[role].key), m.values(stored[role])
        assert float(of_role) == float(of_key) == float(of_record) == pytest.approx(named[role], rel=1e-6)


def test_weights_are_those_before_they_were_packed() -> None:
    m = qinspect.open(folder_of(W4A8))
    expected = expected_hashes(W4A8)
    checked = 0
    for w in m.weights():
        if w.name in expected:
            by_role, by_key = m.dequantize(w.role), m.dequantize(w.codes_key)
            assert by_role.dtype == np.float32
            assert list(by_role.shape) == expected[w.name]["shape"]
            for x in (by_role, by_key, m.dequantize(w)):
                assert (
                    hashlib.sha256((np.ascontiguousarray(x) + 0.0).tobytes()).hexdigest() == expected[w.name]["sha256"]
                )
            checked += 1
    assert checked > 3


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 1), (63, 65), (70, 100), (1023, 5000), (7, 7), (-2, None), (9, 3)]
)
def test_any_rows_can_be_had(start: int, stop: int | None) -> None:
    m = qinspect.open(folder_of(W4A8))
    (w,) = (w for w in m.weights() if w.role == "layers.0.mixer.in_proj.weight")
    assert w.row_step > 1  # or the test would show nothing
    assert np.array_equal(m.dequantize(w, start, stop), m.dequantize(w)[start:stop])
    assert np.array_equal(m.codes(w, start, stop), m.codes(w)[start:stop])


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, of its quantized tensors
def test_a_scalar_and_a_vector_are_weights_too(tmp_path: Path) -> None:
    stored = {
        f"w{x.ndim}": torch.quantize_per_tensor(x, 0.5, 3, torch.qint8) for x in (torch.tensor(2.0), torch.arange(5.0))
    }
    torch.save(stored, tmp_path / "q.pt")
    m = qinspect.open(tmp_path / "q.pt")
    for name, truth in stored.items():
        (w,) = (w for w in m.weights() if name in w.role)
        assert np.array_equal(m.dequantize(w), truth.dequantize().numpy().reshape(w.shape))
        assert np.array_equal(m.codes(w), truth.int_repr().numpy().reshape(w.shape))


def test_a_table_is_of_what_is_stored_or_dequantized() -> None:
    m = qinspect.open(folder_of(W4A8))
    x = np.abs(m.dequantize("layers.0.mixer.in_proj.weight"))
    t = m.table("layers.0.mixer.in_proj.weight")
    assert (t.n, t.absmax) == (x.size, x.max())
    alphas = [0.5, 0.99, 0.9999, 1.0]
    expected = torch.quantile(torch.from_numpy(x).reshape(-1), torch.tensor(alphas))
    assert np.array_equal(t.quantile(alphas), expected.numpy())
    norm = m["backbone.norm_f.weight"]
    assert isinstance(norm, qinspect.Tensor)
    for name in ("backbone.norm_f.weight", m.format.role_of("backbone.norm_f.weight")):
        assert np.array_equal(m.table(name).values(), np.sort(np.abs(norm.read()).astype(np.float32)))


def test_what_cannot_be_had_says_so() -> None:
    m = qinspect.open(folder_of(W4A8))
    scale = m.scales()[0]
    with pytest.raises(qinspect.UnknownKey, match=r"nearest role layers\.0\.mixer\.in_proj:input"):
        m.values("layers.0.mixer.in_prj:input")
    with pytest.raises(qinspect.UnknownKey, match="no quantized weight of this name; found an entry of another kind"):
        m.dequantize("backbone.embedding.weight")
    with pytest.raises(qinspect.UnknownKey, match="no scale of this name"):
        m.values("backbone.embedding.weight")
    with pytest.raises(qinspect.CannotRead, match="holds no distribution of values"):
        m.table(scale.key)
    for ask in (m.table, m.codes, m.inspect, m.__getitem__):
        with pytest.raises(qinspect.UnknownKey, match="43 others"):
            ask("nothing.of.the.kind")
    with pytest.raises(qinspect.CannotOpen, match="no such file or folder"):
        qinspect.open("/nowhere/at/all")


@pytest.mark.usefixtures("models")
def test_a_comparison_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    from qinspect.inspector.cli import main

    c = qinspect.compare(Path("alpha_low"), qinspect.open("alpha_high"))
    main(["alpha_low", "alpha_high"])
    assert capsys.readouterr().out == qinspect.report(c) + "\n"
    main(["diff", "alpha_low", "alpha_high", "--only", "all", "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(qinspect.as_dict(c)))


def test_a_comparison_can_be_watched_and_stopped() -> None:
    seen: list[tuple[str, int, int]] = []
    c = qinspect.compare(folder_of(LOW), folder_of(LOW), codes=True, progress=lambda *at: seen.append(at))
    assert c.same
    assert c.weights_compared
    assert {phase for phase, _, _ in seen} >= {"scales", "weights"}

    def stop(phase: str, done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        qinspect.compare(folder_of(LOW), folder_of(HIGH), progress=stop)
