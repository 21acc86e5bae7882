"""Camera events over the feed: to whom asked for them, first what is, then what changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from feed_fakes import PATIENCE_S, Peer, Place, a_place, fill, stepped, take, wait_until

from stream.messages import CameraState, StateEvent
from stream.subscriber import AlertSubscriber
from stream.wire import Kind


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as here:
        yield here


def record(place: Place, camera: str, state: CameraState, reason: str = "because") -> None:
    place.outbox.record_event(StateEvent(camera, state, reason, 60.0))


def test_whoever_asks_gets_the_state_of_every_camera_and_then_every_change(place: Place) -> None:
    record(place, "gate", CameraState.CONNECTING)
    record(place, "yard", CameraState.OFFLINE, "nobody answers")
    record(place, "gate", CameraState.LIVE)
    events: list[StateEvent] = []
    with place.serving(), AlertSubscriber(place.endpoint, on_event=events.append) as alerts:
        wait_until(alerts, lambda: alerts.caught_up)
        assert [(e.id, e.camera, str(e.state)) for e in events] == [(2, "yard", "OFFLINE"), (3, "gate", "LIVE")]
        assert (events[0].reason, events[0].at_time) == ("nobody answers", 60.0)

        record(place, "gate", CameraState.STALLED)
        record(place, "gate", CameraState.LIVE)
        wait_until(alerts, lambda: len(events) == 4)
        assert [(e.id, str(e.state)) for e in events[2:]] == [(4, "STALLED"), (5, "LIVE")]


def test_alerts_come_between_them(place: Place) -> None:
    events: list[StateEvent] = []
    with place.serving(), AlertSubscriber(place.endpoint, since=0, on_event=events.append) as alerts:
        for n in (1, 2, 3):
            record(place, "gate", CameraState.LIVE)
            fill(place.outbox, n, n)
            assert take(alerts, 1) == [n]
        wait_until(alerts, lambda: len(events) == 3)


def test_after_a_restart_of_the_feed_the_states_come_again(place: Place) -> None:
    record(place, "gate", CameraState.LIVE)
    events: list[StateEvent] = []
    with AlertSubscriber(place.endpoint, on_event=events.append) as alerts:
        with place.serving():
            wait_until(alerts, lambda: alerts.caught_up)
        record(place, "gate", CameraState.STALLED)
        record(place, "gate", CameraState.FROZEN)
        with place.serving():
            wait_until(alerts, lambda: len(events) == 2)

    assert [str(event.state) for event in events] == ["LIVE", "FROZEN"]  # of what was between only the last counts


@pytest.mark.parametrize("meta", [{}, {"events": False}])
def test_whoever_does_not_ask_gets_none(place: Place, meta: dict[str, Any]) -> None:
    record(place, "gate", CameraState.LIVE)
    with stepped(place) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name=None, since=None, **meta)
        feed.step(PATIENCE_S)
        record(place, "gate", CameraState.STALLED)
        feed.step(0)

        assert [message.kind for message in peer.drain(idle_ms=100)] == [Kind.CAUGHT_UP]


def test_the_form_of_an_event(place: Place) -> None:
    record(place, "gate", CameraState.OBSCURED, "the picture is black")
    with stepped(place) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name=None, since=None, events=True)
        feed.step(PATIENCE_S)
        message = peer.receive()

    assert message.kind is Kind.EVENT
    assert message.meta == {
        "schema": "spade-stream/camera-event/1",
        "id": 1,
        "camera": "gate",
        "state": "OBSCURED",
        "reason": "the picture is black",
        "at_time": "1970-01-01T00:01:00.000Z",
    }
    assert StateEvent.from_json(message.meta).to_json() == message.meta


def test_many_events_are_sent_in_portions_and_all_of_them(place: Place) -> None:
    for n in range(50):
        record(place, f"camera{n}", CameraState.LIVE)
    with stepped(place) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name=None, since=None, events=True)
        feed.step(PATIENCE_S)
        first = peer.drain(idle_ms=100)
        for n in range(50):
            record(place, f"camera{n}", CameraState.STALLED)
        for _ in range(20):
            feed.step(0)
        found = first + peer.drain(idle_ms=100)

    assert len(first) < 50
    events = [message for message in found if message.kind is Kind.EVENT]
    assert [event.meta["id"] for event in events] == list(range(1, 101))
    assert [message.kind for message in found].index(Kind.CAUGHT_UP) >= 50


def test_a_wish_that_is_neither_yes_nor_no_is_refused(place: Place) -> None:
    with stepped(place) as (feed, _), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name=None, since=None, events="all")
        feed.step(PATIENCE_S)
        answer = peer.receive()

    assert answer.kind is Kind.REFUSED
    assert "'all'" in answer.meta["reason"]


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": "spade-stream/camera-event/2"},
        {"camera": None},
        {"state": "HAPPY"},
        {"id": "1"},
        {"at_time": 60.0},
        {"reason": 5},
    ],
    ids=str,
)
def test_what_is_no_event_is_not_taken_for_one(damage: dict[str, Any]) -> None:
    document = StateEvent("gate", CameraState.LIVE, "", 60.0, id=1).to_json()
    assert StateEvent.from_json(document).id == 1

    with pytest.raises(ValueError, match="camera event"):
        StateEvent.from_json(document | damage)
