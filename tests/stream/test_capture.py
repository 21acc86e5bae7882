"""The capture thread: samples, paces, reopens what is live, and says what it does."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from pipeline_fakes import HEIGHT, PATIENCE_S, WIDTH, Clock, GreySource, wait_until

from spade_core.preprocess import Preprocess
from stream.capture import CLOCK_SLIP, RETRY_FIRST, RETRY_JITTER, RETRY_MOST, Capture, Clocks, RateSampler
from stream.errors import SourceCorrupt, SourceError, SourceStalled, SourceUnauthorized, SourceUnreachable
from stream.mailbox import Captured, Mailbox
from stream.messages import CameraState, Mode
from stream.sources.base import SourceFrame

LIVE, CONNECTING = CameraState.LIVE, CameraState.CONNECTING


# Sampling


def kept(rate: float | None, times: Iterable[float]) -> list[float]:
    sampler = RateSampler(rate)
    return [time for time in times if sampler.keep(time)]


def test_without_a_rate_every_frame_is_kept() -> None:
    assert kept(None, [0.0, 0.0, 0.1]) == [0.0, 0.0, 0.1]


def test_a_rate_above_the_source_keeps_every_frame() -> None:
    times = [index / 10 for index in range(20)]

    assert kept(25, times) == times


def test_four_of_ten_frames_are_those_next_after_each_quarter() -> None:
    assert kept(4, [index / 10 for index in range(21)]) == [0.0, 0.3, 0.5, 0.8, 1.0, 1.3, 1.5, 1.8, 2.0]


def test_a_whole_ratio_keeps_every_nth_frame_whatever_floats_make_of_it() -> None:
    times = [index / 30 for index in range(30 * 3600)]

    assert kept(10, times) == times[::3]


def test_an_ntsc_camera_is_sampled_at_the_rate_that_was_asked_for() -> None:
    times = [index * 1001 / 30000 for index in range(30000)]  # 1,001 seconds at 29.97 frames/s
    found = kept(5, times)

    assert len(found) == 5 * 1001
    assert all(0.16 < later - earlier < 0.24 for earlier, later in itertools.pairwise(found))


def test_after_a_gap_frames_are_not_caught_up_with() -> None:
    found = kept(5, [0.0, 0.2, *(10 + index / 100 for index in range(100))])

    assert found[:2] == [0.0, 0.2]
    assert 5 <= len(found[2:]) <= 6
    assert found[3] - found[2] == pytest.approx(0.1)  # half an interval, not a burst


def test_a_source_that_starts_late_is_sampled_from_its_first_frame() -> None:
    assert kept(1, [100.5, 101.0, 101.5, 102.0]) == [100.5, 101.5]


# The thread


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class Pauses:
    """Stands in for the capture's stop event: waiting passes the test's time, and is written down."""

    def __init__(self, clock: Clock, most: int) -> None:
        self.waited: list[float] = []
        self._clock, self._most, self._set = clock, most, False

    def wait(self, seconds: float) -> bool:
        self._clock.now += seconds
        if seconds > 0:
            self.waited.append(round(seconds, 6))
        if len(self.waited) >= self._most:
            self.set()
        return self._set

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


class Run:
    """A capture with its sources, run to its end.

    Args:
        sources: what opening gives, one after the other: a source, or an error that opening raises.
        pauses: after so many pauses the capture is stopped.
        port: what the camera's port answers, one time after the other.
    """

    def __init__(
        self,
        sources: list[GreySource | SourceError],
        *,
        mode: Mode = Mode.REPLAY,
        fps: float | None = None,
        recorded_at: float = 0.0,
        endless: bool | None = None,
        pauses: int = 1000,
        jitter: random.Random | None = None,
        wall: Callable[[], float] | None = None,
        preprocess: Preprocess | None = None,
        port: Iterable[bool] | None = None,
    ) -> None:
        self.clock = Clock()
        answers = None if port is None else iter(port)
        self.mailbox = Mailbox(mode)
        self.frames: list[Captured] = []
        self.states: list[tuple[CameraState, str]] = []
        self._sources = iter(sources)
        if endless is None:  # what stands for a camera, or for one that cannot be opened
            endless = mode is Mode.LIVE and all(isinstance(s, Exception) or s.info.live for s in sources)
        self.capture = Capture(
            open_source=self._open,
            mode=mode,
            fps=fps,
            recorded_at=recorded_at,
            endless=endless,
            mailbox=self.mailbox,
            report=lambda state, reason: self.states.append((state, reason)),
            preprocess=preprocess,
            port_open=None if answers is None else lambda: next(answers),
            clocks=Clocks(wall=wall or (lambda: 5000.0 + self.clock.now), monotonic=self.clock),
            jitter=jitter or NoJitter(),
        )
        self.stop = Pauses(self.clock, pauses)
        self.capture._stop = self.stop  # type: ignore[assignment]
        self._put = self.mailbox.put

    def _open(self) -> GreySource:
        source = next(self._sources)
        if isinstance(source, SourceError):
            raise source
        return source

    def __enter__(self) -> Run:
        self.mailbox.put = self.frames.append  # type: ignore[method-assign]
        self.capture.start()
        self.capture.join(PATIENCE_S)
        assert self.capture.finished
        return self

    def __exit__(self, *error: object) -> None:
        self.capture.stop()

    @property
    def numbers(self) -> list[int]:
        return [captured.frame.index for captured in self.frames]

    @property
    def story(self) -> list[CameraState]:
        return [state for state, _ in self.states]


def test_replay_reads_a_source_once_to_its_end() -> None:
    source = GreySource(5)
    with Run([source], recorded_at=1000.0) as run:
        assert run.numbers == [0, 1, 2, 3, 4]
        assert [c.frame_time for c in run.frames] == pytest.approx([1000.0, 1000.1, 1000.2, 1000.3, 1000.4])
        assert run.story == [CONNECTING, LIVE]
        assert run.states[1][1] == f"grey: {WIDTH}x{HEIGHT}"
        assert (run.capture.error, run.capture.captured, run.stop.waited) == ("", 5, [])
    assert source.closed.is_set()


def test_frames_that_are_not_sampled_are_counted() -> None:
    with Run([GreySource(20, fps=10)], fps=4) as run:
        assert run.numbers == [0, 3, 5, 8, 10, 13, 15, 18]
        assert run.mailbox.drops == {"reader.sampled_out": 12}
        assert run.capture.captured == 20


def test_segments_are_kept() -> None:
    with Run([GreySource(3, segments=["a", "a", "b"])]) as run:
        assert [captured.frame.segment for captured in run.frames] == ["a", "a", "b"]


class _BusyAbove(GreySource):
    """All that moves is in the upper fifth of the picture."""

    def frames(self) -> Iterator[SourceFrame]:
        noise = np.random.default_rng(0).integers(0, 255, (HEIGHT // 5, WIDTH), np.uint8)
        for frame in super().frames():
            image = frame.image.copy()
            image[: HEIGHT // 5] = cv2.GaussianBlur(np.roll(noise, frame.index, axis=1), (0, 0), 1.5)[..., None]
            image[HEIGHT // 5 :] = 128
            yield replace(frame, image=image)


@pytest.mark.parametrize(("preprocess", "moves"), [(None, True), (Preprocess(64), True), (Preprocess(64, 32), False)])
def test_motion_is_measured_in_the_part_that_is_scored(preprocess: Preprocess | None, moves: bool) -> None:
    with Run([_BusyAbove(4)], preprocess=preprocess) as run:
        motion = run.frames[-1].motion

    assert motion is not None
    assert (float(motion.max()) > 1) is moves


def test_in_replay_a_source_that_breaks_off_ends_with_the_error_after_what_came() -> None:
    source = GreySource(3, error=SourceCorrupt("cut short"))
    with Run([source]) as run:
        assert run.numbers == [0, 1, 2]
        assert run.capture.error == "cut short"
        assert run.story == [CONNECTING, LIVE]
    assert source.closed.is_set()


def test_in_replay_a_source_that_cannot_be_opened_is_not_tried_again() -> None:
    with Run([SourceUnreachable("no video")]) as run:
        assert (run.capture.error, run.story, run.numbers) == ("no video", [CONNECTING], [])


def test_a_bug_in_a_source_ends_as_an_error_and_not_in_silence() -> None:
    with Run([GreySource(1, error=KeyError("pts"))], mode=Mode.LIVE) as run:
        assert run.capture.error == "KeyError in the capture thread: 'pts'"


def test_a_file_that_runs_as_a_camera_is_paced_by_its_own_time() -> None:
    with Run([GreySource(4, fps=4)], mode=Mode.LIVE) as run:
        assert run.stop.waited == [0.25, 0.25, 0.25]
        assert [captured.captured_mono for captured in run.frames] == [100.0, 100.25, 100.5, 100.75]
        assert [captured.frame_time for captured in run.frames] == [5100.0, 5100.25, 5100.5, 5100.75]
        assert run.story == [CONNECTING, LIVE], "it is read once"


def test_a_camera_is_not_paced() -> None:
    with Run([GreySource(4, live=True)], mode=Mode.LIVE, pauses=1) as run:
        assert run.numbers == [0, 1, 2, 3]
        assert run.stop.waited == [RETRY_FIRST], "only before it is opened again"


@pytest.mark.fault("wall clock jumps", "frame times follow it; the policy ends what was open")
def test_small_differences_of_a_cameras_clock_are_smoothed_and_great_ones_followed() -> None:
    # The camera says 0, 0.1, 0.2; the first delay is within CLOCK_SLIP, the second beyond.
    walls = iter([5000.0, 5000.0, 5000.1 + 0.9 * CLOCK_SLIP, 5000.2 + 1.5 * CLOCK_SLIP])
    with Run([GreySource(3, live=True)], mode=Mode.LIVE, pauses=1, wall=lambda: next(walls)) as run:
        assert [captured.frame_time for captured in run.frames] == pytest.approx([5000.0, 5000.1, 5001.7])


def test_frame_times_do_not_run_backwards_when_what_was_late_comes_in_a_burst() -> None:
    # Nothing comes for 3 s; then it comes at ten times the rate, until the camera has caught up.
    arrivals = [n / 10 if n < 20 else max(n / 10, 5.0 + (n - 20) / 100) for n in range(60)]
    walls = iter([5000.0, *(5000.0 + arrival for arrival in arrivals)])
    with Run([GreySource(60, live=True)], mode=Mode.LIVE, pauses=1, wall=lambda: next(walls)) as run:
        times = [captured.frame_time for captured in run.frames]
        assert times == sorted(times), "the policy ends an open alert where time runs backwards"
        assert all(abs(time - 5000 - at) <= CLOCK_SLIP + 0.1 for time, at in zip(times, arrivals, strict=True))


def test_a_wall_clock_that_is_set_back_is_followed() -> None:
    walls = iter([5000.0, 5000.0, 5000.1, 4000.2])
    with Run([GreySource(3, live=True)], mode=Mode.LIVE, pauses=1, wall=lambda: next(walls)) as run:
        assert [captured.frame_time for captured in run.frames] == pytest.approx([5000.0, 5000.1, 4000.2])


def test_a_camera_that_fails_is_opened_again_and_every_change_is_told_in_order() -> None:
    sources = [
        GreySource(2, live=True, error=SourceStalled("no frame for 5 s")),
        SourceUnreachable("connection refused"),
        GreySource(1, live=True, error=SourceCorrupt("not H.264")),
        GreySource(1, live=True),
    ]
    with Run(sources, mode=Mode.LIVE, pauses=4) as run:
        assert run.states == [
            (CONNECTING, "opening the source"),
            (LIVE, "grey: 64x48"),
            (CameraState.STALLED, "no frame for 5 s; next attempt in 1 s"),
            (CONNECTING, "opening the source"),
            (CameraState.OFFLINE, "connection refused; next attempt in 2 s"),
            (CONNECTING, "opening the source"),
            (LIVE, "grey: 64x48"),
            (CameraState.CORRUPT, "not H.264; next attempt in 1 s"),
            (CONNECTING, "opening the source"),
            (LIVE, "grey: 64x48"),
            (CameraState.STALLED, "the stream ended; next attempt in 1 s"),
        ]
        assert run.capture.error == ""


def test_numbers_and_times_go_on_when_a_camera_is_opened_again() -> None:
    first = GreySource(3, live=True, error=SourceStalled("gone"))
    sources: list[Any] = [first, GreySource(2, live=True), GreySource(2, live=True)]
    with Run(sources, mode=Mode.LIVE, pauses=3) as run:
        assert run.numbers == list(range(7))
        times = [captured.frame.media_time for captured in run.frames]
        assert times == sorted(times)
        assert run.capture.captured == 7


def test_numbers_go_on_after_frames_that_were_not_sampled() -> None:
    with Run([GreySource(9, live=True), GreySource(1, live=True)], mode=Mode.LIVE, fps=2, pauses=2) as run:
        assert run.numbers == [0, 5, 9]


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    dead: list[Any] = [SourceUnreachable("dead") for _ in range(8)]
    with Run([*dead, GreySource(1, live=True), SourceUnreachable("dead")], mode=Mode.LIVE, pauses=10) as run:
        assert run.stop.waited == [1, 2, 4, 8, 16, 32, RETRY_MOST, RETRY_MOST, RETRY_FIRST, 2]


def test_a_source_that_opens_and_gives_nothing_is_no_success() -> None:
    empty: list[Any] = [GreySource(0, live=True) for _ in range(3)]
    with Run(empty, mode=Mode.LIVE, pauses=3) as run:
        assert run.stop.waited == [1, 2, 4]
        assert LIVE not in run.story


def test_refused_credentials_are_tried_seldom_from_the_first_time_on() -> None:
    refused: list[Any] = [SourceUnauthorized("401") for _ in range(2)]
    with Run(refused, mode=Mode.LIVE, pauses=2) as run:
        assert run.stop.waited == [RETRY_MOST, RETRY_MOST]
        assert run.story == [CONNECTING, CameraState.AUTH_FAILED, CONNECTING, CameraState.AUTH_FAILED]


# A camera that is away, and whose port is asked


OPEN, CLOSED = True, False


def dead(count: int) -> list[Any]:
    return [SourceUnreachable("dead") for _ in range(count)]


@pytest.mark.fault("RTSP server restarts", "opened as soon as its port answers again, however long it was away")
def test_a_camera_is_opened_as_soon_as_its_port_answers_again() -> None:
    # Asked at once, and then every second: the pauses are 1, 2 and 4 s, and the port opens in the third.
    asked = [CLOSED] * 2 + [CLOSED] * 3 + [CLOSED, CLOSED, OPEN]
    with Run([*dead(3), GreySource(1, live=True)], mode=Mode.LIVE, pauses=6, port=[*asked, CLOSED]) as run:
        assert run.stop.waited == [1, 1, 1, 1, 1, 1]
        assert run.story[-3:] == [CONNECTING, LIVE, CameraState.STALLED]


def test_after_its_return_the_pauses_begin_anew_for_its_stream_may_need_a_moment_more() -> None:
    asked = [CLOSED] * 2 + [CLOSED, OPEN] + [OPEN] * 2 + [OPEN] * 3
    with Run(dead(5), mode=Mode.LIVE, pauses=5, port=[*asked, OPEN]) as run:
        assert [reason for state, reason in run.states if state is CameraState.OFFLINE] == [
            f"dead; next attempt in {pause} s" for pause in (1, 2, 1, 2)
        ]


def test_a_port_that_is_open_all_the_time_keeps_the_pauses() -> None:
    with Run(dead(4), mode=Mode.LIVE, pauses=7, port=itertools.repeat(OPEN)) as run:
        assert run.stop.waited == [1] * 7
        assert run.story.count(CONNECTING) == 3, "after 1 and 2 s; the next one would be after 4"


def test_a_camera_that_refuses_us_is_never_asked() -> None:
    refused: list[Any] = [SourceUnauthorized("401") for _ in range(2)]
    with Run(refused, mode=Mode.LIVE, pauses=2, port=[]) as run:
        assert run.stop.waited == [RETRY_MOST, RETRY_MOST]
        assert run.capture.error == ""


# What the pictures say


class _Repeating(GreySource):
    """Shows the same picture twice each time."""

    def frames(self) -> Iterator[SourceFrame]:
        for frame in super().frames():
            yield replace(frame, image=np.full_like(frame.image, 10 + frame.index // 2))


def test_live_repeated_pictures_are_counted_and_not_scored() -> None:
    with Run([_Repeating(6, live=True)], mode=Mode.LIVE, pauses=1) as run:
        assert run.numbers == [0, 2, 4]
        assert run.mailbox.drops == {"reader.duplicate": 3}
        assert run.capture.captured == 6


def test_in_replay_every_picture_is_scored_though_it_repeats_the_one_before() -> None:
    with Run([_Repeating(6)]) as run:
        assert run.numbers == [0, 1, 2, 3, 4, 5]
        assert run.mailbox.drops == {}


class _Resized(GreySource):
    """Shows pictures of half the size from the third on."""

    def frames(self) -> Iterator[SourceFrame]:
        for frame in super().frames():
            yield frame if frame.index < 2 else replace(frame, image=frame.image[::2, ::2].copy())


def test_a_camera_that_changes_its_size_goes_on_and_says_so() -> None:
    sources: list[Any] = [_Resized(4, live=True), GreySource(1, live=True)]
    with Run(sources, mode=Mode.LIVE, pauses=2) as run:
        assert run.numbers == [0, 1, 2, 3, 4]
        assert [reason for state, reason in run.states if state is LIVE] == [
            "grey: 64x48",
            "grey: 32x24 (was 64x48)",
            "grey: 64x48 (was 32x24)",
        ]
        motion = [captured.motion for captured in run.frames]
        assert motion[1] is not None
        assert motion[2] is None, "nothing of that size to compare with"


def test_frame_times_stay_with_the_wall_clock_when_media_time_runs_away() -> None:
    class Racing(GreySource):
        def frames(self) -> Iterator[SourceFrame]:
            for frame in super().frames():
                yield replace(frame, media_time=frame.media_time * (1 if frame.index < 3 else 1000))

    with Run([Racing(6, live=True)], mode=Mode.LIVE, pauses=1) as run:
        assert all(abs(captured.frame_time - 5100.0) <= CLOCK_SLIP for captured in run.frames)


# Progress


def test_a_thread_that_hangs_in_its_source_is_stuck_for_as_long_as_that() -> None:
    clock, opened, go_on = Clock(), threading.Event(), threading.Event()

    def hang() -> GreySource:
        opened.set()
        go_on.wait(PATIENCE_S)
        return GreySource(0)

    capture = a_capture(hang, clock, endless=False)
    capture.start()
    opened.wait(PATIENCE_S)
    clock.now += 70.0
    stuck = capture.stuck_for
    go_on.set()
    capture.join(PATIENCE_S)

    assert stuck == 70.0
    assert capture.finished
    assert capture.stuck_for == 0.0, "a thread that has ended is not stuck"


def test_a_thread_that_waits_before_it_tries_again_is_not_stuck() -> None:
    clock, told = Clock(), threading.Event()

    def refuse() -> GreySource:
        raise SourceUnauthorized("401")

    def report(state: CameraState, reason: str) -> None:
        if state is CameraState.AUTH_FAILED:
            told.set()

    capture = a_capture(refuse, clock, report=report)
    capture.start()
    told.wait(PATIENCE_S)
    wait_until(lambda: capture.stuck_for == 0.0)
    clock.now += 70.0
    stuck = capture.stuck_for
    capture.stop()
    capture.join(PATIENCE_S)

    assert stuck == 0.0


def test_every_frame_is_progress() -> None:
    clock = Clock()
    stuck: list[float] = []

    class Slow(GreySource):
        def frames(self) -> Iterator[SourceFrame]:
            for frame in super().frames():
                stuck.append(capture.stuck_for)
                clock.now += 3.0
                yield frame

    capture = a_capture(lambda: Slow(4, live=True), clock, endless=False)
    capture.start()
    capture.join(PATIENCE_S)

    assert stuck == [0.0] * 4


def a_capture(
    open_source: Callable[[], GreySource],
    clock: Clock,
    *,
    endless: bool = True,
    report: Callable[[CameraState, str], None] = lambda *_: None,
) -> Capture:
    return Capture(
        open_source=open_source,
        mode=Mode.LIVE,
        fps=None,
        recorded_at=0.0,
        endless=endless,
        mailbox=Mailbox(Mode.LIVE),
        report=report,
        clocks=Clocks(wall=clock, monotonic=clock),
    )


def test_pauses_vary_a_little_so_that_cameras_do_not_come_back_together() -> None:
    waited = set()
    for seed in range(20):
        with Run([SourceUnreachable("dead")], mode=Mode.LIVE, pauses=1, jitter=random.Random(seed)) as run:
            waited.update(run.stop.waited)

    assert len(waited) == 20
    assert all(abs(pause - RETRY_FIRST) <= RETRY_JITTER * RETRY_FIRST for pause in waited)


# Stopping, with the real event and mailbox


def started(source: GreySource, mode: Mode) -> tuple[Capture, Mailbox]:
    mailbox = Mailbox(mode)
    capture = Capture(
        open_source=lambda: source,
        mode=mode,
        fps=None,
        recorded_at=0.0,
        endless=False,
        mailbox=mailbox,
        report=lambda *_: None,
    )
    capture.start()
    return capture, mailbox


def test_stopping_ends_a_file_that_waits_for_its_next_frame() -> None:
    source = GreySource(2, fps=1e-6)  # the second frame is due in eleven days
    capture, mailbox = started(source, Mode.LIVE)
    wait_until(lambda: not mailbox.empty)
    capture.stop()
    capture.join(PATIENCE_S)

    assert capture.finished
    assert source.closed.is_set()


def test_stopping_ends_a_replay_whose_reader_takes_nothing() -> None:
    capture, mailbox = started(GreySource(1000), Mode.REPLAY)
    wait_until(lambda: capture.captured >= 2)
    capture.stop()
    capture.join(PATIENCE_S)

    assert capture.finished
    assert mailbox.drops["reader.stopped"] >= 1
    assert mailbox.take() is not None


def test_stopping_ends_the_pause_before_a_camera_is_opened_again() -> None:
    states: list[CameraState] = []

    def refuse() -> GreySource:
        raise SourceUnauthorized("401")  # the next attempt would be in a minute

    capture = Capture(
        open_source=refuse,
        mode=Mode.LIVE,
        fps=None,
        recorded_at=0.0,
        endless=True,
        mailbox=Mailbox(Mode.LIVE),
        report=lambda state, reason: states.append(state),
    )
    capture.start()
    wait_until(lambda: CameraState.AUTH_FAILED in states)
    capture.stop()
    capture.join(RETRY_MOST / 2)

    assert capture.finished
    assert capture.error == ""
