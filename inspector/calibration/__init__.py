"""What a calibration stored, and how its settings say what was asked. No torch in here.

layout.py the names of its files. settings.py what was asked for. stored.py a calibration read from its folder.
scales.py its rules on its stored tables.

Running one is `inspector/calibrate`; points, rules and recipes are in `inspector/observers`.
"""
