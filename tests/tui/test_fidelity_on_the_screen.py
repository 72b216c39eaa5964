"""How far B's values are from A's, on the map, in the table and in the detail: when it is asked for, in a thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compressed_files import LINEAR, int8, of_module, settings, written
from hybrid_files import exported, original
from pilots import ALPHA_A, ALPHA_B, LARGE, MIDDLE, SMALL, Driver, open_app
from safetensors.numpy import save_file
from textual.message import Message

from qinspect.inspector.arguments import open_model
from qinspect.inspector.errors import CannotRead
from qinspect.inspector.fidelity import kept
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.verdict import answer
from qinspect.inspector.progress import Progress
from qinspect.tui.compare import measuring as screen_measuring
from qinspect.tui.compare.measuring import State
from qinspect.tui.compare.session import Session

SIZES = [SMALL, MIDDLE, LARGE]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return original(tmp_path / "a"), exported(tmp_path / "b")


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Path, Path]:
    """Two models of bfloat16's kind: a weight with much error, one with little, an equal one, one that is another's."""
    rng = np.random.default_rng(0)
    w = {f"layers.{i}.q.weight": rng.standard_normal((32, 32)).astype(np.float32) for i in range(4)}
    b = {k: v + (0.1, 0.001, 0.0, 0.0)[i] * rng.standard_normal(v.shape) for i, (k, v) in enumerate(w.items())}
    b["layers.3.q.weight"] = rng.standard_normal((32, 32))
    for name, tensors in (("a", w), ("b", b)):
        (tmp_path / name).mkdir()
        save_file({k: v.astype(np.float32) for k, v in tensors.items()}, tmp_path / name / "model.safetensors")
    return tmp_path / "a", tmp_path / "b"


async def show_sqnr(d: Driver) -> None:
    """Press the key of measures until the map shows it."""
    for _ in range(10):
        await d.press("m")
        if d.screen.overview.map.measure.key == "sqnr":
            return
    raise AssertionError("no such measure")


def numbers(d: Driver, start: str) -> list[float]:
    """Of a line of the map."""
    return [float(x) for x in re.findall(r"\d+\.\d+", line(d, start))]


def line(d: Driver, start: str) -> str:
    """Of the map."""
    return next(r for r in d.rows() if r.startswith(f" {start}  "))


@pytest.mark.parametrize("size", SIZES)
async def test_the_map_shows_what_is_measured(pair: tuple[Path, Path], size: tuple[int, int]) -> None:
    found = measure_fidelity(open_model(str(pair[0])), open_model(str(pair[1])))
    async with open_app(*pair, size=size, overview=True) as d:
        await show_sqnr(d)
        shown = {x for start in ("0 Mamba", "1 MoE") for x in numbers(d, start)}
        of_layers = {round(w.sums.sqnr, 2) for w in found.weights if w.role.startswith(("layers.0.", "layers.1."))}
        assert shown
        assert shown <= of_layers
        await d.press("M")
        worst = found.worst_first[0]
        assert f"SQNR {worst.sums.sqnr:.2f} dB" in d.painted
        assert d.screen.hints.status == f"worst: SQNR {worst.sums.sqnr:.2f} dB"


async def test_a_small_pair_is_measured_by_itself(pair: tuple[Path, Path]) -> None:
    """An original and its quantized copy: the answer, the tree and the table have it without a key."""
    found = measure_fidelity(open_model(str(pair[0])), open_model(str(pair[1])))
    worst = found.worst_first[0]
    async with open_app(*pair, overview=True) as d:
        assert d.screen.measuring.state is State.DONE
        assert not d.screen.overview.map.by_fidelity
        assert d.screen.headline.answer == answer(found)
        assert "B IS A IN NVFP4 W4A4 and FP8 W8A8" in d.painted
        await d.press("1")
        tree = d.screen.tree_pane.nodes
        lines = {r.node.path: tree.line(i, 60)[-1] for i, r in enumerate(tree.rows)}
        assert lines[""] == (f"{worst.sums.sqnr:.1f} dB", "name")
        of_layer = min(w.sums.sqnr for w in found.weights if w.role.startswith("layers.0.") and not w.sums.exact)
        text, kind = next(piece for path, piece in lines.items() if path.endswith("layers.0"))
        assert text == f"{of_layer:.1f} dB"
        assert (kind == "name") is worst.role.startswith("layers.0.")
        assert all("dB" not in text for path, (text, _) in lines.items() if path.endswith("layers.1"))  # unrelated
        await d.press("t")
        assert "fidelity:" in d.detail


async def test_a_large_pair_is_measured_when_it_is_asked_for(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "kept_or_measured", None)
    monkeypatch.setattr(screen_measuring, "UNASKED_BYTES", 0)
    async with open_app(*pair, overview=True) as d:
        await d.press("M", "enter", "d", "w", "0")
        assert d.screen.measuring.state is State.UNASKED
        assert "SQNR" not in d.painted


async def test_equal_refused_and_worst_are_told_apart(plain: tuple[Path, Path]) -> None:
    async with open_app(*plain, overview=True) as d:
        await show_sqnr(d)
        (much,), (little,) = numbers(d, "0"), numbers(d, "1")
        assert much == pytest.approx(20, abs=0.5)
        assert little == pytest.approx(60, abs=0.5)
        assert [line(d, layer).split()[1:] for layer in "23"] == [["="], ["≁"]]
        await d.press("G")
        assert "unrelated: their cosine is" in d.painted
        await d.press("g", "n")
        assert d.screen.overview.map.cell_name.startswith("layer 1,")
        await d.press("n")
        assert d.screen.overview.map.cell_name.startswith("layer 0,")  # nothing else has a number
        await d.press("enter")
        assert d.screen.active == "tree"
        assert re.search(r"SQNR \d+\.\d\d dB +rel\. error \d+\.\d+ % +cosine 0\.99", d.detail)
        assert re.search(r"channels +\d+: [\d.]+ %", d.detail)


@pytest.mark.parametrize("size", SIZES)
async def test_the_table_has_a_column_and_an_order(
    pair: tuple[Path, Path], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measure_fidelity(open_model(str(pair[0])), open_model(str(pair[1])))
    by_role = {w.role: w.sums.sqnr for w in found.weights}
    monkeypatch.setattr(screen_measuring, "UNASKED_BYTES", 0)
    async with open_app(*pair, size=size, overview=True) as d:
        await d.press("2")
        assert "SQNR" not in d.painted
        await d.press("0")
        await show_sqnr(d)
        await d.press("2", "s")
        assert "by SQNR" in d.text_of("#table-title")
        known = [by_role[r.partition("#")[0]] for r in d.roles if r.partition("#")[0] in by_role]
        assert known == sorted(known)
        assert "SQNR*" in d.painted
        await d.press("G", "M")
        assert by_role[d.role] == min(known)
        assert f"SQNR {min(known):.2f} dB" in d.detail
        assert "channels" in d.detail


async def test_it_can_be_stopped_and_asked_for_again(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread measures, keys work; escape ends it, and what is known stays."""
    free = threading.Event()
    measure = screen_measuring._measure

    def held(session: Session, number: int, post: Callable[[Message], object], cancelled: Callable[[], bool]) -> object:
        while not free.is_set() and not cancelled():
            free.wait(0.01)
        return measure(session, number, post, cancelled)

    def state(d: Driver) -> State:
        return d.screen.measuring.state

    monkeypatch.setattr(screen_measuring, "_measure", held)
    monkeypatch.setattr(screen_measuring, "UNASKED_BYTES", 0)
    async with open_app(*pair, overview=True) as d:
        await d.send("m")
        assert state(d) is State.GOING
        at = d.screen.overview.map.cell_name
        await d.send("l")
        assert d.screen.overview.map.cell_name != at
        await d.send("escape")
        assert state(d) is State.STOPPED
        assert "stopped" in d.screen.hints.status
        await d.settle()
        assert state(d) is State.STOPPED
        assert not numbers(d, "0 Mamba")
        assert "?" in line(d, "0 Mamba")
        free.set()
        await show_sqnr(d)
        assert state(d) is State.DONE
        assert numbers(d, "0 Mamba")


async def test_leaving_ends_it(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    began = threading.Event()

    def endless(_a: object, _b: object, progress: Progress, *_: object, arrange: object) -> object:
        began.set()
        try:
            while True:
                progress("reading weights", 1, 2)
        finally:
            ended.set()

    monkeypatch.setattr(kept, "kept_or_measured", endless)
    monkeypatch.setattr(screen_measuring, "UNASKED_BYTES", 0)
    async with open_app(*pair, overview=True) as d:
        await d.send("m")
        await d.until(began.is_set, "the thread")
        await d.until(lambda: "reading weights 50 % of 2 B" in d.screen.hints.status, "progress")
    assert ended.wait(60)


@pytest.mark.parametrize("error", [CannotRead("the disk is gone"), ZeroDivisionError()])
async def test_what_goes_wrong_is_said(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object, arrange: object) -> object:
        raise error

    monkeypatch.setattr(kept, "kept_or_measured", broken)
    async with open_app(*pair, overview=True) as d:
        await d.press("m")
        wanted = "not measured: the disk is gone" if isinstance(error, CannotRead) else "a bug in the program"
        assert wanted in d.screen.hints.status
        await d.press("l")
        assert d.screen.overview.map.cell_name


async def test_opening_anew_measures_again_what_is_shown(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen_measuring, "UNASKED_BYTES", 0)
    async with open_app(*pair, overview=True) as d:
        await show_sqnr(d)
        assert numbers(d, "0 Mamba")
        before = d.screen.measuring.found
        await d.press("ctrl+r")
        assert d.screen.measuring.found is not before
        assert d.screen.measuring.state is State.DONE  # the map still shows it
        assert numbers(d, "0 Mamba")
        await d.press("m", "m", "m")
        assert not d.screen.overview.map.by_fidelity
        await d.press("ctrl+r")
        assert (d.screen.measuring.state, bool(d.screen.measuring.found)) == (State.UNASKED, False)


async def test_of_one_model_there_is_none() -> None:
    async with open_app(ALPHA_A, overview=True) as d:
        await d.press("m", "m")
        assert d.screen.measuring.state is State.UNASKED


async def test_models_with_scales_of_one_name_have_it_too() -> None:
    async with open_app(ALPHA_A, ALPHA_B, overview=True) as d:
        await show_sqnr(d)
        assert "=" in line(d, "0")
        assert "every value of" in d.screen.hints.status


# --- the view of one weight ---


@pytest.fixture
def rounded(tmp_path: Path) -> tuple[Path, Path]:
    """A matrix, and its int8 copy by channel: rounded, but for one code of a hundred that is one too high."""
    made = int8(shape=(40, 100))
    u = np.random.default_rng(2).uniform(-0.49, 0.49, (40, 100))
    u[:, 7] = -0.9
    made.tensors["weight"][:, 7] = 5
    original = (made.tensors["weight"] + u) * made.tensors["weight_scale"].astype(np.float64)
    original[3] = 0
    made.tensors["weight"][3] = 0
    written(tmp_path / "a", {f"{LINEAR}.weight": original.astype(np.float32)}, None)
    written(tmp_path / "b", of_module(made), settings(made))
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize("size", SIZES)
async def test_the_error_of_a_weight_in_steps_and_as_a_map(rounded: tuple[Path, Path], size: tuple[int, int]) -> None:
    async with open_app(*rounded, size=size, overview=True) as d:
        await d.press("percent_sign")
        assert (d.screen.active, d.screen.detail_pane.view) == ("table", "error")
        flat = " ".join(d.detail.split())
        assert "(A - B) / step 1.00 % beyond half a step" in flat
        assert "100 without a step" in flat
        assert ("rms of B - A, 40 x 100" in flat) is (size != SMALL)  # the ends of the colours are worth more
        assert re.search(r"1/4 .* 4 x (the )?mean 0\.\d+$", next(r for r in d.detail.splitlines() if "4 x" in r))
        assert "└" in d.detail
        await d.press("3", "l")
        flat = " ".join(d.detail.split())
        assert re.search(r"rows \d+\.\.\d+, columns \d+\.\.\d+ [\d.]+ x the mean, SQNR [\d.]+ dB", flat)
        before = flat
        await d.press("l")
        assert " ".join(d.detail.split()) != before
        await d.press("y", "z", "T")
        assert "beyond half a step" in d.detail
        assert "cannot be drawn" not in d.painted


async def test_the_error_of_a_weight_without_scales(plain: tuple[Path, Path]) -> None:
    """It is an entry of the tree alone."""
    async with open_app(*plain, overview=True) as d:
        await d.press("percent_sign")
        assert d.screen.active == "tree"
        assert "B is not quantized: it has no steps" in d.detail
        assert "rms of B - A, 32 x 32" in d.detail
        assert "3 error" in d.text_of("#detail-title")
        d.screen.tree_pane.nodes.reveal("layers.2.q.weight")
        await d.press("0", "1")
        d.screen.tree_pane.nodes.reveal("layers.2.q.weight")
        await d.settle()
        assert "every value is equal" in d.detail
        await d.press("percent_sign")
        assert "every value is equal" in d.detail
        await d.press("d")
        assert "32 x 32" not in d.detail
        assert "layers.2.q.weight" in d.detail


async def test_no_picture_is_drawn_of_cells_that_do_not_correspond(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    up, down = (rng.standard_normal(shape).astype(np.float32) for shape in ((96, 64), (64, 96)))
    order = rng.permutation(96)
    for name, at in (("a", np.arange(96)), ("b", order)):
        (tmp_path / name).mkdir()
        noise = 1 + 1e-3 * (name == "b") * rng.standard_normal((96, 64)).astype(np.float32)
        tensors = {"layers.0.mlp.up_proj.weight": up[at] * noise, "layers.0.mlp.down_proj.weight": down[:, at]}
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, tmp_path / name / "model.safetensors")
    async with open_app(tmp_path / "a", tmp_path / "b", overview=True) as d:
        await show_sqnr(d)
        await d.until(lambda: d.screen.measuring.state is State.DONE, "the measure")
        await d.press("1")
        d.screen.tree_pane.nodes.reveal("layers.0.mlp.up_proj.weight")
        await d.press("percent_sign")
        assert "there is no picture of it" in " ".join(d.detail.split())
        assert "other order" in " ".join(d.detail.split())


async def test_the_error_of_what_is_in_one_model_is_none(tmp_path: Path, rounded: tuple[Path, Path]) -> None:
    written(tmp_path / "c", {"other.weight": np.ones((4, 4), np.float32)}, None)
    async with open_app(tmp_path / "c", rounded[1], overview=True) as d:
        d.screen.table_pane.select(f"{LINEAR}.weight".removeprefix("model."))
        await d.press("2", "percent_sign")
        assert "only in B, not compared" in d.detail
    async with open_app(rounded[1]) as d:
        await d.press("2", "percent_sign")
        assert "One model: there is no error." in d.detail


@pytest.mark.parametrize("size", SIZES)
async def test_the_error_by_size_and_by_channel(rounded: tuple[Path, Path], size: tuple[int, int]) -> None:
    """The same key leads from chart to chart; from the map it shows the one that was seen last."""
    async with open_app(*rounded, size=size, overview=True) as d:
        await d.press("percent_sign", "percent_sign")
        assert "3 error 2/3" in d.text_of("#detail-title")
        flat = " ".join(d.detail.split())
        assert "B - A by |A|, root mean square" in flat
        assert "step / sqrt 12" in flat
        await d.press("0", "percent_sign")
        assert "3 error 2/3" in d.text_of("#detail-title")
        await d.press("percent_sign")
        flat = " ".join(d.detail.split())
        assert "SQNR of each output channel, dB" in flat
        assert re.search(r"worst \d+: [\d.]+ dB, [\d.]+ % of the error", flat)
        for chart in range(3):
            assert f"3 error {(chart + 2) % 3 + 1}/3" in d.text_of("#detail-title")
            assert len(d.detail.splitlines()) <= d.screen.detail_pane.text.size.height
            assert max(map(len, d.detail.splitlines())) <= d.screen.detail_pane.text.size.width
            await d.press("percent_sign")
        await d.press("z", "percent_sign")  # the table filled the screen: the chart comes as it was
        assert "3 error 3/3" in d.text_of("#detail-title")
        await d.press("percent_sign")
        assert "3 error 1/3" in d.text_of("#detail-title")


async def test_charts_of_the_error_without_colours(rounded: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_app(*rounded, overview=True) as d:
        await d.press("percent_sign", "percent_sign")
        assert "S: step / sqrt 12" in d.detail
        assert {"B", "S"} <= {c for row in d.detail.splitlines() for c in row.partition("│")[2]}


# --- methods ---


async def test_the_method_of_each_weight_is_a_column_and_its_evidence_a_field(rounded: tuple[Path, Path]) -> None:
    async with open_app(*rounded, size=LARGE) as d:
        assert "method" in d.painted
        role = f"{LINEAR}.weight".removeprefix("model.")
        d.screen.table_pane.select(role)
        await d.press("2")
        pair = d.screen.table_pane.pair
        assert pair is not None
        short = d.screen.methods.short(pair)
        assert short
        line = next(r for r in d.rows() if "q_proj.weight" in r and "only in B" in r)
        assert short in line
        assert re.search(r"method +\S", d.detail)
        assert re.search(r"evidence +[\d.]+ % of codes are the nearest", d.detail)


async def test_rows_are_sorted_by_methods_by_the_key_that_sorts_other_columns(rounded: tuple[Path, Path]) -> None:
    async with open_app(*rounded, size=LARGE) as d:
        await d.press("2")
        pane = d.screen.table_pane
        for _ in range(20):
            if pane.selection.sort == "method":
                break
            await d.press("s")
        assert pane.selection.sort == "method"
        assert "by method" in d.text_of("#table-title")
        await d.until(lambda: all(d.screen.methods.short(p) is not None for p in pane.scales.pairs))
        await d.until(lambda: pane._to_sort is None)
        told = [d.screen.methods.short(p) or "" for p in pane.scales.pairs]
        assert told == sorted(told, key=lambda t: (not t, t))
        assert any(told)
        await d.press("S")
        assert [d.screen.methods.short(p) or "" for p in pane.scales.pairs] == told[::-1]


async def test_a_narrow_table_has_no_room_for_methods_and_the_detail_has(rounded: tuple[Path, Path]) -> None:
    async with open_app(*rounded, size=SMALL) as d:
        await d.press("2")
        assert not any("method" in r for r in d.rows() if "SQNR" in r)
        assert re.search(r"method +\S", d.detail)


async def test_without_an_original_there_are_no_methods(plain: tuple[Path, Path]) -> None:
    async with open_app(*plain, size=LARGE) as d:
        await d.press("2")
        assert not d.screen.methods
        assert "method" not in d.painted
    async with open_app(ALPHA_A, ALPHA_B, size=LARGE) as d:
        assert not d.screen.methods
        assert "method" not in d.painted


async def test_the_steps_of_a_rotated_weight_are_not_put_beside_sizes() -> None:
    data = Path(__file__).parents[1] / "data" / "comfy_int8_convrot"
    async with open_app(data / "original.safetensors", data / "model", size=LARGE) as d:
        d.screen.tree_pane.nodes.reveal("double_blocks.0.img_mod.lin.weight")
        d.screen.activate("tree")
        await d.settle()
        await d.press("percent_sign")
        await d.until(lambda: "(A - B) / step" in d.painted, "the error in steps")
        await d.press("percent_sign")
        await d.until(lambda: "steps are of the rotated weight" in d.painted, "the error by size")
        assert "what rounding leaves" not in d.painted
