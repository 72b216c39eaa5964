"""The instrument: everything a screen or a command shows is computed here.

What lives here: opening checkpoints (`checkpoint`), recognising quantization formats and pairing each
scale with what it scales (`formats`), the layer tree (`tree`), comparing two models (`compare`), and the
same answers as text and JSON (`report`, `cli`).

What does not: anything of Textual, and - on the browse and compare path - torch or transformers.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("qinspect")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
