"""The link over real sockets: one credit a camera, replay loses nothing, live counts each loss, whoever restarts."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import zmq
from pipeline_fakes import Clock, a_packet, short_folder, wait_until

from stream.endpoints import Endpoint, parse_endpoint
from stream.errors import EndpointBusy
from stream.link import (
    BEAT_INTERVAL,
    REPLAY_SILENCE,
    SILENCE,
    Ended,
    Joined,
    LinkEvent,
    LinkServer,
    Reported,
    Spoiled,
)
from stream.link_client import LinkClient
from stream.messages import CameraState, FramePacket, Mode, StateEvent
from stream.wire import Envelope, Kind, decode, encode, encode_frame

TICK = 0.05  # s of the test's clock per round: HELLO is repeated every 20 rounds


class Net:
    """A worker's end and readers' ends, stepped by the test; time passes a little with every round."""

    def __init__(self, endpoint: Endpoint, stack: ExitStack) -> None:
        self.endpoint, self._stack, self.clock = endpoint, stack, Clock()
        self.clients: list[LinkClient] = []
        self.events: list[LinkEvent] = []
        self.server: LinkServer | None = None
        self.start_worker()

    def start_worker(self) -> LinkServer:
        self.server = LinkServer(self.endpoint, cameras=["gate", "yard"], monotonic=self.clock)
        self._stack.callback(self.server.close)
        return self.server

    def kill_worker(self) -> None:
        assert self.server is not None
        self.server.close()
        self.server = None

    def reader(self, camera: str = "gate", mode: Mode = Mode.REPLAY) -> LinkClient:
        client = LinkClient(self.endpoint, camera=camera, mode=mode, monotonic=self.clock)
        self._stack.callback(client.close)
        self.clients.append(client)
        return client

    def joined_reader(self, camera: str = "gate", mode: Mode = Mode.REPLAY) -> LinkClient:
        client = self.reader(camera, mode)
        self.run_until(lambda: client.wants_frame)
        return client

    def step(self) -> None:
        self.clock.now += TICK
        for client in self.clients:
            client.poll(0.005)
        if self.server is not None:
            self.events += self.server.poll(0.005)

    def run_until(self, condition: Callable[[], Any]) -> None:
        wait_until(condition, step=self.step)

    def quiet(self, rounds: int = 30) -> None:
        """Rounds enough for whatever is on its way, with a beat among them."""
        for _ in range(rounds):
            self.step()

    def frames(self, camera: str = "gate") -> list[int]:
        """Sequence numbers of the camera's frames that the worker has received, in order."""
        return [e.seq for e in self.events if isinstance(e, FramePacket) and e.camera == camera]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def serve(self, camera: str = "gate") -> None:
        """What the worker does with a frame: takes it, and then has scored it."""
        assert self.server is not None
        self.server.grant(camera)
        self.server.mark_scored(camera, self.frames(camera)[-1])


@pytest.fixture
def net() -> Iterator[Net]:
    with short_folder() as folder, ExitStack() as stack:
        yield Net(parse_endpoint(f"ipc://{folder}/link"), stack)


class Stranger:
    """A bare socket, for what no reader of ours does."""

    def __init__(self, net: Net) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.connect(net.endpoint.url)
        self.answers: list[Envelope] = []

    def send(self, parts: list[Any]) -> None:
        self.socket.send_multipart(parts)

    def listen(self) -> list[Envelope]:
        while self.socket.poll(0):
            self.answers.append(decode(self.socket.recv_multipart()))
        return self.answers

    def close(self) -> None:
        self.socket.close(linger=0)
        self._context.term()


@pytest.fixture
def stranger(net: Net) -> Iterator[Stranger]:
    peer = Stranger(net)
    yield peer
    peer.close()


# Joining


def test_a_reader_is_welcomed_and_may_send_one_frame(net: Net) -> None:
    client = net.joined_reader()

    assert (client.connected, client.welcomes, client.refusal) == (True, 1, "")
    assert net.events == [Joined("gate", Mode.REPLAY)]


def test_a_reader_may_be_there_before_the_worker(net: Net) -> None:
    net.kill_worker()
    client = net.reader()
    net.quiet()
    assert not client.connected

    net.start_worker()
    net.run_until(lambda: client.connected)


def test_repeating_hello_gives_no_second_credit(net: Net, stranger: Stranger) -> None:
    hello = encode(Kind.HELLO, {"camera": "gate", "mode": "live"})
    for _ in range(3):
        stranger.send(hello)
    stranger.send(encode(Kind.BEAT, {"camera": "gate"}))  # answered last
    net.run_until(lambda: any(answer.kind is Kind.BEAT for answer in stranger.listen()))

    assert [answer.kind for answer in stranger.answers] == [Kind.WELCOME, Kind.CREDIT, Kind.BEAT]
    assert net.events == [Joined("gate", Mode.LIVE)]


def test_a_camera_that_is_not_configured_is_refused_for_good(net: Net) -> None:
    client = net.reader("roof")
    net.run_until(lambda: client.refusal)

    assert client.refusal == "camera 'roof' is not in the worker's configuration"
    assert (client.connected, net.events) == (False, [])


@pytest.mark.fault("duplicate camera id from a second peer", "refused; the first one is not disturbed")
def test_a_second_reader_of_a_camera_is_refused_while_the_first_is_there(net: Net) -> None:
    first = net.joined_reader()
    second = net.reader()
    net.quiet(rounds=100)  # five seconds: longer than a dead one would be waited for

    assert (first.connected, first.welcomes, second.connected) == (True, 1, False)
    assert second.refusal == "", "it may ask again: the first one may be dying"
    assert len(net.of(Joined)) == 1


def test_a_second_reader_takes_over_when_the_first_one_is_dead(net: Net) -> None:
    first = net.joined_reader()
    net.clients.remove(first)  # it does nothing any more
    second = net.reader()

    net.run_until(lambda: second.wants_frame)
    assert len(net.of(Joined)) == 2


def test_two_workers_cannot_share_an_endpoint(net: Net) -> None:
    with pytest.raises(EndpointBusy):
        LinkServer(net.endpoint, cameras=["gate"])


# Credit


def test_a_frame_arrives_as_it_was_sent(net: Net) -> None:
    client = net.joined_reader()
    sent = a_packet(7, segment="clip", drops={"reader.overwritten": 2})
    client.send_frame(sent)
    net.run_until(net.frames)

    (arrived,) = net.of(FramePacket)
    assert (arrived.camera, arrived.seq, arrived.segment, arrived.frame_time) == ("gate", 7, "clip", sent.frame_time)
    assert (arrived.image == sent.image).all()
    assert (arrived.view, arrived.drops) == (sent.view, {"reader.overwritten": 2})


def test_sending_uses_the_credit_up_and_the_worker_gives_the_next(net: Net) -> None:
    client = net.joined_reader()
    client.send_frame(a_packet(0))
    net.run_until(net.frames)
    net.quiet()
    assert not client.wants_frame

    net.serve()
    net.run_until(lambda: client.wants_frame)


def test_a_slow_camera_is_served_as_often_as_a_fast_one_and_nothing_queues(net: Net) -> None:
    fast, slow = net.joined_reader("gate", Mode.LIVE), net.joined_reader("yard", Mode.LIVE)
    native = 0  # the fast camera has a new frame every time that it is asked
    for turn in range(20):
        before = len(net.events)
        for _ in range(10):
            fast.poll(0)
            native += 1
            if fast.wants_frame:
                fast.send_frame(a_packet(native, camera="gate"))
        if slow.wants_frame:
            slow.send_frame(a_packet(turn, camera="yard"))
        net.run_until(lambda turn=turn: len(net.frames("yard")) == len(net.frames("gate")) == turn + 1)
        cameras = [event.camera for event in net.events[before:] if isinstance(event, FramePacket)]
        assert sorted(cameras) == ["gate", "yard"]
        net.serve("gate")
        net.serve("yard")
        net.run_until(lambda: fast.wants_frame and slow.wants_frame)

    assert net.frames("yard") == list(range(20))
    assert len(net.frames("gate")) == 20
    assert native == 200, "the fast camera left out what nobody had asked for"


def test_a_camera_without_credit_does_not_hold_up_the_others(net: Net) -> None:
    stuck, other = net.joined_reader("gate"), net.joined_reader("yard")
    stuck.send_frame(a_packet(0, camera="gate"))  # never granted another
    for seq in range(5):
        other.send_frame(a_packet(seq, camera="yard"))
        net.run_until(lambda seq=seq: net.frames("yard") == list(range(seq + 1)))
        net.serve("yard")
        net.run_until(lambda: other.wants_frame)

    assert net.frames("gate") == [0]


# States and the end


def test_a_state_is_reported(net: Net) -> None:
    event = StateEvent("gate", CameraState.OFFLINE, "nobody answers", 1000.0)
    net.joined_reader().send_state(event)
    net.run_until(lambda: net.of(Reported))

    assert net.of(Reported) == [Reported(event)]


def test_the_end_comes_after_the_frames_and_is_confirmed_when_the_worker_says_so(net: Net) -> None:
    client = net.joined_reader()
    client.send_frame(a_packet(0))
    client.send_end(error="cut short", drops={"reader.sampled_out": 3})
    net.run_until(lambda: net.of(Ended))
    net.quiet()

    assert [type(event) for event in net.events[1:]] == [FramePacket, Ended]
    assert net.of(Ended) == [Ended("gate", "cut short", {"reader.sampled_out": 3})]
    assert not client.done

    assert net.server is not None
    net.server.finish("gate")
    net.run_until(lambda: client.done)


def test_finishing_a_camera_that_is_not_there_does_nothing(net: Net) -> None:
    assert net.server is not None
    net.server.finish("gate")
    net.server.grant("gate")
    net.server.mark_scored("gate", 1)


# Cameras that come and go while the worker runs


def test_a_camera_that_is_added_may_join_from_then_on(net: Net) -> None:
    assert net.server is not None
    net.server.admit(["gate", "roof"])

    assert net.joined_reader("roof").connected


def test_a_camera_that_is_removed_and_dismissed_is_refused_with_its_next_word(net: Net) -> None:
    client = net.joined_reader()
    assert net.server is not None
    net.server.admit(["back"])
    net.server.dismiss("gate")

    net.run_until(lambda: client.refusal)
    assert client.refusal == "camera 'gate' is not in the worker's configuration"


def test_a_reader_that_is_dismissed_for_a_fresh_start_joins_again_by_itself(net: Net) -> None:
    client = net.joined_reader(mode=Mode.LIVE)
    assert net.server is not None
    net.server.dismiss("gate")

    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)


# Silence


def test_a_silent_reader_is_given_up_after_a_while_and_told_of_once(net: Net) -> None:
    client = net.joined_reader()
    net.clients.remove(client)
    server = net.server
    assert server is not None

    net.clock.now += SILENCE - 1
    assert server.silent() == []
    net.clock.now += 2
    assert server.silent() == ["gate"]
    assert server.silent() == []


def test_beats_keep_a_camera_that_sends_no_frames(net: Net) -> None:
    client = net.joined_reader()
    for _ in range(3 * round(SILENCE / BEAT_INTERVAL)):
        net.clock.now += BEAT_INTERVAL
        before = client._flow.heard_mono
        net.run_until(lambda before=before: client._flow.heard_mono > before)  # its beat was answered
        assert net.server is not None
        assert net.server.silent() == []

    assert client.welcomes == 1


def test_a_reader_that_was_given_up_while_it_was_only_slow_joins_again(net: Net) -> None:
    client = net.joined_reader()
    net.clock.now += SILENCE + 1
    assert net.server is not None
    assert net.server.silent() == ["gate"]

    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)


@pytest.mark.parametrize(("mode", "patience"), [(Mode.LIVE, SILENCE), (Mode.REPLAY, REPLAY_SILENCE)])
def test_a_reader_connects_anew_when_the_worker_falls_silent(net: Net, mode: Mode, patience: float) -> None:
    client = net.joined_reader(mode=mode)
    server, net.server = net.server, None  # it hangs: its sockets are there, and nothing is read
    net.clock.now += patience - 1
    net.step()
    assert client.connected
    net.clock.now += 2
    net.step()
    assert not client.connected

    net.server = server
    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_worker_that_scores_for_long_stops_nothing_though_beats_have_filled_the_queue(net: Net, mode: Mode) -> None:
    client = net.joined_reader(mode=mode)
    server = net.server
    assert server is not None
    client.send_frame(a_packet(0))
    net.run_until(lambda: net.frames() == [0])
    net.server = None  # it scores: nothing is read
    server.grant("gate")
    net.run_until(lambda: client.wants_frame)
    while client._say(Kind.BEAT, {"camera": "gate"}):
        pass

    client.send_frame(a_packet(1))

    net.server = server
    net.run_until(lambda: net.frames() == [0, 1])
    net.serve()
    net.run_until(lambda: client.wants_frame)
    client.send_frame(a_packet(2))
    net.run_until(lambda: net.frames() == [0, 1, 2])
    assert (client.lost, client.welcomes) == (0, 1)


def test_state_and_end_that_find_no_room_say_so(net: Net) -> None:
    client = net.joined_reader()
    server, net.server = net.server, None
    while client._say(Kind.BEAT, {"camera": "gate"}):
        pass
    assert not client.send_end(error="", drops={})
    assert not client.send_state(StateEvent("gate", CameraState.LIVE, "opened", 1.0))

    net.server = server
    net.run_until(lambda: client.send_end(error="", drops={}))
    net.run_until(lambda: net.of(Ended))


# A new worker


@pytest.mark.fault("worker dies with a frame on its way (replay)", "the frame is sent again to the next worker")
def test_in_replay_a_new_worker_gets_what_the_old_one_had_not_scored(net: Net) -> None:
    client = net.joined_reader()
    client.send_frame(a_packet(0))
    net.run_until(net.frames)
    net.serve()  # 0 is scored ...
    net.run_until(lambda: client.wants_frame)
    client.send_frame(a_packet(1))
    net.run_until(lambda: net.frames() == [0, 1])
    assert net.server is not None
    net.server.grant("gate")  # ... which the reader learns with this credit; 1 is taken, and never scored
    net.run_until(lambda: client.wants_frame)
    client.send_frame(a_packet(2))
    net.run_until(lambda: net.frames() == [0, 1, 2])
    net.kill_worker()

    net.events.clear()
    net.start_worker()
    net.run_until(lambda: net.frames() == [1])
    assert not client.idle
    assert not client.wants_frame, "old frames go first"
    net.serve()
    net.run_until(lambda: net.frames() == [1, 2])
    net.serve()
    net.run_until(lambda: client.wants_frame)
    client.send_frame(a_packet(3))
    net.run_until(lambda: net.frames() == [1, 2, 3])

    assert (client.idle, client.lost, client.welcomes) == (True, 0, 2)


def test_in_replay_a_frame_sent_to_nobody_is_sent_again(net: Net) -> None:
    client = net.joined_reader()
    net.kill_worker()
    client.send_frame(a_packet(0))
    net.start_worker()

    net.run_until(lambda: net.frames() == [0])
    assert client.lost == 0


@pytest.mark.fault("worker dies with a frame on its way (live)", "one frame of the camera is lost, and counted")
def test_live_a_frame_that_was_on_its_way_is_counted_and_not_sent_again(net: Net) -> None:
    client = net.joined_reader(mode=Mode.LIVE)
    client.send_frame(a_packet(0))
    net.run_until(net.frames)
    net.kill_worker()

    net.events.clear()
    net.start_worker()
    net.run_until(lambda: client.wants_frame)
    client.send_frame(a_packet(1))
    net.run_until(lambda: net.frames() == [1])

    assert client.lost == 1


def test_live_a_worker_that_restarts_between_frames_costs_nothing(net: Net) -> None:
    client = net.joined_reader(mode=Mode.LIVE)
    net.kill_worker()
    net.start_worker()
    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)

    assert client.lost == 0


# Moving to another worker


def another(net: Net) -> Endpoint:
    """Where a second worker works; the first one goes on."""
    assert net.server is not None
    endpoint = parse_endpoint(f"{net.endpoint}-2")
    server = LinkServer(endpoint, cameras=["gate"], monotonic=net.clock)
    net._stack.callback(server.close)
    net.server = server
    return endpoint


def test_a_reader_whose_worker_is_not_known_yet_waits_until_it_is_told(net: Net) -> None:
    client = LinkClient(None, camera="gate", mode=Mode.LIVE, monotonic=net.clock)
    net._stack.callback(client.close)
    net.clients.append(client)
    net.quiet()
    assert (client.connected, client.wants_frame, client.settled) == (False, False, True)

    client.move(net.endpoint, secure=None)
    net.run_until(lambda: client.wants_frame)


def test_in_replay_a_move_sends_again_what_is_not_known_to_be_scored(net: Net) -> None:
    client = net.joined_reader()
    client.send_frame(a_packet(0))
    net.run_until(net.frames)
    net.serve()
    net.run_until(lambda: client.settled)  # which a beat tells it
    client.send_frame(a_packet(1))
    assert not client.settled
    net.run_until(lambda: net.frames() == [0, 1])
    net.events.clear()

    client.move(another(net), secure=None)
    net.run_until(lambda: net.frames() == [1])
    assert client.lost == 0


def test_live_a_move_costs_the_frame_that_was_on_its_way(net: Net) -> None:
    client = net.joined_reader(mode=Mode.LIVE)
    client.send_frame(a_packet(0))
    assert not client.settled
    client.move(another(net), secure=None)
    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)

    assert (client.lost, client.settled) == (1, True)


def test_live_a_move_between_frames_costs_nothing(net: Net) -> None:
    client = net.joined_reader(mode=Mode.LIVE)
    assert client.settled
    client.move(another(net), secure=None)
    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)

    assert client.lost == 0


def test_a_worker_that_was_not_reached_between_two_costs_the_frame_once(net: Net) -> None:
    client = net.joined_reader(mode=Mode.LIVE)
    client.send_frame(a_packet(0))
    client.move(parse_endpoint(f"{net.endpoint}-nobody"), secure=None)
    net.quiet(3)
    client.move(another(net), secure=None)
    net.run_until(lambda: client.welcomes == 2)

    assert client.lost == 1


def test_a_move_to_the_same_worker_costs_no_frame_that_it_has(net: Net) -> None:
    client = net.joined_reader(mode=Mode.LIVE)
    client.send_frame(a_packet(0))
    net.run_until(net.frames)
    client.move(net.endpoint, secure=None)
    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)

    assert client.lost == 0


def silenced(net: Net) -> tuple[LinkClient, LinkServer]:
    """A reader whose worker has its frame, and is silent for so long that the reader connects anew."""
    client = net.joined_reader(mode=Mode.LIVE)
    client.send_frame(a_packet(0))
    net.run_until(net.frames)
    hung, net.server = net.server, None
    net.clock.now += SILENCE + 1
    net.step()
    assert hung is not None
    return client, hung


def test_a_worker_that_only_stood_still_has_the_frame_that_was_on_its_way(net: Net) -> None:
    client, net.server = silenced(net)
    net.run_until(lambda: client.welcomes == 2 and client.wants_frame)

    assert client.lost == 0, "else it were counted twice: as lost, and as scored"


def test_a_worker_that_is_replaced_after_its_silence_costs_the_frame_that_was_on_its_way(net: Net) -> None:
    client, hung = silenced(net)
    hung.close()
    net.start_worker()
    net.run_until(lambda: client.welcomes == 2)

    assert client.lost == 1


@pytest.mark.fault("a credit that gets lost on its way", "the next beat gives it again; the camera goes on")
@pytest.mark.parametrize("mode", Mode)
def test_a_credit_that_finds_no_room_is_given_with_the_next_beat(net: Net, mode: Mode) -> None:
    client = net.joined_reader(mode=mode)
    client.send_frame(a_packet(0))
    net.run_until(net.frames)
    assert net.server is not None
    send = net.server._send
    net.server._send = lambda *_: None  # type: ignore[method-assign]
    net.serve()
    net.server._send = send  # type: ignore[method-assign]

    net.run_until(lambda: client.wants_frame)


def test_beats_that_have_piled_up_are_answered_once(net: Net, stranger: Stranger) -> None:
    stranger.send(encode(Kind.HELLO, {"camera": "gate", "mode": "replay"}))
    for _ in range(60):
        stranger.send(encode(Kind.BEAT, {"camera": "gate"}))
    net.run_until(lambda: any(answer.kind is Kind.BEAT for answer in stranger.listen()))

    welcome, credit, *beats = [answer.kind for answer in stranger.answers]
    assert (welcome, credit) == (Kind.WELCOME, Kind.CREDIT)
    assert {*beats} == {Kind.BEAT}
    assert len(beats) < 10, "not all had come when the first were read, on a slow machine; but one each is 60"


# What does not belong


def frame_without(field: str) -> list[Any]:
    meta = dict(decode(encode_frame(a_packet(0))).meta)
    del meta[field]
    return encode(Kind.FRAME, meta, [bytes(part) for part in encode_frame(a_packet(0))[2:]])


def frame_with(field: str, text: bytes) -> list[Any]:
    """A frame with a number that JSON can say and no program of ours would."""
    parts = [bytes(part) for part in encode_frame(a_packet(0))]
    meta = {**decode(parts).meta, field: "@"}
    envelope = encode(Kind.FRAME, meta, parts[2:])
    return signed(Kind.FRAME, bytes(envelope[1]).replace(b'"@"', text), parts[2:])


def signed(kind: Kind, meta: bytes, payloads: list[bytes] | None = None) -> list[Any]:
    payloads = payloads or []
    head = struct.pack("!4sBBHI", b"SPDS", 2, kind, len(payloads), len(meta))
    checked = [head, *(struct.pack("!I", len(part)) + part for part in (meta, *payloads))]
    return [head + struct.pack("!I", zlib.crc32(b"".join(checked))), meta, *payloads]


MALFORMED = {
    "nothing of ours": [b"GET / HTTP/1.1"],
    "empty parts": [b"", b""],
    "a damaged checksum": [encode(Kind.BEAT, {"camera": "gate"})[0], b'{"camera":"gato"}'],
    "a hello of no mode": encode(Kind.HELLO, {"camera": "gate", "mode": "sideways"}),
    "what only a worker says": encode(Kind.CREDIT, {"camera": "gate"}),
    "a frame without its number": frame_without("seq"),
    "a frame of no size": frame_with("source_size", b"[0]"),
    "a frame at no time": frame_with("frame_time", b"NaN"),
    "a frame at the end of time": frame_with("frame_time", b"1e300"),
    "a frame of infinite media time": frame_with("media_time", b"1e999"),
    "a frame captured never": frame_with("captured_mono", b"-Infinity"),
    "a frame without payloads": encode(Kind.FRAME, {"camera": "gate"}),
    "a state that is none": encode(Kind.STATE, {"camera": "gate", "state": "HAPPY", "reason": "", "at_time": 0.0}),
    "a state without a time": encode(Kind.STATE, {"camera": "gate", "state": "LIVE", "reason": ""}),
    "a state at a time beyond floats": signed(
        Kind.STATE, b'{"camera":"gate","state":"LIVE","reason":"","at_time":1' + b"0" * 400 + b"}"
    ),
    "an end that lost a list": encode(Kind.END, {"camera": "gate", "drops": ["x"]}),
    "an end that lost many": signed(Kind.END, b'{"camera":"gate","drops":{"x":Infinity}}'),
    "an end that lost more than there can be": encode(Kind.END, {"camera": "gate", "drops": {"x": 10**400}}),
    "an end that lost less than nothing": encode(Kind.END, {"camera": "gate", "drops": {"x": -1}}),
    "an end that lost half a letter": encode(Kind.END, {"camera": "gate", "drops": {"\ud800": 1}}),
    "an end with a thousand reasons": encode(Kind.END, {"camera": "gate", "drops": {f"a.{n}": 1 for n in range(1000)}}),
}


@pytest.mark.fault("corrupt JPEG part", "that frame is lost and counted; its camera goes on")
@pytest.mark.parametrize("part", [0, 1, 2, 4], ids=["header", "meta", "image", "view"])
def test_a_frame_that_is_damaged_on_its_way_is_reported_and_the_next_one_may_be_sent(
    net: Net, stranger: Stranger, part: int
) -> None:
    stranger.send(encode(Kind.HELLO, {"camera": "gate", "mode": "live"}))
    net.run_until(lambda: len(stranger.listen()) == 2)
    parts = [bytearray(data) for data in encode_frame(a_packet(0))]
    parts[part][-1] ^= 1
    stranger.send([bytes(data) for data in parts])
    net.run_until(lambda: len(stranger.listen()) == 3)

    assert stranger.answers[-1].kind is Kind.CREDIT
    (joined, spoiled) = net.events
    assert (type(joined), type(spoiled)) == (Joined, Spoiled)
    assert spoiled.camera == "gate"


@pytest.mark.fault("malformed messages to the worker", "counted and ignored")
@pytest.mark.parametrize("parts", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_is_counted_and_ignored(net: Net, stranger: Stranger, parts: list[Any]) -> None:
    stranger.send(encode(Kind.HELLO, {"camera": "gate", "mode": "live"}))
    net.run_until(lambda: len(stranger.listen()) == 2)
    stranger.send(parts)
    stranger.send(encode(Kind.BEAT, {"camera": "gate"}))
    net.run_until(lambda: Kind.BEAT in [answer.kind for answer in stranger.listen()])

    assert net.server is not None
    assert net.server.malformed == 1
    assert [event for event in net.events if not isinstance(event, Spoiled)] == [Joined("gate", Mode.LIVE)]
    assert Kind.BEAT in [answer.kind for answer in stranger.answers], "the reader stays welcome"


def test_a_frame_of_somebody_who_never_said_hello_is_refused(net: Net, stranger: Stranger) -> None:
    stranger.send(encode_frame(a_packet(0)))
    net.run_until(stranger.listen)

    assert [(a.kind, a.meta["retry"]) for a in stranger.answers] == [(Kind.REFUSED, True)]
    assert net.events == []


@pytest.mark.fault("a stranger speaks for a camera", "refused; the camera goes on")
def test_a_stranger_cannot_speak_for_a_camera_that_has_a_reader(net: Net, stranger: Stranger) -> None:
    client = net.joined_reader()
    stranger.send(encode(Kind.END, {"camera": "gate", "error": "", "drops": {}}))
    net.run_until(stranger.listen)

    assert [answer.kind for answer in stranger.answers] == [Kind.REFUSED]
    assert net.of(Ended) == []
    assert client.connected


def test_where_cameras_may_still_come_a_reader_that_is_too_early_is_told_to_come_again(net: Net):
    assert net.server is not None
    net.server.close()
    net.server = LinkServer(net.endpoint, cameras=[], others_may_come=True, monotonic=net.clock)
    client = net.reader()
    for _ in range(40):
        net.step()
    assert (client.connected, client.refusal) == (False, "")
    net.server.admit(["gate"])
    net.run_until(lambda: client.connected)
    net.server.close()


def test_a_confirmation_that_is_no_number_confirms_nothing() -> None:
    with LinkClient(None, camera="cam", mode=Mode.REPLAY) as link:
        link._flow.unscored = [a_packet(seq=3)]
        link._handle(Envelope(Kind.BEAT, {"scored": "9"}, ()))
        assert not link.settled

        link._handle(Envelope(Kind.BEAT, {"scored": 3}, ()))
        assert link.settled
