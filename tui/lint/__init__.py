"""Is the file sound? The screen of findings.

screen.py opens it and runs the rules in a thread; findings_pane.py is the list of what they found, its rows made in
rows.py; rule_pane.py says why a finding matters and what to do.
"""
