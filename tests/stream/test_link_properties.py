"""The worker's end of the link against peers that say anything in any order: it never raises, and gives no more credit
than frames were asked for.

No sockets here: messages go in and answers come out as the parts that a socket would carry.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.curve import ANYBODY
from stream.endpoints import parse_endpoint
from stream.link import SILENCE, Ended, Joined, LinkEvent, LinkServer, Reported
from stream.messages import FramePacket, Mode
from stream.server_socket import Received
from stream.wire import Kind, decode, encode, encode_frame

CAMERAS = ("gate", "yard")
NAMES = st.sampled_from([*CAMERAS, "attic"])  # the last one is in no configuration
PEERS = st.sampled_from([b"one", b"two", b"three"])
JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
METAS = st.dictionaries(st.sampled_from(["camera", "mode", "drops", "state", "scored", "at_time"]), JSON | NAMES)


class Wire:
    """In place of the socket: what is to be received, and what was sent to whom."""

    address = "ipc:///nowhere"

    def __init__(self, *_: object, **__: object) -> None:
        self.inbox: deque[Received] = deque()
        self.sent: list[tuple[bytes, Kind, Mapping[str, Any]]] = []

    def poll(self, milliseconds: int) -> bool:
        return bool(self.inbox)

    def receive(self) -> Received | None:
        return self.inbox.popleft() if self.inbox else None

    def send(self, identity: bytes, parts: Sequence[Any]) -> None:
        envelope = decode(parts)
        self.sent.append((identity, envelope.kind, envelope.meta))

    def close(self) -> None:
        """Nothing to release."""


def a_frame(camera: str, seq: int) -> list[bytes]:
    packet = FramePacket(
        camera=camera,
        seq=seq,
        frame_time=1.7e9,
        media_time=0.0,
        captured_mono=0.0,
        segment="",
        source_size=(4, 4),
        image=np.zeros((2, 2, 3), np.uint8),
        motion=None,
        view=b"view",
    )
    return [bytes(part) for part in encode_frame(packet)]


class Peers(RuleBasedStateMachine):
    """Three peers, of which each may speak as any camera, and a worker that answers as the real one does."""

    @initialize()
    def begin(self) -> None:
        self.now, self.seq = 100.0, 0
        with mock.patch("stream.link.ServerSocket", Wire):
            endpoint = parse_endpoint("ipc:///nowhere")
            self.server = LinkServer(endpoint, cameras=CAMERAS, monotonic=lambda: self.now)
        self.wire: Any = self.server._socket
        self.reader: dict[str, bytes] = {}  # camera -> the peer that was welcomed last and is still known
        self.waiting: list[str] = []  # cameras whose frame the worker has not taken yet
        self.owed: Counter[bytes] = Counter()  # credits that a peer may have been given
        self.malformed = 0

    def say(self, peer: bytes, parts: list[Any]) -> list[LinkEvent]:
        self.wire.inbox.append(Received(peer, [bytes(part) for part in parts], ANYBODY))
        events = self.server.poll(0.0)
        assert len(events) <= 1
        for event in events:
            self.take(peer, event)
        return events

    def take(self, peer: bytes, event: LinkEvent) -> None:
        match event:
            case Joined():
                assert event.camera in CAMERAS
                self.reader[event.camera] = peer
                self.owed[peer] += 1
            case FramePacket():
                assert self.reader[event.camera] == peer, "a frame of somebody who is not the camera's reader"
                self.waiting.append(event.camera)
            case Ended() | Reported():
                camera = event.camera if isinstance(event, Ended) else event.event.camera
                assert self.reader[camera] == peer

    @rule(peer=PEERS, camera=NAMES, mode=st.sampled_from(Mode))
    def hello(self, peer: bytes, camera: str, mode: Mode) -> None:
        known = self.reader.get(camera) == peer
        events = self.say(peer, encode(Kind.HELLO, {"camera": camera, "mode": str(mode)}))
        assert not (known and events), "a repeated HELLO is no second one: its credit would be one too many"

    @rule(peer=PEERS, camera=NAMES)
    def sends_a_frame(self, peer: bytes, camera: str) -> None:
        self.seq += 1
        events = self.say(peer, a_frame(camera, self.seq))
        assert bool(events) == (self.reader.get(camera) == peer)

    @rule(peer=PEERS, camera=NAMES, part=st.integers(0, 4), at=st.integers(0, 200))
    def sends_a_damaged_frame(self, peer: bytes, camera: str, part: int, at: int) -> None:
        parts = [bytearray(data) for data in a_frame(camera, 0)]
        if parts[part]:
            parts[part][at % len(parts[part])] ^= 1
            self.owed[peer] += 1  # it may get another credit for it, but need not
            assert not any(isinstance(event, FramePacket) for event in self.say(peer, parts))

    @rule(peer=PEERS, camera=NAMES, kind=st.sampled_from([Kind.BEAT, Kind.END, Kind.STATE]))
    def says_how_it_stands(self, peer: bytes, camera: str, kind: Kind) -> None:
        meta = {"camera": camera, "error": "", "drops": {}, "state": "LIVE", "reason": "", "at_time": 1.0}
        self.say(peer, encode(kind, meta))

    @rule(peer=PEERS, kind=st.sampled_from([kind for kind in Kind if kind is not Kind.HELLO]), meta=METAS)
    def says_anything(self, peer: bytes, kind: Kind, meta: dict[str, Any]) -> None:
        assert not any(isinstance(event, FramePacket) for event in self.say(peer, encode(kind, meta)))
        if kind is Kind.FRAME:
            self.owed[peer] += 1

    @rule(peer=PEERS, parts=st.lists(st.binary(max_size=20), max_size=4))
    def says_nothing_of_ours(self, peer: bytes, parts: list[bytes]) -> None:
        malformed = self.server.malformed
        assert self.say(peer, parts) == []
        assert self.server.malformed == malformed + 1

    @precondition(lambda self: self.waiting)
    @rule()
    def worker_takes_and_scores_a_frame(self) -> None:
        camera = self.waiting.pop(0)
        if camera in self.reader:
            self.owed[self.reader[camera]] += 1
        self.server.grant(camera)
        self.server.mark_scored(camera, self.seq)

    @rule(camera=st.sampled_from(CAMERAS), dismiss=st.booleans())
    def worker_lets_go_of_a_camera(self, camera: str, dismiss: bool) -> None:
        (self.server.dismiss if dismiss else self.server.finish)(camera)
        self.reader.pop(camera, None)

    @rule(seconds=st.sampled_from([0.5, 4.0, SILENCE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for camera in self.server.silent():
            del self.reader[camera]

    @invariant()
    def nobody_has_more_credit_than_was_due(self) -> None:
        given = Counter(peer for peer, kind, _ in self.wire.sent if kind is Kind.CREDIT)
        assert all(given[peer] <= self.owed[peer] for peer in given)

    @invariant()
    def strangers_are_told_so_and_nothing_else(self) -> None:
        welcomed = {peer for peer, kind, _ in self.wire.sent if kind is Kind.WELCOME}
        assert all(kind is Kind.REFUSED for peer, kind, _ in self.wire.sent if peer not in welcomed)


TestPeers = Peers.TestCase
TestPeers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
