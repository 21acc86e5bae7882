"""Views as an MP4: every view at its own time, in one size, playable by browsers, never too large."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import pytest
from clip_fakes import a_view, noise, play

from stream.clip_video import BEST_CODEC, OTHER_CODEC, ClipVideo, View, available_codec

needs_x264 = pytest.mark.skipif(BEST_CODEC not in av.codecs_available, reason="this FFmpeg has no libx264")
CODECS = [pytest.param(BEST_CODEC, marks=needs_x264), OTHER_CODEC]


def a_video(*views: View, height: int = 720, codec: str | None = None, max_bytes: int = 16 << 20) -> bytes:
    video = ClipVideo(height=height, codec=codec or available_codec(), max_bytes=max_bytes)
    for view in views:
        video.add(view)
    return video.finish()


@pytest.mark.parametrize("codec", CODECS)
def test_every_view_is_shown_once_at_its_own_time(codec: str) -> None:
    times = [0.0, 0.2, 0.45, 0.7, 3.0, 3.017]
    shown = play(a_video(*(a_view(at, level=20 * (n + 1)) for n, at in enumerate(times)), codec=codec))

    assert [frame.time for frame in shown] == times
    assert [frame.level for frame in shown] == pytest.approx([20, 40, 60, 80, 100, 120], abs=3)


def test_one_view_is_a_video() -> None:
    assert [frame.time for frame in play(a_video(a_view()))] == [0.0]


def test_no_view_is_no_video() -> None:
    assert a_video() == b""


@pytest.mark.parametrize(
    ("view", "video"),
    [
        ((1920, 1080), (1280, 720)),
        ((640, 360), (640, 360)),  # never larger
        ((641, 361), (640, 360)),  # even
        ((720, 1280), (404, 720)),  # 405, and even
        ((8000, 80), (4096, 40)),  # no wider than common players take
    ],
)
def test_a_video_is_as_large_as_its_views_up_to_the_height(view: tuple[int, int], video: tuple[int, int]) -> None:
    (shown,) = play(a_video(a_view(size=view)))

    assert (shown.width, shown.height) == video


def test_views_that_change_their_size_are_fitted_into_the_first_one() -> None:
    views = a_view(0.0, size=(64, 48)), a_view(0.2, size=(128, 72), level=200), a_view(0.4, size=(64, 48))
    shown = play(a_video(*views))

    assert [(frame.width, frame.height) for frame in shown] == [(64, 48)] * 3
    assert shown[1].level == pytest.approx(200, abs=3)


@pytest.mark.parametrize("codec", CODECS)
def test_the_index_comes_first_so_that_players_can_begin_at_once(codec: str) -> None:
    mp4 = a_video(*(a_view(n / 5) for n in range(10)), codec=codec)

    assert 0 < mp4.index(b"moov") < mp4.index(b"mdat")


@needs_x264
def test_browsers_can_play_it() -> None:
    with av.open(io.BytesIO(a_video(a_view()))) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize(
    "broken",
    [
        View(b"not a picture", (64, 48), a_view(0.2).time),
        replace(a_view(0.2), jpeg=a_view().jpeg[:200]),
        replace(a_view(0.2), size=(64, 64)),
        replace(a_view(0.2), jpeg=b""),
    ],
    ids=["no picture", "cut off", "another size", "nothing"],
)
def test_a_broken_view_is_refused_and_the_clip_goes_on_without_it(broken: View) -> None:
    video = ClipVideo(height=720, codec=available_codec())
    video.add(a_view(0.0))
    with pytest.raises(ValueError, match="JPEG"):
        video.add(broken)
    video.add(a_view(0.4))

    assert [frame.time for frame in play(video.finish())] == [0.0, 0.4]


def test_a_broken_first_view_does_not_give_the_clip_its_size() -> None:
    video = ClipVideo(height=720, codec=available_codec())
    with pytest.raises(ValueError, match="JPEG"):
        video.add(View(b"junk", (9999, 9999), 0.0))
    assert video.add(a_view(1.0))

    assert [(frame.width, frame.height) for frame in play(video.finish())] == [(64, 48)]


@pytest.mark.parametrize("at", [0.2, 0.2004, 0.1, -50.0])
def test_a_view_that_is_not_later_is_left_out(at: float) -> None:
    video = ClipVideo(height=720, codec=available_codec())
    added = [video.add(a_view(time)) for time in (0.0, 0.2, at, 0.4)]

    assert added == [True, True, False, True]
    assert [frame.time for frame in play(video.finish())] == [0.0, 0.2, 0.4]


def test_a_video_stops_growing_at_its_limit_and_can_be_played_up_to_there() -> None:
    video = ClipVideo(height=720, codec=available_codec(), max_bytes=400_000)
    added = [video.add(noise(n / 5, size=(320, 240))) for n in range(60)]
    mp4 = video.finish()

    assert len(mp4) <= 400_000
    assert video.full
    assert added[0]
    assert not added[-1]
    shown = play(mp4)
    assert 3 <= len(shown) < 60
    assert [frame.time for frame in shown] == [pytest.approx(n / 5) for n in range(len(shown))]


def test_without_x264_there_is_another_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})

    assert available_codec() == OTHER_CODEC


def test_closing_twice_is_allowed_and_nothing_is_added_afterwards() -> None:
    video = ClipVideo(height=720, codec=available_codec())
    video.add(a_view(0.0))
    video.close()
    video.close()

    assert not video.add(a_view(0.2))
    assert video.finish() == b""
