"""Frames that an operator calls normal: a new version with all of the old one and these, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_extractor import Footage, a_picture, brief_settings, tiny_extractor

from spade_core.errors import GalleryCorrupt, GalleryError, GalleryMismatch
from spade_core.gallery import Gallery
from spade_core.gallery_versions import use_version
from spade_core.scorer import SpadeParameters
from stream import gallery_add
from stream.engine import open_scene
from stream.enroll import Progress, enroll
from stream.errors import SourceCorrupt, SourceNotFound, UsageError
from stream.gallery_add import AddSettings, add_frames

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
    def arrays(normal: Any, *, parameters: Any, device: Any) -> dict[str, Any]:
        assert parameters == SpadeParameters()
        return {"count": np.array([len(normal.pooled)], np.int32)}

    monkeypatch.setattr(gallery_add, "gallery_arrays", arrays)
    assert added(folder, Footage(3)).array("count").tolist() == [FRAMES + 3]
