"""Whether a run outlives the logout of its user: systemd-logind may be set up to kill all that a user leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_FOLDERS = ("usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd")
"""Where logind.conf and its drop-ins are, what counts more later."""
_YES = frozenset({"1", "yes", "y", "true", "t", "on"})


@dataclass(frozen=True, slots=True)
class Survival:
    """What happens to a run at logout.

    prefix: words to put before the command that starts the supervisor. warning: what to say before starting, "" for
    nothing.
    """

    prefix: tuple[str, ...] = ()
    warning: str = ""


def survival(root: Path, user: str, environ: Mapping[str, str], which: Callable[[str], str | None]) -> Survival:
    """What to do about logout on a system whose files are below `root`, for a user with these variables.

    which: the path of a program, None where it is not installed.
    """
    if not (root / "run/systemd/system").is_dir():  # the system was not booted with systemd
        return Survival()
    found = kill_setting(root, user)
    if found is None:
        return Survival()
    says = f"KillUserProcesses=yes in /{found.relative_to(root)}: processes are killed when you log out"
    program = which("systemd-run")
    if program is None or not _user_manager(root, environ):
        return Survival(
            (), f"{says}, this run too. Ask for `loginctl enable-linger {user}` and a systemd user session, or stay."
        )
    # --quiet: what it says about the scope is no output of the run
    prefix = (program, "--user", "--scope", "--quiet", "--collect", "--")
    if (root / "var/lib/systemd/linger" / user).exists():
        return Survival(prefix)
    warning = f"{says}. The run goes into your user session, which ends with your last login; `loginctl enable-linger`"
    return Survival(prefix, f"{warning} keeps it.")


def here() -> Survival:
    """The same for this host and user."""
    import getpass
    import shutil

    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        user = str(os.getuid())
    return survival(Path("/"), user, os.environ, shutil.which)


def kill_setting(root: Path, user: str) -> Path | None:
    """The file whose setting kills this user's processes at logout; None where none does."""
    kill: tuple[bool, Path] | None = None
    only: list[str] = []
    exclude = ["root"]
    for path in _files(root):
        for key, value in _settings(path):
            if key == "KillUserProcesses":
                kill = (value.lower() in _YES, path)
            elif key == "KillOnlyUsers":
                only = value.split()
            elif key == "KillExcludeUsers":
                exclude = value.split()
    if kill is None or not kill[0] or user in exclude or (only and user not in only):
        return None
    return kill[1]


def _files(root: Path) -> list[Path]:
    """logind.conf, then drop-ins by name, one of a name only: the order in which systemd reads them."""
    mains = [p for folder in reversed(_FOLDERS) if (p := root / folder / "logind.conf").is_file()]
    drop_ins: dict[str, Path] = {}
    for folder in _FOLDERS:
        try:
            drop_ins.update({p.name: p for p in (root / folder / "logind.conf.d").glob("*.conf")})
        except OSError:
            continue
    return [*mains[:1], *(drop_ins[name] for name in sorted(drop_ins))]


def _settings(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    made, section = [], ""
    for raw in lines:
        line = raw.strip()
        if line.startswith("["):
            section = line
        elif section == "[Login]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            made.append((key.strip(), value.strip()))
    return made


def _user_manager(root: Path, environ: Mapping[str, str]) -> bool:
    """Whether the user's systemd can be asked: its sockets are where it keeps them."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        return False
    folder = root / runtime.lstrip("/")
    return (folder / "systemd/private").exists() or (folder / "bus").exists()
