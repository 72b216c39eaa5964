"""Does an observer do what it says? Its scales at several alphas, of values that are known, checked by other means.

activations.py what is looked at: samples, counted; the synthetic recipe. npy.py, saved.py the same from a file.
sweep.py the table: what each alpha gives. checks.py what must be true of it, and the worked example. report.py text and
JSON. plot.py the distribution and where it is cut. device.py counting on a GPU. cli.py `qinspect verify`.

How scales are made is in `inspector/observers`; nothing here makes one of its own.
"""
