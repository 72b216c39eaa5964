"""Writes the tables of docs/loaders.md from the rules: `.venv/bin/python docs/make_loaders.py`."""

from __future__ import annotations

from pathlib import Path

from qinspect.inspector.loaders.table import BEGIN, END, tables

PAGE = Path(__file__).parent / "loaders.md"


def made(page: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = page.partition(BEGIN)
    return before + tables() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
