"""A network camera that is real: GStreamer's RTSP server in a process of its own, which can be stopped and killed."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from video_files import COUNT, HEIGHT, WIDTH, brightness, level, make_video

from stream.capture import Capture
from stream.errors import SourceError, SourceStalled, SourceUnauthorized, SourceUnreachable
from stream.lookout import Watching
from stream.mailbox import Mailbox
from stream.messages import CameraState, Mode
from stream.sources import open_source
from stream.sources.base import Source
from stream.sources.port_probe import port_probe

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).parents[1] / "rtsp_server.py"
USER, PASSWORD = "bob", "p@ss/w?rd#1"
BACK_WITHIN = 5.0  # s from the return of a camera's server to LIVE: what is promised
BOUND = 30.0  # seconds: far more than any wait here; a test that reaches it has failed

pytestmark = [pytest.mark.rtsp, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Camera:
    """A running server."""

    process: subprocess.Popen[str]
    address: str  # host:port/path

    def url(self, password: str = PASSWORD) -> str:
        """Its address with credentials, percent-encoded."""
        return f"rtsp://{USER}:{quote(password, safe='')}@{self.address}"


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of Motion JPEG, which every GStreamer can decode."""
    return make_video(tmp_path_factory.mktemp("rtsp") / "recording.avi", codec="mjpeg")


@contextmanager
def playing(recording: Path, *, port: int = 0) -> Iterator[Camera]:
    """A camera that plays the recording over and over, on this port (0 = any free one)."""
    imports = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", imports], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{SYSTEM_PYTHON} cannot import GstRtspServer (Debian: gir1.2-gst-rtsp-server-1.0, python3-gi)")
    command = [SYSTEM_PYTHON, str(SERVER), str(recording), "--port", str(port)]
    command += ["--user", USER, "--password", PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()  # ends too if the server does
        try:
            assert ready.startswith("READY rtsp://")
            yield Camera(process, ready.split("://")[1].strip())
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@pytest.fixture
def camera(recording: Path) -> Iterator[Camera]:
    """A camera that plays the recording over and over."""
    with playing(recording) as one:
        yield one


def assert_no_password(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)) + repr(error)
    assert error.__context__ is None
    assert PASSWORD not in text
    assert quote(PASSWORD, safe="") not in text


def read_until_fault(source: Source) -> SourceError:
    """What ends the frames, in another thread, so that one that never ends fails the test."""
    faults: list[SourceError] = []

    def consume() -> None:
        try:
            for _ in source.frames():
                pass
        except SourceError as error:
            faults.append(error)

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    thread.join(BOUND)
    source.close()
    assert len(faults) == 1
    return faults[0]


def test_frames_arrive_in_order_and_look_like_the_recording_also_after_its_end(camera: Camera) -> None:
    source = open_source(camera.url())
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == COUNT + 5:
            break
    source.close()
    assert (source.info.width, source.info.height, source.info.fps) == (WIDTH, HEIGHT, 10.0)
    assert source.info.live
    assert source.info.frame_count is None
    assert PASSWORD not in source.info.name
    assert [frame.index for frame in frames] == list(range(COUNT + 5))
    assert [frame.media_time for frame in frames] == pytest.approx([n / 10 for n in range(COUNT + 5)], abs=0.06)
    # The first frame that comes may be any of the recording; from there on they follow each other.
    first = round((brightness(frames[0].image) - level(0)) / 10)
    for n, frame in enumerate(frames):
        assert brightness(frame.image) == pytest.approx(level(first + n), abs=4.9)


def test_a_wrong_password_is_refused_and_shown_nowhere(camera: Camera) -> None:
    with pytest.raises(SourceUnauthorized) as caught:
        open_source(camera.url("wr0ng/" + PASSWORD))
    assert_no_password(caught.value)


def test_a_path_that_the_camera_does_not_have_is_unreachable(camera: Camera) -> None:
    with pytest.raises(SourceUnreachable) as caught:
        open_source(camera.url() + "/nothing")
    assert_no_password(caught.value)


def test_a_camera_that_dies_is_unreachable(camera: Camera) -> None:
    source = open_source(camera.url(), read_timeout=2.0)
    camera.process.kill()
    fault = read_until_fault(source)
    assert isinstance(fault, SourceUnreachable | SourceStalled)
    assert_no_password(fault)


def test_a_camera_that_freezes_is_stalled(camera: Camera) -> None:
    source = open_source(camera.url(), read_timeout=2.0)
    camera.process.send_signal(signal.SIGSTOP)
    fault = read_until_fault(source)
    assert isinstance(fault, SourceStalled)
    assert_no_password(fault)


class Story:
    """What a capture reports, with the times."""

    def __init__(self) -> None:
        self.told: list[tuple[float, CameraState, str]] = []

    def report(self, state: CameraState, reason: str) -> None:
        self.told.append((time.monotonic(), state, reason))

    def count(self, state: CameraState) -> int:
        return sum(told == state for _, told, _ in self.told)

    def wait(self, state: CameraState, times: int = 1) -> float:
        """When it was told this for the given time."""
        deadline = time.monotonic() + BOUND
        while self.count(state) < times:
            assert time.monotonic() < deadline, f"{state} did not come: {self.told}"
            time.sleep(0.01)
        return [moment for moment, told, _ in self.told if told == state][times - 1]


@pytest.mark.fault("RTSP server restarts", "opened as soon as its port answers again, however long it was away")
def test_a_camera_is_live_soon_after_its_server_has_come_back(recording: Path) -> None:
    story = Story()
    with playing(recording) as first:
        url, port = first.url(), int(first.address.split(":")[1].split("/")[0])
        capture = Capture(
            open_source=lambda: open_source(url, read_timeout=2.0),
            mode=Mode.LIVE,
            fps=5,
            recorded_at=0.0,
            endless=True,
            mailbox=Mailbox(Mode.LIVE),
            report=story.report,
            watching=Watching(None, None),
            port_open=port_probe(url),
        )
        capture.start()
        story.wait(CameraState.LIVE)
    try:
        story.wait(CameraState.OFFLINE, 4)  # now it would wait for about 8 s
        with playing(recording, port=port):
            returned = time.monotonic()
            back = story.wait(CameraState.LIVE, 2) - returned
    finally:
        capture.stop()
        capture.join(BOUND)

    assert back < BACK_WITHIN
    assert PASSWORD not in str(story.told)
