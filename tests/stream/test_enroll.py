"""Enrolment: which frames enter the gallery, which set the threshold, and what is left where it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_extractor import Footage, a_picture, tiny_extractor

from spade_core.campus import CampusParameters
from spade_core.errors import CalibrationError, GalleryMismatch, GalleryNotFound
from spade_core.gallery import Gallery
from spade_core.methods import Parameters
from spade_core.scorer import SpadeParameters
from stream import enroll as enrolment
from stream.engine import open_scene
from stream.enroll import EnrollSettings, Progress, enroll
from stream.errors import SourceCorrupt, UsageError

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = EnrollSettings(capacity=1000, holdout=0.4, exceedance=0.01, fps=None, seconds=None)
BOTH = pytest.mark.parametrize("parameters", [SpadeParameters(), CampusParameters()], ids=["spade", "campus"])


def enrolled(
    folder: Path,
    source: Any,
    *,
    parameters: Parameters | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    **settings: Any,
) -> Gallery:
    return enroll(
        source,
        folder,
        settings=replace(SETTINGS, **settings),
        extractor=tiny_extractor(),
        parameters=parameters or CampusParameters(),
        note={"camera": "gate"},
        on_progress=on_progress,
    )


def left_in(folder: Path) -> set[str]:
    """Names there, but the builders' lock."""
    return {path.name for path in folder.iterdir()} - {".lock"} if folder.exists() else set()


def frames_of(gallery: Gallery) -> list[int]:
    return [frame.index for frame in gallery.frames]


class Scored:
    """Notes which frames set the threshold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times: list[float] = []
        real = enrolment.calibrator

        def watched(*args: Any, **options: Any) -> Any:
            calibrator = real(*args, **options)
            add = calibrator.add

            def noted(features: Any, *, motion: Any, time: float) -> None:
                self.times.append(time)
                add(features, motion=motion, time=time)

            calibrator.add = noted  # type: ignore[method-assign]
            return calibrator

        monkeypatch.setattr(enrolment, "calibrator", watched)

    @property
    def frames(self) -> list[int]:
        """At ten frames a second."""
        return [round(time * 10) for time in self.times]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Scored:
    return Scored(monkeypatch)


def test_the_first_part_fills_the_gallery_and_the_end_is_held_out(tmp_path: Path, scored: Scored):
    gallery = enrolled(tmp_path, Footage(100))
    assert frames_of(gallery) == list(range(60))
    assert scored.frames == list(range(70, 100))  # a quarter of the held-out part lies between them
    assert gallery.calibration.held_out == 30


def test_the_gap_is_two_seconds_where_there_is_much_footage(tmp_path: Path, scored: Scored):
    enrolled(tmp_path, Footage(200), holdout=0.5)
    assert scored.frames == list(range(120, 200))


def test_a_small_gallery_holds_evenly_spaced_frames(tmp_path: Path):
    assert frames_of(enrolled(tmp_path, Footage(100), capacity=10)) == list(range(0, 60, 6))


def test_footage_is_sampled_at_the_rate_that_is_asked_for(tmp_path: Path, scored: Scored):
    gallery = enrolled(tmp_path, Footage(200), fps=5.0, holdout=0.5)
    assert frames_of(gallery) == list(range(0, 100, 2))
    assert scored.frames == list(range(120, 200, 2))


def test_whole_clips_are_held_out_where_there_are_enough_of_them(tmp_path: Path, scored: Scored):
    gallery = enrolled(tmp_path, Footage(90, clips=(0, 30, 60)))  # 60 % would end within the second clip
    assert frames_of(gallery) == list(range(60))
    assert scored.frames == list(range(60, 90))
    assert {frame.source for frame in gallery.frames} == {"clip1", "clip2"}


def test_a_clip_too_short_to_set_a_threshold_is_not_held_out_alone(tmp_path: Path, scored: Scored):
    gallery = enrolled(tmp_path, Footage(100, clips=(0, 50, 90)))
    assert len(gallery) == 60
    assert scored.frames == list(range(70, 100))


def test_long_held_out_footage_is_thinned_evenly(tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(enrolment, "MAX_HELD_OUT", 25)
    enrolled(tmp_path, Footage(150, clips=(0, 50, 100)))
    assert scored.frames == list(range(100, 150, 2))


def test_a_camera_without_end_is_watched_for_as_long_as_is_said(tmp_path: Path, scored: Scored):
    gallery = enrolled(tmp_path, Footage(200, live=True), seconds=10.0)
    assert sorted(frames_of(gallery)) == list(range(60))
    assert scored.frames == list(range(70, 100))
    assert gallery.manifest["note"]["footage_frames"] == 100


def test_of_a_camera_without_end_any_frame_may_enter_a_small_gallery(tmp_path: Path):
    frames = frames_of(enrolled(tmp_path, Footage(200, live=True), seconds=10.0, capacity=20))
    assert len(set(frames)) == 20
    assert max(frames) < 60
    assert frames != list(range(20))


def test_a_camera_without_end_needs_to_be_told_how_long(tmp_path: Path):
    with pytest.raises(UsageError, match=r"grey has no end: .* --seconds"):
        enrolled(tmp_path / "new", Footage(200, live=True))
    assert not (tmp_path / "new").exists()


def test_the_gallery_says_where_it_comes_from(tmp_path: Path):
    gallery = enrolled(tmp_path, Footage(100))
    assert gallery.manifest["note"] == {"camera": "gate", "source": "grey", "footage_frames": 100}
    assert gallery.fingerprint == tiny_extractor().fingerprint()
    assert gallery.calibration.parameters == CampusParameters().describe()
    frame = gallery.frames[7]
    assert (frame.source, frame.index, frame.media_time) == ("grey", 7, 0.7)
    assert gallery.thumbnail(7)[:2] == b"\xff\xd8"


def test_slots_hold_the_features_and_the_motion_of_their_frames(tmp_path: Path):
    gallery = enrolled(tmp_path, Footage(100), capacity=10)
    for slot in range(10):
        expected = tiny_extractor().extract(a_picture(10 + 6 * slot)[None])
        np.testing.assert_allclose(gallery.pooled[slot], expected.pooled[0], rtol=1e-5)
        for stored, level in zip(gallery.pyramid(slot), expected.levels, strict=True):
            np.testing.assert_allclose(stored, level[0], rtol=1e-3)
    assert np.isnan(gallery.motion[0]).all()  # nothing goes before the first frame
    assert np.isfinite(gallery.motion[1:]).all()


def test_a_second_enrolment_is_a_second_version(tmp_path: Path):
    assert enrolled(tmp_path, Footage(100)).version == "v000001"
    assert enrolled(tmp_path, Footage(120)).version == "v000002"
    assert left_in(tmp_path) == {"CURRENT", "v000001", "v000002"}
    assert len(Gallery(tmp_path)) == 72


@BOTH
def test_footage_too_short_for_a_threshold_is_refused_and_leaves_nothing(tmp_path: Path, parameters: Parameters):
    with pytest.raises(CalibrationError, match="enroll longer footage"):
        enrolled(tmp_path, Footage(30), parameters=parameters)
    assert left_in(tmp_path) == set()


@BOTH
def test_fewer_frames_than_neighbours_are_refused(tmp_path: Path, parameters: Parameters):
    with pytest.raises(CalibrationError, match=r"grey: 10 frame\(s\) for the gallery, K = 11 are needed"):
        enrolled(tmp_path, Footage(100), capacity=10, parameters=replace(parameters, k=11))
    assert left_in(tmp_path) == set()


@BOTH
def test_a_frozen_source_is_refused_and_leaves_nothing(tmp_path: Path, parameters: Parameters):
    with pytest.raises(CalibrationError, match="looks frozen"):
        enrolled(tmp_path, Footage(200, still=True), parameters=parameters)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("frames", [0, 5, 50, 130, 190], ids="after {}".format)
def test_a_source_that_breaks_leaves_nothing(tmp_path: Path, frames: int):
    broken = SourceCorrupt("grey: cut short")
    with pytest.raises(SourceCorrupt, match="cut short"):
        enrolled(tmp_path, Footage(frames, declared=200, error=broken))
    assert left_in(tmp_path) == set()


def test_a_failed_enrolment_leaves_the_gallery_in_force(tmp_path: Path):
    before = enrolled(tmp_path, Footage(100))
    with pytest.raises(SourceCorrupt):
        enrolled(tmp_path, Footage(50, declared=200, error=SourceCorrupt("grey: cut short")))
    assert Gallery(tmp_path).version == before.version
    assert left_in(tmp_path) == {"CURRENT", "v000001"}


@pytest.mark.parametrize("count", [0, 1, 5])
def test_footage_that_ends_before_the_held_out_part_is_refused(tmp_path: Path, count: int):
    with pytest.raises(CalibrationError):
        enrolled(tmp_path, Footage(count, declared=200))
    assert left_in(tmp_path) == set()


def test_progress_goes_through_both_parts(tmp_path: Path):
    seen: list[Progress] = []
    enrolled(tmp_path, Footage(100), on_progress=seen.append)
    assert [stage for stage in dict.fromkeys(progress.stage for progress in seen)] == [
        "gallery",
        "threshold",
        "writing",
    ]
    assert {progress.expected for progress in seen} == {100}
    assert [p.frames for p in seen if p.stage == "gallery"] == [8, 16, 24, 32, 40, 48, 56, 60]
    assert [p.frames for p in seen if p.stage == "threshold"] == [68, 76, 84, 90]  # ten are left out between the parts


# --- opening what was enrolled


@pytest.fixture(scope="module")
def gallery_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("enrolled") / "gallery"
    enrolled(folder, Footage(100))
    return folder


@BOTH
def test_what_was_enrolled_can_be_scored_with(tmp_path: Path, parameters: Parameters):
    enrolled(tmp_path, Footage(100), parameters=parameters)
    extractor = tiny_extractor()
    scene = open_scene("yard", tmp_path, extractor=extractor, parameters=parameters)
    scores = [
        scene.scorer.score_frame(
            extractor.extract(a_picture(brightness)[None]), motion=None, time=0.0, memory=scene.scorer.new_memory()
        ).score
        for brightness in (40, 250)
    ]
    assert scores[0] < scene.calibration.threshold < scores[1]
    assert scene.name == "yard"


def test_a_gallery_of_other_parameters_is_refused_in_words(gallery_folder: Path):
    with pytest.raises(
        GalleryMismatch, match=r"threshold was set with .*'persistence': 4.0.* says .*'persistence': 9.0"
    ):
        open_scene("yard", gallery_folder, extractor=tiny_extractor(), parameters=CampusParameters(persistence=9.0))


def test_a_gallery_of_another_method_is_refused_in_words(gallery_folder: Path):
    with pytest.raises(GalleryMismatch, match=r"'campus'.*this configuration says .*'spade'.* Enroll the scene again"):
        open_scene("yard", gallery_folder, extractor=tiny_extractor(), parameters=SpadeParameters())


def test_a_gallery_of_other_weights_is_refused_in_words(gallery_folder: Path):
    with pytest.raises(GalleryMismatch, match="weights id is 'none', expected 'others'"):
        open_scene("yard", gallery_folder, extractor=tiny_extractor(weights_id="others"), parameters=CampusParameters())


def test_a_gallery_of_another_size_is_refused_in_words(gallery_folder: Path):
    with pytest.raises(GalleryMismatch, match="preprocessing size is 32, expected 64"):
        open_scene("yard", gallery_folder, extractor=tiny_extractor(side=64), parameters=CampusParameters())


def test_a_folder_without_a_gallery_is_refused(tmp_path: Path):
    with pytest.raises(GalleryNotFound, match="spade-stream enroll"):
        open_scene("yard", tmp_path, extractor=tiny_extractor(), parameters=CampusParameters())
