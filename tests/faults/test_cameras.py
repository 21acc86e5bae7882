"""What cameras do in the field, to a real reader: each is a state with a reason, and ends when the fault ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream.messages import CameraState

from .cameras import camera, encoded, noisy, quiet_place, scene

pytestmark = pytest.mark.slow

Open = Callable[..., Any]

LOST = (CameraState.OFFLINE, CameraState.STALLED)


@pytest.mark.fault("camera dies", "OFFLINE or STALLED with the next attempt named; back by itself when it returns")
def test_a_camera_that_dies_is_reported_and_comes_back_by_itself(desk: Open) -> None:
    with camera() as gate, desk(gate.url()) as here:
        here.more_frames(3)
        gate.closed = True
        lost = here.until_state(*LOST)
        assert "next attempt in" in lost.reason
        gate.closed = False
        here.until_live_again()


@pytest.mark.fault("camera stalls", "STALLED after read_timeout; back by itself")
def test_a_camera_that_sends_nothing_any_more_has_stalled(desk: Open) -> None:
    with camera() as gate, desk(gate.url()) as here:
        here.more_frames(3)
        gate.stalled = True
        assert "no frame within 1 s" in here.until_state(CameraState.STALLED).reason
        gate.stalled = False
        here.until_live_again()


@pytest.mark.fault("camera freezes", "FROZEN; its frames are not scored, each is counted; LIVE when it moves again")
def test_a_camera_that_shows_one_picture_for_ever_is_frozen(desk: Open) -> None:
    with camera() as gate, desk(gate.url(), frozen_after=2.0) as here:
        here.more_frames(5)
        still = encoded(scene())
        gate.picture = lambda n: still
        here.until_state(CameraState.FROZEN)
        seen = len(here.frames)
        here.for_a_while(1.0)
        assert len(here.frames) == seen
        gate.picture = quiet_place()
        here.until_live_again()
        assert here.drops["reader.frozen"] + here.drops["reader.duplicate"] > 0


@pytest.mark.fault("camera repeats pictures", "repeats are counted and not scored; the camera stays LIVE")
def test_a_camera_that_sends_every_picture_twice_is_live_and_half_of_them_are_counted(desk: Open) -> None:
    place = scene()
    with camera(lambda n: noisy(place, n // 2), fps=20.0) as gate, desk(gate.url(), fps=None) as here:
        here.more_frames(20)
        assert here.drops["reader.duplicate"] >= 10
        assert {event.state for event in here.states} <= {CameraState.CONNECTING, CameraState.LIVE}
        pictures = [frame.image.tobytes() for frame in here.frames]
        assert len(set(pictures)) == len(pictures)


@pytest.mark.fault("camera refuses the password (401)", "AUTH_FAILED, tried once a minute; no secret in any text")
def test_a_camera_that_refuses_the_password_is_tried_slowly_and_the_password_shows_nowhere(
    desk: Open, caplog: pytest.LogCaptureFixture
) -> None:
    with camera(password="right") as gate, desk(gate.url("hunter2-secret")) as here:
        refused = here.until_state(CameraState.AUTH_FAILED)
        asked = gate.refused
        here.for_a_while(4.0)
        assert gate.refused == asked, "cameras lock out who guesses fast"
        assert "hunter2-secret" not in refused.reason + caplog.text


@pytest.mark.fault("corrupt stream", "damaged pictures are left out and counted; good ones go on")
def test_pictures_that_are_cut_short_are_left_out(desk: Open) -> None:
    place = quiet_place()

    def every_other_cut(n: int) -> bytes:
        whole = encoded(place(n))
        return whole if n % 2 else whole[: len(whole) // 2]

    with camera(every_other_cut, fps=20.0) as gate, desk(gate.url(), fps=None) as here:
        here.more_frames(10)
        # The lower half of a picture that was cut is grey: none of those may have come through.
        assert min(float(np.std(frame.image[-16:])) for frame in here.frames) > 5


@pytest.mark.fault("resolution change", "LIVE with both sizes named; frames go on in the new size")
def test_a_camera_that_changes_its_resolution_goes_on(desk: Open) -> None:
    with camera() as gate, desk(gate.url()) as here:
        here.more_frames(3)
        gate.picture = quiet_place(width=640, height=480)
        here.until(lambda: here.frames[-1].source_size == (640, 480), "a frame of the new size comes")
        here.until(lambda: "640x480" in here.states[-1].reason, "the new size is told")
        assert here.states[-1].state is CameraState.LIVE


@pytest.mark.fault("black lens", "OBSCURED; frames are not scored, each is counted; LIVE when uncovered")
@pytest.mark.parametrize("cover", ["cap", "hand"])
def test_a_covered_lens_is_reported(desk: Open, cover: str) -> None:
    level = {"cap": 4, "hand": 60}[cover]
    with camera() as gate, desk(gate.url(), obscured_after=1.0) as here:
        here.more_frames(5)
        covered = np.full((240, 320, 3), level, np.uint8)
        gate.picture = lambda n: noisy(covered, n)
        here.until_state(CameraState.OBSCURED)
        seen = len(here.frames)
        here.for_a_while(1.0)
        assert len(here.frames) == seen
        assert here.drops.get("reader.obscured", 0) >= 0
        gate.picture = quiet_place()
        here.until_live_again()
        assert here.drops["reader.obscured"] > 0


@pytest.mark.fault("camera never answers", "OFFLINE with the reason, tried again for ever")
def test_a_camera_that_is_not_there_is_waited_for(desk: Open) -> None:
    with camera() as gate:
        port = gate.port
    with desk(f"http://127.0.0.1:{port}/video.mjpg") as here:
        here.until_state(CameraState.OFFLINE)
        with camera(port=port):
            here.until_live_again()
