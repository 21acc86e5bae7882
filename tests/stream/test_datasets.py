"""The layouts of the field's datasets: on small trees of the same shape, what is found, labelled and refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from video_files import HEIGHT, WIDTH, make_video

from stream.errors import DatasetError
from stream.evaluate.datasets import DATASETS, Dataset, Labels, Scene, open_dataset
from stream.evaluate.datasets.ucsd import parse_ranges
from stream.sources import open_source

SIZE = (8, 6)  # width, height of the images here


def image(path: Path, *, spot: bool = False, mode: str = "L", size: tuple[int, int] = SIZE) -> Path:
    """Black, with one white pixel at row 2, column 3 where there is a spot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.new("L", size)
    if spot:
        made.putpixel((3, 2), 255)
    made.convert(mode).save(path)
    return path


def clip(folder: Path, count: int, *, ending: str = "png", first: int = 0) -> Path:
    """Images 000, 001, ..."""
    for index in range(first, first + count):
        image(folder / f"{index:03}.{ending}")
    return folder


def masks(folder: Path, spots: Iterable[bool], *, ending: str = "png", first: int = 0) -> None:
    for index, spot in enumerate(spots, first):
        image(folder / f"{index:03}.{ending}", spot=spot)


def array(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values))
    return path


def only_scene(dataset: Dataset) -> Scene:
    [scene] = dataset.scenes
    return scene


def labels_of(dataset: Dataset, name: str, scene: str = "") -> Labels:
    [found] = [
        c for s in dataset.scenes if s.name == (scene or dataset.scenes[0].name) for c in s.test if c.name == name
    ]
    return found.labels


def frames_marked(labels: Labels, count: int) -> list[int]:
    """The anomalous frames."""
    marked = labels.frame_labels(count)
    assert marked is not None
    assert (marked.dtype, marked.shape) == (np.bool_, (count,))
    return [int(index) for index in np.flatnonzero(marked)]


def pixels_marked(labels: Labels, index: int, shape: tuple[int, int] = (6, 8)) -> list[tuple[int, int]]:
    """(row, column) of the anomalous pixels."""
    mask = labels.mask(index)
    assert mask is not None
    assert (mask.dtype, mask.shape) == (np.bool_, shape)
    return [(int(row), int(column)) for row, column in np.argwhere(mask)]


SPOT = [(2, 3)]


# ---------------------------------------------------------------- the layouts, small


def make_clips(root: Path) -> Path:
    """Clip 01 has its frame 2 of 4 marked, clip 02 no folder of masks."""
    clip(root / "train" / "01", 3)
    clip(root / "train" / "02", 3, ending="tif")
    clip(root / "test" / "01", 4, ending="jpg")
    clip(root / "test" / "02", 2)
    masks(root / "masks" / "01", [False, False, True, False])
    return root


UCSD_SCRIPT = """% ground truth
TestVideoFile = {};
TestVideoFile{end+1}.gt_frame = [2:3];
%TestVideoFile{end+1}.gt_frame = [1:9];
TestVideoFile{end+1}.gt_frame = [1, 3:4];
"""


def make_ucsd(root: Path, name: str = "UCSDped2") -> Path:
    """Frames 2-3 of clip 1 are anomalous, of clip 2 frames 1, 3 and 4, all counted from 1. Clip 2 has no masks."""
    clip(root / "Train" / "Train001", 3, ending="tif", first=1)
    clip(root / "Train" / "Train002", 3, ending="tif", first=1)
    for number in (1, 2):
        clip(root / "Test" / f"Test00{number}", 4, ending="tif", first=1)
        (root / "Test" / f"Test00{number}" / "._001.tif").write_bytes(b"left by a Mac")
        (root / "Test" / f"Test00{number}" / ".DS_Store").write_bytes(b"too")
    masks(root / "Test" / "Test001_gt", [False, True, True, False], ending="bmp", first=1)
    (root / "Test" / f"{name}.m").write_text(UCSD_SCRIPT)
    return root


def make_shanghaitech(root: Path) -> Path:
    """Scene 01 has two test clips, 02 one, 13 none. In 01_0014 frame 1 of 3 is marked; 02_0128 has no pixel masks."""
    for name in ("01_001", "01_002", "02_001", "13_001"):
        (root / "training" / "videos").mkdir(parents=True, exist_ok=True)
        make_video(root / "training" / "videos" / f"{name}.avi", codec="mpeg4", count=2)
    pixels = np.zeros((3, 6, 8), np.uint8)
    pixels[1, 2, 3] = 1
    for name, spotted in (("01_0014", True), ("01_0015", False), ("02_0128", True)):
        clip(root / "testing" / "frames" / name, 3, ending="jpg")
        array(root / "testing" / "test_frame_mask" / f"{name}.npy", np.array([0, spotted, 0], np.int8))
        if name != "02_0128":
            array(root / "testing" / "test_pixel_mask" / f"{name}.npy", pixels * spotted)
    return root


def make_avenue(root: Path) -> Path:
    """Two test videos of 5 frames; frame 3 of the first is marked, of the second only frames are labelled."""
    for folder, names in (("training_videos", ("01",)), ("testing_videos", ("01", "02"))):
        (root / folder).mkdir(parents=True)
        for name in names:
            make_video(root / folder / f"{name}.avi", codec="mpeg4", count=5)
    pixels = np.zeros((5, HEIGHT, WIDTH), np.uint8)
    pixels[3, 2, 3] = 1
    array(root / "ground_truth_demo" / "testing_label_mask" / "01.npy", pixels)
    array(root / "ground_truth_demo" / "testing_label_mask" / "02.npy", [0, 1, 1, 0, 0])
    return root


def make_category(root: Path, *, defects: Iterable[str] = ("bent", "scratch"), masked: Iterable[str] = ()) -> Path:
    """Two good and two defective images for each defect; the second mask has the spot."""
    clip(root / "train" / "good", 3)
    clip(root / "test" / "good", 2)
    for defect in defects:
        clip(root / "test" / defect, 2)
    for defect in masked:
        for index in range(2):
            image(root / "ground_truth" / defect / f"{index:03}_mask.png", spot=index == 1)
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "clips": make_clips,
    "ped1": lambda root: make_ucsd(root, "UCSDped1"),
    "ped2": make_ucsd,
    "shanghaitech": make_shanghaitech,
    "avenue": make_avenue,
    "mvtec": lambda root: make_category(root / "screw", masked=("bent", "scratch")).parent,
}


@pytest.fixture
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    return open_dataset(request.param, MAKERS[request.param](tmp_path / "root"))


# ---------------------------------------------------------------- what holds for all


def test_every_dataset_is_tested_here() -> None:
    assert set(MAKERS) == set(DATASETS)


@pytest.mark.parametrize("dataset", DATASETS, indirect=True)
def test_clips_are_named_like_the_segments_of_their_source(dataset: Dataset) -> None:
    for scene in dataset.scenes:
        for found in scene.test:
            source = open_source(str(found.frames.parent), folder_fps=dataset.fps)
            segments = {frame.segment for frame in source.frames()}
            source.close()
            assert found.name in segments


@pytest.mark.parametrize("dataset", DATASETS, indirect=True)
def test_labels_fit_the_frames_that_sources_decode(dataset: Dataset) -> None:
    assert dataset.labels_known
    for scene in dataset.scenes:
        for found in scene.test:
            source = open_source(str(found.frames), folder_fps=dataset.fps)
            frames = list(source.frames())
            source.close()
            marked = found.labels.frame_labels(len(frames))
            assert marked is not None
            assert marked.shape == (len(frames),)
            for frame in frames if found.labels.has_masks else ():
                mask = found.labels.mask(frame.index)
                assert mask is not None
                assert mask.shape == frame.image.shape[:2]
                # Images of MVTec are anomalous as a whole; elsewhere the mask says it.
                assert dataset.kind == "images" or bool(mask.any()) == marked[frame.index]


@pytest.mark.parametrize("dataset", DATASETS, indirect=True)
def test_labels_refuse_another_number_of_frames_and_name_both(dataset: Dataset) -> None:
    found = dataset.scenes[0].test[0]
    source = open_source(str(found.frames), folder_fps=dataset.fps)
    count = source.info.frame_count
    source.close()
    with pytest.raises(DatasetError, match=rf"\b{count}\b.*\b99\b|\b99\b.*\b{count}\b"):
        found.labels.frame_labels(99)


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_that_holds_something_else_is_refused_with_what_was_found(name: str, tmp_path: Path) -> None:
    image(tmp_path / "holiday" / "beach.png")
    with pytest.raises(DatasetError, match=r"looked for .*train.* holds holiday/") as caught:
        open_dataset(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere is not a folder"):
        open_dataset(name, tmp_path / "nowhere")


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"'pde2': known are clips, ped1, .*mvtec, did you mean ped2\?"):
        open_dataset("pde2", tmp_path)


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("ped2", "UCSDped2"),
        ("ped1", "UCSD_Anomaly_Dataset.v1p2/UCSDped1"),
        ("shanghaitech", "shanghaitech"),
        ("avenue", "Avenue Dataset"),
        ("mvtec", "mvtec_anomaly_detection"),
    ],
)
def test_the_folder_above_is_accepted_where_the_dataset_has_its_usual_name(
    name: str, inside: str, tmp_path: Path
) -> None:
    MAKERS[name](tmp_path / inside)
    assert open_dataset(name, tmp_path).root == tmp_path / inside


# ---------------------------------------------------------------- clips


def test_clips_are_one_scene_with_masks_matched_by_name(tmp_path: Path) -> None:
    dataset = open_dataset("clips", make_clips(tmp_path))
    scene = only_scene(dataset)
    assert (scene.name, dataset.kind, dataset.fps, dataset.has_masks) == ("clips", "video", 10.0, True)
    assert scene.train == (tmp_path / "train" / "01", tmp_path / "train" / "02")
    assert [(found.name, found.frames) for found in scene.test] == [
        ("01", tmp_path / "test" / "01"),
        ("02", tmp_path / "test" / "02"),
    ]
    assert frames_marked(scene.test[0].labels, 4) == [2]
    assert pixels_marked(scene.test[0].labels, 2) == SPOT
    assert pixels_marked(scene.test[0].labels, 3) == []


def test_a_clip_without_a_folder_of_masks_is_normal(tmp_path: Path) -> None:
    labels = labels_of(open_dataset("clips", make_clips(tmp_path)), "02")
    assert frames_marked(labels, 2) == []
    assert pixels_marked(labels, 1) == []


def test_a_frame_without_a_mask_is_normal(tmp_path: Path) -> None:
    make_clips(tmp_path)
    (tmp_path / "masks" / "01" / "000.png").unlink()
    (tmp_path / "masks" / "01" / "003.png").unlink()
    labels = labels_of(open_dataset("clips", tmp_path), "01")
    assert frames_marked(labels, 4) == [2]
    assert pixels_marked(labels, 3) == []


def test_a_mask_without_a_frame_is_refused(tmp_path: Path) -> None:
    image(make_clips(tmp_path) / "masks" / "01" / "004.png")
    with pytest.raises(DatasetError, match=r"004\.png: is the mask of no frame"):
        open_dataset("clips", tmp_path)


def test_masks_of_a_clip_that_is_not_there_are_refused(tmp_path: Path) -> None:
    make_clips(tmp_path)
    (tmp_path / "masks" / "01").rename(tmp_path / "masks" / "1")
    with pytest.raises(DatasetError, match=r"masks/1: there is no test clip of that name \(there are 01, 02\)"):
        open_dataset("clips", tmp_path)


def test_an_empty_folder_of_masks_is_refused(tmp_path: Path) -> None:
    make_clips(tmp_path)
    (tmp_path / "masks" / "01").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"masks: holds no folder of masks"):
        open_dataset("clips", tmp_path)


def test_without_masks_nothing_is_labelled(tmp_path: Path) -> None:
    make_clips(tmp_path)
    (tmp_path / "masks").rename(tmp_path / "elsewhere")
    dataset = open_dataset("clips", tmp_path)
    labels = labels_of(dataset, "01")
    assert (dataset.labels_known, dataset.has_masks, labels.known, labels.has_masks) == (False, False, False, False)
    assert (labels.frame_labels(4), labels.mask(0)) == (None, None)
    assert "nothing is labelled" in dataset.notes[0]


def test_frames_and_masks_are_counted_as_people_count(tmp_path: Path) -> None:
    make_clips(tmp_path)
    for index in range(12):
        image(tmp_path / "test" / "long" / f"{index}.png")
    image(tmp_path / "masks" / "long" / "10.png", spot=True)
    assert frames_marked(labels_of(open_dataset("clips", tmp_path), "long"), 12) == [10]


def test_clips_may_be_video_files_whose_masks_are_named_by_frame_number(tmp_path: Path) -> None:
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
        make_video(tmp_path / folder / "noon.avi", codec="mpeg4", count=4)
    make_video(tmp_path / "test" / "night.mp4", codec="libx264", count=4)
    image(tmp_path / "masks" / "noon" / "002.png", spot=True, size=(WIDTH, HEIGHT))
    dataset = open_dataset("clips", tmp_path)
    assert [found.name for found in only_scene(dataset).test] == ["night", "noon"]
    labels = labels_of(dataset, "noon")
    assert frames_marked(labels, 4) == [2]
    assert pixels_marked(labels, 2, (HEIGHT, WIDTH)) == SPOT
    assert pixels_marked(labels, 0, (HEIGHT, WIDTH)) == []
    assert pixels_marked(labels_of(dataset, "night"), 3, (HEIGHT, WIDTH)) == []
    with pytest.raises(DatasetError, match="is the mask of frame 2, but 2 frames were decoded"):
        labels.frame_labels(2)


def test_videos_that_differ_in_their_ending_alone_keep_it_in_their_names(tmp_path: Path) -> None:
    make_clips(tmp_path)
    for name in ("01", "02"):
        (tmp_path / "test" / name).rename(tmp_path / name)
    (tmp_path / "masks").rename(tmp_path / "elsewhere")
    for name in ("a.avi", "a.mkv", "b.avi"):
        make_video(tmp_path / "test" / name, codec="mpeg4", count=2)
    scene = only_scene(open_dataset("clips", tmp_path))
    assert [found.name for found in scene.test] == ["a.avi", "a.mkv", "b"]


def test_folders_and_video_files_side_by_side_are_refused(tmp_path: Path) -> None:
    make_video(make_clips(tmp_path) / "test" / "03.avi", codec="mpeg4", count=2)
    with pytest.raises(DatasetError, match=r"as folders \(01\) and as files \(03\.avi\)"):
        open_dataset("clips", tmp_path)


def test_a_clip_without_images_is_refused(tmp_path: Path) -> None:
    (make_clips(tmp_path) / "test" / "03").mkdir()
    with pytest.raises(DatasetError, match="03: is a clip without images"):
        open_dataset("clips", tmp_path)


def test_images_that_are_in_no_clip_are_refused(tmp_path: Path) -> None:
    clip(tmp_path / "train", 2)
    clip(tmp_path / "test", 2)
    with pytest.raises(DatasetError, match=r"train: holds no clips \(.*\), but 000\.png, 001\.png"):
        open_dataset("clips", tmp_path)


@pytest.mark.parametrize(
    ("mode", "ending"), [("1", "png"), ("P", "bmp"), ("RGB", "tif"), ("RGBA", "png"), ("I;16", "png")]
)
def test_masks_of_any_image_mode_are_read(mode: str, ending: str, tmp_path: Path) -> None:
    make_clips(tmp_path)
    image(tmp_path / "masks" / "02" / f"001.{ending}", spot=True, mode=mode)
    labels = labels_of(open_dataset("clips", tmp_path), "02")
    assert pixels_marked(labels, 1) == SPOT
    assert frames_marked(labels, 2) == [1]


def test_masks_of_0_and_1_count_as_those_of_0_and_255(tmp_path: Path) -> None:
    make_clips(tmp_path)
    values = np.zeros((6, 8), np.uint8)
    values[2, 3] = 1
    Image.fromarray(values).save(tmp_path / "masks" / "01" / "000.png")
    assert pixels_marked(labels_of(open_dataset("clips", tmp_path), "01"), 0) == SPOT


def test_a_mask_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file = image(make_clips(tmp_path) / "masks" / "02" / "001.bmp", spot=True)
    labels = labels_of(open_dataset("clips", tmp_path), "02")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"001\.bmp: the mask is damaged or cut short"):
        labels.frame_labels(2)
    file.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"001\.bmp: is not an image"):
        labels.mask(1)


# ---------------------------------------------------------------- UCSD


def test_ped2_takes_frames_from_the_script_and_pixels_from_the_masks(tmp_path: Path) -> None:
    dataset = open_dataset("ped2", make_ucsd(tmp_path))
    scene = only_scene(dataset)
    assert (scene.name, [found.name for found in scene.test]) == ("ped2", ["Test001", "Test002"])
    assert [path.name for path in scene.train] == ["Train001", "Train002"]
    assert frames_marked(scene.test[0].labels, 4) == [1, 2]
    assert pixels_marked(scene.test[0].labels, 1) == SPOT
    assert frames_marked(scene.test[1].labels, 4) == [0, 2, 3]  # the line that is commented out does not count


def test_clips_without_masks_have_labels_of_frames_alone(tmp_path: Path) -> None:
    dataset = open_dataset("ped1", make_ucsd(tmp_path, "UCSDped1"))
    with_masks, without = (found.labels for found in only_scene(dataset).test)
    assert (with_masks.has_masks, without.has_masks, dataset.has_masks) == (True, False, True)
    assert without.mask(0) is None


def test_a_copy_without_some_clips_keeps_each_clip_its_own_line(tmp_path: Path) -> None:
    make_ucsd(tmp_path)
    (tmp_path / "Test" / "Test001").rename(tmp_path / "away")
    dataset = open_dataset("ped2", tmp_path)
    assert frames_marked(labels_of(dataset, "Test002"), 4) == [0, 2, 3]
    assert dataset.notes == (
        "This copy has 2 of the 16 training clips and 1 of the 12 test clips: published figures are over all of them.",
    )


def test_without_the_script_masks_say_which_frames_are_anomalous(tmp_path: Path) -> None:
    make_ucsd(tmp_path)
    (tmp_path / "Test" / "UCSDped2.m").unlink()
    masks(tmp_path / "Test" / "Test002_gt", [True, False, False, False], ending="bmp", first=1)
    dataset = open_dataset("ped2", tmp_path)
    assert frames_marked(labels_of(dataset, "Test001"), 4) == [1, 2]
    assert frames_marked(labels_of(dataset, "Test002"), 4) == [0]


def test_without_script_and_masks_a_clip_is_refused(tmp_path: Path) -> None:
    make_ucsd(tmp_path)
    (tmp_path / "Test" / "UCSDped2.m").unlink()
    with pytest.raises(
        DatasetError, match=r"Test002: is not labelled: there is neither .*UCSDped2\.m nor .*Test002_gt"
    ):
        open_dataset("ped2", tmp_path)


def test_the_other_of_the_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is UCSDped1 .*give the folder of UCSDped2"):
        open_dataset("ped2", make_ucsd(tmp_path, "UCSDped1"))


def test_labels_beyond_the_last_frame_are_refused_before_anything_is_scored(tmp_path: Path) -> None:
    (make_ucsd(tmp_path) / "Test" / "Test001" / "004.tif").unlink()
    (tmp_path / "Test" / "Test001" / "003.tif").unlink()
    (tmp_path / "Test" / "Test001_gt" / "004.bmp").unlink()
    (tmp_path / "Test" / "Test001_gt" / "003.bmp").unlink()
    with pytest.raises(DatasetError, match="line of Test001: labels frames up to 3, but 2 frames were decoded"):
        open_dataset("ped2", tmp_path)


def test_a_clip_that_the_script_does_not_label_is_refused(tmp_path: Path) -> None:
    clip(make_ucsd(tmp_path) / "Test" / "Test003", 4, ending="tif", first=1)
    with pytest.raises(DatasetError, match=r"labels 2 clips, but there is .*Test003"):
        open_dataset("ped2", tmp_path)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[60:152]", [range(59, 152)]),
        ("[5:90, 140:200]", [range(4, 90), range(139, 200)]),
        ("[1:18 65:200]", [range(18), range(64, 200)]),
        ("[7]", [range(6, 7)]),
        ("[]", []),
    ],
)
def test_ranges_count_from_one_and_include_both_ends(written: str, read: list[range]) -> None:
    assert parse_ranges(f"TestVideoFile{{end+1}}.gt_frame = {written};", "x.m") == [read]


@pytest.mark.parametrize("written", ["[0:5]", "[9:5]", "[1:2:9]", "[a:b]"])
def test_a_range_that_makes_no_sense_is_refused(written: str) -> None:
    with pytest.raises(DatasetError, match=r"x\.m: .* is not a range of frames"):
        parse_ranges(f"TestVideoFile{{end+1}}.gt_frame = {written};", "x.m")


def test_ped2_is_read_in_the_generic_layout_too(tmp_path: Path) -> None:
    dataset = open_dataset("ped2", make_clips(tmp_path / "ped2").parent)
    assert (dataset.name, dataset.root, only_scene(dataset).name) == ("ped2", tmp_path / "ped2", "ped2")
    assert frames_marked(labels_of(dataset, "01"), 4) == [2]
    assert "CVPR 2010" in dataset.citation
    assert {(row.method, row.metric, row.value) for row in dataset.published} == {
        ("FUVAS", "frame_auc_micro", 0.955),
        ("kNN", "frame_auc_micro", 0.978),
        ("AI-VAD", "frame_auc_micro", 0.991),
        ("MULDE", "frame_auc_micro", 0.997),
    }


# ---------------------------------------------------------------- ShanghaiTech Campus


def test_every_camera_of_shanghaitech_is_a_scene_with_its_own_clips(tmp_path: Path) -> None:
    dataset = open_dataset("shanghaitech", make_shanghaitech(tmp_path))
    named = {s.name: ([path.name for path in s.train], [found.name for found in s.test]) for s in dataset.scenes}
    assert named == {
        "01": (["01_001.avi", "01_002.avi"], ["01_0014", "01_0015"]),
        "02": (["02_001.avi"], ["02_0128"]),
    }
    assert dataset.fps == 24.0
    assert ("SPADE", "frame_auc_micro", 0.719) in {row[:3] for row in dataset.published}
    assert ("SPADE", "pixel_auc", 0.899) in {row[:3] for row in dataset.published}


def test_shanghaitechs_arrays_label_frames_and_pixels(tmp_path: Path) -> None:
    dataset = open_dataset("shanghaitech", make_shanghaitech(tmp_path))
    labels = labels_of(dataset, "01_0014", "01")
    assert frames_marked(labels, 3) == [1]
    assert pixels_marked(labels, 1) == SPOT
    assert pixels_marked(labels, 2) == []
    with pytest.raises(IndexError):
        labels.mask(3)
    without = labels_of(dataset, "02_0128", "02")
    assert (frames_marked(without, 3), without.has_masks, without.mask(1)) == ([1], False, None)


def test_a_scene_without_test_clips_is_left_out_with_a_note(tmp_path: Path) -> None:
    notes = open_dataset("shanghaitech", make_shanghaitech(tmp_path)).notes
    assert notes[0] == "Left out, because it has no test clips: scene 13."
    assert "4 of the 330 training clips and 3 of the 107 test clips" in notes[1]


def test_a_scene_without_training_clips_is_refused(tmp_path: Path) -> None:
    (make_shanghaitech(tmp_path) / "training" / "videos" / "02_001.avi").unlink()
    with pytest.raises(DatasetError, match=r"scene\(s\) 02 have test clips but no training clips"):
        open_dataset("shanghaitech", tmp_path)


def test_shanghaitechs_training_clips_may_be_folders_of_images(tmp_path: Path) -> None:
    make_shanghaitech(tmp_path)
    (tmp_path / "training" / "videos").rename(tmp_path / "away")
    for name in ("01_001", "02_001"):
        clip(tmp_path / "training" / "frames" / name, 2)
    scenes = open_dataset("shanghaitech", tmp_path).scenes
    assert [scene.train[0].name for scene in scenes] == ["01_001", "02_001"]


def test_pixel_masks_alone_say_which_frames_are_anomalous(tmp_path: Path) -> None:
    (make_shanghaitech(tmp_path) / "testing" / "test_frame_mask" / "01_0014.npy").unlink()
    assert frames_marked(labels_of(open_dataset("shanghaitech", tmp_path), "01_0014", "01"), 3) == [1]
    (tmp_path / "testing" / "test_pixel_mask" / "01_0014.npy").unlink()
    with pytest.raises(DatasetError, match="01_0014: is not labelled"):
        open_dataset("shanghaitech", tmp_path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0, 1], "holds labels of 2 frames, but 3 frames were decoded"),
        ([[0, 1, 0]], r"must hold an array with 1 dimension\(s\), holds shape \(1, 3\)"),
        (["a", "b", "c"], "must hold one array of numbers, holds <U1"),
        (np.array([{}, 1, 2], object), "cannot be read as a NumPy array"),
    ],
)
def test_arrays_that_are_no_labels_of_the_clip_are_refused_at_once(values: Any, reason: str, tmp_path: Path) -> None:
    array(make_shanghaitech(tmp_path) / "testing" / "test_frame_mask" / "01_0014.npy", values)
    with pytest.raises(DatasetError, match=rf"01_0014\.npy: {reason}"):
        open_dataset("shanghaitech", tmp_path)


def test_labels_that_could_run_code_are_refused(tmp_path: Path) -> None:
    file = make_shanghaitech(tmp_path) / "testing" / "test_frame_mask" / "01_0014.npy"
    file.write_bytes(np.array([0, 1, 0]).dumps())
    with pytest.raises(DatasetError, match=r"01_0014\.npy: cannot be read as a NumPy array"):
        open_dataset("shanghaitech", tmp_path)


def test_pixel_masks_of_another_number_of_frames_are_refused_at_once(tmp_path: Path) -> None:
    array(make_shanghaitech(tmp_path) / "testing" / "test_pixel_mask" / "01_0014.npy", np.zeros((4, 6, 8), np.uint8))
    with pytest.raises(DatasetError, match=r"pixel_mask/01_0014\.npy: holds labels of 4 frames, but 3 frames were"):
        open_dataset("shanghaitech", tmp_path)


def test_a_clip_that_names_no_scene_is_refused(tmp_path: Path) -> None:
    clip(make_shanghaitech(tmp_path) / "testing" / "frames" / "extra", 1)
    with pytest.raises(DatasetError, match="extra: a clip is named SCENE_NUMBER"):
        open_dataset("shanghaitech", tmp_path)


# ---------------------------------------------------------------- Avenue


def test_avenues_arrays_label_pixels_or_frames(tmp_path: Path) -> None:
    dataset = open_dataset("avenue", make_avenue(tmp_path))
    by_pixel, by_frame = (found.labels for found in only_scene(dataset).test)
    assert frames_marked(by_pixel, 5) == [3]
    assert pixels_marked(by_pixel, 3, (HEIGHT, WIDTH)) == SPOT
    assert (frames_marked(by_frame, 5), by_frame.has_masks) == ([1, 2], False)
    assert dataset.fps == 25.0


def test_avenues_masks_may_be_unpacked_beside_its_videos(tmp_path: Path) -> None:
    make_avenue(tmp_path / "Avenue Dataset")
    (tmp_path / "Avenue Dataset" / "ground_truth_demo").rename(tmp_path / "ground_truth_demo")
    for root in (tmp_path, tmp_path / "Avenue Dataset"):
        assert frames_marked(labels_of(open_dataset("avenue", root), "01"), 5) == [3]


def test_without_its_masks_avenue_is_refused(tmp_path: Path) -> None:
    (make_avenue(tmp_path) / "ground_truth_demo").rename(tmp_path / "away")
    with pytest.raises(DatasetError, match=r"unpack it so that there is .*ground_truth_demo/testing_label_mask"):
        open_dataset("avenue", tmp_path)


def with_matlab_file(root: Path) -> Path:
    """Clip 1 is labelled by a MATLAB file, whose content the test brings."""
    folder = make_avenue(root) / "ground_truth_demo" / "testing_label_mask"
    (folder / "01.npy").unlink()
    (folder / "1_label.mat").write_bytes(b"MATLAB 5.0")
    return root


def cells(spotted: int, *, count: int = 5, shape: tuple[int, int] = (6, 10)) -> NDArray[np.object_]:
    """A row of cells as SciPy reads them."""
    made = np.empty((1, count), object)
    for index in range(count):
        made[0, index] = np.zeros(shape, np.uint8)
    made[0, spotted][2, 3] = 1
    return made


def stub_scipy(monkeypatch: pytest.MonkeyPatch, loadmat: Callable[..., Any]) -> None:
    package, module = ModuleType("scipy"), ModuleType("scipy.io")
    package.__spec__ = ModuleSpec("scipy", None)
    module.loadmat = loadmat  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scipy", package)
    monkeypatch.setitem(sys.modules, "scipy.io", module)


def test_matlab_masks_are_read_once_for_a_clip_and_one_clip_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = with_matlab_file(tmp_path)
    folder = root / "ground_truth_demo" / "testing_label_mask"
    (folder / "02.npy").rename(folder / "2_label.mat")
    read = []

    def loadmat(file: str, **_: Any) -> dict[str, Any]:
        read.append(Path(file).name)
        return {"volLabel": cells(spotted=int(read[-1][0]))}

    stub_scipy(monkeypatch, loadmat)
    first, second = (found.labels for found in only_scene(open_dataset("avenue", root)).test)
    assert read == []  # opening reads none
    assert frames_marked(first, 5) == [1]
    assert pixels_marked(first, 1, (6, 10)) == SPOT
    assert read == ["1_label.mat"]
    assert frames_marked(second, 5) == [2]
    assert pixels_marked(first, 1, (6, 10)) == SPOT
    assert read == ["1_label.mat", "2_label.mat", "1_label.mat"]
    with pytest.raises(DatasetError, match=r"1_label\.mat: holds labels of 5 frames, but 6 frames were decoded"):
        first.frame_labels(6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "holds no variable volLabel"),
        ({"volLabel": np.zeros((1, 5))}, "is not one H x W mask per frame"),
        (NotImplementedError("version 7.3"), r"cannot be read as a MATLAB file \(version 7\.3\)"),
    ],
)
def test_a_matlab_file_with_something_else_is_refused(
    content: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loadmat(_: str, **__: Any) -> Any:
        if isinstance(content, Exception):
            raise content
        return content

    stub_scipy(monkeypatch, loadmat)
    labels = labels_of(open_dataset("avenue", with_matlab_file(tmp_path)), "01")
    with pytest.raises(DatasetError, match=rf"1_label\.mat: .*{reason}"):
        labels.frame_labels(5)


def test_a_matlab_file_without_scipy_is_refused_at_once_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(DatasetError, match="pip install scipy"):
        open_dataset("avenue", with_matlab_file(tmp_path))


def test_a_real_matlab_file_is_read(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io", reason="SciPy is no dependency; install it to run this")
    root = with_matlab_file(tmp_path)
    scipy_io.savemat(
        root / "ground_truth_demo" / "testing_label_mask" / "1_label.mat",
        {"volLabel": cells(spotted=4, shape=(HEIGHT, WIDTH))},
    )
    labels = labels_of(open_dataset("avenue", root), "01")
    assert frames_marked(labels, 5) == [4]
    assert pixels_marked(labels, 4, (HEIGHT, WIDTH)) == SPOT


# ---------------------------------------------------------------- MVTec AD


def test_every_category_is_a_scene_and_every_folder_of_test_images_a_clip(tmp_path: Path) -> None:
    make_category(tmp_path / "screw", masked=("bent", "scratch"))
    make_category(tmp_path / "metal_nut", defects=("flip",), masked=("flip",))
    (tmp_path / "license.txt").touch()
    dataset = open_dataset("mvtec", tmp_path)
    assert {scene.name: [found.name for found in scene.test] for scene in dataset.scenes} == {
        "metal_nut": ["flip", "good"],
        "screw": ["bent", "good", "scratch"],
    }
    assert (dataset.kind, dataset.has_masks) == ("images", True)
    assert dataset.scenes[0].train == (tmp_path / "metal_nut" / "train" / "good",)
    assert {row.metric: row.value for row in dataset.published} == {
        "frame_auc_macro": 0.855,
        "pixel_auc": 0.96,
        "pro": 0.917,
    }
    assert dataset.notes[0].startswith("This copy has 2 of the 15 categories")


def test_defective_images_are_anomalous_even_where_their_mask_is_empty(tmp_path: Path) -> None:
    dataset = open_dataset("mvtec", make_category(tmp_path / "screw", masked=("bent", "scratch")))
    assert frames_marked(labels_of(dataset, "bent"), 2) == [0, 1]
    assert pixels_marked(labels_of(dataset, "bent"), 0) == []
    assert pixels_marked(labels_of(dataset, "bent"), 1) == SPOT
    assert frames_marked(labels_of(dataset, "good"), 2) == []
    assert pixels_marked(labels_of(dataset, "good"), 1) == []


def test_the_root_may_be_one_category(tmp_path: Path) -> None:
    dataset = open_dataset("mvtec", make_category(tmp_path / "screw"))
    assert (dataset.root, only_scene(dataset).name) == (tmp_path / "screw", "screw")


def test_a_copy_without_masks_has_labels_of_images_alone(tmp_path: Path) -> None:
    dataset = open_dataset("mvtec", make_category(tmp_path / "screw"))
    assert (dataset.labels_known, dataset.has_masks) == (True, False)
    assert frames_marked(labels_of(dataset, "scratch"), 2) == [0, 1]
    assert labels_of(dataset, "scratch").mask(0) is None


def test_a_defect_without_masks_leaves_those_of_the_others(tmp_path: Path) -> None:
    dataset = open_dataset("mvtec", make_category(tmp_path / "screw", masked=("bent",)))
    has_masks = {found.name: found.labels.has_masks for found in only_scene(dataset).test}
    assert has_masks == {"bent": True, "good": True, "scratch": False}


def test_a_missing_mask_of_a_defective_image_is_refused(tmp_path: Path) -> None:
    (make_category(tmp_path / "screw", masked=("bent",)) / "ground_truth" / "bent" / "001_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"bent/001\.png: has no mask: .*001_mask\.png is missing"):
        open_dataset("mvtec", tmp_path)


def test_a_category_that_cannot_be_a_camera_is_refused(tmp_path: Path) -> None:
    make_category(tmp_path / "my screws")
    with pytest.raises(DatasetError, match="my screws cannot be the name of a scene"):
        open_dataset("mvtec", tmp_path)


# ---------------------------------------------------------------- the real ones


@pytest.mark.data
def test_the_real_ped2_has_the_labels_that_ucsd_published(data: Path) -> None:
    dataset = open_dataset("ped2", data)
    scene = only_scene(dataset)
    lengths = {found.name: len(list(found.frames.glob("*.jpg"))) for found in scene.test}
    assert len(scene.train) == 16
    assert lengths == {"01": 180, "04": 180, "05": 150, "07": 180, "10": 150, "12": 180}
    assert sum(lengths.values()) == 1020
    marked = {found.name: frames_marked(found.labels, lengths[found.name]) for found in scene.test}
    ends = {name: (frames[0] + 1, frames[-1] + 1, len(frames)) for name, frames in marked.items()}
    # As in UCSDped2.m, which counts from 1: [61:180], [31:180], [1:129], [46:180], [1:150], [88:180].
    assert ends == {
        "01": (61, 180, 120),
        "04": (31, 180, 150),
        "05": (1, 129, 129),
        "07": (46, 180, 135),
        "10": (1, 150, 150),
        "12": (88, 180, 93),
    }
    mask = labels_of(dataset, "01").mask(100)
    assert mask is not None
    assert mask.shape == (240, 360)
    assert "6 of the 12 test clips" in dataset.notes[0]


@pytest.mark.data
def test_the_real_screws_are_labelled_by_their_folders(data: Path) -> None:
    dataset = open_dataset("mvtec", data)
    scene = only_scene(dataset)
    assert (scene.name, dataset.has_masks) == ("screw", False)
    assert len(list(scene.train[0].glob("*.png"))) == 320
    assert frames_marked(labels_of(dataset, "good"), 41) == []
    assert frames_marked(labels_of(dataset, "defect"), 119) == list(range(119))
