"""Commands that the console starts: one at a time for a scene, cancelled, their errors shown without secrets."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream.console.jobs import MOST_KEPT, NICE, Busy, Job, Jobs, Task
from stream.console.launcher import TOLD_WITHIN, Launcher

PATIENCE_S = 10.0


class Told(list[Job]):
    def wait(self, state: str, job_id: str | None = None) -> Job:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := [job for job in self if job.state == state and job_id in (None, job.id)]):
            assert time.monotonic() < deadline, self
            time.sleep(0.01)
        return found[0]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def jobs(told: Told) -> Iterator[Jobs]:
    made = Jobs(on_change=told.append, hidden=["rtsp://viewer:hunter22@192.0.2.1/gate"])
    yield made
    made.close()


def a_task(program: str, *, scene: str = "gate") -> Task:
    return Task("enroll", scene, (sys.executable, "-c", program), "anna", camera=scene)


RESULT = """print('{"result": {}}')"""
SLEEP = "import time; print('ready', flush=True); time.sleep(60)"


def test_a_job_tells_how_far_it_is_and_what_came_of_it(jobs: Jobs, told: Told) -> None:
    lines = [
        {"progress": {"stage": "gallery", "done": 5, "total": 10, "text": "x"}},
        {"result": {"version": "v000001"}},
    ]
    job = jobs.start(a_task(f"print('words for people')\nfor line in {lines!r}: import json; print(json.dumps(line))"))
    done = told.wait("done")
    assert done.progress == lines[0]["progress"]
    assert done.result == lines[1]["result"]
    assert [one.state for one in told] == ["running"] * 3 + ["done"]
    assert jobs.get(job.id) == done
    shown = done.to_json()
    assert (shown["kind"], shown["camera"], shown["user"], shown["error"]) == ("enroll", "gate", "anna", None)
    assert shown["ended_at"] is not None
    json.dumps(shown)


def test_what_fails_says_why_without_passwords(jobs: Jobs, told: Told) -> None:
    program = """
import sys
print("12:00:00 I enroll: some log line", file=sys.stderr)
print("spade-stream: rtsp://viewer:hunter22@192.0.2.1/gate does not answer", file=sys.stderr)
sys.exit(1)
"""
    jobs.start(a_task(program))
    assert told.wait("failed").error == "rtsp://***@192.0.2.1/gate does not answer"


def test_what_dies_without_a_word_says_how(jobs: Jobs, told: Told) -> None:
    jobs.start(a_task("import os; os.kill(os.getpid(), 9)"))
    assert told.wait("failed").error == "the command failed: signal 9"


def test_a_command_that_is_not_there_is_a_failed_job(jobs: Jobs, told: Told) -> None:
    jobs.start(Task("use", "gate", ("/nowhere/spade-stream",), "anna"))
    assert "No such file" in str(told.wait("failed").error)


def test_much_complaining_does_not_stop_a_job_and_only_its_end_is_kept(jobs: Jobs, told: Told) -> None:
    program = "import sys\nfor n in range(20000): print('line', n, 'x' * 80, file=sys.stderr)\nsys.exit(3)"
    jobs.start(a_task(program))
    error = str(told.wait("failed").error)
    assert "line 19999" in error
    assert len(error) <= 2000


def test_two_jobs_of_one_scene_are_refused_and_so_are_too_many(jobs: Jobs) -> None:
    jobs.start(a_task(SLEEP, scene="gate"))
    with pytest.raises(Busy, match="scene gate"):
        jobs.start(a_task(SLEEP, scene="gate"))
    jobs.start(a_task(SLEEP, scene="yard"))
    with pytest.raises(Busy, match="2 jobs are running"):
        jobs.start(a_task(SLEEP, scene="steps"))
    assert [job.task.scene for job in jobs.all()] == ["yard", "gate"]


def test_a_cancelled_job_is_asked_to_end(jobs: Jobs, told: Told) -> None:
    job = jobs.start(a_task(SLEEP))
    jobs.cancel(job.id)
    ended = told.wait("cancelled")
    assert ended.error is None
    assert jobs.cancel(job.id) == ended, "a second time changes nothing"
    assert jobs.cancel("nothing") is None


def test_jobs_give_way_to_everything_else(jobs: Jobs, told: Told) -> None:
    program = "import os, json, time; time.sleep(0.3); print(json.dumps({'result': {'nice': os.nice(0)}}))"
    jobs.start(a_task(program))
    assert dict(told.wait("done").result or {})["nice"] >= NICE


def test_jobs_end_with_the_console(told: Told) -> None:
    jobs = Jobs(on_change=told.append)
    jobs.start(a_task(SLEEP))
    jobs.close()
    assert told.wait("cancelled")
    with pytest.raises(Busy, match="ending"):
        jobs.start(a_task(SLEEP, scene="yard"))


def test_what_follows_a_job_comes_before_it_is_called_done(jobs: Jobs, told: Told) -> None:
    seen: list[str] = []

    def then(job: Job) -> Job:
        seen.append(told[-1].state)
        return replace(job, result={"more": 1})

    jobs.start(a_task(RESULT), then=then)
    assert told.wait("done").result == {"more": 1}
    assert seen == ["running"]


def test_a_bug_in_what_follows_is_a_failed_job(jobs: Jobs, told: Told) -> None:
    def then(job: Job) -> Job:
        raise ValueError("a bug")

    jobs.start(a_task(RESULT), then=then)
    assert told.wait("failed").error == "ValueError: a bug"


def test_a_command_that_says_nothing_of_its_result_has_failed(jobs: Jobs, told: Told) -> None:
    jobs.start(a_task("print('all is well')"))
    assert told.wait("failed").error == "the command ended without saying what came of it"


def test_a_result_longer_than_a_line_may_be_is_no_result(jobs: Jobs, told: Told) -> None:
    jobs.start(a_task("import json; print(json.dumps({'result': {'x': 'x' * 2_000_000}}))"))
    assert told.wait("failed").result is None


def test_lines_nested_without_end_are_passed_over(jobs: Jobs, told: Told) -> None:
    jobs.start(a_task("print('[' * 200_000)\n" + RESULT))
    assert told.wait("done").result == {}


def test_a_bug_while_a_job_is_heard_leaves_no_process(told: Told) -> None:
    pids: list[int] = []

    def on_change(job: Job) -> None:
        told.append(job)
        if job.progress:
            pids.append(int(job.progress["pid"]))
            if job.state == "running":
                raise ValueError("a bug")

    jobs = Jobs(on_change=on_change)
    jobs.start(
        a_task(
            "import json, os, time; print(json.dumps({'progress': {'pid': os.getpid()}}), flush=True); time.sleep(60)"
        )
    )
    assert told.wait("failed").error == "ValueError: a bug"
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_every_end_is_told_before_the_job_shows_it(jobs: Jobs, told: Told) -> None:
    ends: list[tuple[str, str]] = []

    def ended(job: Job) -> None:
        ends.append((job.state, told[-1].state))
        assert job.ended_at is not None

    jobs.start(a_task(RESULT), ended=ended)
    told.wait("done")
    jobs.start(a_task("raise SystemExit(1)"), ended=ended)
    told.wait("failed")
    assert ends == [("done", "running"), ("failed", "running")]


def test_the_id_of_a_job_of_an_earlier_console_is_known_as_one(jobs: Jobs) -> None:
    job = jobs.start(a_task(RESULT))
    assert not jobs.is_of_another_run(job.id)
    assert jobs.is_of_another_run(Jobs(on_change=lambda job: None).start(a_task(RESULT)).id)
    assert not jobs.is_of_another_run("abc")


def test_old_jobs_are_forgotten(jobs: Jobs, told: Told) -> None:
    jobs._jobs.update({f"old{n}": Job(f"old{n}", a_task(RESULT), 0.0, 1.0, "done") for n in range(MOST_KEPT + 5)})
    jobs.start(a_task(RESULT))
    told.wait("done")
    assert len(jobs.all()) == MOST_KEPT
    assert jobs.get("old0") is None


# -- telling the worker ----------------------------------------------------------------------------------------------


def a_launcher(folder: Path, sent: list[tuple[int, int]]) -> Launcher:
    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))

    program = ("spade-stream",)
    return Launcher(folder / "c.yaml", folder, Path("site.yaml"), folder / "processes.json", program, kill)


def write_processes(folder: Path, worker: dict[str, Any], *, supervisor: int) -> None:
    report = {
        "written": time.time(),
        "supervisor": {"state": "RUNNING", "pid": supervisor},
        "processes": {"worker": worker},
        "config": {},
    }
    (folder / "processes.json").write_text(json.dumps(report))


def test_the_worker_is_told_and_nobody_else(tmp_path: Path) -> None:
    sent: list[tuple[int, int]] = []
    write_processes(tmp_path, {"state": "running", "pid": os.getpid()}, supervisor=os.getppid())
    assert a_launcher(tmp_path, sent).tell_worker() == ""
    assert sent == [(os.getpid(), signal.SIGHUP)]


def test_a_number_that_is_another_process_by_now_gets_no_signal(tmp_path: Path) -> None:
    sent: list[tuple[int, int]] = []
    write_processes(tmp_path, {"state": "running", "pid": 1}, supervisor=os.getpid())
    assert "just ended" in a_launcher(tmp_path, sent).tell_worker()
    assert sent == []


@pytest.mark.parametrize(("state", "said"), [("hung", ""), ("waiting", ""), ("ended", "no worker of a run")])
def test_a_worker_that_is_not_running_needs_no_signal(tmp_path: Path, state: str, said: str) -> None:
    sent: list[tuple[int, int]] = []
    write_processes(tmp_path, {"state": state, "pid": None}, supervisor=os.getpid())
    answer = a_launcher(tmp_path, sent).tell_worker()
    assert answer.startswith(said) if said else answer == ""
    assert sent == []


def test_a_worker_that_is_starting_is_told_once_it_runs(tmp_path: Path) -> None:
    sent: list[tuple[int, int]] = []
    write_processes(tmp_path, {"state": "starting", "pid": os.getpid()}, supervisor=os.getppid())
    looked: list[float] = []

    def sleep(seconds: float) -> None:
        looked.append(seconds)
        assert sent == [], "it cannot hear yet"
        if len(looked) == 3:
            write_processes(tmp_path, {"state": "running", "pid": os.getpid()}, supervisor=os.getppid())

    assert replace(a_launcher(tmp_path, sent), sleep=sleep).tell_worker() == ""
    assert sent == [(os.getpid(), signal.SIGHUP)]


def test_a_worker_that_does_not_come_up_has_not_been_told(tmp_path: Path) -> None:
    sent: list[tuple[int, int]] = []
    write_processes(tmp_path, {"state": "starting", "pid": os.getpid()}, supervisor=os.getppid())
    now = iter([0.0, 1.0, TOLD_WITHIN])
    launcher = replace(a_launcher(tmp_path, sent), sleep=lambda seconds: None, monotonic=lambda: next(now))
    assert "still starting" in launcher.tell_worker()
    assert sent == []


def test_without_a_run_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    assert "start it again" in a_launcher(tmp_path, []).tell_worker()


def test_a_command_gets_the_configuration_in_force_and_where_it_came_from(tmp_path: Path) -> None:
    launcher = a_launcher(tmp_path, [])
    argv = launcher.argv(("enroll", "CONFIG", "--camera", "gate"))
    assert argv[:5] == ("spade-stream", "enroll", str(tmp_path / "c.yaml"), "--camera", "gate")
    assert argv[5:9] == ("--base", str(tmp_path), "--named", "site.yaml")
    assert argv[-2:] == ("--supervisor", str(os.getpid()))
    assert "--base" not in launcher.argv(("gallery", "use", "galleries/gate", "v1"))


def test_no_thread_is_left(told: Told) -> None:
    before = threading.active_count()
    jobs = Jobs(on_change=told.append)
    jobs.start(a_task(RESULT))
    told.wait("done")
    jobs.close()
    deadline = time.monotonic() + PATIENCE_S
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
