"""Where the terminal is. Imported before Textual is."""

from __future__ import annotations

import os


def over_ssh() -> bool:
    """Whether the terminal is at the other end of an SSH connection."""
    return bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))
