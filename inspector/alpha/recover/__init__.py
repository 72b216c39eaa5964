"""Which alpha made a checkpoint's scales? The inverse of a calibration: stored tables and a stored scale give alpha.

candidates.py the rules that may have made a scale. spread.py what other samples, or another order, could have given.
agreement.py one interval out of many. findings.py the question put to every scale. verdict.py what that means, and what
to do next. report.py text and JSON. cli.py `qinspect whence`.

How a scale is made is in `inspector/observers.py`, the tables come from `inspector/calibration/stored.py`.
docs/whence.md has the reasoning.
"""

from qinspect.inspector.alpha.recover.findings import Findings, whence
from qinspect.inspector.alpha.recover.verdict import Verdict, verdict_of

__all__ = ["Findings", "Verdict", "verdict_of", "whence"]
