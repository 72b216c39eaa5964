"""What a calibration stored, and how its settings say what was asked. No torch in here.

layout.py the names of its files. settings.py what was asked for. points.py the observation points. recipes.py which
rule makes the scale of which point. stored.py a calibration read from its folder. scales.py its rules on its stored
tables.

Running one is `inspector/calibrate`.
"""
