"""What the numbers of one scale over the experts of a layer say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.experts.coverage import Column, Numbers, States
from qinspect.inspector.experts.states import State
from qinspect.inspector.formats import ScaleRecord

DEFAULT = 1.0
"""What an observer gives that has seen nothing, and an engine that has found nothing."""
MADE_BY_NONE = (1e-10, 1e6)
"""No calibration gives an input scale below or above: the largest of trained models' activations are some thousands.
llm-compressor writes uninitialised memory for experts that saw no token: 3.8e-29 and the like."""
QUIET = 8.0
"""An input scale this many times below the median clips, where an engine takes it for its expert: FP4 codes with
scales of blocks are off by 60 % at an eighth (simulated on Gaussian values)."""
QUIET_INSIDE = 64.0
"""The same of what goes into the last projection: that is the expert's own, and differs more."""
LOUD = {"float4_e2m1fn": 4096.0, "float8_e4m3fn": 256.0}
"""An engine that keeps one input scale for all experts takes the largest. How many times above the median that does no
harm, by the element of the codes: scales of blocks float along with FP4; FP8 has 15 binades; integers have none, and
lose a bit with each doubling: LOUD_OF_CODES."""
LOUD_OF_CODES = 8.0
_FEW = 3
"""Of fewer experts none stands out."""


def judged(name: str, record: ScaleRecord, values: Numbers, states: States, on_purpose: str) -> Column:
    """The column of a scale. record: of one of the experts. states: what is known before its numbers are: MISSING,
    NOT_FINITE, UNREAD, and SOUND for all others; changed in place. on_purpose: why its library writes DEFAULT
    itself."""
    of_input = name.endswith(":input")
    open_ones = states == State.SOUND.rank
    states[open_ones & (values == 0)] = State.ZERO.rank
    states[open_ones & (values < 0) & (not record.may_be_negative)] = State.NEGATIVE.rank
    sound = states == State.SOUND.rank
    if not of_input:
        return Column(name, False, states, values, _middle(values[sound]))
    made = sound & (values > MADE_BY_NONE[0]) & (values < MADE_BY_NONE[1])
    states[sound & ~made] = State.OUTLYING.rank
    middle, why = _middle(values[made]), ""
    n_default = int((made & (values == DEFAULT)).sum())
    if n_default and n_default == int(made.sum()) and on_purpose:
        states[made], why = State.SHARED.rank, on_purpose
    elif n_default:
        states[made & (values == DEFAULT)] = State.DEFAULT.rank
    elif made.sum() > 1 and (values[made] == middle).all():
        states[made], why = State.SHARED.rank, "one number for all experts"
    elif made.sum() >= _FEW:
        states[made & _outlying(name, record, values, middle)] = State.OUTLYING.rank
    return Column(name, True, states, values, middle, why)


def _outlying(name: str, record: ScaleRecord, values: Numbers, middle: float) -> NDArray[np.bool_]:
    quiet = QUIET_INSIDE if name.startswith("down_proj") else QUIET
    loud = LOUD.get(record.element.name, LOUD_OF_CODES)
    found: NDArray[np.bool_] = (values < middle / quiet) | (values > middle * loud)
    return found


def _middle(values: Numbers) -> float:
    return float(np.median(values)) if values.size else float("nan")
