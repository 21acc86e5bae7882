"""One measured run of so many cameras: the processes of ``spade-stream run``, watched from outside.

Nothing of the pipeline is replaced. The cameras are recordings that are played for ever, in real time (``loop:``).
What is counted lies between two status files of the worker: each says of every camera which frame was its last, and
how many were scored and lost up to that one, so that the counts of the two fit together. What comes before (starting,
warming up) and after (draining) counts for nothing.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from stream import machine
from stream.bench.clips import CLIP_SECONDS, Film, Footage
from stream.bench.process_stats import Usage, machine_busy_seconds, usage
from stream.config import Config, build_config
from stream.errors import StreamError
from stream.health import read_status
from stream.progress import progress_bar
from stream.supervisor import Outcome, Supervisor

KINDS = {"worker": "worker", "readers": "reader", "feed": "feed"}
"""The kinds of processes that are told apart, with the first word of the supervisor's name for them."""

MOST_BETWEEN_SAMPLES = 10.0
"""Seconds between two looks at memory: to walk a large process's pages takes milliseconds, and holds it up."""

_LEAST_SAMPLES = 10  # in a short run
_START_PATIENCE = (120.0, 10.0)  # s until all cameras are watched: in any case, and for each camera
_STATUS_EVERY = 0.25  # s between two looks at the status file, which is written every second
_HOPEFUL = ("NO_READER", "CONNECTING", "LIVE")  # states of a camera that may still become right
_LOG_LEVEL = "error"  # of the processes: that one is late or overloaded is what the figures say
_NO_CAP = 100_000  # alerts an hour: a cap would make the second half of a long run another one than the first


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the worker says at one moment."""

    time: float  # Unix seconds, of the status
    pid: int  # of the worker
    cameras: Mapping[str, Mapping[str, Any]]  # the status of each, see ``CameraHealth.to_json``
    ready_after: float | None = None  # s from the worker's beginning until it could score


@dataclass(frozen=True, slots=True)
class Sample:
    """What the processes take at one moment."""

    time: float  # s, monotonic
    used: Mapping[str, Usage]  # by kind
    busy_s: float  # processor time of the whole machine so far


@dataclass(frozen=True, slots=True)
class Measured:
    """A run that was measured."""

    first: Snapshot  # after the warm-up
    last: Snapshot  # before the drain
    samples: tuple[Sample, ...]  # from the one to the other
    outcome: Outcome
    config: Config  # where scores and alerts are


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a run takes."""

    warm_up: float  # s from the moment when all cameras are watched
    seconds: float  # s that count, after that


def run_settings(films: Sequence[Film], footage: Footage, *, sockets: Path) -> dict[str, Any]:
    """The configuration of a run, one camera for each film, each with a scene of its own as on a campus."""
    names = [f"cam-{number:02}" for number in range(1, len(films) + 1)]
    cameras = [
        {
            "id": name,
            "source": f"loop:{film.clip.resolve()}",
            "fps": footage.fps,
            "mode": "live",
            # Each at another place in its clip: what happens at one camera does not happen at all others with it.
            "start": round(CLIP_SECONDS * number / len(films), 3),
        }
        for number, (name, film) in enumerate(zip(names, films, strict=True))
    ]
    return {
        "state": "state",
        "cameras": cameras,
        "scenes": {name: {"gallery": str(film.gallery.resolve())} for name, film in zip(names, films, strict=True)},
        **footage.method,
        "alerts": {"max_alerts_per_hour": _NO_CAP},
        "link": {"endpoint": f"ipc://{sockets}/link"},
        "feed": {"endpoint": f"ipc://{sockets}/feed"},
        "console": {"enabled": False},
    }


def measure(folder: Path, settings: Mapping[str, Any], timing: Timing, *, stopping: Callable[[], bool]) -> Measured:
    """Runs the pipeline, and watches it once every camera is scored.

    Args:
        folder: of this run; new.
        settings: from :func:`run_settings`.
        timing: see there.
        stopping: polled.

    Raises:
        StreamError: stopped; or a camera cannot be scored, or is not within reason. All processes have ended.
    """
    folder.mkdir(parents=True)
    config = build_config(settings, where="bench cameras", base=folder.resolve(), environment={})
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
    total = timing.warm_up + timing.seconds
    with progress_bar(f"{len(config.cameras)} cameras", unit="s", total=round(total)) as bar:
        bar.bar_format = (
            "{desc}: |{bar}| {n_fmt} of {total_fmt} s{postfix}"  # a rate of seconds per second says nothing
        )
        watch = _Watch(config, timing, bar)
        supervisor = machine.supervisor_of(config, path, on_tick=watch.look, log_level=_LOG_LEVEL)
        watch.supervisor = supervisor
        outcome = supervisor.run(lambda: watch.done or stopping())
    if stopping() and not watch.done:
        raise StreamError("stopped")
    if watch.problem or watch.first is None or watch.last is None:
        raise StreamError(f"{len(config.cameras)} cameras were not measured: {watch.problem or 'the run ended early'}")
    write_samples(folder / "processes.csv", watch.samples)
    return Measured(watch.first, watch.last, tuple(watch.samples), outcome, config)


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Every sample as CSV, for a look at how a long run went: one line for each kind of process."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["seconds", "kind", *(field.name for field in fields(Usage))])
        for sample in samples:
            for kind, used in sample.used.items():
                values = [f"{value:.6g}" for value in astuple(used)]
                lines.writerow([f"{sample.time - samples[0].time:.1f}", kind, *values])


@dataclass(slots=True)
class _Watch:
    """Looks at the run about ten times a second: waits, warms up, measures, and says when it is done."""

    config: Config
    timing: Timing
    bar: Any
    supervisor: Supervisor | None = None
    first: Snapshot | None = None
    last: Snapshot | None = None
    samples: list[Sample] = field(default_factory=list)
    problem: str = ""
    _began: float = field(default_factory=time.monotonic)
    _ready: float | None = None  # when all cameras were seen to be scored
    _look_due: float = 0.0
    _sample_due: float = 0.0
    _seen: float = 0.0  # ``written`` of the last status

    @property
    def done(self) -> bool:
        """Nothing is left to be measured."""
        return self.last is not None or bool(self.problem)

    def look(self) -> None:
        """To be called often."""
        now = time.monotonic()
        if self.done or now < self._look_due:
            return
        self._look_due = now + _STATUS_EVERY
        if self._ready is None:
            self._await_cameras(now)
            return
        self._show(min(now - self._ready, self.timing.warm_up + self.timing.seconds))
        if self.first is not None and now >= self._sample_due:
            self._sample(now)
        due = self.first.time + self.timing.seconds if self.first else 0.0
        if now >= self._ready + self.timing.warm_up and (fresh := self._fresh_status()) and fresh["written"] >= due:
            self._snapshot(fresh, now)

    def _await_cameras(self, now: float) -> None:
        cameras = self._status()["cameras"]
        states = {name: (str(camera["state"]), str(camera["reason"])) for name, camera in cameras.items()}
        lost = [f"{name} is {state}: {reason}" for name, (state, reason) in states.items() if state not in _HOPEFUL]
        ready = [name for name, camera in cameras.items() if camera["state"] == "LIVE" and camera["scored"]]
        always, each = _START_PATIENCE
        if lost:
            self.problem = lost[0]
        elif len(ready) == len(self.config.cameras):
            self._ready = now
        elif now - self._began > always + each * len(self.config.cameras):
            waiting = sorted({camera.id for camera in self.config.cameras} - set(ready))
            self.problem = f"{', '.join(waiting)} not scored after {now - self._began:.0f} s"
        self.bar.set_postfix_str(f"starting, {len(ready)} scored", refresh=False)
        self.bar.update(0)

    def _show(self, done: float) -> None:
        self.bar.set_postfix_str("measuring" if self.first else "warming up", refresh=False)
        self.bar.update(int(done) - self.bar.n)

    def _snapshot(self, status: Mapping[str, Any], now: float) -> None:
        snapshot = Snapshot(
            status["written"], status["worker"]["pid"], status["cameras"], status["worker"].get("ready_after")
        )
        self._sample(now)
        if self.first is None:
            self.first = snapshot
        else:
            self.last = snapshot
            self._show(self.timing.warm_up + self.timing.seconds)

    def _sample(self, now: float) -> None:
        self._sample_due = now + self._between_samples
        self.samples.append(Sample(now, self._used(), machine_busy_seconds()))

    @property
    def _between_samples(self) -> float:
        return min(MOST_BETWEEN_SAMPLES, self.timing.seconds / _LEAST_SAMPLES)

    def _used(self) -> dict[str, Usage]:
        pids = self.supervisor.process_ids if self.supervisor else {}
        return {
            kind: usage(pid for name, pid in pids.items() if name.split()[0] == word) for kind, word in KINDS.items()
        }

    def _fresh_status(self) -> dict[str, Any] | None:
        """The status, where it is another one than the last that was looked at."""
        status = self._status()
        written = float(status.get("written", 0.0))
        if written <= self._seen or status["worker"]["state"] != "RUNNING":
            return None
        self._seen = written
        return status

    def _status(self) -> dict[str, Any]:
        return read_status(self.config.status, now=time.time())
