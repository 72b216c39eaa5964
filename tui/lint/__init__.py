"""Is the file sound? The screen of findings.

screen.py opens it and runs the rules in a thread; findings_pane.py is the list of what they found, its rows made in
rows.py. beside.py has what is seen beside it, one at a time: rule_pane.py says why a finding matters and what to do,
engines_pane.py what engines do with the file, experts_pane.py with expert_map.py the experts of a mixture;
text_view.py is what the first two have in common.
"""
