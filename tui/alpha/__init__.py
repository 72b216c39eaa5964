"""What the alpha explorer shows, as rows and lines.

alpha_words.py what the command line asks for. state.py what is asked and its answers. table.py the points. curve.py one
point's error against alpha. heat.py the whole model. The screen is in `tui/alpha/screen.py`, every number comes from
`inspector/alpha/sweep`.
"""
