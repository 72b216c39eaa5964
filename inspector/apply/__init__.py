"""Another alpha without calibrating again: scales out of stored tables are put into a checkpoint that is there.

model.py whether run and checkpoint are of one model. chosen.py which points, by which rule, at which alpha. targets.py
the scales that these have to become. plan.py every stored number that this changes: copies, and products that a scale
has a part in. application.py all of this for one request. places.py where in a file a number stands. edits.py changed
bytes of a file. archive.py the checksums of a torch zip archive. entry.py what is added to what the checkpoint
says of itself. write.py the folder, whole or not at all. report.py text and JSON. cli.py `qinspect apply`.

How a scale is made is in `inspector/observers`, where it is stored in `inspector/formats`. docs/apply.md has the
reasoning.
"""

from qinspect.inspector.apply.plan import Plan, plan_of
from qinspect.inspector.apply.targets import Target, targets_of_checkpoint, targets_of_run
from qinspect.inspector.apply.write import write

__all__ = ["Plan", "Target", "plan_of", "targets_of_checkpoint", "targets_of_run", "write"]
