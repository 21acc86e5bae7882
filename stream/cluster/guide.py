"""Leads a camera's reader to the worker that scores it: follows the directory, and moves the link. For ``reader``.

Where the directory is away, the reader goes on with the last place that it was told: a camera that is scored is not
stopped because nobody can say where.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from stream.cluster.directory_client import DirectoryAddress, DirectoryClient, Places, Refused
from stream.cluster.model import Place
from stream.endpoints import parse_endpoint
from stream.errors import UsageError
from stream.keys import check_key
from stream.link_client import LinkClient
from stream.messages import Mode
from stream.seldom import Seldom

ASK_S = 2.0
"""Seconds between two questions while all is well: how late a reader may learn of a move."""

ASK_SOON_S = 0.25
"""The same while no worker has welcomed it."""

SOON_FOR_S = 10.0
"""Seconds for which it asks so often. A takeover is faster; after that, a thousand readers that wait for workers to
load their networks would keep the directory from everything else."""

ASK_LATER_S = 1.0
"""Seconds between two questions after that."""

RETRY_S = 3.0
"""Seconds after which a worker that has said nothing, or no for good, is tried anew: it may let this key in, or score
this camera, only now. ZeroMQ does not come back by itself after a handshake that was refused."""

SETTLE_S = {Mode.LIVE: 1.0, Mode.REPLAY: 3.0}
"""Seconds that a move waits for word of the frames under way, so that none is scored twice, or is called lost though it
was scored. A replay hears of them by a beat, once a second. A worker that is dead gives no word,
so that this must be short."""

OLDER_S = 10.0
"""Seconds after which a place of an older generation is believed: a control that has lost its memory counts from the
beginning, and no camera may be lost over that."""

_log = logging.getLogger(__name__)


class Guide:
    """Knows where one camera is scored. One thread uses an object, the reader's.

    Args:
        directory: whom it asks.
        camera: id.
        mode: of its reader.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        directory: DirectoryAddress,
        *,
        camera: str,
        mode: Mode,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._camera, self._clock = directory, camera, clock
        self._settle_s = SETTLE_S[mode]
        self._client = DirectoryClient(directory.endpoint, secure=directory.secure(), clock=clock)
        self._complaints = Seldom(_log, clock)
        self._place: Place | None = None  # the last one with a worker
        self._generation = -1  # of the last word that was believed
        self._older_since: float | None = None  # when the directory began to tell older ones
        self._nowhere = ""  # the directory's reason why the camera has no worker now
        self._asked = self._tried = float("-inf")  # clock
        self._alone_since: float | None = None  # when it had no worker any more; clock
        self._due: tuple[Place, float] | None = None  # where the link is to move, and since when it is

    @property
    def holding(self) -> bool:
        """The link is about to move: no new frame should be sent before."""
        return self._due is not None

    @property
    def words(self) -> str:
        """What the reader knows of its worker, for a person."""
        if self._nowhere:
            return f"the directory at {self._directory.endpoint} names no worker: {self._nowhere}"
        if self._place is None:
            return f"the directory at {self._directory.endpoint} does not answer: does it run, and let this key in?"
        return f"worker {self._place.worker} at {self._place.endpoint} does not answer"

    def lead(self, link: LinkClient) -> None:
        """One round: asks where that is due, and moves the link where the directory says so. Never waits."""
        place = self.poll(connected=link.connected)
        if place is not None:
            self._due = (place, self._clock() if self._due is None else self._due[1])
        if self._due is not None:
            self._move_when_settled(link, *self._due)
        elif self._place is not None and self._in_vain(link):
            self._move(link, self._place)

    def poll(self, *, connected: bool) -> Place | None:
        """A place that is another than the last one; None: nothing new. Asks where that is due."""
        now = self._clock()
        if now - self._asked >= self._pause(connected, now) and self._client.ask_place(self._camera):
            self._asked = now
        moved = None
        for answer in self._client.poll():
            if isinstance(answer, Refused):
                self._nowhere = answer.reason
                self._complaints.warn(f"camera {self._camera}: the directory refuses to say where: {answer.reason}")
            elif isinstance(answer, Places):
                moved = self._told(answer.places[0]) or moved
        return moved

    def _pause(self, connected: bool, now: float) -> float:
        """Seconds between two questions."""
        if connected:
            self._alone_since = None
            return ASK_S
        self._alone_since = now if self._alone_since is None else self._alone_since
        return ASK_SOON_S if now - self._alone_since < SOON_FOR_S else ASK_LATER_S

    def close(self) -> None:
        """Leaves the directory. May be called twice."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _told(self, place: Place) -> Place | None:
        if place.camera != self._camera or not self._believes(place):
            return None
        self._nowhere = "" if place.worker else place.reason or "it gives no reason"
        if not place.worker or _same(place, self._place):
            return None
        try:
            parse_endpoint(place.endpoint)
            check_key(place.server)
        except (UsageError, ValueError) as error:
            self._complaints.warn(f"camera {self._camera}: the directory names a place that cannot be used: {error}")
            return None
        self._place = place
        return place

    def _believes(self, place: Place) -> bool:
        now = self._clock()
        if place.generation >= self._generation:
            self._older_since = None
        elif self._older_since is None:
            self._older_since = now
            return False
        elif now - self._older_since < OLDER_S:
            return False
        self._generation = place.generation
        return True

    def _move_when_settled(self, link: LinkClient, place: Place, since: float) -> None:
        if link.connected and not link.settled and self._clock() - since < self._settle_s:
            return
        _log.info("camera %s: worker %s at %s scores it", self._camera, place.worker, place.endpoint)
        self._due = None
        self._move(link, place)

    def _in_vain(self, link: LinkClient) -> bool:
        if link.connected or self._clock() - self._tried < RETRY_S:
            return False
        return bool(link.refusal) or not link.answered

    def _move(self, link: LinkClient, place: Place) -> None:
        self._tried = self._clock()
        link.move(parse_endpoint(place.endpoint), secure=self._directory.secure_to(place.server))


def _same(place: Place, other: Place | None) -> bool:
    return other is not None and (place.endpoint, place.server) == (other.endpoint, other.server)
