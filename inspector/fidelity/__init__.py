"""How far the values of one checkpoint are from those of another: every weight that both have, without running a model.

pairs.py says which weights stand against each other and which cannot, blocks.py reads both in pieces, sums.py is what
is added up of a piece, nearest.py what rounding to nearest would have cost on the same grid, best.py what a search over
scales finds there, piece.py all of it of one piece, on_device.py the same on a GPU, work.py what is known of a pair so
far, measuring.py does it all on every core, order.py in which order, recognition.py what was done to the weights, which
undoing.py undoes. results.py is what comes out, kept.py keeps it for the next look, summary.py what is said of several,
error_map.py where in a weight the error is, profiles.py at which sizes and in which channels. Rows and JSON are in
report.py and payload.py; the command, which may ask for methods too, stands in `inspector/method`. Codes and scales as
such are compared elsewhere (`inspector/compare`).
"""
