"""Commands that the console starts because they take long: each in a process of its own, one at a time for each scene.

They run at low priority beside the surveillance, say on their standard output how far they are (JSON lines), and end
when the console ends. Threads wait for them; the event loop never does.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Literal

from stream.errors import StreamError
from stream.messages import iso_time
from stream.redact import redact_text

NICE = 10
"""How much a job gives way to everything else on the machine."""

MOST_RUNNING = 2
"""Jobs at once: each loads a network of its own."""

MOST_KEPT = 50
"""Jobs that are remembered after their end."""

LEAVE_WITHIN = 2.0
"""Seconds that a job has for its end when the console ends."""

_MOST_LINE = 1 << 20  # characters of a line of a job that are read
_ID = re.compile("[0-9a-f]{12}")
_TAIL = 20  # lines of its standard error that are shown where it fails
_MOST_TAIL = 2000  # characters of them

Kind = Literal["enroll", "normal", "use", "follow"]
State = Literal["running", "done", "failed", "cancelled"]

_log = logging.getLogger(__name__)


class Busy(StreamError):
    """A job of this scene runs already, or as many jobs as may."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done."""

    kind: Kind
    scene: str
    argv: tuple[str, ...]  # holds no secret
    user: str  # who asked for it
    camera: str | None = None
    alert_id: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a task."""

    id: str
    task: Task
    started_at: float  # Unix seconds
    ended_at: float | None = None
    state: State = "running"
    progress: Mapping[str, Any] | None = None  # as the command told it last
    result: Mapping[str, Any] | None = None  # as the command told it at its end
    error: str | None = None  # for people

    def to_json(self) -> dict[str, Any]:
        """``Job`` of the API."""
        return {
            "id": self.id,
            "kind": self.task.kind,
            "camera": self.task.camera,
            "scene": self.task.scene,
            "alert_id": self.task.alert_id,
            "user": self.task.user,
            "started_at": iso_time(self.started_at),
            "ended_at": None if self.ended_at is None else iso_time(self.ended_at),
            "state": self.state,
            "progress": None if self.progress is None else dict(self.progress),
            "result": None if self.result is None else dict(self.result),
            "error": self.error,
        }


class Jobs:
    """All jobs. Any thread may use it.

    Args:
        on_change: told of every change of a job, in the job's thread.
        hidden: what must not be shown of a job's errors: sources with passwords.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[Job], None],
        hidden: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._on_change, self._hidden, self._clock = on_change, tuple(hidden), clock
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._cancelled: set[str] = set()
        self._threads: dict[str, threading.Thread] = {}
        self._closed = False
        self._run_id = secrets.token_hex(3)  # begins the ids of all jobs of this process

    def start(
        self,
        task: Task,
        *,
        then: Callable[[Job], Job] = lambda job: job,
        ended: Callable[[Job], None] = lambda job: None,
    ) -> Job:
        """Starts a task.

        Args:
            task: see there.
            then: called in the job's thread once it is done, before anybody is told so, with the job, which it may add
                to; not where it failed.
            ended: called in the job's thread with the job as it ended, however that was.

        Raises:
            Busy: one of this scene is running, or too many are.
        """
        with self._lock:
            running = [job for job in self._jobs.values() if job.state == "running"]
            if self._closed:
                raise Busy("the console is ending")
            if any(job.task.scene == task.scene for job in running):
                raise Busy(f"scene {task.scene} is being worked on already: wait for that job, or cancel it")
            if len(running) >= MOST_RUNNING:
                raise Busy(f"{MOST_RUNNING} jobs are running already: wait for one of them, or cancel it")
            job = Job(self._run_id + secrets.token_hex(3), task, self._clock())
            self._jobs[job.id] = job
            self._forget_old()
            thread = threading.Thread(target=self._run, args=(job.id, then, ended), name=f"job {job.id}", daemon=True)
            self._threads[job.id] = thread
        self._on_change(job)
        thread.start()
        return job

    def all(self) -> list[Job]:
        """The newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def get(self, job_id: str) -> Job | None:
        """One job, or None."""
        with self._lock:
            return self._jobs.get(job_id)

    def is_of_another_run(self, job_id: str) -> bool:
        """Whether this is the id of a job of a process that was there before this one."""
        return bool(_ID.fullmatch(job_id)) and not job_id.startswith(self._run_id)

    def cancel(self, job_id: str) -> Job | None:
        """Asks a job to end; one that has ended stays as it is. None where there is no such job."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None and job.state == "running":
                self._cancelled.add(job_id)
                _signal(self._processes.get(job_id), signal.SIGTERM)
            return job

    def close(self) -> None:
        """Ends all jobs, and waits for that."""
        with self._lock:
            self._closed = True
            threads = list(self._threads.values())
            for job_id, process in self._processes.items():
                self._cancelled.add(job_id)
                _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + LEAVE_WITHIN
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            for process in self._processes.values():
                _signal(process, signal.SIGKILL)

    # -- one job, in its thread ---------------------------------------------------------------------------------------

    def _run(self, job_id: str, then: Callable[[Job], Job], ended: Callable[[Job], None]) -> None:
        try:
            job = self._carry_out(job_id)
            if job.state == "done":
                job = then(job)
        except Exception as error:  # whatever it is, the job must not look as if it ran for ever
            _log.exception("job %s", job_id)
            job = replace(self._jobs[job_id], state="failed", error=f"{type(error).__name__}: {error}")
        job = replace(job, ended_at=self._clock())
        try:
            ended(job)
        except Exception:  # the same
            _log.exception("job %s", job_id)
        self._put(job)
        with self._lock:
            self._processes.pop(job_id, None)
            self._threads.pop(job_id, None)
            self._cancelled.discard(job_id)

    def _carry_out(self, job_id: str) -> Job:
        task = self._jobs[job_id].task
        # A session of its own: Ctrl-C on the terminal is for the run, which then ends the console, which ends its jobs.
        process = subprocess.Popen(
            task.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            return self._follow(job_id, process)
        finally:
            if process.poll() is None:  # something went wrong here: nobody would ever look after it again
                process.kill()
                process.wait()

    def _follow(self, job_id: str, process: subprocess.Popen[bytes]) -> Job:
        assert process.stdout is not None
        assert process.stderr is not None
        tail = _Tail(process.stderr)
        _be_nice(process.pid)
        with self._lock:
            self._processes[job_id] = process
            if self._closed or job_id in self._cancelled:  # meanwhile
                self._cancelled.add(job_id)
                _signal(process, signal.SIGTERM)
        with process.stdout as said:
            for line in iter(lambda: said.readline(_MOST_LINE), b""):
                self._hear(job_id, line)
            code = process.wait()
        return self._ended(job_id, code, tail.text())

    def _ended(self, job_id: str, code: int, complaint: str) -> Job:
        job = self._jobs[job_id]
        if code == 0 and job.result is None:  # cut off, or no command of ours: what it did is not known
            return replace(job, state="failed", error="the command ended without saying what came of it")
        if code == 0:
            return replace(job, state="done")
        with self._lock:
            cancelled = job_id in self._cancelled
        if cancelled:
            return replace(job, state="cancelled")
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return replace(job, state="failed", error=redact_text(complaint, self._hidden) or f"the command failed: {how}")

    def _hear(self, job_id: str, line: bytes) -> None:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return  # words for people
        if not isinstance(said, dict):
            return
        job = self._jobs[job_id]
        if isinstance(progress := said.get("progress"), dict):
            self._put(replace(job, progress=progress))
        elif isinstance(result := said.get("result"), dict):
            self._put(replace(job, result=result))

    def _put(self, job: Job) -> None:
        with self._lock:
            self._jobs[job.id] = job
        self._on_change(job)

    def _forget_old(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.state != "running"]
        for job_id in ended[: max(0, len(self._jobs) - MOST_KEPT)]:
            del self._jobs[job_id]


class _Tail:
    """Reads what a process complains about, and keeps the end of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: deque[bytes] = deque(maxlen=_TAIL)
        self._stream = stream
        self._thread = threading.Thread(target=self._read, name="job's errors", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The message that the command ended with, or else its last lines."""
        self._thread.join(2.0)
        text = b"".join(self._lines).decode("utf-8", "replace")
        _, mark, message = text.rpartition("spade-stream: ")
        return (message if mark else text).strip()[-_MOST_TAIL:]

    def _read(self) -> None:
        with self._stream:
            for line in iter(lambda: self._stream.readline(4096), b""):
                self._lines.append(line)


def _signal(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None and process.poll() is None:
        process.send_signal(number)


def _be_nice(pid: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
    except OSError as error:  # it may have ended
        _log.debug("process %d keeps its priority: %s", pid, error)
