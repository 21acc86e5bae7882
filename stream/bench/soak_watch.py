"""What a soak sees of the run: its processes, its status, what both take and count, twice a second."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stream.bench.process_stats import Usage, usage_of
from stream.bench.soak_accounts import Accounts
from stream.bench.soak_processes import Instance, processes_of
from stream.bench.soak_trends import ProcessSample
from stream.config import Config
from stream.errors import OutboxError
from stream.health import read_status
from stream.messages import unix_time
from stream.outbox import OutboxReader

LOOK_EVERY = 0.5
"""Seconds between two looks at processes and status: a process that lives shorter is not seen."""

SAMPLE_EVERY = 10.0
"""Seconds between two lines of figures: to walk a large process's pages takes milliseconds, and holds it up."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Birth:
    """A process was seen for the first time."""

    at: float  # s since the soak began; below 0: while it was started
    instance: Instance


@dataclass(frozen=True, slots=True)
class CameraSample:
    """One camera at one moment, as the worker tells it."""

    time: float  # s since the soak began
    camera: str
    state: str
    age_p95: float | None  # s


@dataclass(slots=True)
class Watch:
    """Looks at a run. One thread uses it; :meth:`look` is to be called often.

    Args:
        config: of the run.
        path: CSV that gets every figure, a line each.
    """

    config: Config
    path: Path
    processes: dict[str, Instance] = field(default_factory=dict)  # that live, by role
    status: Mapping[str, Any] = field(default_factory=lambda: {"worker": {}, "cameras": {}})
    births: list[Birth] = field(default_factory=list)
    samples: list[ProcessSample] = field(default_factory=list)
    cameras: list[CameraSample] = field(default_factory=list)
    accounts: Accounts = field(default_factory=Accounts)
    trouble_at: float | None = None  # monotonic: first time since it was last cleared that a camera was not watched
    run_pid: int | None = None
    _began: float | None = None  # monotonic: the soak counts from here
    _look_due: float = 0.0
    _sample_due: float = 0.0
    _written: float = 0.0
    _lines: Any = None
    _file: Any = None

    def __enter__(self) -> Self:
        self._file = self.path.open("w", newline="", encoding="utf-8")
        self._lines = csv.writer(self._file)
        self._lines.writerow(["seconds", "what", "name", "pid", "figure", "value"])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def begin(self) -> None:
        """The soak counts from now on."""
        self._began = time.monotonic()
        self._sample_due = 0.0

    @property
    def now(self) -> float:
        """Seconds since the soak began; negative before."""
        return -1.0 if self._began is None else time.monotonic() - self._began

    def look(self) -> None:
        """Takes in what there is to see, where it is time to."""
        now = time.monotonic()
        if now < self._look_due or self.run_pid is None:
            return
        self._look_due = now + LOOK_EVERY
        self.processes = processes_of(self.run_pid)
        known = {birth.instance for birth in self.births}
        self.births += [Birth(self.now, one) for one in self.processes.values() if one not in known]
        self.status = read_status(self.config.status, now=time.time())
        if self.trouble_at is None and self.unwatched():
            self.trouble_at = now
        self._count()
        if self._began is not None and now >= self._sample_due:
            self._sample_due = now + SAMPLE_EVERY
            self._sample()

    def unwatched(self, *, without: Iterable[str] = ()) -> list[str]:
        """What of the pipeline does not watch now, in words; empty where all is well. ``without``: cameras that may."""
        worker = self.status["worker"]
        if worker.get("state") != "RUNNING":
            return [f"worker is {worker.get('state', 'not there')}"]
        if "worker" not in self.processes or worker.get("pid") != self.processes["worker"].pid:
            return ["worker has not written a status yet"]
        expected = {camera.id for camera in self.config.cameras} - set(without)
        shown = self.status["cameras"]
        absent = [f"{camera} is not in the status" for camera in sorted(expected - shown.keys())]
        return absent + [
            f"{camera} is {shown[camera]['state']}: {shown[camera]['reason']}"
            for camera in sorted(expected & shown.keys())
            if shown[camera]["state"] != "LIVE"
        ]

    def stale(self, since: float) -> list[str]:
        """Cameras of which no frame younger than ``since`` (Unix seconds) has been scored."""
        times = {name: camera.get("last_frame_time") for name, camera in self.status["cameras"].items()}
        return sorted(name for name, at in times.items() if at is None or unix_time(at) <= since)

    def _count(self) -> None:
        written = float(self.status.get("written", 0.0))
        if written <= self._written or self._began is None or self.status["worker"].get("state") != "RUNNING":
            return
        self._written = written
        self.accounts.see(
            self.status["cameras"],
            worker=self.status["worker"]["pid"],
            reader_of=lambda camera: self.processes.get(f"reader {camera}"),
        )

    def _sample(self) -> None:
        for instance in self.processes.values():
            try:
                used = usage_of(_PROC / str(instance.pid))
            except (OSError, ValueError):  # it ended while we looked
                continue
            self.samples.append(ProcessSample(self.now, instance, used))
            self._write("process", instance.role, instance.pid, _figures(used))
        for name, camera in self.status["cameras"].items():
            self.cameras.append(CameraSample(self.now, name, str(camera["state"]), camera.get("age_p95")))
            counts = {"scored": camera["scored"], "not_scored": camera["not_scored"], "age_p95": camera.get("age_p95")}
            place = {"last_seq": camera.get("last_seq"), "live": int(camera["state"] == "LIVE")}
            self._write("camera", name, "", {**place, **counts, **camera["drops"]})
        restarts = len(self.births) - len({birth.instance.role for birth in self.births})
        told = {"committed": last_committed(self.config), "restarts": restarts}
        self._write("run", "", self.run_pid or "", told)
        self._file.flush()

    def _write(self, what: str, name: str, pid: int | str, figures: Mapping[str, Any]) -> None:
        for figure, value in figures.items():
            shown = "" if value is None else f"{value:.6g}"
            self._lines.writerow([f"{self.now:.1f}", what, name, pid, figure, shown])


def last_committed(config: Config) -> int | None:
    """Number of the last alert message in the outbox; None where it cannot be read now."""
    try:
        with OutboxReader(config.outbox, config.evidence) as outbox:
            return outbox.last_seq()
    except OutboxError:
        return None


def wait_until(condition: Callable[[], bool], patience: float, *, look: Callable[[], None]) -> bool:
    """Looks on until the condition holds (True), or ``patience`` seconds have gone (False)."""
    deadline = time.monotonic() + patience
    while True:
        look()
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_EVERY / 5)


def _figures(used: Usage) -> dict[str, float]:
    return {one.name: getattr(used, one.name) for one in fields(Usage) if one.name != "processes"}
