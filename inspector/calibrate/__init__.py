"""Running a model to see what passes through it, and writing what that gives.

models/ forwards with named observation points. data.py the samples that a calibration runs on, documents.py where they
come from, tokens.py text to ids. rounding.py weights to codes and scales. checkpoint.py the checkpoint at the end. Only
models/ imports torch.
"""
