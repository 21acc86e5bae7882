"""A camera that drops out while somebody watches it: frames go on, or the end is said with its reason."""

from __future__ import annotations

import pytest
from pipeline_fakes import Clock, GreySource

from stream.errors import SourceStalled, SourceUnauthorized, SourceUnreachable, StreamError
from stream.reconnect import OUTAGE, PATIENCE, ReconnectingSource

STALLED = SourceStalled("gate: no frame for 5 s")
AWAY = SourceUnreachable("gate: nothing answers")


class Camera:
    """Opens one source after the other; an exception stands for an attempt that fails."""

    def __init__(self, *attempts: GreySource | Exception) -> None:
        self.attempts, self.opened = list(attempts), 0
        self.clock, self.pauses = Clock(), list[float]()

    def open(self) -> GreySource:
        self.opened += 1
        attempt = self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]
        if isinstance(attempt, Exception):
            raise attempt
        return attempt

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.now += seconds

    def source(self) -> ReconnectingSource:
        return ReconnectingSource(self.open, wait=self.wait, clock=self.clock)


def live(count: int, error: Exception | None = None) -> GreySource:
    return GreySource(count, live=True, error=error)


def test_a_camera_that_stays_is_handed_through():
    source = Camera(live(3)).source()
    assert source.info.live
    assert [(frame.index, frame.media_time) for frame in source.frames()] == [(0, 0.0), (1, 0.1), (2, 0.2)]


def test_after_an_outage_indices_and_times_go_on():
    camera = Camera(live(2, STALLED), AWAY, AWAY, live(2, STALLED), live(1))
    frames = list(camera.source().frames())
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    times = [0.0, 0.1, 0.1 + OUTAGE, 0.2 + OUTAGE, 0.2 + 2 * OUTAGE]
    assert [frame.media_time for frame in frames] == pytest.approx(times)
    assert camera.pauses == [1.0, 2.0, 4.0, 1.0]  # growing, and from the beginning once it answered


def test_what_was_open_is_closed_before_it_is_opened_again():
    first, second = live(1, STALLED), live(1)
    source = Camera(first, second).source()
    list(source.frames())
    assert first.closed.is_set()
    assert not second.closed.is_set()
    source.close()
    assert second.closed.is_set()


def test_a_camera_that_cannot_be_opened_at_first_is_said_at_once():
    camera = Camera(AWAY)
    with pytest.raises(SourceUnreachable, match="nothing answers"):
        camera.source()
    assert camera.opened == 1


def test_a_camera_that_never_gives_a_frame_is_said_at_once():
    camera = Camera(live(0, STALLED))
    with pytest.raises(SourceStalled, match="no frame for 5 s"):
        list(camera.source().frames())
    assert camera.opened == 1


def test_refused_credentials_are_not_tried_again():
    camera = Camera(live(2, STALLED), SourceUnauthorized("gate: refused"))
    with pytest.raises(SourceUnauthorized):
        list(camera.source().frames())
    assert camera.opened == 2


def test_a_camera_that_stays_away_ends_the_watch_with_the_reason_and_what_to_do():
    camera = Camera(live(601, STALLED), AWAY)
    frames = camera.source().frames()
    with pytest.raises(
        SourceStalled, match=r"nothing answers.*10 minutes, after 1.0 minutes of footage: not used.*file"
    ):
        list(frames)
    assert sum(camera.pauses) <= PATIENCE
    assert sum(camera.pauses) + 60 > PATIENCE
    assert max(camera.pauses) == 60.0


def test_the_wait_for_a_camera_can_be_ended():
    def stopped(seconds: float) -> None:
        raise StreamError("stopped")

    camera = Camera(live(2, STALLED), AWAY)
    source = ReconnectingSource(camera.open, wait=stopped)
    with pytest.raises(StreamError, match="stopped"):
        list(source.frames())


def test_closing_ends_the_frames_also_where_the_camera_fails_because_of_it():
    source = Camera(live(3, STALLED)).source()
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == []
