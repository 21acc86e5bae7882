"""What each process runs, put together from the configuration: reader, worker, feed, sinks. ``machine`` runs all."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import cv2

from spade_core.preprocess import Preprocess
from stream import security
from stream.config import CameraSection, Config, JsonLinesSection
from stream.endpoints import is_loopback, parse_endpoint
from stream.errors import ConfigError, StreamError, UsageError
from stream.feed import FeedServer
from stream.health import process_age, read_status
from stream.lookout import Watching
from stream.messages import Mode
from stream.outbox import Outbox
from stream.reader import Reader, ReaderSettings, patience_with
from stream.retention import SETTLED, Limits, Retention
from stream.sinks.base import Sink
from stream.sinks.console import ConsoleSink
from stream.sinks.jsonl import JsonLinesSink
from stream.sinks.runner import run_sink
from stream.sources import is_live, is_looped, open_source
from stream.sources.base import Source
from stream.sources.port_probe import port_probe
from stream.sources.window import windowed
from stream.station import read_processes
from stream.subscriber import AlertSubscriber
from stream.tcp import raise_file_limit
from stream.worker_settings import WorkerSettings

log = logging.getLogger(__name__)

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
        SourceError: a finite source cannot be read to its end, or a camera's decoder hangs.
        LinkLost: the worker refuses the camera.
    """
    camera = config.camera(camera_id)
    cv2.setNumThreads(1)  # a reader keeps to one core: the others belong to the worker and to other readers
    patience = patience_with(open_timeout=camera.open_timeout, read_timeout=camera.read_timeout)
    settings = ReaderSettings(
        camera=camera.id,
        mode=mode_of(camera),
        fps=camera.fps,
        recorded_at=camera.recorded_at_unix,
        endless=is_endless(camera),
        preprocess=Preprocess(config.method.size, config.method.crop),
        motion_memory=config.method.motion_memory,
        watching=Watching(camera.frozen_after, camera.obscured_after),
        stuck_after=patience if is_endless(camera) else None,  # a recording may lie on a slow disk
    )
    reader = Reader(
        settings,
        endpoint=parse_endpoint(_connect_address(config.link_endpoint)),
        open_source=lambda: open_camera(camera),
        stopping=stopping,
        secure=security.link_client(config, camera.id),
        port_open=port_probe(camera.source) if is_endless(camera) else None,
    )
    reader.run()
    if reader.error:
        raise StreamError(f"camera {camera.id}: {reader.error}")


def score(config: Config, *, stopping: Stopping, reload: Callable[[], Config | None] = lambda: None) -> None:
    """The scoring worker, until it is stopped.

    Args:
        config: see there.
        stopping: polled.
        reload: asked once a round; gives a new configuration once, which the worker then takes.

    Raises:
        ConfigError: no scene at all can be scored; says why for each.
        SpadeError: the backbone cannot be built.
    """
    # Here and not above: readers and sinks must not load torch.
    from stream.clips import Clips, ClipSettings
    from stream.engine import ScoringEngine, extractor_of, parameters_of, runtime_of, use_threads
    from stream.link import LinkServer
    from stream.scorelog import ScoreLog
    from stream.worker import Worker

    secure = security.link_server(config)  # refused before networks are loaded
    raise_file_limit()
    use_threads(config.worker.threads)
    settings = _worker_settings(config, None)
    modes = {camera.id: mode_of(camera) for camera in config.cameras}
    extractor = extractor_of(config, at_once=min(len(config.cameras), config.worker.max_batch))
    log.info("backbone %s runs in %s", extractor.backbone.name, runtime_of(config))
    engine = ScoringEngine(extractor, parameters_of(config), settings.galleries, explain=config.worker.explain)
    for scene, failure in engine.failures.items():
        log.error("scene %s cannot be scored: %s", scene, failure)
    if not engine.scenes:
        raise ConfigError("galleries", [f"scene {scene}: {failure}" for scene, failure in engine.failures.items()])
    engine.warm_up()
    ready_after = process_age()
    if ready_after is not None:
        log.info("ready to score %.1f s after the process began", ready_after)
    engine.verify_in_background()
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    endpoint = parse_endpoint(config.link_endpoint)
    made = ClipSettings(**config.clips.model_dump(), confirm=config.alerts.min_duration)
    with (
        LinkServer(endpoint, cameras=settings.cameras, secure=secure) as link,
        Outbox(config.outbox, config.evidence) as outbox,
        Clips(made) as clips,
    ):
        log.info("scoring %d camera(s), %d scene(s) on %s", len(settings.cameras), len(engine.scenes), endpoint)

        def between_rounds() -> bool:
            if (fresh := reload()) is not None:
                modes.update({camera.id: mode_of(camera) for camera in fresh.cameras})
                worker.reconfigure(_worker_settings(fresh, ready_after))
            return stopping()

        worker = Worker(
            replace(settings, ready_after=ready_after),
            link=link,
            engine=engine,
            outbox=outbox,
            scores=ScoreLog(config.scores),
            stopping=between_rounds,
            clips=lambda camera: clips.camera(camera, lossless=modes.get(camera) is Mode.REPLAY),
            clip_counts=clips.counts,
        )
        worker.run()


def _worker_settings(config: Config, ready_after: float | None) -> WorkerSettings:
    scenes = {camera.id: camera.scene_name for camera in config.cameras}
    return WorkerSettings(
        cameras=scenes,
        policy=config.alerts.settings(),
        size=config.method.side,
        max_batch=config.worker.max_batch,
        maps=config.worker.maps,
        status=config.status,
        ready_after=ready_after,
        shared_clock=is_loopback(parse_endpoint(config.link_endpoint)),
        galleries={scene: config.gallery_of(scene) for scene in scenes.values()},
        moved_after={camera.id: camera.moved_after for camera in config.cameras},
    )


def feed(config: Config, *, stopping: Stopping) -> None:
    """The alert feed, until it is stopped."""
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Outbox(config.outbox, config.evidence) as outbox:
        retention = Retention(outbox, limits_of(config), scores=config.scores, settled_after=SETTLED)
        _serve(config, outbox, retention, stopping)


def limits_of(config: Config) -> Limits:
    """What retention keeps."""
    section = config.retention
    return Limits(
        days=section.days,
        bytes=None if section.gigabytes is None else int(section.gigabytes * 1e9),
        keep_unacknowledged=section.keep_unacknowledged,
        score_days=section.score_days,
    )


def _serve(config: Config, outbox: Outbox, retention: Retention, stopping: Stopping) -> None:
    raise_file_limit()
    secure, endpoint = security.feed_server(config), config.feed.endpoint
    with FeedServer(endpoint, outbox, lambda: _status(config), retention=retention, secure=secure) as server:
        log.info("feed on %s, last alert %d", server.endpoint, outbox.last_seq())
        server.run(stopping)


def _status(config: Config) -> dict[str, Any]:
    """What the worker says, and what the supervisor says."""
    now = time.time()
    return {**read_status(config.status, now=now), **read_processes(config.processes, now=now)}


def sink(config: Config, name: str, *, stopping: Stopping) -> None:
    """One sink, fed from the feed, until it is stopped."""
    section = next((section for section in config.sinks if section.name == name), None)
    if section is None:
        raise UsageError(f"--name {name!r}: the configuration has no such sink")
    target: Sink = JsonLinesSink(section.folder) if isinstance(section, JsonLinesSection) else ConsoleSink(sys.stdout)
    secure = security.feed_client(config, name)
    with AlertSubscriber(_connect_address(config.feed.endpoint), name=name, secure=secure) as subscriber:
        try:
            run_sink(target, subscriber, stopping)
        finally:
            target.close()


def _connect_address(endpoint: str) -> str:
    parsed = parse_endpoint(endpoint)
    if parsed.path is None and parsed.host in ("*", "0.0.0.0", "::"):  # where one binds is not where one connects
        return f"tcp://127.0.0.1:{parsed.port}"
    return endpoint
