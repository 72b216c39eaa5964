"""Did my flag take effect? One page about a pair of checkpoints, in the terminal, as Markdown or as JSON.

settings.py what A and B are declared to have been made with. reach.py which tensors a setting can reach, and which of
these reacted. claims.py what a stored calibration says of a declared alpha. explanation.py all of it together, with the
next experiment. asking.py the same for two paths. report.py the page. docs/explain.md reads one.
"""
