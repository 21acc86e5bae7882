"""What a worker's station writes for its processes: whom they let in, what operators have set, and what is to be scored
with which galleries. For ``worker_station``; one thread at a time uses an object.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from stream.assigned import Assigned, write_assigned
from stream.cluster.model import Access, WorkerOrders
from stream.cluster.node_folder import NodeFolder
from stream.cluster.node_galleries import NodeGalleries
from stream.config import Config
from stream.durable import write_durably
from stream.errors import KeyFileError, StreamError, UsageError

log = logging.getLogger(__name__)

AGAIN_AFTER = 2.0
"""Seconds until what could not be written is tried again."""

DOUBT_AGAIN_AFTER = 30.0
"""Seconds after which a gallery that was fetched again may be found damaged once more."""


class WorkerFiles:
    """Brings the files of a worker in line with its orders; writes only what has changed.

    Args:
        node: whose keys they are.
        state: the worker's state folder.
        assigned: file that says what it scores.
        galleries: of this node.
        monotonic: clock.
    """

    def __init__(
        self,
        node: NodeFolder,
        state: Path,
        assigned: Path,
        galleries: NodeGalleries,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node, self.galleries, self._monotonic = node, galleries, monotonic
        self._assigned_file, self._operator_file = assigned, state / "operator.json"
        self._problems: dict[str, str] = {}  # what could not be done, and why
        self._written: Assigned | None = None
        self._access: Access | None = None
        self._operator: str | None = ""  # as it stands in the file; "" = not known
        self._wanted: tuple[str, ...] | None = None
        self._due: dict[str, float] = {}  # the same: when it is tried again
        self._doubt_due: dict[str, float] = {}  # by scene: when it may be doubted again

    def take(self, orders: WorkerOrders, config: Config) -> None:
        """Does what is left to do for these orders; to be called often."""
        steps: dict[str, Callable[[], None]] = {
            "operator": partial(self._set_operator, orders.operator),
            "cameras": partial(self._assign, orders, config),
        }
        if orders.generation:  # before the first orders nobody knows who may come in: as it was, then
            steps = {"keys": partial(self._let_in, orders.access), **steps}
        for name, step in steps.items():  # one that cannot be done keeps no other from it
            self._do(name, step)

    @property
    def problem(self) -> str:
        """What of it could not be done; it is tried again."""
        return "; ".join(dict(self._problems).values())

    def _do(self, name: str, step: Callable[[], None]) -> None:
        if self._monotonic() < self._due.get(name, 0.0):
            return
        try:
            step()
            self._problems.pop(name, None)
        except (OSError, ValueError, KeyFileError, UsageError) as error:
            if self._problems.get(name) != str(error):
                log.error("the orders cannot be carried out: %s", error)
            self._problems[name], self._due[name] = str(error), self._monotonic() + AGAIN_AFTER

    def distrust(self, scenes: Iterable[str]) -> None:
        """The worker has found the galleries of these scenes damaged."""
        now = self._monotonic()
        for scene in scenes:
            # What it says is a second old: one that is here again meanwhile must not be doubted for the old one's sake.
            if scene in (self._written or Assigned()).galleries and now >= self._doubt_due.get(scene, now):
                self._doubt_due[scene] = now + DOUBT_AGAIN_AFTER
                self.galleries.distrust(scene)

    def _let_in(self, access: Access) -> None:
        if access != self._access:  # first: a reader may come as soon as its camera is scored here
            self._node.let_in(access)
            self._access = access

    def _set_operator(self, text: str | None) -> None:
        if text == self._operator:
            return
        if text is None:
            self._operator_file.unlink(missing_ok=True)
        else:
            write_durably(self._operator_file, text.encode())
        self._operator = text

    def _assign(self, orders: WorkerOrders, config: Config) -> None:
        scenes = scenes_of(config, orders.cameras)
        wanted = tuple(dict.fromkeys([*scenes, *orders.prefetch]))
        if wanted != self._wanted:
            self.galleries.want(wanted)
            self._wanted = wanted
        assigned = self._assigned(orders, scenes)
        if assigned != self._written:
            write_assigned(self._assigned_file, assigned)
            self._written = assigned

    def _assigned(self, orders: WorkerOrders, scenes: Iterable[str]) -> Assigned:
        found = {scene: self.galleries.ready(scene) for scene in scenes}
        folders = {scene: folder for scene, folder in found.items() if folder is not None}
        why = self.galleries.state()
        waiting = {
            scene: f"its gallery is not on this node yet: {why.get(scene, 'it is looked for')}"
            for scene in found.keys() - folders.keys()
        }
        versions = {scene: self.galleries.version(scene) for scene in folders}
        return Assigned(orders.generation, orders.cameras, folders, versions, dict(sorted(waiting.items())))


def scenes_of(config: Config, cameras: Iterable[str]) -> list[str]:
    """Scenes that these cameras may look at, each once; cameras that are not in the configuration count for nothing."""
    wanted = frozenset(cameras)
    found = (scene for camera in config.cameras if camera.id in wanted for scene in camera.scene_names)
    return list(dict.fromkeys(found))


def keep(path: Path, text: str) -> None:
    """Replaces a file that processes are started with, readable by this user alone.

    Raises:
        StreamError: it cannot be written.
    """
    try:
        write_durably(path, text.encode())
        path.chmod(0o600)
    except OSError as error:
        raise StreamError(f"{path} cannot be written: {error.strerror}") from error
