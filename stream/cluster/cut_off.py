"""Whether it is the control that is cut off, and not the nodes: then nothing should be moved. Otherwise the first node
that answers again would get every camera of the cluster. For ``control``.
"""

from __future__ import annotations

from collections.abc import Iterable

from stream.cluster.model import ReaderReport, StationState, WorkerReport
from stream.cluster.posts import Post
from stream.cluster.roster import Key

HOLD = 6.0
"""Seconds for which cameras stay where they are when more nodes are away than answer. After that it is believed: the
others take over. While none answers at all there is nobody to move a camera to, and they stay in any case."""


class CutOff:
    """Watches how many nodes are away."""

    def __init__(self) -> None:
        self._since: float | None = None  # when more were away than there, or last none was there; monotonic
        self.problem = ""  # for a person

    def look(self, posts: Iterable[tuple[Key, Post[WorkerReport] | Post[ReaderReport]]], now: float) -> bool:
        """Whether cameras should stay where they are. Nodes come back one by one: once most were away, it waits for all
        of them, or until ``HOLD`` is over.

        Args:
            posts: all stations.
            now: monotonic seconds.
        """
        known, away = _count(posts, now)
        most = 2 * away > known
        over = self._since is not None and now - self._since > HOLD
        if not away or (not most and (self._since is None or over)):
            self._since, self.problem = None, ""
            return False
        if self._since is None or away == known:
            self._since = now
        held = now - self._since <= HOLD
        self.problem = ""
        if held:
            self.problem = f"{away} of {known} nodes do not answer: the control itself may be cut off. "
            self.problem += "Cameras stay where they are for now"
        return held


def _count(posts: Iterable[tuple[Key, Post[WorkerReport] | Post[ReaderReport]]], now: float) -> tuple[int, int]:
    """How many nodes are known, and how many of them are away with all of their stations."""
    away: dict[str, bool] = {}
    for (node, _), post in posts:
        if post.began and post.state is not StationState.GONE:  # that one is dead beyond doubt
            away[node] = away.get(node, True) and post.away(now)
    return len(away), sum(away.values())
