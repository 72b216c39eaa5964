"""The instrument: everything a screen or a command shows is computed here.

What lives here: opening checkpoints (`checkpoint`), recognising quantization formats and pairing each
scale with what it scales (`formats`), the layer tree (`tree`), comparing two models (`compare`), and the
same answers as text and JSON (`report`, `cli`).

What does not: anything of Textual, and - on the browse and compare path - torch or transformers.
"""

__version__: str


def __getattr__(name: str) -> str:
    """`__version__`, found when asked for: importlib.metadata takes 20 ms to import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("qinspect")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
