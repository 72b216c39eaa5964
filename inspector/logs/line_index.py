"""Where lines begin in a file of any size: for each block of bytes, how many line ends come before it.

8 bytes per 256 KiB: 32 kB for a log of 1 GB, whatever its lines are. A line is found by reading one block.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

BLOCK_BYTES = 256 * 1024


class LineIndex:
    """Counts of line ends. Not locked: LogFile does that."""

    def __init__(self) -> None:
        self.indexed_bytes = 0
        self.n_line_ends = 0
        self._before = array("Q", [0])

    def extend(self, n_bytes: int, n_line_ends: int) -> None:
        """The next bytes, up to the end of a block at most, hold this many line ends."""
        self.indexed_bytes += n_bytes
        self.n_line_ends += n_line_ends
        if self.indexed_bytes % BLOCK_BYTES == 0:
            self._before.append(self.n_line_ends)

    def next_size(self, end: int) -> int:
        """Bytes to count next: to the end of the block, or to `end`."""
        return min(BLOCK_BYTES - self.indexed_bytes % BLOCK_BYTES, end - self.indexed_bytes)

    def find(self, n: int) -> tuple[int, int]:
        """The n-th line end, from 1: the offset of its block, and which one it is in there, from 1."""
        block = bisect_left(self._before, n) - 1
        return block * BLOCK_BYTES, n - self._before[block]

    def before(self, offset: int) -> tuple[int, int]:
        """Line ends before the block that holds `offset`, and where the block begins."""
        block = min(offset // BLOCK_BYTES, len(self._before) - 1)
        return self._before[block], block * BLOCK_BYTES

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self._before.itemsize * len(self._before)
