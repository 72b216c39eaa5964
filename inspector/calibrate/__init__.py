"""Running a model to see what passes through it, and writing what that gives.

cli.py the command. work.py the whole of a calibration. engine.py the pass over the samples, counting.py and grouped.py
what is kept of each, graphs.py forwards as CUDA graphs. folder.py and shards.py its files, room.py whether there is
room for them, records.py its log and JSON. rounding.py weights to codes. checkpoint.py the checkpoint at the end. What
runs a model imports torch; the command, rounding and the checkpoint do not.

Settings, points, rules and what is read back are `inspector/calibration`; models and what goes into them are
`inspector/models` and `inspector/samples`.
"""
