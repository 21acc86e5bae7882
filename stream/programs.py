"""What each process runs, put together from the configuration: reader, worker, feed, sinks, and all of them at once."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import cv2

from spade_core.preprocess import Preprocess
from stream.config import CameraSection, Config, JsonLinesSection
from stream.endpoints import is_loopback, parse_endpoint
from stream.errors import ConfigError, OutboxError, StreamError, UsageError
from stream.feed import FeedServer
from stream.health import process_age, read_status
from stream.messages import Mode
from stream.outbox import Outbox, OutboxReader
from stream.reader import Reader, ReaderSettings
from stream.sinks.base import Sink
from stream.sinks.console import ConsoleSink
from stream.sinks.jsonl import JsonLinesSink
from stream.sinks.runner import run_sink
from stream.sources import is_live, is_looped, open_source
from stream.sources.base import Source
from stream.sources.window import windowed
from stream.subscriber import AlertSubscriber
from stream.supervisor import ChildSpec, Outcome, Stage, Supervisor

log = logging.getLogger(__name__)

SINK_WAIT = 5.0
"""Seconds that a drain waits for sinks to take what is committed; what they do not take comes with the next run."""

Stopping = Callable[[], bool]


def is_endless(camera: CameraSection) -> bool:
    """Whether the camera's source has no end of its own."""
    if camera.source.startswith("campus:"):
        return camera.seconds is None and "duration" not in parse_qs(camera.source.partition("?")[2])
    if is_looped(camera.source):
        return camera.seconds is None
    return is_live(camera.source)


def mode_of(camera: CameraSection) -> Mode:
    """LIVE for what has no end, REPLAY for files and folders, unless the configuration says otherwise."""
    if camera.mode == "auto":
        return Mode.LIVE if is_endless(camera) else Mode.REPLAY
    return Mode(camera.mode)


def open_camera(camera: CameraSection) -> Source:
    """Opens a camera's source as the configuration says. Raises SourceError."""
    source = open_source(
        camera.source,
        folder_fps=camera.folder_fps,
        open_timeout=camera.open_timeout,
        read_timeout=camera.read_timeout,
    )
    if camera.start == 0 and camera.seconds is None:
        return source
    return windowed(source, start=camera.start, seconds=camera.seconds)


def read(config: Config, camera_id: str, *, stopping: Stopping) -> None:
    """The reader of one camera, until its source ends.

    Raises:
        SourceError: a finite source cannot be read to its end.
        LinkLost: the worker refuses the camera.
    """
    camera = config.camera(camera_id)
    cv2.setNumThreads(1)  # a reader keeps to one core: the others belong to the worker and to other readers
    settings = ReaderSettings(
        camera=camera.id,
        mode=mode_of(camera),
        fps=camera.fps,
        recorded_at=camera.recorded_at_unix,
        endless=is_endless(camera),
        preprocess=Preprocess(config.method.size, config.method.crop),
        motion_memory=config.method.motion_memory,
    )
    reader = Reader(
        settings,
        endpoint=parse_endpoint(config.link_endpoint),
        open_source=lambda: open_camera(camera),
        stopping=stopping,
    )
    reader.run()
    if reader.error:
        raise StreamError(f"camera {camera.id}: {reader.error}")


def score(config: Config, *, stopping: Stopping) -> None:
    """The scoring worker, until it is stopped.

    Raises:
        ConfigError: no scene at all can be scored; says why for each.
        SpadeError: the backbone cannot be built.
    """
    # Here and not above: readers and sinks must not load torch.
    from stream.engine import ScoringEngine, extractor_of, parameters_of, runtime_of, use_threads
    from stream.link import LinkServer
    from stream.scorelog import ScoreLog
    from stream.worker import Worker, WorkerSettings

    use_threads(config.worker.threads)
    scenes = {camera.id: camera.scene_name for camera in config.cameras}
    galleries = {scene: config.gallery_of(scene) for scene in scenes.values()}
    extractor = extractor_of(config, at_once=min(len(config.cameras), config.worker.max_batch))
    log.info("backbone %s runs in %s", extractor.backbone.name, runtime_of(config))
    engine = ScoringEngine(extractor, parameters_of(config), galleries, explain=config.worker.explain)
    for scene, failure in engine.failures.items():
        log.error("scene %s cannot be scored: %s", scene, failure)
    if not engine.scenes:
        raise ConfigError("galleries", [f"scene {scene}: {failure}" for scene, failure in engine.failures.items()])
    engine.warm_up()
    ready_after = process_age()
    if ready_after is not None:
        log.info("ready to score %.1f s after the process began", ready_after)
    engine.verify_in_background()
    config.state.mkdir(parents=True, exist_ok=True)
    settings = WorkerSettings(
        cameras=scenes,
        policy=config.alerts.settings(),
        size=config.method.side,
        max_batch=config.worker.max_batch,
        maps=config.worker.maps,
        status=config.status,
        ready_after=ready_after,
        shared_clock=is_loopback(parse_endpoint(config.link_endpoint)),
    )
    endpoint = parse_endpoint(config.link_endpoint)
    with LinkServer(endpoint, cameras=scenes) as link, Outbox(config.outbox, config.evidence) as outbox:
        log.info("scoring %d camera(s), %d scene(s) on %s", len(scenes), len(engine.scenes), endpoint)
        Worker(
            settings, link=link, engine=engine, outbox=outbox, scores=ScoreLog(config.scores), stopping=stopping
        ).run()


def feed(config: Config, *, stopping: Stopping) -> None:
    """The alert feed, until it is stopped."""
    with (
        OutboxReader(config.outbox, config.evidence) as outbox,
        FeedServer(config.feed.endpoint, outbox, lambda: read_status(config.status, now=time.time())) as server,
    ):
        log.info("feed on %s, last alert %d", server.endpoint, outbox.last_seq())
        server.run(stopping)


def sink(config: Config, name: str, *, stopping: Stopping) -> None:
    """One sink, fed from the feed, until it is stopped."""
    section = next((section for section in config.sinks if section.name == name), None)
    if section is None:
        raise UsageError(f"--name {name!r}: the configuration has no such sink")
    target: Sink = JsonLinesSink(section.folder) if isinstance(section, JsonLinesSection) else ConsoleSink(sys.stdout)
    with AlertSubscriber(_connect_address(config.feed.endpoint), name=name) as subscriber:
        try:
            run_sink(target, subscriber, stopping)
        finally:
            target.close()


def children(config: Config, path: Path, *, log_level: str = "info") -> list[ChildSpec]:
    """The processes that ``run`` keeps going, in the order in which they are started."""

    def program(*words: str) -> tuple[str, ...]:
        options = ("--log-level", log_level, "--supervisor", str(os.getpid()))
        return (sys.executable, "-m", "stream", *words, *options)

    file = str(path)
    return [
        ChildSpec("feed", program("feed", file), Stage.FEED, ends=False),
        *(
            ChildSpec(f"sink {s.name}", program("sink", file, "--name", s.name), Stage.SINKS, ends=False)
            for s in config.sinks
        ),
        ChildSpec("worker", program("score", file), Stage.WORKER, ends=False),
        *(
            ChildSpec(f"reader {c.id}", program("read", file, "--camera", c.id), Stage.READERS, ends=not is_endless(c))
            for c in config.cameras
        ),
    ]


def run(config: Config, path: Path, *, stopping: Stopping, on_tick: Callable[[], None] = lambda: None) -> Outcome:
    """Everything on this machine, until it is stopped or every finite source has ended.

    Args:
        config: as read from ``path``.
        path: handed to the processes.
        stopping: polled.
        on_tick: called about ten times a second.

    Raises:
        ProcessFailed: a process died too often, or cannot work with this configuration (ProcessMisconfigured).
    """
    return supervisor_of(config, path, on_tick=on_tick).run(stopping)


def supervisor_of(
    config: Config, path: Path, *, on_tick: Callable[[], None] = lambda: None, log_level: str = "info"
) -> Supervisor:
    """What :func:`run` runs, not started yet.

    Args:
        config: as read from ``path``.
        path: handed to the processes.
        on_tick: called about ten times a second.
        log_level: of the processes.
    """
    config.state.mkdir(parents=True, exist_ok=True)
    Outbox(config.outbox, config.evidence).close()  # made once, before several processes would do it at the same time

    def before_stage(stage: Stage) -> None:
        if stage is Stage.SINKS:
            _await_sinks(config)

    return Supervisor(children(config, path, log_level=log_level), on_tick=on_tick, before_stage=before_stage)


def _await_sinks(config: Config) -> None:
    names = [section.name for section in config.sinks]
    deadline = time.monotonic() + SINK_WAIT
    try:
        with OutboxReader(config.outbox, config.evidence) as outbox:
            last = outbox.last_seq()
            while time.monotonic() < deadline:
                taken = outbox.acknowledged()
                if all(taken.get(name, 0) >= last for name in names):
                    return
                time.sleep(0.05)
    except OutboxError as error:
        log.error("%s", error)
    log.warning("not every sink has taken every alert; the rest comes with the next run")


def _connect_address(endpoint: str) -> str:
    parsed = parse_endpoint(endpoint)
    if parsed.path is None and parsed.host in ("*", "0.0.0.0", "::"):  # where one binds is not where one connects
        return f"tcp://127.0.0.1:{parsed.port}"
    return endpoint
