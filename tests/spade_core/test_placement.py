"""Recognising a camera that was moved: shifted, turned and other views are, light, noise and passers-by are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from picture_changes import BEHIND_A_VAN, CHANGES_OF_LIGHT_AND_QUALITY, Change, Picture, moved, with_clock

from spade_core.errors import InputError
from spade_core.placement import LEAST_PICTURES, TOLERANCE, Placement, ScenePlacement
from stream.sources.campus import open_campus

WIDTH, HEIGHT = 160, 90  # pixels of a thumbnail


def normal_pictures(seed: int, walkers: int, count: int) -> list[Picture]:
    """Every second a picture of the synthetic place ``seed``, with people, (180, 320, 3) RGB."""
    query = {"seed": seed, "walk_seed": walkers, "fps": 1, "duration": count, "size": "320x180"}
    frames = open_campus({key: str(value) for key, value in query.items()}).frames()
    return [np.ascontiguousarray(frame.image[..., ::-1]) for frame in frames]


def thumbnail(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def scoring(picture: Picture) -> Picture:
    """Another shape than the thumbnail's: the aspect ratio is not kept."""
    return np.asarray(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def enrolled() -> list[Picture]:
    return normal_pictures(seed=7, walkers=0, count=32)


@pytest.fixture(scope="module")
def later() -> list[Picture]:
    """The same place with other people and another weather."""
    return normal_pictures(seed=7, walkers=1, count=10)


@pytest.fixture(scope="module")
def scene(enrolled: list[Picture]) -> ScenePlacement:
    return ScenePlacement.from_pictures([thumbnail(picture) for picture in enrolled])


def compared(scene: ScenePlacement, pictures: list[Picture], change: Change) -> list[Placement]:
    return [scene.compare(scoring(change(picture))) for picture in pictures]


# Normal pictures


def test_normal_pictures_are_in_place(scene: ScenePlacement, later: list[Picture]) -> None:
    assert scene.usable
    assert all(placement.in_place for placement in compared(scene, later, lambda picture: picture))


def test_the_limit_lies_well_below_what_normal_pictures_reach(scene: ScenePlacement, later: list[Picture]) -> None:
    lowest = min(placement.agreement for placement in compared(scene, later, lambda picture: picture))
    assert scene.limit < lowest / 2
    assert scene.limit > 0.2


@pytest.mark.parametrize(
    "change",
    [*CHANGES_OF_LIGHT_AND_QUALITY.values(), BEHIND_A_VAN],
    ids=[*CHANGES_OF_LIGHT_AND_QUALITY, "behind a van"],
)
def test_what_happens_to_cameras_in_place_is_no_move(
    scene: ScenePlacement, later: list[Picture], change: Change
) -> None:
    assert all(placement.in_place for placement in compared(scene, later, change))


def test_nothing_can_be_said_of_a_picture_that_shows_nothing(scene: ScenePlacement) -> None:
    gray = np.full((256, 256, 3), 90, np.uint8)
    assert scene.compare(gray).in_place is None
    assert scene.compare(np.zeros((256, 256, 3), np.uint8)).in_place is None


# Moved cameras


@pytest.mark.parametrize(
    ("right", "down"), [(0.03, 0), (-0.03, 0), (0, 0.03), (0.05, -0.05), (0.1, 0), (-0.2, 0), (0.12, 0.03)]
)
def test_a_shift_is_found_and_measured(scene: ScenePlacement, later: list[Picture], right: float, down: float) -> None:
    for placement in compared(scene, later, moved(right=right, down=down)):
        assert placement.in_place is False
        assert placement.displaced
        assert placement.shift == pytest.approx((right, down), abs=0.005)
        assert placement.shifted_agreement > 2 * placement.agreement
        assert (placement.turn, placement.zoom) == (0.0, 1.0)


def test_a_shift_that_the_method_bears_is_none(scene: ScenePlacement, later: list[Picture]) -> None:
    assert TOLERANCE > 0.01
    assert all(placement.in_place for placement in compared(scene, later, moved(right=0.01, down=-0.01)))


@pytest.mark.parametrize("turn", [3.0, -3.0, 5.0, -5.0])
def test_a_turn_is_found_with_its_direction(scene: ScenePlacement, later: list[Picture], turn: float) -> None:
    for placement in compared(scene, later, moved(turn=turn)):
        assert placement.displaced
        assert placement.turn == pytest.approx(turn, abs=1.0)


@pytest.mark.parametrize("zoom", [0.9, 1.1])
def test_a_zoom_is_found(scene: ScenePlacement, later: list[Picture], zoom: float) -> None:
    for placement in compared(scene, later, moved(zoom=zoom)):
        assert placement.displaced
        assert placement.zoom == pytest.approx(zoom, abs=0.05)


def test_another_place_is_not_the_scene(scene: ScenePlacement) -> None:
    (picture,) = normal_pictures(seed=11, walkers=0, count=1)
    placement = scene.compare(scoring(picture))
    assert placement.in_place is False
    assert not placement.displaced
    assert placement.agreement < scene.limit


def test_a_clock_in_the_picture_does_not_hide_that_it_was_shifted(
    enrolled: list[Picture], later: list[Picture]
) -> None:
    scene = ScenePlacement.from_pictures([thumbnail(with_clock(picture)) for picture in enrolled])
    shift = moved(right=0.05)
    for placement in compared(scene, later, lambda picture: with_clock(shift(picture))):
        assert placement.displaced
        assert placement.shift[0] == pytest.approx(0.05, abs=0.005)
    assert all(placement.in_place for placement in compared(scene, later, with_clock))


def test_a_clock_alone_is_next_to_nothing_of_the_scene(enrolled: list[Picture]) -> None:
    scene = ScenePlacement.from_pictures([thumbnail(with_clock(picture)) for picture in enrolled])
    wall = np.full(enrolled[0].shape, 120, np.uint8)
    assert abs(scene.compare(scoring(with_clock(wall))).agreement) < 0.015


# Scenes that cannot be judged


def test_a_blank_wall_is_not_usable_and_nothing_is_out_of_place_there(later: list[Picture]) -> None:
    rng = np.random.default_rng(0)
    wall = [rng.normal(120, 2, (HEIGHT, WIDTH, 3)).astype(np.uint8) for _ in range(48)]
    scene = ScenePlacement.from_pictures(wall)
    assert not scene.usable
    assert "edges" in scene.why_not
    assert scene.compare(scoring(later[0])).in_place is None


def test_too_few_pictures_are_not_usable(enrolled: list[Picture], later: list[Picture]) -> None:
    scene = ScenePlacement.from_pictures([thumbnail(picture) for picture in enrolled[: LEAST_PICTURES - 1]])
    assert scene.why_not == f"{LEAST_PICTURES - 1} normal pictures are too few; {LEAST_PICTURES} are needed"
    assert scene.compare(scoring(moved(right=0.1)(later[0]))).in_place is None
    assert ScenePlacement.from_pictures([thumbnail(enrolled[0])]).usable is False


def test_pictures_of_several_places_are_not_usable(enrolled: list[Picture]) -> None:
    corners = [
        enrolled[index][top : top + 90, left : left + 160] for top in (0, 90) for left in (0, 160) for index in range(6)
    ]
    scene = ScenePlacement.from_pictures([np.ascontiguousarray(corner) for corner in corners])
    assert not scene.usable


def test_a_scene_with_all_its_edges_in_one_place_is_not_usable() -> None:
    wall = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    wall[30:60:4, 55:105] = 200  # a grating in the middle
    scene = ScenePlacement.from_pictures([wall] * 48)
    assert scene.why_not == "nearly all that stands still is in one place"


# Wrong pictures


def test_only_rgb_pictures_are_taken(scene: ScenePlacement) -> None:
    with pytest.raises(InputError, match=r"\(256, 256\) and dtype uint8"):
        scene.compare(np.zeros((256, 256), np.uint8))
    with pytest.raises(InputError, match="float32"):
        scene.compare(np.zeros((256, 256, 3), np.float32))
    with pytest.raises(InputError, match="at least one"):
        ScenePlacement.from_pictures([])
