"""A gallery that follows slow change: grey frames that get brighter, with a network that sees mean colours only."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_extractor import SIDE, Footage, brief_settings, tiny_extractor

from spade_core.errors import GalleryError
from spade_core.gallery import Gallery
from spade_core.gallery_versions import prunable
from spade_core.motion import GRID
from spade_core.scorer import SpadeParameters
from stream import drift_follow
from stream.comparable import Units
from stream.drift_alerts import OldAlert
from stream.drift_follow import MOST_REBUILDS, Followed, Follower, follow
from stream.drift_guard import BY_ALERT, DAY, FAR, FULL, SILENCES, UNREADABLE, YOUNG, FollowLimits, Told
from stream.drift_store import DriftStore
from stream.enroll import enroll
from stream.gallery_add import new_frames
from stream.gallery_store import GalleryStore
from stream.kept_frame import KeptFrame
from stream.normal_judge import AsSeen
from stream.sources.base import SourceFrame
from stream.zones import Zone

pytestmark = pytest.mark.usefixtures("one_thread")

LIMITS = FollowLimits(hold=DAY, day_part=0.05, total_part=0.2)
NOW = 100 * DAY
OLD = NOW - 2 * DAY
BLACK, WHITE = (np.full((SIDE, SIDE, 3), level, np.uint8) for level in (0, 255))
NO_MOTION = np.zeros((GRID, GRID), np.float16)


class Dim(Footage):
    """Of a brightness from 100 to 110, and noisy, as every sensor is."""

    brighter = 0.0

    def frames(self) -> Iterator[SourceFrame]:
        for frame in super().frames():
            yield replace(frame, image=picture(self.brighter, like=frame.index))


class Bright(Dim):
    """Another place."""

    brighter = 80.0


def picture(brighter: float, *, like: int) -> np.ndarray:
    """A frame of the footage, brighter by so many levels."""
    random = np.random.default_rng(like)
    level = 100 + 10 * random.random()
    noise = random.normal(level + brighter, 3.0, (SIDE, SIDE, 3))
    return np.clip(np.round(noise), 0, 255).astype(np.uint8)


BRIGHTEST = max(range(60), key=lambda index: float(np.random.default_rng(index).random()))
"""Frame of the gallery above which nothing in it is brighter."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enrolled(Dim(120), tmp_path_factory.mktemp("made") / "yard")


def enrolled(footage: Footage, folder: Path) -> Path:
    enroll(
        footage,
        folder,
        settings=brief_settings(capacity=60),
        extractor=tiny_extractor(),
        parameters=SpadeParameters(),
        note={"scene": "yard"},
        on_progress=lambda progress: None,
    )
    return folder


def follower_of(gallery: Gallery, *, limits: FollowLimits = LIMITS, **options: Any) -> Follower:
    """With nothing set for any camera, unless a test says so."""
    values = {"extractor": tiny_extractor(), "cameras": {}, "on_progress": lambda progress: None, **options}
    return Follower(gallery, limits=limits, **values)


class Yard:
    """A gallery of 60 frames, its candidates, and what follows."""

    def __init__(self, made: Path, tmp_path: Path) -> None:
        self.folder = tmp_path / "galleries" / "yard"
        shutil.copytree(made, self.folder)
        self.store = DriftStore(tmp_path / "drift", most=1000)

    def collect(self, *brighter: float, time: float = OLD) -> None:
        for place, levels in enumerate(brighter):
            self.store.keep(a_frame(levels, time + place))

    def follow(
        self, *, told: list[Told] | None = None, old: list[OldAlert] | None = None, now: float = NOW, dry: bool = False
    ) -> Followed:
        follower = follower_of(Gallery(self.folder))
        return follow(
            "yard",
            follower,
            self.store.candidates("yard"),
            told=told or [],
            old=old or [],
            now=now,
            note=None if dry else {"made": "today"},
            decided=self.store.remove,
        )


def a_frame(brighter: float, time: float = OLD, *, image: Any = None) -> KeptFrame:
    """The brightest frame of the gallery, brighter by so many levels."""
    shown = picture(brighter, like=BRIGHTEST) if image is None else image
    return KeptFrame("gate", "yard", 1, time, shown, NO_MOTION)


@pytest.fixture
def yard(made: Path, tmp_path: Path) -> Yard:
    return Yard(made, tmp_path)


def threshold(yard: Yard) -> float:
    return Gallery(yard.folder).calibration.threshold


def test_what_drifted_a_little_joins_as_a_new_version_that_can_be_undone(yard: Yard) -> None:
    yard.collect(0.1, 0.2)
    found = yard.follow()

    assert found == Followed("yard", "v000002", 2)
    gallery = Gallery(yard.folder)
    assert (len(gallery), gallery.version) == (62, "v000002")
    assert gallery.calibration == Gallery(yard.folder, "v000001").calibration
    assert gallery.manifest["note"]["from"] == "v000001"
    digest = Gallery(yard.folder, "v000001").manifest["digest"]
    drift = {"anchor": "v000001", "anchor_digest": digest, "anchor_frames": 60, "joined": [[NOW, 2]]}
    assert gallery.manifest["note"]["drift"] == drift
    assert not any(frame.confirmed for frame in gallery.frames)
    assert yard.store.candidates("yard") == []


def test_a_dry_run_says_the_same_and_changes_nothing(yard: Yard) -> None:
    yard.collect(0.1, 0.2)
    found = yard.follow(dry=True)

    assert (found.version, found.added) == (None, 2)
    assert Gallery(yard.folder).version == "v000001"
    assert len(yard.store.candidates("yard")) == 2


def test_without_candidates_nothing_happens(yard: Yard) -> None:
    assert yard.follow() == Followed("yard", None, 0)
    assert Gallery(yard.folder).version == "v000001"


def test_young_ones_wait_and_those_by_an_alert_are_dropped(yard: Yard) -> None:
    yard.collect(0.1, time=NOW - 60)
    yard.collect(0.1, time=OLD)
    found = yard.follow(told=[Told("gate", OLD - 60, OLD - 30)])

    assert (found.version, dict(found.refused)) == (None, {YOUNG: 1, BY_ALERT: 1})
    assert [candidate.time for candidate in yard.store.candidates("yard")] == [NOW - 60]


def test_no_more_join_in_a_day_than_may_and_the_rest_waits(yard: Yard) -> None:
    yard.collect(*[0.1] * 5)
    found = yard.follow()

    assert (found.added, dict(found.refused)) == (3, {FULL: 2})  # 5 % of 60
    assert len(yard.store.candidates("yard")) == 2
    assert yard.follow(now=NOW + 3600).added == 0
    assert yard.follow(now=NOW + DAY + 1).added == 2


def test_in_all_a_fifth_joins_and_no_more(yard: Yard) -> None:
    added = 0
    for day in range(10):
        yard.collect(*[0.1] * 3, time=OLD + day * DAY)
        added += yard.follow(now=NOW + day * DAY * 1.01).added

    assert added == 12


def test_what_the_enrolled_gallery_would_raise_an_alert_about_never_joins(yard: Yard) -> None:
    yard.collect(3.0, 100.0)
    found = yard.follow()

    assert (found.added, dict(found.refused)) == (0, {FAR: 2})
    assert yard.store.candidates("yard") == []


def test_an_approach_in_small_steps_is_stopped_where_one_step_would_have_been(yard: Yard) -> None:
    """Every day a picture a little brighter than the last that joined: near that one, ever farther from the first."""
    joined = 0.0
    for day in range(20):
        yard.collect(joined + 0.1, time=OLD + day * DAY)
        if yard.follow(now=NOW + day * DAY * 1.01).added:
            joined += 0.1
    at_once = [step for step in (0.1 * n for n in range(1, 21)) if joins_at_once(yard, step)]

    assert 0 < joined <= max(at_once) + 1e-6 < 1.5


def joins_at_once(yard: Yard, brighter: float) -> bool:
    """Whether a picture would join what was enrolled, with nothing between the two."""
    anchor = Gallery(yard.folder, "v000001")
    follower = follower_of(anchor)
    store = DriftStore(yard.folder.parent / "once", most=10)
    store.keep(a_frame(brighter))
    verdict, _ = follower.decide(store.candidates("yard"), told=[], old=[], now=NOW)
    store.remove(store.candidates("yard"))
    return bool(verdict.accepted)


def test_a_candidate_that_would_silence_an_alert_is_refused(yard: Yard) -> None:
    speaking = a_frame(0.3)
    yard.store.keep(replace(speaking, frame_time=OLD))
    yard.collect(0.0, time=OLD + 5)
    found = yard.follow(old=[OldAlert(speaking, threshold(yard) / 4)])  # operators had asked to hear of more

    assert (found.added, dict(found.refused)) == (1, {SILENCES: 1})
    assert [frame.source[-13:] for frame in Gallery(yard.folder).frames[60:]] == ["00:00:05.000Z"]


def test_old_alerts_are_judged_as_their_cameras_would_see_them_now(yard: Yard) -> None:
    speaking = a_frame(0.2)  # far below the threshold, unless its camera was made much more sensitive since
    yard.store.keep(replace(speaking, frame_time=OLD))
    old = [OldAlert(speaking, threshold(yard))]

    assert decided(yard, old) == ([0], {})
    assert decided(yard, old, cameras={"gate": AsSeen(threshold_factor=0.001)}) == ([], {SILENCES: 1})


HERE = Zone("all of it", "ignore", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))


def test_what_operators_do_not_look_at_for_a_while_stays_a_witness(yard: Yard) -> None:
    speaking = a_frame(0.3)
    yard.store.keep(replace(speaking, frame_time=OLD))
    old = [OldAlert(speaking, threshold(yard) / 4)]

    assert decided(yard, old, cameras={"gate": AsSeen((HERE,), configured=())}) == ([], {SILENCES: 1})
    assert decided(yard, old, cameras={"gate": AsSeen((HERE,), configured=(HERE,))}) == ([0], {})


def test_what_is_seen_beside_an_operators_zone_must_not_be_silenced_either(yard: Yard) -> None:
    """A tree in a storm, in their zone, is no reason to let what stands beside it fall silent."""
    storm = np.concatenate([WHITE[:, : SIDE // 2], picture(0.3, like=BRIGHTEST)[:, SIDE // 2 :]], axis=1)
    yard.store.keep(a_frame(0.3))
    left = Zone("tree", "ignore", ((0.0, 0.0), (0.75, 0.0), (0.75, 1.0), (0.0, 1.0)))
    follower = follower_of(Gallery(yard.folder), cameras={"gate": AsSeen((left,), configured=())})
    (beside, everything) = follower._heard(OldAlert(a_frame(0, image=storm), threshold(yard)))

    assert everything.worth(follower._today) > beside.worth(follower._today) > 1


def test_a_threshold_of_then_counts_in_the_unit_of_the_gallery_that_it_was_of(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gallery was enrolled anew, and its scores are in another unit since: 40 then is 1 now."""
    now = threshold(yard)
    units = Units((40 * now, now))
    monkeypatch.setattr(drift_follow, "units_of_gallery", lambda folder, factors: units)
    speaking = a_frame(0.3)
    yard.store.keep(replace(speaking, frame_time=OLD))

    assert decided(yard, [OldAlert(speaking, 40 * now)]) == ([0], {})  # silent by what it had to exceed then
    assert decided(yard, [OldAlert(speaking, 10 * now)]) == ([], {SILENCES: 1})  # a quarter of that: loud


def decided(yard: Yard, old: list[OldAlert], **options: Any) -> tuple[list[int], dict[str, int]]:
    """Places of the candidates that would join, and why the others would not."""
    follower = follower_of(Gallery(yard.folder), **options)
    verdict, _ = follower.decide(yard.store.candidates("yard"), told=[], old=old, now=NOW)
    return verdict.accepted, dict(verdict.refused)


def test_what_the_version_as_it_is_made_would_silence_is_refused_too(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of all frames is chosen anew then: here, something that is all like the alert."""
    speaking, rebuilt = a_frame(0.3), list[int]()
    alike = new_frames(Gallery(yard.folder), [speaking], extractor=tiny_extractor(), inside=[None])

    def joined(follower: Follower, new: Any) -> Any:
        rebuilt.append(len(new))
        return follower._with(alike)

    monkeypatch.setattr(Follower, "_joined", joined)
    yard.collect(*[0.0] * 5)
    old = [OldAlert(speaking, threshold(yard) / 4)]

    assert decided(yard, old, limits=replace(LIMITS, day_part=0.2)) == ([], {SILENCES: 5})
    assert rebuilt == [5, 4, 3]
    assert len(rebuilt) == MOST_REBUILDS, "then none of them joins"


def test_an_alert_that_is_silent_today_holds_nothing_up(yard: Yard) -> None:
    yard.collect(0.1)

    assert yard.follow(old=[OldAlert(a_frame(0.0), threshold(yard))]).added == 1


def test_an_alert_of_another_size_holds_nothing_up(yard: Yard) -> None:
    yard.collect(0.1)
    other = OldAlert(a_frame(0, image=np.zeros((64, 64, 3), np.uint8)), threshold(yard))

    assert yard.follow(old=[other]).added == 1


def test_what_cannot_be_scored_is_dropped(yard: Yard) -> None:
    yard.store.keep(a_frame(0, image=np.zeros((64, 64, 3), np.uint8)))
    yard.collect(0.1, time=OLD + 5)
    yard.store.candidates("yard")[1].path.write_bytes(b"no frame")
    found = yard.follow()

    assert (found.added, dict(found.refused)) == (0, {UNREADABLE: 2})


def test_the_anchor_is_kept_while_something_follows_from_it(yard: Yard) -> None:
    for day in range(3):
        yard.collect(0.1, time=OLD + day * DAY)
        yard.follow(now=NOW + day * DAY * 1.01)

    assert Gallery(yard.folder).version == "v000004"
    assert [version.name for version in prunable(yard.folder, keep=1)] == ["v000002", "v000003"]


def test_without_its_anchor_a_gallery_cannot_follow(yard: Yard) -> None:
    yard.collect(0.1)
    assert yard.follow().version == "v000002"
    shutil.rmtree(yard.folder / "v000001")

    with pytest.raises(GalleryError, match=r"v000001, the version that was enrolled, cannot be read.*enroll"):
        yard.follow()


def test_another_gallery_under_the_number_of_its_anchor_judges_nothing(yard: Yard, tmp_path: Path) -> None:
    yard.collect(0.1)
    assert yard.follow().version == "v000002"
    elsewhere = Yard(enrolled(Bright(120), tmp_path / "other"), tmp_path / "there")
    assert len(Gallery(elsewhere.folder)) == 60  # as many frames as the anchor has
    GalleryStore(str(tmp_path / "store")).publish(yard.folder, "yard", lambda done, total: None)
    store = GalleryStore(str(tmp_path / "store"))
    assert store.fetch(store.current("yard"), elsewhere.folder, lambda done, total: None) == "v000002"

    elsewhere.collect(0.1)
    with pytest.raises(GalleryError, match=r"v000001 is not the version that v000002 was enrolled as.*enroll"):
        elsewhere.follow()


def test_a_gallery_of_another_network_is_refused(yard: Yard) -> None:
    with pytest.raises(GalleryError, match="weights"):
        Follower(
            Gallery(yard.folder),
            extractor=tiny_extractor(weights_id="others"),
            limits=LIMITS,
            cameras={},
            on_progress=lambda progress: None,
        )
