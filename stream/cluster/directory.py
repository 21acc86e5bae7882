"""The directory of a cluster: tells readers which worker scores their camera, and subscribers where the outboxes are.

It answers from what the control knows, decides nothing, and carries no frame and no alert. Messages (see ``wire``)::

    client                                    directory
    WHERE     {cameras: [ID, ...]}            WHERE     {places: [...]}             a reader's key: its own cameras only
    OUTBOXES  {}                              OUTBOXES  {generation, outboxes}      a subscriber's key
    CLUSTER   {}                              CLUSTER   {} and the document         a subscriber's key
                                              REFUSED   {reason}

Programs of the cluster's own machines may ask everything. Each request is answered once, in order; there is nothing to
subscribe to, and the directory remembers nobody. ``directory_client`` is the other end.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

import zmq

from stream.cluster.model import OutboxPlace, Place
from stream.curve import CurveServer, Peer
from stream.endpoints import parse_endpoint
from stream.errors import WireError
from stream.fields import as_list, text
from stream.guard import Limits
from stream.keys import Role
from stream.messages import MAX_CAMERA
from stream.seldom import Seldom
from stream.server_socket import ServerSocket
from stream.wire import Buffer, Envelope, Kind, decode, encode

POLL_S = 0.1
"""The longest that :meth:`DirectoryServer.run` takes to notice that it is to stop."""

MAX_ASKED = 8
"""Cameras in one WHERE: a reader asks for one, and eight answers fit into a message whatever their reasons say."""

MAX_REASON = 500
"""Characters of a reason in an answer: enough for a person, and eight of them fit into a message in any script."""

LIMITS = Limits(held=4 << 20, held_in_all=64 << 20, connections=4096)
"""Bytes that connections may hold in memory, and how many there may be: each camera's reader has one of its own."""

_MAX_REQUEST_BYTES = 4096  # requests are some dozen bytes; MAXMSGSIZE holds per part
_REQUESTS_PER_ROUND = 256  # so that a flood of them cannot keep `run` from stopping
_SEND_QUEUE = 8  # answers per peer; who asks more often than it reads loses some

_log = logging.getLogger(__name__)


class Book(Protocol):
    """What the directory answers from. It is asked from the directory's thread."""

    def place(self, camera: str) -> Place:
        """Where a camera is scored; of one that is unknown or nowhere, a place without a worker and with the reason."""

    def outboxes(self) -> tuple[int, tuple[OutboxPlace, ...]]:
        """A generation, which grows with every change, and every outbox that the cluster has ever heard of."""

    def document(self) -> Mapping[str, Any]:
        """How the cluster stands, as JSON-able values."""


class DirectoryServer:
    """Serves one book on one endpoint. One thread uses an object.

    Args:
        endpoint: ``tcp://`` (or ``ipc://``) address, claimed and bound at once.
        book: see there.
        secure: who is let in, made for ``Role.LOCAL``; this object closes it. A directory always has keys: it says
            where every camera and every alert of the cluster is.
        clock: monotonic seconds.

    Raises:
        EndpointBusy: another process serves this endpoint.
        UsageError: the endpoint is not well formed or cannot be bound.
    """

    def __init__(
        self, endpoint: str, book: Book, *, secure: CurveServer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._book, self._secure = book, secure
        self._counts: Counter[str] = Counter()
        self._complaints = Seldom(_log, clock)
        # Without MANDATORY an answer to a peer that left vanishes and is not counted; HANDOVER as in the feed.
        options = {
            zmq.SNDHWM: _SEND_QUEUE,
            zmq.MAXMSGSIZE: _MAX_REQUEST_BYTES,
            zmq.ROUTER_MANDATORY: 1,
            zmq.ROUTER_HANDOVER: 1,
        }
        self._socket = ServerSocket(parse_endpoint(endpoint), options=options, limits=LIMITS, secure=secure)
        self.address = self._socket.address  # really bound: a port 0 has become one

    def run(self, stop: Callable[[], bool]) -> None:
        """Serves until ``stop()`` is true; it is asked at least every ``POLL_S``."""
        while not stop():
            self.step(POLL_S)

    def step(self, wait: float) -> None:
        """One round: waits at most ``wait`` seconds for requests, and answers them."""
        if not self._socket.poll(int(wait * 1000)):
            return
        for _ in range(_REQUESTS_PER_ROUND):
            received = self._socket.receive()
            if received is None:
                return
            try:
                self._send(received.identity, self._answer(received.peer, decode(received.parts)))
            except WireError as error:
                self._counts["malformed"] += 1
                self._complaints.warn(f"request that is not well formed: {error}")

    def state(self) -> dict[str, Any]:
        """What went wrong and what was asked, counted, and the connections of the moment."""
        return {"counts": dict(self._counts), **({"guard": guard} if (guard := self._socket.counts()) else {})}

    def close(self) -> None:
        """Gives the endpoint up. May be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self, sender: Peer, request: Envelope) -> list[Buffer]:
        if request.kind not in (Kind.WHERE, Kind.OUTBOXES, Kind.CLUSTER):
            raise WireError(f"a directory takes no {request.kind.name}")
        cameras = read_cameras(request.meta) if request.kind is Kind.WHERE else ()
        if reason := self._forbidden(sender, request.kind, cameras):
            self._counts["forbidden"] += 1
            return _refused(reason)
        try:
            answer = self._told(request.kind, cameras)
        except Exception as error:  # whatever the book raises, the others must be answered
            self._counts["failed"] += 1
            _log.exception("the directory cannot answer %s", request.kind.name)
            return _refused(f"the directory cannot answer now: {type(error).__name__}")
        self._counts[request.kind.name.lower()] += 1
        return answer

    def _forbidden(self, sender: Peer, kind: Kind, cameras: tuple[str, ...]) -> str:
        """Why this key may not ask this; empty: it may."""
        if sender.any_name:
            return ""
        if not sender.known:  # it was revoked while its holder was connected
            return "this key was revoked"
        if kind is not Kind.WHERE:
            own = self._secure.names_of(sender, Role.SUBSCRIBER)
            return "" if own else "a reader's key asks for its own cameras only: use a subscriber's"
        own = self._secure.names_of(sender, Role.READER)
        foreign = [camera for camera in cameras if camera not in own]
        return f"this key may not be camera {foreign[0]!r}: see 'spade-stream keys'" if foreign else ""

    def _told(self, kind: Kind, cameras: tuple[str, ...]) -> list[Buffer]:
        if kind is Kind.WHERE:
            places = [self._book.place(camera) for camera in cameras]
            return encode(kind, {"places": [_short(place).to_json() for place in places]})
        if kind is Kind.OUTBOXES:
            generation, outboxes = self._book.outboxes()
            return encode(kind, {"generation": generation, "outboxes": [outbox.to_json() for outbox in outboxes]})
        return encode(kind, {}, [json.dumps(self._book.document(), allow_nan=False).encode()])

    def _send(self, identity: bytes, answer: list[Buffer]) -> None:
        """What finds no room is lost: who still wants to know asks again."""
        try:
            self._socket.send(identity, answer)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self._counts["queue_full" if error.errno == zmq.EAGAIN else "left"] += 1


def read_cameras(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """The cameras that a WHERE asks for. Raises WireError where it is not well formed."""
    try:
        asked = as_list(meta.get("cameras"), "cameras", least=1, most=MAX_ASKED)
        return tuple(text({"camera": each}, "camera", most=MAX_CAMERA) for each in asked)
    except ValueError as error:
        raise WireError(str(error)) from None


def _short(place: Place) -> Place:
    return place if len(place.reason) <= MAX_REASON else replace(place, reason=place.reason[: MAX_REASON - 3] + "...")


def _refused(reason: str) -> list[Buffer]:
    return encode(Kind.REFUSED, {"reason": reason})
