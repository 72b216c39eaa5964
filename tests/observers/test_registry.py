"""One registry of rules: every place that takes or lists them has all of them, under one name, with one clamp."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinspect.inspector.alpha.sweep.rules import SWEPT
from qinspect.inspector.cli import main
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.observers import CLAMP, RECIPES, RULES, Point, applied, current
from qinspect.inspector.observers.registry import OLD_NAMES, WITH_ALPHA, WITHOUT_ALPHA
from qinspect.inspector.verify.sweep import VERIFIED
from qinspect.tui.alpha.alpha_words import alpha_words_of
from qinspect.tui.alpha.screen import NAMES
from qinspect.tui.runs.templates import load_templates

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "docs" / "schema"
DTYPES = ("float16", "bfloat16", "float32")
SAMPLES = [MagnitudeTable.of(np.random.default_rng(i).standard_normal(500).astype(np.float16)) for i in range(3)]


def choices(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What a command says that an option may be, when it is given something else."""
    assert main([*words, "nonsense"]) == 2
    said = capsys.readouterr().err
    return re.findall(r'"([^"]+)"', said[said.index("Choose from") : said.index(". ", said.index("Choose from"))])


def enum(schema: str, *path: str | int) -> set[str]:
    """The values that a schema allows, without the names of earlier versions."""
    found: Any = json.loads((SCHEMAS / f"{schema}.json").read_text())
    for key in path:
        found = found[key]
    assert isinstance(found["enum"], list)
    return set(found["enum"]) - set(OLD_NAMES)


# --- every place ---


def test_apply_takes_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert choices(capsys, "apply", "r", "--to", "c", "--out", "o", "--rule") == list(RULES)


def test_alpha_takes_every_rule_but_variants(capsys: pytest.CaptureFixture[str]) -> None:
    assert choices(capsys, "alpha", "r", "--rule") == [n for n, r in RULES.items() if not r.variant_of]


def test_calibrate_takes_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert choices(capsys, "calibrate", "m", "--recipe") == list(RECIPES)


def test_the_screen_turns_through_the_rules_that_alpha_takes() -> None:
    assert list(NAMES) == list(SWEPT)


def test_the_forms_offer_every_rule_and_recipe() -> None:
    templates, problems = load_templates()
    offered = {(t.name, f.name): f.choices for t in templates for f in t.fields}
    assert problems == []
    assert offered["apply", "rule"] == tuple(RULES)
    assert offered["calibrate", "recipe"] == tuple(RECIPES)


@pytest.mark.parametrize("name", [n for r in RULES.values() for n in (r.name, r.variant_of) if n])
def test_a_variant_is_of_a_rule_that_is_none(name: str) -> None:
    assert name in RULES
    assert not RULES[RULES[name].variant_of or "ema"].variant_of


def test_verify_checks_rules_that_have_a_name_and_an_alpha() -> None:
    assert set(VERIFIED) <= {r.name for r in WITH_ALPHA}


def test_schemas_allow_every_rule() -> None:
    of_rules = ("properties", "rules", "items", "properties", "name")
    fits = ("properties", "points", "items", "properties", "fits", "propertyNames")
    assert enum("whence", *of_rules) == enum("whence", *fits) == {r.name for r in WITH_ALPHA}
    assert enum("alpha", "properties", "rule") == set(SWEPT)
    assert enum("verify", "properties", "sweeps", "items", "properties", "name") == set(VERIFIED)
    for settings in ("requested", "settings"):
        schema = json.loads((SCHEMAS / "calibration.json").read_text())
        text = json.dumps(schema["properties"][settings])
        assert text.count('"$ref"') or all(f'"{recipe}"' in text for recipe in RECIPES)


def test_the_pages_say_what_there_is() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (yes|no) \| (.+?) \|$", page("distributions"), re.MULTILINE)
    assert [row[:3] for row in rows] == [(r.name, r.says, "yes" if r.takes_alpha else "no") for r in RULES.values()]
    for name, _, _, commands in rows:
        expected = [c for c, taken in (
            ("alpha", name in SWEPT), ("apply", True), ("whence", RULES[name].takes_alpha), ("verify", name in VERIFIED)
        ) if taken]  # fmt: skip
        assert re.findall(r"`(\w+)`", commands) == expected, name
    options = [line for line in page("cli").splitlines() if line.startswith("| `--rule R`")]
    assert [re.findall(r"`([a-z0-9-]+)`", o)[1:] for o in options] == [list(RULES), list(SWEPT)]
    recipes = next(line for line in page("cli").splitlines() if line.startswith("| `--recipe R`"))
    assert re.findall(r"`([a-z-]+)`", recipes.split("|")[2]) == list(RECIPES)
    assert all(f"| `{recipe}`" in page("calibration") for recipe in RECIPES)
    for name in ("alpha", "whence", "apply"):
        listed = set(SWEPT) if name == "alpha" else {r.name for r in WITH_ALPHA} if name == "whence" else set(RULES)
        assert all(f"`{rule}`" in page(name) for rule in listed), name


def page(name: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


# --- names ---


@pytest.mark.parametrize("old", OLD_NAMES)
def test_an_old_name_is_taken_for_the_rule(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert old not in RULES
    assert current(old) in RULES
    for words in (("alpha", "nowhere"), ("apply", "nowhere", "--to", "c", "--out", "o", "--alpha", "0.9")):
        assert main([*words, "--rule", old]) == 2
        assert "Choose from" not in capsys.readouterr().err
    found = alpha_words_of(["run", "--rule", old])
    assert found is not None
    assert found.rule == current(old)


@pytest.mark.parametrize("name", RULES)
def test_a_name_is_one_rule_at_every_alpha_bits_and_dtype(name: str) -> None:
    named = RULES[name]
    assert named.name == name == current(name)
    assert "alpha" in named.notation() if named.takes_alpha else named.notation() == str(named.at())
    notations = {str(named.at(alpha, bits)) for alpha in (0.9, 0.99) for bits in (4, 8)}
    assert len(notations) == (4 if named.takes_alpha else 2)
    others = {str(r.at(0.9)) for r in RULES.values() if r is not named}
    assert str(named.at(0.9)) not in others


def test_a_dtype_that_no_observer_computes_in_is_refused() -> None:
    with pytest.raises(ValueError, match="no observer computes in int8"):
        RULES["absmax"].at(dtype="int8")
    assert RULES["ema"].at(dtype="int8") == RULES["ema"].at()


def test_recipes_use_named_rules() -> None:
    names = ("layers.0.x_proj:input", "layers.0.B_conv_out:input", "layers.0.q:output", "layers.0.ssm_state_act:input")
    for recipe in RECIPES:
        for point in (Point(name, dtype, False) for name in names for dtype in DTYPES):
            used = applied(recipe, point, 0.99)
            named = RULES[used.name]
            dtype = used.rule.arithmetic if named.in_dtype else "float32"
            assert used.rule == named.at(0.99, 8, dtype)
            assert used.alpha == (0.99 if named.takes_alpha else None)
    with pytest.raises(ValueError, match="no recipe"):
        applied("nonsense", Point("p", "float16", False), 0.5)


# --- scales, and their inverse ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_the_clamp_whatever_the_dtype(name: str, bits: int, dtype: str) -> None:
    tiny = [MagnitudeTable.of(np.array([1e-6, 3e-6], np.float32).astype(np.float16))] * 2
    scale = np.float32(RULES[name].at(0.9, bits, dtype).scale(tiny))
    if (name, bits) == ("absmax", 4):  # its least range is 1e-5, and that is more than seven times the clamp
        assert np.float32(1e-6) < scale == pytest.approx(1e-5 / 7, rel=2e-3)
    else:
        assert scale == np.float32(1e-6) == np.float32(CLAMP)


@pytest.mark.parametrize("named", WITH_ALPHA, ids=lambda r: r.name)
def test_the_inverse_finds_the_alpha_that_made_a_scale(named: Any) -> None:
    for alpha in (0.3, 0.9, 0.999):
        (found,) = named.alphas(SAMPLES, named.at(alpha).scale(SAMPLES), 8)
        assert found is not None
        assert found.low <= float(np.float32(alpha)) <= found.high
    assert named.alphas(SAMPLES, 1e9, 8) == [None]


@pytest.mark.parametrize("named", WITHOUT_ALPHA, ids=lambda r: r.name)
def test_a_rule_without_alpha_has_no_inverse(named: Any) -> None:
    assert not named.per_sample
    with pytest.raises(ValueError, match="has no alpha"):
        named.alphas(SAMPLES, 1.0, 8)
    with pytest.raises(ValueError, match="has no alpha"):
        assert named.rank
