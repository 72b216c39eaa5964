"""Where the program keeps what it writes for itself."""

from __future__ import annotations

import os
from pathlib import Path

STATE_VARIABLE = "QINSPECT_STATE_DIR"


def state_folder() -> Path:
    """QINSPECT_STATE_DIR where it is set, else the user's state folder (`~/.local/state/qinspect`, XDG_STATE_HOME)."""
    chosen = os.environ.get(STATE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("qinspect", appauthor=False)
