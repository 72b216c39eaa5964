"""All scales of one model, read once: the range of each, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import Range
from qinspect.inspector.values.scale_faults import FaultScan, FaultyScale, ScaleFaults
from qinspect.inspector.values.scale_values import scale_range


@dataclass(slots=True)
class ScaleSurvey:
    """ranges: role to range, or why there is none. faults: of the scales that have some, by role. faulty: the same in
    the order of the format."""

    ranges: dict[str, Range] = field(default_factory=dict)
    faults: dict[str, ScaleFaults] = field(default_factory=dict)
    faulty: list[FaultyScale] = field(default_factory=list)


def survey_scales(fmt: Format, check: Steps | None = None) -> ScaleSurvey:
    """Read every scale. check(done, total): called for each; raise in it to cancel. One that cannot be read has the
    reason for its range."""
    survey, scan = ScaleSurvey(), FaultScan()
    records = fmt.scales()
    for i, record in enumerate(records):
        if check:
            check(i, len(records))
        try:
            survey.ranges[record.role] = scale_range(fmt, record, seen=partial(scan.add_scale, i, record))
        except QinspectError as e:
            survey.ranges[record.role] = str(e)
            scan.forget(i)
    for i, faults in sorted(scan.found().items()):
        record = records[i]
        survey.faults[record.role] = faults
        survey.faulty.append(FaultyScale(record.role, record.shape, faults))
    return survey
