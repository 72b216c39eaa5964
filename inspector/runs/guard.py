"""Whether a folder of ours can be believed: what others can write, others can forge."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.places import STATE_VARIABLE


@dataclass(frozen=True, slots=True)
class Unsafe:
    """What is wrong with a folder, and what to do about it."""

    folder: Path
    problem: str
    cure: str


def refuse_unsafe(*folders: Path) -> None:
    """Raises CannotRead for a folder that belongs to somebody else, or that others can write into."""
    for folder in folders:
        found = unsafe_folder(folder)
        if found:
            raise CannotRead(found.problem, file=found.folder, cure=found.cure)


def unsafe_folder(folder: Path) -> Unsafe | None:
    """What is wrong with a folder of ours, or with the link that it is; None for nothing, or no folder."""
    try:
        link, info = os.lstat(folder), os.stat(folder)
    except OSError:
        return None
    elsewhere = f"Set {STATE_VARIABLE} to a folder of your own."
    me = os.getuid()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (me, 0):
        return Unsafe(folder, f"is a link that belongs to {_user(link.st_uid)}, and you are {_user(me)}", elsewhere)
    if info.st_uid != me:
        return Unsafe(folder, f"belongs to {_user(info.st_uid)}, and you are {_user(me)}", elsewhere)
    everybody, group = info.st_mode & stat.S_IWOTH, info.st_mode & stat.S_IWGRP
    if everybody or (group and not _is_own_group(info.st_gid)):
        mode = stat.S_IMODE(info.st_mode)
        return Unsafe(
            folder, f"can be written by others (mode {mode:04o})", f"chmod go-w {shlex.quote(os.path.realpath(folder))}"
        )
    return None


def _is_own_group(gid: int) -> bool:
    """Whether nobody else is in the group: on many systems a user has a group of the same name, and may write to it."""
    import grp
    import pwd

    try:
        me = pwd.getpwuid(os.getuid()).pw_name
        found = grp.getgrgid(gid)
    except KeyError:  # numbers without names, as in containers
        return gid == os.getuid() == os.getgid()
    return found.gr_name == me and set(found.gr_mem) <= {me}


def _user(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (user {uid})"
    except KeyError:
        return f"user {uid}"
