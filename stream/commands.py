"""What each command does, in terms of the programs. One function a command: (arguments, stop) -> exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spade_core.calibration import in_words
from spade_core.errors import GalleryCorrupt, GalleryMismatch, GalleryNotFound, SpadeError
from spade_core.gallery import Gallery, confirmed_frames
from stream import logs, machine, programs, security
from stream.assigned import AssignedWatch
from stream.cluster.directory_client import DirectoryAddress
from stream.config import Config, load_config, parse_config, read_text
from stream.config_arguments import load_named
from stream.config_sections import CameraSection
from stream.console.checks import console_faults, missing_files
from stream.console.token import login_link
from stream.enroll_choice import to_enroll
from stream.errors import ConfigError, StreamError, UsageError
from stream.gallery_commands import now
from stream.gallery_store import store_of
from stream.gallery_store_commands import check_lines, publish_in_force
from stream.notify import Notifier
from stream.progress import Form, Step, progress_reporter, tell_result
from stream.reconnect import ReconnectingSource
from stream.reload import poller
from stream.sinks.registry import check_sink
from stream.sources import check_source, describe_source, is_live
from stream.sources.base import Source
from stream.sources.window import windowed
from stream.station import Reloading
from stream.stopping import ReloadSignal, StopSignal

log = logging.getLogger(__name__)


def demo(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.demo``."""
    from stream.demo import run_demo

    return run_demo(arguments.out, seed=arguments.seed, method=arguments.method, stopping=stop)


def check(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Says what a configuration amounts to."""
    from stream.engine import runtime_of

    config, problems = _load(arguments.config), []
    made_with = f"backbone {config.backbone.name}, method {config.method.name}"
    print(f"{arguments.config}: {len(config.cameras)} camera(s), {made_with}")
    try:
        print(f"  the backbone runs in {runtime_of(config)}")
    except SpadeError as error:
        problems.append(f"backbone: {error}")
    if config.backbone.weights is not None and not config.backbone.weights.is_file():
        problems.append(f"backbone.weights: {config.backbone.weights}: there is no such file")
    for index, camera in enumerate(config.cameras):
        rate = "every frame" if camera.fps is None else f"{camera.fps:g} frames/s"
        print(f"  {camera.id}: {describe_source(camera.source)}, {programs.mode_of(camera)}, {rate}")
        try:
            check_source(camera.source)
        except StreamError as error:
            problems.append(f"cameras[{index}].source: {error}")
        for scene in camera.scene_names:
            try:
                print(f"    scene {scene}{_in_force(camera, scene)}: {_gallery_line(config, camera, scene)}")
            except SpadeError as error:
                problems.append(f"scene {scene}: {error}")
    try:
        for line in check_lines(config):
            print(f"  {line}")
    except StreamError as error:
        problems.append(f"gallery.store: {error}")
    for section in config.sinks:
        try:
            print(f"  sink {section.name}: {check_sink(section)}")
        except StreamError as error:
            problems.append(f"sink {section.name}: {error}")
    try:
        if keys := security.check(config):
            print(f"  {keys}")
    except StreamError as error:
        problems.append(f"security: {error}")
    problems += console_faults(config)
    if problems:
        raise ConfigError(str(arguments.config), problems)
    print("the configuration is right")
    return 0


def enroll(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Makes the galleries of one camera or of all; with ``--cluster`` on many machines."""
    if arguments.cluster is not None:
        from stream.cluster.enroll_tasks import enroll_on_cluster

        return enroll_on_cluster(arguments, stop)
    from stream.engine import extractor_of, use_threads

    config = load_part(arguments)
    cameras = to_enroll(config, arguments.camera, arguments.scene)
    if arguments.source is not None and len(cameras) > 1:
        raise UsageError("--source replaces one camera's footage: say whose, with --camera")
    store_of(config)  # one that cannot be opened is said before the footage is watched, not after
    changes = {
        "source": arguments.source,
        "start": arguments.start,
        "seconds": arguments.seconds if arguments.minutes is None else 60 * arguments.minutes,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    use_threads(config.worker.threads)
    extractor = extractor_of(config)
    for camera in (camera.model_copy(update=changes) for camera in cameras):
        enroll_camera(
            config,
            camera,
            extractor,
            capacity=arguments.capacity,
            stop=stop,
            until_covered=arguments.until_covered,
            progress=arguments.progress,
        )
    return 0


def enroll_camera(
    config: Config,
    camera: CameraSection,
    extractor: Any,
    *,
    capacity: int | None,
    stop: StopSignal,
    until_covered: bool = False,
    progress: Form = "bar",
) -> Gallery:
    """Makes the gallery of a camera's scene, and says meanwhile how far that is."""
    from stream.engine import alarm_rule_of, parameters_of
    from stream.enroll import EnrollSettings, Progress, coverage_in_words
    from stream.enroll import enroll as make_gallery

    settings = EnrollSettings(
        capacity=capacity or config.gallery.capacity,
        holdout=config.gallery.holdout,
        false_alarms_per_day=config.gallery.false_alarms_per_day,
        rule=alarm_rule_of(config),
        fps=camera.fps,
        seconds=camera.seconds,
        until_covered=until_covered,
    )
    folder = config.gallery_of(camera.scene_name)
    lost, before = called_normal(folder)
    source = _open_to_watch(camera, stop)
    try:
        with progress_reporter(f"enroll {camera.scene_name}", unit="frame", form=progress) as tell:

            def on_progress(now_at: Progress) -> None:
                _check_stopped(stop)
                tell(Step(now_at.stage, now_at.frames, now_at.expected, now_at.in_words, now_at.coverage_json))

            gallery = make_gallery(
                source,
                folder,
                settings=settings,
                extractor=extractor,
                parameters=parameters_of(config),
                note={"made": now(), "scene": camera.scene_name, "camera": camera.id},
                on_progress=on_progress,
            )
    finally:
        source.close()
    calibration = gallery.calibration
    print(
        f"{folder}: {gallery.version}, {len(gallery)} frames, {gallery.size_bytes / 1e6:.0f} MB, threshold "
        f"{calibration.threshold:.4g} from {calibration.held_out} held-out frames (median {calibration.median:.4g}, "
        f"highest {calibration.highest:.4g})"
    )
    for line in (*in_words(calibration), *coverage_in_words(gallery.manifest["note"])):
        print(f"  {line}")
    if lost:
        print(f"  {lost} frame(s) called normal in {before} are not in this version: they may raise alerts again")
    stored = publish_in_force(config, camera.scene_name, stop=stop, form=progress)
    if progress == "json":
        found = {"scene": camera.scene_name, "version": gallery.version, "frames": len(gallery)}
        tell_result({**found, "normal_left_out": lost, **({} if stored is None else {"stored": stored})})
    return gallery


def called_normal(folder: Path) -> tuple[int, str]:
    """How many frames of the version in force somebody called normal, and which version that is; 0 where none is."""
    try:
        gallery = Gallery(folder)
    except SpadeError:
        return 0, ""
    return len(confirmed_frames(gallery.frames)), gallery.version


def _open_to_watch(camera: CameraSection, stop: StopSignal) -> Source:
    """A camera's source; one that is live is opened again where it drops out."""
    if not is_live(camera.source):
        return programs.open_camera(camera)
    whole = camera.model_copy(update={"start": 0.0, "seconds": None})  # the window is over all connections together

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _check_stopped(stop)
            time.sleep(0.1)

    source = ReconnectingSource(lambda: programs.open_camera(whole), wait=wait)
    return windowed(source, start=camera.start, seconds=camera.seconds)


def _check_stopped(stop: StopSignal) -> None:
    if stop():
        raise StreamError("stopped; no gallery was written")


def run(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Everything on this machine; with ``--cluster`` on many."""
    if arguments.cluster is not None:
        from stream.cluster.run_command import run_cluster

        return run_cluster(arguments, stop, on_tick_of=_tell_console)
    path: Path = arguments.config
    base = path.resolve().parent
    hang_up = ReloadSignal(on_lost_terminal=stop.ask)
    hang_up.install()

    def load(text: str) -> Config:
        return _runnable(parse_config(text, where=str(path), base=base, environment=os.environ), path)

    text = read_text(path)
    config = load(text)
    if arguments.log_format is None:
        logs.use(config.log.format)
    outcome = machine.run(
        config,
        path,
        on_tick=_tell_console(config, path),
        log_level=arguments.log_level,
        log_format=arguments.log_format,
        text=text,
        stopping=stop,
        reloading=Reloading(path=path, asked=hang_up, load=load, announce=logs.tell),
        notifier=Notifier(os.environ.get("NOTIFY_SOCKET")),
    )
    for failure in outcome.failed:
        logs.tell(failure, level=logging.ERROR)
    return 1 if outcome.failed else 0


def _tell_console(config: Config, path: Path) -> Callable[[], None]:
    return _once(lambda: _say_console(config, path))


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """Does it the first time only."""
    waiting = [act]
    return lambda: waiting.pop()() if waiting else None


def _say_console(config: Config, path: Path) -> None:
    """Where the console is, or why it is nowhere; the cameras are watched without it. The link that logs in is a
    secret: it is shown to whoever started the run on a terminal, not where it might be kept."""
    if not config.console.enabled:
        return
    if faults := console_faults(config):
        for fault in faults:
            logs.tell(f"the console cannot start: {fault}", level=logging.ERROR)
        return
    try:
        shown = login_link(config)
    except StreamError as error:
        logs.tell(f"console: {error}", level=logging.ERROR)
        return
    if sys.stderr.isatty() and config.console.users is None:
        print(f"spade-stream: console: open {shown}", file=sys.stderr, flush=True)
    else:
        address = shown.partition("/login")[0]
        logs.tell(f"console: {address}/ ('spade-stream console link {path}' prints a link that logs in)")


def _runnable(config: Config, path: Path) -> Config:
    """The configuration, if a run can begin with it.

    Raises:
        SourceError: a file or folder is missing.
        KeyFileError: a key cannot be used.
        SinkError: a sink could not be opened: a library, a template or a secret is missing.
        ConfigError: the console's section names a file that is not there.
        StreamError: no scene at all can be scored; says why for each.
    """
    for camera in config.cameras:
        check_source(camera.source)
    security.check(config)
    for sink in config.sinks:
        check_sink(sink)
    if missing := missing_files(config):
        raise ConfigError(str(path), missing)
    unusable = _unusable_galleries(config)
    if len(unusable) == len(_scenes(config)):
        problems = [f"scene {scene}: {error}" for scene, error in unusable.items()]
        if any(isinstance(error, GalleryCorrupt) for error in unusable.values()):  # not the configuration's fault
            raise StreamError("\n".join(problems))
        raise ConfigError(str(path), problems)
    return config


def read(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """The reader of one camera."""
    config, directory = load_part(arguments), None
    if arguments.cluster is not None:
        key = security.directory_key(config, arguments.camera, server=arguments.directory_key)
        directory = DirectoryAddress(arguments.cluster, key)
    elif arguments.directory_key is not None:
        raise UsageError("--directory-key goes with --cluster")
    programs.read(config, arguments.camera, stopping=stop, directory=directory)
    return 0


def score(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """The scoring worker."""
    hang_up = ReloadSignal(pulse=stop.pulse)
    hang_up.install()
    reload = poller(hang_up, lambda: load_part(arguments))
    assigned = None if arguments.assigned is None else AssignedWatch(arguments.assigned)
    programs.score(load_part(arguments), stopping=stop, reload=reload, assigned=assigned)
    return 0


def feed(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """The alert feed."""
    programs.feed(load_part(arguments), stopping=stop)
    return 0


def sink(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """One sink. With ``--again``, exits 1 where something still lies aside."""
    config = load_part(arguments)
    if arguments.again:
        return _bring_again(config, arguments.name)
    if arguments.test:
        print(programs.try_sink(config, arguments.name))
        return 0
    programs.sink(config, arguments.name, stopping=stop)
    return 0


def _bring_again(config: Config, name: str) -> int:
    outcome = programs.bring_again(config, name)
    print(f"sink {name} took {outcome.taken} alert(s) that lay aside; {outcome.left} still do")
    if outcome.problem:
        print(outcome.problem, file=sys.stderr)
    return 1 if outcome.left else 0


def console(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """The web console: serves it, or sees to who may log in."""
    from stream.console.commands import console as run_console  # its web server takes a while to load

    return run_console(arguments, stop)


def replay(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.replay``."""
    from stream.replay import ReplayOptions, run_replay

    options = ReplayOptions(
        source=arguments.source,
        gallery=arguments.gallery,
        out=arguments.out,
        fps=arguments.fps,
        folder_fps=arguments.folder_fps,
        start=arguments.start,
        seconds=arguments.seconds,
        recorded_at=arguments.recorded_at,
        weights=arguments.weights,
        device=arguments.device,
        maps=arguments.maps,
    )
    return run_replay(options, stopping=stop)


def evaluate(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.evaluate``."""
    if arguments.compare is not None:
        from stream.evaluate.compare import run_compare

        return run_compare(arguments.compare, out=arguments.out, mixed=arguments.mixed)
    if arguments.part is not None:
        from stream.evaluate.part import run_part

        return run_part(arguments.part, stopping=stop)
    if missing := [f"--{name}" for name in ("dataset", "root", "out") if getattr(arguments, name) is None]:
        raise UsageError(f"eval needs {', '.join(missing)} (or --compare DIR ..., for runs that are there already)")
    from stream.evaluate.options import PARAMETERS, EvalOptions
    from stream.evaluate.run import Score, run_eval, score_all
    from stream.evaluate.table import run_table

    given = {name: getattr(arguments, name) for name in PARAMETERS}
    options = EvalOptions(
        dataset=arguments.dataset,
        root=arguments.root,
        out=arguments.out,
        method=arguments.method,
        parameters={name: value for name, value in given.items() if value is not None},
        backbone=arguments.backbone,
        weights=arguments.weights,
        device=arguments.device,
        capacity=arguments.capacity,
        every=arguments.every,
        scenes=arguments.scenes,
        false_alarms_per_day=arguments.false_alarms_per_day,
        keep_maps=arguments.keep_maps,
        galleries=arguments.galleries,
    )
    score: Score = score_all
    if arguments.cluster is not None and options.is_peer:
        raise UsageError(f"--cluster: {options.method} runs on one machine only; leave --cluster out")
    if arguments.cluster is not None:
        from stream.cluster.eval_tasks import scoring_on

        score = scoring_on(arguments.cluster, cpus=arguments.task_cpus)
    elif arguments.task_cpus is not None:
        raise UsageError("--task-cpus goes with --cluster")
    if arguments.table is not None:
        return run_table(options, arguments.table, stopping=stop, score=score)
    return run_eval(options, stopping=stop, score=score)


def _load(path: Path) -> Config:
    return load_config(path, os.environ)


def load_part(arguments: argparse.Namespace) -> Config:
    """The configuration of a part of ``run``: its supervisor hands over a copy, and says where that came from."""
    config = load_named(arguments)
    if arguments.log_format is None:
        logs.use(config.log.format)
    return config


def _unusable_galleries(config: Config) -> dict[str, SpadeError]:
    failures: dict[str, SpadeError] = {}
    for scene in _scenes(config):
        try:
            _open_gallery(config, scene)
        except SpadeError as error:
            failures[scene] = error
    return failures


def _scenes(config: Config) -> list[str]:
    """Of all cameras, each once."""
    return list(dict.fromkeys(scene for camera in config.cameras for scene in camera.scene_names))


def _in_force(camera: CameraSection, scene: str) -> str:
    """When one of several scenes is in force, in words."""
    if camera.scenes is None or camera.scene_plan is None:
        return ""
    if camera.scene_plan.by == "picture":
        return " (chosen by the picture)"
    hours = [part.hours or "otherwise" for part in camera.scenes if part.scene == scene]
    return f" ({', '.join(hours)}, {camera.timezone or 'local time'})"


def _gallery_line(config: Config, camera: CameraSection, scene: str) -> str:
    try:
        gallery = _open_gallery(config, scene)
    except GalleryNotFound:
        which = f" --scene {scene}" if camera.scenes is not None else ""
        return f"not enrolled yet (spade-stream enroll ... --camera {camera.id}{which})"
    return "; ".join(
        [f"gallery {gallery.folder}, {gallery.version}, {len(gallery)} frames", *_asked_otherwise(config, gallery)]
    )


def _asked_otherwise(config: Config, gallery: Gallery) -> list[str]:
    """What the gallery's threshold was set for, where the configuration says something else. It works all the same."""
    calibration = gallery.calibration
    made_with = {
        "gallery.false_alarms_per_day": (calibration.false_alarms_per_day, config.gallery.false_alarms_per_day),
        "alerts.min_duration": (calibration.alarms.min_duration, config.alerts.min_duration),
    }
    return [
        f"its threshold was set for {field} {then:g}, and this configuration says {now:g}; enroll again to set it so"
        for field, (then, now) in made_with.items()
        if then != now
    ]


def _open_gallery(config: Config, scene: str) -> Gallery:
    """A scene's gallery.

    Raises:
        GalleryMismatch: the configuration alone shows that it cannot be used. The weights are compared by the worker.
    """
    gallery = Gallery(config.gallery_of(scene))
    made_with = {
        "backbone.name": gallery.fingerprint.get("backbone"),
        "method.size": gallery.fingerprint.get("preprocessing", {}).get("size"),
        "method.crop": gallery.fingerprint.get("preprocessing", {}).get("crop"),
        "method.name": gallery.calibration.parameters.get("method"),
    }
    wanted = {
        "backbone.name": config.backbone.name,
        "method.size": config.method.size,
        "method.crop": config.method.crop,
        "method.name": config.method.name,
    }
    differing = [
        f"{field} {made_with[field]}, but this configuration says {wanted[field]}"
        for field in wanted
        if made_with[field] != wanted[field]
    ]
    if differing:
        raise GalleryMismatch(
            f"{gallery.folder}: made with {'; '.join(differing)}. Change it back, or enroll the scene again"
        )
    return gallery
