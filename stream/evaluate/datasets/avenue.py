"""CUHK Avenue: one camera. ``training_videos/NN.avi``, ``testing_videos/NN.avi``, and masks, a separate download, in
``ground_truth_demo/testing_label_mask/N_label.mat`` (read by SciPy) or, as copies often have them, ``NN.npy`` (frames x
height x width, or one number per frame), which need nothing and come first.
"""

from __future__ import annotations

from pathlib import Path

from stream.errors import DatasetError
from stream.evaluate.datasets.frames import Frames
from stream.evaluate.datasets.labels import ClipLabels, FrameArray, by_masks, checked
from stream.evaluate.datasets.listing import clip_names, clips_in, find_layout, missing_clips
from stream.evaluate.datasets.masks import ArrayMasks, MatlabClip, MatlabMasks, array_dimensions, need_scipy
from stream.evaluate.datasets.model import Dataset, Scene, TestClip

FPS = 25.0
CITATION = "C. Lu, J. Shi, J. Jia: Abnormal Event Detection at 150 FPS in MATLAB, ICCV 2013 (CUHK Avenue)"
TRAIN_CLIPS, TEST_CLIPS = 16, 21

_OWN_FOLDER = "Avenue Dataset"
_MASKS = ("ground_truth_demo/testing_label_mask", "testing_label_mask")


def open_avenue(name: str, root: Path) -> Dataset:
    """The dataset, as one scene.

    Raises:
        DatasetError: the layout is not there, or the labels cannot be read or do not fit.
    """
    found = find_layout(
        name,
        root,
        under=(_OWN_FOLDER, "avenue"),
        looked_for="training_videos and testing_videos",
        fits=lambda folder: (folder / "training_videos").is_dir() and (folder / "testing_videos").is_dir(),
    )
    train, test = clips_in(found / "training_videos"), clips_in(found / "testing_videos")
    # The masks are an archive of their own, unpacked beside the videos' folder as often as in it.
    masks = _masks_folder([found, root, *([found.parent] if found.name == _OWN_FOLDER else [])])
    shared = MatlabClip()
    clips = tuple(
        TestClip(clip_name, clip, _labels(clip_name, clip, masks, shared))
        for clip_name, clip in zip(clip_names(test), test, strict=True)
    )
    scenes = (Scene(name, train, clips),)
    notes = missing_clips(scenes, train=TRAIN_CLIPS, test=TEST_CLIPS)
    return Dataset(name, found, scenes, fps=FPS, kind="video", citation=CITATION, notes=notes)


def _masks_folder(places: list[Path]) -> Path:
    folders = [place / name for place in dict.fromkeys(places) for name in _MASKS]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DatasetError(
        f"{places[0]}: the masks, an archive of their own, are not there: unpack it so that there is {folders[0]}"
    )


def _labels(name: str, clip: Path, masks: Path, shared: MatlabClip) -> ClipLabels:
    if not name.isdecimal():
        raise DatasetError(f"{clip}: a clip is named by its number, such as 01.avi: rename it or remove it")
    number = int(name)
    frames = Frames(clip)
    names = list(dict.fromkeys((f"{number:02}.npy", f"{number}.npy", f"{number}_label.npy")))
    for array in (masks / each for each in names):
        if array.is_file():
            # Some copies say only which frames are anomalous.
            by_frame = array_dimensions(array) == 1
            return checked(ClipLabels(FrameArray(array)) if by_frame else by_masks(ArrayMasks(array)), frames)
    matlab = masks / f"{number}_label.mat"
    if matlab.is_file():
        need_scipy(matlab)
        return by_masks(MatlabMasks(matlab, shared))  # not checked here: that would read it whole
    raise DatasetError(f"{clip}: is not labelled: there is neither {matlab} nor {masks / names[0]}")
