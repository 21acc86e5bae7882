"""Enrolment: which frames enter the gallery, which set the threshold, and what is left where it fails."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_extractor import Footage, a_picture, brief_settings, tiny_extractor

from spade_core.calibration import MIN_HELD_OUT
from spade_core.campus import CampusParameters
from spade_core.errors import CalibrationError, GalleryError, GalleryMismatch, GalleryNotFound
from spade_core.gallery import Gallery
from spade_core.methods import Parameters
from spade_core.scorer import SpadeParameters
from stream import enroll as enrolment
from stream.engine import open_scene
from stream.enroll import Progress, enroll
from stream.errors import SourceCorrupt, SourceStalled, UsageError
from stream.reconnect import ReconnectingSource
from stream.sources.base import SourceFrame
from stream.sources.window import windowed

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = brief_settings()
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
        self.segments: list[str] = []
        real = enrolment.calibrator

        def watched(*args: Any, **options: Any) -> Any:
            calibrator = real(*args, **options)
            add = calibrator.add

            def noted(features: Any, *, motion: Any, time: float, segment: str) -> None:
                self.times.append(time)
                self.segments.append(segment)
                add(features, motion=motion, time=time, segment=segment)

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


@pytest.mark.parametrize("count", range(40, 60))
def test_of_short_footage_the_gap_leaves_what_a_threshold_needs(tmp_path: Path, scored: Scored, count: int):
    enrolled(tmp_path, Footage(count), holdout=0.5)
    assert len(scored.frames) >= MIN_HELD_OUT
    assert scored.frames == list(range(scored.frames[0], count))


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


def test_of_long_held_out_footage_blocks_are_scored_as_they_were_filmed(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(enrolment, "MAX_HELD_OUT", 30)
    monkeypatch.setattr(enrolment, "BLOCK", 1.0)
    enrolled(tmp_path, Footage(150, clips=(0, 50, 100)))
    assert scored.frames == [*range(100, 110), *range(120, 130), *range(140, 150)]
    assert [*dict.fromkeys(scored.segments)] == ["0/clip3", "1/clip3", "2/clip3"]


def test_of_a_camera_without_end_blocks_from_all_over_its_held_out_part_are_scored(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(enrolment, "MAX_HELD_OUT", 30)
    monkeypatch.setattr(enrolment, "BLOCK", 1.0)
    enrolled(tmp_path, Footage(200, live=True), seconds=20.0, fps=10.0)
    assert scored.frames == [*range(140, 150), *range(165, 175), *range(190, 200)]


def test_clips_in_the_held_out_part_are_told_apart(tmp_path: Path, scored: Scored):
    enrolled(tmp_path, Footage(120, clips=(0, 60, 90)))
    assert [scored.segments.count(segment) for segment in dict.fromkeys(scored.segments)] == [30]
    enrolled(tmp_path, Footage(120, clips=(0, 60, 90)), holdout=0.5)
    assert [*dict.fromkeys(scored.segments[30:])] == ["0/clip2", "0/clip3"]


def test_a_calibration_says_what_was_asked_for_and_what_it_rests_on(tmp_path: Path):
    calibration = enrolled(tmp_path, Footage(100), false_alarms_per_day=7.0).calibration
    assert calibration.false_alarms_per_day == 7
    assert (calibration.alarms.min_duration, calibration.alarms.quiet) == (0.6, 2.0)
    assert calibration.alarms.hours == pytest.approx((30 - 6) / 10 / 3600)  # six frames are too early for an alert
    assert calibration.alarms.extrapolated == pytest.approx(24 / (30 - 6) * 3600 * 10 / 7)


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
    assert gallery.manifest["note"] == {
        "camera": "gate",
        "source": "grey",
        "footage_frames": 100,
        "capacity": 1000,
    }
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
        "arranging",
        "threshold",
        "writing",
    ]
    assert {progress.expected for progress in seen} == {100}
    assert [p.frames for p in seen if p.stage == "gallery"] == [8, 16, 24, 32, 40, 48, 56, 60]
    assert [p.frames for p in seen if p.stage == "threshold"] == [68, 76, 84, 90]  # ten are left out between the parts


def test_a_camera_is_watched_for_as_long_also_where_its_beginning_is_passed_over(tmp_path: Path, scored: Scored):
    gallery = enrolled(tmp_path, windowed(Footage(200, live=True), start=5.0), seconds=10.0)
    assert sorted(frames_of(gallery)) == list(range(50, 110))
    assert scored.frames == list(range(120, 150))


def test_a_disk_without_room_for_what_is_expected_is_refused_before_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 10_000_000))
    with pytest.raises(GalleryError, match=r"6 frames of 0\.01 MB need 0\.07 GB, but only 0\.01 GB are free"):
        enrolled(tmp_path, Footage(200, live=True), seconds=10.0, fps=1.0)
    assert left_in(tmp_path) == set()


def test_arrays_of_the_method_are_made_from_the_whole_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def arrays(normal: Any, *, parameters: Parameters, device: Any) -> dict[str, Any]:
        return {"mean": np.asarray(normal.pooled).mean(axis=0)}

    monkeypatch.setattr(enrolment, "gallery_arrays", arrays)
    gallery = enrolled(tmp_path, Footage(100))
    np.testing.assert_array_equal(gallery.array("mean"), gallery.pooled.mean(axis=0))


# --- coverage


class Passers(Footage):
    """A camera of two frames a second whose picture goes round in ten seconds, and shows something else in between.

    Args:
        seconds: that it lasts.
        odd: from when to when it shows something else, in seconds.
    """

    def __init__(self, seconds: int, *, odd: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__(seconds * 2, live=True)
        self._odd = odd

    def frames(self) -> Iterator[SourceFrame]:
        for frame in super().frames():
            time = frame.index / 2
            level = 150 if self._odd[0] <= time < self._odd[1] else 40 + round(10 * math.sin(time * math.tau / 10))
            yield replace(frame, image=np.full_like(frame.image, level), media_time=time)


WATCH = {"parameters": SpadeParameters(), "holdout": 0.2, "fps": 2.0, "seconds": 600.0}


def test_footage_that_repeats_itself_is_covered_and_the_gallery_says_so(tmp_path: Path):
    seen: list[Progress] = []
    note = enrolled(tmp_path, Passers(600), on_progress=seen.append, **WATCH).manifest["note"]
    assert note["coverage"]["value"] == 1.0
    assert note["coverage"]["new_frames"] == 0
    assert [minute for minute, _ in note["coverage"]["curve"]] == [1, 2, 3, 4, 5, 6, 7]  # of eight: 20 % are held out
    assert enrolment.coverage_in_words(note) == ["ready: coverage 100%, new footage adds little"]
    assert seen[0].in_words == "gallery"
    assert [p.in_words for p in seen if p.stage == "gallery"][-1] == "gallery, coverage 100%, new footage adds little"
    assert seen[-1].in_words == "writing"


def test_what_is_new_at_the_end_is_told(tmp_path: Path):
    seen: list[Progress] = []
    note = enrolled(tmp_path, Passers(600, odd=(472, 480)), on_progress=seen.append, **WATCH).manifest["note"]
    assert note["coverage"]["new_frames"] == 16  # eight seconds, two frames each
    assert note["coverage"]["value"] == pytest.approx(1 - 16 / 121, abs=0.01)
    assert enrolment.coverage_in_words(note) == [
        "watch longer: coverage 87%, the last 60 s still brought 16 new frames"
    ]
    assert [p.in_words for p in seen if p.stage == "gallery"][-1] == "gallery, coverage 87%, still learning"


def test_a_watch_ends_once_the_scene_is_covered_and_holds_out_its_share(tmp_path: Path):
    gallery = enrolled(tmp_path, Passers(600), until_covered=True, **WATCH)
    minutes = max(frame.media_time for frame in gallery.frames) / 60
    assert 3.0 <= minutes <= 3.2
    footage = gallery.manifest["note"]["footage_frames"] / 2
    assert footage == pytest.approx(minutes * 60 / 0.8, abs=1)
    assert gallery.calibration.held_out == pytest.approx(footage * 0.2 * 2, abs=6)  # less the gap


def test_a_watch_goes_on_while_there_is_something_new(tmp_path: Path):
    gallery = enrolled(tmp_path, Passers(600, odd=(170, 180)), until_covered=True, **WATCH)
    assert max(frame.media_time for frame in gallery.frames) > 170 + 120


def test_a_small_gallery_does_not_blind_the_coverage(tmp_path: Path):
    note = enrolled(tmp_path, Passers(600, odd=(472, 480)), capacity=10, **WATCH).manifest["note"]
    assert note["coverage"]["new_frames"] == 16


def test_a_recording_is_read_to_its_end(tmp_path: Path):
    with pytest.raises(UsageError, match=r"grey has an end: .*--until-covered is for cameras"):
        enrolled(tmp_path / "new", Footage(100), until_covered=True)


def test_a_camera_that_drops_out_goes_on_where_it_comes_back(tmp_path: Path):
    connections = [Footage(70, live=True, error=SourceStalled("gate: no frame")), Footage(200, live=True)]
    source = ReconnectingSource(lambda: connections.pop(0), wait=lambda seconds: None)
    gallery = enrolled(tmp_path, source, seconds=30.0, holdout=0.5)
    times = sorted(frame.media_time for frame in gallery.frames)
    assert len(times) == 70  # 7 s, then an outage that takes 10 s, past the 15
    assert times[-1] == pytest.approx(6.9)
    assert gallery.calibration.held_out > 20


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
        GalleryMismatch, match=r"threshold was set with .*'persistence': 8.0.* says .*'persistence': 9.0"
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
