"""Whom the machines of a cluster let in: issued keys, and the nodes' own, which they tell in their reports. For
``control``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from stream.cluster.model import Access
from stream.cluster.roster import Roster
from stream.errors import StreamError
from stream.keys import check_key, is_name

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
        self._failure = ""
        self._refused: dict[str, str] = {}  # by node: what is wrong with the key that it tells

    @property
    def problem(self) -> str:
        """What is wrong with keys; empty where nothing is."""
        return "; ".join(filter(None, (self._failure, *self._refused.values())))

    @property
    def access(self) -> Access:
        """Everybody who is let in. A node that is gone keeps its place for as long as it is listed: it comes back with
        the same key. One that comes later tells its key anew."""
        # Nobody takes the place of this machine's own programs.
        return replace(self._given, nodes={**self._nodes, **self._given.nodes})

    def look(self, roster: Roster, now: float) -> None:
        """Takes the keys that nodes have told, and now and then those that were issued."""
        self._hear(roster)
        others = self._nodes != self._told and not self._failure  # what failed a moment ago waits its time
        if now < self._due and not others:
            return
        self._due = now + LOOK_EVERY
        try:
            self._given = self._issued()
            if self._nodes != self._told:
                self._let_in(dict(self._nodes))
                self._told = dict(self._nodes)
            self._failure = ""
        except StreamError as error:
            failure = f"keys cannot be handed out: {error}"
            if failure != self._failure:
                _log.error("%s", failure)
            self._failure = failure

    def _hear(self, roster: Roster) -> None:
        """One key that is not well formed must not keep all others from being handed out."""
        self._refused = {}
        for _, post in roster.all():
            if post.report is None or not post.answering:
                continue
            node = post.report.node
            try:
                if not is_name(node):
                    raise ValueError(f"{node[:80]!r} is not a name")
                self._nodes[node] = check_key(post.report.key)
            except ValueError as error:
                self._refused[node] = f"node {node[:80]} is not let in by the others: {error}"
        # Where nodes have no disk of their own, every one that ever was would be let in for good.
        remembered = roster.remembered
        self._nodes = {node: key for node, key in self._nodes.items() if node in remembered}
