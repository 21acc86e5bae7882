"""Video files: odd ones, damaged ones, and ones that are cut short."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import COUNT, FPS, HEIGHT, WIDTH, brightness, cut, level, make_video, read

from stream.errors import (
    SourceCorrupt,
    SourceNotFound,
)
from stream.sources import open_source
from stream.sources.completeness import judged_packets, missing_bytes
from stream.sources.video import VideoSource

B_FRAMES = {"x264-params": "bframes=2:b-adapt=0:scenecut=0"}  # always two, however little moves
FORMATS = {
    "h264.mp4": {"codec": "libx264", "options": B_FRAMES},
    "h264_front.mp4": {"codec": "libx264", "options": B_FRAMES, "container": {"movflags": "faststart"}},
    "h264_parts.mp4": {
        "codec": "libx264",
        "container": {"movflags": "frag_keyframe+empty_moov"},
        "options": {"g": "5"},
    },
    "h264.avi": {"codec": "libx264", "options": B_FRAMES},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "h264.mkv": {"codec": "libx264", "options": B_FRAMES},
    "h264.ts": {"codec": "libx264", "options": B_FRAMES},
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


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"h264.mp4", "mpeg4.mov"}))
@pytest.mark.parametrize("keep", [0.4, 0.7, 0.9])
def test_a_file_cut_short_gives_what_is_there_and_then_says_so(
    videos: Path, tmp_path: Path, name: str, keep: float
) -> None:
    source = open_source(str(cut(videos / name, tmp_path / name, keep=keep)))
    frames, end = read(source)
    assert 3 <= len(frames) < COUNT + (name == "h264.ts")  # a transport stream may lose nothing but its last bytes
    assert [frame.index for frame in frames] == list(range(len(frames)))
    # The last may be a later one: of B-frames and the frame they refer to, the latter comes first.
    assert all(brightness(frame.image) == pytest.approx(level(frame.index), abs=4.9) for frame in frames[:-1])
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
    data = bytearray((videos / "mpeg4.mov").read_bytes())
    for offset in range(len(data) // 2, len(data) // 2 + 60):
        data[offset] ^= 0x5A
    path = tmp_path / "damaged.mov"
    path.write_bytes(data)
    source = VideoSource(path)
    frames, end = read(source)
    assert isinstance(end, SourceCorrupt)
    assert f"1 of {COUNT} frames are damaged" in str(end)
    assert source.corrupt_frames == 1
    (hole,) = set(range(COUNT)) - {frame.index for frame in frames}
    assert 5 < hole < 15
    assert all(brightness(frame.image) == pytest.approx(level(frame.index), abs=4.9) for frame in frames)


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


def test_the_last_packet_of_a_transport_stream_cut_short_counts_as_damaged(videos: Path, tmp_path: Path) -> None:
    with av.open(str(cut(videos / "h264.ts", tmp_path / "cut.ts", keep=0.7))) as container:
        damaged = [damaged for packet, damaged in judged_packets(container, complete=False) if packet.size]
    assert damaged == [False] * (len(damaged) - 1) + [True]


def test_a_stream_that_changes_its_size_shows_the_new_one(tmp_path: Path) -> None:
    for name, width in (("small", 160), ("large", 320)):
        with av.open(str(tmp_path / name), "w", format="mpegts") as file:
            stream = file.add_stream("libx264", rate=FPS, options={"tune": "zerolatency"})
            stream.width, stream.height, stream.pix_fmt = width, width // 2, "yuv420p"
            picture = np.random.default_rng(0).integers(0, 255, (width // 2, width, 3), np.uint8)
            for _ in range(5):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            file.mux(stream.encode(None))
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "small").read_bytes() + (tmp_path / "large").read_bytes())
    frames, _ = read(open_source(str(joined)))
    sizes = [frame.image.shape[:2] for frame in frames]

    assert sizes[0] == (80, 160)
    assert sizes[-1] == (160, 320)
    times = [frame.media_time for frame in frames]
    assert times == sorted(times)
    assert times[-1] < 2.0, "the second part begins with the clock at its start again"


def test_the_clock_of_an_mpeg_stream_that_wraps_round_is_bridged(tmp_path: Path) -> None:
    path = tmp_path / "wraps.ts"
    start = 2**33 - 9 * 9000  # of 1/90,000 s; the tenth frame would be the first after the wrap
    with av.open(str(path), "w", options={"muxdelay": "0", "avoid_negative_ts": "disabled"}) as file:
        stream = file.add_stream("mpeg2video", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for index in range(COUNT):
            image = np.full((HEIGHT, WIDTH, 3), level(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = start // 9000 + index, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    frames, end = read(open_source(str(path)))

    assert end is None
    assert [frame.media_time for frame in frames] == pytest.approx([n / FPS for n in range(COUNT)], abs=2e-3)
