"""What each process runs, put together from the configuration: reader, worker, feed, sinks. ``machine`` runs all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2

from spade_core.preprocess import Preprocess
from stream import security
from stream.assigned import AssignedWatch
from stream.cluster.directory_client import DirectoryAddress
from stream.cluster.guide import Guide
from stream.cluster.outbox_id import known_outbox_id
from stream.config import Config
from stream.config_sections import CameraSection
from stream.drift import DriftCollector
from stream.drift_store import DriftStore
from stream.durable import safe_name
from stream.endless import is_endless
from stream.endpoints import connect_address, is_loopback, parse_endpoint
from stream.errors import ConfigError, StreamError, UsageError
from stream.feed import FeedServer
from stream.health import process_age, read_status
from stream.live import LivePublisher
from stream.lookout import Watching
from stream.messages import Alert, Evidence, Mode
from stream.operator_settings import SettingsWatch
from stream.outbox import Outbox, OutboxReader
from stream.reader import Reader, ReaderSettings, patience_with
from stream.retention import SETTLED, Limits, Retention
from stream.sinks import again
from stream.sinks.again import Outcome
from stream.sinks.base import EventSink, without_pictures
from stream.sinks.facts import SinkFacts, facts_path, read_facts
from stream.sinks.registry import KINDS, Surroundings, open_sink, section_named
from stream.sinks.rejected import Rejected
from stream.sinks.runner import run_sink
from stream.sinks.trial import trial_alert, trial_evidence
from stream.sinks.watch import WatchedBoard
from stream.sources import open_source
from stream.sources.base import Source
from stream.sources.port_probe import port_probe
from stream.sources.window import windowed
from stream.station import read_processes
from stream.subscriber import AlertSubscriber
from stream.tcp import raise_file_limit
from stream.worker_settings import WorkerSettings

if TYPE_CHECKING:  # it imports torch
    from stream.live_views import LiveViews

log = logging.getLogger(__name__)

Stopping = Callable[[], bool]


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


def read(config: Config, camera_id: str, *, stopping: Stopping, directory: DirectoryAddress | None = None) -> None:
    """The reader of one camera, until its source ends.

    Args:
        config: see there.
        camera_id: of it.
        stopping: polled.
        directory: of the cluster that says where the worker is; None: where the configuration has the link.

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
    with ExitStack() as stack:
        guide = (
            None if directory is None else stack.enter_context(Guide(directory, camera=camera.id, mode=settings.mode))
        )
        reader = Reader(
            settings,
            endpoint=parse_endpoint(connect_address(config.link_endpoint)) if guide is None else None,
            open_source=lambda: open_camera(camera),
            stopping=stopping,
            secure=security.link_client(config, camera.id) if guide is None else None,
            guide=guide,
            port_open=port_probe(camera.source) if is_endless(camera) else None,
        )
        reader.run()
    if reader.error:
        raise StreamError(f"camera {camera.id}: {reader.error}")


def score(
    config: Config,
    *,
    stopping: Stopping,
    reload: Callable[[], Config | None] = lambda: None,
    assigned: AssignedWatch | None = None,
) -> None:
    """The scoring worker, until it is stopped.

    Args:
        config: see there.
        stopping: polled.
        reload: asked once a round; gives a new configuration once, which the worker then takes.
        assigned: which cameras of the configuration it scores now, and with which galleries; asked once a round. None:
            all of them.

    Raises:
        ConfigError: no scene at all can be scored; says why for each. With ``assigned`` scenes may come later.
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
    if assigned is not None:
        assigned()
    settings = _worker_settings(config, None, assigned)
    modes = {camera.id: mode_of(camera) for camera in config.cameras}
    extractor = extractor_of(config, at_once=min(len(config.cameras), config.worker.max_batch))
    log.info("backbone %s runs in %s", extractor.backbone.name, runtime_of(config))
    engine = ScoringEngine(extractor, parameters_of(config), settings.galleries, explain=config.worker.explain)
    for scene, failure in engine.failures.items():
        log.error("scene %s cannot be scored: %s", scene, failure)
    if assigned is not None:
        engine.waiting = assigned.current.waiting
        engine.warm_up_network()
    elif not engine.scenes:
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
        LinkServer(endpoint, cameras=settings.cameras, others_may_come=assigned is not None, secure=secure) as link,
        Outbox(config.outbox, config.evidence) as outbox,
        Clips(made) as clips,
        _live_views(config) as live,
    ):
        log.info("scoring %d camera(s), %d scene(s) on %s", len(settings.cameras), len(engine.scenes), endpoint)

        candidates = DriftStore(config.drift_folder, most=config.drift.keep)
        drift = DriftCollector(config.drift.per_day, candidates.keep, problem=lambda: candidates.problem)
        _set_drift(drift, candidates, config)

        in_force = config

        def between_rounds() -> bool:
            nonlocal in_force
            fresh, orders = reload(), assigned() if assigned is not None else None
            if fresh is not None:
                in_force = fresh
                _set_drift(drift, candidates, fresh)
                modes.update({camera.id: mode_of(camera) for camera in fresh.cameras})
            if orders is not None:
                engine.waiting = orders.waiting
            if fresh is not None or orders is not None:
                worker.reconfigure(_worker_settings(in_force, ready_after, assigned))
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
            operator=SettingsWatch(config.operator_settings),
            assigned=assigned,
            drift=drift,
            live=live,
        )
        worker.run()


def _set_drift(collector: DriftCollector, store: DriftStore, config: Config) -> None:
    collector.per_day = 0 if config.drift.mode == "off" else config.drift.per_day
    store.most = config.drift.keep


@contextmanager
def _live_views(config: Config) -> Iterator[LiveViews]:
    from stream.live_views import LiveViews

    try:
        publisher = LivePublisher(parse_endpoint(config.live_endpoint))
    except UsageError as error:  # a full disk, say; a busy endpoint is another worker's
        log.error("there are no live views: %s", error)
        yield LiveViews(None, problem=str(error))
        return
    with publisher:
        yield LiveViews(publisher)


def _worker_settings(config: Config, ready_after: float | None, assigned: AssignedWatch | None) -> WorkerSettings:
    settings = _settings_of_all(config, ready_after)
    return settings if assigned is None else assigned.current.narrowed(settings)


def _settings_of_all(config: Config, ready_after: float | None) -> WorkerSettings:
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
        galleries={scene: config.gallery_of(scene) for camera in config.cameras for scene in camera.scene_names},
        moved_after={camera.id: camera.moved_after for camera in config.cameras},
        plans={camera.id: plan for camera in config.cameras if (plan := camera.scene_plan) is not None},
        zones={camera.id: camera.zones for camera in config.cameras},
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
    name = known_outbox_id(config.outbox)
    with FeedServer(
        endpoint, outbox, lambda: _status(config), retention=retention, secure=secure, outbox_id=name
    ) as server:
        log.info("feed on %s, last alert %d", server.endpoint, outbox.last_seq())
        server.run(stopping)


def _status(config: Config) -> dict[str, Any]:
    """What the worker says, what the supervisor says, and what the sinks of this machine say."""
    now = time.time()
    return {
        **read_status(config.status, now=now),
        **read_processes(config.processes, now=now),
        "sinks": read_facts(config.sink_folder, [sink.name for sink in config.sinks]),
    }


def sink(config: Config, name: str, *, stopping: Stopping) -> None:
    """One sink, fed from the feed, until it is stopped.

    Raises:
        StreamError: the sink cannot be opened, or the feed refuses it.
    """
    section = section_named(name, config.sinks)
    rejected = Rejected(config.sink_folder / safe_name(name) / "rejected")
    facts = SinkFacts(facts_path(config.sink_folder, name), kind=section.type, rejected=lambda: len(rejected))
    with _noted(facts):
        target = open_sink(section, _surroundings(config))
    events = WatchedBoard([camera.id for camera in config.cameras], lambda: _unwatched(config, subscriber))
    subscriber = AlertSubscriber(
        connect_address(config.feed.endpoint),
        name=name,
        on_event=events.note if isinstance(target, EventSink) else None,
        secure=security.feed_client(config, name),
    )
    with subscriber:
        try:
            with _noted(facts):
                run_sink(target, subscriber, stopping, events=events, facts=facts, rejected=rejected)
        finally:
            target.close()


@contextmanager
def _noted(facts: SinkFacts) -> Iterator[None]:
    """A sink that dies must not go on to look well, whatever it died of."""
    try:
        yield
    except StreamError as error:
        facts.failed(error)
        raise
    except Exception as error:
        # What such an error says may hold an address or a token: of its text nothing is told here.
        facts.failed(StreamError(f"an error that nobody expected ({type(error).__name__}); the log has it"))
        raise


def _unwatched(config: Config, subscriber: AlertSubscriber) -> str:
    """Why nobody watches any camera, as far as a sink can see; empty: somebody may."""
    if not subscriber.connected:
        return "the feed does not answer"
    if not config.status.exists():  # the worker is on another machine
        return ""
    state = read_status(config.status, now=time.time())["worker"]["state"]
    return "" if state in ("RUNNING", "DEGRADED") else f"the worker is {state}"


def try_sink(config: Config, name: str) -> str:
    """Delivers one test alert to a sink, beside a run that may use it; returns in words what was done.

    Raises:
        StreamError: the sink cannot be opened, or did not take it.
    """
    section = section_named(name, config.sinks)
    target, alert = open_sink(section, replace(_surroundings(config), trial=True)), trial_alert(time.time())
    try:
        if not KINDS[section.type].takes_trials:
            return f"sink {name} can be opened; it keeps what it gets, so no test alert was written"
        target.deliver(alert, trial_evidence())
    finally:
        target.close()
    return f"sink {name} took the test alert {alert.alert_id}"


def bring_again(config: Config, name: str) -> Outcome:
    """Delivers what a sink has laid aside, beside a run that may use it; see :func:`stream.sinks.again.bring_again`.

    Raises:
        StreamError: the sink cannot be opened.
    """
    section = section_named(name, config.sinks)
    rejected = Rejected(config.sink_folder / safe_name(name) / "rejected")
    target = open_sink(section, replace(_surroundings(config), trial=True))
    try:
        return again.bring_again(target, rejected, lambda alert: _kept_pictures(config, alert))
    finally:
        target.close()


def _kept_pictures(config: Config, alert: Alert) -> tuple[Alert, Evidence]:
    """The alert with the pictures that this machine's outbox still has of it; without any where it has none."""
    try:
        with OutboxReader(config.outbox, config.evidence) as outbox:
            for kept in outbox.of_alert(alert.alert_id):
                if kept.seq == alert.seq:
                    return outbox.deliverable(kept)
    except StreamError as error:
        log.warning("alert %d goes without pictures: %s", alert.seq, error)
    return without_pictures(alert), Evidence(b"", b"")


def _surroundings(config: Config) -> Surroundings:
    return Surroundings(
        cameras={camera.id: camera.scene_name for camera in config.cameras},
        folder=config.sink_folder,
        keys=config.security.keys,
    )
