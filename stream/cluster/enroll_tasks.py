"""``enroll --cluster``: each camera's gallery is made on a node, by the same command, and published in the store that
the machines share. Nothing of it stays on that node.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from stream import logs
from stream.cluster.ray_tasks import ray_runner, wants_gpu
from stream.cluster.settings_text import named_variables
from stream.cluster.task_view import view_of
from stream.cluster.tasks import FOLDER, Outcome, Runner, SharedFolder, Task, run_tasks
from stream.commands import called_normal
from stream.config import Config, parse_config, read_text
from stream.config_sections import CameraSection
from stream.enroll_choice import to_enroll
from stream.errors import UsageError
from stream.gallery_places import folder_of
from stream.gallery_store import GalleryStore, store_of
from stream.progress import Form, tell_result
from stream.sources import local_path
from stream.stopping import StopSignal

log = logging.getLogger(__name__)

SOURCE = "SPADE_TASK_SOURCE"
"""Environment variable with the footage that ``--source`` names. It may be an address with a password."""

_CONFIG = "site.yaml"
_SHARE = "Set gallery.store in the configuration: a URL, or a folder that all machines mount"

MakeRunner = Callable[[str, Config, StopSignal], AbstractContextManager[Runner]]
"""A runner at an address."""


def enroll_on_cluster(arguments: argparse.Namespace, stop: StopSignal, *, runner: MakeRunner | None = None) -> int:
    """Makes the galleries of one camera or of all; returns the exit code: 1 where one could not be made.

    Args:
        arguments: of ``enroll``.
        stop: polled.
        runner: for tests.

    Raises:
        ConfigError, UsageError: nothing could be begun.
        StreamError: told to stop; the galleries that were done are in the store.
    """
    config, text, base = _read(arguments)
    cameras = to_enroll(config, arguments.camera, arguments.scene)
    if arguments.source is not None and len(cameras) > 1:
        raise UsageError("--source replaces one camera's footage: say whose, with --camera")
    store = store_of(config)  # one that cannot be opened is said before hours of work, not after
    apart = _apart(config, cameras, store)
    lost = {camera.id: called_normal(config.gallery_of(camera.scene_name)) for camera in cameras}
    with (runner or _on_ray)(arguments.cluster, config, stop) as found, _shared(config) as shared:
        tasks = [_task(camera, arguments, config, text, base, shared) for camera in cameras]
        told = {task.name: _environment(task, arguments) for task in tasks}
        outcomes = run_tasks(tasks, found, view=view_of(arguments.progress), stop=stop, environment=told)
    failed = [name for name, outcome in outcomes.items() if outcome.code != 0]
    for name, outcome in outcomes.items():
        _report(name, outcome, form=arguments.progress, store=store.name, lost=lost[name])
        if name in apart and outcome.code == 0 and arguments.progress != "json":
            print(f"  {apart[name]}")
    if arguments.progress == "json":
        tell_result({"done": len(outcomes) - len(failed), "failed": failed})
    return 1 if failed else 0


def _apart(config: Config, cameras: Sequence[CameraSection], store: GalleryStore) -> dict[str, str]:
    """By camera, what is left to do where its scene has a folder of its own: workers use that, and not the store."""
    found: dict[str, str] = {}
    for scene, camera in ((camera.scene_name, camera.id) for camera in cameras):
        folder = config.gallery_of(scene)
        if scene not in config.scenes or store.is_gallery(folder, scene):
            continue
        if config.gallery.store is None:
            raise UsageError(
                f"scene {scene}: workers look for its gallery in {folder} (scenes.{scene}.gallery), which enroll "
                "--cluster does not write. Leave that entry out, or enroll this one without --cluster"
            )
        found[camera] = (
            f"workers look for it in {folder} (scenes.{scene}.gallery): 'spade-stream gallery pull CONFIG "
            f"--scene {scene}' brings it into that folder of this machine"
        )
    return found


def _on_ray(address: str, config: Config, stop: StopSignal) -> AbstractContextManager[Runner]:
    gpus = config.cluster.gpus and wants_gpu(config.backbone.device)
    return ray_runner(address, cpus=config.cluster.worker_cpus, gpus=gpus, stop=stop)


def _read(arguments: argparse.Namespace) -> tuple[Config, str, Path]:
    path: Path = arguments.config
    where, base = str(arguments.named or path), (arguments.base or path.parent).resolve()
    text = read_text(path, where=where)
    config = parse_config(text, where=where, base=base, environment=os.environ)
    if arguments.log_format is None:
        logs.use(config.log.format)
    return config, text, base


@contextmanager
def _shared(config: Config) -> Iterator[SharedFolder | None]:
    """The folder that all nodes have to see, with its mark in it; None where the store is not a folder."""
    folder = _folder_of_store(config)
    if folder is None:
        yield None
        return
    with marked(folder, _SHARE) as shared:
        yield shared


@contextmanager
def marked(folder: Path, remedy: str) -> Iterator[SharedFolder]:
    """A folder with a mark in it, by which nodes see that they have the same.

    Raises:
        UsageError: it cannot be written.
    """
    mark = folder / f".shared-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror or error}") from None
    try:
        yield SharedFolder(str(folder.resolve()), mark.name, remedy)
    finally:
        mark.unlink(missing_ok=True)


def _folder_of_store(config: Config) -> Path | None:
    if config.gallery.store is None:
        return Path(config.gallery.folder)
    return folder_of(config.gallery.store)


def _task(
    camera: CameraSection,
    arguments: argparse.Namespace,
    config: Config,
    text: str,
    base: Path,
    shared: SharedFolder | None,
) -> Task:
    where = str(arguments.named or arguments.config)
    words = ["enroll", f"{FOLDER}/{_CONFIG}", "--base", str(base), "--named", where, "--progress", "json"]
    words += ["--camera", camera.id, "--scene", camera.scene_name, "--log-level", arguments.log_level]
    words += ["--log-format", "human"]  # its last words are handed on to people
    seconds = arguments.seconds if arguments.minutes is None else 60 * arguments.minutes
    for option, value in (("--start", arguments.start), ("--seconds", seconds), ("--capacity", arguments.capacity)):
        words += [] if value is None else [option, repr(value)]
    words += ["--until-covered"] if arguments.until_covered else []
    store = config.gallery.store or str(Path(config.gallery.folder).resolve())
    device = None if config.cluster.gpus else "cpu"  # Ray hides no GPU from a task that was given none
    told = enroll_config(text, camera.id, store=store, source=arguments.source is not None, device=device)
    return Task(
        name=camera.id,
        words=tuple(words),
        files={_CONFIG: told},
        network=None if arguments.source is not None else camera.network,
        shared=shared,
        place=str(base / config.cluster.folder),
        keeps=f"galleries/{camera.scene_name}/CURRENT",
    )


def enroll_config(text: str, camera: str, *, store: str, source: bool, device: str | None = None) -> str:
    """The user's configuration for a node that makes one camera's gallery: that camera alone, in the folder of its
    task, published in the store. ``${NAME}`` stays as it stands.

    Args:
        text: the user's.
        camera: id of the camera.
        store: see ``gallery.store``.
        source: its footage is named by the variable ``SPADE_TASK_SOURCE``.
        device: what computes, where the user says ``auto``; None: that stays.
    """
    data: dict[str, Any] = yaml.safe_load(text)
    one = next(each for each in data["cameras"] if str(each.get("id")) == camera)
    data["cameras"] = [{**one, "source": f"${{{SOURCE}}}"} if source else one]
    for name in ("scenes", "link", "feed", "security", "sinks"):  # places and secrets of the machine that runs it all
        data.pop(name, None)
    gallery = {**(data.get("gallery") or {}), "folder": f"{FOLDER}/galleries", "store": store}
    backbone = data.get("backbone") or {}
    if device is not None and backbone.get("device", "auto") == "auto":
        data["backbone"] = {**backbone, "device": device}
    data |= {"gallery": gallery, "state": f"{FOLDER}/state", "console": {"enabled": False}}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _environment(task: Task, arguments: argparse.Namespace) -> Mapping[str, str]:
    source = arguments.source
    path = None if source is None else local_path(source)
    given = {} if source is None else {SOURCE: source if path is None else str(path.resolve())}
    return named_variables(task.files[_CONFIG], {**os.environ, **given})


def _report(name: str, outcome: Outcome, *, form: Form, store: str, lost: tuple[int, str]) -> None:
    """Says what came of a camera, in the words of the command."""
    if outcome.code != 0:
        logs.tell(f"camera {name}: {outcome.error}", level=logging.ERROR)
        return
    if form == "json":
        return
    result, (normal, before) = outcome.result or {}, lost
    print(f"{name}: {result.get('scene')}/{result.get('stored')} is in force in {store}, made on {outcome.node}")
    for line in outcome.said:
        found = line.partition(f"/galleries/{result.get('scene')}: ")[2]  # the folder was the task's, and is gone
        print(f"  {(found or line).strip()}")
    if normal:
        print(f"  {normal} frame(s) called normal in {before} are not in this version: they may raise alerts again")
