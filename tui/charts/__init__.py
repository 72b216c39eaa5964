"""Charts as text: cells with pens, two areas over each other, curves, heat maps, and the axes around them.

Nothing here knows what is drawn; numbers come counted. `ticks` and `frame` make axes, `area` and `curves` fill cells,
`heat` draws maps, `cells` turns all of it into text, `inks` chooses colours by what the terminal has.
"""
