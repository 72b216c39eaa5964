"""Running a model to see what passes through it, and writing what that gives.

commands.py the command, settings.py what it asks for, work.py the whole of a calibration, folder.py and shards.py its
files, records.py its log and JSON, stored.py reading them back. data.py the samples that it
runs on, documents.py where they come from, tokens.py text to ids. models/ forwards with named observation points;
engine.py the pass over the samples. recipes.py and scales.py rules to scales. rounding.py weights to codes.
checkpoint.py the checkpoint at the end. What runs a model imports torch; data, rounding and the checkpoint do not.
"""
