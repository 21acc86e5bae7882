"""The folders and the configuration that an evaluation gives the ordinary pipeline: one camera per scene.

The clips of a scene are symbolic links in one folder, which the pipeline reads as any other folder of clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spade_core.calibration import MIN_HELD_OUT
from stream.config import build_config
from stream.config_sections import GallerySection
from stream.errors import UsageError
from stream.evaluate.datasets.model import Dataset, Scene
from stream.evaluate.options import EvalOptions
from stream.sources import open_source
from stream.sources.base import SourceInfo
from stream.sources.folder import natural_key

ALERTS = "alerts.jsonl"

LEAST_HELD_OUT = 1.5 * MIN_HELD_OUT
"""Normal frames kept out of a gallery, of images and of short footage: some go with the gap between the two parts."""

MOST_HELD_OUT = 0.5
"""Part of the normal frames that may be kept out for that."""


@dataclass(frozen=True, slots=True)
class SceneFootage:
    """A scene's clips as the pipeline reads them."""

    scene: Scene
    train: Path  # folder of links to the training clips
    test: Path  # folder of links to the test clips
    fps: float  # native rate of the test clips
    starts: Mapping[str, int]  # by test clip: index of its first frame in the folder
    counts: Mapping[str, int]  # by test clip: native frames
    train_frames: int

    @property
    def camera(self) -> str:
        """Id of the camera that stands for the scene."""
        return self.scene.name

    def expected(self, every: int) -> int:
        """Frames that will be scored, where every ``every``-th is."""
        return -(-sum(self.counts.values()) // every)


def chosen_scenes(dataset: Dataset, names: Sequence[str]) -> tuple[Scene, ...]:
    """The scenes with these names, all if none is named. Raises UsageError for a name that the dataset lacks."""
    known = {scene.name: scene for scene in dataset.scenes}
    if missing := [name for name in names if name not in known]:
        raise UsageError(f"--scenes {','.join(missing)}: {dataset.name} has {', '.join(known)}")
    return tuple(known[name] for name in names) if names else tuple(dataset.scenes)


def link_scene(folder: Path, scene: Scene, *, folder_fps: float) -> SceneFootage:
    """Links the clips of a scene under ``folder`` and counts their frames.

    Raises:
        SourceError: a clip cannot be opened.
        UsageError: the length of a video file is not known before it is read to its end.
    """
    train = _linked(folder / scene.name / "train", {clip.name: clip for clip in scene.train})
    links = {_link_name(clip.name, clip.frames): clip for clip in scene.test}
    test = _linked(folder / scene.name / "test", {name: clip.frames for name, clip in links.items()})
    info, _ = _info(test, folder_fps)
    in_order = [links[name].name for name in sorted(links, key=lambda name: natural_key(Path(name)))]
    starts, ends = info.segment_starts, [*info.segment_starts[1:], info.frame_count or 0]
    counts = [end - start for start, end in zip(starts, ends, strict=True)]
    return SceneFootage(
        scene=scene,
        train=train,
        test=test,
        fps=info.fps or folder_fps,
        starts=dict(zip(in_order, starts, strict=True)),
        counts=dict(zip(in_order, counts, strict=True)),
        train_frames=_info(train, folder_fps)[1],
    )


def check_settings(options: EvalOptions, dataset: Dataset) -> None:
    """Finds what is wrong with what was asked for, before anything on the disk is touched.

    Raises:
        ConfigError: a value is out of bounds, or a parameter is of another method.
        UsageError: there is no such backbone, or no such file of weights.
    """
    if options.weights is not None and not options.weights.is_file():
        raise UsageError(f"--weights {options.weights}: there is no such file")
    stand_in = {"cameras": [{"id": "scene", "source": "clips"}], **_method_sections(options, dataset)}
    config = build_config(stand_in, where="eval", base=options.out.resolve(), environment={})
    from spade_core.backbone import known_backbones  # loads torch

    if config.backbone.name not in known_backbones():
        raise UsageError(f"--backbone {config.backbone.name!r}: known are {', '.join(known_backbones())}")


def settings(
    options: EvalOptions, dataset: Dataset, footage: Sequence[SceneFootage], *, sockets: Path
) -> dict[str, Any]:
    """The configuration of the run, as plain values; paths are relative to OUT where they are inside it."""
    sections = _method_sections(options, dataset)
    least = min(MOST_HELD_OUT, LEAST_HELD_OUT / min(scene.train_frames for scene in footage))
    # Of images the paper has no threshold and holds nothing out: little more than the fewest that one can be set from.
    # Of short footage the usual part is fewer than these: figures that need no threshold would be refused with it.
    if dataset.kind == "images" or least > GallerySection().holdout:
        sections["gallery"]["holdout"] = least
    return {
        "state": "state",
        "cameras": [_camera(scene, dataset, every=options.every) for scene in footage],
        **sections,
        "clips": {"seconds": 0},  # nobody looks at them, and each takes time
        "worker": {"maps": "maps", "explain": "always"},
        "link": {"endpoint": f"ipc://{sockets}/link"},
        "feed": {"endpoint": f"ipc://{sockets}/feed"},
        "console": {"enabled": False},
        "sinks": [{"type": "jsonl", "folder": "."}] if dataset.kind == "video" else [],
    }


def _method_sections(options: EvalOptions, dataset: Dataset) -> dict[str, Any]:
    gallery: dict[str, Any] = {"folder": "galleries", "capacity": options.capacity}
    if options.false_alarms_per_day is not None:
        gallery["false_alarms_per_day"] = options.false_alarms_per_day
    backbone: dict[str, Any] = {"device": options.device}
    if options.backbone is not None:
        backbone["name"] = options.backbone
    if options.weights is not None:
        backbone["weights"] = str(options.weights.resolve())
    return {"backbone": backbone, "method": options.method_section(dataset.kind), "gallery": gallery}


def _camera(footage: SceneFootage, dataset: Dataset, *, every: int) -> dict[str, Any]:
    return {
        "id": footage.camera,
        "source": str(footage.test.resolve()),
        "fps": None if every == 1 else footage.fps / every,
        "mode": "replay",
        "folder_fps": dataset.fps,
    }


def _linked(folder: Path, targets: Mapping[str, Path]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in targets.items():
        (folder / name).symlink_to(target.resolve())
    return folder


def _link_name(clip: str, frames: Path) -> str:
    """The source names a clip like its folder, or like its file without the ending."""
    return clip if frames.is_dir() else f"{clip}{frames.suffix}"


def _info(folder: Path, folder_fps: float) -> tuple[SourceInfo, int]:
    """What is known of a folder of clips, and how many frames they hold."""
    source = open_source(str(folder), folder_fps=folder_fps)
    try:
        info = source.info
    finally:
        source.close()
    if info.frame_count is None:
        raise UsageError(f"{folder}: a clip's length is not known before it is read: split or re-encode the largest")
    return info, info.frame_count
