"""Processes that a thread of a station keeps going: changed while they run, tried again where they were given up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_fakes import wait_until

from stream.child import ChildSpec, Stage
from stream.cluster.processes import Processes, in_words

_WAITS = "import os, signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); signal.pause()"


def spec(
    name: str, program: str = _WAITS, *arguments: str, stage: Stage = Stage.WORKER, ends: bool = False
) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-I", "-S", "-c", program, *arguments), stage, ends=ends)


Make = Callable[..., Processes]


@pytest.fixture
def make() -> Iterator[Make]:
    made = list[Processes]()

    def processes(*children: ChildSpec, **options: Any) -> Processes:
        made.append(Processes("test", children, **options))
        return made[-1]

    yield processes
    for each in made:
        each.close()


def states(processes: Processes) -> dict[str, str]:
    return {name: report["state"] for name, report in processes.report().items()}


def pid(processes: Processes, name: str) -> int:
    wait_until(lambda: processes.report().get(name, {}).get("pid"))
    return int(processes.report()[name]["pid"])


def test_they_run_until_it_is_closed(make: Make) -> None:
    processes = make(spec("worker"), spec("feed", stage=Stage.FEED))
    running = [pid(processes, name) for name in ("worker", "feed")]

    processes.close()
    processes.close()

    assert not any(Path(f"/proc/{process}").exists() for process in running)


def test_a_change_starts_and_ends_processes_and_leaves_the_others_alone(make: Make) -> None:
    processes = make(spec("a"), spec("b"))
    stays = pid(processes, "a")

    processes.change([spec("a"), spec("c")])
    wait_until(lambda: states(processes) == {"a": "running", "c": "running"})

    assert pid(processes, "a") == stays


def test_changes_that_come_at_once_end_with_the_last_and_forget_no_restart(make: Make) -> None:
    processes = make(spec("a"), spec("b"))
    before = {name: pid(processes, name) for name in ("a", "b")}

    processes.change([spec("a"), spec("b")], restart=frozenset({"a"}))
    processes.change([spec("a")])
    processes.change([spec("a"), spec("b"), spec("c")])
    wait_until(lambda: states(processes) == dict.fromkeys("abc", "running"))

    assert pid(processes, "a") != before["a"]


def test_a_process_that_leaves_and_comes_back_at_once_runs_in_the_end(make: Make) -> None:
    processes = make(spec("a"), spec("b"))
    pid(processes, "b")

    processes.change([spec("a")])
    wait_until(lambda: set(states(processes)) == {"a"} or states(processes).get("b") == "stopping")
    processes.change([spec("a"), spec("b")])

    wait_until(lambda: states(processes) == {"a": "running", "b": "running"})


def test_recordings_that_have_ended_are_not_begun_again(make: Make, tmp_path: Path) -> None:
    note = "import sys; open(sys.argv[1], 'a').write('read ')"
    film = spec("reader film", note, str(tmp_path / "log"), stage=Stage.READERS, ends=True)
    processes = make(film)
    wait_until(lambda: states(processes) == {"reader film": "ended"})

    processes.change([film, spec("reader gate", stage=Stage.READERS)])
    wait_until(lambda: states(processes) == {"reader film": "ended", "reader gate": "running"})

    assert (tmp_path / "log").read_text() == "read "


def test_what_is_given_up_is_said_and_tried_again(make: Make, tmp_path: Path) -> None:
    wrong = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).exists() or sys.exit(2); time.sleep(60)"
    processes = make(spec("worker", wrong, str(tmp_path / "weights")), again_after=0.2)
    wait_until(lambda: "worker cannot work with this configuration" in processes.problem)
    assert "tried again" in processes.problem

    (tmp_path / "weights").touch()

    wait_until(lambda: states(processes) == {"worker": "running"})
    assert processes.problem == ""


def test_a_change_is_not_kept_waiting_by_what_was_given_up(make: Make) -> None:
    processes = make(spec("worker", "raise SystemExit(2)"), again_after=3600.0)
    wait_until(lambda: processes.problem)

    processes.change([spec("worker")])

    wait_until(lambda: states(processes) == {"worker": "running"})


def test_an_error_that_nobody_expected_does_not_end_the_thread(make: Make) -> None:
    broken = [RuntimeError("a bug")]

    def supervisor(*arguments: Any, **options: Any) -> Any:
        if broken:
            raise broken.pop()
        from stream.supervisor import Supervisor

        return Supervisor(*arguments, **options)

    processes = make(spec("worker"), again_after=0.01, supervisor=supervisor)

    wait_until(lambda: states(processes) == {"worker": "running"})


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"state": "running", "last_exit": "signal 9"}, ""),
        (None, "the worker is starting"),
        ({"state": "starting", "last_exit": None}, "the worker is starting"),
        (
            {"state": "waiting", "last_exit": "exit code 1"},
            "the worker is waiting (it died before: exit code 1; its message is in the log of this node)",
        ),
    ],
)
def test_why_a_process_is_not_at_work(report: dict[str, Any] | None, words: str) -> None:
    assert in_words("the worker", report) == words
