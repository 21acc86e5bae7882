"""Live views: as bytes, over real sockets, to viewers that keep up and to one that does not, and to nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import zmq
from pipeline_fakes import Clock, short_folder, wait_until

from stream.endpoints import Endpoint, parse_endpoint
from stream.errors import EndpointBusy, WireError
from stream.live import QUEUE, LiveFrame, LivePublisher, LiveSubscriber, decode_live, encode_live


def a_view(camera: str = "gate", **changes: Any) -> LiveFrame:
    frame = LiveFrame(
        camera=camera,
        scene="yard",
        frame_seq=7,
        frame_time=1000.5,
        score=4.0,
        threshold=2.0,
        alert="a1",
        problem="",
        source_size=(64, 48),
        heat_box=(0.0625, 0.0, 0.875, 1.0),
        view_jpeg=b"a picture",
        heat_png=b"its heat",
    )
    return replace(frame, **changes)


def parts_of(frame: LiveFrame) -> list[bytes]:
    return [bytes(part) for part in encode_live(frame)]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@pytest.fixture
def endpoint(folder: Path) -> Endpoint:
    return parse_endpoint(f"ipc://{folder}/run/live.sock")


# As bytes


@pytest.mark.parametrize(
    "frame",
    [
        a_view(),
        a_view(score=None, threshold=None, alert=None, problem="the gallery is damaged", heat_png=b""),
        a_view(heat_box=(0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_a_view_is_the_same_after_its_way(frame: LiveFrame) -> None:
    found = decode_live(parts_of(frame))

    for field in fields(LiveFrame):
        assert getattr(found, field.name) == getattr(frame, field.name)


def test_the_topic_ends_with_a_zero_so_that_no_id_begins_with_another() -> None:
    assert parts_of(a_view("gate"))[0] == b"gate\0"
    assert not parts_of(a_view("gate-2"))[0].startswith(parts_of(a_view("gate"))[0])


@pytest.mark.parametrize("place", range(5))
def test_a_flipped_bit_is_noticed_wherever_it_is(place: int) -> None:
    parts = parts_of(a_view())
    parts[place] = bytes([parts[place][0] ^ 1]) + parts[place][1:]

    with pytest.raises(WireError):
        decode_live(parts)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"score": float("nan")}, "score is nan"),
        ({"camera": "x" * 65}, "camera is"),
        ({"source_size": (0, 48)}, "source_size is 0"),
        ({"heat_box": (0.0, 0.0, 0.0, 1.0)}, "heat_box is"),
        ({"frame_time": 1e300}, "cannot be sent"),
    ],
)
def test_a_value_out_of_its_bounds_is_not_sent(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(WireError, match=why):
        encode_live(a_view(**changes))


def test_something_else_than_a_view_is_refused() -> None:
    for parts in ([], [b"gate\0"], [b"gate\0", b"x", b"{}"]):
        with pytest.raises(WireError):
            decode_live(parts)


def test_a_reason_without_end_is_cut() -> None:
    assert len(decode_live(parts_of(a_view(problem="x" * 10_000))).problem) == 4096


# Over sockets


def watched(publisher: LivePublisher, camera: str = "gate") -> None:
    wait_until(lambda: publisher.wants(camera))


def test_a_viewer_gets_the_views_of_the_cameras_that_it_watches_and_of_no_others(endpoint: Endpoint) -> None:
    with LivePublisher(endpoint) as publisher, LiveSubscriber(endpoint) as viewer:
        viewer.watch(["gate"])
        watched(publisher)
        publisher.publish(a_view("gate-2"))
        publisher.publish(a_view("back"))
        publisher.publish(a_view("gate", frame_seq=8))

        found = viewer.poll(10.0)
        assert found is not None
        assert (found.camera, found.frame_seq, found.view_jpeg) == ("gate", 8, b"a picture")
        assert viewer.poll(0.05) is None


def test_no_view_is_wanted_of_a_camera_that_nobody_watches(endpoint: Endpoint) -> None:
    with LivePublisher(endpoint) as publisher, LiveSubscriber(endpoint) as viewer:
        assert not publisher.wants("gate")
        viewer.watch(["gate"])
        watched(publisher)
        assert not publisher.wants("back")
        viewer.watch(["back"])
        watched(publisher, "back")
        assert not publisher.wants("gate")


def test_a_viewer_that_has_gone_is_noticed(endpoint: Endpoint) -> None:
    with LivePublisher(endpoint) as publisher:
        with LiveSubscriber(endpoint) as viewer:
            viewer.watch(["gate"])
            watched(publisher)
        wait_until(lambda: not publisher.wants("gate"))


def test_at_most_five_views_a_second_are_wanted_of_a_camera(endpoint: Endpoint) -> None:
    clock = Clock()
    with LivePublisher(endpoint, clock=clock) as publisher, LiveSubscriber(endpoint) as viewer:
        viewer.watch(["gate"])
        watched(publisher)
        wanted = 0
        for frame in range(250):  # ten seconds of a camera with 25 frames a second
            clock.now = 100.0 + frame / 25
            if publisher.wants("gate"):
                publisher.publish(a_view())
                wanted += 1

    assert 49 <= wanted <= 51


def test_a_camera_with_five_frames_a_second_keeps_its_rate_though_they_come_irregularly(endpoint: Endpoint) -> None:
    clock = Clock()
    with LivePublisher(endpoint, clock=clock) as publisher, LiveSubscriber(endpoint) as viewer:
        viewer.watch(["gate"])
        watched(publisher)
        for frame in range(50):
            clock.now = 100.0 + frame / 5 + (0.04 if frame % 2 else 0.0)
            assert publisher.wants("gate")
            publisher.publish(a_view())


def test_a_slow_viewer_misses_views_and_holds_up_neither_the_worker_nor_another_viewer(endpoint: Endpoint) -> None:
    picture = bytes(1 << 20)
    count = 3 * QUEUE
    with LivePublisher(endpoint) as publisher, LiveSubscriber(endpoint) as slow, LiveSubscriber(endpoint) as quick:
        slow.watch(["gate"])
        quick.watch(["gate", "end"])
        watched(publisher)
        watched(publisher, "end")
        seen = 0
        for seq in range(count):
            publisher.publish(a_view(frame_seq=seq, view_jpeg=picture))
            found = quick.poll(10.0)
            assert found is not None
            assert found.frame_seq == seq
            seen += 1

        missed = count - sum(1 for _ in iter(lambda: slow.poll(0.5), None))
        assert seen == count
        assert missed > 0


def test_a_viewer_finds_the_next_worker_by_itself(endpoint: Endpoint) -> None:
    with LiveSubscriber(endpoint) as viewer:
        viewer.watch(["gate"])
        for seq in (1, 2):
            with LivePublisher(endpoint) as publisher:
                # ZeroMQ repeats subscriptions to a new worker while the viewer polls, as one that lives does.
                wait_until(lambda: publisher.wants("gate"), step=lambda: viewer.poll(0.01))
                publisher.publish(a_view(frame_seq=seq))
                found = viewer.poll(10.0)
                assert found is not None
                assert found.frame_seq == seq


def test_a_second_worker_does_not_take_the_viewers_away(endpoint: Endpoint) -> None:
    with LivePublisher(endpoint), pytest.raises(EndpointBusy):
        LivePublisher(endpoint)


def test_a_view_that_cannot_be_sent_is_told_and_not_raised(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with LivePublisher(endpoint) as publisher:
        publisher.publish(a_view(score=float("inf")))

    assert "a live view is not shown" in caplog.text


def test_nonsense_from_a_viewer_disturbs_nobody(endpoint: Endpoint) -> None:
    context: zmq.Context[Any] = zmq.Context()
    try:
        with LivePublisher(endpoint) as publisher, LiveSubscriber(endpoint) as viewer:
            stranger = context.socket(zmq.XSUB)
            stranger.connect(endpoint.url)
            for message in (b"", b"\1", b"\2nonsense", b"\1" + b"x" * 100, b"\0never-watched"):
                stranger.send(message)
            viewer.watch(["gate"])
            watched(publisher)
            assert not publisher.wants("back")
    finally:
        context.destroy(linger=0)


def test_what_is_no_view_is_counted_and_passed_over(endpoint: Endpoint) -> None:
    with LivePublisher(endpoint) as publisher, LiveSubscriber(endpoint) as viewer:
        viewer.watch(["gate"])
        watched(publisher)
        publisher._socket.send_multipart([b"gate\0", b"nonsense"])
        publisher.publish(a_view(frame_seq=9))

        found = viewer.poll(10.0)
        assert found is not None
        assert (found.frame_seq, viewer.malformed) == (9, 1)


def test_polling_without_a_view_ends_in_time(endpoint: Endpoint) -> None:
    with LiveSubscriber(endpoint) as viewer:
        began = time.monotonic()
        assert viewer.poll(0.05) is None
        assert time.monotonic() - began >= 0.04
