"""Every rule of the verdict: a pair of checkpoints that triggers it, one that must not, and its place in the docs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import native_files
import numpy as np
import pytest
import torch
from modelopt_files import nvfp4
from quamba_files import State, folder_of, load_state, save_state, set_point_mamba1
from safetensors.torch import save_file
from whence_cases import checkpoint

from qinspect.inspector.accuracy.verdict import ITEMS_CURE
from qinspect.inspector.accuracy.verdict import NEXT_STEPS as ACCURACY_STEPS
from qinspect.inspector.calibrate.checkpoint import PointScale
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, compare
from qinspect.inspector.compare.next_steps import NEXT_STEPS
from qinspect.inspector.formats import format_of
from qinspect.inspector.noise.repeats import Repeat
from qinspect.inspector.noise.sources import NOTHING, Sources

Make = Callable[[Path], Comparison]
Points = Mapping[tuple[int, str], float]
"""Layer and point to the factor by which its scale changes."""
X, STATE, OUT = "x_proj:input", "ssm_state_act:input", "out_proj:input"
LOW, HIGH = folder_of("m1_w8a8_pa0.9995"), folder_of("m1_w8a8_pa0.99999")
GROUPED = "m2_w4a8_gh_pa0.9995"
ALL_UP = {(layer, point): 1.5 for layer in (0, 1) for point in (X, STATE)}


def compared(a: Path, b: Path, codes: bool | None = None, sources: Sources = NOTHING) -> Comparison:
    return compare(format_of(open_checkpoint(a)), format_of(open_checkpoint(b)), codes, sources=sources)


def moved(points: Points, a: str = "one", b: str = "two", **more: object) -> Make:
    """The Mamba1 fixture against itself with scales changed; a, b: names of the folders."""

    def make(tmp: Path) -> Comparison:
        state, config = load_state("m1_w8a8_pa0.9995")
        first = save_state(tmp / a, state, config)
        for (layer, point), factor in points.items():
            set_point_mamba1(state, layer, point, factor)
        return compared(first, save_state(tmp / b, state, config | more), sources=NOTHING)

    return make


def changed(change: Callable[[State], None], name: str = "m1_w8a8_pa0.9995", both: bool = False) -> Make:
    """A fixture against itself with `change(state)`; both: on both sides."""

    def make(tmp: Path) -> Comparison:
        state, config = load_state(name)
        if both:
            change(state)
        first = save_state(tmp / "one", state, config)
        if not both:
            change(state)
        return compared(first, save_state(tmp / "two", state, config))

    return make


def fixtures(a: str, b: str) -> Make:
    return lambda _: compared(folder_of(a), folder_of(b))


def quantized(original: torch.Tensor) -> Make:
    """A plain weight, against codes for one of 16 by 32."""
    return plain({"l.up_proj.weight": original}, {f"l.up_proj.{k}": t for k, t in nvfp4(16, 32)[0].items()})


def two_schemes(n_in: int) -> Make:
    """Codes of a weight of 16 by 32 in NVFP4, against int8 of 16 by n_in."""
    of_nvfp4 = {f"l.up_proj.{k}": t for k, t in nvfp4(16, 32)[0].items()}
    of_int8 = {
        "l.up_proj.weight": torch.zeros(16, n_in, dtype=torch.int8),
        "l.up_proj.weight_scale": torch.full((16, 1), 0.5),
    }
    weights = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True, "dynamic": False}
    group = {"weights": weights, "targets": ["Linear"], "format": "int-quantized"}
    settings = {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"g": group}}

    def make(tmp: Path) -> Comparison:
        plain(of_nvfp4, of_int8)(tmp)
        (tmp / "b" / "config.json").write_text(json.dumps({"quantization_config": settings}))
        return compared(tmp / "a", tmp / "b")

    return make


def plain(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> Make:
    def make(tmp: Path) -> Comparison:
        for name, tensors in (("a", a), ("b", b)):
            (tmp / name).mkdir(parents=True)
            save_file({n: t.clone() for n, t in tensors.items()}, tmp / name / "model.safetensors")
        return compared(tmp / "a", tmp / "b")

    return make


def grouped(a: str, b: str) -> Make:
    """What group heads make of two alphas: the same bytes, in two folders."""

    def make(tmp: Path) -> Comparison:
        state, config = load_state(GROUPED)
        return compared(save_state(tmp / a, state, config), save_state(tmp / b, state, config))

    return make


def unread(tmp: Path) -> Comparison:
    state, config = load_state("m1_w8a8_pa0.9995")
    return compared(LOW, save_state(tmp, state, config), codes=False)


def linked(tmp: Path) -> Comparison:
    tmp.mkdir(parents=True)
    (tmp / "link").symlink_to(LOW)
    return compared(LOW, tmp / "link")


def headers_only(tmp: Path, a: torch.Tensor, b: torch.Tensor) -> Comparison:
    plain({"w": a}, {"w": b})(tmp)
    return compared(tmp / "a", tmp / "b", codes=False)


def beside_a_model(tmp: Path) -> Comparison:
    """Two folders with the same adapter, each around a model of its own: scales apart by 140 %."""
    for name, scale in (("a", 1.0), ("b", 2.4)):
        (tmp / name / "model").mkdir(parents=True)
        save_file({"w.lora_A": ONES}, tmp / name / "adapter_model.safetensors")
        save_file({"w.weight_scale": ONES * scale}, tmp / name / "model" / "model.safetensors")
    return compared(tmp / "a", tmp / "b")


def times(key: str, factor: float) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[f"backbone.layers.0.mixer.{key}"] = state[f"backbone.layers.0.mixer.{key}"] * factor

    return change


def dropped(state: State) -> None:
    del state["backbone.layers.0.mixer.selective_scan.u_scale"]


def flipped(state: State) -> None:
    state["backbone.layers.0.mixer.out_proj.weight"][0, 0] ^= 1


def as_tensor(state: State) -> None:
    key = "backbone.layers.0.mixer.conv1d.output_scale"
    state[key] = torch.tensor(state[key])


def repeated(factor: float) -> Make:
    """Scales changed by a factor, held against three repeats that lie 1 % apart."""

    def make(tmp: Path) -> Comparison:
        state, config = load_state("m1_w8a8_pa0.9995")
        first = save_state(tmp / "one", state, config)
        fmt = format_of(open_checkpoint(first))
        values = {r.role: np.asarray(fmt.values(r), np.float64) for r in fmt.scales() if ":" in r.role}
        roles = frozenset(r.role for r in fmt.scales() if r.alpha_sensitive)
        repeats = tuple(
            Repeat(str(f), Path(str(f)), {k: v * (f if k in roles else 1) for k, v in values.items()}, frozenset())
            for f in (1.0, 1.01, 0.99)
        )
        set_point_mamba1(state, 0, STATE, factor)
        return compared(first, save_state(tmp / "two", state, config), sources=Sources(repeats))

    return make


ONES = torch.ones(3)
RAMP = torch.arange(1.0, 33.0)
BOTH = torch.cat([RAMP.view(2, 16)] * 2)
SIGNATURE, SAME = fixtures("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"), moved({})
PREFIXED = [f"layers.{i}.mlp.{leaf}" for i in range(3) for leaf in ("weight", "weight_scale")]

CASES: dict[str, tuple[Make, Make]] = {  # what triggers the rule, and what comes near and must not
    "same-file": (linked, SAME),
    "bit-identical": (SAME, SIGNATURE),
    "models-inside": (beside_a_model, plain({"w": ONES}, {"w": ONES})),
    "same-values": (changed(as_tensor), SAME),
    "no-difference-read": (unread, SAME),
    "broken-scale": (
        changed(times("selective_scan.ssm_state_scale", -1.0)),
        changed(times("selective_scan.ssm_state_scale", 2.0)),
    ),
    "denormal-scale": (
        plain({"l.weight_scale": ONES}, {"l.weight_scale": ONES * 1e-40}),
        plain({"l.weight_scale": ONES}, {"l.weight_scale": ONES * 1e-37}),
    ),
    "nothing-compared": (plain({}, {}), plain({}, {"w": ONES})),
    "copies-disagree": (
        changed(times("selective_scan.u_scale", 1.5)),
        moved({(0, X): 1.5}),
    ),
    "copies-missing": (changed(dropped), changed(dropped, both=True)),
    "only-weights": (changed(flipped), SIGNATURE),
    "alpha-signature": (SIGNATURE, moved({(0, X): 1.5, (0, OUT): 1.5})),
    "mixed-signs": (moved({(0, X): 1.02, (1, X): 0.98}), moved(ALL_UP)),
    "repeat-noise": (moved({(0, STATE): 1.00002}), moved({(0, STATE): 1.0001})),
    "data-differ": (moved({(0, X): 1.004, (1, OUT): 1.005}), SIGNATURE),
    "effective": (moved(ALL_UP, "pa-0.9995", "pa-0.99999"), moved({(0, STATE): 1.00002}, "pa-0.9995", "pa-0.99999")),
    "within-noise": (repeated(1.02), repeated(1.5)),
    "dead-parameter": (grouped("pa-0.9995", "pa-0.99999"), grouped("pa-0.9995", "copy/pa-0.9995")),
    "not-as-declared": (
        moved({**ALL_UP, (0, X): 0.7}, "pa-0.9995", "pa-0.99999"),
        moved({**ALL_UP, (0, X): 0.99998}, "pa-0.9995", "pa-0.99999"),  # falls, but within the repeat floor
    ),
    "claim-agrees": (SIGNATURE, moved(ALL_UP, "pa-0.99999", "pa-0.9995")),
    "claim-contradicted": (moved(ALL_UP, "pa-0.99999", "pa-0.9995"), SIGNATURE),
    "alpha-is-dead": (grouped("one", "two"), SIGNATURE),
    "reordered": (fixtures(GROUPED, "m2_w4a8_gh_perm"), grouped("one", "two")),
    "head-order-differs": (fixtures(GROUPED, "m2_w4a8_gh_perm"), grouped("one", "two")),
    "weights-differ": (changed(flipped), SIGNATURE),
    "weights-not-compared": (lambda _: compared(LOW, HIGH, codes=False), SIGNATURE),
    "renamed": (
        plain({f"encoder.core.{n}": ONES for n in PREFIXED}, {f"net.{n}": 2 * ONES for n in PREFIXED}),
        plain({f"net.{n}": ONES for n in PREFIXED}, {f"net.{n}": 2 * ONES for n in PREFIXED}),
    ),
    "same-under-other-names": (
        plain({f"encoder.core.{n}": ONES for n in PREFIXED}, {f"net.{n}": ONES for n in PREFIXED}),
        plain({f"net.{n}": ONES for n in PREFIXED}, {f"net.{n}": ONES for n in PREFIXED}),
    ),
    "rounded": (
        plain({"w": torch.tensor([0.1, 0.2])}, {"w": torch.tensor([0.1, 0.2]).half()}),
        plain({"w": torch.tensor([0.1, 0.2])}, {"w": torch.tensor([0.1, 0.3]).half()}),
    ),
    "other-dtype": (
        lambda tmp: headers_only(tmp, ONES, ONES.half()),
        lambda tmp: headers_only(tmp, ONES, ONES),
    ),
    "adapter-and-model": (
        plain(
            {"net.q.weight": BOTH}, {"net.q.lora_A.weight": RAMP.view(1, 32), "net.q.lora_B.weight": ONES.view(-1, 1)}
        ),
        plain({"net.q.weight": BOTH}, {"net.q.weight": BOTH, "net.q.lora_A.weight": RAMP.view(1, 32)}),
    ),
    "no-common-names": (
        plain({"net.a": RAMP, "net.b": -RAMP}, {"other.c": 2 * RAMP, "other.d": 3 * RAMP}),
        plain({"net.a": RAMP, "net.b": -RAMP}, {"other.c": RAMP[:7], "other.d": RAMP[:6]}),
    ),
    "config-differs": (moved({}, d_model=7), SAME),
    "one-quantized": (quantized(torch.randn(16, 32)), quantized(torch.randn(16, 31))),
    "two-schemes": (two_schemes(32), two_schemes(31)),
    "joined": (
        plain({f"{n}_proj.weight": RAMP.view(2, 16) for n in ("l.gate", "l.up")}, {"l.gate_up_proj.weight": BOTH}),
        plain({f"{n}_proj.weight": RAMP[:16].view(1, 16) for n in ("l.gate", "l.up")}, {"l.gate_up_proj.weight": BOTH}),
    ),
    "other-structure": (two_schemes(31), fixtures(GROUPED, "m2_w8a8_gh")),
    "no-common-roles": (plain({"net.weight_scale": ONES}, {"other.bias": ONES}), SAME),
    "several-differences": (moved({(0, X): 2.0, (1, OUT): 1.5}), SIGNATURE),
    "noise-bands": (SIGNATURE, SAME),
    "rule-of-thumb": (SIGNATURE, repeated(1.5)),
}


def rules(c: Comparison) -> list[str]:
    return [c.headline.rule, *(r.rule for r in c.reasons)]


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(NEXT_STEPS)


@pytest.mark.parametrize("rule", CASES)
def test_what_triggers_a_rule_and_what_must_not(rule: str, tmp_path: Path) -> None:
    triggers, near = CASES[rule]
    c = triggers(tmp_path / "triggers")
    assert rule in rules(c)
    said = next(r for r in (c.headline, *c.reasons) if r.rule == rule)
    assert said.text.endswith((".", "reads them."))
    assert said.next == NEXT_STEPS[rule]
    assert rule not in rules(near(tmp_path / "near"))


def test_no_rule_is_said_twice(tmp_path: Path) -> None:
    for rule, (triggers, _) in CASES.items():
        said = rules(triggers(tmp_path / rule))
        assert len(said) == len(set(said)) or rule in ("copies-disagree", "copies-missing", "weights-differ"), said


def test_what_was_not_compared_is_not_called_the_same(tmp_path: Path) -> None:
    inside = beside_a_model(tmp_path / "inside").headline.text
    assert "no scale is in both" in inside
    assert "Of A, adapter_model.safetensors was opened; models in folders inside were not: model." in inside
    assert "dentical" not in inside
    tensors = {"w": ONES}
    assert "No scale was compared: neither has one." in plain(tensors, tensors)(tmp_path / "plain").headline.text
    headers = headers_only(tmp_path / "headers", ONES, ONES).headline.text
    assert headers.startswith("No difference in headers (1 entry).")
    scales = {"w.weight_scale": ONES}
    assert "No scale" not in plain(scales, scales)(tmp_path / "scales").headline.text


# --- the effect ---


def test_numbers_of_an_effect(tmp_path: Path) -> None:
    e = moved(ALL_UP, "pa-0.9995", "pa-0.99999")(tmp_path).effect
    assert e is not None
    assert (e.kind, e.n, e.n_changed, e.n_up, e.n_down, len(e.beyond)) == ("effective", 4, 4, 4, 0, 4)
    assert e.sign_p == 1 / 16  # one-sided: the way is declared
    assert e.holm_p is None  # the measured defaults have no distribution
    assert [d and d.text for d in e.declared] == ["0.9995", "0.99999"]
    assert {d and d.where for d in e.declared} == {"directory name"}


def test_undeclared_the_sign_test_is_two_sided(tmp_path: Path) -> None:
    e = moved(ALL_UP)(tmp_path).effect
    assert e is not None
    assert (e.kind, e.sign_p, e.declared) == ("effective", 1 / 8, (None, None))


def test_one_alpha_for_both_and_yet_a_difference(tmp_path: Path) -> None:
    e = moved(ALL_UP, "pa-0.9995", "copy/pa-0.9995")(tmp_path).effect
    assert e is not None
    assert e.kind == "not-as-declared"
    assert "Both are declared to have percentile_alpha 0.9995" in e.reason.text


def test_beyond_noise_in_both_directions_is_no_change_of_alpha(tmp_path: Path) -> None:
    e = moved({(0, X): 1.5, (1, X): 0.5})(tmp_path).effect
    assert e is not None
    assert e.kind == "not-as-declared"
    assert "no change of percentile_alpha alone does that" in e.reason.text
    assert e.sign_p == 1


def test_with_other_data_the_sample_floor_applies(tmp_path: Path) -> None:
    """0.5 % would be an effect on the same data; other samples move a scale by 1.07 %."""
    c = moved({(0, X): 1.005, (1, OUT): 1.004})(tmp_path)
    assert c.noise.same_data is False
    assert c.effect is not None
    assert c.effect.kind == "within-noise"
    same = moved({(0, X): 1.005})(tmp_path / "same").effect
    assert same is not None
    assert same.kind == "effective"


def test_what_no_alpha_reaches_differs_too(tmp_path: Path) -> None:
    c = moved({**ALL_UP, (1, OUT): 1.5}, "pa-0.9995", "pa-0.99999")(tmp_path)
    assert c.effect is not None
    assert c.effect.kind == "not-as-declared"
    assert "so does 1 min-max point, which percentile_alpha cannot reach" in c.effect.reason.text


def test_without_a_point_to_tell_the_data_a_small_change_is_no_signature(tmp_path: Path) -> None:
    scale = {"layers.0.mixer.x_conv_out:input": 0.5, "layers.1.mixer.x_conv_out:input": 0.25}
    a = checkpoint(tmp_path / "a", scale)
    for factor, rule, kind in ((1.005, "several-differences", "within-noise"), (1.2, "alpha-signature", "effective")):
        c = compare(a, checkpoint(tmp_path / str(factor), {n: s * factor for n, s in scale.items()}))
        assert c.noise.same_data is None
        assert c.effect is not None
        assert (c.headline.rule, c.effect.kind) == (rule, kind)


def test_claims_for_single_scales_are_adjusted(tmp_path: Path) -> None:
    c = repeated(1.5)(tmp_path)
    assert c.effect is not None
    assert c.effect.beyond == ("layers.0.mixer.ssm_state_act:input",)
    (band,) = [p.bands[0] for p in c.scales if p.role in c.effect.beyond]
    assert band.p is not None
    n_tests = sum(p.bands[0].p is not None for p in c.scales if p.bands and p.record.alpha_sensitive)
    assert c.effect.holm_p == pytest.approx(n_tests * band.p)
    assert f"Holm-adjusted over {n_tests}" in c.effect.reason.text


def test_nothing_declared_and_nothing_different_is_no_verdict_of_an_effect(tmp_path: Path) -> None:
    assert SAME(tmp_path).effect is None
    assert grouped("one", "two")(tmp_path).effect is None


def test_a_broken_or_edited_scale_is_no_effect(tmp_path: Path) -> None:
    for i, rule in enumerate(("broken-scale", "copies-disagree")):
        assert CASES[rule][0](tmp_path / str(i)).effect is None


# --- the docs ---


def test_what_one_library_does_is_not_said_of_another(tmp_path: Path) -> None:
    """Checkpoints that no alpha reaches: what the family itself says is why."""

    def of(folder: str, scale: float) -> Path:
        points = {"a:input": PointScale(np.float32(scale), "absmax(|x|)", False)}
        return native_files.written(tmp_path / folder, activation_scales=points)

    found = compared(of("a", 1.0), of("b", 1.5))
    said = {r.rule: r.text for r in (found.headline, *found.reasons)}
    assert said["alpha-is-dead"] == (
        "No scale in these files can depend on percentile_alpha: the rules that made its activation scales have no "
        "alpha."
    )
    del said["noise-bands"]  # where its figures were measured
    assert not any("Quamba" in text or "group_heads" in text or "float16" in text for text in said.values())


def test_one_is_not_all(tmp_path: Path) -> None:
    """Sentences about a single point."""

    def of(folder: str, reached: float, fixed: float) -> Path:
        points = {"a:input": PointScale(np.float32(reached), "hidden", True)}
        points |= {"b:input": PointScale(np.float32(fixed), "hidden", False)} if fixed else {}
        return native_files.written(tmp_path / folder, activation_scales=points)

    a, reached, both = of("a", 1, 1), of("reached", 1.5, 1), of("both", 1.5, 1.5)
    signature = compared(a, reached).headline
    assert signature.rule == "alpha-signature"
    assert "The only min-max point is identical, the fingerprint" in signature.text
    for dtype in ("float16", "bfloat16"):
        config = json.loads((a / "config.json").read_text())
        config.setdefault("provenance", {}).setdefault("effective", {})["dtype"] = dtype
        (a / "config.json").write_text(json.dumps(config))
        assert f"The only min-max point is identical (it sits on a {dtype} grid" in compared(a, reached).headline.text
    differ = next(r.text for r in compared(a, both).reasons if r.rule == "data-differ")
    assert "1 min-max point differs, by up to" in differ
    assert "1 alpha-sensitive point also differs, perhaps from the same cause" in differ
    one, wider = of("one", 1, 0), of("wider", 1, 0)
    content = bytearray((wider / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (wider / "model.safetensors").write_bytes(content)
    headline = compared(one, wider).headline
    assert headline.rule == "only-weights"
    assert "The only activation scale is equal" in headline.text


def test_the_docs_have_every_rule_and_its_next_step(source_root: Path) -> None:
    text = (source_root / "docs" / "verdicts.md").read_text(encoding="utf-8")
    rows = {m[1]: m[2] for m in re.finditer(r"^\| `([a-z-]+)` \|[^|]*\|[^|]*\| ?([^|]*?) ?\|$", text, re.MULTILINE)}
    for rule, step in (*NEXT_STEPS.items(), *ACCURACY_STEPS.items()):
        assert rule in rows, f"docs/verdicts.md has no row of {rule}"
        assert rows[rule].startswith(step), rule
    assert ITEMS_CURE in rows["inconclusive"]
    assert set(rows) - {"repeat", "order", "data"} == {*NEXT_STEPS, *ACCURACY_STEPS}


def test_the_rules_are_those_that_the_code_can_say(source_root: Path) -> None:
    said = set()
    for path in (source_root / "inspector" / "compare").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reason" and node.args:
                first = node.args[0]
                said |= {first.value} if isinstance(first, ast.Constant) else set()
    assert said <= set(NEXT_STEPS)
    named_by_a_variable = {"effective", "within-noise", "not-as-declared", "broken-scale", "denormal-scale"}
    assert set(NEXT_STEPS) - said <= named_by_a_variable
