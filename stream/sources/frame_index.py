"""Numbers the frames of a stream, with holes where frames are damaged. Used by ``video``; pure."""

from __future__ import annotations

from collections import deque


class FrameIndex:
    """Gives each frame the index that it would have if none were damaged, so that labels of a recording stay aligned.

    A decoder holds frames back; a packet that it is not given leaves its hole where that packet stood. Packets stand in
    decoding order, so that with B-frames a hole may be off by as many as there are in a row.
    """

    def __init__(self) -> None:
        self._next = 0
        self._packets = 0
        self._holes: deque[int] = deque()  # indices of damaged packets that no frame has passed yet, rising
        self._damaged = 0
        self._last_was_good = True

    @property
    def good(self) -> int:
        """Frames numbered so far."""
        return self._next + len(self._holes) - self._damaged

    @property
    def damaged(self) -> int:
        """Frames left out so far."""
        return self._damaged

    @property
    def ends_damaged(self) -> bool:
        """Whether the last of all is a damaged one."""
        return bool(self._holes) or not self._last_was_good

    def packet(self) -> None:
        """A packet that will become a frame was given to the decoder."""
        self._packets += 1

    def damaged_packet(self) -> None:
        """A packet was damaged and not given to the decoder."""
        self._holes.append(self._packets)
        self._packets += 1
        self._damaged += 1

    def damaged_frame(self) -> None:
        """The decoder failed on a frame, or marked it as damaged."""
        self._take()
        self._damaged += 1
        self._last_was_good = False

    def good_frame(self) -> int:
        """Index of a frame that the decoder gave."""
        self._last_was_good = True
        return self._take()

    def _take(self) -> int:
        while self._holes and self._holes[0] <= self._next:
            self._holes.popleft()
            self._next += 1
        self._next += 1
        return self._next - 1
