"""What the control says of cameras, recorded as events: each change once, nothing lost for long."""

from __future__ import annotations

from typing import Any

import pytest

from stream.cluster.camera_events import CameraEvents
from stream.errors import AlertRefused, OutboxError
from stream.messages import CameraState, StateEvent

NOW = 1000.0


class Store:
    """Events in memory; a test may say that the disk is full."""

    def __init__(self, *known: StateEvent) -> None:
        self.known, self.events = list(known), list[StateEvent]()
        self.fault: OutboxError | None = None

    def record_event(self, event: StateEvent) -> int:
        if self.fault is not None:
            raise self.fault
        self.events.append(event)
        return len(self.events)

    def camera_states(self) -> list[StateEvent]:
        return self.known

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(str(event.state), event.reason) for event in self.events]


def says(state: str, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"gate": {"state": state, "reason": reason, "scene": "yard", "since": "1970-01-01T00:15:00.000Z", **more}}


@pytest.fixture
def store() -> Store:
    return Store()


def events(store: Store) -> CameraEvents:
    return CameraEvents(store, wall=lambda: NOW)


def test_each_change_is_recorded_once_with_the_time_at_which_it_came(store: Store) -> None:
    told = events(store)
    for said in (says("NOT_SCORED", "node-a is gone"), says("NOT_SCORED", "still"), says("LIVE", "frames arrive")):
        told.tell(said)
    assert store.told == [("NOT_SCORED", "node-a is gone"), ("LIVE", "frames arrive")]
    assert store.events[0].at_time == 900.0


def test_a_state_that_an_earlier_collector_has_recorded_is_not_recorded_again() -> None:
    store = Store(StateEvent("gate", CameraState.LIVE, "frames arrive", 5.0))
    events(store).tell(says("LIVE"))
    assert store.events == []


def test_another_scene_is_an_event_of_the_same_state(store: Store) -> None:
    told = events(store)
    told.tell(says("LIVE"))
    told.tell(says("LIVE", scene="yard-night"))
    assert store.told[1:] == [("LIVE", "scene yard-night")]


def test_a_camera_that_is_gone_from_the_configuration_ends(store: Store) -> None:
    told = events(store)
    told.tell(says("LIVE"))
    told.tell({})
    told.tell({})
    assert store.told[1:] == [("ENDED", "removed from the configuration")]


def test_what_cannot_be_recorded_is_recorded_later_as_it_is_then(store: Store) -> None:
    told = events(store)
    store.fault = OutboxError("disk full")
    told.tell(says("NOT_SCORED", "node-a is gone"))
    assert told.problem == "disk full"
    store.fault = None
    told.tell(says("STALLED", "no frame for 5 s"))
    assert told.problem == ""
    assert store.told == [("STALLED", "no frame for 5 s")]


def test_an_event_that_can_never_be_stored_is_not_tried_for_ever(store: Store) -> None:
    told = events(store)
    store.fault = AlertRefused("cannot be stored")
    told.tell(says("STALLED"))
    assert told.problem == ""
    store.fault = None
    told.tell(says("STALLED"))
    assert store.events == []


@pytest.mark.parametrize("since", ["2070-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z", "noon", None])
def test_a_time_that_cannot_be_is_now(store: Store, since: Any) -> None:
    events(store).tell(says("LIVE", since=since))
    assert store.events[0].at_time == NOW


def test_of_very_many_changes_no_call_records_for_long_and_all_are_recorded_in_the_end() -> None:
    """A collector that gives no sign of life for 15 s is killed; each event is a synchronous write."""
    now = [0.0]

    class Slow(Store):
        def record_event(self, event: StateEvent) -> int:
            now[0] += 0.4  # s
            return super().record_event(event)

    store = Slow()
    told = CameraEvents(store, wall=lambda: NOW, clock=lambda: now[0])
    cameras = {f"gate-{n}": says("LIVE")["gate"] for n in range(7)}
    told.tell(cameras)
    assert len(store.events) == 3  # 1.2 s
    for _ in range(2):
        told.tell(cameras)
    assert [event.camera for event in store.events] == list(cameras)
