"""The instrument: everything a screen or a command shows is computed here.

What lives here: a room for each question, with its answers as data, as text (`report`), as JSON (`payload`) and as a
command (`cli`); docs/architecture.md has a plan of them. Beside the rooms stand files that all of them use: names and
roles (`roles`, `siblings`), what was noticed (`finding`), text, tables and printing.

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
