"""The encoding thread with videos that do what the test says: turns, bounds, time-outs, failures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from clip_fakes import T0, a_view
from pipeline_fakes import PATIENCE_S, wait_until

from stream.clip_thread import LOSSLESS_WAITING, MAX_AT_ONCE, MAX_WAITING, MAX_WAITING_BYTES, Clip, ClipThread
from stream.clip_video import View

VIEW = a_view()


def at(second: float) -> View:
    return replace(VIEW, time=T0 + second)


class FakeVideo:
    """Its MP4 is the list of its views' seconds."""

    def __init__(self, on_add: Callable[[float], object]) -> None:
        self._on_add, self.closed = on_add, threading.Event()
        self._seconds: list[int] = []

    def add(self, view: View) -> bool:
        second = view.time - T0
        self._on_add(second)
        self._seconds.append(round(second))
        return True

    def finish(self) -> bytes:
        return bytes(self._seconds)

    def close(self) -> None:
        self.closed.set()


class Studio:
    """A clip thread, the videos that it made, and a gate before every view."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.videos: list[FakeVideo] = []
        self.on_add: Callable[[float], object] = lambda second: None
        self.order: list[float] = []
        self.entered = threading.Event()  # the thread works on a view
        make: Any = self._make
        self.thread = ClipThread(make)

    def _make(self) -> FakeVideo:
        self.videos.append(video := FakeVideo(self._add))
        return video

    def _add(self, second: float) -> None:
        self.order.append(second)
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        self.on_add(second)

    def clip(self, *seconds: float) -> Clip:
        clip = self.thread.begin()
        for second in seconds:
            self.thread.add(clip, at(second))
        return clip

    def stuck(self) -> None:
        """From now on the thread hangs in a view of a clip of its own."""
        self.gate.clear()
        self.entered.clear()
        self.clip(99)
        assert self.entered.wait(PATIENCE_S)

    def seconds(self, clip: Clip) -> list[int]:
        """Of the views in a finished clip."""
        return list(self.thread.finish(clip, timeout=PATIENCE_S).data)


@pytest.fixture
def studio() -> Iterator[Studio]:
    here = Studio()
    yield here
    here.gate.set()
    here.thread.close()


def test_a_clip_has_its_views_in_order(studio: Studio) -> None:
    clip = studio.clip(1, 2, 3)

    assert studio.seconds(clip) == [1, 2, 3]
    assert (clip.problem, clip.encoded, clip.left_out) == ("", 3, 0)
    assert studio.thread.counts() == {"made": 1, "failed": 0, "views_dropped": 0, "views_broken": 0}


def test_clips_take_turns(studio: Studio) -> None:
    studio.stuck()
    clips = studio.clip(1, 2), studio.clip(11, 12)
    studio.gate.set()
    wait_until(lambda: sum(clip.encoded for clip in clips) == 4)

    assert [studio.seconds(clip) for clip in clips] == [[1, 2], [11, 12]]
    assert studio.order == [99, 1, 11, 2, 12]


def test_the_clip_that_is_waited_for_comes_first(studio: Studio) -> None:
    studio.stuck()
    other, wanted = studio.clip(1, 2, 3), studio.clip(11, 12, 13)
    waiting = threading.Thread(target=studio.seconds, args=(wanted,))
    waiting.start()
    wait_until(lambda: wanted.awaited)
    studio.gate.set()
    waiting.join(PATIENCE_S)

    assert studio.seconds(other) == [1, 2, 3]
    assert studio.order == [99, 11, 12, 13, 1, 2, 3]


def test_a_clip_that_takes_no_more_views_is_made_ready_before_it_is_asked_for(studio: Studio) -> None:
    clip = studio.clip(1)
    studio.thread.end(clip)
    wait_until(lambda: clip.done)
    studio.thread.add(clip, at(2))

    assert studio.videos[0].closed.wait(PATIENCE_S), "its encoder is given up at once"
    assert studio.seconds(clip) == [1]


def test_when_too_many_views_wait_the_oldest_give_way_and_are_counted(studio: Studio) -> None:
    studio.stuck()
    clip = studio.clip(*range(MAX_WAITING + 3))
    first = clip.waiting[0].time - T0

    assert (len(clip.waiting), first) == (MAX_WAITING, 3)
    assert studio.thread.counts()["views_dropped"] == 3
    assert clip.left_out == 3


def test_views_that_wait_are_bounded_in_bytes_too(studio: Studio) -> None:
    studio.stuck()
    clip = studio.clip()
    for second in range(5):
        studio.thread.add(clip, replace(at(second), jpeg=bytes(MAX_WAITING_BYTES // 3)))

    assert [view.time - T0 for view in clip.waiting] == [2, 3, 4]
    assert clip.waiting_bytes <= MAX_WAITING_BYTES


def test_where_no_view_may_be_left_out_the_caller_waits(studio: Studio) -> None:
    studio.stuck()
    clip = studio.clip(*range(LOSSLESS_WAITING))
    added = threading.Thread(target=studio.thread.add, args=(clip, at(77)), kwargs={"timeout": PATIENCE_S})
    added.start()
    added.join(0.05)
    assert added.is_alive(), "there is no room"
    studio.gate.set()
    added.join(PATIENCE_S)

    assert studio.seconds(clip) == [*range(LOSSLESS_WAITING), 77]


def test_a_caller_does_not_wait_for_an_encoder_that_hangs_more_than_once(studio: Studio) -> None:
    studio.stuck()
    clip = studio.clip(*range(LOSSLESS_WAITING))
    studio.thread.add(clip, at(77), timeout=0.01)
    assert clip.done
    studio.thread.add(clip, at(78), timeout=PATIENCE_S)  # returns at once

    assert studio.thread.finish(clip, timeout=PATIENCE_S).problem == "the encoder took nothing for 0 s"


def test_of_many_views_that_wait_at_the_end_a_few_from_all_of_it_are_taken(studio: Studio) -> None:
    studio.stuck()
    clip = studio.clip(*range(80))
    release = threading.Timer(0.05, studio.gate.set)
    release.start()
    studio.thread.finish(clip, timeout=2.0)  # time for 20

    assert list(clip.data) == list(range(0, 80, 4))
    assert clip.left_out == 60
    assert studio.thread.counts()["views_dropped"] == 60


def test_where_time_runs_short_the_clip_lacks_its_last_views(studio: Studio) -> None:
    clip, handed_over = studio.thread.begin(), threading.Event()

    def slow(second: float) -> None:
        handed_over.wait(30)
        wait_until(lambda: not clip.waiting)  # until the others are given up

    studio.on_add = slow
    for second in (1, 2, 3):
        studio.thread.add(clip, at(second))
    handed_over.set()
    studio.thread.finish(clip, timeout=2.0)

    assert list(clip.data) == [1]
    assert (clip.left_out, clip.problem) == (2, "")
    assert studio.thread.counts()["views_dropped"] == 2


def test_an_encoder_that_hangs_is_waited_for_only_so_long(studio: Studio) -> None:
    studio.stuck()
    clip = studio.clip(1)
    studio.thread.finish(clip, timeout=0.02)

    assert (clip.data, clip.problem) == (b"", "it was not ready within 0.0 s")
    assert studio.thread.counts()["failed"] == 1
    studio.gate.set()
    assert studio.seconds(studio.clip(5)) == [5], "it goes on when it can"


def test_a_broken_view_is_left_out_and_counted(studio: Studio) -> None:
    def refuse(second: float) -> None:
        if second == 2:
            raise ValueError("not a JPEG")

    studio.on_add = refuse
    clip = studio.clip(1, 2, 3)

    assert studio.seconds(clip) == [1, 3]
    assert (clip.left_out, studio.thread.counts()["views_broken"]) == (1, 1)


def test_a_clip_without_a_usable_view_says_so(studio: Studio) -> None:
    clip = studio.clip()

    assert studio.seconds(clip) == []
    assert clip.problem == "no view of it could be used"


def test_an_encoder_that_fails_loses_its_clip_and_no_other(studio: Studio) -> None:
    def fail(second: float) -> None:
        if second == 2:
            raise OSError("out of memory")

    studio.on_add = fail
    bad, good = studio.clip(1, 2, 3), studio.clip(11, 12)

    assert studio.seconds(bad) == []
    assert bad.problem == "OSError: out of memory"
    assert studio.seconds(good) == [11, 12]
    assert studio.videos[0].closed.wait(PATIENCE_S)


def test_only_so_many_clips_are_made_at_once(studio: Studio) -> None:
    clips = [studio.clip() for _ in range(MAX_AT_ONCE)]
    refused = studio.clip(1)
    assert studio.thread.finish(refused, timeout=PATIENCE_S).problem == "16 clips are being made already"

    studio.thread.drop(clips[0])
    assert studio.seconds(studio.clip(1)) == [1]


def test_a_clip_that_nobody_wants_gives_its_encoder_up(studio: Studio) -> None:
    clip = studio.clip(1)
    wait_until(lambda: clip.encoded == 1)
    studio.thread.drop(clip)
    studio.seconds(studio.clip(2))

    assert studio.videos[0].closed.wait(PATIENCE_S)


def test_encoding_has_low_priority_and_the_caller_keeps_its_own(studio: Studio) -> None:
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen: list[int] = []
    studio.on_add = lambda _: seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    studio.seconds(studio.clip(1))

    assert seen == [max(10, mine)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


def test_without_a_thread_there_is_no_clip_and_no_error(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        clip = studio.clip(1)
        assert studio.thread.finish(clip, timeout=PATIENCE_S).problem == "can't start new thread"

    assert studio.seconds(studio.clip(2)) == [2], "the next alert tries again"


def test_closing_ends_the_thread_and_gives_up_what_is_in_the_making(studio: Studio) -> None:
    clip = studio.clip(1)
    wait_until(lambda: clip.encoded == 1)
    studio.thread.close()
    studio.thread.close()

    assert studio.videos[0].closed.is_set()
    assert "clips" not in [thread.name for thread in threading.enumerate()]
    assert studio.thread.begin().problem == "the program is stopping"


def test_no_thread_runs_before_the_first_clip() -> None:
    before = threading.active_count()
    make: Any = FakeVideo
    ClipThread(make).close()

    assert threading.active_count() == before
