"""Which alpha made a checkpoint's scales? The inverse of a calibration: stored tables and a stored scale give alpha.

spread.py what other samples, or another order, could have given. agreement.py one interval out of many. answers.py the
question put to every scale by every rule. recovery.py what the answers mean, and what to do next. report.py text and
JSON. cli.py `qinspect whence`.

The rules are those of `inspector/observers`, the tables come from `inspector/calibration/stored.py`.
docs/whence.md has the reasoning.
"""

from qinspect.inspector.alpha.recover.answers import Answers, whence
from qinspect.inspector.alpha.recover.recovery import Recovery, recovery_of

__all__ = ["Answers", "Recovery", "recovery_of", "whence"]
