"""The galleries of an evaluation: enrolled as ``spade-stream enroll`` does, or taken from an earlier run that made the
same ones."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spade_core.errors import GalleryError
from spade_core.gallery import Gallery
from spade_core.gallery_layout import CALIBRATION, MANIFEST, file_entry, manifest_digest
from stream.commands import enroll_camera
from stream.config import Config
from stream.evaluate.workspace import SceneFootage
from stream.progress import Form
from stream.stopping import StopSignal

BORROWED = ("k", "kappa", "levels", "neighbours", "seed", "sigma")
"""Parameters of faithful SPADE that leave a gallery's features as they are: only its threshold hangs on them."""


@dataclass(frozen=True, slots=True)
class SceneGallery:
    """Where a scene's gallery comes from."""

    folder: Path
    reused: bool
    borrowed: bool  # its threshold was set with other parameters: what alerts by it says nothing


def find_galleries(config: Config, footage: Sequence[SceneFootage], earlier: Path | None) -> dict[str, SceneGallery]:
    """For every scene the gallery of an earlier run, where that was made from the same footage with the same settings;
    else the place where one is to be made.

    Args:
        config: of this run.
        footage: of all scenes.
        earlier: ``galleries`` folder of the earlier run; None = make all.
    """
    found = {}
    for scene in footage:
        own = SceneGallery(config.gallery_of(scene.scene.name), reused=False, borrowed=False)
        found[scene.scene.name] = own if earlier is None else _earlier(config, scene, earlier) or own
    return found


def enroll_missing(
    config: Config,
    footage: Sequence[SceneFootage],
    galleries: Mapping[str, SceneGallery],
    *,
    stop: StopSignal,
    progress: Form = "bar",
) -> dict[str, Gallery]:
    """Opens all galleries; makes those that are not there yet from all training frames of their scene."""
    opened, extractor = {}, None
    for scene in footage:
        gallery = galleries[scene.scene.name]
        if gallery.reused:
            opened[scene.scene.name] = Gallery(gallery.folder)
            continue
        if extractor is None:
            from stream.engine import extractor_of  # loads torch, which takes seconds

            extractor = extractor_of(config)
        camera = config.camera(scene.camera).model_copy(update={"source": str(scene.train), "fps": None})
        made = enroll_camera(config, camera, extractor, capacity=None, stop=stop, progress=progress)
        opened[scene.scene.name] = made
        _note(gallery.folder).write_text(json.dumps(_made_from(config, scene), indent=1), encoding="utf-8")
    return opened


def _earlier(config: Config, scene: SceneFootage, folder: Path) -> SceneGallery | None:
    place = folder.resolve() / scene.scene.name
    wanted = json.loads(json.dumps(_made_from(config, scene)))
    try:
        made = json.loads(_note(place).read_text(encoding="utf-8"))
        Gallery(place)
    except (OSError, ValueError, GalleryError) as error:
        print(f"scene {scene.scene.name}: no gallery to reuse in {place} ({error}); it is enrolled")
        return None
    differing = _differing(wanted, made)
    if not differing:
        return SceneGallery(place, reused=True, borrowed=False)
    if config.method.name == "spade" and set(differing) <= {f"method.{name}" for name in BORROWED}:
        from stream.engine import parameters_of

        own = config.gallery_of(scene.scene.name)
        _borrow(place, own, parameters=parameters_of(config).describe())
        return SceneGallery(own, reused=True, borrowed=True)
    print(f"scene {scene.scene.name}: {place} was made with other {', '.join(differing)}; it is enrolled again")
    return None


def _made_from(config: Config, scene: SceneFootage) -> dict[str, Any]:
    """All that a gallery and its threshold hang on, as JSON values."""
    return {
        "train": sorted(str(clip.resolve()) for clip in scene.scene.train),
        "train_frames": scene.train_frames,
        "backbone": config.backbone.model_dump(mode="json", exclude={"device", "runtime"}),
        "method": {**config.method.parameters(), "size": config.method.size, "crop": config.method.crop},
        "gallery": config.gallery.model_dump(mode="json", exclude={"folder"}),
        "alerts": config.alerts.model_dump(mode="json"),
    }


def _differing(wanted: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    names = []
    for section in wanted:
        ours, theirs = wanted[section], made.get(section)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names += [f"{section}.{key}" for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        elif ours != theirs:
            names.append(section)
    return names


def _borrow(source: Path, target: Path, *, parameters: Mapping[str, Any]) -> None:
    """A gallery with the features of another one (the same files, not copies) and other parameters beside its
    thresholds, which stay those that the other one was given."""
    version = Gallery(source).version
    folder = target / version
    shutil.copytree(source / version, folder, copy_function=_link)
    calibration = json.loads((folder / CALIBRATION).read_bytes())
    manifest = json.loads((folder / MANIFEST).read_bytes())
    _rewrite(folder / CALIBRATION, {**calibration, "parameters": dict(parameters)})
    manifest["files"][CALIBRATION] = file_entry(folder / CALIBRATION)
    body = {key: value for key, value in manifest.items() if key != "digest"}
    _rewrite(folder / MANIFEST, {**body, "digest": manifest_digest(body)})
    shutil.copy(source / "CURRENT", target / "CURRENT")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _rewrite(path: Path, data: Any) -> None:
    path.unlink()  # written in place, it would change the file that it is a link to
    path.write_text(json.dumps(data), encoding="utf-8")


def _note(gallery: Path) -> Path:
    return gallery.with_name(f"{gallery.name}.eval.json")
