"""What the settings of FP8 checkpoints say."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.formats.declared import Declared

FBGEMM = "fbgemm_fp8"
METHODS = ("fp8", FBGEMM, "mxfp8")
_DIRECTIONS = {"": False, "inverse": True}


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a whole checkpoint.

    block: rows and columns that share a scale; None where they are not said. inverted: what scales weights is stored as
    one over it (GPTQModel). settled: whether settings say which of the two it is. activation: `dynamic`, `static`, or
    "". per_token: activations have a scale a token. unknown: a direction that is not known.
    """

    block: tuple[int, int] | None
    inverted: bool
    settled: bool
    activation: str
    per_token: bool
    unknown: str


def settings_of(declared: Declared) -> Settings:
    """What is said, where anything is."""
    direction = declared.text("weight_scale_semantics")
    match declared.settings.get("weight_block_size"):
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            block: tuple[int, int] | None = (rows, columns)
        case _:
            block = (1, 32) if declared.method == "mxfp8" else None
    fbgemm = declared.method == FBGEMM
    return Settings(
        block, _DIRECTIONS.get(direction, False), bool(declared.method),
        "dynamic" if fbgemm else declared.text("activation_scheme"), fbgemm,
        "" if direction in _DIRECTIONS else direction,
    )  # fmt: skip
