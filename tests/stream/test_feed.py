"""Feed and subscriber over real sockets: every alert, in order, once, whoever restarts or stalls."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from feed_fakes import PATIENCE_S, Clock, Peer, Place, a_place, an_alert, fill, stepped, take, wait_until

from stream import feed as feed_module
from stream.errors import EndpointBusy, LinkLost, OutboxWentBack, UsageError
from stream.feed import BEAT_S, FORGET_S, WINDOW, known_by
from stream.health import CameraHealth
from stream.messages import Alert, CameraState, Evidence, StateEvent
from stream.outbox import Outbox
from stream.subscriber import SILENT_S, AlertSubscriber, Gap, request_status
from stream.wire import Kind, decode, encode, encode_alert


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as here:
        yield here


# -- delivery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [None, "tcp://127.0.0.1:*"], ids=["ipc", "tcp"])
def test_a_late_subscriber_gets_everything_in_order_with_its_pictures_and_then_live(
    place: Place, endpoint: str | None
) -> None:
    count = 3 * WINDOW + 5
    fill(place.outbox, 1, count)
    with place.serving(endpoint) as feed, AlertSubscriber(feed.endpoint, since=0) as alerts:
        for n in range(1, count + 1):
            found = alerts.poll(PATIENCE_S)
            assert found is not None
            alert, evidence = found
            assert (alert.seq, alert.alert_id) == (n, f"a{n}")
            assert (evidence.mask_png, evidence.snapshot_jpeg) == (b"png%d" % n, b"jpeg%d" % n)
        wait_until(alerts, lambda: alerts.caught_up)
        fill(place.outbox, count + 1, count + 1)
        assert take(alerts, 1) == [count + 1]
        assert alerts.gaps == ()


def test_a_subscriber_may_begin_anywhere(place: Place) -> None:
    fill(place.outbox, 1, 5)
    with place.serving(), AlertSubscriber(place.endpoint, since=3) as alerts:
        assert take(alerts, 2) == [4, 5]


def test_without_name_and_number_only_what_comes_from_now_on_is_sent(place: Place) -> None:
    fill(place.outbox, 1, 3)
    with place.serving(), AlertSubscriber(place.endpoint) as alerts:
        wait_until(alerts, lambda: alerts.caught_up)
        assert alerts.last_seq == 3
        fill(place.outbox, 4, 5)
        assert take(alerts, 2) == [4, 5]


def test_it_can_be_iterated(place: Place) -> None:
    fill(place.outbox, 1, 3)
    with place.serving(), AlertSubscriber(place.endpoint, since=0) as alerts:
        assert [alert.seq for _, (alert, _) in zip(range(3), alerts, strict=False)] == [1, 2, 3]


def test_the_feed_does_not_mind_that_the_writer_is_restarted(place: Place) -> None:
    with place.serving(), AlertSubscriber(place.endpoint, since=0) as alerts:
        fill(place.outbox, 1, 2)
        assert take(alerts, 2) == [1, 2]
        place.outbox.close()
        place.outbox = Outbox(*place.paths)
        fill(place.outbox, 3, 4)
        assert take(alerts, 2) == [3, 4]


@pytest.mark.fault("feed killed (kill -9)", "every subscriber goes on where it was")
def test_a_feed_killed_midway_and_restarted_loses_and_repeats_nothing(place: Place) -> None:
    count = 2 * WINDOW
    fill(place.outbox, 1, count)
    with AlertSubscriber(place.endpoint, since=0) as alerts:
        with place.serving():
            numbers = take(alerts, 10)
        with place.serving():
            fill(place.outbox, count + 1, count + 5)
            numbers += take(alerts, count + 5 - 10)
            assert alerts.poll(0.1) is None

    assert numbers == list(range(1, count + 6))


def test_a_live_subscriber_misses_nothing_that_was_committed_while_the_feed_was_down(place: Place) -> None:
    fill(place.outbox, 1, 3)
    with AlertSubscriber(place.endpoint) as alerts:
        with place.serving():
            wait_until(alerts, lambda: alerts.caught_up)
        fill(place.outbox, 4, 5)
        with place.serving():
            assert take(alerts, 2) == [4, 5]


@pytest.mark.fault("slow or stopped sink", "one window of alerts in memory; the others are not delayed")
def test_a_stalled_subscriber_costs_one_window_and_delays_nobody(place: Place) -> None:
    count = 3 * WINDOW
    fill(place.outbox, 1, count)
    with place.serving() as feed, Peer(place.endpoint) as stalled:
        stalled.send(Kind.SUBSCRIBE, name=None, since=0)
        assert stalled.receive().kind is Kind.ALERT
        with AlertSubscriber(place.endpoint, since=0) as alerts:
            assert take(alerts, count) == list(range(1, count + 1))
        sent = [message.meta["seq"] for message in stalled.drain() if message.kind is Kind.ALERT]
        assert sent == list(range(2, WINDOW + 1))
        stalled.send(Kind.ACK, seq=3)
        assert [stalled.receive().meta["seq"] for _ in range(3)] == [WINDOW + 1, WINDOW + 2, WINDOW + 3]
        assert feed.endpoint == place.endpoint


def test_a_lost_picture_is_delivered_as_none(place: Place) -> None:
    fill(place.outbox, 1, 1)
    shutil.rmtree(place.paths[1])
    with place.serving(), AlertSubscriber(place.endpoint, since=0) as alerts:
        found = alerts.poll(PATIENCE_S)

    assert found is not None
    assert (found[0].mask, found[0].snapshot, found[1].mask_png) == (None, None, b"")


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("dead sink that comes back", "gets everything that it has not acknowledged")
def test_a_new_name_gets_everything_and_an_old_one_what_it_has_not_acknowledged(place: Place) -> None:
    fill(place.outbox, 1, 5)
    with place.serving():
        with AlertSubscriber(place.endpoint, name="archive") as alerts:
            assert take(alerts, 3) == [1, 2, 3]  # asking for the third acknowledged the second
            place.wait_for_places(archive=2)
        with AlertSubscriber(place.endpoint, name="archive") as alerts:
            assert take(alerts, 1) == [3]
            alerts.ack(3)
            place.wait_for_places(archive=3)
    with place.serving(), AlertSubscriber(place.endpoint, name="archive") as alerts:
        assert take(alerts, 2) == [4, 5]
        place.wait_for_places(archive=4)


def test_nothing_is_acknowledged_before_the_next_is_asked_for(place: Place) -> None:
    fill(place.outbox, 1, 1)
    with place.serving(), AlertSubscriber(place.endpoint, name="archive") as alerts:
        take(alerts, 1)

    assert place.outbox.acknowledged() == {"archive": 0}


def test_what_retention_removed_is_told_as_a_gap(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    fill(place.outbox, 1, 6)
    place.outbox.remove_through(4)
    with place.serving(), AlertSubscriber(place.endpoint, since=1) as alerts:
        assert take(alerts, 2) == [5, 6]
        assert alerts.gaps == (Gap(2, 4),)
        assert "2 to 4 are gone" in caplog.text


def test_a_gap_up_to_the_end_is_told_too(place: Place) -> None:
    fill(place.outbox, 1, 6)
    place.outbox.remove_through(6)
    with place.serving(), AlertSubscriber(place.endpoint, since=2) as alerts:
        wait_until(alerts, lambda: alerts.caught_up)
        assert alerts.gaps == (Gap(3, 6),)
        fill(place.outbox, 7, 7)
        assert take(alerts, 1) == [7]


def test_a_number_that_this_outbox_never_gave_is_refused(place: Place) -> None:
    fill(place.outbox, 1, 2)
    with (
        place.serving(),
        AlertSubscriber(place.endpoint, since=3) as alerts,
        pytest.raises(LinkLost, match="since 3 is ahead of this outbox, which ends at 2"),
    ):
        alerts.poll(PATIENCE_S)


def test_a_number_that_another_alert_has_now_is_refused_and_the_right_one_is_not(place: Place) -> None:
    fill(place.outbox, 1, 3)
    one, two = (known_by(stored) for stored in place.outbox.read_after(0, limit=2))
    with place.serving():
        with AlertSubscriber(place.endpoint, since=2, had=two) as alerts:
            assert take(alerts, 1) == [3]
        with (
            AlertSubscriber(place.endpoint, since=2, had=one) as alerts,
            pytest.raises(OutboxWentBack, match=r"alert 2 of this outbox is a2 .* not a1"),
        ):
            alerts.poll(PATIENCE_S)
        place.outbox.remove_through(2)  # what is not kept cannot be compared, and is no reason to refuse
        with AlertSubscriber(place.endpoint, since=2, had=one) as alerts:
            assert take(alerts, 1) == [3]


def test_a_second_subscriber_of_the_same_name_takes_over_and_the_first_is_told(place: Place) -> None:
    fill(place.outbox, 1, 1)
    with place.serving(), AlertSubscriber(place.endpoint, name="mqtt") as first:
        take(first, 1)
        with AlertSubscriber(place.endpoint, name="mqtt") as second:
            assert take(second, 1) == [1]
            with pytest.raises(LinkLost, match="took over the name 'mqtt'"):
                first.poll(PATIENCE_S)


# -- the server, step by step -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        [b"nonsense"],
        [b"x" * 16, b"{}"],
        encode(Kind.FRAME, {}),
        encode(Kind.ACK, {"seq": 2}),  # only 1 was sent
        encode(Kind.ACK, {"seq": -1}),
        encode(Kind.ACK, {"seq": True}),
        encode(Kind.ACK, {}),
    ],
)
def test_a_malformed_message_is_counted_and_changes_nothing(place: Place, parts: list[Any]) -> None:
    fill(place.outbox, 1, 1)
    with stepped(place) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name="x", since=None)
        feed.step(PATIENCE_S)
        peer.socket.send_multipart(parts)
        feed.step(PATIENCE_S)

        assert feed.state()["counts"] == {"subscribed": 1, "malformed": 1}
        assert feed.state()["acknowledged"] == {"x": 0}
        assert [m.kind for m in peer.drain(idle_ms=100)] == [Kind.ALERT, Kind.CAUGHT_UP]


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"name": "a b", "since": None}, "'a b'"),
        ({"name": "", "since": None}, "name"),
        ({"name": 5, "since": None}, "name"),
        ({"name": None, "since": -1}, "-1"),
        ({"name": None, "since": "all"}, "'all'"),
        ({"name": None, "since": 2**63}, str(2**63)),
        ({"name": None, "since": 1, "had": 5}, "had '5'"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_refused_with_the_reason(
    place: Place, meta: dict[str, Any], reason: str
) -> None:
    with stepped(place) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, **meta)
        feed.step(PATIENCE_S)
        answer = peer.receive()

        assert answer.kind is Kind.REFUSED
        assert reason in answer.meta["reason"]
        assert answer.meta["again"] is False
        assert feed.state()["subscribers"] == []


def test_one_subscriber_too_many_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MAX_SUBSCRIBERS", 1)
    with stepped(place) as (feed, _), Peer(place.endpoint) as first, Peer(place.endpoint) as second:
        for peer in (first, second):
            peer.send(Kind.SUBSCRIBE, name=None, since=0)
            feed.step(PATIENCE_S)

        assert first.receive().kind is Kind.CAUGHT_UP
        assert second.receive().kind is Kind.REFUSED


def test_a_silent_subscriber_is_forgotten_and_told_so_when_it_speaks_again(place: Place) -> None:
    with stepped(place) as (feed, clock), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name=None, since=0)
        feed.step(PATIENCE_S)
        clock.now += FORGET_S
        feed.step(0)
        assert len(feed.state()["subscribers"]) == 1
        clock.now += 0.1
        feed.step(0)
        assert feed.state()["subscribers"] == []

        peer.send(Kind.BEAT)
        feed.step(PATIENCE_S)
        messages = peer.drain(idle_ms=100)
        assert [m.kind for m in messages] == [Kind.CAUGHT_UP, Kind.BEAT, Kind.REFUSED]
        assert messages[-1].meta["again"] is True


def test_any_sign_of_life_keeps_a_subscriber_and_the_feed_beats_back(place: Place) -> None:
    with stepped(place) as (feed, clock), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name=None, since=0)
        feed.step(PATIENCE_S)
        for _ in range(3):
            clock.now += FORGET_S - 1
            peer.send(Kind.BEAT)
            feed.step(PATIENCE_S)

        assert len(feed.state()["subscribers"]) == 1
        assert [m.kind for m in peer.drain(idle_ms=100)] == [Kind.CAUGHT_UP] + 3 * [Kind.BEAT]


def test_a_subscriber_that_left_is_forgotten_with_the_next_message_to_it(place: Place) -> None:
    with stepped(place) as (feed, clock):
        with Peer(place.endpoint) as peer:
            peer.send(Kind.SUBSCRIBE, name=None, since=0)
            feed.step(PATIENCE_S)
            assert peer.receive().kind is Kind.CAUGHT_UP
        for _ in range(100):  # until the socket layer has noticed
            clock.now += 0.05
            fill(place.outbox, place.outbox.last_seq() + 1, place.outbox.last_seq() + 1)
            feed.step(0.01)
            if not feed.state()["subscribers"]:
                break

        assert feed.state()["counts"] == {"subscribed": 1, "left": 1}


def test_a_client_that_comes_back_under_its_fixed_identity_is_served(place: Place) -> None:
    with stepped(place) as (feed, _), Peer(place.endpoint, identity=b"me") as dead:
        dead.send(Kind.SUBSCRIBE, name=None, since=0)
        feed.step(PATIENCE_S)
        assert dead.receive().kind is Kind.CAUGHT_UP
        with Peer(place.endpoint, identity=b"me") as alive:
            alive.send(Kind.SUBSCRIBE, name=None, since=0)
            feed.step(PATIENCE_S)
            assert alive.receive().kind is Kind.CAUGHT_UP


def test_an_endpoint_serves_one_feed(place: Place) -> None:
    with stepped(place), pytest.raises(EndpointBusy, match=place.endpoint), stepped(place):
        pass
    with stepped(place):
        pass


# -- status -----------------------------------------------------------------------------------------------------------


def test_the_status_is_what_the_callable_says_and_the_feeds_own_state(place: Place) -> None:
    fill(place.outbox, 1, 2)
    with stepped(place, status=lambda: {"cameras": {"gate": "LIVE"}}) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name="archive", since=1)
        feed.step(PATIENCE_S)
        feed.step(0)
        peer.send(Kind.STATUS)
        feed.step(PATIENCE_S)
        answer = next(m for m in peer.drain(idle_ms=100) if m.kind is Kind.STATUS)

    assert answer.meta["cameras"] == {"gate": "LIVE"}
    assert answer.meta["feed"] == {
        "last_seq": 2,
        "subscribers": [{"name": "archive", "cursor": 2, "in_flight": 1, "sent": 1, "caught_up": True}],
        "acknowledged": {"archive": 0},
        "counts": {"subscribed": 1},
        "problem": "",
    }


@pytest.mark.parametrize("status", [lambda: 1 / 0, lambda: {"rate": float("nan")}, lambda: {"x": object()}])
def test_a_status_that_fails_does_not_stop_the_feed(place: Place, status: Callable[[], dict[str, Any]]) -> None:
    with stepped(place, status=status) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.STATUS)
        feed.step(PATIENCE_S)

        assert peer.receive().kind is Kind.REFUSED
        assert feed.state()["counts"] == {"status_failed": 1}


def test_the_status_can_be_asked_for_from_outside(place: Place) -> None:
    with place.serving():
        assert request_status(place.endpoint, PATIENCE_S)["feed"]["last_seq"] == 0


def test_the_status_of_thousands_of_cameras_is_told_whole(place: Place) -> None:
    camera = {**CameraHealth("yard").to_json(), "reason": "r" * 500, "worker": "w" * 100}
    cameras = {f"camera-{n}": camera for n in range(3000)}
    told: list[dict[str, Any]] = []
    with stepped(place, status=lambda: {"cameras": cameras}) as (feed, _):
        asking = threading.Thread(target=lambda: told.append(request_status(place.endpoint, PATIENCE_S)))
        asking.start()
        while asking.is_alive():
            feed.step(0.01)
    assert told[0]["cameras"] == cameras


def test_a_feed_that_is_not_there_gives_no_status(place: Place) -> None:
    with pytest.raises(LinkLost, match=f"{place.endpoint} gave no status"):
        request_status(place.endpoint, 0.05)


# -- the subscriber against a feed that misbehaves --------------------------------------------------------------------


class FakeFeed:
    """A ROUTER that says what the test wants."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        self.peer = b""

    def expect(self, kind: Kind, of: AlertSubscriber) -> dict[str, Any]:
        """Lets the subscriber work until a message of this kind came from it; its sender becomes the peer."""
        for _ in range(int(PATIENCE_S / 0.01)):
            assert of.poll(0) is None
            while self.socket.poll(10):
                self.peer, *parts = self.socket.recv_multipart()
                message = decode(parts)
                if message.kind is kind:
                    return dict(message.meta)
        raise AssertionError(f"no {kind.name} came")

    def say(self, parts: list[Any]) -> None:
        self.socket.send_multipart([self.peer, *parts])

    def alert(self, seq: int) -> None:
        alert = Alert.from_json(an_alert(seq).to_json() | {"seq": seq})
        self.say(encode_alert(alert, Evidence(b"", b"")))

    def __enter__(self) -> FakeFeed:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)


def test_an_alert_that_jumps_without_a_gap_is_not_taken_and_asked_for_again(place: Place) -> None:
    with FakeFeed(place.endpoint) as feed, AlertSubscriber(place.endpoint, since=0) as alerts:
        assert feed.expect(Kind.SUBSCRIBE, of=alerts) == {"name": None, "since": 0}
        feed.alert(1)
        assert take(alerts, 1) == [1]
        feed.alert(3)

        assert feed.expect(Kind.SUBSCRIBE, of=alerts) == {"name": None, "since": 1, "had": known_by(an_alert(1))}
        feed.alert(2)
        feed.alert(3)
        assert take(alerts, 2) == [2, 3]


def test_a_repeated_alert_is_dropped(place: Place) -> None:
    with FakeFeed(place.endpoint) as feed, AlertSubscriber(place.endpoint, since=0) as alerts:
        feed.expect(Kind.SUBSCRIBE, of=alerts)
        for seq in (1, 2, 1, 2, 3):
            feed.alert(seq)

        assert take(alerts, 3) == [1, 2, 3]


def test_what_stays_unreadable_ends_with_an_error_and_not_with_silence(place: Place) -> None:
    with FakeFeed(place.endpoint) as feed, AlertSubscriber(place.endpoint, since=0) as alerts:
        for _ in range(3):
            feed.expect(Kind.SUBSCRIBE, of=alerts)
            feed.say([b"damaged"])
        with pytest.raises(LinkLost, match="same version"):
            alerts.poll(PATIENCE_S)


def test_a_silent_feed_is_noticed_and_subscribed_to_anew(place: Place) -> None:
    clock = Clock()
    with FakeFeed(place.endpoint) as feed, AlertSubscriber(place.endpoint, since=0, clock=clock) as alerts:
        feed.expect(Kind.SUBSCRIBE, of=alerts)
        before = alerts.connected
        feed.alert(1)
        while (found := alerts.poll(0)) is None:
            pass
        assert (before, found[0].seq, alerts.connected) == (False, 1, True)

        states = []
        for pause in (SILENT_S, 0.1):
            clock.now += pause
            assert alerts.poll(0) is None
            states.append(alerts.connected)
        assert states == [True, False]
        assert feed.expect(Kind.SUBSCRIBE, of=alerts) == {"name": None, "since": 1, "had": known_by(an_alert(1))}


def test_a_program_busy_for_long_is_subscribed_again_and_misses_nothing(place: Place) -> None:
    fill(place.outbox, 1, 2 * WINDOW)
    with stepped(place) as (feed, clock):
        stop = threading.Event()
        with AlertSubscriber(place.endpoint, since=0) as alerts:
            assert alerts.poll(0) is None
            feed.step(PATIENCE_S)
            clock.now += FORGET_S + BEAT_S  # nothing was heard meanwhile
            feed.step(0)
            assert feed.state()["subscribers"] == []
            thread = threading.Thread(target=feed.run, args=(stop.is_set,))
            thread.start()
            try:
                assert take(alerts, 2 * WINDOW) == list(range(1, 2 * WINDOW + 1))
            finally:
                stop.set()
                thread.join(PATIENCE_S)


# -- listening while one alert takes long -----------------------------------------------------------------------------


def listen_until(subscriber: AlertSubscriber, condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        subscriber.listen()
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


def test_listening_acknowledges_nothing_and_hands_out_what_came_in_order_afterwards(place: Place) -> None:
    fill(place.outbox, 1, 2 * WINDOW)
    with place.serving(), AlertSubscriber(place.endpoint, name="sink") as alerts:
        assert take(alerts, 1) == [1]
        listen_until(alerts, lambda: len(alerts._ready) == WINDOW - 1)
        for _ in range(10):
            alerts.listen()
        assert place.outbox.acknowledged() == {"sink": 0}
        assert (alerts.last_seq, alerts.caught_up) == (1, False)
        assert take(alerts, 2 * WINDOW - 1) == list(range(2, 2 * WINDOW + 1))
        place.wait_for_places(sink=2 * WINDOW - 1)


def test_who_listened_and_ended_gets_everything_again_that_was_not_acknowledged(place: Place) -> None:
    fill(place.outbox, 1, 4)
    with place.serving():
        with AlertSubscriber(place.endpoint, name="sink") as alerts:
            assert take(alerts, 2) == [1, 2]
            listen_until(alerts, lambda: len(alerts._ready) == 2)
            place.wait_for_places(sink=1)
        with AlertSubscriber(place.endpoint, name="sink") as alerts:
            assert take(alerts, 3) == [2, 3, 4]


def test_what_was_read_ahead_comes_once_after_the_feed_was_started_anew_and_events_go_on(place: Place) -> None:
    fill(place.outbox, 1, 3 * WINDOW)
    events: list[StateEvent] = []
    with AlertSubscriber(place.endpoint, name="sink", on_event=events.append) as alerts:
        with place.serving():
            assert take(alerts, 1) == [1]
            listen_until(alerts, lambda: len(alerts._ready) == WINDOW - 1)
        alerts._clock = lambda: time.monotonic() + SILENT_S + BEAT_S  # the feed is silent, and subscribed to anew
        alerts.listen()
        assert alerts.last_seq == 1
        with place.serving():
            listen_until(alerts, lambda: len(alerts._ready) == WINDOW)  # the new connection's window
            place.outbox.record_event(StateEvent("gate", CameraState.LIVE, "", 60.0))
            listen_until(alerts, lambda: bool(events))
            assert take(alerts, 3 * WINDOW - 1) == list(range(2, 3 * WINDOW + 1))


def test_listening_reads_no_more_than_a_window_from_a_feed_that_keeps_to_none(place: Place) -> None:
    with FakeFeed(place.endpoint) as feed, AlertSubscriber(place.endpoint, since=0) as alerts:
        feed.expect(Kind.SUBSCRIBE, of=alerts)
        for seq in range(1, 3 * WINDOW + 1):
            feed.alert(seq)
        listen_until(alerts, lambda: len(alerts._ready) == WINDOW + 1)
        for _ in range(20):
            alerts.listen()
            threading.Event().wait(0.01)
        assert len(alerts._ready) == WINDOW + 1
        assert take(alerts, 3 * WINDOW) == list(range(1, 3 * WINDOW + 1))


def test_a_repeated_alert_that_is_not_safe_yet_is_not_acknowledged(place: Place) -> None:
    with FakeFeed(place.endpoint) as feed, AlertSubscriber(place.endpoint, since=0) as alerts:
        feed.expect(Kind.SUBSCRIBE, of=alerts)
        for seq in (1, 2, 2):
            feed.alert(seq)
        assert take(alerts, 1) == [1]
        listen_until(alerts, lambda: len(alerts._ready) == 1)
        feed.alert(2)
        for _ in range(20):
            alerts.listen()
            threading.Event().wait(0.01)
        sent = []
        while feed.socket.poll(0):
            sent.append(decode(feed.socket.recv_multipart()[1:]).kind)
        assert Kind.ACK not in sent


@pytest.mark.parametrize(
    ("endpoint", "options"),
    [
        ("http://x", {}),
        ("ipc:///tmp/x", {"since": -1}),
        ("ipc:///tmp/x", {"name": "no spaces"}),
    ],
)
def test_a_subscription_with_a_wrong_option_is_refused_before_anything_is_sent(
    endpoint: str, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        AlertSubscriber(endpoint, **options)
