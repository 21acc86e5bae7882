"""The link between readers and the worker: one credit per camera, so that no camera starves another and nothing ages.

ZeroMQ DEALER (reader) to ROUTER (worker)::

    reader                                  worker
      HELLO camera, mode      ------------>
                              <------------  WELCOME worker      (or REFUSED reason, retry)
                              <------------  CREDIT scored
      FRAME                   ------------>                      at most one per credit
                              <------------  CREDIT scored       when the frame is taken into a batch
      STATE state, reason     ------------>
      BEAT                    ------------>                      every second
                              <------------  BEAT worker
      END reason              ------------>
                              <------------  DONE                everything is scored and its alerts are committed

A frame waits in the reader's one-slot mailbox until there is credit; the sockets' own queues stay empty. A worker
that does not know a reader (it was restarted) answers REFUSED with retry, and the reader says HELLO again.
Both classes belong to one thread each.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import zmq

from stream import wire
from stream.curve import CurveServer, Peer
from stream.endpoints import Endpoint, SecureSocket
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

_CONNECTING = 0.05  # s between attempts to say HELLO

_HIGH_WATER = 8
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


class LinkServer:
    """The worker's end.

    Args:
        endpoint: bound here; claimed first.
        cameras: ids that may join; others are refused.
        secure: whose key may be which camera; None where the endpoint itself is the guard.
        monotonic: clock.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cameras: Collection[str],
        secure: CurveServer | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cameras, self._monotonic = frozenset(cameras), monotonic
        options = {zmq.MAXMSGSIZE: wire.MAX_PART_BYTES, zmq.RCVHWM: _HIGH_WATER, zmq.SNDHWM: _HIGH_WATER}
        self._socket = ServerSocket(endpoint, options=options, limits=LIMITS, secure=secure)
        self.address = self._socket.address
        self.worker = secrets.token_hex(8)
        self.malformed = 0  # messages that were dropped because they break the wire format or the protocol
        self.forbidden = 0  # messages that were dropped because the sender's key is not the camera's
        self._peers: dict[str, _Peer] = {}

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
        return events

    def grant(self, camera: str) -> None:
        """Lets the camera send one more frame: its last one was taken for scoring."""
        if peer := self._peers.get(camera):
            self._send(peer.identity, Kind.CREDIT, {"scored": peer.scored})

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
                return wire.decode_frame(envelope)
            case Kind.STATE:
                return Reported(_state_event(camera, envelope.meta))
            case Kind.END:
                return Ended(camera, str(envelope.meta.get("error", "")), _drops(envelope.meta))
            case Kind.BEAT:
                self._send(identity, Kind.BEAT, {"worker": self.worker})
                return None
            case kind:
                raise WireError(f"a reader does not send {kind.name}")

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
            reason = f"camera {camera[:64]!r} is not in the worker's configuration"
            self._send(identity, Kind.REFUSED, {"reason": reason, "retry": False})
            return None
        now, peer = self._monotonic(), self._peers.get(camera)
        if peer and peer.identity != identity and now - peer.heard_mono < 3 * BEAT_INTERVAL:
            self._send(identity, Kind.REFUSED, {"reason": f"camera {camera!r} has a reader already", "retry": True})
            return None
        if peer and peer.identity == identity:  # a repeated HELLO: another credit would be one too many
            return None
        self._peers[camera] = _Peer(identity, mode, now)
        self._send(identity, Kind.WELCOME, {"worker": self.worker})
        self._send(identity, Kind.CREDIT, {"scored": None})
        return Joined(camera, mode)

    def _send(self, identity: bytes, kind: Kind, meta: Mapping[str, Any]) -> None:
        with suppress(zmq.ZMQError):  # the peer is gone or does not read; it will say HELLO when it is back
            self._socket.send(identity, wire.encode(kind, meta))


@dataclass(slots=True)
class _Flow:
    """What a reader knows of its standing with the worker."""

    welcomed: bool = False
    credit: bool = False
    in_flight: bool = False  # a frame was sent and no credit has come since
    done: bool = False
    refused: str = ""  # last refusal's reason
    final: bool = False  # the refusal will not change
    heard_mono: float = 0.0
    said_mono: float = -1e9
    unscored: list[FramePacket] = field(default_factory=list)  # sent, not known to be scored (replay only)


class LinkClient:
    """A reader's end.

    Args:
        endpoint: the worker's.
        camera: id.
        mode: lossless mode sends again what a dying worker may not have scored.
        secure: sets the CURVE keys of each new socket before it connects.
        monotonic: clock.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        camera: str,
        mode: Mode,
        secure: SecureSocket | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint, self._camera, self._mode, self._monotonic = endpoint, camera, mode, monotonic
        self._secure = secure
        self._context = zmq.Context()
        self._flow = _Flow(heard_mono=monotonic())
        self._again: list[FramePacket] = []
        self.welcomes = 0  # how often a worker has welcomed this reader: what it was told before, it must be told again
        self.lost = 0  # frames that were on their way when the worker went (live mode; in replay they are sent again)
        self._socket = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Disconnects. May be called twice."""
        self._socket.close(linger=500)
        self._context.term()

    @property
    def connected(self) -> bool:
        """The worker has welcomed this reader and was heard of lately."""
        return self._flow.welcomed

    @property
    def refusal(self) -> str:
        """Why the worker refuses this camera for good; empty where it does not."""
        return self._flow.refused if self._flow.final else ""

    @property
    def done(self) -> bool:
        """The worker has answered END with DONE."""
        return self._flow.done

    @property
    def wants_frame(self) -> bool:
        """There is credit for a new frame (what must be sent again goes first)."""
        return self._flow.credit and not self._again

    def poll(self, timeout: float, *, wake_fd: int | None = None) -> None:
        """Handles what the worker sent, waiting up to ``timeout`` seconds or until ``wake_fd`` is readable.

        Also says HELLO and BEAT when they are due.
        """
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        if wake_fd is not None:
            poller.register(wake_fd, zmq.POLLIN)
        self._speak()
        if not self._flow.welcomed:
            timeout = min(timeout, _CONNECTING)  # the socket does not tell when a connection is made
        poller.poll(max(0, int(timeout * 1000)))
        while self._socket.poll(0):
            try:
                self._handle(wire.decode(self._socket.recv_multipart()))
            except WireError:
                continue  # damaged on its way: the worker repeats what matters
        if self._flow.credit and self._again:
            self._transmit(self._again.pop(0))
        patience = REPLAY_SILENCE if self._mode is Mode.REPLAY else SILENCE
        if self._monotonic() - self._flow.heard_mono > patience:
            self._reconnect()

    def send_frame(self, packet: FramePacket) -> None:
        """Sends a frame, using up the credit."""
        if self._mode is Mode.REPLAY:
            self._flow.unscored.append(packet)
        self._transmit(packet)

    def send_state(self, event: StateEvent) -> bool:
        """Reports the camera's state. False: there was no room for it; report it again."""
        meta = {"camera": self._camera, "state": str(event.state), "reason": event.reason, "at_time": event.at_time}
        return self._say(Kind.STATE, meta)

    def send_end(self, *, error: str, drops: Mapping[str, int]) -> bool:
        """Says that no more frames will come; :attr:`done` turns true once everything is committed. False: there was no
        room for it; say it again."""
        return self._say(Kind.END, {"camera": self._camera, "error": error, "drops": dict(drops)})

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent again."""
        return not self._again

    def _transmit(self, packet: FramePacket) -> None:
        try:
            self._socket.send_multipart(wire.encode_frame(packet), zmq.DONTWAIT, copy=False)
        except zmq.Again:
            # There is credit and yet no room: the beats of a long scoring still fill the queue, or the worker is gone.
            # Were the credit used up, both ends would wait for each other for ever.
            self._again.insert(0, packet)
            return
        self._flow.credit, self._flow.in_flight = False, True

    def _speak(self) -> None:
        now = self._monotonic()
        if now - self._flow.said_mono < BEAT_INTERVAL:
            return
        if self._flow.welcomed:
            self._flow.said_mono = now
            self._say(Kind.BEAT, {"camera": self._camera})
        elif not self._flow.final and self._say(Kind.HELLO, {"camera": self._camera, "mode": str(self._mode)}):
            self._flow.said_mono = now

    def _handle(self, envelope: Envelope) -> None:
        flow = self._flow
        flow.heard_mono = self._monotonic()
        match envelope.kind:
            case Kind.WELCOME:
                flow.welcomed, flow.refused, self._again = True, "", list(flow.unscored)
                self.welcomes += 1
            case Kind.CREDIT:
                flow.credit, flow.in_flight = True, False
                self._forget_scored(envelope.meta.get("scored"))
            case Kind.DONE:
                flow.done = True
            case Kind.REFUSED:
                self._count_loss()
                flow.welcomed = flow.credit = False
                flow.refused = str(envelope.meta.get("reason", ""))
                flow.final = not envelope.meta.get("retry", True)
                flow.said_mono = flow.heard_mono - BEAT_INTERVAL / 2  # ask again soon, but not at once

    def _forget_scored(self, scored: int | None) -> None:
        if scored is not None:
            self._flow.unscored = [packet for packet in self._flow.unscored if packet.seq > scored]

    def _count_loss(self) -> None:
        if self._mode is Mode.LIVE:
            self.lost += self._flow.in_flight + len(self._again)
            self._again = []
        self._flow.in_flight = False

    def _reconnect(self) -> None:
        self._count_loss()
        # A new socket: what queues in the old one would be stale by the time somebody reads it.
        self._socket.close(linger=0)
        self._flow = _Flow(heard_mono=self._monotonic(), unscored=self._flow.unscored)
        self._socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # without a worker nothing queues, so nothing is stale when one comes
        socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_PART_BYTES)
        socket.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        socket.setsockopt(zmq.RCVHWM, _HIGH_WATER)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self._secure is not None:
            self._secure(self._context, socket)
        socket.connect(self._endpoint.url)
        return socket

    def _say(self, kind: Kind, meta: Mapping[str, Any]) -> bool:
        """False: there is no connection, or no room. HELLO and BEAT are repeated, STATE and END by who says them."""
        try:
            self._socket.send_multipart(wire.encode(kind, meta), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True


def _state_event(camera: str, meta: Mapping[str, Any]) -> StateEvent:
    try:
        return StateEvent(camera, CameraState(meta["state"]), str(meta["reason"]), float(meta["at_time"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"STATE is not well formed: {error}") from None


def _drops(meta: Mapping[str, Any]) -> dict[str, int]:
    try:
        return {str(k): int(v) for k, v in meta.get("drops", {}).items()}
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WireError(f"END is not well formed: {error}") from None
