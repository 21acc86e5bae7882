"""Network cameras that misbehave, played by small local servers."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import HEIGHT, WIDTH, brightness, level, make_video, read

from stream.errors import (
    SourceError,
    SourceStalled,
    SourceUnauthorized,
    SourceUnreachable,
)
from stream.sources import open_source
from stream.sources.video import VideoSource

PASSWORD = "hunter22"
BOUND = 20.0  # seconds: far more than any wait here; a test that reaches it has failed


class Camera(http.server.BaseHTTPRequestHandler):
    """A camera that sends Motion JPEG over HTTP: 15 frames, and then what its path says."""

    late = b""  # what is sent on /late

    def do_GET(self) -> None:
        if self.path == "/locked":
            self.send_error(401)
            return
        if self.path == "/page":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/late":
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            self.wfile.write(self.late)
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(15):
            image = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), level(index), np.uint8))[1].tobytes()
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(image))
            self.wfile.write(image + b"\r\n")
        self.wfile.write(b"--frame\r\n")
        if self.path == "/hang":
            self.server.finished.wait(BOUND)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def camera() -> Iterator[Callable[[str], str]]:
    """The address of a path on the camera, with credentials."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads = True
        server.finished = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield lambda path: f"http://bob:{PASSWORD}@127.0.0.1:{server.server_port}{path}"
        server.finished.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join(BOUND)


def assert_no_password(error: BaseException) -> None:
    """The password is neither in the message nor in anything that is chained to it."""
    assert error.__context__ is None
    assert error.__cause__ is None
    assert PASSWORD not in "".join(traceback.format_exception(error)) + repr(error)


def test_a_camera_that_hangs_up_is_unreachable_after_its_frames(camera: Callable[[str], str]) -> None:
    source = open_source(camera("/stream"), open_timeout=5.0, read_timeout=5.0)
    assert source.info.live
    assert source.info.frame_count is None
    assert PASSWORD not in source.info.name
    frames, end = read(source)
    assert [frame.index for frame in frames] == list(range(15))
    assert all(brightness(frame.image) == pytest.approx(level(frame.index), abs=3) for frame in frames)
    assert isinstance(end, SourceUnreachable)
    assert_no_password(end)


def test_motion_jpeg_without_time_stamps_is_timed_by_its_arrival(camera: Callable[[str], str]) -> None:
    frames, _ = read(VideoSource(camera("/stream"), clock=lambda: 1234.5))
    assert [frame.media_time for frame in frames] == [0.0] * 15


def test_a_camera_that_is_met_between_key_frames_shows_nothing_before_the_next(
    camera: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"g": "5", "sc_threshold": "1000000000"}  # a key frame every fifth, and nowhere else
    make_video(tmp_path / "late.ts", codec="mpeg4", options=options, skip=2)  # the next key frame is frame 5
    monkeypatch.setattr(Camera, "late", (tmp_path / "late.ts").read_bytes())
    source = open_source(camera("/late"))
    frames, _ = read(source)
    assert source.info.live
    assert [frame.index for frame in frames] == list(range(15))
    assert all(brightness(frame.image) == pytest.approx(level(frame.index + 5), abs=4.9) for frame in frames)


def test_a_camera_that_falls_silent_is_stalled(camera: Callable[[str], str]) -> None:
    _, end = read(open_source(camera("/hang"), open_timeout=5.0, read_timeout=0.5))
    assert isinstance(end, SourceStalled)
    assert "no frame within 0.5 s" in str(end)
    assert_no_password(end)


def test_closing_from_another_thread_ends_the_wait(camera: Callable[[str], str]) -> None:
    source = open_source(camera("/hang"), open_timeout=5.0, read_timeout=1.0)
    waiting, outcome = threading.Event(), []

    def consume() -> None:
        for frame in source.frames():
            if frame.index == 14:  # the last before the silence
                waiting.set()
        outcome.append("ended")  # and raised nothing

    thread = threading.Thread(target=consume)
    thread.start()
    assert waiting.wait(BOUND)
    source.close()
    thread.join(BOUND)
    assert outcome == ["ended"]


@pytest.mark.parametrize(("path", "kind"), [("/locked", SourceUnauthorized), ("/page", SourceUnreachable)])
def test_a_refusal_is_told_apart(camera: Callable[[str], str], path: str, kind: type[SourceError]) -> None:
    with pytest.raises(kind) as caught:
        open_source(camera(path))
    assert_no_password(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_nobody_at_the_address_is_unreachable(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SourceUnreachable) as caught:
        open_source(f"{scheme}://bob:{PASSWORD}@127.0.0.1:{port}/1")
    assert_no_password(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_somebody_silent_at_the_address_is_stalled(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SourceStalled) as caught:
        open_source(f"{scheme}://bob:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/1", open_timeout=0.4)
    assert "no answer within 0.4 s" in str(caught.value)
    assert_no_password(caught.value)


def test_nothing_is_logged_with_the_password(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceError):
        open_source(f"rtsp://bob:{PASSWORD}@127.0.0.1:9/1", open_timeout=0.4)
    assert PASSWORD not in caplog.text + "".join(capfd.readouterr())
