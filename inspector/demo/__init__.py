"""A small Mamba2 language model that comes with the program, and text that it has not seen.

train.py made both; training.log says how well. README.md has the origins and licences.
"""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
"""A checkpoint in the layout of state-spaces: bytes are its tokens."""

HELD_OUT_TEXT = Path(__file__).parent / "heldout.txt"
"""Two plays and a book of the Bible that the model was not trained on."""
