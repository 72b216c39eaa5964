"""Running a model to see what passes through it, and writing what that gives.

cli.py the command. work.py the whole of a calibration: plan.py what is going to be done, opening.py model, samples and
points, passing.py the samples through the model, writing.py scales, checkpoints and the record. engine.py the pass
itself: counting.py, graphs.py, grouped.py. folder.py, room.py and shards.py its files, records.py its log and JSON.
identity.py what takes part in every number. rounding.py weights to codes, checkpoint.py the checkpoint at the end.

What was asked for and what is stored is in `inspector/calibration`, rules are in `inspector/observers`.
"""
