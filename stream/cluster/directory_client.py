"""Asks the directory of a cluster, from any machine that has a key; see ``directory``. Needs no Ray.

:class:`DirectoryClient` serves one thread in two ways: ``ask_*`` and :meth:`~DirectoryClient.poll` never wait, for a
loop that has other things to do; ``fetch_*`` wait for one answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq

from stream.cluster.model import MAX_MANY, OutboxPlace, Place
from stream.curve import CurveClient
from stream.endpoints import SecureSocket, parse_endpoint
from stream.errors import LinkLost, UsageError, WireError
from stream.fields import as_object, listed, read_object, whole
from stream.keys import SecretKey
from stream.wire import MAX_PART_BYTES, Envelope, Kind, decode, encode

SILENT_S = 3.0
"""Seconds without an answer after which the connection is made anew. A key that was not let in yet needs that: ZeroMQ
itself does not try again after a handshake that was refused."""

_RECONNECT_MS = 200  # between attempts to connect: a directory is back in seconds
_WAIT_MS = 50  # the longest a blocking call waits at a stretch: the socket does not tell when a connection is made
_QUEUE = 8  # messages: each request has one answer


@dataclass(frozen=True, slots=True)
class DirectoryAddress:
    """Where a cluster's directory is, and with which key one asks it."""

    endpoint: str  # tcp://HOST:PORT
    key: SecretKey  # its ``server`` is the directory's public key

    def __post_init__(self) -> None:
        parsed = parse_endpoint(self.endpoint)
        if parsed.path is not None or parsed.port == 0 or parsed.host in ("*", "0.0.0.0", "::"):
            raise UsageError(f"{self.endpoint}: a directory's address is tcp://HOST:PORT, with a host to connect to")

    def secure(self) -> CurveClient:
        """Keys for a connection to the directory."""
        return CurveClient(self.key)

    def secure_to(self, server: str) -> CurveClient:
        """Keys for a connection to a worker's link or an outbox's feed, whose machine has this public key."""
        return CurveClient(replace(self.key, server=server))


@dataclass(frozen=True, slots=True)
class Places:
    """Where cameras are scored."""

    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Outboxes:
    """Which outboxes there are."""

    generation: int  # grows with every change
    outboxes: tuple[OutboxPlace, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """How the cluster stands."""

    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """The directory does not answer that, to this key or now."""

    reason: str


Answer = Places | Outboxes | Cluster | Refused
_Wanted = TypeVar("_Wanted", Places, Outboxes, Cluster)


class DirectoryClient:
    """One connection to a directory, made anew as often as needed. One thread uses an object.

    Args:
        endpoint: of the directory. It need not be there yet.
        secure: sets the CURVE keys of each new socket before it connects.
        clock: monotonic seconds.

    Raises:
        UsageError: the endpoint is not well formed.
    """

    def __init__(
        self, endpoint: str, *, secure: SecureSocket | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.endpoint = parse_endpoint(endpoint)
        self._secure, self._clock = secure, clock
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._heard: float | None = None  # clock of the last answer over this connection
        self._waits_since: float | None = None  # for an answer, or for a connection over which one can be asked for
        self.malformed = 0  # answers that cannot be read
        self._socket = self._connect()

    @property
    def connected(self) -> bool:
        """The directory has answered over this connection, and no question has waited for ``SILENT_S`` since."""
        return self._heard is not None

    def ask_place(self, camera: str) -> bool:
        """Asks where a camera is scored. False: there is no connection now; ask again later."""
        return self._ask(Kind.WHERE, {"cameras": [camera]})

    def ask_outboxes(self) -> bool:
        """Asks which outboxes there are; otherwise as :meth:`ask_place`."""
        return self._ask(Kind.OUTBOXES, {})

    def ask_cluster(self) -> bool:
        """Asks how the cluster stands; otherwise as :meth:`ask_place`."""
        return self._ask(Kind.CLUSTER, {})

    def poll(self, timeout: float = 0.0) -> list[Answer]:
        """What has come, in order; waits up to ``timeout`` seconds for the first. An answer that cannot be read is
        counted, and is as one that never came."""
        answers: list[Answer] = []
        self._socket.poll(int(timeout * 1000))
        while self._socket.poll(0):
            self._heard, self._waits_since = self._clock(), None
            try:
                answers.append(read_answer(decode(self._socket.recv_multipart())))
            except WireError:
                self.malformed += 1
        if self._waits_since is not None and self._clock() - self._waits_since > SILENT_S:
            self._reconnect()
        return answers

    def fetch_place(self, camera: str, timeout: float) -> Place:
        """Where a camera is scored, waiting for it at most ``timeout`` seconds.

        Raises:
            LinkLost: no answer in that time, or a refusal.
        """
        return self._fetch(lambda: self.ask_place(camera), Places, timeout).places[0]

    def fetch_outboxes(self, timeout: float) -> tuple[int, tuple[OutboxPlace, ...]]:
        """A generation, and every outbox that the cluster has heard of; otherwise as :meth:`fetch_place`."""
        answer = self._fetch(self.ask_outboxes, Outboxes, timeout)
        return answer.generation, answer.outboxes

    def fetch_cluster(self, timeout: float) -> Mapping[str, Any]:
        """How the cluster stands; otherwise as :meth:`fetch_place`."""
        return self._fetch(self.ask_cluster, Cluster, timeout).document

    def close(self) -> None:
        """Disconnects. May be called twice."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _fetch(self, ask: Callable[[], bool], kind: type[_Wanted], timeout: float) -> _Wanted:
        end = self._clock() + timeout
        if self._waits_since is not None:
            self._reconnect()  # an answer that is still on its way is none to this question
        socket, asked = self._socket, False
        while True:
            if self._socket is not socket:  # it was made anew
                socket, asked = self._socket, False
            asked = asked or ask()
            for answer in self.poll(_WAIT_MS / 1000):
                if isinstance(answer, kind):
                    return answer
                if isinstance(answer, Refused):
                    raise LinkLost(f"directory {self.endpoint} refuses: {answer.reason}")
            if self._clock() >= end:
                raise self._no_answer(timeout)

    def _no_answer(self, timeout: float) -> LinkLost:
        checks = "asks for no key" if self._secure is None else "lets this key in"
        return LinkLost(
            f"directory {self.endpoint} gave no answer within {timeout:g} s: check that the cluster runs, and {checks}"
        )

    def _ask(self, kind: Kind, meta: Mapping[str, Any]) -> bool:
        if self._waits_since is None:
            self._waits_since = self._clock()
        try:
            self._socket.send_multipart(encode(kind, meta), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _reconnect(self) -> None:
        # A new socket: whatever the old connection still carries can no longer be mistaken for an answer.
        self._socket.close(linger=0)
        self._heard = self._waits_since = None
        self._socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # without a directory nothing queues
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        socket.setsockopt(zmq.SNDHWM, _QUEUE)
        socket.setsockopt(zmq.RCVHWM, _QUEUE)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS)
        if self._secure is not None:
            self._secure(self._context, socket)
        socket.connect(self.endpoint.url)
        return socket


def read_answer(envelope: Envelope) -> Answer:
    """What a directory says. Raises WireError where it is not well formed, or nothing that a directory says."""
    meta = envelope.meta
    try:
        match envelope.kind:
            case Kind.WHERE:
                found = [as_object(each, "places") for each in listed(meta, "places", most=MAX_MANY)]
                if not found:
                    raise ValueError("places is empty")
                return Places(tuple(Place.from_json(each) for each in found))
            case Kind.OUTBOXES:
                found = [as_object(each, "outboxes") for each in listed(meta, "outboxes", most=MAX_MANY)]
                return Outboxes(whole(meta, "generation"), tuple(OutboxPlace.from_json(each) for each in found))
            case Kind.CLUSTER:
                return Cluster(_document(envelope))
            case Kind.REFUSED:
                return Refused(str(meta.get("reason"))[:500])
    except (ValueError, KeyError) as error:
        raise WireError(f"{envelope.kind.name} is not well formed: {error}") from None
    raise WireError(f"a directory sends no {envelope.kind.name}")


def _document(envelope: Envelope) -> Mapping[str, Any]:
    if len(envelope.payloads) != 1:
        raise ValueError("the document is missing")
    return read_object(bytes(envelope.payloads[0]))
