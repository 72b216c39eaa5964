"""Two accuracies: how sure each is, whether they differ, and how small a difference their items could show.

score.py an accuracy with its items. found.py one as a file names it; reading.py all of a log or of results of lm_eval,
samples.py of its per-item files; choosing.py which of A is compared with which of B.
comparing.py the tests. verdict.py what they mean, and what to do next. report.py text and JSON. cli.py the command.
"""

from qinspect.inspector.accuracy.comparing import AccuracyComparison, compared
from qinspect.inspector.accuracy.score import Score
from qinspect.inspector.accuracy.verdict import AccuracyVerdict, verdict_of

__all__ = ["AccuracyComparison", "AccuracyVerdict", "Score", "compared", "verdict_of"]
