"""ComfyUI: linear layers in several formats under one mark, each named by its module.

`M.comfy_quant`, or the layers in the file's metadata, name the format of module M; files from before have
`scale_weight` beside FP8 and one `scaled_fp8`. markers.py reads these, family.py goes through the modules, building.py
says what the entries of one are; scaled.py, tiled.py, two_level.py and affine.py read them. docs/formats.md has the
layouts.
"""

from qinspect.inspector.formats.families.comfy.family import ComfyFormat

__all__ = ["ComfyFormat"]
