"""Is the file sound? Rules that find a broken scale before it costs a day.

rule.py says what a rule is; `rules/` has them, a file a theme, and registry.py lists them. subject.py is what a rule is
given: a checkpoint, and what many rules need of it, read once. check.py runs them; report.py and payload.py are the
answers for people and for programs; cli.py `qinspect lint`.
"""
