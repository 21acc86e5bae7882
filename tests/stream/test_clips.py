"""Clips of cameras, from frames to MP4: what is in them, what is not, and that nothing is raised or waited for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from clip_fakes import T0, a_view, play
from pipeline_fakes import PATIENCE_S, Clock, a_packet, grey, jpeg

from stream.clips import LIVE_WAIT_S, CameraClips, Clips, ClipSettings, ViewRing
from stream.messages import FramePacket

SETTINGS = ClipSettings(seconds=20.0, pre_roll=1.0, height=720, confirm=0.4)


def a_frame(at: float, *, camera: str = "gate", level: int = 128, segment: str = "") -> FramePacket:
    return a_packet(camera=camera, frame_time=T0 + at, view=jpeg(grey(level)), segment=segment)


def fifths(first: float, last: float) -> list[float]:
    """Times from first to last, a fifth of a second apart."""
    return [n / 5 for n in range(round(first * 5), round(last * 5) + 1)]


def show(camera: CameraClips, first: float, last: float, *, level: int = 128) -> None:
    for at in fifths(first, last):
        camera.see(a_frame(at, level=level))


@pytest.fixture
def clips() -> Iterator[Clips]:
    with Clips(SETTINGS) as here:
        yield here


def a_camera(clips: Clips, name: str = "gate", *, lossless: bool = True) -> CameraClips:
    camera = clips.camera(name, lossless=lossless)
    assert camera is not None
    return camera


# The ring


def times(ring: ViewRing) -> list[float]:
    return [view.time - T0 for view in ring.since(0.0)]


def test_the_ring_keeps_the_last_seconds() -> None:
    ring = ViewRing(2.0)
    for at in range(6):
        ring.add(a_view(at))

    assert times(ring) == [3, 4, 5]
    assert [view.time - T0 for view in ring.since(T0 + 4)] == [4, 5]


def test_the_ring_keeps_no_more_bytes_than_it_may() -> None:
    ring = ViewRing(60.0, max_bytes=250)
    for at in range(5):
        ring.add(replace(a_view(at), jpeg=bytes(100)))
    assert times(ring) == [3, 4]

    ring.add(replace(a_view(5), jpeg=bytes(251)))
    assert times(ring) == [], "one view alone is too much"
    ring.add(replace(a_view(6), jpeg=bytes(250)))
    assert times(ring) == [6]


def test_the_ring_forgets_what_was_before_when_time_runs_backwards() -> None:
    ring = ViewRing(60.0)
    for at in (100, 101, 50, 51):
        ring.add(a_view(at))

    assert times(ring) == [50, 51]


def test_a_ring_of_no_seconds_keeps_the_newest_view() -> None:
    ring = ViewRing(0.0)
    for at in range(3):
        ring.add(a_view(at))

    assert times(ring) == [2]


# A camera's clips


def test_a_clip_shows_the_time_before_the_alert_and_the_alert(clips: Clips) -> None:
    camera = a_camera(clips)
    show(camera, 0.0, 5.0, level=50)
    show(camera, 5.2, 5.6, level=200)
    camera.begin("a1", T0 + 5.2)  # the start message comes 0.4 s after the first frame of the alert
    show(camera, 5.8, 8.0, level=200)
    shown = play(camera.finish())

    # From 1 s before the alert's first frame: 4.2, 4.4, ... 8.0.
    assert [frame.time for frame in shown] == [pytest.approx(at - 4.2) for at in fifths(4.2, 8.0)]
    assert [frame.level > 100 for frame in shown] == [at >= 5.2 for at in fifths(4.2, 8.0)]
    assert clips.counts() == {"made": 1, "failed": 0, "views_dropped": 0, "views_broken": 0}


def test_a_clip_ends_after_its_seconds_although_the_alert_goes_on() -> None:
    with Clips(replace(SETTINGS, seconds=2.0)) as clips:
        camera = a_camera(clips)
        show(camera, 0.0, 3.0)
        camera.begin("a1", T0 + 3.0)
        show(camera, 3.2, 60.0)
        shown = play(camera.finish())

    assert [frame.time for frame in shown] == [pytest.approx(at - 2.0) for at in fifths(2.0, 5.0)]


def test_an_alert_that_was_held_for_longer_than_its_clip_may_last_has_a_clip_all_the_same() -> None:
    with Clips(replace(SETTINGS, seconds=2.0)) as clips:
        camera = a_camera(clips)
        show(camera, 0.0, 60.0)
        camera.begin("a1", T0 + 5.0)  # 55 s ago: the rate cap held it
        show(camera, 60.2, 65.0)
        shown = play(camera.finish())

    # The ring has 1 s of pre-roll and the 0.4 s that a start message may come late.
    assert [frame.time for frame in shown] == [pytest.approx(at - 58.6) for at in fifths(58.6, 60.6)]


def test_a_clip_begins_with_what_there_is(clips: Clips) -> None:
    camera = a_camera(clips)
    show(camera, 0.0, 0.2)
    camera.begin("a1", T0)

    assert [frame.time for frame in play(camera.finish())] == [0.0, 0.2]


def test_the_time_before_is_that_of_the_same_recording(clips: Clips) -> None:
    camera = a_camera(clips)
    camera.see(a_frame(0.0, segment="a", level=50))
    camera.see(a_frame(0.2, segment="b", level=200))
    camera.begin("a1", T0 + 0.2)

    assert [frame.level for frame in play(camera.finish())] == pytest.approx([200], abs=3)


def test_each_alert_has_its_own_clip(clips: Clips) -> None:
    camera = a_camera(clips)
    found = []
    for start in (10.0, 20.0):
        show(camera, start - 0.4, start)
        camera.begin(f"a{start}", T0 + start)
        show(camera, start + 0.2, start + 0.4)
        found.append([frame.time for frame in play(camera.finish())])

    assert found == [[0.0, 0.2, 0.4, 0.6, 0.8]] * 2


def test_two_cameras_at_once_keep_their_pictures_apart(clips: Clips) -> None:
    found: dict[str, list[int]] = {}

    def watch(name: str, level: int) -> None:
        camera = a_camera(clips, name)
        camera.see(a_frame(0.0, camera=name, level=level))
        camera.begin(name, T0)
        show(camera, 0.2, 6.0, level=level)
        found[name] = [frame.level for frame in play(camera.finish())]

    threads = [threading.Thread(target=watch, args=each) for each in (("gate", 60), ("back", 180))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert found["gate"] == pytest.approx([60] * 31, abs=3)
    assert found["back"] == pytest.approx([180] * 31, abs=3)


def test_a_broken_view_is_left_out_and_the_log_says_so(clips: Clips, caplog: pytest.LogCaptureFixture) -> None:
    camera = a_camera(clips)
    camera.see(a_frame(0.0))
    camera.begin("a1", T0)
    camera.see(replace(a_frame(0.2), view=b"junk"))
    camera.see(a_frame(0.4))

    assert [frame.time for frame in play(camera.finish())] == [0.0, 0.4]
    assert "camera gate, alert a1: its clip lacks 1 of 3 views" in caplog.text


def test_an_alert_of_broken_views_gets_no_clip_and_the_log_says_why(
    clips: Clips, caplog: pytest.LogCaptureFixture
) -> None:
    camera = a_camera(clips)
    camera.see(replace(a_frame(0.0), view=b"junk"))
    camera.begin("a1", T0)

    assert camera.finish() == b""
    assert "camera gate, alert a1: it goes out without a clip: no view of it could be used" in caplog.text
    assert clips.counts()["failed"] == 1


def test_without_an_alert_there_is_no_clip(clips: Clips) -> None:
    camera = a_camera(clips)
    show(camera, 0.0, 1.0)

    assert camera.finish() == b""


def test_a_clip_that_was_given_up_is_not_handed_out(clips: Clips) -> None:
    camera = a_camera(clips)
    show(camera, 0.0, 1.0)
    camera.begin("a1", T0)
    camera.abandon()
    camera.abandon()

    assert camera.finish() == b""


def test_no_seconds_mean_no_clips() -> None:
    with Clips(replace(SETTINGS, seconds=0.0)) as clips:
        assert clips.camera("gate", lossless=False) is None


def test_a_camera_goes_on_after_its_clips_were_closed(clips: Clips, caplog: pytest.LogCaptureFixture) -> None:
    camera = a_camera(clips, lossless=False)
    camera.see(a_frame(0.0))
    clips.close()
    camera.begin("a1", T0)
    camera.see(a_frame(0.2))

    assert camera.finish() == b""
    assert "without a clip: the program is stopping" in caplog.text


# How long an alert waits


class SlowClock(Clock):
    """Every look at it takes three seconds, as if something had been waited for meanwhile."""

    def __call__(self) -> float:
        self.now += 3.0
        return self.now


def test_live_alerts_share_the_time_that_scoring_may_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    with Clips(SETTINGS, clock=SlowClock()) as clips:
        finish = clips._thread.finish
        monkeypatch.setattr(
            clips._thread, "finish", lambda clip, timeout: asked.append(timeout) or finish(clip, timeout=0)
        )
        for name in ("gate", "back"):
            camera = a_camera(clips, name, lossless=False)
            camera.see(a_frame(0.0))
            camera.begin(name, T0)
            camera.finish()

    # The first may take half of the time. It took 3 s, which win back far less: nothing is left for the second.
    assert asked == [LIVE_WAIT_S / 2, 0.0]


def test_a_time_that_the_caller_names_goes_first(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    finish = clips._thread.finish
    monkeypatch.setattr(clips._thread, "finish", lambda clip, timeout: asked.append(timeout) or finish(clip, timeout=0))
    camera = a_camera(clips)
    camera.begin("a1", T0)
    camera.finish(timeout=0.5)

    assert asked == [0.5]
