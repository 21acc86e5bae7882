"""Video files that are odd, damaged or cut short, and network cameras that misbehave (small local servers)."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_files import COUNT, FPS, HEIGHT, WIDTH, brightness, cut, level, make_video

from stream.errors import (
    SourceCorrupt,
    SourceError,
    SourceNotFound,
    SourceStalled,
    SourceUnauthorized,
    SourceUnreachable,
)
from stream.sources import open_source
from stream.sources.base import Source, SourceFrame
from stream.sources.completeness import missing_bytes
from stream.sources.frame_index import FrameIndex
from stream.sources.media_clock import MediaClock
from stream.sources.video import VideoSource

PASSWORD = "hunter22"
BOUND = 20.0  # seconds: far more than any wait here; a test that reaches it has failed


def read(source: Source) -> tuple[list[SourceFrame], SourceError | None]:
    """All frames, and what ended them (None = the end)."""
    frames: list[SourceFrame] = []
    try:
        for frame in source.frames():
            frames.append(frame)
    except SourceError as error:
        return frames, error
    finally:
        source.close()
    return frames, None


# ---------------------------------------------------------------- files

FORMATS = {
    "h264.mp4": {"codec": "libx264", "options": {"bf": "2"}},
    "h264_front.mp4": {"codec": "libx264", "options": {"bf": "2"}, "container": {"movflags": "faststart"}},
    "h264_parts.mp4": {
        "codec": "libx264",
        "container": {"movflags": "frag_keyframe+empty_moov"},
        "options": {"g": "5"},
    },
    "h264.avi": {"codec": "libx264", "options": {"bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "h264.mkv": {"codec": "libx264", "options": {"bf": "2"}},
    "h264.ts": {"codec": "libx264", "options": {"bf": "2"}},
    "mpeg4.mov": {"codec": "mpeg4"},
}


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of 20 noisy frames in each format."""
    root = tmp_path_factory.mktemp("videos")
    for name, how in FORMATS.items():
        make_video(root / name, noise=8, **how)  # type: ignore[arg-type]
    return root


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_counted_exactly_and_evenly_timed(videos: Path, name: str) -> None:
    source = open_source(str(videos / name))
    frames, end = read(source)
    assert end is None
    assert source.info.frame_count == len(frames) == COUNT
    assert [frame.media_time for frame in frames] == pytest.approx([index / FPS for index in range(COUNT)])
    assert all(brightness(frame.image) == pytest.approx(level(frame.index), abs=4.9) for frame in frames)


@pytest.mark.parametrize("name", FORMATS)
def test_a_complete_file_misses_nothing(videos: Path, name: str) -> None:
    assert missing_bytes(videos / name) == 0


@pytest.mark.parametrize("name", set(FORMATS) - {"h264.mp4", "mpeg4.mov"})
@pytest.mark.parametrize("keep", [0.4, 0.7, 0.9])
def test_a_file_cut_short_gives_what_is_there_and_then_says_so(
    videos: Path, tmp_path: Path, name: str, keep: float
) -> None:
    source = open_source(str(cut(videos / name, tmp_path / name, keep=keep)))
    frames, end = read(source)
    assert 3 <= len(frames) < COUNT + (name == "h264.ts")  # a transport stream may lose nothing but its last bytes
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all(brightness(frame.image) == pytest.approx(level(frame.index), abs=4.9) for frame in frames)
    assert isinstance(end, SourceCorrupt)
    assert f"ends after {len(frames)}" in str(end)
    if name.endswith("avi") or "front" in name:
        assert f"ends after {len(frames)} of {COUNT} frames" in str(end)


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.mov"])
def test_a_file_cut_before_its_index_is_corrupt_at_once(videos: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceCorrupt, match=r"is damaged|can be decoded"):
        open_source(str(cut(videos / name, tmp_path / name, keep=0.8)))


def test_an_avi_that_lost_its_index_alone_is_whole(videos: Path, tmp_path: Path) -> None:
    frames, end = read(open_source(str(cut(videos / "mjpeg.avi", tmp_path / "cut.avi", keep=0.999))))
    assert len(frames) == COUNT
    assert end is None


def test_an_mpeg_file_cut_within_a_frame_breaks_off(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mpg", codec="mpeg2video", noise=8, count=25)
    frames, end = read(open_source(str(cut(whole, tmp_path / "cut.mpg", keep=0.61))))
    assert isinstance(end, SourceCorrupt)
    assert f"ends after {len(frames)} frames, in a damaged one" in str(end)


def test_damage_in_the_middle_costs_its_frames_alone_and_is_told_at_the_end(videos: Path, tmp_path: Path) -> None:
    data = bytearray((videos / "h264_parts.mp4").read_bytes())
    for offset in range(len(data) // 2, len(data) // 2 + 60):
        data[offset] ^= 0x5A
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    source = VideoSource(path)
    frames, end = read(source)
    assert isinstance(end, SourceCorrupt)
    assert len(frames) + source.corrupt_frames == COUNT
    assert frames[-1].index == COUNT - 1
    assert f"{source.corrupt_frames} of {COUNT} frames are damaged" in str(end)


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0, 1, 2, 7, 8, 20]
    path = make_video(tmp_path / "vfr.mp4", codec="libx264", count=len(times), times=times)
    frames, end = read(open_source(str(path)))
    assert end is None
    assert [frame.media_time for frame in frames] == pytest.approx([time / FPS for time in times])


def test_time_does_not_begin_at_the_first_time_stamp_but_at_the_first_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "late.mkv", codec="libx264", times=range(500, 500 + COUNT))
    frames, _ = read(open_source(str(path)))
    assert frames[0].media_time == 0
    assert frames[-1].media_time == pytest.approx((COUNT - 1) / FPS)


def test_a_raw_stream_without_time_stamps_is_timed_by_its_rate(tmp_path: Path) -> None:
    path = make_video(tmp_path / "raw.h264", codec="libx264")
    source = open_source(str(path))
    frames, end = read(source)
    assert end is None
    assert source.info.fps
    assert [frame.media_time for frame in frames] == pytest.approx([index / source.info.fps for index in range(COUNT)])


def test_a_size_that_changes_on_the_way_is_handed_out_as_it_is(tmp_path: Path) -> None:
    small = make_video(tmp_path / "small.h264", codec="libx264", count=5)
    path = tmp_path / "both.h264"
    with av.open(str(tmp_path / "large.h264"), "w") as file:
        stream = file.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = HEIGHT * 2, WIDTH * 2, "yuv420p"
        for _ in range(5):
            file.mux(stream.encode(av.VideoFrame(HEIGHT * 2, WIDTH * 2, "yuv420p")))
        file.mux(stream.encode(None))
    path.write_bytes(small.read_bytes() + (tmp_path / "large.h264").read_bytes())
    frames, _ = read(open_source(str(path)))
    assert [frame.image.shape[:2] for frame in frames] == [(HEIGHT, WIDTH)] * 5 + [(WIDTH * 2, HEIGHT * 2)] * 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "is not a video"),
        ("junk.avi", bytes(range(256)) * 8, "is not a video"),
        ("a.txt", b"hello\nworld\n" * 99, "tty"),
    ],
)
def test_what_is_no_video_is_corrupt(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceCorrupt, match=message):
        open_source(str(tmp_path / name))


def test_a_sound_recording_holds_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
    with pytest.raises(SourceCorrupt, match="holds no video"):
        open_source(str(tmp_path / "sound.wav"))


def test_a_play_list_in_a_file_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceCorrupt):
        open_source(str(tmp_path / "list.m3u8"))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such file"):
        VideoSource(tmp_path / "missing.mp4")


# ---------------------------------------------------------------- time and numbers


def test_media_time_is_the_distance_from_the_first_time_stamp() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (50.0, 50.1, 50.5)] == pytest.approx([0.0, 0.1, 0.5])


def test_a_missing_time_stamp_is_bridged_and_the_next_one_counts_again() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (50.0, None, 50.2, 50.3)] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    late = MediaClock(0.1)
    assert [late.at(t) for t in (None, 0.1, 0.2)] == pytest.approx([0.0, 0.1, 0.2])


def test_a_clock_set_back_is_bridged_and_runs_on() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (50.0, 50.1, 3.0, 3.1)] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_jitter_backwards_repeats_the_time_and_moves_nothing() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (0.0, 0.2, 0.15, 0.3)] == pytest.approx([0.0, 0.2, 0.2, 0.3])


def test_a_jump_forwards_is_bridged_on_a_live_stream_and_believed_in_a_file() -> None:
    times = (0.0, 0.1, 3600.0, 3600.1)
    live, file = MediaClock(0.1, longest_gap=10.0), MediaClock(0.1)
    assert [live.at(t) for t in times] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [file.at(t) for t in times] == pytest.approx(times)


def test_a_damaged_packet_leaves_its_hole_where_it_stood_although_the_decoder_lags() -> None:
    numbers = FrameIndex()
    numbers.packet()
    numbers.packet()
    numbers.damaged_packet()
    numbers.packet()
    assert [numbers.good_frame() for _ in range(3)] == [0, 1, 3]
    assert (numbers.good, numbers.damaged, numbers.ends_damaged) == (3, 1, False)


def test_a_damaged_packet_at_the_end_is_seen() -> None:
    numbers = FrameIndex()
    numbers.packet()
    numbers.damaged_packet()
    assert numbers.good_frame() == 0
    assert (numbers.good, numbers.damaged, numbers.ends_damaged) == (1, 1, True)


# ---------------------------------------------------------------- cameras


class Camera(http.server.BaseHTTPRequestHandler):
    """A camera that sends Motion JPEG over HTTP: 15 frames, and then what its path says."""

    def do_GET(self) -> None:
        if self.path == "/locked":
            self.send_error(401)
            return
        if self.path == "/page":
            self.send_error(404)
            return
        self.send_response(200)
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
            if frame.index == 10:
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
