"""The supervisor over real processes: what dies is restarted and counted, and all drain in order."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_fakes import PATIENCE_S, Clock

from stream.errors import ProcessFailed
from stream.supervisor import (
    KILL_AFTER,
    MOST_RESTARTS,
    RESTART_FIRST,
    RESTART_MOST,
    ChildSpec,
    Outcome,
    Stage,
    Supervisor,
)

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
        self.clock, self.ticks = Clock(), 0
        self._wait_for_ends = wait_for_ends
        self._deadline = time.monotonic() + PATIENCE_S
        self.supervisor = Supervisor(
            specs, on_tick=self._tick, monotonic=self.clock, sleep=self._sleep, **options
        )

    def _tick(self) -> None:
        self.ticks += 1

    def _sleep(self, seconds: float) -> None:
        assert time.monotonic() < self._deadline, "what the test waits for did not happen"
        if not self._wait_for_ends:
            self.clock.now += seconds * ("stubborn" in self.supervisor.process_ids)
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


def test_what_dies_is_restarted_with_growing_pauses_and_counted(site: Site) -> None:
    starts: list[float] = []
    run = Run(site.scripted("worker", 1, -signal.SIGKILL, 0, 1))  # an end without an error is no reason to stay away
    start = run.supervisor._start

    def noted(child: Any) -> None:
        starts.append(run.clock.now)
        start(child)

    run.supervisor._start = noted  # type: ignore[method-assign]
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
    assert pauses == pytest.approx([0.5, 1.0, 2.0, 4.0], abs=0.21)


def test_a_process_that_goes_on_dying_is_given_up_and_the_others_are_drained(site: Site) -> None:
    hopeless = site.scripted("hopeless", *[1] * (MOST_RESTARTS + 5))
    run = Run(hopeless)

    with pytest.raises(ProcessFailed, match=rf"hopeless died {MOST_RESTARTS + 1} times in a row \(exit code 1\)"):
        run.run()

    assert len((site.folder / "hopeless").read_text().split()) == 4, "started eleven times"
    pauses = [min(RESTART_FIRST * 2**n, RESTART_MOST) for n in range(MOST_RESTARTS)]
    assert run.clock.now - 100 >= sum(pauses)


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

    with pytest.raises(ProcessFailed, match="worker cannot work with this configuration"):
        run.run()

    assert run.supervisor.process_ids == {}


def test_a_program_that_is_not_there_leaves_nothing_behind(site: Site) -> None:
    missing = ChildSpec("missing", (str(site.folder / "no-such-program"),), Stage.WORKER, ends=False)
    run = Run(site.patient("feed", Stage.FEED), missing, wait_for_ends=False)

    with pytest.raises(FileNotFoundError):
        run.run()

    assert run.supervisor.process_ids == {}


def test_readers_stop_first_then_worker_then_sinks_the_feed_last(site: Site) -> None:
    specs = [site.patient("feed", Stage.FEED), site.patient("sink", Stage.SINKS)]
    specs += [site.patient("worker", Stage.WORKER), site.patient("reader", Stage.READERS)]
    before: list[tuple[Stage, list[str]]] = []
    run = Run(*specs, wait_for_ends=False, before_stage=lambda stage: before.append((stage, site.log)))
    run.run(lambda: site.ready("feed", "sink", "worker", "reader"))

    assert site.log == ["reader", "worker", "sink", "feed"]
    assert before == [
        (Stage.READERS, []),
        (Stage.WORKER, ["reader"]),
        (Stage.SINKS, ["reader", "worker"]),
        (Stage.FEED, ["reader", "worker", "sink"]),
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
    assert run.clock.now - asked_at[0] == pytest.approx(KILL_AFTER, abs=0.2)


def test_a_finite_process_that_had_to_be_killed_counts_as_failed(site: Site) -> None:
    spec = ChildSpec("stubborn", site.patient("stubborn", stubborn=True).argv, Stage.READERS, ends=True)
    outcome = Run(spec, wait_for_ends=False).run(lambda: site.ready("stubborn"))

    assert outcome.failed == ("stubborn (exit code -9)",)


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
