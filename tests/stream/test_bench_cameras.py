"""``bench cameras`` without running it: the search, the accounts, what processes take, and what is asked of a run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream import programs
from stream.bench.accounting import (
    Counted,
    broken,
    camera_row,
    count_camera,
    latency_figures,
    other_cores,
    process_rows,
)
from stream.bench.camera_run import Sample, Snapshot, run_settings, write_samples
from stream.bench.cameras import judge
from stream.bench.clips import Film, Footage
from stream.bench.process_stats import (
    Usage,
    cpu_seconds,
    machine_busy_seconds,
    slope_per_hour,
    usage,
    usage_of,
)
from stream.bench.result import Row
from stream.bench.search import largest
from stream.config import build_config
from stream.endless import is_endless
from stream.scorelog import ScoreRow

# -- the search -------------------------------------------------------------------------------------------------------


def searched(limit: int, *, first: int = 4, most: int = 100) -> tuple[int, list[int]]:
    """What is found where all up to ``limit`` hold, and what was tried for it."""
    tried: list[int] = []

    def holds(count: int) -> bool:
        tried.append(count)
        return count <= limit

    return largest(holds, first=first, most=most), tried


@pytest.mark.parametrize("limit", range(0, 41))
@pytest.mark.parametrize("first", [1, 4, 7])
def test_the_largest_that_holds_is_found_and_nothing_is_tried_twice(limit: int, first: int) -> None:
    found, tried = searched(limit, first=first)
    assert found == limit
    assert len(tried) == len(set(tried))


def test_it_doubles_and_then_halves_the_gap() -> None:
    assert searched(11) == (11, [4, 8, 16, 12, 10, 11])


def test_it_goes_down_from_a_first_one_that_does_not_hold() -> None:
    assert searched(1, first=8) == (1, [8, 4, 2, 1])


def test_it_goes_no_further_than_told() -> None:
    assert searched(1000, first=4, most=10) == (10, [4, 8, 10])
    assert searched(1000, first=40, most=10) == (10, [10])


# -- accounts ---------------------------------------------------------------------------------------------------------


def a_status(last_seq: int, scored: int, **changes: Any) -> dict[str, Any]:
    status = {"last_seq": last_seq, "scored": scored, "not_scored": 0, "drops": {}, "state": "LIVE", "reason": ""}
    return status | changes


def a_row(seq: int, age: float | None, *, score: float | None = 0.5) -> ScoreRow:
    return ScoreRow(0.0, seq, 0.0, "", score, None, None, None, age, "", "")


FIRST = a_status(99, 60, drops={"reader.sampled_out": 30, "reader.overwritten": 8}, not_scored=2)
LAST = a_status(119, 68, drops={"reader.sampled_out": 39, "reader.overwritten": 10, "link.lost": 1}, not_scored=2)
COUNTED = count_camera("gate", FIRST, LAST, [a_row(99, 9.0), a_row(100, 0.1), a_row(119, 0.3)], told=frozenset({119}))


def test_frames_between_two_moments_are_all_accounted_for() -> None:
    assert (COUNTED.captured, COUNTED.scored, COUNTED.passed_over) == (20, 8, 9)
    assert COUNTED.dropped == {"link.lost": 1, "reader.overwritten": 2}
    assert (COUNTED.lost, COUNTED.unaccounted) == (3, 0)


def test_ages_are_of_scored_frames_after_the_first_moment_up_to_the_last() -> None:
    rows = [a_row(99, 9.0), a_row(100, 0.1), a_row(101, 0.2, score=None), a_row(119, 0.3), a_row(120, 9.0)]
    counted = count_camera("gate", FIRST, LAST, rows, told=frozenset({99, 119, 120}))
    assert counted.ages == (0.1, 0.3)
    assert counted.alert_ages == (0.3,)


def test_frames_that_could_not_be_scored_count_as_lost() -> None:
    counted = count_camera("gate", FIRST, LAST | {"scored": 66, "not_scored": 4}, [], told=frozenset())
    assert (counted.not_scored, counted.lost, counted.unaccounted) == (2, 5, 0)
    assert camera_row("1 cameras", counted).note == "link.lost 1, reader.overwritten 2, not scored 2"


def test_a_frame_that_is_nowhere_shows() -> None:
    assert count_camera("gate", FIRST, LAST | {"scored": 67}, [], told=frozenset()).unaccounted == 1


def test_a_camera_that_is_not_watched_says_so() -> None:
    lost = LAST | {"state": "NO_READER", "reason": "its reader stopped reporting"}
    counted = count_camera("gate", FIRST, lost, [], told=frozenset())
    assert counted.trouble == "NO_READER: its reader stopped reporting"
    assert camera_row("2 cameras", counted).note.endswith("NO_READER: its reader stopped reporting")


def test_a_cameras_line() -> None:
    row = camera_row("2 cameras", COUNTED)
    assert row.name == "2 cameras, gate"
    assert row.note == "link.lost 1, reader.overwritten 2"
    assert row.figures == pytest.approx(
        {
            "captured": 20.0,
            "scored": 8.0,
            "passed_over": 9.0,
            "dropped": 3.0,
            "unaccounted": 0.0,
            "p50_ms": 100.0,
            "p95_ms": 300.0,
        }
    )


def of_ages(*ages: float, alerts: tuple[float, ...] = ()) -> Counted:
    return Counted("gate", len(ages), len(ages), 0, 0, {}, ages, alerts)


def test_latency_is_of_all_frames_together_and_of_the_worst_camera() -> None:
    fast, slow = of_ages(*[0.01] * 99, 0.02), of_ages(0.5, 0.4, alerts=(0.4,))
    assert latency_figures([fast, slow]) == pytest.approx(
        {
            "p50_ms": 10.0,
            "p95_ms": 10.0,  # the 97th of 102
            "p99_ms": 400.0,  # the 101st
            "worst_p95_ms": 500.0,
            "alert_messages": 1.0,
            "alert_p95_ms": 400.0,
        }
    )


def test_without_frames_there_is_no_latency() -> None:
    figures = latency_figures([of_ages()])
    assert figures.pop("alert_messages") == 0
    assert set(figures.values()) == {None}


def test_a_run_in_which_something_was_restarted_says_nothing() -> None:
    first = Snapshot(0.0, 7, {})
    assert broken(first, first, {}) == ""
    assert broken(first, replace(first, pid=8), {}) == "restarted meanwhile: worker"
    assert broken(first, first, {"reader gate": 2}) == "restarted meanwhile: reader gate"


@pytest.mark.parametrize(
    ("p95", "dropped", "troubles", "why"),
    [
        (500.0, 0.0, [], ""),
        (500.1, 0.0, [], "p95 above 500 ms"),
        (100.0, 1.0, [], "1 frame(s) dropped"),
        (None, 0.0, [], "no frame was scored"),
        (100.0, 0.0, ["gate is STALLED: x"], "gate is STALLED: x"),
    ],
)
def test_a_number_of_cameras_holds_with_its_limit_and_without_a_drop(
    p95: float | None, dropped: float, troubles: list[str], why: str
) -> None:
    assert judge(Row("2 cameras", {"p95_ms": p95, "dropped": dropped}), 500.0, troubles) == why


# -- processes --------------------------------------------------------------------------------------------------------


def a_sample(time: float, cpu: float, pss: float, busy: float) -> Sample:
    reader = Usage(processes=2, cpu_s=cpu, rss_mib=2 * pss, pss_mib=pss, own_mib=pss / 2, files=40)
    return Sample(time, {"worker": Usage(1), "readers": reader, "feed": Usage(1)}, busy)


def test_processes_are_told_apart_by_kind() -> None:
    samples = [a_sample(100.0, 3.0, 200.0, 50.0), a_sample(1900.0, 903.0, 210.0, 2750.0)]
    rows = {row.name: row.figures for row in process_rows("2 cameras", samples)}
    assert list(rows) == ["2 cameras, worker", "2 cameras, readers", "2 cameras, feed"]
    assert rows["2 cameras, readers"] == pytest.approx(
        {
            "processes": 2.0,
            "cores": 0.5,
            "rss_mib": 420.0,
            "pss_start_mib": 200.0,
            "pss_end_mib": 210.0,
            "pss_mib_per_hour": 20.0,
            "own_end_mib": 105.0,
            "own_mib_per_hour": 10.0,
            "files_start": 40.0,
            "files_end": 40.0,
        }
    )


def test_samples_are_kept_as_a_table(tmp_path: Path) -> None:
    write_samples(tmp_path / "p.csv", [a_sample(100.0, 3.0, 200.0, 0.0), a_sample(110.5, 4.0, 200.0, 0.0)])
    lines = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "seconds,kind,processes,cpu_s,rss_mib,pss_mib,own_mib,files"
    assert lines[2] == "0.0,readers,2,3,400,200,100,40"
    assert lines[5] == "10.5,readers,2,4,400,200,100,40"


def test_what_others_took_of_the_machine_is_what_is_left_of_it() -> None:
    assert other_cores([a_sample(100.0, 3.0, 1.0, 50.0), a_sample(110.0, 8.0, 1.0, 67.0)]) == pytest.approx(1.2)


def test_a_slope_is_that_of_the_line_through_all_samples() -> None:
    # Mean time 200, mean value 2; sum of products -200*-1 + 0*-1 + 200*2 = 600 over 80000, times 3600.
    assert slope_per_hour([0.0, 200.0, 400.0], [1.0, 1.0, 4.0]) == pytest.approx(27.0)


def test_over_a_short_time_there_is_no_slope() -> None:
    assert slope_per_hour([0.0, 299.0], [1.0, 2.0]) is None
    assert slope_per_hour([0.0], [1.0]) is None


def a_process(folder: Path) -> Path:
    """Its folder under /proc: 2 s user and 1 s system, 2 MiB of 3 its own, two files."""
    ticks = os.sysconf("SC_CLK_TCK")
    # The fields after the name: state, ten numbers, then the two times.
    stat = f"7 (od) d) S {' '.join(['0'] * 10)} {2 * ticks} {ticks} 9 9 9"
    (folder / "stat").write_text(stat, encoding="utf-8")
    (folder / "smaps_rollup").write_text(
        "00-ff ---p\nRss:  3072 kB\nPss:  2048 kB\nAnonymous: 1024 kB\n", encoding="utf-8"
    )
    (folder / "fd").mkdir()
    for number in "01":
        (folder / "fd" / number).touch()
    return folder


def test_what_a_process_takes_is_read_from_its_folder(tmp_path: Path) -> None:
    assert cpu_seconds(a_process(tmp_path)) == pytest.approx(3.0)
    assert usage_of(tmp_path) == Usage(processes=1, cpu_s=3.0, rss_mib=3.0, pss_mib=2.0, own_mib=1.0, files=2)


def test_processes_add_up_and_those_that_have_ended_count_for_nothing() -> None:
    own = usage([os.getpid(), 2**22 + 1])  # above the highest number that Linux gives
    assert own.processes == 1
    assert 0 < own.pss_mib <= own.rss_mib
    assert own.files > 2
    assert usage([os.getpid()] * 2).processes == 2


def test_the_machines_time_at_work_leaves_out_idling_and_waiting(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    numbers = [number * ticks for number in (1, 2, 4, 1000, 1000, 8, 16, 500, 0, 0)]  # the 500 were stolen from it
    path = tmp_path / "stat"
    path.write_text(f"cpu  {' '.join(map(str, numbers))}\ncpu0 1 1 1\n", encoding="utf-8")
    assert machine_busy_seconds(path) == pytest.approx(31.0)


# -- a run ------------------------------------------------------------------------------------------------------------

FOOTAGE = Footage((640, 360), 25.0, 5.0, 500, {"backbone": {"name": "resnet18"}, "method": {"size": 128}})


def test_each_camera_of_a_run_is_live_without_end_and_has_a_scene_of_its_own(tmp_path: Path) -> None:
    films = [Film(tmp_path / "a.mp4", tmp_path / "g1"), Film(tmp_path / "b.mp4", tmp_path / "g1")]
    settings = run_settings(films, FOOTAGE, sockets=Path("/tmp/s"))
    config = build_config(settings, where="test", base=tmp_path, environment={})
    assert [camera.id for camera in config.cameras] == ["cam-01", "cam-02"]
    assert [programs.mode_of(camera) for camera in config.cameras] == ["live", "live"]
    assert all(is_endless(camera) for camera in config.cameras)
    assert {camera.scene_name for camera in config.cameras} == {"cam-01", "cam-02"}
    assert config.gallery_of("cam-02") == tmp_path / "g1"
    assert (config.backbone.name, config.method.size) == ("resnet18", 128)


def test_a_part_of_what_is_played_over_and_over_has_an_end(tmp_path: Path) -> None:
    data = {"cameras": [{"id": "a", "source": "loop:a.mp4", "seconds": 90.0}]}
    (camera,) = build_config(data, where="test", base=tmp_path, environment={}).cameras
    assert not is_endless(camera)
    assert programs.mode_of(camera) == "replay"
