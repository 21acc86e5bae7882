"""Gives the cameras to the reader stations, and orders it. For ``control``; the rules are in ``reading``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from stream.cluster.fleet import NETWORK_LABEL
from stream.cluster.ledger import Counter
from stream.cluster.model import ReaderOrders, ReaderReport
from stream.cluster.outline import unreachable
from stream.cluster.posts import Post
from stream.cluster.reading import CameraWish, ReaderPlace, assign_readers, even_out
from stream.cluster.roster import Key, Roster
from stream.cluster.scoring import Scoring
from stream.config import Config
from stream.endless import is_endless

MOVED = 15.0
"""Seconds for which a camera counts as on the move after it was given to another station: its reader ends, another one
starts, and a camera may take its time to let it in."""

STEADY_AFTER = 30.0
"""Seconds that a station must have answered before cameras are moved to it for even numbers: not each time that a bad
network lets it through."""

_log = logging.getLogger(__name__)


class Reading:
    """Who reads what.

    Args:
        counter: gives the generations of orders.
        directory: endpoint and public key of the directory.
    """

    def __init__(self, counter: Counter, directory: tuple[str, str]) -> None:
        self._counter, self._directory = counter, directory
        self.read: dict[str, str] = {}  # camera -> name of its station
        self.problems: list[str] = []
        self._ordered: dict[Key, ReaderOrders] = {}
        self._last: dict[str, str] = {}  # the same as ``read``, and of cameras that nobody reads now
        self._moved: dict[str, float] = {}  # cameras that were moved for even numbers, and when; monotonic
        self._ending_of: tuple[Config, frozenset[str]] | None = None
        self._since: dict[str, float] = {}  # stations that answer, and since when; monotonic

    def adopt(self, roster: Roster) -> None:
        """Leaves cameras with the stations that say they read them."""
        for _, report in roster.readers_that_answer():
            for camera in report.cameras:
                self.read.setdefault(camera, report.station)
                self._last.setdefault(camera, report.station)

    def order(self, roster: Roster, config: Config, scoring: Scoring, *, held: bool, now: float) -> None:
        """Says to every station what it is to read, where that is another thing than before.

        Args:
            held: the control may be cut off: every camera stays where it is read.
        """
        stations = self._stations(roster)
        if held:
            known = {camera.id for camera in config.cameras}
            fresh = {camera: station for camera, station in self.read.items() if camera in known}
        else:
            fresh = self._assign(stations, config, scoring, now)
        for camera in sorted(fresh.keys() - self.read.keys()):
            _log.info("camera %s is read by %s", camera, fresh[camera])
        self.read = fresh
        own: dict[str, list[str]] = {}
        for camera, station in sorted(fresh.items()):
            own.setdefault(station, []).append(camera)
        for key, post in roster.readers.items():
            if post.report is not None:
                name = post.report.station if post.answering and post.leaving_since is None else ""
                self._order(key, post, tuple(own.get(name, ())))
                post.eager = not post.took_orders
        for key in self._ordered.keys() - roster.readers.keys():
            del self._ordered[key]
        self.problems = _problems(config, fresh, scoring)

    def _assign(
        self, stations: Mapping[str, ReaderPlace], config: Config, scoring: Scoring, now: float
    ) -> dict[str, str]:
        cameras = config.cameras
        ending = self._ending(config)
        wishes = [CameraWish(c.id, c.network, _node_of(c.id, scoring), c.id in ending) for c in cameras]
        fresh = assign_readers(wishes, stations, self._last)
        self._since = {name: self._since.get(name, now) for name in stations}
        self._moved = {camera: at for camera, at in self._moved.items() if now - at < MOVED}
        steady = {name: place for name, place in stations.items() if now - self._since[name] >= STEADY_AFTER}
        loose = [wish for wish in wishes if wish.name not in self._moved]
        moves = even_out(loose, steady, fresh, most=config.cluster.moves - len(self._moved))
        for camera, station in moves.items():
            _log.info("camera %s is read by %s instead of %s, to even out the numbers", camera, station, fresh[camera])
            self._moved[camera] = now
        fresh |= moves
        known = {camera.id for camera in cameras}
        self._last = {name: at for name, at in self._last.items() if name in known} | fresh
        return fresh

    def _ending(self, config: Config) -> frozenset[str]:
        """Cameras whose sources have an end, worked out once for each configuration."""
        if self._ending_of is None or self._ending_of[0] is not config:
            self._ending_of = config, frozenset(camera.id for camera in config.cameras if not is_endless(camera))
        return self._ending_of[1]

    def _stations(self, roster: Roster) -> dict[str, ReaderPlace]:
        found: dict[str, ReaderPlace] = {}
        for (node_id, _), report in roster.readers_that_answer():
            node = roster.nodes.get(node_id)
            if node is not None:
                network = node.labels.get(NETWORK_LABEL)
                found.setdefault(report.station, ReaderPlace(report.station, report.node, network))
        return found

    def _order(self, key: Key, post: Post[ReaderReport], cameras: tuple[str, ...]) -> None:
        wanted = ReaderOrders(0, cameras, *self._directory)
        before, taken = self._ordered.get(key), post.report.generation if post.report is not None else 0
        if before is not None and replace(before, generation=0) == wanted and taken <= before.generation:
            return
        orders = replace(wanted, generation=self._counter.next())
        self._ordered[key] = orders
        post.orders = orders.generation, orders.to_text()


def _node_of(camera: str, scoring: Scoring) -> str | None:
    load = scoring.loads.get(scoring.handovers.placed.get(camera, ""))
    return load.node if load is not None else None


def _problems(config: Config, read: Mapping[str, str], scoring: Scoring) -> list[str]:
    """Networks that no station reaches, of cameras that nobody reads from outside either."""
    alone: dict[str, list[str]] = {}
    for camera in config.cameras:
        if camera.network is not None and camera.id not in read and not scoring.has_reader(camera.id):
            alone.setdefault(camera.network, []).append(camera.id)
    return [f"nobody reads {', '.join(cameras)}: {unreachable(network)}" for network, cameras in sorted(alone.items())]
