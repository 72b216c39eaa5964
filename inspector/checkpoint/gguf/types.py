"""ggml's type ids: what an element of each is, or a block of them."""

from __future__ import annotations

from qinspect.inspector.checkpoint.dtypes import BLOCKS, DTYPES, DType

_PLAIN = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
}
_BLOCKS = {
    2: "q4_0",
    3: "q4_1",
    6: "q5_0",
    7: "q5_1",
    8: "q8_0",
    9: "q8_1",
    10: "q2_k",
    11: "q3_k",
    12: "q4_k",
    13: "q5_k",
    14: "q6_k",
    15: "q8_k",
    16: "iq2_xxs",
    17: "iq2_xs",
    18: "iq3_xxs",
    19: "iq1_s",
    20: "iq4_nl",
    21: "iq3_s",
    22: "iq2_s",
    23: "iq4_xs",
    29: "iq1_m",
    34: "tq1_0",
    35: "tq2_0",
    39: "mxfp4",
    40: "nvfp4",
    41: "q1_0",
    42: "q2_0",
}
TYPES: dict[int, DType] = {
    **{i: DTYPES[name] for i, name in _PLAIN.items()},
    **{i: BLOCKS[name] for i, name in _BLOCKS.items()},
}
"""Those of which it is known how many bytes they take."""

_ELSEWHERE = {
    4: "q4_2",
    5: "q4_3",
    31: "q4_0_4_4",
    32: "q4_0_4_8",
    33: "q4_0_8_8",
    36: "i2_s",
    133: "q6_0",
    134: "iq1_bn",
    135: "iq2_bn",
    137: "iq2_k",
    138: "iq3_k",
    139: "iq4_k",
    140: "iq5_k",
    141: "iq6_k",
    144: "iq4_ks",
    145: "iq2_ks",
    146: "iq4_kss",
    152: "iq5_ks",
    153: "iq2_kt",
    154: "iq3_kt",
    155: "iq4_kt",
    156: "iq3_ks",
    157: "iq2_kl",
    158: "iq1_kt",
}
"""Types that were given up, and those of forks: named, and not decoded."""


def opaque(type_id: int, n_elements: int, n_bytes: int) -> DType:
    """A type of which only the bytes are known: all elements are one block."""
    known = _ELSEWHERE.get(type_id)
    name = f"ggml_{type_id}" + (f"_{known}" if known else "")
    return DType(name, 8, "", block=max(1, n_elements), block_bytes=max(1, n_bytes))
