"""What can be asked of one tensor.

statistics.py its moments, percentiles and how often each code occurs. histogram.py its distribution: levels.py and
code_cells.py say what was rounded to its values. inspection.py all of that for one entry. names.py what a user calls
one. scale_values.py the values of a scale and their range, scale_table.py those of all scales of a model as columns.
scale_faults.py scales that cannot be right.
stored_values.py the floats of a quantized weight that its codes can be.
stored_blocks.py, clipping.py what a scale clips. value_text.py values as text. dequantize.py whole weights as floats
in a file. report.py and payload.py the answers for people and for programs; cli.py `qinspect show` and `qinspect
dequantize`.
"""
