"""``bench soak`` without running it: the plan of faults, accounts, trends, verdicts, and what is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.bench.clips import Film, Footage
from stream.bench.process_stats import Usage
from stream.bench.soak import SoakOptions, soak_settings
from stream.bench.soak_accounts import LOST_WITH_WORKER, Accounts, FrameAccount, Key, deliver
from stream.bench.soak_checks import Check, Soaked, checks, recoveries, restarts, unexplained
from stream.bench.soak_faults import Done
from stream.bench.soak_page import looks, page
from stream.bench.soak_plan import Fault, faults_named, plan
from stream.bench.soak_processes import Instance, catches, lives, processes_of, role_of, send
from stream.bench.soak_reload import ConfigFile
from stream.bench.soak_report import broken, tables, to_json
from stream.bench.soak_run import written
from stream.bench.soak_trends import ProcessSample, slope_per_hour, trends
from stream.bench.soak_watch import Birth, CameraSample
from stream.config import build_config
from stream.errors import UsageError
from stream.messages import iso_time
from stream.scorelog import ScoreRow

# -- the plan ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    first, again, other = (plan(seed=seed, seconds=3600, every=75, kinds=list(Fault)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_an_hour_has_about_as_many_faults_as_asked_for() -> None:
    counts = [len(plan(seed=seed, seconds=3600, every=75, kinds=list(Fault))) for seed in range(50)]
    assert 43 <= sum(counts) / len(counts) <= 51, "3,540 s / 75 s = 47"


def test_no_two_faults_begin_close_together_and_none_near_the_end() -> None:
    times = [planned.at for planned in plan(seed=1, seconds=3600, every=75, kinds=list(Fault))]
    assert min(later - time for time, later in pairwise(times)) >= 15
    assert times[-1] < 3540


def test_each_round_has_every_kind_once() -> None:
    kinds = [planned.fault for planned in plan(seed=3, seconds=7200, every=75, kinds=list(Fault))]
    assert set(kinds[: len(Fault)]) == set(kinds[len(Fault) : 2 * len(Fault)]) == set(Fault)


def test_without_kinds_nothing_is_done() -> None:
    assert plan(seed=7, seconds=3600, every=75, kinds=()) == ()


def test_every_name_can_be_hit() -> None:
    planned = plan(seed=7, seconds=36000, every=75, kinds=[Fault.KILL_READER])
    assert {fault.choose(["a", "b", "c"]) for fault in planned} == {"a", "b", "c"}


def test_faults_are_named_on_the_command_line() -> None:
    assert faults_named(("all",)) == tuple(Fault)
    assert faults_named(("none",)) == ()
    assert faults_named(("kill-feed", "kill-worker", "kill-feed")) == (Fault.KILL_FEED, Fault.KILL_WORKER)
    with pytest.raises(UsageError, match="--faults earthquake: no such fault; there are all, none, kill-worker"):
        faults_named(("kill-feed", "earthquake"))


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "role"),
    [
        ("python -m stream read a.yaml --camera gate --log-level info", "reader gate"),
        ("python -m stream score a.yaml", "worker"),
        ("python -m stream feed a.yaml", "feed"),
        ("/usr/bin/python /usr/bin/spade-stream sink a.yaml --name archive", "sink archive"),
        ("python -m stream run a.yaml", None),
        ("python -m http.server", None),
        ("vi stream score", None),
    ],
)
def test_a_process_is_known_by_its_words(words: str, role: str | None) -> None:
    assert role_of(words.split()) == role


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, with words as a reader has them."""
    program = "import signal, sys, time; signal.signal(signal.SIGHUP, print); print(flush=True); time.sleep(60)"
    # What follows -c is the program's own words: to who looks at them, a reader's.
    words = [sys.executable, "-c", program, "-m", "stream", "read", "--camera", "gate"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_child_is_found_and_only_this_very_process_is_hit() -> None:
    with sleeping() as process:
        found = processes_of(os.getpid())["reader gate"]
        assert found.pid == process.pid
        assert lives(found)
        assert catches(process.pid, signal.SIGHUP)
        assert not catches(process.pid, signal.SIGUSR1)
        other = Instance(found.role, found.pid, found.born + 1)
        assert not send(other, signal.SIGKILL), "the number is the same, the process is not"
        assert send(found, signal.SIGKILL)
        process.wait()
        assert not lives(found)
        assert not send(found, signal.SIGKILL)


# -- frames -----------------------------------------------------------------------------------------------------------


def a_status(last_seq: int, scored: int, **drops: int) -> dict[str, Any]:
    """Frame N of a camera that gives one a second, from Unix time 1000 on."""
    named = {name.replace("_", ".", 1): count for name, count in drops.items()}
    time = iso_time(1000.0 + last_seq)
    return {"last_seq": last_seq, "scored": scored, "not_scored": 0, "drops": named, "last_frame_time": time}


def seen(*statuses: tuple[str, str, dict[str, Any]]) -> FrameAccount:
    """The account of a camera after (worker, reader, status) one after the other."""
    accounts = Accounts()
    for worker, reader, status in statuses:
        accounts.see({"gate": status}, worker=worker, reader_of=lambda _, reader=reader: reader)  # type: ignore[misc]
    return accounts.cameras["gate"]


def a_row(seq: int, *, scored: bool = True) -> ScoreRow:
    return ScoreRow(1000.0 + seq, seq, float(seq), "", 0.5 if scored else None, None, None, None, 0.1, "", "")


def test_frames_of_one_worker_and_one_reader_are_all_accounted_for() -> None:
    account = seen(("w", "r", a_status(9, 10)), ("w", "r", a_status(19, 17, reader_overwritten=3)))
    assert (account.captured, account.scored, dict(account.drops)) == (10, 7, {"reader.overwritten": 3})
    assert account.unaccounted == 0


def test_a_frame_that_is_nowhere_shows() -> None:
    assert seen(("w", "r", a_status(9, 10)), ("w", "r", a_status(19, 19))).unaccounted == 1


def test_a_killed_readers_last_frames_are_not_counted_and_that_is_told() -> None:
    account = seen(
        ("w", "r1", a_status(9, 10, reader_overwritten=2)),
        ("w", "r2", a_status(9, 10, reader_overwritten=2)),  # the new one has sent nothing yet
        ("w", "r2", a_status(1, 12)),
        ("w", "r2", a_status(5, 16)),
    )
    assert (account.captured, account.scored, account.readers_lost) == (4, 4, 1)
    assert account.unaccounted == 0


def test_what_a_killed_worker_had_scored_is_in_the_log_and_the_rest_was_lost_with_it() -> None:
    account = seen(
        ("w1", "r", a_status(9, 10)),
        ("w2", "r", a_status(19, 2, reader_overwritten=4, link_lost=1)),  # 18 and 19 are scored by the new one
    )
    account.cross([a_row(seq) for seq in (8, 9, 10, 11, 18, 19, 20)])
    assert (account.captured, account.scored) == (10, 4)
    assert dict(account.drops) == {"reader.overwritten": 4, "link.lost": 1, LOST_WITH_WORKER: 1}
    assert (account.crossed, account.unaccounted) == (1, 0)


def test_a_workers_own_drops_begin_anew_with_it() -> None:
    account = seen(("w1", "r", a_status(9, 10, worker_replaced=5)), ("w2", "r", a_status(12, 2, worker_replaced=1)))
    account.cross([a_row(10), a_row(11)])
    assert dict(account.drops) == {"worker.replaced": 1, LOST_WITH_WORKER: 0}


def test_a_camera_that_was_away_is_counted_anew() -> None:
    accounts = Accounts()
    for cameras in ({"gate": a_status(9, 10)}, {}, {"gate": a_status(99, 1)}, {"gate": a_status(100, 2)}):
        accounts.see(cameras, worker="w", reader_of=lambda _: "r")
    assert (accounts.cameras["gate"].captured, accounts.cameras["gate"].readers_lost) == (1, 0)


# -- alerts -----------------------------------------------------------------------------------------------------------

STORED: list[Key] = [(1, "a", "start"), (2, "a", "end"), (3, "b", "start")]


def test_equal_sets_are_equal_in_any_number_of_copies() -> None:
    delivery = deliver("archive", [*STORED[:2], *STORED[1:]], STORED)
    assert (delivery.equal, delivery.received, delivery.repeated) == (True, 3, 1)


def test_missing_and_foreign_messages_are_named() -> None:
    delivery = deliver("archive", [(1, "a", "start"), (3, "x", "start")], STORED)
    assert (delivery.equal, delivery.missing, delivery.foreign) == (False, (2, 3), (3,))


def test_what_came_only_after_the_end_is_told() -> None:
    assert deliver("archive", STORED, STORED, before=2).after_drain == 1


def test_a_sinks_file_is_read_without_a_line_that_was_cut_short(tmp_path: Path) -> None:
    line = '{"seq":1,"alert_id":"a","phase":"start"}\n'
    (tmp_path / "alerts.jsonl").write_text(line + '{"seq":2,"al')
    assert written(tmp_path) == [(1, "a", "start")]
    assert written(tmp_path / "none") == []


# -- trends -----------------------------------------------------------------------------------------------------------


def a_life(begin: float, end: float, *, base: float, per_hour: float) -> list[tuple[float, float]]:
    return [(float(t), base + per_hour * (t - begin) / 3600) for t in range(int(begin), int(end), 10)]


def test_growth_is_found_in_each_life_and_a_new_life_is_no_shrinking() -> None:
    lives = [a_life(0, 400, base=100, per_hour=36), a_life(400, 800, base=100, per_hour=36)]
    assert slope_per_hour(lives) == pytest.approx(36)
    assert slope_per_hour([[*lives[0], *lives[1]]]) != pytest.approx(36, abs=5), "as one life it would be"


def test_a_single_peak_is_no_growth() -> None:
    life = [(time, 100.0 if time != 200 else 900.0) for time, _ in a_life(0, 400, base=0, per_hour=0)]
    assert slope_per_hour([life]) == 0


def test_of_little_time_there_is_no_slope() -> None:
    assert slope_per_hour([a_life(0, 290, base=100, per_hour=36)]) is None


def samples(role: str, pid: int, begin: int, end: int, *, per_hour: float, files: int = 9) -> list[ProcessSample]:
    life = a_life(begin, end, base=100, per_hour=per_hour)
    instance = Instance(role, pid, pid)
    return [
        ProcessSample(t, instance, Usage(1, cpu_s=0.5 * (t - begin), own_mib=own, rss_mib=300, files=files))
        for t, own in life
    ]


def test_a_trend_leaves_out_the_warm_up_of_the_run_and_of_each_life() -> None:
    two = [*samples("worker", 1, 0, 1000, per_hour=3600), *samples("worker", 2, 1000, 2000, per_hour=3600)]
    found = trends(two, seconds=2000)
    worker = found[0]
    assert (worker.role, worker.lives, worker.files) == ("worker", 2, (9, 9))
    # From 200 s (a tenth of the run) to the end of the second life, the median of three samples each.
    assert worker.own_mib == (310.0, 1080.0)
    assert worker.own_mib_per_hour == pytest.approx(3600)
    assert worker.cores == pytest.approx(0.5)
    assert worker.observed_s == (990 - 200) + (1990 - 1060)


# -- verdicts ---------------------------------------------------------------------------------------------------------


def a_fault(fault: Fault = Fault.KILL_FEED, target: str = "feed", **changes: Any) -> Done:
    values: dict[str, Any] = {"at": 100.0, "until": 105.0, "noticed_s": None, "recovery_s": 5.0, "problem": ""}
    values |= {"restarts": frozenset({target})}
    return Done(fault, target, **(values | changes))


def an_account(**changes: Any) -> FrameAccount:
    account = FrameAccount(captured=10, scored=8, spans=1)
    account.drops.update({"reader.overwritten": 2})
    for name, value in changes.items():
        setattr(account, name, value)
    return account


FEED = Instance("feed", 1, 1)


def soaked(**changes: Any) -> Soaked:
    """A soak in which all went well."""
    values: dict[str, Any] = {
        "seconds": 3600.0,
        "cut_short": False,
        "faults": (a_fault(),),
        "planned": 1,
        "births": (Birth(-1.0, FEED), Birth(101.0, Instance("feed", 2, 2))),
        "trends": tuple(trends(samples("feed", 1, 0, 3600, per_hour=2), seconds=3600)),
        "frames": {"gate": an_account()},
        "deliveries": (deliver("archive", STORED, STORED),),
        "messages": 3,
        "alerts": 2,
        "run_ends": (),
        "unwatched": (),
        "troubles": (),
        "exit_code": 0,
        "drain_s": 3.0,
        "samples": tuple(samples("feed", 1, 0, 3600, per_hour=2)),
        "cameras": (CameraSample(0.0, "gate", "LIVE", None), CameraSample(10.0, "gate", "LIVE", 0.2)),
    }
    return Soaked(**(values | changes))


def the_broken(found: Soaked) -> list[Check]:
    return [check for check in checks(found) if check.kept is False]


def test_a_soak_in_which_all_went_well_kept_every_promise() -> None:
    assert the_broken(soaked()) == []
    assert not broken(soaked())
    assert all(check.kept is True for check in checks(soaked()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run_ends": ("at 5 s by signal 1",)}, "at 5 s by signal 1"),
        ({"unwatched": ("gate is OFFLINE: no answer",)}, "gate is OFFLINE: no answer"),
        ({"faults": (a_fault(problem="also restarted: b"),)}, "0 of 1 survived; at 100 s, feed: also restarted: b"),
        ({"faults": (a_fault(), a_fault(Fault.STOP_READER, "reader gate"))}, "no status ever told of it"),
        ({"faults": ()}, "feed at 101 s"),
        ({"frames": {"gate": an_account(captured=12)}}, "gate: 2 unaccounted"),
        ({"frames": {"gate": an_account(captured=7, drops=Counter({LOST_WITH_WORKER: -1}))}}, "gate: -1 with 0"),
        ({"messages": 0, "alerts": 0}, "0 alert(s), 0 message(s)"),
        ({"deliveries": (deliver("archive", STORED[:2], STORED),)}, "missing 3"),
        ({"deliveries": (deliver("archive", STORED[1:], STORED, gaps=[(1, 1)]),)}, "missing 1; gaps told: 1 to 1"),
        ({"troubles": ("slow: the feed refuses",)}, "slow: the feed refuses"),
        ({"trends": tuple(trends(samples("feed", 1, 0, 3600, per_hour=40), seconds=3600))}, "too fast: feed +40.0"),
        ({"exit_code": 1}, "exit code 1 after 3.0 s"),
        ({"exit_code": None}, "had to be killed after 3.0 s"),
        ({"drain_s": 10.5}, "exit code 0 after 10.5 s"),
    ],
)  # fmt: skip
def test_each_broken_promise_is_told_by_name(changes: dict[str, Any], words: str) -> None:
    found = soaked(**changes)
    assert len(the_broken(found)) == 1
    assert words in the_broken(found)[0].text
    assert broken(found)


def test_what_was_too_short_to_judge_breaks_nothing() -> None:
    short = soaked(seconds=60.0, messages=0, alerts=0, trends=(), deliveries=(), planned=3)
    assert the_broken(short) == []
    assert [check.name for check in checks(short) if check.kept is None] == [
        "all planned faults done",
        "alerts happened",
        "memory: 30 MiB more an hour at most",
        "open files: 6 more an hour at most",
    ]


def test_one_more_or_less_is_allowed_where_a_reader_drops_frames() -> None:
    assert the_broken(soaked(frames={"gate": an_account(captured=11)})) == []
    assert len(the_broken(soaked(frames={"gate": an_account(captured=11, drops=Counter({"link.lost": 2}))}))) == 1


def test_restarts_are_counted_and_those_without_a_fault_are_named() -> None:
    births = [Birth(-1.0, FEED), Birth(101.0, Instance("feed", 2, 2)), Birth(300.0, Instance("feed", 3, 3))]
    assert restarts(births) == {"feed": 2}
    assert unexplained(births, [a_fault()]) == [births[2]]


def test_recovery_is_the_median_and_the_longest() -> None:
    faults = [a_fault(recovery_s=seconds) for seconds in (1.0, 2.0, 9.0, None)]
    assert recoveries(faults) == (2.0, 9.0)
    assert recoveries([a_fault(recovery_s=None)]) is None


# -- what is written --------------------------------------------------------------------------------------------------


def test_the_json_holds_what_the_table_shows() -> None:
    data = to_json(soaked(), options={"seed": 7}, machine={})
    assert (data["kept"], data["restarts"], data["options"]) == (True, {"feed": 1}, {"seed": 7})
    assert data["recovery"] == {"kill-feed": {"median_s": 5.0, "longest_s": 5.0}}
    assert data["frames"]["gate"]["dropped"] == {"reader.overwritten": 2}
    assert data["deliveries"][0]["equal"] is True
    text = tables(soaked(exit_code=1), machine={})
    assert "60.0 minutes, 1 faults, 2 alerts" in text
    assert "NOT ok  exit code 1" in text


def test_the_page_shows_verdicts_faults_and_curves_and_escapes_names() -> None:
    text = page(soaked(unwatched=("<gate>",), faults=(a_fault(target="<feed>", restarts=frozenset({"feed"})),)))
    assert '<td class="bad">NOT ok</td>' in text
    assert "own memory of feed, MiB" in text
    assert "1:40 kill-feed &lt;feed&gt;" in text
    assert "<gate>" not in text
    assert "nan" not in text


def test_the_configuration_is_written_whole_without_a_camera_and_broken(tmp_path: Path) -> None:
    footage = Footage((128, 72), 3.0, 3.0, 110, {"backbone": {"name": "efficientnet_lite0"}, "method": {"size": 128}})
    options = SoakOptions(60.0, 3, footage, 7, 75.0, (), tmp_path, rtsp=("rtsp://127.0.0.1/one",))
    films = [Film(tmp_path / f"{name}.mp4", tmp_path / name) for name in "abc"]
    settings = soak_settings(films, options, sockets=tmp_path, feed_port=5599)
    file = ConfigFile(tmp_path / "soak.yaml", settings)

    def written_config() -> Any:
        return build_config(yaml.safe_load(file.path.read_text()), where="soak", base=tmp_path, environment={})

    file.write()
    whole = written_config()
    assert [camera.source for camera in whole.cameras][:1] == ["rtsp://127.0.0.1/one"]
    assert [camera.id for camera in whole.cameras] == ["cam-01", "cam-02", "cam-03"]
    assert [sink.name for sink in whole.sinks] == ["first", "second"]
    assert "rtsp://" not in str(options.described())
    file.write(without="cam-02")
    assert [camera.id for camera in written_config().cameras] == ["cam-01", "cam-03"]
    file.break_it()
    with pytest.raises(yaml.YAMLError):
        written_config()


def test_samples_of_one_look_belong_together_wherever_its_second_ends() -> None:
    assert list(looks([10.4, 0.4, 0.5, 10.6], lambda time: time)) == [(0.4, [0.4, 0.5]), (10.4, [10.4, 10.6])]
    assert list(looks([], lambda time: time)) == []
