"""Whom the machines of a cluster let in: issued keys, and the nodes' own, which they tell in their reports. For
``control``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from stream.cluster.model import Access
from stream.cluster.roster import Roster
from stream.errors import StreamError

LOOK_EVERY = 5.0
"""Seconds between two looks at issued keys: how long one that was taken back may still be let in."""

_log = logging.getLogger(__name__)


class Gatekeeper:
    """Collects public keys.

    Args:
        access: issued keys, and those of this machine's own programs; raises StreamError.
        let_in: is given the key of every node by name, whenever they are others; raises StreamError.
    """

    def __init__(self, access: Callable[[], Access], let_in: Callable[[Mapping[str, str]], None]) -> None:
        self._issued, self._let_in = access, let_in
        self._given = Access()
        self._nodes: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._due = float("-inf")
        self.problem = ""

    @property
    def access(self) -> Access:
        """Everybody who is let in. A node that is gone keeps its place: it comes back with the same key."""
        return replace(self._given, nodes={**self._given.nodes, **self._nodes})

    def look(self, roster: Roster, now: float) -> None:
        """Takes the keys that nodes have told, and now and then those that were issued."""
        for _, post in roster.all():
            if post.report is not None and post.answering:
                self._nodes[post.report.node] = post.report.key
        others = self._nodes != self._told and not self.problem  # what failed a moment ago waits its time
        if now < self._due and not others:
            return
        self._due = now + LOOK_EVERY
        try:
            self._given = self._issued()
            if self._nodes != self._told:
                self._let_in(dict(self._nodes))
                self._told = dict(self._nodes)
            self.problem = ""
        except StreamError as error:
            if str(error) != self.problem:
                _log.error("keys cannot be handed out: %s", error)
            self.problem = f"keys cannot be handed out: {error}"
