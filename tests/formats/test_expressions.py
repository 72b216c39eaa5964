"""Expressions out of settings: which are tried."""

from __future__ import annotations

import pytest

from qinspect.inspector.formats.declared import Declared
from qinspect.inspector.formats.expressions import compiled
from qinspect.inspector.formats.families.gptq.settings import Settings


@pytest.mark.parametrize("expression", [r".*\.(?:0|1)\..*(?:up|down)_proj", r"model\.layers\.[0-9]+\.mlp\..*", ""])
def test_one_that_savers_write_is_tried(expression: str) -> None:
    found = compiled(expression, 300)
    assert found is not None
    assert found.pattern == expression


@pytest.mark.parametrize("expression", ["(a+)+$", "(a*){9}", "(a|a)* b", "a*a*a*a*a*a*a*b", "(", "x" * 301])
def test_one_that_could_take_for_ever_or_is_none_is_not(expression: str) -> None:
    assert compiled(expression, 300) is None


def test_gptqs_overrides_are_of_those_that_are_tried() -> None:
    hostile = "(a+)+$"
    said = {"quant_method": "gptq", "bits": 4, "dynamic": {hostile: {"bits": 2}, r"+:.*\.up": {"bits": 8}}}
    settings = Settings(Declared("config.json", said))
    assert settings.of("a" * 200 + "b").bits == 4  # and comes back
    assert settings.of("layers.0.up").bits == 8
