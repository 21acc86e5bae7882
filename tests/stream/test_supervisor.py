"""The supervisor over real processes: what dies or hangs is restarted and counted, what is changed leaves the others
alone, and all drain in order and in time.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_fakes import PATIENCE_S, Clock

from stream.child import MOST_RESTARTS, RESTART_MOST, START_LIMIT, Child, ChildSpec, Stage, restart_pause
from stream.errors import ProcessFailed, ProcessMisconfigured
from stream.supervisor import DRAIN_BY, LEAVE_WITHIN, TELL_WAIT, Change, Outcome, Phase, Supervisor

# Writes READY when it can be asked to stop, and its name to LOG when it is.
_PATIENT = """
import signal, sys
name, folder = sys.argv[1:3]
def stop(*_):
    with open(folder + "/log", "a") as log:
        log.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open(folder + "/ready-" + name, "w").close()
while True:
    signal.pause()
"""

_STUBBORN = _PATIENT.replace("signal.SIGTERM, stop", "signal.SIGTERM, signal.SIG_IGN")

# Ends with the exit code that stands in the file of its name, and takes that line away; goes on for ever without any.
_SCRIPTED = """
import pathlib, signal, sys
name, folder = sys.argv[1:3]
file = pathlib.Path(folder, name)
codes = file.read_text().split()
file.write_text(" ".join(codes[1:]))
if codes:
    code = int(codes[0])
    if code < 0:
        import os
        os.kill(os.getpid(), -code)
    sys.exit(code)
pathlib.Path(folder, "ready-" + name).touch()
signal.pause()
"""


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", program, *arguments)


class Site:
    """A folder that the processes write to, and specifications of such processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def patient(self, name: str, stage: Stage = Stage.WORKER, *, stubborn: bool = False) -> ChildSpec:
        return ChildSpec(name, python(_STUBBORN if stubborn else _PATIENT, name, str(self.folder)), stage, ends=False)

    def scripted(self, name: str, *codes: int, stage: Stage = Stage.WORKER, ends: bool = False) -> ChildSpec:
        (self.folder / name).write_text(" ".join(map(str, codes)))
        return ChildSpec(name, python(_SCRIPTED, name, str(self.folder)), stage, ends=ends)

    def ready(self, *names: str) -> bool:
        return all((self.folder / f"ready-{name}").exists() for name in names)

    @property
    def log(self) -> list[str]:
        file = self.folder / "log"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Run:
    """A supervisor with a clock of the test's own.

    ``wait_for_ends``: a pause passes its time and lasts until no process runs, for processes that end by themselves.
    Otherwise time stands still, so that a slow machine never makes a process late; only while one called "stubborn"
    runs, it passes.
    """

    def __init__(self, *specs: ChildSpec, wait_for_ends: bool = True, **options: Any) -> None:
        self.clock, self.ticks, self.between = Clock(), 0, lambda: None
        self._wait_for_ends = wait_for_ends
        self._deadline = time.monotonic() + PATIENCE_S
        self.supervisor = Supervisor(specs, on_tick=self._tick, monotonic=self.clock, sleep=self._sleep, **options)

    def _tick(self) -> None:
        self.ticks += 1
        self.between()

    def _sleep(self, seconds: float) -> None:
        assert time.monotonic() < self._deadline, "what the test waits for did not happen"
        if not self._wait_for_ends:
            self.clock.now += seconds * any("stubborn" in name for name in self.supervisor.process_ids)
            time.sleep(0.002)
            return
        self.clock.now += seconds
        for process in self.supervisor.process_ids.values():
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)

    def run(self, stopping: Callable[[], bool] = lambda: False) -> Outcome:
        return self.supervisor.run(stopping)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_run_ends_when_all_finite_processes_have_ended(site: Site) -> None:
    first = site.scripted("first", 0, stage=Stage.READERS, ends=True)
    second = site.scripted("second", 0, stage=Stage.READERS, ends=True)

    assert Run(first, second).run() == Outcome(failed=(), restarts={})


def test_processes_without_an_end_are_drained_when_the_finite_ones_have_ended(site: Site) -> None:
    # The reader may end only when the worker is ready to be asked to stop.
    wait = f"import os, time\nwhile not os.path.exists({str(site.folder / 'ready-worker')!r}): time.sleep(0.005)"
    reader = ChildSpec("reader", python(wait), Stage.READERS, ends=True)
    outcome = Run(site.patient("worker"), reader, wait_for_ends=False).run()

    assert outcome == Outcome()
    assert site.log == ["worker"]


def test_a_finite_process_that_fails_is_not_restarted_and_is_named(site: Site) -> None:
    good = site.scripted("good", 0, stage=Stage.READERS, ends=True)
    bad = site.scripted("bad", 1, stage=Stage.READERS, ends=True)
    unusable = site.scripted("unusable", 2, stage=Stage.READERS, ends=True)

    outcome = Run(good, bad, unusable).run()
    assert outcome == Outcome(failed=("bad (exit code 1)", "unusable (exit code 2)"), restarts={})


def test_a_finite_process_that_is_killed_starts_again(site: Site) -> None:
    reader = site.scripted("reader", -signal.SIGKILL, 0, stage=Stage.READERS, ends=True)

    assert Run(reader).run() == Outcome(failed=(), restarts={"reader": 1})


def test_with_an_endless_reader_the_run_goes_on(site: Site) -> None:
    file = site.scripted("file", 0, stage=Stage.READERS, ends=True)
    run = Run(file, site.patient("camera", Stage.READERS), wait_for_ends=False)
    goes_on = []

    def stopping() -> bool:
        ended = "file" not in run.supervisor.process_ids and site.ready("camera")
        goes_on.extend([ended] * ended)
        return len(goes_on) > 20

    assert run.run(stopping) == Outcome()
    assert site.log == ["camera"]


def test_a_run_without_finite_processes_ends_only_when_it_is_told_to(site: Site) -> None:
    run = Run(site.patient("worker"), wait_for_ends=False)

    assert run.run(lambda: site.ready("worker")) == Outcome()
    assert run.ticks >= 2


def test_what_dies_is_restarted_at_once_then_with_growing_pauses_and_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []
    run = Run(site.scripted("worker", 1, -signal.SIGKILL, 0, 1))  # an end without an error is no reason to stay away
    start = Child._start

    def noted(child: Child) -> None:
        starts.append(run.clock.now)
        start(child)

    monkeypatch.setattr(Child, "_start", noted)
    run._wait_for_ends = False
    wait = run._sleep

    def sleep(seconds: float) -> None:
        """Time passes only between processes, so that pauses can be read off the clock."""
        if not run.supervisor.process_ids:
            run.clock.now += seconds
        wait(seconds)

    run.supervisor._sleep = sleep
    outcome = run.run(lambda: site.ready("worker"))

    assert outcome == Outcome(failed=(), restarts={"worker": 4})
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == pytest.approx([0.1, 0.5, 1.0, 2.0], abs=0.21)


def test_pauses_grow_up_to_half_a_minute() -> None:
    assert [restart_pause(deaths) for deaths in range(1, 10)] == [0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert restart_pause(1_000_000) == RESTART_MOST


def test_a_process_that_goes_on_dying_is_given_up_and_the_others_are_drained(site: Site) -> None:
    hopeless = site.scripted("hopeless", *[1] * (MOST_RESTARTS + 5))
    run = Run(hopeless)

    with pytest.raises(ProcessFailed, match=rf"hopeless died {MOST_RESTARTS + 1} times in a row \(exit code 1\)"):
        run.run()

    assert len((site.folder / "hopeless").read_text().split()) == 4, "started eleven times"
    assert run.clock.now - 100 >= sum(map(restart_pause, range(1, MOST_RESTARTS + 1)))


def test_an_endless_reader_is_never_given_up(site: Site) -> None:
    deaths = MOST_RESTARTS + 5
    run = Run(site.scripted("camera", *[2] * deaths, stage=Stage.READERS), site.patient("feed", Stage.FEED))
    run._wait_for_ends = False
    wait = run._sleep

    def sleep(seconds: float) -> None:
        run.clock.now += seconds * ("camera" not in run.supervisor.process_ids)
        wait(seconds)

    run.supervisor._sleep = sleep
    outcome = run.run(lambda: site.ready("camera", "feed"))

    assert outcome == Outcome(failed=(), restarts={"camera": deaths})
    assert site.log == ["feed"], "the other process was left alone"


@pytest.mark.parametrize("code", [1, 2])
def test_a_sink_is_never_given_up_and_the_run_counts_as_ready(site: Site, code: int) -> None:
    deaths = MOST_RESTARTS + 5
    run = Run(site.scripted("sink", *[code] * deaths, stage=Stage.SINKS), site.patient("feed", Stage.FEED))
    run._wait_for_ends = False
    wait = run._sleep
    ready: list[bool] = []

    def sleep(seconds: float) -> None:
        run.clock.now += seconds * ("sink" not in run.supervisor.process_ids)
        ready.append(run.supervisor.ready)
        wait(seconds)

    run.supervisor._sleep = sleep
    outcome = run.run(lambda: site.ready("sink", "feed"))

    assert outcome == Outcome(failed=(), restarts={"sink": deaths})
    assert site.log == ["feed"], "the other process was left alone"
    assert ready[-1]


def test_a_recordings_reader_that_goes_on_dying_has_failed_and_the_run_goes_on(site: Site) -> None:
    hopeless = site.scripted("hopeless", *[-signal.SIGKILL] * (MOST_RESTARTS + 5), stage=Stage.READERS, ends=True)
    good = site.scripted("good", 0, stage=Stage.READERS, ends=True)

    assert Run(hopeless, good).run().failed == ("hopeless (exit code -9)",)


def test_a_process_that_lived_long_has_its_restarts_back(site: Site) -> None:
    run = Run(site.scripted("worker", *[1] * (MOST_RESTARTS + 5)))
    wait = run._sleep

    def sleep(seconds: float) -> None:
        living = bool(run.supervisor.process_ids)
        wait(seconds)
        run.clock.now += 61.0 * living  # each process lives for a minute

    run.supervisor._sleep = sleep
    outcome = run.run(lambda: site.ready("worker") or not (site.folder / "worker").read_text())

    assert outcome.restarts["worker"] >= MOST_RESTARTS + 4


def test_a_process_that_cannot_work_with_the_configuration_ends_the_run_at_once(site: Site) -> None:
    run = Run(site.scripted("worker", 2), site.patient("feed", Stage.FEED), wait_for_ends=False)

    with pytest.raises(ProcessMisconfigured, match="worker cannot work with this configuration"):
        run.run()

    assert run.supervisor.process_ids == {}


def test_a_program_that_is_not_there_is_given_up_and_leaves_nothing_behind(site: Site) -> None:
    missing = ChildSpec("missing", (str(site.folder / "no-such-program"),), Stage.WORKER, ends=False)
    run = Run(site.patient("feed", Stage.FEED), missing, wait_for_ends=False)
    run.between = lambda: setattr(run.clock, "now", run.clock.now + 4.0)

    with pytest.raises(ProcessFailed, match=r"missing died 11 times in a row \(could not be started: No such file"):
        run.run()

    assert run.supervisor.process_ids == {}


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("what", ["pipe", "process"])
def test_what_the_system_cannot_start_now_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    real = {"pipe": os.pipe, "process": subprocess.Popen}
    refusals = [OSError(number, os.strerror(number))] * 2

    def scarce(*words: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return real[what](*words, **options)  # type: ignore[operator]

    monkeypatch.setattr(*{"pipe": (os, "pipe"), "process": (subprocess, "Popen")}[what], scarce)
    run = Run(pulsing(site, "worker"), wait_for_ends=False)
    run.between = lambda: setattr(run.clock, "now", run.clock.now + 0.2)
    before, exits = set(os.listdir("/proc/self/fd")), set[str | None]()

    def stopping() -> bool:
        exits.add(report(run, "worker")["last_exit"])
        return report(run, "worker")["state"] == "running"

    outcome = run.run(stopping)

    assert outcome.restarts == {"worker": 2}
    assert exits == {None, f"could not be started: {os.strerror(number)}"}
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_has_worked_with_its_configuration_and_then_ends_with_2_is_started_again(site: Site) -> None:
    mark = f"pathlib.Path({str(site.folder)!r}, 'lived')"
    later = _PULSING.replace("time.sleep(0.005)", "time.sleep(0.005)\n    if first: sys.exit(2)")
    later = later.replace("while True:", f"first = not {mark}.exists()\n{mark}.touch()\nwhile True:")
    (site.folder / "worker.alive").touch()
    worker = ChildSpec("worker", python(later, "worker", str(site.folder)), Stage.WORKER, ends=False, silence=600.0)
    run = Run(worker, wait_for_ends=False)
    pass_time(run, 0.05)

    outcome = run.run(lambda: report(run, "worker")["restarts"] == 1 and report(run, "worker")["state"] == "running")
    assert outcome == Outcome(failed=(), restarts={"worker": 1})


def test_the_time_that_a_process_takes_to_load_does_not_make_it_stable(site: Site) -> None:
    worker = ChildSpec("worker", site.scripted("worker", *[1] * 20).argv, Stage.WORKER, ends=False, silence=600.0)
    run = Run(worker)
    wait = run._sleep

    def sleep(seconds: float) -> None:
        loading = bool(run.supervisor.process_ids)
        wait(seconds)
        run.clock.now += 61.0 * loading  # dies after a minute without a sign of life

    run.supervisor._sleep = sleep
    with pytest.raises(ProcessFailed, match=f"died {MOST_RESTARTS + 1} times in a row"):
        run.run(lambda: report(run, "worker")["restarts"] > MOST_RESTARTS)


def test_readers_stop_first_then_worker_then_sinks_the_feed_last(site: Site) -> None:
    specs = [site.patient("feed", Stage.FEED), site.patient("sink", Stage.SINKS)]
    specs += [site.patient("worker", Stage.WORKER), site.patient("reader", Stage.READERS)]
    before: list[tuple[Stage, list[str], float]] = []
    run = Run(*specs, wait_for_ends=False, before_stage=lambda stage, s: before.append((stage, site.log, round(s, 3))))
    run.run(lambda: site.ready("feed", "sink", "worker", "reader"))

    assert site.log == ["reader", "worker", "sink", "feed"]
    assert before == [  # no time passes, so that each stage still has all of it
        (Stage.READERS, [], 4.0),
        (Stage.WORKER, ["reader"], 6.5),
        (Stage.SINKS, ["reader", "worker"], 8.0),
        (Stage.FEED, ["reader", "worker", "sink"], 8.8),
    ]


def test_processes_of_a_stage_stop_together(site: Site) -> None:
    run = Run(*(site.patient(name, Stage.READERS) for name in "abc"), wait_for_ends=False)
    run.run(lambda: site.ready(*"abc"))

    assert sorted(site.log) == ["a", "b", "c"]


def test_what_does_not_end_is_killed_and_holds_up_the_rest_no_longer(site: Site) -> None:
    run = Run(
        site.patient("stubborn", Stage.WORKER, stubborn=True), site.patient("feed", Stage.FEED), wait_for_ends=False
    )
    processes: dict[str, int] = {}
    asked_at: list[float] = []

    def stopping() -> bool:
        processes.update(run.supervisor.process_ids)
        asked_at[:] = [run.clock.now]
        return site.ready("stubborn", "feed")

    run.run(stopping)

    assert site.log == ["feed"]
    assert not alive(processes["stubborn"])
    assert run.clock.now - asked_at[0] == pytest.approx(DRAIN_BY[Stage.WORKER], abs=0.2)


def test_the_drain_is_over_in_nine_seconds_even_if_nobody_ends(site: Site) -> None:
    names = {stage: f"stubborn-{stage.name}" for stage in Stage}
    run = Run(*(site.patient(name, stage, stubborn=True) for stage, name in names.items()), wait_for_ends=False)
    left: dict[Stage, float] = {}

    def before_stage(stage: Stage, seconds: float) -> None:
        left[stage] = seconds
        run.clock.now += max(0.0, seconds - 1.0) * (stage is Stage.SINKS)  # as a run waits for sinks

    run.supervisor._before_stage = before_stage
    asked_at: list[float] = []

    def stopping() -> bool:
        asked_at[:] = [run.clock.now]
        return site.ready(*names.values())

    assert run.run(stopping) == Outcome()
    assert run.clock.now - asked_at[0] == pytest.approx(8.8, abs=0.2)
    assert left == pytest.approx({Stage.READERS: 4.0, Stage.WORKER: 2.5, Stage.SINKS: 1.5, Stage.FEED: 0.8}, abs=0.1)
    assert max(DRAIN_BY.values()) < 9.0


def test_a_recording_that_is_stopped_has_not_failed(site: Site) -> None:
    spec = ChildSpec("stubborn", site.patient("stubborn", stubborn=True).argv, Stage.READERS, ends=True)
    outcome = Run(spec, wait_for_ends=False).run(lambda: site.ready("stubborn"))

    assert outcome == Outcome()


def test_ctrl_c_on_the_terminal_reaches_the_supervisor_alone(site: Site) -> None:
    run = Run(site.patient("worker"), wait_for_ends=False)
    groups: list[int] = []

    def stopping() -> bool:
        groups.extend(os.getpgid(process) for process in run.supervisor.process_ids.values())
        return site.ready("worker")

    run.run(stopping)

    assert groups
    assert os.getpgid(0) not in groups


def test_an_error_in_between_drains_too(site: Site) -> None:
    run = Run(site.patient("worker"), wait_for_ends=False)

    def stopping() -> bool:
        if site.ready("worker"):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run.run(stopping)

    assert site.log == ["worker"]
    assert run.supervisor.process_ids == {}


# -- hanging ----------------------------------------------------------------------------------------------------------

# Gives signs of life as long as FOLDER/NAME.alive is there; says by FOLDER/NAME.pid which process it is.
_PULSING = """
import os, pathlib, signal, sys, time
name, folder, _, pulse = sys.argv[1:5]
def stop(*_):
    with open(folder + "/log", "a") as log:
        log.write(name + "\\n")
    sys.exit(0)
def hup(*_):
    with open(folder + "/log", "a") as log:
        log.write(name + "-told\\n")
    os.write(int(pulse), b"r")
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, hup)
pathlib.Path(folder, name + ".pid").write_text(str(os.getpid()))
while True:
    if pathlib.Path(folder, name + ".alive").exists():
        os.write(int(pulse), b".")
    time.sleep(0.005)
"""


def pulsing(
    site: Site, name: str, stage: Stage = Stage.WORKER, *, alive: bool = True, silence: float = 15.0
) -> ChildSpec:
    if alive:
        (site.folder / f"{name}.alive").touch()
    return ChildSpec(name, python(_PULSING, name, str(site.folder)), stage, ends=False, silence=silence)


def report(run: Run, name: str) -> dict[str, Any]:
    return run.supervisor.report()[name]


def pass_time(run: Run, seconds: float) -> None:
    """As much as that, in steps that are no gap of the supervisor's own."""
    run.between = lambda: setattr(run.clock, "now", run.clock.now + min(4.0, seconds))


def test_a_process_gives_its_first_sign_of_life_before_it_counts_as_running(site: Site) -> None:
    run = Run(pulsing(site, "worker", alive=False), wait_for_ends=False)
    seen: list[tuple[str, bool]] = []

    def stopping() -> bool:
        if "worker" in run.supervisor.process_ids:
            seen.append((report(run, "worker")["state"], run.supervisor.ready))
        if (site.folder / "worker.pid").exists():
            (site.folder / "worker.alive").touch()
        return ("running", True) in seen

    run.run(stopping)

    assert seen[0] == ("starting", False)
    assert list(dict.fromkeys(seen)) == [("starting", False), ("running", True)]


def test_a_process_that_hangs_is_killed_counted_and_started_again(site: Site) -> None:
    run = Run(pulsing(site, "worker", silence=30.0), wait_for_ends=False)
    pids: list[int] = []

    def stopping() -> bool:
        pids.extend(run.supervisor.process_ids.values())
        now = report(run, "worker")
        if now["state"] == "running" and not now["hung"]:
            (site.folder / "worker.alive").unlink(missing_ok=True)
            pass_time(run, 1.0)
        if now["hung"]:
            (site.folder / "worker.alive").touch()
            pass_time(run, 0.05)
        return bool(now["hung"]) and now["state"] == "running"

    outcome = run.run(stopping)

    assert outcome.restarts == {"worker": 1}
    assert len(set(pids)) == 2
    assert not alive(pids[0])
    assert report(run, "worker")["hung"] == 1


def test_a_process_that_never_begins_its_work_is_killed_too(site: Site) -> None:
    run = Run(pulsing(site, "worker", alive=False), wait_for_ends=False)
    began: list[float] = []

    def stopping() -> bool:
        pass_time(run, 4.0)
        began.extend([run.clock.now] if run.supervisor.process_ids and not began else [])
        return bool(report(run, "worker")["hung"])

    run.run(stopping)

    assert run.clock.now - began[0] == pytest.approx(START_LIMIT, abs=15.0)


def test_a_supervisor_that_stood_still_itself_blames_nobody(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(pulsing(site, "worker"), wait_for_ends=False)
    jumps: list[int] = []

    def stopping() -> bool:
        now = report(run, "worker")
        if now["state"] == "running" and not jumps:
            (site.folder / "worker.alive").unlink()
            jumps.append(run.ticks)
            run.clock.now += 3600.0  # a laptop that was closed
        return bool(jumps) and run.ticks > jumps[0] + 10

    outcome = run.run(stopping)

    assert outcome == Outcome()
    assert "the supervisor itself stood still for 3600 s" in caplog.text


def test_what_a_process_does_is_reported(site: Site) -> None:
    file = site.scripted("file", 3, stage=Stage.READERS, ends=True)
    run = Run(site.scripted("worker", 1), file, site.patient("camera", Stage.READERS), wait_for_ends=False)
    pass_time(run, 0.05)
    seen: dict[str, dict[str, Any]] = {}

    def stopping() -> bool:
        seen.update(run.supervisor.report())
        return site.ready("worker", "camera") and seen["file"]["state"] == "ended"

    run.run(stopping)

    assert seen["worker"] | {"pid": 0, "started": ""} == {
        "state": "running", "pid": 0, "restarts": 1, "hung": 0, "last_exit": "exit code 1", "started": "",
    }  # fmt: skip
    assert seen["worker"]["pid"] > 0
    assert seen["worker"]["started"].startswith("20")
    assert seen["file"]["state"] == "ended"
    assert seen["file"]["pid"] is None
    assert seen["file"]["last_exit"] == "exit code 3"


# -- changing ---------------------------------------------------------------------------------------------------------


class Changed:
    """A run that is changed once all of its processes are at work, and stopped once the change is over."""

    def __init__(
        self, site: Site, *specs: ChildSpec, change: Change, stop_when: Callable[[], bool] = lambda: True
    ) -> None:
        self.run = Run(*specs, wait_for_ends=False)
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        self._site, self._specs, self._change, self._stop_when = site, specs, change, stop_when
        self.outcome = self.run.run(self._stopping)

    def _stopping(self) -> bool:
        supervisor = self.run.supervisor
        if not self.before and all(supervisor.report()[spec.name]["state"] == "running" for spec in self._specs):
            self.before = supervisor.process_ids
            supervisor.change(self._change)
            return False
        wanted = {spec.name for spec in self._change.children}
        self.after = supervisor.process_ids
        running = set(self.after) == wanted and all(r["state"] == "running" for r in supervisor.report().values())
        return bool(self.before) and supervisor.settled and running and self._stop_when()


def test_a_process_is_added_and_another_removed_while_the_rest_goes_on(site: Site) -> None:
    stays, goes, comes = (pulsing(site, name, Stage.READERS) for name in ("stays", "goes", "comes"))
    changed = Changed(site, stays, goes, change=Change((stays, comes)))

    assert changed.after["stays"] == changed.before["stays"]
    assert set(changed.after) == {"stays", "comes"}
    assert not alive(changed.before["goes"])
    assert site.log[0] == "goes"
    assert changed.outcome.restarts == {}


def test_a_process_that_changes_starts_anew_with_the_new_words(site: Site) -> None:
    stays, old, new = (pulsing(site, name, Stage.READERS) for name in ("stays", "old", "new"))
    renamed = ChildSpec("old", new.argv, new.stage, ends=False, silence=15.0)
    changed = Changed(site, stays, old, change=Change((stays, renamed), restart=frozenset({"old"})))

    assert changed.after["stays"] == changed.before["stays"]
    assert changed.after["old"] == int((site.folder / "new.pid").read_text())
    assert not alive(changed.before["old"])


def test_readers_end_before_the_worker_where_both_start_anew(site: Site) -> None:
    specs = (pulsing(site, "worker"), pulsing(site, "reader", Stage.READERS))
    changed = Changed(site, *specs, change=Change(specs, restart=frozenset({"worker", "reader"})))

    assert site.log[:2] == ["reader", "worker"]
    assert set(changed.before.values()).isdisjoint(changed.after.values())


def test_the_worker_has_the_new_cameras_before_their_readers_start(site: Site) -> None:
    worker, reader = pulsing(site, "worker"), pulsing(site, "reader", Stage.READERS)
    states: list[tuple[str, bool]] = []
    run = Run(worker, wait_for_ends=False)
    asked = False

    def stopping() -> bool:
        nonlocal asked
        reports = run.supervisor.report()
        if not asked and reports["worker"]["state"] == "running":
            asked = True
            run.supervisor.change(Change((worker, reader), tell=frozenset({"worker"})))
        if "reader" in reports and reports["reader"]["pid"]:
            states.append((reports["reader"]["state"], "worker-told" in site.log))
        return bool(states) and states[-1][0] == "running"

    run.run(stopping)

    assert states
    assert all(told for _, told in states)


def test_readers_do_not_wait_for_ever_for_a_worker_that_confirms_nothing(site: Site) -> None:
    deaf = _PULSING.replace('os.write(int(pulse), b"r")', "pass")
    (site.folder / "worker.alive").touch()
    worker = ChildSpec("worker", python(deaf, "worker", str(site.folder)), Stage.WORKER, ends=False, silence=600.0)
    reader = pulsing(site, "reader", Stage.READERS)
    run = Run(worker, wait_for_ends=False)
    changed_at: list[float] = []

    def stopping() -> bool:
        if not changed_at and report(run, "worker")["state"] == "running":
            changed_at.append(run.clock.now)
            run.supervisor.change(Change((worker, reader), tell=frozenset({"worker"})))
            pass_time(run, 1.0)
        return "reader" in run.supervisor.process_ids

    run.run(stopping)

    assert run.clock.now - changed_at[0] >= TELL_WAIT


def test_what_does_not_leave_is_killed(site: Site) -> None:
    stubborn, worker = site.patient("stubborn", Stage.READERS, stubborn=True), site.patient("worker")
    run = Run(stubborn, worker, wait_for_ends=False)
    changed_at: list[float] = []

    def stopping() -> bool:
        if not changed_at and site.ready("stubborn", "worker"):
            changed_at.append(run.clock.now)
            run.supervisor.change(Change((worker,)))
        return bool(changed_at) and run.supervisor.settled

    assert run.run(stopping) == Outcome()
    assert run.clock.now - changed_at[0] == pytest.approx(LEAVE_WITHIN, abs=0.5)
    assert site.log == ["worker"]


def test_what_dies_of_a_change_is_named_until_it_is_changed_back(site: Site) -> None:
    worker, wrong = pulsing(site, "worker"), site.scripted("wrong", *[2] * 9)
    broken = ChildSpec("worker", wrong.argv, Stage.WORKER, ends=False, silence=15.0)
    run = Run(worker, wait_for_ends=False)
    failures: list[str] = []

    def stopping() -> bool:
        supervisor = run.supervisor
        state = supervisor.report()["worker"]["state"]
        if not failures and state == "running":
            failures.append("")
            supervisor.change(Change((broken,), restart=frozenset({"worker"})))
        elif failures == [""] and supervisor.failed_trial:
            failures.append(supervisor.failed_trial)
            supervisor.change(Change((worker,), restart=frozenset({"worker"})))
        return len(failures) == 2 and supervisor.settled and state == "running"

    assert run.run(stopping) == Outcome()
    assert failures == ["", "worker (exit code 2)"]
    assert run.supervisor.failed_trial == ""


def test_a_drain_in_the_middle_of_a_change_does_not_ask_twice(site: Site) -> None:
    slow = _PATIENT.replace("sys.exit(0)", "import time; time.sleep(0.3); open(folder + '/clean', 'w'); sys.exit(0)")
    goes = ChildSpec("goes", python(slow, "goes", str(site.folder)), Stage.READERS, ends=False)
    worker = site.patient("worker")
    run = Run(goes, worker, wait_for_ends=False)
    changed = False

    def stopping() -> bool:
        nonlocal changed
        if not changed and site.ready("goes", "worker"):
            changed = True
            run.supervisor.change(Change((worker,)))
            return False
        return changed and run.supervisor.report()["goes"]["state"] == "stopping"

    run.run(stopping)

    assert site.log == ["goes", "worker"]
    assert (site.folder / "clean").exists()


def test_the_phases_are_told_apart(site: Site) -> None:
    run = Run(site.patient("worker"), wait_for_ends=False)
    phases: list[Phase] = []
    run.between = lambda: phases.append(run.supervisor.phase)
    run.run(lambda: site.ready("worker"))

    assert list(dict.fromkeys(phases)) == [Phase.RUNNING, Phase.DRAINING, Phase.STOPPED]


def test_all_processes_can_be_killed_at_once(site: Site) -> None:
    run = Run(site.patient("stubborn", stubborn=True), site.patient("feed", Stage.FEED), wait_for_ends=False)
    killed: list[int] = []

    def stopping() -> bool:
        if site.ready("stubborn", "feed"):
            killed.extend(run.supervisor.process_ids.values())
            run.supervisor.kill_all()
        return bool(killed)

    run.run(stopping)

    assert len(killed) == 2
    assert not any(map(alive, killed))
    assert site.log == []


def test_a_supervisor_that_stays_waits_for_others_when_all_finite_processes_have_ended(site: Site) -> None:
    run = Run(site.scripted("film", 0, stage=Stage.READERS, ends=True), stays=True)

    run.run(lambda: run.ticks > 3 and run.supervisor.report()["film"]["state"] == "ended")

    assert run.ticks > 3
    assert run.supervisor.report()["film"]["restarts"] == 0


def test_a_process_has_the_environment_of_its_specification_which_is_not_shown(site: Site) -> None:
    program = "import os, pathlib, sys; pathlib.Path(sys.argv[1], 'word').write_text(os.environ['WORD'])"
    argv = python(program, str(site.folder))
    spec = ChildSpec("told", argv, Stage.READERS, ends=True, environment={"WORD": "hunter2"})

    Run(spec).run()

    assert (site.folder / "word").read_text() == "hunter2"
    assert "hunter2" not in repr(spec)
