"""What the alpha explorer shows, as rows and lines.

alpha_words.py what the command line asks for. state.py what is asked and its answers. table.py the points. curve.py one
point's error against alpha. heat.py the whole model. The screen is in `tui/alpha/screen.py`, every number comes from
`inspector/alpha/sweep`.

The way back, from a stored scale to its alpha, is a screen of its own, whence.py: origin.py is what it asks a run,
origin_lines.py what it shows, in the sentences of `inspector/alpha/recover`.
"""
