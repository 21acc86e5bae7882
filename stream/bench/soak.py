"""``bench soak``: the real pipeline for a long time, while things are done to it that happen on a campus, and worse.

What is run is ``spade-stream run`` in a process of its own, on recordings that are played for ever as cameras. This
process only looks, does faults, and receives alerts beside the run's own sinks. What was promised is then checked.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.bench.camera_run import run_settings
from stream.bench.clips import Film, Footage, make_films
from stream.bench.folder import kept_folder
from stream.bench.process_stats import check_supported
from stream.bench.soak_checks import Soaked
from stream.bench.soak_faults import Done, Saboteur
from stream.bench.soak_plan import Fault, Planned, plan
from stream.bench.soak_reload import ConfigFile
from stream.bench.soak_run import Run, committed, deliveries
from stream.bench.soak_subscribers import pausing_subscriber, slow_subscriber
from stream.bench.soak_trends import trends
from stream.bench.soak_watch import Watch, wait_until
from stream.config import load_config
from stream.errors import StreamError, UsageError
from stream.replay import socket_folder
from stream.scorelog import read_scores

SINKS = ("first", "second")
"""Names of the run's own sinks."""

MOST_RUN_ENDS = 3
"""Runs that ended by themselves after which the soak gives up, too."""

_START_PATIENCE = (120.0, 10.0)  # s until all cameras are watched: in any case, and for each camera
_END_PATIENCE = 30.0  # s for the last fault's traces to go, before the cameras' states are judged
_LEFTOVERS = ("state", "first", "second", "slow.csv", "pausing.csv", "run.log", "soak.json", "soak.html")


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """What ``bench soak`` was asked for."""

    seconds: float  # from the moment when all cameras are scored
    cameras: int
    footage: Footage
    seed: int  # of the faults
    every: float  # mean s from one fault to the next
    faults: tuple[Fault, ...]  # kinds
    out: Path
    rtsp: tuple[str, ...] = ()  # where the first cameras come from; each must show the film of its camera

    def described(self) -> dict[str, Any]:
        """JSON-able form; of addresses, which may hold passwords, only how many there are."""
        footage = self.footage
        return {
            "seconds": self.seconds,
            "cameras": self.cameras,
            "fps": footage.fps,
            "native_fps": footage.native_fps,
            "picture": "x".join(map(str, footage.picture)),
            "event_every": footage.event_every,
            "gallery_frames": footage.gallery_frames,
            "seed": self.seed,
            "every": self.every,
            "faults": [str(fault) for fault in self.faults],
            "rtsp": len(self.rtsp),
            **{name: dict(section) for name, section in footage.method.items()},
        }


def run_soak(options: SoakOptions, *, say: Callable[[str], None], stopping: Callable[[], bool]) -> Soaked:
    """Soaks, and says what was found. Ends early where ``stopping`` turns true, with what there is by then.

    Args:
        options: see there.
        say: gets a line for people whenever something happened.
        stopping: polled.

    Raises:
        UsageError: the machine cannot be measured so, or OUT holds something else.
        StreamError: the cameras were never all scored, or it was stopped before they were.
    """
    check_supported()
    if len(options.rtsp) > options.cameras:
        raise UsageError(f"--rtsp names {len(options.rtsp)} cameras, and there are {options.cameras}")
    with kept_folder(options.out) as folder, socket_folder() as sockets:
        films = make_films(folder, options.footage, cameras=options.cameras, stopping=stopping)
        for name in _LEFTOVERS:
            _remove(folder / name)
        settings = soak_settings(films, options, sockets=sockets, feed_port=_free_port())
        return _soaked(ConfigFile(folder / "soak.yaml", settings), options, say=say, stopping=stopping)


def _soaked(
    file: ConfigFile, options: SoakOptions, *, say: Callable[[str], None], stopping: Callable[[], bool]
) -> Soaked:
    file.write()
    folder, config = file.path.parent, load_config(file.path, os.environ)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "run.log").open("ab"))
        run = Run(file.path, log)
        stack.callback(run.drain)
        watch = stack.enter_context(Watch(config, folder / "samples.csv"))
        recorders = [
            stack.enter_context(make(config.feed.endpoint, folder)) for make in (slow_subscriber, pausing_subscriber)
        ]
        soak = _Soak(options, run, watch, file, say, stopping)
        soak.begin()
        soak.work()
        unwatched = soak.last_look()
        for recorder in recorders:
            recorder.hurry()
        seconds, cut_short = watch.now, stopping()
        say(f"{seconds:.0f} s are over: SIGTERM")
        exit_code, drain_s = run.drain()
        delivered = deliveries(config, file.path, recorders, log)
    for camera, account in watch.accounts.cameras.items():
        account.cross(read_scores(config.scores, camera))
    stored = committed(config)
    return Soaked(
        seconds=seconds,
        cut_short=cut_short,
        faults=tuple(soak.done),
        planned=len(soak.plan),
        births=tuple(watch.births),
        trends=tuple(trends(watch.samples, seconds=seconds)),
        frames=watch.accounts.cameras,
        deliveries=tuple(delivered),
        messages=len(stored),
        alerts=len({alert_id for _, alert_id, _ in stored}),
        run_ends=tuple(soak.run_ends),
        unwatched=tuple(unwatched),
        troubles=tuple(f"{recorder.name}: {recorder.problem}" for recorder in recorders if recorder.problem),
        exit_code=exit_code,
        drain_s=drain_s,
        samples=tuple(watch.samples),
        cameras=tuple(watch.cameras),
    )


def soak_settings(films: Sequence[Film], options: SoakOptions, *, sockets: Path, feed_port: int) -> dict[str, Any]:
    """The configuration of the run.

    Args:
        films: one for each camera.
        options: see there.
        sockets: folder for the link's socket.
        feed_port: of the feed, on this machine only.
    """
    settings = run_settings(films, options.footage, sockets=sockets)
    for camera, url in zip(settings["cameras"], options.rtsp, strict=False):
        camera["source"] = url
        del camera["start"]
    return {
        **settings,
        "feed": {"endpoint": f"tcp://127.0.0.1:{feed_port}"},
        "console": {"enabled": False},
        "sinks": [{"type": "jsonl", "name": name, "folder": name} for name in SINKS],
    }


class _Soak:
    """The soak under way."""

    def __init__(
        self,
        options: SoakOptions,
        run: Run,
        watch: Watch,
        file: ConfigFile,
        say: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._run, self._watch, self._say, self._stopping = run, watch, say, stopping
        self._seconds = options.seconds
        self._saboteur = Saboteur(watch, file, alive=run.alive, stopping=stopping)
        self.plan = plan(seed=options.seed, seconds=options.seconds, every=options.every, kinds=options.faults)
        self.done: list[Done] = []
        self.run_ends: list[str] = []

    def begin(self) -> None:
        """Starts the run, and waits until all cameras are scored; the soak counts from then on.

        Raises:
            StreamError: they are not, or it was stopped.
        """
        self._start()
        self._say(f"all cameras are scored; {len(self.plan)} faults to come")
        self._watch.begin()

    def work(self) -> None:
        """Faults, one after the other, to the end."""
        for planned in self.plan:
            if not self._wait_for(planned.at):
                break
            self._do(planned)
        self._wait_for(self._seconds)

    def last_look(self) -> list[str]:
        """What does not watch now, after some patience."""
        if self._run.alive():
            wait_until(lambda: not self._watch.unwatched(), _END_PATIENCE, look=self._watch.look)
        return self._watch.unwatched() if self._run.alive() else ["the run has ended"]

    def _do(self, planned: Planned) -> None:
        done = self._saboteur.do(planned)
        if self._stopping() and done.problem == "" and done.recovery_s is None:
            return  # cut off in the middle: it says nothing
        self.done.append(done)
        outcome = done.problem or f"all well after {done.recovery_s or 0.0:.1f} s"
        self._say(f"{done.at:6.0f} s  {done.fault} {done.target}: {outcome}")

    def _wait_for(self, moment: float) -> bool:
        """Looks on until a moment (s since the soak began); starts the run again where it ended. False: it is over."""
        while self._watch.now < moment and not self._stopping():
            if not (self._run.alive() or self._start_again()):
                return False
            self._watch.look()
            time.sleep(0.1)
        return not self._stopping()

    def _start_again(self) -> bool:
        how = f"at {self._watch.now:.0f} s by {self._run.how_it_ended()}"
        self.run_ends.append(how)
        self._say(f"the run ended {how}; see run.log")
        if len(self.run_ends) >= MOST_RUN_ENDS:
            return False
        try:
            self._start()
        except StreamError as error:  # there is a report nevertheless
            self.run_ends.append(f"started again, {error}")
            return False
        return True

    def _start(self) -> None:
        began = time.time()
        self._watch.run_pid = self._run.start()
        always, each = _START_PATIENCE
        cameras = len(self._watch.config.cameras)

        def over() -> bool:
            return self._stopping() or not self._run.alive() or not self._missing(began)

        wait_until(over, always + each * cameras, look=self._watch.look)
        if self._stopping():
            raise StreamError("stopped")
        if missing := self._missing(began):
            ended = "" if self._run.alive() else f"; the run ended by {self._run.how_it_ended()}"
            raise StreamError(f"not all cameras are scored: {'; '.join(missing[:3])}{ended}. See run.log")

    def _missing(self, since: float) -> list[str]:
        stale = [f"no frame of {camera} was scored" for camera in self._watch.stale(since)]
        return self._watch.unwatched() or stale


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
