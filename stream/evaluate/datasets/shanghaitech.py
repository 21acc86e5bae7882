"""ShanghaiTech Campus: thirteen cameras, each a scene with its own gallery. ``training/videos/SS_CCC.avi``,
``testing/frames/SS_CCCC/*.jpg``, and as NumPy arrays ``testing/test_frame_mask/SS_CCCC.npy`` (one number per frame) and
``testing/test_pixel_mask/SS_CCCC.npy`` (frames x height x width). SS is the scene.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from stream.errors import DatasetError
from stream.evaluate.datasets.frames import Frames
from stream.evaluate.datasets.labels import ClipLabels, FrameArray, by_masks, checked
from stream.evaluate.datasets.listing import clip_names, clips_in, find_layout, missing_clips
from stream.evaluate.datasets.masks import ArrayMasks
from stream.evaluate.datasets.model import Dataset, Published, Scene, TestClip

FPS = 24.0
CITATION = (
    "W. Liu, W. Luo, D. Lian, S. Gao: Future Frame Prediction for Anomaly Detection, CVPR 2018 (ShanghaiTech Campus)"
)
SPADE_PAPER = "Cohen & Hoshen, arXiv:2005.02357, 2020"
PUBLISHED = (
    Published("SPADE", "frame_auc_micro", 0.719, SPADE_PAPER),
    Published("SPADE", "pixel_auc", 0.899, SPADE_PAPER),
)
TRAIN_CLIPS, TEST_CLIPS = 330, 107  # those of scene 13, which is not tested, among the former

_FOOTAGE = ("videos", "converted_videos", "frames")
"""Where training clips lie: as handed out, re-encoded for decoders that stumble over the originals, or as images."""


def open_shanghaitech(name: str, root: Path) -> Dataset:
    """The scenes that have test clips.

    Raises:
        DatasetError: the layout is not there, a scene cannot be enrolled, or the labels do not fit.
    """
    found = find_layout(
        name,
        root,
        under=("shanghaitech", "ShanghaiTech"),
        looked_for="training/videos, testing/frames and testing/test_frame_mask",
        fits=lambda folder: (folder / "training").is_dir() and (folder / "testing" / "frames").is_dir(),
    )
    train, test = _by_scene(clips_in(_training(found))), _by_scene(clips_in(found / "testing" / "frames"))
    if lacking := sorted(test.keys() - train.keys()):
        raise DatasetError(
            f"{name}: scene(s) {', '.join(lacking)} have test clips but no training clips in {_training(found)}: "
            "unpack those too, or remove the test clips"
        )
    scenes = tuple(
        Scene(scene, train[scene], tuple(TestClip(clip.name, clip, _labels(clip, found)) for clip in clips))
        for scene, clips in sorted(test.items())
    )
    untested = sorted(train.keys() - test.keys())
    notes = (f"Left out, because it has no test clips: scene {', '.join(untested)}.",) if untested else ()
    everything = (*scenes, *(Scene(scene, train[scene], ()) for scene in untested))
    return Dataset(
        name,
        found,
        scenes,
        fps=FPS,
        kind="video",
        citation=CITATION,
        published=PUBLISHED,
        notes=(*notes, *missing_clips(everything, train=TRAIN_CLIPS, test=TEST_CLIPS)),
    )


def _training(root: Path) -> Path:
    for name in _FOOTAGE:
        if (root / "training" / name).is_dir():
            return root / "training" / name
    raise DatasetError(f"{root / 'training'}: looked for {', '.join(_FOOTAGE)}, and found none of these folders")


def _by_scene(clips: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    scenes: dict[str, list[Path]] = defaultdict(list)
    for name, clip in zip(clip_names(clips), clips, strict=True):
        if not (match := re.fullmatch(r"(\d\d)_\d+", name)):
            raise DatasetError(f"{clip}: a clip is named SCENE_NUMBER, such as 01_0014: rename it or remove it")
        scenes[match[1]].append(clip)
    return {scene: tuple(members) for scene, members in scenes.items()}


def _labels(clip: Path, root: Path) -> ClipLabels:
    frames = Frames(clip)
    by_frame, by_pixel = (root / "testing" / f"test_{kind}_mask" / f"{clip.name}.npy" for kind in ("frame", "pixel"))
    if by_frame.is_file():
        return checked(ClipLabels(FrameArray(by_frame), ArrayMasks(by_pixel) if by_pixel.is_file() else None), frames)
    if by_pixel.is_file():
        return checked(by_masks(ArrayMasks(by_pixel)), frames)
    raise DatasetError(f"{clip}: is not labelled: there is neither {by_frame} nor {by_pixel}; unpack them too")
