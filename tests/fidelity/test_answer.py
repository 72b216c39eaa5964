"""The answer in a line: what an expert would say of an original and what was made of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from qinspect.inspector.fidelity.pairs import NotCompared, Why
from qinspect.inspector.fidelity.results import Fidelity, Nearest, Part, WeightFidelity
from qinspect.inspector.fidelity.sums import Sums
from qinspect.inspector.fidelity.verdict import answer
from qinspect.inspector.formats import Format

KINDS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


def weight(
    role: str, sqnr: float | None, loss: float | None = 0.0, stored: str = "NVFP4", channels: tuple[Part, ...] = ()
) -> WeightFidelity:
    """sqnr: None of one that is untouched. loss: None where it is not quantized."""
    sums = Sums(n=1000, aa=1.0, bb=1.0, ab=1.0, dd=10 ** (-sqnr / 10), largest=0.1, at=3) if sqnr is not None else (
        Sums(n=1000, aa=1.0, bb=1.0, ab=1.0)
    )  # fmt: skip
    nearest = None if loss is None else Nearest((sqnr or 0.0) + loss, loss, "rule")
    shape = (64, 64) if "norm" not in role else (64,)
    return WeightFidelity(
        f"{role}.weight", role, role, shape, "bfloat16", stored, False, loss is not None, "", sums, 64, channels, (),
        None, nearest, None,
    )  # fmt: skip


def layers(n: int) -> list[WeightFidelity]:
    return [weight(f"layers.{i}.{kind}", 20.0 + 0.1 * j) for i in range(n) for j, kind in enumerate(KINDS)]


def said(weights: list[WeightFidelity], others: tuple[NotCompared, ...] = ()) -> str:
    fmt = cast(Format, SimpleNamespace(description="NVFP4 W4A4, ModelOpt 0.47.0"))
    return answer(Fidelity(fmt, fmt, tuple(weights), others, None, ()))


PLAIN = [weight("lm_head", None, None, "bfloat16"), weight("norm", None, None, "bfloat16")]


def test_all_as_good_as_rounding_to_nearest() -> None:
    assert said([*layers(4), *PLAIN]) == (
        "B IS A IN NVFP4 W4A4: every kind as good as round-to-nearest with max scales, within 0.1 dB; "
        "mean SQNR 20.15 dB, worst 20.00 in layers.0.self_attn.q_proj.weight; lm_head and 1 vector untouched"
    )


def test_a_kind_that_loses_and_a_weight_that_stands_out_with_its_channels() -> None:
    weights = layers(4)
    weights[15] = weight("layers.3.mlp.down_proj", 14.3, 6.0, channels=(
        Part((118,), 0.5, 1.0), Part((412,), 0.4, 1.0), Part((3,), 0.01, 20.0),
    ))  # fmt: skip
    text = said([*weights, *PLAIN])
    assert "3 of 4 kinds as good as round-to-nearest with max scales, within 0.1 dB" in text
    assert "mlp.down_proj.weight loses 1.50 dB against it" in text
    assert (
        "layers.3.mlp.down_proj.weight is 6.0 dB below its neighbours (channels 118 and 412 have 90 % of the error)"
        in text
    )
    assert "worst" not in text  # it was named


def test_four_bits_among_eight_do_not_stand_out() -> None:
    eight = [weight(f"layers.{i}.mlp.up_proj", 40.0, 0.0, "FP8") for i in range(8)]
    four = [weight(f"layers.{i}.mlp.up_proj", 20.0, 0.0, "NVFP4") for i in range(8, 12)]
    assert "neighbours" not in said([*eight, *four])


def test_what_is_of_another_model_comes_first() -> None:
    odd = NotCompared("x.weight", "x", "x", Why.UNRELATED, 4096, True, "their cosine is 0.010")
    assert said([*layers(1), *PLAIN], (odd,)).startswith("B IS A IN NVFP4 W4A4: 1 of 6 matrices of A and B do not go")
    text = said(PLAIN, (odd, odd))
    assert text.startswith("B IS NOT MADE OF A AS IT STANDS: 2 of 3 matrices")


def test_what_is_not_quantized_and_differs_is_said() -> None:
    text = said([*layers(2), weight("lm_head", 40.0, None, "float8"), PLAIN[1]])
    assert "1 of 2 others differs, most lm_head.weight" in text
    assert "untouched" not in text
