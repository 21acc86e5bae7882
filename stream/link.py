"""The link between readers and the worker: one credit per camera, so that no camera starves another and nothing ages.

ZeroMQ DEALER (reader) to ROUTER (worker)::

    reader                                  worker
      HELLO camera, mode      ------------>
                              <------------  WELCOME worker      (or REFUSED reason, retry)
                              <------------  CREDIT scored
      FRAME                   ------------>                      at most one per credit
                              <------------  CREDIT scored       live: when it is scored; replay: when it is taken
      STATE state, reason     ------------>
      BEAT                    ------------>                      every second
                              <------------  BEAT worker
      END reason              ------------>
                              <------------  DONE                everything is scored and its alerts are committed

A frame waits in the reader's one-slot mailbox until there is credit; the sockets' own queues stay empty. A worker
that does not know a reader (it was restarted) answers REFUSED with retry, and the reader says HELLO again.
This is the worker's end, for one thread; ``link_client`` is the reader's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import zmq

from stream import wire
from stream.curve import CurveServer, Peer
from stream.endpoints import Endpoint
from stream.errors import WireError
from stream.guard import Limits
from stream.messages import CameraState, FramePacket, Mode, StateEvent
from stream.server_socket import ServerSocket
from stream.wire import Envelope, Kind

BEAT_INTERVAL = 1.0
"""Seconds between signs of life of a reader."""

SILENCE = 10.0
"""Seconds without a sign of the peer after which it counts as gone: longer than any batch of live frames may take."""

REPLAY_SILENCE = 600.0
"""The same for a replay's reader, s. Faithful SPADE with K = 50 may take a minute for a frame on a CPU, and a reader
that connects anew in between has its frames scored again and again. Nothing else waits for it: a worker that has died
is noticed at once, by its successor that does not know the reader."""

HIGH_WATER = 8
"""Messages in a socket's own queue: credit allows one frame, the rest is small talk."""

_MOST_AT_ONCE = 256
"""Messages taken in one call, so that a flood of them cannot keep the worker from scoring."""

LIMITS = Limits(held=64 << 20, held_in_all=256 << 20)
"""Bytes that readers' connections may hold in memory: the largest legal frame has 37 MB (see ``wire``), and by credit
there is one at a time; with 64 cameras of 4K, all together hold 200 MB while the worker does not read."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A reader said HELLO and was welcomed."""

    camera: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Reported:
    """A reader reports its camera's state."""

    event: StateEvent


@dataclass(frozen=True, slots=True)
class Ended:
    """A reader is done: a finite source is at its end, or the reader was asked to stop."""

    camera: str
    error: str  # "" at a proper end; else why the source broke off
    drops: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A frame came that cannot be used: damaged on its way, or against the wire format. It is lost, not its camera."""

    camera: str
    reason: str


LinkEvent = Joined | Reported | Ended | Spoiled | FramePacket


@dataclass(slots=True)
class _Peer:
    """The worker's view of one reader."""

    identity: bytes
    mode: Mode
    heard_mono: float
    scored: int | None = None  # seq of the last frame that is scored and whose alerts are committed
    granted: int = 0  # credits so far
    beat: bool = False  # it has given a sign of life that is not answered yet


class LinkServer:
    """The worker's end.

    Args:
        endpoint: bound here; claimed first.
        cameras: ids that may join; others are refused.
        others_may_come: whether a camera that is refused may soon be one of them, as in a cluster.
        secure: whose key may be which camera; None where the endpoint itself is the guard.
        monotonic: clock.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cameras: Collection[str],
        others_may_come: bool = False,
        secure: CurveServer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cameras, self._others_may_come, self._monotonic = frozenset(cameras), others_may_come, monotonic
        options = {zmq.MAXMSGSIZE: wire.MAX_PART_BYTES, zmq.RCVHWM: HIGH_WATER, zmq.SNDHWM: HIGH_WATER}
        self._socket = ServerSocket(endpoint, options=options, limits=LIMITS, secure=secure)
        self.address = self._socket.address
        self.worker = secrets.token_hex(8)
        self.malformed = 0  # messages that were dropped because they break the wire format or the protocol
        self.forbidden = 0  # messages that were dropped because the sender's key is not the camera's
        self._peers: dict[str, _Peer] = {}
        self._received: dict[str, int] = {}  # by camera: seq of the last frame that has come

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the endpoint. May be called twice."""
        self._socket.close()

    def guarded(self) -> dict[str, int]:
        """Connections over TCP at this moment, and how many were shut or not let in, by reason."""
        return self._socket.counts()

    def poll(self, timeout: float) -> list[LinkEvent]:
        """Waits up to ``timeout`` seconds for messages and returns those that have come, in order."""
        events: list[LinkEvent] = []
        wait = max(0, int(timeout * 1000))
        for _ in range(_MOST_AT_ONCE):
            received = self._socket.receive() if self._socket.poll(wait) else None
            if received is None:
                break
            wait = 0
            try:
                event = self._handle(received.identity, received.peer, wire.decode(received.parts))
            except WireError as error:
                self.malformed += 1
                event = self._spoiled(received.identity, received.parts, str(error))
            if event is not None:
                events.append(event)
        self._answer_beats()
        return events

    def grant(self, camera: str) -> None:
        """Lets the camera send one more frame: its last one was taken for scoring.

        A credit that finds no room, or is damaged on its way, is not lost: every beat says how many there were.
        """
        if peer := self._peers.get(camera):
            peer.granted += 1
            self._send(peer.identity, Kind.CREDIT, {"scored": peer.scored, "granted": peer.granted})

    def mark_scored(self, camera: str, seq: int) -> None:
        """Remembers that frames up to ``seq`` are scored and their alerts committed; the next credit says so."""
        if peer := self._peers.get(camera):
            peer.scored = seq

    def finish(self, camera: str) -> None:
        """Tells a reader that has ended that everything it sent is scored and committed."""
        if peer := self._peers.pop(camera, None):
            self._send(peer.identity, Kind.DONE, {"scored": peer.scored})

    def admit(self, cameras: Collection[str]) -> None:
        """Changes which cameras may join from now on."""
        self._cameras = frozenset(cameras)

    def dismiss(self, camera: str) -> None:
        """Forgets a camera's reader; where it is still there, it has to say HELLO again."""
        self._peers.pop(camera, None)

    def silent(self) -> list[str]:
        """Forgets cameras whose reader has not given a sign for ``SILENCE`` seconds; returns their ids."""
        now = self._monotonic()
        gone = [camera for camera, peer in self._peers.items() if now - peer.heard_mono > SILENCE]
        for camera in gone:
            del self._peers[camera]
        return gone

    def _handle(self, identity: bytes, sender: Peer, envelope: Envelope) -> LinkEvent | None:
        camera = str(envelope.meta.get("camera"))
        if not sender.may_be(camera):
            # Asked of every message, not only of HELLO: a key may be revoked while its holder is connected.
            self.forbidden += 1
            reason = f"this key may not be camera {camera[:64]!r}: see 'spade-stream keys' on the worker's machine"
            self._send(identity, Kind.REFUSED, {"reason": reason, "retry": False})
            return None
        if envelope.kind is Kind.HELLO:
            return self._hello(identity, envelope.meta)
        peer = self._peers.get(camera)
        if peer is None or peer.identity != identity:
            self._send(identity, Kind.REFUSED, {"reason": "this worker does not know you: say HELLO", "retry": True})
            return None
        peer.heard_mono = self._monotonic()
        match envelope.kind:
            case Kind.FRAME:
                packet = wire.decode_frame(envelope)
                self._received[camera] = packet.seq
                return packet
            case Kind.STATE:
                return Reported(_state_event(camera, envelope.meta))
            case Kind.END:
                return Ended(camera, str(envelope.meta.get("error", "")), _drops(envelope.meta))
            case Kind.BEAT:
                peer.beat = True
                return None
            case kind:
                raise WireError(f"a reader does not send {kind.name}")

    def _answer_beats(self) -> None:
        # Once for all that have come: after a long scoring there are many, and the answers would fill the queue.
        for peer in self._peers.values():
            if peer.beat:
                peer.beat = False
                told = {"worker": self.worker, "scored": peer.scored, "granted": peer.granted}
                self._send(peer.identity, Kind.BEAT, told)

    def _spoiled(self, identity: bytes, parts: list[bytes], reason: str) -> Spoiled | None:
        # The reader has used up its credit for it: without another one both ends would wait for each other for ever.
        camera = next((camera for camera, peer in self._peers.items() if peer.identity == identity), None)
        if camera is None or wire.claimed_kind(parts) is not Kind.FRAME:
            return None
        self._peers[camera].heard_mono = self._monotonic()
        self.grant(camera)
        return Spoiled(camera, reason)

    def _hello(self, identity: bytes, meta: Mapping[str, Any]) -> LinkEvent | None:
        camera = str(meta.get("camera"))
        try:
            mode = Mode(str(meta.get("mode")))
        except ValueError:
            raise WireError(f"HELLO with mode {meta.get('mode')!r}") from None
        if camera not in self._cameras:
            lacks = "scored by this worker now" if self._others_may_come else "in the worker's configuration"
            reason = f"camera {camera[:64]!r} is not {lacks}"
            self._send(identity, Kind.REFUSED, {"reason": reason, "retry": self._others_may_come})
            return None
        now, peer = self._monotonic(), self._peers.get(camera)
        if peer and peer.identity != identity and now - peer.heard_mono < 3 * BEAT_INTERVAL:
            self._send(identity, Kind.REFUSED, {"reason": f"camera {camera!r} has a reader already", "retry": True})
            return None
        if peer and peer.identity == identity:  # a repeated HELLO: another credit would be one too many
            return None
        self._peers[camera] = _Peer(identity, mode, now)
        self._send(identity, Kind.WELCOME, {"worker": self.worker, "received": self._received.get(camera)})
        self.grant(camera)
        return Joined(camera, mode)

    def _send(self, identity: bytes, kind: Kind, meta: Mapping[str, Any]) -> None:
        with suppress(zmq.ZMQError):  # the peer is gone or does not read; it will say HELLO when it is back
            self._socket.send(identity, wire.encode(kind, meta))


def _state_event(camera: str, meta: Mapping[str, Any]) -> StateEvent:
    try:
        return StateEvent(camera, CameraState(meta["state"]), str(meta["reason"]), float(meta["at_time"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"STATE is not well formed: {error}") from None


def _drops(meta: Mapping[str, Any]) -> dict[str, int]:
    try:
        return wire.decode_drops(meta.get("drops", {}))
    except ValueError as error:
        raise WireError(f"END is not well formed: {error}") from None
