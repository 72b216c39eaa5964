"""Back to the shell for a moment, as ctrl+z does it in every program: whether there is a shell that would notice."""

from __future__ import annotations

import os

from qinspect.inspector.processes import parent_of

NO_SHELL = "there is no shell to go back to: nothing with job control started qinspect here"


def has_job_control() -> bool:
    """Whether somebody would see that we stop, and could let us go on: a process of this session and of another group
    started our group. Without one (`ssh host -t qinspect`, a pane of tmux that runs nothing else) a stop would last for
    ever, which is why the system has such a group not stopped by the terminal either."""
    group, session = os.getpgrp(), os.getsid(0)
    pid = os.getppid()
    try:
        while pid > 1 and os.getsid(pid) == session:
            if os.getpgid(pid) != group:
                return True
            pid = parent_of(pid)
    except (OSError, ValueError, IndexError):
        return False
    return False
