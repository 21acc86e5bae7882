"""The engine: frames of many cameras and scenes in one pass; what cannot be scored says why and hinders nobody else."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pipeline_fakes import wait_until
from tiny_extractor import Footage, a_picture, brief_settings, tiny_extractor

from spade_core.campus import CampusParameters
from spade_core.errors import GalleryCorrupt, GalleryMismatch, GalleryNotFound, InputError
from spade_core.extractor import FeatureExtractor, Features
from spade_core.gallery import Gallery
from spade_core.later import Later
from spade_core.methods import Parameters
from spade_core.motion import GRID
from spade_core.placement import ScenePlacement
from spade_core.preprocess import Preprocess
from spade_core.runtime import TorchRuntime
from spade_core.scorer import Explanation, FrameScore, SpadeParameters
from stream.engine import NotScored, Scene, Scored, ScoringEngine, ToScore, user_cache
from stream.enroll import enroll

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
METHODS: dict[str, Parameters] = {"spade": SpadeParameters(), "campus": CampusParameters()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery for each method, never changed."""
    folder = tmp_path_factory.mktemp("made")
    for name, parameters in METHODS.items():
        enroll(
            Footage(100),
            folder / name,
            settings=brief_settings(capacity=8),
            extractor=tiny_extractor(),
            parameters=parameters,
            note={},
            on_progress=lambda progress: None,
        )
    return folder


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def galleries(tmp_path: Path, made: Path, method: str) -> dict[str, Path]:
    """Of two scenes; a test may damage them."""
    for scene in ("yard", "gate"):
        shutil.copytree(made / method, tmp_path / scene)
    return {scene: tmp_path / scene for scene in ("yard", "gate")}


def an_engine(
    galleries: dict[str, Path], method: str = "campus", extractor: FeatureExtractor | None = None
) -> ScoringEngine:
    return ScoringEngine(extractor or tiny_extractor(), METHODS[method], galleries)


def to_score(scene: str = "yard", brightness: int = 40, *, camera: str = "", **fields: Any) -> ToScore:
    values: dict[str, Any] = {"time": 0.0, "segment": "", "image": a_picture(brightness), "motion": None}
    return ToScore(camera=camera or scene, scene=scene, **(values | fields))


def flip_a_byte(gallery: Path, name: str, at: int = 3) -> None:
    path = gallery / "v000001" / name
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def kinds(results: Sequence[object]) -> list[str]:
    return [type(result).__name__ for result in results]


def reason_of(result: object) -> str:
    assert isinstance(result, NotScored)
    return result.reason


def score_of(result: object) -> float:
    assert isinstance(result, Scored), result
    return result.score.score


def test_normal_frames_score_below_the_threshold_and_odd_ones_above(galleries: dict[str, Path], method: str):
    normal, odd = an_engine(galleries, method).score([to_score(brightness=10), to_score("gate", brightness=250)])
    assert isinstance(normal, Scored)
    assert score_of(normal) < normal.scene.calibration.threshold < score_of(odd)
    assert (normal.scene.name, normal.scene.gallery.folder) == ("yard", galleries["yard"])


def test_results_come_in_the_order_of_the_frames(galleries: dict[str, Path], method: str):
    brightness = [250, 40, 120, 10, 180]
    engine = an_engine(galleries, method)
    together = engine.score([to_score(brightness=b, camera=str(b)) for b in brightness])
    alone = [engine.score([to_score(brightness=b, camera=f"again {b}")])[0] for b in brightness]
    assert [score_of(result) for result in together] == pytest.approx([score_of(r) for r in alone], rel=1e-4, abs=1e-4)


def test_an_empty_batch_has_no_results(galleries: dict[str, Path], method: str):
    assert an_engine(galleries, method).score([]) == []


@pytest.mark.parametrize("name", ["pooled.f32", "calibration.json", "manifest.json"])
def test_a_damaged_gallery_fails_its_scene_alone(galleries: dict[str, Path], method: str, name: str):
    flip_a_byte(galleries["yard"], name)
    engine = an_engine(galleries, method)
    assert isinstance(engine.failures["yard"], GalleryCorrupt)
    results = engine.score([to_score("yard"), to_score("gate"), to_score("yard")])
    assert kinds(results) == ["NotScored", "Scored", "NotScored"]
    assert name in reason_of(results[0])
    assert "enroll the scene again" in reason_of(results[0])


def test_a_scene_without_a_gallery_says_how_to_make_one(galleries: dict[str, Path], method: str, tmp_path: Path):
    engine = an_engine({**galleries, "roof": tmp_path / "roof"}, method)
    assert isinstance(engine.failures["roof"], GalleryNotFound)
    roof, yard = engine.score([to_score("roof"), to_score("yard")])
    assert "make one with 'spade-stream enroll'" in reason_of(roof)
    assert isinstance(yard, Scored)


def test_a_gallery_of_another_backbone_fails_its_scene(galleries: dict[str, Path], method: str):
    engine = an_engine(galleries, method, tiny_extractor(weights_id="others"))
    assert engine.scenes == {}
    assert all(isinstance(failure, GalleryMismatch) for failure in engine.failures.values())
    assert "weights id is 'none', expected 'others'" in reason_of(engine.score([to_score()])[0])


def test_a_gallery_without_the_crop_that_runs_fails_its_scene(galleries: dict[str, Path], method: str):
    cropped = FeatureExtractor(tiny_extractor().backbone, Preprocess(64, 32))
    engine = an_engine(galleries, method, cropped)
    assert set(engine.failures) == {"yard", "gate"}
    assert "preprocessing crop is None, expected 32" in str(engine.failures["yard"])


def test_a_scene_knows_which_part_of_a_frame_its_maps_show(galleries: dict[str, Path], method: str):
    assert an_engine(galleries, method).scenes["yard"].preprocess == Preprocess(32)


def test_a_scene_that_nobody_configured_is_named(galleries: dict[str, Path], method: str):
    unknown, known = an_engine(galleries, method).score([to_score("cellar"), to_score("yard")])
    assert reason_of(unknown) == "no gallery is configured for scene 'cellar'"
    assert isinstance(known, Scored)


class BrokenExtractor(FeatureExtractor):
    """Fails as often as the test says."""

    def __init__(self, error: Exception, times: int) -> None:
        working = tiny_extractor()
        super().__init__(working.backbone, working.preprocess)
        self.error, self.times = error, times

    def extract(self, images: Any) -> Features:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return super().extract(images)


@pytest.mark.parametrize("error", [RuntimeError("no kernel image"), InputError("images are odd")], ids=repr)
def test_a_failed_inference_is_no_score_and_passes(galleries: dict[str, Path], method: str, error: Exception):
    engine = an_engine(galleries, method, BrokenExtractor(error, times=1))
    failed = engine.score([to_score("yard"), to_score("cellar"), to_score("gate")])
    assert [reason_of(failed[0]), reason_of(failed[2])] == [f"inference failed: {error}"] * 2
    assert "cellar" in reason_of(failed[1])
    assert engine.failures == {}
    assert kinds(engine.score([to_score("yard"), to_score("gate")])) == ["Scored", "Scored"]


class ShortOfMemory(FeatureExtractor):
    """Has room for so many images at once."""

    def __init__(self, room: int) -> None:
        working = tiny_extractor()
        super().__init__(working.backbone, working.preprocess)
        self.room = room
        self.sizes: list[int] = []  # of the batches that were tried

    def extract(self, images: Any) -> Features:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return super().extract(images)


@pytest.mark.fault("out of memory in inference", "the batch is halved and DEGRADED told; it grows again")
def test_a_batch_that_does_not_fit_into_memory_is_scored_in_halves(galleries: dict[str, Path], method: str):
    frames = [to_score("yard", 10 * n, camera=f"c{n}") for n in range(4)]
    frames.insert(2, to_score("cellar"))  # no such scene
    extractor = ShortOfMemory(2)
    engine = an_engine(galleries, method, extractor)
    found = engine.score(frames)
    assert kinds(found) == ["Scored", "Scored", "NotScored", "Scored", "Scored"]
    assert extractor.sizes == [4, 2, 2]
    assert engine.degraded == "out of memory: 4 frames at once did not fit; at most 2 at once are scored"
    alone = an_engine(galleries, method).score(frames)
    assert [score_of(f) for f in found[3:]] == pytest.approx([score_of(f) for f in alone[3:]], abs=1e-4)


def test_a_frame_that_does_not_fit_into_memory_is_not_scored_and_the_next_one_is_tried(
    galleries: dict[str, Path], method: str
):
    extractor = ShortOfMemory(0)
    engine = an_engine(galleries, method, extractor)
    reason = reason_of(engine.score([to_score("yard")])[0])
    assert reason == "inference failed: out of memory: CUDA out of memory. Tried to allocate 1 GiB"
    assert "a single frame did not fit" in engine.degraded
    extractor.room = 1
    assert kinds(engine.score([to_score("yard")])) == ["Scored"]


def test_memory_that_runs_out_side_by_side_costs_that_frame_alone(galleries: dict[str, Path], method: str):
    extractor = ShortOfMemory(0)
    extractor.backbone = replace(extractor.backbone, runtime=SideBySide(CPU))
    engine = an_engine(galleries, method, extractor)
    pending = engine.begin([to_score("yard", camera="a"), to_score("yard", camera="b")])
    assert [reason_of(ask())[:31] for ask in pending] == ["inference failed: out of memory"] * 2
    extractor.room = 1
    assert kinds(engine.score([to_score("yard", camera="a"), to_score("yard", camera="b")])) == ["Scored"] * 2


class SideBySide(TorchRuntime):
    """Takes several calls at once."""

    at_once = 2


def test_frames_that_are_scored_side_by_side_get_what_they_get_alone(galleries: dict[str, Path], method: str):
    extractor = tiny_extractor()
    several = FeatureExtractor(replace(extractor.backbone, runtime=SideBySide(CPU)), extractor.preprocess)
    frames = [to_score(brightness=b, camera=str(b), scene=s) for b, s in ((5, "yard"), (60, "gate"), (200, "yard"))]
    frames.insert(1, to_score("cellar", camera="down there"))
    found = an_engine(galleries, method, several).score(frames)
    assert kinds(found) == ["Scored", "NotScored", "Scored", "Scored"]
    assert "cellar" in reason_of(found[1])
    alone = an_engine(galleries, method).score(frames)
    for one, other in zip(found, alone, strict=True):
        if isinstance(one, Scored) and isinstance(other, Scored):
            assert (one.score.score, one.score.neighbours) == (other.score.score, other.score.neighbours)


def test_frames_of_one_camera_are_scored_one_after_the_other(made: Path):
    extractor = tiny_extractor()
    several = FeatureExtractor(replace(extractor.backbone, runtime=SideBySide(CPU)), extractor.preprocess)
    engine = an_engine({"yard": made / "campus"}, extractor=several)
    seen: list[str] = []

    class Watched(Watching):
        def score_frame(self, features: Features, **given: Any) -> FrameScore:
            seen.append(threading.current_thread().name)
            return super().score_frame(features, **given)

    engine.scenes["yard"] = Scene("yard", Gallery(made / "campus"), Watched())
    engine.score([to_score(camera="a"), to_score(camera="a", time=1.0)])
    assert set(seen) == {threading.current_thread().name}
    engine.score([to_score(camera="a"), to_score(camera="b")])
    assert all(name.startswith("score") for name in seen[2:])


def test_warming_up_leaves_nothing_behind(galleries: dict[str, Path], method: str):
    warm, cold = an_engine(galleries, method), an_engine(galleries, method)
    warm.warm_up()
    frames = [to_score(brightness=b, time=t / 4, camera="a") for t, b in enumerate((40, 200, 200))]
    for frame in frames:
        (one,), (other,) = warm.score([frame]), cold.score([frame])
        assert isinstance(one, Scored)
        assert isinstance(other, Scored)
        assert one.score.score == other.score.score
    assert warm.failures == {}


def test_warming_up_takes_no_offence_at_what_cannot_be_scored(galleries: dict[str, Path], method: str):
    engine = an_engine(galleries, method, BrokenExtractor(RuntimeError("no memory"), times=1))
    engine.warm_up()
    assert kinds(engine.score([to_score()])) == ["Scored"]


def test_nothing_is_extracted_where_no_frame_can_be_scored(galleries: dict[str, Path], method: str):
    engine = an_engine(galleries, method, BrokenExtractor(AssertionError("not to be called"), times=9))
    assert kinds(engine.score([to_score("cellar")])) == ["NotScored"]


def test_a_frame_with_a_broken_motion_map_is_not_scored_and_the_next_one_is(made: Path):
    engine = an_engine({"yard": made / "campus"})
    broken = np.full((GRID, GRID), np.nan, np.float16)
    bad, good = engine.score([to_score(motion=broken, camera="a"), to_score(camera="b")])
    assert "motion map is not finite" in reason_of(bad)
    assert isinstance(good, Scored)
    assert engine.failures == {}


def test_features_that_turn_out_damaged_while_scoring_fail_the_scene_for_good(tmp_path: Path, made: Path):
    for scene in ("yard", "gate"):
        shutil.copytree(made / "spade", tmp_path / scene)
    flip_a_byte(tmp_path / "yard", "level1.f16")  # of the first frame: read when it is the nearest one
    engine = an_engine({scene: tmp_path / scene for scene in ("yard", "gate")}, "spade")
    assert engine.failures == {}
    results = engine.score([to_score("yard", brightness=10), to_score("gate", brightness=10)])
    assert kinds(results) == ["NotScored", "Scored"]
    assert "features of frame 0 were altered" in reason_of(results[0])
    assert isinstance(engine.failures["yard"], GalleryCorrupt)
    assert "were altered" in reason_of(engine.score([to_score("yard", brightness=60)])[0])


def test_a_runtime_error_while_scoring_is_no_score(made: Path):
    engine = an_engine({"yard": made / "campus"})

    class Breaks(Watching):
        def score_frame(self, features: Features, **_: Any) -> FrameScore:
            raise RuntimeError("out of memory")

    engine.scenes["yard"] = Scene("yard", Gallery(made / "campus"), Breaks())
    assert reason_of(engine.score([to_score()])[0]) == "scoring failed: out of memory"
    assert engine.failures == {}


def test_a_flipped_byte_anywhere_is_found_in_the_background(galleries: dict[str, Path], method: str):
    flip_a_byte(galleries["yard"], "thumbnails.bin", at=40)  # which opening and scoring never read
    engine = an_engine(galleries, method)
    assert kinds(engine.score([to_score("yard"), to_score("gate")])) == ["Scored", "Scored"]
    engine.verify_in_background()
    wait_until(lambda: engine.failures)
    assert kinds(engine.score([to_score("yard"), to_score("gate")])) == ["NotScored", "Scored"]
    assert "thumbnails.bin: its checksum" in str(engine.failures["yard"])


class Watching:
    """A scorer that notes which memory each frame came with."""

    def __init__(self) -> None:
        self.memories: list[Any] = []

    def new_memory(self) -> Any:
        return object()

    def score_frame(self, features: Features, *, motion: Any, time: float, memory: Any, **_: Any) -> FrameScore:
        self.memories.append(memory)
        return FrameScore(0.0, np.zeros((8, 8), np.float32), Later.known(Explanation(0.0, ())))


def memories_of(made: Path, frames: Sequence[tuple[str, str]]) -> list[int]:
    """For frames of (camera, segment), one batch each: which memory, numbered as they appear."""
    engine, scorer = an_engine({"yard": made / "campus"}), Watching()
    engine.scenes["yard"] = Scene("yard", Gallery(made / "campus"), scorer)
    for camera, segment in frames:
        engine.score([to_score(camera=camera, segment=segment)])
    numbers = {id(memory): number for number, memory in enumerate(dict.fromkeys(scorer.memories))}
    return [numbers[id(memory)] for memory in scorer.memories]


def test_cameras_of_one_scene_do_not_share_what_they_remember(made: Path):
    assert memories_of(made, [("a", ""), ("b", ""), ("a", ""), ("b", "")]) == [0, 1, 0, 1]


def test_a_new_clip_is_a_new_memory(made: Path):
    assert memories_of(made, [("a", "one"), ("a", "one"), ("a", "two"), ("a", "two"), ("a", "one")]) == [0, 0, 1, 1, 2]


def test_what_stays_for_seconds_is_remembered_from_batch_to_batch(made: Path):
    engine = an_engine({"yard": made / "campus"})
    lasting = Watching()
    real = engine.scenes["yard"].scorer
    memory = real.new_memory()
    lasting.new_memory = lambda: memory  # type: ignore[method-assign]
    lasting.score_frame = real.score_frame  # type: ignore[method-assign]
    engine.scenes["yard"] = Scene("yard", engine.scenes["yard"].gallery, lasting)
    for step in range(17):
        engine.score([to_score(brightness=200, time=step / 2)])
    assert memory.lasting(np.full((2, 2), np.inf, np.float32), 8.5).all()


def test_campus_frames_are_explained_when_somebody_asks_or_always(made: Path):
    galleries = {"yard": made / "campus"}
    asked = an_engine(galleries).score([to_score()])[0]
    always = ScoringEngine(tiny_extractor(), METHODS["campus"], galleries, explain="always").score([to_score()])[0]
    assert isinstance(asked, Scored)
    assert isinstance(always, Scored)
    assert (asked.score.explanation.made, always.score.explanation.made) == (False, True)
    assert asked.score.neighbours == always.score.neighbours
    assert asked.score.image_score == always.score.image_score


# Scenes that come and go while cameras are scored


def test_a_scene_that_is_added_is_scored_from_then_on(galleries: dict[str, Path], method: str):
    engine = an_engine({"yard": galleries["yard"]}, method)
    assert kinds(engine.score([to_score("gate")])) == ["NotScored"]
    engine.change_scenes(galleries)
    assert kinds(engine.score([to_score("gate")])) == ["Scored"]


def test_a_scene_that_is_taken_away_is_not_scored_any_more(galleries: dict[str, Path], method: str):
    flip_a_byte(galleries["yard"], "manifest.json")
    engine = an_engine(galleries, method)
    engine.change_scenes({})
    assert (engine.scenes, engine.failures) == ({}, {})
    assert reason_of(engine.score([to_score("gate")])[0]) == "no gallery is configured for scene 'gate'"


def test_a_scene_stays_as_it_is_unless_its_gallery_has_a_new_version(galleries: dict[str, Path], method: str):
    engine = an_engine(galleries, method)
    yard, gate = engine.scenes["yard"], engine.scenes["gate"]
    enroll(
        Footage(100),
        galleries["gate"],
        settings=brief_settings(capacity=8),
        extractor=tiny_extractor(),
        parameters=METHODS[method],
        note={},
        on_progress=lambda progress: None,
    )
    engine.score([to_score("gate")])  # what is remembered of the camera belongs to the old gallery
    engine.change_scenes(galleries)
    assert engine.scenes["yard"] is yard
    assert engine.scenes["gate"].gallery.version > gate.gallery.version
    assert kinds(engine.score([to_score("gate")])) == ["Scored"]


def test_a_scene_that_failed_is_tried_again(galleries: dict[str, Path], method: str):
    flip_a_byte(galleries["yard"], "manifest.json")
    engine = an_engine(galleries, method)
    flip_a_byte(galleries["yard"], "manifest.json")
    engine.change_scenes(galleries)
    assert engine.failures == {}
    assert kinds(engine.score([to_score("yard")])) == ["Scored"]


def test_a_scene_that_is_opened_later_is_read_in_full_too(galleries: dict[str, Path], method: str):
    engine = an_engine({"yard": galleries["yard"]}, method)
    flip_a_byte(galleries["gate"], "thumbnails.bin", at=200)
    engine.change_scenes(galleries)
    assert set(engine.failures) == {"gate"}


def test_a_picture_that_opencv_fails_on_says_nothing_about_the_place(
    galleries: dict[str, Path], method: str, monkeypatch: pytest.MonkeyPatch
):
    def fail(image: Any) -> Any:
        raise cv2.error("insufficient memory")

    engine = an_engine(galleries, method)
    engine.scenes["yard"] = replace(engine.scenes["yard"], placement=SimpleNamespace(compare=fail))  # type: ignore[arg-type]
    placement = engine.place("yard", a_picture(40))
    assert placement is not None
    assert placement.in_place is None


def test_a_gallery_that_has_gone_bad_is_a_failure_of_its_scene(galleries: dict[str, Path], method: str):
    engine = an_engine(galleries, method)
    (galleries["yard"] / "CURRENT").write_text("v000009\n")
    engine.change_scenes(galleries)
    assert set(engine.failures) == {"yard"}
    assert kinds(engine.score([to_score("yard"), to_score("gate")])) == ["NotScored", "Scored"]


def test_the_users_cache_is_where_the_desktop_standard_says():
    assert user_cache({"XDG_CACHE_HOME": "/var/cache/me"}) == Path("/var/cache/me/spade-stream")
    for ignored in ({}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "relative"}):
        assert user_cache(ignored) == Path.home() / ".cache" / "spade-stream"


def test_spade_frames_are_explained_by_their_scoring(made: Path):
    result = an_engine({"yard": made / "spade"}, "spade").score([to_score()])[0]
    assert isinstance(result, Scored)
    assert result.score.explanation.made


def test_a_frame_that_cannot_be_explained_has_no_score_where_all_are_explained(made: Path):
    engine = ScoringEngine(tiny_extractor(), METHODS["campus"], {"yard": made / "campus"}, explain="always")

    class Unexplained(Watching):
        def score_frame(self, features: Features, **_: Any) -> FrameScore:
            return FrameScore(0.0, np.zeros((8, 8), np.float32), Later(fails))

    def fails() -> Explanation:
        raise InputError("distances are not finite")

    engine.scenes["yard"] = Scene("yard", Gallery(made / "campus"), Unexplained())
    assert reason_of(engine.score([to_score()])[0]) == "distances are not finite"


# Whether a camera was moved


def blocks(*, right: int = 0) -> np.ndarray:
    """A picture with an edge everywhere, shifted by pixels."""
    colours = np.random.default_rng(0).integers(0, 255, (10, 12, 3)).astype(np.uint8)
    return cv2.resize(colours, (192, 160), interpolation=cv2.INTER_NEAREST)[:, 16 - right : 176 - right]


def test_a_picture_is_placed_in_the_scene_that_was_enrolled(
    galleries: dict[str, Path], method: str, monkeypatch: pytest.MonkeyPatch
):
    view = ScenePlacement.from_pictures([blocks()] * 20)
    monkeypatch.setattr("stream.engine.enrolled_view", lambda gallery, preprocess: view)
    engine = an_engine({"yard": galleries["yard"]}, method)
    assert engine.placement_of("yard") is view
    here, there = engine.place("yard", blocks()), engine.place("yard", blocks(right=16))
    assert here is not None
    assert there is not None
    assert (here.in_place, there.in_place) == (True, False)
    assert engine.place("gate", blocks()) is None


def test_a_scene_where_nothing_has_an_edge_says_that_it_cannot_tell(
    galleries: dict[str, Path], method: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "stream.engine")
    engine = an_engine(galleries, method)
    assert engine.placement_of("yard") is None
    assert engine.place("yard", blocks()) is None
    assert "scene yard: a camera that is moved will not be noticed: 8 normal pictures are too few" in caplog.text


# Several scenes of one camera


def test_a_frame_is_compared_with_the_scenes_that_are_asked_for_and_scored_by_its_own(made: Path, tmp_path: Path):
    enroll_brightness(tmp_path / "night", 10)
    enroll_brightness(tmp_path / "day", 120)
    engine = an_engine({"day": tmp_path / "day", "night": tmp_path / "night"})
    (result,) = engine.score([to_score("day", 12, candidates=("day", "night"))])

    assert isinstance(result, Scored)
    assert result.scene.name == "day"
    assert result.fits["night"] < 1.4 < 10 < result.fits["day"]


def test_a_frame_that_is_not_asked_about_is_compared_with_no_scene(galleries: dict[str, Path], method: str):
    (result,) = an_engine(galleries, method).score([to_score("yard")])

    assert result.fits == {}


def test_a_scene_without_a_gallery_is_left_out_of_the_comparison_and_the_others_are_not(
    galleries: dict[str, Path], method: str, tmp_path: Path
):
    engine = an_engine({"yard": galleries["yard"], "night": tmp_path / "nothing"}, method)
    (own, other) = engine.score(
        [
            to_score("night", candidates=("yard", "night")),
            to_score("yard", candidates=("yard", "night"), camera="second"),
        ]
    )

    assert "nothing" in reason_of(own)  # no score
    assert list(own.fits) == ["yard"] == list(other.fits)
    assert isinstance(other, Scored)


def test_a_scene_whose_view_is_not_shown_does_not_fit_at_all(
    galleries: dict[str, Path], method: str, monkeypatch: pytest.MonkeyPatch
):
    engine = an_engine(galleries, method)
    monkeypatch.setattr(engine, "place", lambda scene, image: SimpleNamespace(in_place=scene != "gate"))
    (result,) = engine.score([to_score("yard", candidates=("yard", "gate"))])

    assert result.fits["gate"] == np.inf
    assert np.isfinite(result.fits["yard"])


def enroll_brightness(folder: Path, begin: int) -> None:
    """A gallery of frames of about that brightness."""

    class Bright(Footage):
        def frames(self):
            for frame in super().frames():
                level = begin + frame.index % 7
                yield replace(frame, image=np.full_like(frame.image, level))

    enroll(
        Bright(100),
        folder,
        settings=brief_settings(capacity=60),
        extractor=tiny_extractor(),
        parameters=METHODS["campus"],
        note={},
        on_progress=lambda progress: None,
    )


def test_a_scene_whose_gallery_is_still_to_come_says_what_it_waits_for(galleries: dict[str, Path], method: str):
    engine = an_engine({}, method)
    engine.warm_up_network()
    engine.waiting = {"yard": "its gallery is fetched: 40 %"}
    assert reason_of(engine.score([to_score("yard")])[0]) == "its gallery is fetched: 40 %"
    engine.change_scenes(galleries)
    assert kinds(engine.score([to_score("yard")])) == ["Scored"]


def test_only_damaged_galleries_are_named_as_such(galleries: dict[str, Path], method: str):
    flip_a_byte(galleries["yard"], "manifest.json")
    engine = an_engine({**galleries, "roof": galleries["yard"].parent / "nowhere"}, method)
    assert set(engine.failures) == {"yard", "roof"}
    assert engine.damaged == ["yard"]
    assert engine.device == "cpu"


def test_a_network_that_cannot_be_warmed_up_is_an_error_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(self: FeatureExtractor, images: Any) -> Any:
        raise RuntimeError("no memory for it")

    monkeypatch.setattr(FeatureExtractor, "extract", fail)
    an_engine({}).warm_up_network()
    assert "the network cannot be run: no memory for it" in caplog.text
