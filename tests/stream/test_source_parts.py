"""The parts that sources are made of: media time, frame numbers, and the handle that any thread may close."""

from __future__ import annotations

import threading

import pytest

from stream.sources.frame_index import FrameIndex
from stream.sources.handle import Handle
from stream.sources.media_clock import MediaClock

BOUND = 20.0  # seconds: far more than any wait here; a test that reaches it has failed


def test_media_time_is_the_distance_from_the_first_time_stamp() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (50.0, 50.1, 50.5)] == pytest.approx([0.0, 0.1, 0.5])


def test_a_missing_time_stamp_is_bridged_and_the_next_one_counts_again() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (50.0, None, 50.2, 50.3)] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    late = MediaClock(0.1)
    assert [late.at(t) for t in (None, 0.1, 0.2)] == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.fault("camera's clock jumps (PTS)", "bridged: media time goes on by one frame")
def test_a_clock_set_back_is_bridged_and_runs_on() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (50.0, 50.1, 3.0, 3.1)] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_jitter_backwards_repeats_the_time_and_moves_nothing() -> None:
    clock = MediaClock(0.1)
    assert [clock.at(t) for t in (0.0, 0.2, 0.15, 0.3)] == pytest.approx([0.0, 0.2, 0.2, 0.3])


@pytest.mark.fault("camera's clock jumps (PTS)", "bridged: media time goes on by one frame")
def test_a_jump_forwards_is_bridged_on_a_live_stream_and_believed_in_a_file() -> None:
    times = (0.0, 0.1, 3600.0, 3600.1)
    live, file = MediaClock(0.1, longest_gap=10.0), MediaClock(0.1)
    assert [live.at(t) for t in times] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [file.at(t) for t in times] == pytest.approx(times)


@pytest.mark.fault("camera's clock wraps (MPEG-TS, 26.5 h)", "bridged: media time goes on by one frame")
@pytest.mark.parametrize("longest_gap", [10.0, None])
def test_the_clock_of_an_mpeg_stream_that_wraps_round_is_bridged(longest_gap: float | None) -> None:
    ticks = [2**33 - 9000, 2**33 - 1, 9000 - 1, 18000 - 1]  # of 1/90,000 s, in 33 bits
    clock = MediaClock(0.1, longest_gap=longest_gap)

    assert [clock.at(tick / 90_000) for tick in ticks] == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=2e-5)
    assert clock.jumps == 1
    assert clock.last_jump == pytest.approx(-(2**33) / 90_000 + 0.1, abs=1e-3)


def test_jumps_are_counted_and_what_is_believed_is_none() -> None:
    clock = MediaClock(0.1, longest_gap=10.0)
    for timestamp in (0.0, 0.1, 5.0, None, 3600.0, 3600.1, 7.0):
        clock.at(timestamp)

    assert (clock.jumps, round(clock.last_jump, 1)) == (2, -3593.1)


def test_a_camera_whose_clock_stands_still_goes_on_at_its_nominal_rate() -> None:
    live, file = MediaClock(0.04, longest_gap=10.0), MediaClock(0.04)
    times = [0.0, *[0.04] * 125, 0.08]

    assert [live.at(t) for t in times][-2:] == pytest.approx([0.04 + 100 * 0.04, 0.04 + 101 * 0.04])
    assert [file.at(t) for t in times][-2:] == pytest.approx([0.04, 0.08])


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


def test_a_handle_in_use_is_released_by_its_user_and_once() -> None:
    released: list[str] = []
    entered, leave = threading.Event(), threading.Event()
    handle = Handle(lambda: released.append(threading.current_thread().name))

    def work() -> str:
        entered.set()
        leave.wait(BOUND)
        return "done"

    user = threading.Thread(target=handle.run, args=(work,), name="user")
    user.start()
    assert entered.wait(BOUND)
    handle.close()
    assert released == []
    leave.set()
    user.join(BOUND)
    handle.close()
    assert released == ["user"]
    assert handle.run(work) is None
