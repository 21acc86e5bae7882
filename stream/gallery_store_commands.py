"""``gallery push``, ``pull`` and ``stored``: galleries of this machine and those of the store that machines share. And
what every command does that puts a version in force: where there is a store, it publishes it there.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spade_core.errors import GalleryNotFound, SpadeError
from spade_core.gallery_layout import current_version, read_manifest
from stream.cli_arguments import add_command, add_origin, add_progress
from stream.config import Config
from stream.config_arguments import chosen_scenes, load_named
from stream.errors import GalleryStoreError, StreamError, UsageError
from stream.gallery_store import GalleryStore, StoredVersion
from stream.progress import Form, Step, progress_reporter
from stream.stopping import StopSignal

log = logging.getLogger(__name__)


def add_store(actions: Any) -> None:
    """Adds the three to the actions of ``gallery``."""
    push = add_command(
        actions,
        "push",
        push_galleries,
        "publish galleries of this machine in the store that machines share (gallery.store)",
        "'enroll' and all that puts a version in force do so by themselves; this is for galleries made before there\n"
        "was a store, and for what could not be published then.",
    )
    pull = add_command(
        actions,
        "pull",
        pull_galleries,
        "fetch galleries from the store, and put them in force on this machine",
        "What was in force stays as an older version. Workers of a cluster fetch by themselves.",
    )
    stored = add_command(
        actions, "stored", list_stored, "list what the store holds, and whether this machine has the same"
    )
    stored.add_argument("--json", action="store_true", help="print it as JSON")
    for command in (push, pull, stored):
        command.add_argument("config", type=Path, metavar="CONFIG")
        add_origin(command)
    for command in (push, pull):
        command.add_argument("--scene", metavar="NAME", help="only this scene (all)")
        add_progress(command)


def push_galleries(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Publishes. Exits 1 where one of several cannot be."""
    config = load_named(arguments)
    store = _given_store(config)

    def push(scene: str) -> None:
        _publish(store, config.gallery_of(scene), scene, form=arguments.progress, stop=stop)

    return _for_each(chosen_scenes(config, arguments.scene), push)


def pull_galleries(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Fetches. Exits 1 where one of several cannot be."""
    config = load_named(arguments)
    store = _given_store(config)

    def pull(scene: str) -> None:
        folder = config.gallery_of(scene)
        if store.is_gallery(folder, scene):
            print(f"scene {scene}: its gallery is the one in the store")
            return
        with _telling(f"fetch {scene}", arguments.progress, stop, "the version in force is as it was") as tell:
            stored = store.current(scene)
            version = store.fetch(stored, folder, tell)
        print(f"{folder}: {version} is in force ({stored.frames} frames), {stored.version} of {store.name}")

    return _for_each(chosen_scenes(config, arguments.scene), pull)


def list_stored(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Lists. Exits 1 where a scene of this configuration has nothing usable in the store."""
    config = load_named(arguments)
    store = _given_store(config)
    own = chosen_scenes(config, None)
    found = [_stored_json(store, config, scene) for scene in dict.fromkeys([*own, *store.scenes()])]
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print(store.name)
        for one in found:
            print(f"  {one['scene']}: {_stored_words(one)}")
    return 1 if any(one["problem"] and one["scene"] in own for one in found) else 0


def publish_in_force(config: Config, scene: str, *, stop: StopSignal, form: Form = "bar") -> str | None:
    """After a scene's gallery has another version in force on this machine: publishes it in the store, if there is one.

    Returns:
        The version's name there; None where nothing had to be published.

    Raises:
        GalleryStoreError: it is in force here, but not in the store; says how to try again.
    """
    if config.gallery.store is None:
        return None
    store, folder = GalleryStore(config.gallery.store), config.gallery_of(scene)
    if store.is_gallery(folder, scene):
        return None
    try:
        return _publish(store, folder, scene, form=form, stop=stop)
    except (StreamError, SpadeError) as error:
        raise GalleryStoreError(
            f"{folder}: {current_version(folder)} is in force here, but could not be published for other machines: "
            f"{error}. Try again with 'spade-stream gallery push CONFIG --scene {scene}'"
        ) from None


def publish_folder(arguments: argparse.Namespace, stop: StopSignal) -> Callable[..., None]:
    """For commands that are given a gallery folder, and perhaps ``--config``: what publishes it once it is changed.

    Raises:
        ConfigError: the configuration is wrong.
        UsageError: it has no such gallery.
    """
    if arguments.config is None:
        return lambda form="bar": None
    config, folder = load_named(arguments), arguments.gallery.resolve()
    scenes = [scene for scene in chosen_scenes(config, None) if config.gallery_of(scene).resolve() == folder]
    if not scenes:
        raise UsageError(f"--config {arguments.config}: {arguments.gallery} is not the gallery of one of its scenes")

    def publish(form: Form = "bar") -> None:
        for scene in scenes:
            publish_in_force(config, scene, stop=stop, form=form)

    return publish


def store_words(config: Config, arguments: argparse.Namespace) -> str:
    """What a command that undoes something needs at its end, so that the store follows; "" where there is none."""
    return "" if config.gallery.store is None else f" --config {arguments.named or arguments.config}"


def check_lines(config: Config) -> Iterator[str]:
    """What ``check`` says about the store, line by line; nothing where there is none.

    Raises:
        UsageError, GalleryStoreError: it cannot be used, or not read now.
    """
    if config.gallery.store is None:
        return
    store = GalleryStore(config.gallery.store)
    there = store.scenes()
    yield f"galleries of all machines: {store.name}, {len(there)} scene(s)"
    for scene in chosen_scenes(config, None):
        yield f"  scene {scene}: {_stored_words(_stored_json(store, config, scene))}"


def _publish(store: GalleryStore, folder: Path, scene: str, *, form: Form, stop: StopSignal) -> str:
    with _telling(f"publish {scene}", form, stop, "nothing was published") as tell:
        stored = store.publish(folder, scene, tell)
    if form == "bar":  # a program reads lines of JSON only
        print(f"scene {scene}: {stored.version} is in force in {store.name} ({stored.frames} frames)")
    return stored.version


@contextmanager
def _telling(what: str, form: Form, stop: StopSignal, stopped: str) -> Iterator[Callable[[int, int], None]]:
    with progress_reporter(what, unit="B", form=form, scaled=True) as report:

        def tell(done: int, total: int) -> None:
            if stop():
                raise StreamError(f"stopped; {stopped}")
            report(Step(what.partition(" ")[0], done, total))

        yield tell


def _for_each(scenes: Sequence[str], do: Callable[[str], None]) -> int:
    """Each scene, whatever becomes of the others. One alone raises its error as it is."""
    failures = 0
    for scene in scenes:
        try:
            do(scene)
        except (StreamError, SpadeError) as error:
            if len(scenes) == 1:
                raise
            failures += 1
            log.error("scene %s: %s", scene, error)
    return 1 if failures else 0


def _stored_json(store: GalleryStore, config: Config, scene: str) -> dict[str, Any]:
    known = scene in chosen_scenes(config, None)
    found: dict[str, Any] = {"scene": scene, "configured": known, "stored": None, "here": None, "problem": None}
    try:
        here = _here(config.gallery_of(scene))
        stored = store.current(scene)
    except GalleryNotFound:
        return {**found, "problem": "the store has no gallery of it"}
    except SpadeError as error:
        return {**found, "problem": str(error)}
    return {
        **found,
        "stored": _version_json(stored),
        "here": here,
        "same": here is not None and here[1] == stored.digest,
    }


def _version_json(stored: StoredVersion) -> dict[str, Any]:
    return {
        "version": stored.version,
        "digest": stored.digest,
        "frames": stored.frames,
        "bytes": stored.size_bytes,
        "made": stored.made or None,
    }


def _stored_words(found: dict[str, Any]) -> str:
    if found["problem"]:
        return str(found["problem"])
    stored = found["stored"]
    made = f", made {stored['made']}" if stored["made"] else ""
    return f"{stored['version']}, {stored['frames']} frames, {stored['bytes'] / 1e6:.1f} MB{made}; {_compared(found)}"


def _compared(found: dict[str, Any]) -> str:
    if found["here"] is None:
        return "not on this machine"
    return (
        "the same is in force here" if found["same"] else f"here {found['here'][0]} is in force, which is another one"
    )


def _here(folder: Path) -> tuple[str, str] | None:
    """Name and digest of what is in force on this machine; None where that cannot be told."""
    try:
        version = current_version(folder)
        return version, str(read_manifest(folder / version)["digest"])
    except SpadeError:
        return None


def _given_store(config: Config) -> GalleryStore:
    if config.gallery.store is None:
        raise UsageError("gallery.store is not set: say there which folder or URL the machines share galleries by")
    return GalleryStore(config.gallery.store)
