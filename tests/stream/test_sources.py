"""One contract over all sources, and what is special about folders, webcams, windows and the words for a source."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_files import COUNT, FPS, HEIGHT, WIDTH, brightness, cut, level, make_video

from spade_core.motion import MotionMeter
from stream.errors import SourceCorrupt, SourceNotFound, SourceStalled, SourceUnreachable, UsageError
from stream.sources import check_source, describe_source, is_live, local_path, open_source
from stream.sources.base import Source, SourceFrame, SourceInfo
from stream.sources.folder import MAX_PIXELS
from stream.sources.loop import SEAM, LoopSource
from stream.sources.webcam import WebcamSource
from stream.sources.window import windowed


def write_image(path: Path, value: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A plain image; ``size`` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def indices(source: Source) -> list[int]:
    return [frame.index for frame in source.frames()]


def one_round(source: Source) -> list[SourceFrame]:
    return list(islice(source.frames(), ONE_ROUND))


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of local source, under one folder."""
    root = tmp_path_factory.mktemp("media")
    make_video(root / "h264.mp4", codec="libx264", options={"bf": "2"})
    make_video(root / "mpeg4.avi", codec="mpeg4")
    make_video(root / "mjpeg.avi", codec="mjpeg")
    for index in range(12):
        write_image(root / "images" / f"{index}.png", level(index))
        write_image(root / "clips" / f"{1 + index // 5}" / f"{index:03}.jpg", level(index))
    (root / "videos").mkdir()
    make_video(root / "videos" / "10.mp4", codec="libx264", count=3)
    make_video(root / "videos" / "9.avi", codec="mjpeg", count=4)
    return root


# ---------------------------------------------------------------- the contract

KINDS: dict[str, Callable[[Path], Source]] = {
    "mp4": lambda root: open_source(str(root / "h264.mp4")),
    "avi": lambda root: open_source(str(root / "mpeg4.avi")),
    "motion jpeg": lambda root: open_source(str(root / "mjpeg.avi")),
    "image": lambda root: open_source(str(root / "images" / "0.png")),
    "folder": lambda root: open_source(str(root / "images")),
    "clips": lambda root: open_source(str(root / "clips")),
    "videos": lambda root: open_source(str(root / "videos")),
    "campus": lambda root: open_source("campus:?seed=7&size=160x96&duration=1"),
    "window": lambda root: windowed(open_source(str(root / "h264.mp4")), seconds=1.0),
    "loop": lambda root: open_source(f"loop:{root / 'h264.mp4'}"),
}

ONE_ROUND = COUNT  # frames: all that each of these has, and the first round of the one that does not end


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, media: Path) -> Iterator[Source]:
    if request.param == "campus":
        pytest.importorskip("stream.sources.campus")
    source = KINDS[request.param](media)
    yield source
    source.close()


def test_a_source_keeps_the_interface(source: Source) -> None:
    assert isinstance(source, Source)


def test_indices_count_from_zero_to_the_stated_number(source: Source) -> None:
    frames = [frame.index for frame in one_round(source)]
    assert frames == list(range(len(frames)))
    assert source.info.frame_count in (len(frames), None)


def test_media_time_begins_at_zero_and_never_runs_backwards(source: Source) -> None:
    times = [frame.media_time for frame in one_round(source)]
    assert times[0] == 0
    assert times == sorted(times)
    assert source.info.fps is not None
    assert times[-1] == pytest.approx((len(times) - 1) / source.info.fps)


def test_images_are_bgr_bytes_of_the_stated_size_and_each_has_its_own_memory(source: Source) -> None:
    images = [frame.image for frame in one_round(source)]
    for image in images:
        assert image.dtype == np.uint8
        assert image.shape == (source.info.height, source.info.width, 3)
    assert not any(np.shares_memory(a, b) for a, b in pairwise(images))


def test_recordings_are_not_live(source: Source) -> None:
    assert not source.info.live


def test_closing_ends_the_frames_and_may_be_repeated(source: Source) -> None:
    frames = source.frames()
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def test_a_source_closed_at_once_has_no_frames(source: Source) -> None:
    source.close()
    assert list(source.frames()) == []


def test_clips_begin_where_the_source_says(source: Source) -> None:
    changes: list[int] = []
    segment = ""
    for frame in one_round(source):
        if frame.segment != segment:
            changes.append(frame.index)
            segment = frame.segment
    assert tuple(changes) == source.info.segment_starts


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("campus", "window")])
def test_frames_cannot_be_asked_for_twice(kind: str, media: Path) -> None:
    source = KINDS[kind](media)
    source.frames()
    with pytest.raises(RuntimeError, match="once"):
        source.frames()
    source.close()


@pytest.mark.parametrize("kind", ["mp4", "avi", "motion jpeg", "folder", "clips"])
def test_every_frame_shows_what_was_recorded_at_its_place(kind: str, media: Path) -> None:
    for frame in KINDS[kind](media).frames():
        assert brightness(frame.image) == pytest.approx(level(frame.index), abs=4.9)


def write_blue_video(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        blue = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        blue[..., 2] = 255
        file.mux(stream.encode(av.VideoFrame.from_ndarray(blue, format="rgb24")))
        file.mux(stream.encode(None))


def test_blue_comes_first(tmp_path: Path) -> None:
    write_blue_video(tmp_path / "blue.avi")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), np.full((4, 4, 3), (255, 0, 0), np.uint8))
    for name in ("blue.avi", "images"):
        (frame,) = open_source(str(tmp_path / name)).frames()
        assert frame.image[2, 2].tolist() == pytest.approx([255, 0, 0], abs=6)


# ---------------------------------------------------------------- folders


def test_names_are_sorted_as_people_count(tmp_path: Path) -> None:
    for name, value in (("img10.png", 30), ("img9.png", 20), ("IMG1.bmp", 10), ("img11.tif", 40)):
        write_image(tmp_path / name, value)
    assert [frame.image[0, 0, 0] for frame in open_source(str(tmp_path)).frames()] == [10, 20, 30, 40]


def test_clip_folders_are_segments_and_time_runs_on_over_them(media: Path) -> None:
    frames = list(open_source(str(media / "clips"), folder_fps=5.0).frames())
    assert [frame.segment for frame in frames] == ["1"] * 5 + ["2"] * 5 + ["3"] * 2
    assert frames[6].media_time == pytest.approx(1.2)


def test_video_files_are_segments_and_index_and_time_run_on_over_them(media: Path) -> None:
    frames = list(open_source(str(media / "videos")).frames())
    assert [frame.segment for frame in frames] == ["9"] * 4 + ["10"] * 3
    assert [frame.media_time for frame in frames] == pytest.approx([index / FPS for index in range(7)])
    assert brightness(frames[4].image) == pytest.approx(level(0), abs=4.9)


def test_grey_and_deep_images_come_as_three_channels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((4, 6), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "1.tif"), np.full((4, 6), 7 * 256, np.uint16))
    for frame in open_source(str(tmp_path)).frames():
        assert frame.image.shape == (4, 6, 3)
        assert frame.image[0, 0].tolist() == [7, 7, 7]


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", 1)
    (tmp_path / "._0.png").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("x")
    assert indices(open_source(str(tmp_path))) == [0]


@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".bmp", ".tif"])
def test_an_image_is_a_source_of_one_frame(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"still{suffix}", 40)
    source = open_source(str(path))
    assert source.info == SourceInfo(str(path), WIDTH, HEIGHT, fps=10.0, frame_count=1, live=False)
    [frame] = source.frames()
    assert (frame.index, frame.media_time, frame.segment) == (0, 0.0, "")
    assert abs(int(frame.image[0, 0, 0]) - 40) <= 2


def test_an_image_that_is_none_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "still.png").write_bytes(b"not an image")
    with pytest.raises(SourceCorrupt, match=r"still\.png: is not an image"):
        open_source(str(tmp_path / "still.png"))


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif"])
def test_an_image_cut_short_is_corrupt_after_the_good_ones(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"0{suffix}", 5)
    cut(write_image(tmp_path / f"1{suffix}", 6), tmp_path / f"1{suffix}", keep=0.9)
    frames = open_source(str(tmp_path)).frames()
    assert next(frames).index == 0
    with pytest.raises(SourceCorrupt, match=f"1\\{suffix}"):
        next(frames)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_would_fill_the_memory_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    tiny = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()
    header = bytearray(tiny[8:33])  # the IHDR chunk: length, name, width, height, ..., checksum
    header[8:12] = header[12:16] = side.to_bytes(4, "big")
    header[21:25] = zlib.crc32(bytes(header[4:21])).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(tiny[:8] + header + tiny[33:])
    with pytest.raises(SourceCorrupt, match=rf"bomb\.png.*{side} x {side} pixels"):
        open_source(str(tmp_path))


def test_an_empty_folder_is_not_a_source(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="holds no images"):
        open_source(str(tmp_path))


def test_a_folder_that_holds_images_and_clips_is_ambiguous(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", 1)
    write_image(tmp_path / "clip" / "0.png", 1)
    with pytest.raises(SourceNotFound, match="images and clip folders"):
        open_source(str(tmp_path))


def test_a_folder_needs_a_positive_rate(media: Path) -> None:
    with pytest.raises(UsageError, match="folder_fps is 0"):
        open_source(str(media / "images"), folder_fps=0.0)


# ---------------------------------------------------------------- over and over


def test_a_loop_begins_again_and_index_and_time_run_on(media: Path) -> None:
    source = open_source(f"loop:{media / 'h264.mp4'}")
    frames = list(islice(source.frames(), 3 * ONE_ROUND))
    assert [frame.index for frame in frames] == list(range(3 * ONE_ROUND))
    assert brightness(frames[ONE_ROUND].image) == pytest.approx(level(0), abs=4.9)
    steps = [after.media_time - before.media_time for before, after in pairwise(frames)]
    assert [number for number, step in enumerate(steps, 1) if step > 0.5] == [ONE_ROUND, 2 * ONE_ROUND]
    assert steps[ONE_ROUND - 1] == pytest.approx(SEAM)
    source.close()


def test_a_loop_has_no_end_and_says_so(media: Path) -> None:
    path = media / "h264.mp4"
    assert open_source(f"loop:{path}").info == SourceInfo(f"loop of {path}", WIDTH, HEIGHT, FPS, None, live=False)


def test_the_jump_from_the_end_to_the_beginning_is_no_motion(media: Path) -> None:
    meter, motion = MotionMeter(), []
    for frame in islice(open_source(f"loop:{media / 'h264.mp4'}").frames(), ONE_ROUND + 2):
        meter.see(frame.image, frame.media_time, frame.segment)
        motion.append(meter.measure())
    assert motion[ONE_ROUND - 1] is not None
    assert motion[ONE_ROUND] is None
    assert motion[ONE_ROUND + 1] is not None


def test_a_loop_of_a_folder_of_clips_keeps_their_names(media: Path) -> None:
    frames = islice(open_source(f"loop:{media / 'clips'}", folder_fps=5.0).frames(), 14)
    assert [frame.segment for frame in frames] == ["1"] * 5 + ["2"] * 5 + ["3"] * 2 + ["1"] * 2


def test_a_frame_longer_than_the_seam_keeps_its_length(media: Path) -> None:
    frames = list(islice(open_source(f"loop:{media / 'images'}", folder_fps=0.5).frames(), 13))
    assert frames[-1].media_time == pytest.approx(24.0)
    assert frames[-1].media_time - frames[-2].media_time == pytest.approx(2.0)


def test_a_loop_ends_when_it_is_closed_between_two_rounds(media: Path) -> None:
    rounds: list[Source] = []

    def open_round() -> Source:
        rounds.append(open_source(str(media / "h264.mp4")))
        if len(rounds) == 2:
            loop.close()
        return rounds[-1]

    loop = LoopSource(open_round)
    assert [frame.index for frame in loop.frames()] == list(range(ONE_ROUND))
    assert len(rounds) == 2


def test_a_loop_of_a_damaged_file_fails_at_its_end(media: Path, tmp_path: Path) -> None:
    short = cut(media / "mjpeg.avi", tmp_path / "short.avi", keep=0.5)
    with pytest.raises(SourceCorrupt, match=r"short\.avi"):
        list(open_source(f"loop:{short}").frames())


# ---------------------------------------------------------------- windows


def test_a_window_keeps_native_indices_and_times(media: Path) -> None:
    window = windowed(open_source(str(media / "h264.mp4")), start=0.5, seconds=0.4)
    frames = list(window.frames())
    assert [frame.index for frame in frames] == [5, 6, 7, 8]
    assert frames[0].media_time == pytest.approx(0.5)
    assert window.info.frame_count == 4


@pytest.mark.parametrize(
    ("start", "seconds", "inside"),
    [(0.1 + 0.2, 0.3, [3, 4, 5]), (0.7, 9.0, [7, 8, 9, 10, 11]), (1.15, None, []), (9.0, 1.0, [])],
)
def test_a_window_counts_the_frames_it_will_give(
    media: Path, start: float, seconds: float | None, inside: list[int]
) -> None:
    window = windowed(open_source(str(media / "images")), start=start, seconds=seconds)
    assert window.info.frame_count == len(inside)
    assert indices(window) == inside


def test_the_whole_of_a_source_is_the_source(media: Path) -> None:
    source = open_source(str(media / "images"))
    assert windowed(source) is source


@pytest.mark.parametrize(("start", "seconds"), [(-1.0, None), (0.0, 0.0), (float("nan"), None)])
def test_a_window_must_lie_in_time(media: Path, start: float, seconds: float | None) -> None:
    with pytest.raises(UsageError, match=r"start is|seconds is"):
        windowed(open_source(str(media / "images")), start=start, seconds=seconds)


# ---------------------------------------------------------------- webcams


class FakeCapture:
    """A webcam that gives so many frames."""

    def __init__(self, frames: int, *, opened: bool = True) -> None:
        self.left, self.opened, self.released = frames, opened, 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.opened

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (False, None) if self.left < 0 else (True, np.zeros((48, 64, 3), np.uint8))

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0, cv2.CAP_PROP_FPS: 30.0}[prop]

    def release(self) -> None:
        self.released += 1


def test_a_webcam_is_live_and_is_timed_by_the_clock() -> None:
    times = iter([100.0, 100.5, 102.0])
    source = WebcamSource(0, clock=lambda: next(times), open_capture=lambda _: FakeCapture(3))
    frames = source.frames()
    assert source.info == SourceInfo("webcam 0", 64, 48, 30.0, None, live=True)
    assert [next(frames).media_time for _ in range(3)] == [0.0, 0.5, 2.0]


def test_a_webcam_that_gives_nothing_more_is_stalled() -> None:
    frames = WebcamSource(1, open_capture=lambda _: FakeCapture(1)).frames()
    next(frames)
    with pytest.raises(SourceStalled, match="webcam 1"):
        next(frames)


def test_a_webcam_that_cannot_be_opened_is_unreachable() -> None:
    with pytest.raises(SourceUnreachable, match="webcam 2"):
        WebcamSource(2, open_capture=lambda _: FakeCapture(0, opened=False))


def test_a_webcam_is_released_once() -> None:
    capture = FakeCapture(3)
    source = WebcamSource(0, open_capture=lambda _: capture)
    next(source.frames())
    source.close()
    source.close()
    assert capture.released == 1


# ---------------------------------------------------------------- the words that name a source


@pytest.mark.parametrize(
    ("spec", "live", "path", "name"),
    [
        ("rtsp://bob:secret@cam/1", True, None, "rtsp://***@cam/1"),
        ("HTTPS://cam/v?token=abc", True, None, "HTTPS://cam/v?token=***"),
        ("0", True, None, "webcam 0"),
        ("campus:", False, None, "campus:"),
        ("campus:?seed=7", False, None, "campus:?seed=7"),
        ("clips/1.mp4", False, Path("clips/1.mp4"), "clips/1.mp4"),
        ("./7", False, Path("7"), "./7"),
        ("loop:clips/1.mp4", False, None, "loop:clips/1.mp4"),
        ("loop:rtsp://bob:secret@cam/1", False, None, "loop:rtsp://***@cam/1"),
        ("rstp://bob:secret@cam/1", False, None, "rstp://***@cam/1"),
        ("rtsp:/bob:secret@cam/1", False, None, "***@cam/1"),
    ],
)
def test_a_spec_is_understood_without_opening_it(spec: str, live: bool, path: Path | None, name: str) -> None:
    assert is_live(spec) is live
    assert local_path(spec) == path
    assert describe_source(spec) == name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rstp://bob:secret@cam/1", r"rstp://\*\*\*@cam/1: unknown scheme rstp://, did you mean rtsp://\?"),
        ("gopher://cam/1", "unknown scheme gopher://; use rtsp://"),
        ("rtsp:/bob:secret@cam/1", "rtsp: must be followed by //"),
        ("campus:seed=7", "must begin with"),
        ("nowhere.mp4", "nowhere.mp4: no such file or folder; use rtsp://.*a video file"),
        ("  ", "the source is empty"),
        ("loop:", "loop: the source is empty"),
        ("loop:nowhere.mp4", "nowhere.mp4: no such file or folder"),
        ("loop:rtsp://bob:secret@cam/1", r"loop:rtsp://\*\*\*@cam/1: only a file or folder can be played"),
        ("loop:0", "loop:webcam 0: only a file or folder"),
        ("loop:loop:a.mp4", "loop:loop:a.mp4: only a file or folder"),
        ("loop:rstp://bob:secret@cam/1", r"loop: rstp://\*\*\*@cam/1: unknown scheme"),
        ("x" * 5000, "no such file or folder"),
    ],
)
@pytest.mark.parametrize("action", [open_source, check_source])
def test_a_spec_without_a_source_says_what_is_wrong(spec: str, message: str, action: Callable[[str], object]) -> None:
    with pytest.raises(SourceNotFound, match=message) as caught:
        action(spec)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("action", [open_source, check_source])
@pytest.mark.parametrize("query", ["every=15", "colour=red", "events=test&duration=3"])
def test_a_synthetic_scene_that_cannot_be_is_refused_before_it_is_opened(
    action: Callable[[str], object], query: str
) -> None:
    with pytest.raises(UsageError):
        action(f"campus:?{query}")
