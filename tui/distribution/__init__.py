"""The view of distributions: what a screen shows of one or two observation points, wherever their tables come from.

source.py what can be looked at, weights.py the weights of a checkpoint as such. alphas.py where the cursor can be.
axis.py where both plots stand. readings.py the numbers. layout.py all of it as lines, pane.py the widget.
"""
