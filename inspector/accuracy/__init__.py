"""Two accuracies: how sure each is, whether they differ, and how small a difference their items could show.

score.py an accuracy with its items. reading.py accuracies out of logs, results and per-item files of lm_eval.
comparing.py the tests. verdict.py what they mean, and what to do next. report.py text and JSON. cli.py the command.
"""

from qinspect.inspector.accuracy.comparing import Comparison, compared
from qinspect.inspector.accuracy.score import Score
from qinspect.inspector.accuracy.verdict import Verdict, verdict_of

__all__ = ["Comparison", "Score", "Verdict", "compared", "verdict_of"]
