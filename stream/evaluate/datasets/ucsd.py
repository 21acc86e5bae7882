"""UCSD Ped1 and Ped2, as UCSD hands them out: ``Train/Train001/*.tif``, ``Test/Test001/*.tif``, masks in
``Test/Test001_gt/*.bmp``, and which frames are anomalous in ``Test/UCSDped2.m``. Ped1 has masks of a part of its clips
only. The generic layout of ``clips`` is read as well.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from stream.errors import DatasetError
from stream.evaluate.datasets.clips import LAYOUT, has_clips, read_clips
from stream.evaluate.datasets.frames import Frames
from stream.evaluate.datasets.labels import ClipLabels, Ranges, by_masks, checked
from stream.evaluate.datasets.listing import clips_in, find_layout, missing_clips, subfolders
from stream.evaluate.datasets.masks import mask_files
from stream.evaluate.datasets.model import Dataset, Published, Scene, TestClip

FPS = 10.0
CITATION = "V. Mahadevan, W. Li, V. Bhalodia, N. Vasconcelos: Anomaly Detection in Crowded Scenes, CVPR 2010 (UCSD)"
CLIPS = {"ped1": (34, 36), "ped2": (16, 12)}
"""Training and test clips of the whole dataset."""

PUBLISHED = {
    "ped1": (),
    "ped2": (
        Published("FUVAS", "frame_auc_micro", 0.955, "FUVAS, ICASSP 2025"),
        Published("kNN", "frame_auc_micro", 0.978, "Doshi & Yilmaz, CVPR Workshops 2020"),
        Published("AI-VAD", "frame_auc_micro", 0.991, "Reiss & Hoshen, arXiv:2212.00789, 2022"),
        Published("MULDE", "frame_auc_micro", 0.997, "Micorek et al., CVPR 2024"),
    ),
}

_TRAIN, _TEST = r"Train\d{3}", r"Test\d{3}"
_LINE = re.compile(r"^\s*TestVideoFile\s*\{[^}]*\}\s*\.gt_frame\s*=\s*\[([^\]]*)\]", re.MULTILINE)


def open_ucsd(name: str, root: Path) -> Dataset:
    """Ped1 or Ped2 (``name``), in either layout, in this folder or one of UCSD's below it.

    Raises:
        DatasetError: the layout is not there, it is the other of the two, or the labels do not fit.
    """
    own = _own_name(name)
    found = find_layout(
        name,
        root,
        under=(own, f"UCSD_Anomaly_Dataset.v1p2/{own}", name),
        looked_for=f"Train/Train001 and Test/Test001 as UCSD hands them out, or {LAYOUT}",
        fits=lambda folder: _is_ucsd(folder) or has_clips(folder),
    )
    # UCSD's layout first: where file names have no case, train/ is there as well.
    dataset = _read_ucsd(name, found) if _is_ucsd(found) else read_clips(name, found)
    train, test = CLIPS[name]
    return replace(
        dataset,
        citation=CITATION,
        published=PUBLISHED[name],
        notes=(*dataset.notes, *missing_clips(dataset.scenes, train=train, test=test)),
    )


def parse_ranges(text: str, where: str) -> list[list[range]]:
    """Reads UCSD's MATLAB script: of each test clip in turn, the stretches of anomalous frames, counted from 0.

    ``[5:90, 140:200]`` counts from 1 and includes both ends. Lines that are commented out do not count.

    Raises:
        DatasetError: no line of the kind, or one that cannot be read.
    """
    lines = _LINE.findall(text)
    if not lines:
        raise DatasetError(f"{where}: holds no line 'TestVideoFile{{end+1}}.gt_frame = [60:152];'; copy it again")
    return [[_range(part, where) for part in re.split(r"[\s,]+", line.strip()) if part] for line in lines]


def _range(text: str, where: str) -> range:
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise DatasetError(f"{where}: {text!r} is not a range of frames FIRST:LAST, counted from 1")
    return range(first - 1, last)


def _read_ucsd(name: str, root: Path) -> Dataset:
    other = next(_own_name(ped) for ped in CLIPS if ped != name)
    if (root / "Test" / f"{other}.m").exists():
        raise DatasetError(f"{name}: {root} is {other} (it has Test/{other}.m): give the folder of {_own_name(name)}")
    train, test = clips_in(root / "Train", name=_TRAIN), clips_in(root / "Test", name=_TEST)
    script = root / "Test" / f"{_own_name(name)}.m"
    ranges = (
        parse_ranges(script.read_text(encoding="utf-8", errors="replace"), str(script)) if script.is_file() else None
    )
    clips = tuple(TestClip(clip.name, clip, _labels(clip, script, ranges)) for clip in test)
    return Dataset(name, root, (Scene(name, train, clips),), fps=FPS, kind="video", citation=CITATION)


def _labels(clip: Path, script: Path, ranges: list[list[range]] | None) -> ClipLabels:
    frames = Frames(clip)
    folder = clip.with_name(f"{clip.name}_gt")
    masks = mask_files(frames, folder) if folder.is_dir() else None
    if ranges is not None:
        number = int(clip.name.removeprefix("Test"))  # not its place: a copy may lack some clips
        if not 1 <= number <= len(ranges):
            raise DatasetError(f"{script}: labels {len(ranges)} clips, but there is {clip}")
        return checked(ClipLabels(Ranges(f"{script}, line of {clip.name}", frames, ranges[number - 1]), masks), frames)
    if masks is None:
        raise DatasetError(
            f"{clip}: is not labelled: there is neither {script} nor {folder}; unpack both from UCSD's archive"
        )
    return checked(by_masks(masks), frames)


def _is_ucsd(folder: Path) -> bool:
    return any(re.fullmatch(_TRAIN, entry.name) for entry in subfolders(folder / "Train")) and any(
        re.fullmatch(_TEST, entry.name) for entry in subfolders(folder / "Test")
    )


def _own_name(name: str) -> str:
    return f"UCSD{name}"
