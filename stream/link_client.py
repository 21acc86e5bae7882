"""The reader's end of the link; see ``link`` for what the two say to each other. One thread uses an object."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import zmq

from stream import wire
from stream.endpoints import Endpoint, SecureSocket
from stream.errors import WireError
from stream.link import BEAT_INTERVAL, HIGH_WATER, REPLAY_SILENCE, SILENCE
from stream.messages import FramePacket, Mode, StateEvent
from stream.wire import Envelope, Kind

_CONNECTING = 0.05  # s between attempts to say HELLO

_RECONNECT_MS = 200  # between attempts to connect: a worker is back in seconds, and trying is cheap on one machine


@dataclass(slots=True)
class _Flow:
    """What a reader knows of its standing with the worker."""

    answered: bool = False  # the worker has said something over this connection
    welcomed: bool = False
    credit: bool = False
    granted: int = 0  # credits that have come
    in_flight: int | None = None  # seq of a frame that was sent, and no credit has come since
    done: bool = False
    refused: str = ""  # last refusal's reason
    final: bool = False  # the refusal will not change
    cut: bool = False  # the last sign of life could not be sent
    heard_mono: float = 0.0
    said_mono: float = -1e9
    unscored: list[FramePacket] = field(default_factory=list)  # sent, not known to be scored (replay only)


class LinkClient:
    """A reader's end.

    Args:
        endpoint: the worker's; None while it is not known (:meth:`move` names it).
        camera: id.
        mode: lossless mode sends again what a dying worker may not have scored.
        secure: sets the CURVE keys of each new socket before it connects.
        monotonic: clock.
    """

    def __init__(
        self,
        endpoint: Endpoint | None,
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
        self._worker = ""  # that welcomed this reader last
        self._doubtful: int | None = None  # seq of a frame that may not have got there
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
    def answered(self) -> bool:
        """A worker has said something over the present connection: it is there, and lets this key in."""
        return self._flow.answered

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
        if not self._flow.welcomed or self._flow.cut:
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

    @property
    def settled(self) -> bool:
        """Nothing is under way of which this end does not know what became of it: a good moment to :meth:`move`."""
        return self._flow.in_flight is None and not self._flow.unscored and not self._again

    def move(self, endpoint: Endpoint, *, secure: SecureSocket | None) -> None:
        """Goes on with the worker at another place, or anew with the one at the same. Frames under way are treated as
        where a worker is lost: in replay they are sent again, live they are counted as lost unless it is the same
        worker that welcomes this reader and it has them."""
        self._endpoint, self._secure = endpoint, secure
        self._reconnect()

    def _transmit(self, packet: FramePacket) -> None:
        try:
            self._socket.send_multipart(wire.encode_frame(packet), zmq.DONTWAIT, copy=False)
        except zmq.Again:
            # There is credit and yet no room: the beats of a long scoring still fill the queue, or the worker is gone.
            # Were the credit used up, both ends would wait for each other for ever.
            self._again.insert(0, packet)
            return
        self._flow.credit, self._flow.in_flight = False, packet.seq

    def _speak(self) -> None:
        now = self._monotonic()
        if now - self._flow.said_mono < BEAT_INTERVAL:
            return
        if self._flow.welcomed:
            # One that cannot be sent is due again at once: a new worker learns by it who is there.
            self._flow.cut = not self._say(Kind.BEAT, {"camera": self._camera})
            if not self._flow.cut:
                self._flow.said_mono = now
        elif not self._flow.final and self._say(Kind.HELLO, {"camera": self._camera, "mode": str(self._mode)}):
            self._flow.said_mono = now

    def _handle(self, envelope: Envelope) -> None:
        flow = self._flow
        flow.answered, flow.heard_mono = True, self._monotonic()
        match envelope.kind:
            case Kind.WELCOME:
                flow.welcomed, flow.refused, self._again = True, "", list(flow.unscored)
                flow.granted = 0
                self.welcomes += 1
                self._settle_doubt(str(envelope.meta.get("worker")), envelope.meta.get("received"))
            case Kind.CREDIT | Kind.BEAT:
                self._take_credit(envelope.meta)
            case Kind.DONE:
                flow.done = True
            case Kind.REFUSED:
                self._count_loss()
                was_welcomed, flow.welcomed, flow.credit, flow.cut = flow.welcomed, False, False, False
                flow.refused = str(envelope.meta.get("reason", ""))
                flow.final = not envelope.meta.get("retry", True)
                # A worker that is new is told at once; one that has refused a HELLO is asked again soon.
                flow.said_mono = flow.heard_mono - (BEAT_INTERVAL if was_welcomed else BEAT_INTERVAL / 2)

    def _take_credit(self, meta: Mapping[str, Any]) -> None:
        granted, scored = meta.get("granted"), meta.get("scored")
        if isinstance(granted, int) and granted > self._flow.granted:
            self._flow.granted, self._flow.credit, self._flow.in_flight = granted, True, None
        if isinstance(scored, int):
            self._flow.unscored = [packet for packet in self._flow.unscored if packet.seq > scored]

    def _count_loss(self) -> None:
        if self._mode is Mode.LIVE:
            self.lost += len(self._again)
            self._again = []
            if self._flow.in_flight is not None:
                self._doubtful = self._flow.in_flight
        self._flow.in_flight = None

    def _settle_doubt(self, worker: str, received: object) -> None:
        """A frame is lost with its worker, not with the connection: one that only stood still may have it."""
        if self._doubtful is not None:
            there = worker == self._worker and isinstance(received, int) and received >= self._doubtful
            self.lost += not there
        self._worker, self._doubtful = worker, None

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
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS)
        if self._secure is not None:
            self._secure(self._context, socket)
        if self._endpoint is not None:
            socket.connect(self._endpoint.url)
        return socket

    def _say(self, kind: Kind, meta: Mapping[str, Any]) -> bool:
        """False: there is no connection, or no room. HELLO and BEAT are repeated, STATE and END by who says them."""
        try:
            self._socket.send_multipart(wire.encode(kind, meta), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True
