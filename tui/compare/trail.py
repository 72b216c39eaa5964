"""Where one was, for the way back."""

from __future__ import annotations

LONGEST = 200


class Trail:
    """Scales in the order in which they were looked at, and a place among them."""

    def __init__(self) -> None:
        self._roles: list[str] = []
        self._at = -1

    def __bool__(self) -> bool:
        return bool(self._roles)

    def add(self, role: str) -> None:
        """Here now: what was ahead is forgotten, unless this is where one stands already."""
        if self._at >= 0 and self._roles[self._at] == role:
            return
        del self._roles[self._at + 1 :]
        self._roles.append(role)
        del self._roles[:-LONGEST]
        self._at = len(self._roles) - 1

    def step(self, by: int) -> str | None:
        """Back or forward, None where there is nothing."""
        to = self._at + by
        if not 0 <= to < len(self._roles):
            return None
        self._at = to
        return self._roles[to]
