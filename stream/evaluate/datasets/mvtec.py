"""MVTec AD: photographs of goods, by category. ``CATEGORY/train/good/*.png``, ``CATEGORY/test/DEFECT/*.png`` and
``CATEGORY/ground_truth/DEFECT/NNN_mask.png``. Each category is a scene, and each folder of ``test/`` a clip.
"""

from __future__ import annotations

from pathlib import Path

from stream.errors import DatasetError
from stream.evaluate.datasets.frames import Frames
from stream.evaluate.datasets.labels import ClipLabels, Uniform, all_normal, checked
from stream.evaluate.datasets.listing import checked_name, clips_in, find_layout, subfolders
from stream.evaluate.datasets.masks import MaskFiles, mask_files
from stream.evaluate.datasets.model import Dataset, Published, Scene, TestClip

GOOD = "good"
FPS = 10.0  # photographs have none; something has to count them
CITATION = "P. Bergmann, M. Fauser, D. Sattlegger, C. Steger: MVTec AD, CVPR 2019 (CC BY-NC-SA 4.0)"
CATEGORIES = 15

_SOURCE = "Cohen & Hoshen, arXiv:2005.02357, 2020; mean of the 15 categories"
PUBLISHED = (
    Published("SPADE", "frame_auc_macro", 0.855, _SOURCE),
    Published("SPADE", "pixel_auc", 0.960, _SOURCE),
    Published("SPADE", "pro", 0.917, _SOURCE),
)


def open_mvtec(name: str, root: Path) -> Dataset:
    """All categories in a folder, or the one that the folder is.

    Raises:
        DatasetError: there is no category, or its labels do not fit.
    """
    found = find_layout(
        name,
        root,
        under=("mvtec_anomaly_detection", "mvtec_ad", "mvtec"),
        looked_for="CATEGORY/train/good and CATEGORY/test",
        fits=lambda folder: _is_category(folder) or any(map(_is_category, subfolders(folder))),
    )
    categories = [found] if _is_category(found) else [folder for folder in subfolders(found) if _is_category(folder)]
    return Dataset(
        name,
        found,
        tuple(_scene(name, category) for category in categories),
        fps=FPS,
        kind="images",
        citation=CITATION,
        published=PUBLISHED,
        notes=_notes(len(categories)),
    )


def _scene(name: str, category: Path) -> Scene:
    scene = checked_name(name, category)
    train = clips_in(category / "train", name=GOOD)
    return Scene(scene, train, tuple(TestClip(clip.name, clip, _labels(clip)) for clip in clips_in(category / "test")))


def _labels(clip: Path) -> ClipLabels:
    frames = Frames(clip)
    truth = clip.parents[1] / "ground_truth"
    if clip.name == GOOD:
        # In a copy without masks these have none either: pixel figures of normal images alone would mean nothing.
        masked = any(folder.name != GOOD for folder in subfolders(truth))
        return all_normal(frames) if masked else ClipLabels(Uniform(frames, anomalous=False))
    masks = _complete(frames, truth / clip.name) if (truth / clip.name).is_dir() else None
    return checked(ClipLabels(Uniform(frames, anomalous=True), masks), frames)


def _complete(frames: Frames, folder: Path) -> MaskFiles:
    # Every image here shows a defect: one without a mask would be taken for a normal one.
    masks = mask_files(frames, folder, ending="_mask")
    for index, file in enumerate(frames.files):
        if index not in masks.files:
            raise DatasetError(f"{file}: has no mask: {folder / f'{file.stem}_mask.png'} is missing; unpack it again")
    return masks


def _notes(categories: int) -> tuple[str, ...]:
    if categories == CATEGORIES:
        return ()
    return (
        f"This copy has {categories} of the {CATEGORIES} categories: published figures are means over all of them.",
    )


def _is_category(folder: Path) -> bool:
    return (folder / "train" / GOOD).is_dir() and (folder / "test").is_dir()
