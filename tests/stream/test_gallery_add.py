"""Frames that an operator calls normal: a new version with all of the old one and these, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_extractor import SIDE, Footage, a_picture, brief_settings, tiny_extractor

from spade_core.campus import CampusParameters
from spade_core.confirmed import WithJoined
from spade_core.errors import GalleryCorrupt, GalleryError, GalleryMismatch, InputError
from spade_core.gallery import Gallery, GalleryFrame
from spade_core.gallery_versions import use_version
from spade_core.methods import frame_scorer, gallery_parameters
from spade_core.motion import GRID
from spade_core.scorer import SpadeParameters
from stream import gallery_add
from stream.engine import open_scene
from stream.enroll import Progress, enroll
from stream.errors import SourceCorrupt, SourceNotFound, UsageError
from stream.gallery_add import AddSettings, add_frames, add_kept, new_frames
from stream.kept_frame import KeptFrame

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gallery of 60 frames, of brightness 10 to 69, made for at most 70."""
    enroll(
        Footage(100),
        tmp_path / "yard",
        settings=brief_settings(capacity=70),
        extractor=tiny_extractor(),
        parameters=SpadeParameters(),
        note={"scene": "yard"},
        on_progress=lambda progress: None,
    )
    return tmp_path / "yard"


def added(
    folder: Path,
    *sources: Any,
    fps: float | None = None,
    capacity: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    **options: Any,
) -> Gallery:
    values = {"extractor": tiny_extractor(), "note": {"sources": ["a test"]}, **options}
    return add_frames(
        Gallery(folder),
        [lambda source=source: source for source in sources],
        settings=AddSettings(fps=fps, capacity=capacity),
        on_progress=on_progress,
        **values,
    )


def untouched(folder: Path) -> bool:
    """Nothing but the first version is there, and it is in force."""
    names = {path.name for path in folder.iterdir()} - {".lock"}
    return names == {"CURRENT", "v000001"} and len(Gallery(folder)) == FRAMES


def test_a_new_version_holds_the_old_frames_and_the_new_ones(folder: Path):
    old, new = Gallery(folder), added(folder, Footage(3), Footage(2))
    assert (new.version, len(new)) == ("v000002", FRAMES + 5)
    assert new.frames[:FRAMES] == old.frames
    np.testing.assert_array_equal(new.pooled[:FRAMES], old.pooled)
    np.testing.assert_array_equal(new.motion[:FRAMES], old.motion)
    assert [new.thumbnail(index) for index in (0, 59)] == [old.thumbnail(index) for index in (0, 59)]
    assert [frame.index for frame in new.frames[FRAMES:]] == [0, 1, 2, 0, 1]
    list(new.verify())


def test_new_frames_have_the_features_and_the_motion_that_enrolment_would_give_them(folder: Path):
    new = added(folder, Footage(3))
    expected = tiny_extractor().extract(a_picture(12)[None])
    np.testing.assert_allclose(new.pooled[FRAMES + 2], expected.pooled[0], rtol=1e-5)
    for stored, level in zip(new.pyramid(FRAMES + 2), expected.levels, strict=True):
        np.testing.assert_allclose(stored, level[0], rtol=1e-3)
    assert np.isnan(new.motion[FRAMES]).all()  # nothing goes before the first frame
    assert np.isfinite(new.motion[FRAMES + 1 :]).all()


def test_what_was_added_scores_lower_and_the_threshold_stays(folder: Path):
    def score(brightness: int) -> tuple[float, float]:
        scene = open_scene("yard", folder, extractor=tiny_extractor(), parameters=SpadeParameters())
        features = tiny_extractor().extract(a_picture(brightness)[None])
        memory = scene.scorer.new_memory()
        found = scene.scorer.score_frame(features, motion=None, time=0.0, memory=memory).score
        return found, scene.calibration.threshold

    before, threshold = score(200)
    assert before > threshold
    added(folder, Footage(191), fps=1 / 19)  # brightness 10 and 200: the frames at 0 and 19 s
    assert score(200) == (pytest.approx(0.0, abs=1e-3), threshold)
    use_version(folder, "v1", on_progress=lambda done, total: None)
    assert score(200) == (before, threshold)


def test_the_manifest_says_what_was_added_from_where(folder: Path):
    assert added(folder, Footage(3)).manifest["note"] == {
        "scene": "yard",
        "source": "grey",
        "footage_frames": 100,
        "capacity": 70,
        "sources": ["a test"],
        "added": 3,
        "from": "v000001",
    }
    assert added(folder, Footage(2)).manifest["note"]["from"] == "v000002"


def test_footage_is_sampled_at_the_rate_that_is_asked_for(folder: Path):
    assert [frame.index for frame in added(folder, Footage(20), fps=2.0).frames[FRAMES:]] == [0, 5, 10, 15]


def test_a_full_gallery_says_how_to_go_on_and_nothing_is_added(folder: Path):
    words = r"v000001 holds 60 frames, .* more than 70: allow more with --capacity, or add fewer"
    with pytest.raises(UsageError, match=words):
        added(folder, Footage(11))
    assert untouched(folder)
    new = added(folder, Footage(11), capacity=71)
    assert len(new) == 71
    with pytest.raises(UsageError, match="more than 71"):  # what was allowed once is what it is made for now
        added(folder, Footage(1))
    with pytest.raises(UsageError, match="more than 30"):
        added(folder, Footage(1), capacity=30)


def test_a_gallery_that_does_not_say_what_it_was_made_for_holds_five_thousand(folder: Path):
    gallery = Gallery(folder)
    del gallery.manifest["note"]["capacity"]
    settings = AddSettings(fps=None, capacity=None)
    new = add_frames(
        gallery,
        [lambda: Footage(20)],
        settings=settings,
        extractor=tiny_extractor(),
        note={},
        on_progress=lambda progress: None,
    )
    assert new.manifest["note"]["capacity"] == 5000


@pytest.mark.parametrize("good", [0, 4])
def test_a_source_that_breaks_adds_nothing(folder: Path, good: int):
    broken = Footage(good, declared=9, error=SourceCorrupt("grey: cut short"))
    with pytest.raises(SourceCorrupt):
        added(folder, Footage(2), broken)
    assert broken.closed.is_set()
    assert untouched(folder)


def test_sources_without_a_frame_add_nothing(folder: Path):
    with pytest.raises(SourceNotFound, match="nothing was added"):
        added(folder, Footage(0), Footage(0))
    assert untouched(folder)


def test_stopping_adds_nothing(folder: Path):
    def stop(progress: Progress) -> None:
        if progress.stage == "adding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        added(folder, Footage(3), on_progress=stop)
    assert untouched(folder)


def test_progress_tells_of_every_stage(folder: Path):
    seen: list[str] = []
    added(folder, Footage(3), on_progress=lambda progress: seen.append(progress.stage))
    assert list(dict.fromkeys(seen)) == ["checking", "adding", "writing"]


def test_another_backbone_is_refused_in_words(folder: Path):
    with pytest.raises(GalleryMismatch, match="weights id is 'none', expected 'others'"):
        added(folder, Footage(3), extractor=tiny_extractor(weights_id="others"))
    assert untouched(folder)


@pytest.mark.parametrize("file", ["level2.f16", "thumbnails.bin"])
def test_nothing_is_built_on_a_damaged_version(folder: Path, file: str):
    path = folder / "v000001" / file
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    with pytest.raises(GalleryCorrupt, match=file):
        added(folder, Footage(3))
    assert untouched(folder)


def test_a_version_that_another_program_put_in_force_meanwhile_is_not_passed_over(folder: Path):
    old = Gallery(folder)
    added(folder, Footage(2))
    with pytest.raises(GalleryError, match="another program has put v000002 in force meanwhile"):
        add_frames(
            old,
            [lambda: Footage(3)],
            settings=AddSettings(fps=None, capacity=None),
            extractor=tiny_extractor(),
            note={},
            on_progress=lambda progress: None,
        )
    assert len(Gallery(folder)) == FRAMES + 2


def test_arrays_of_the_method_are_made_anew_from_all_frames(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def arrays(normal: Any, *, parameters: Any, device: Any, confirmed: Any, scales: Any) -> dict[str, Any]:
        assert (parameters, confirmed) == (SpadeParameters(), [])
        return {"count": np.array([len(normal.pooled)], np.int32)}

    monkeypatch.setattr(gallery_add, "gallery_arrays", arrays)
    assert added(folder, Footage(3)).array("count").tolist() == [FRAMES + 3]


# -- frames that were kept beside their alerts -------------------------------------------------------------------------

BANK_OF_ONE = CampusParameters(bank=1, persistence=1.0, average=1, reach=0, sigma=1.0)
"""So small that every frame but the one nearest to the mean is left out of what ``campus`` compares with."""


@pytest.fixture
def campus(tmp_path: Path) -> Path:
    """The same gallery for ``campus``."""
    enroll(
        Footage(100),
        tmp_path / "yard",
        settings=brief_settings(capacity=60),
        extractor=tiny_extractor(),
        parameters=BANK_OF_ONE,
        note={"scene": "yard"},
        on_progress=lambda progress: None,
    )
    return tmp_path / "yard"


def kept(image: np.ndarray, *, motion: float | None = None, seq: int = 7) -> KeptFrame:
    moved = None if motion is None else np.full((GRID, GRID), motion, np.float16)
    return KeptFrame("gate", "yard", seq, 1_700_000_000.0, image, moved)


def with_square(brightness: int, square: int) -> np.ndarray:
    """Grey, and a square of another grey in the upper left quarter."""
    image = a_picture(brightness)
    image[:16, :16] = square
    return image


def joined(folder: Path, *frames: KeptFrame, inside: Any = None, **options: Any) -> Gallery:
    values = {"extractor": tiny_extractor(), "note": {"by": "a test"}, "confirmed": True, **options}
    return add_kept(
        Gallery(folder),
        frames,
        inside=[inside] * len(frames),
        **{"on_progress": lambda progress: None, **values},
    )


def strength(folder: Path, frame: KeptFrame, version: str | None = None) -> float:
    """Score of a single frame, in thresholds."""
    gallery, extractor = Gallery(folder, version), tiny_extractor()
    scorer = frame_scorer(
        gallery,
        gallery.calibration,
        size=SIDE,
        parameters=gallery_parameters(gallery),
        runtime=extractor.backbone.runtime,
    )
    features = extractor.extract(frame.image[None])
    found = scorer.score_frame(features, motion=frame.motion, time=0.0, memory=scorer.new_memory())
    return found.score / gallery.calibration.threshold


def test_a_confirmed_frame_is_normal_even_where_the_bank_has_no_room_for_it(campus: Path):
    bright = kept(a_picture(200))
    assert strength(campus, bright) > 1
    assert strength(campus, kept(a_picture(69))) > 0, "the bank of one leaves most of the gallery out"

    after = joined(campus, bright)

    assert strength(campus, bright) == pytest.approx(0, abs=0.01)
    assert (after.version, len(after)) == ("v000002", FRAMES + 1)
    assert after.calibration == Gallery(campus, "v000001").calibration


def test_without_a_word_for_it_a_frame_takes_its_chance_in_the_bank(campus: Path):
    bright = kept(a_picture(200))
    joined(campus, bright, confirmed=False)

    assert strength(campus, bright) > 1


def test_what_joins_can_be_foreseen_exactly(campus: Path):
    before, frames = joined(campus, kept(a_picture(150))), [kept(a_picture(30)), kept(a_picture(200), motion=3.0)]
    new = new_frames(before, frames, extractor=tiny_extractor(), inside=[None, None])
    foreseen = WithJoined(before, new, parameters=BANK_OF_ONE, device=torch.device("cpu"))

    after = joined(campus, *frames, confirmed=False)

    assert set(foreseen.arrays) == {"bank", "usual_speed"}
    for name, array in foreseen.arrays.items():
        np.testing.assert_array_equal(array, after.array(name))


def test_what_was_confirmed_stays_normal_when_more_is_added(campus: Path):
    bright, brighter = kept(a_picture(180)), kept(a_picture(250))
    joined(campus, bright)
    joined(campus, brighter)
    added(campus, Footage(3), capacity=100)

    assert len(Gallery(campus)) == FRAMES + 5
    assert [strength(campus, frame) for frame in (bright, brighter)] == pytest.approx([0, 0], abs=0.01)


def test_no_other_score_rises(campus: Path):
    others = [kept(a_picture(brightness), motion=0.5) for brightness in (0, 30, 69, 100, 150, 255)]
    before = [strength(campus, frame) for frame in others]
    joined(campus, kept(a_picture(200), motion=3.0))

    assert all(strength(campus, frame) <= old + 1e-6 for frame, old in zip(others, before, strict=True))


def test_a_speed_that_was_confirmed_does_not_alert_and_a_higher_one_does(campus: Path):
    fast = kept(a_picture(40), motion=30.0)
    assert strength(campus, fast) > 1

    joined(campus, fast)

    assert strength(campus, fast) < 1
    assert strength(campus, kept(a_picture(40), motion=90.0)) > 1


def test_only_the_region_becomes_normal(campus: Path):
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:16, :16] = True
    square = kept(with_square(40, 200))
    assert strength(campus, square) > 1

    joined(campus, kept(with_square(220, 200)), inside=inside)

    assert strength(campus, kept(a_picture(220))) > 1, "what was outside has not become normal"
    assert strength(campus, square) < strength(campus, square, "v000001")


def test_of_a_region_the_gallery_gets_its_cells_and_those_of_the_nearest_normal_frame(campus: Path):
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:16, :16] = True
    frame = kept(with_square(80, 200), motion=2.0)

    after = joined(campus, frame, inside=inside)
    own, normal = tiny_extractor().extract(frame.image[None]).levels, after.pyramid(FRAMES - 1)  # 69, the brightest

    for stored, level, other in zip(after.pyramid(FRAMES), own, normal, strict=True):
        half = stored.shape[1] // 2
        np.testing.assert_allclose(stored[:, :half, :half], level[0][:, :half, :half], rtol=1e-3)
        np.testing.assert_array_equal(stored[:, half:], other[:, half:])
    assert after.motion[FRAMES][:32, :32].tolist() == np.full((32, 32), 2.0).tolist()
    assert not after.motion[FRAMES][32:].any()


def test_the_gallery_says_where_a_confirmed_frame_came_from(campus: Path):
    after = joined(campus, kept(a_picture(200)))

    assert after.frames[FRAMES] == GalleryFrame("gate 2023-11-14T22:13:20.000Z", 7, 0.0, confirmed=True)
    assert not after.frames[FRAMES - 1].confirmed
    note = after.manifest["note"]
    assert (note["by"], note["added"], note["from"], note["capacity"]) == ("a test", 1, "v000001", 60)
    thumbnail = cv2.imdecode(np.frombuffer(after.thumbnail(FRAMES), np.uint8), cv2.IMREAD_COLOR)
    old = cv2.imdecode(np.frombuffer(after.thumbnail(0), np.uint8), cv2.IMREAD_COLOR)
    assert thumbnail.shape == old.shape
    assert thumbnail.mean() == pytest.approx(200, abs=2)
    list(after.verify())


def test_with_faithful_spade_a_confirmed_frame_is_normal_too(folder: Path):
    bright = kept(a_picture(200))
    assert strength(folder, bright) > 1
    joined(folder, bright)
    assert strength(folder, bright) == pytest.approx(0, abs=0.01)


def test_with_faithful_spade_a_region_is_normal_in_a_frame_that_looks_like_it(folder: Path):
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:24, :24] = True
    square = kept(with_square(60, 200))
    before = strength(folder, square)
    joined(folder, square, inside=inside)

    assert strength(folder, square) < before / 2


def test_a_frame_of_another_size_is_refused_and_nothing_changes(campus: Path):
    with pytest.raises(InputError, match="shape"):
        joined(campus, kept(a_picture(200, side=64)))
    assert untouched(campus)


def test_another_extractor_is_refused_for_kept_frames_too(campus: Path):
    with pytest.raises(GalleryMismatch, match="weights id is 'none', expected 'other'"):
        joined(campus, kept(a_picture(200)), extractor=tiny_extractor(weights_id="other"))
    assert untouched(campus)


def test_no_frames_are_nothing_to_add(campus: Path):
    with pytest.raises(UsageError, match="no frames"):
        joined(campus)
    assert untouched(campus)
