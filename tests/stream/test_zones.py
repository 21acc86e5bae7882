"""Zones: which pixels count, and which zones are refused."""

from __future__ import annotations

from typing import Any

import pytest

from stream.zones import MOST_ZONES, WHOLE, Zone, check_zones, keep_mask, zones_from_json

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
ALL = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
UPPER_HALF = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))


def ignored(polygon: Any = LEFT_HALF, name: str = "tree") -> Zone:
    return Zone(name, "ignore", polygon)


def watched(polygon: Any = LEFT_HALF, name: str = "door") -> Zone:
    return Zone(name, "watch", polygon)


def kept(*zones: Zone, shape: tuple[int, int] = (2, 4), part: Any = WHOLE) -> list[list[int]]:
    mask = keep_mask(zones, shape=shape, part=part)
    assert mask is not None
    assert mask.shape == shape
    return mask.astype(int).tolist()  # type: ignore[no-any-return]


# Which pixels count


def test_without_zones_everything_counts() -> None:
    assert keep_mask((), shape=(2, 4), part=WHOLE) is None


def test_what_is_ignored_does_not_count() -> None:
    assert kept(ignored()) == [[0, 0, 1, 1]] * 2


def test_where_something_is_watched_nothing_else_counts() -> None:
    assert kept(watched()) == [[1, 1, 0, 0]] * 2


def test_two_watched_zones_both_count() -> None:
    assert kept(watched(), watched(UPPER_HALF, "window")) == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_what_is_ignored_within_a_watched_zone_does_not_count() -> None:
    assert kept(watched(), ignored(UPPER_HALF)) == [[0, 0, 0, 0], [1, 1, 0, 0]]
    assert kept(ignored(UPPER_HALF), watched()) == [[0, 0, 0, 0], [1, 1, 0, 0]], "whatever their order"


def test_a_pixel_lies_where_its_centre_lies() -> None:
    # Centres of four columns: 1/8, 3/8, 5/8, 7/8.
    def up_to(x: float) -> tuple[tuple[float, float], ...]:
        return (0.0, 0.0), (x, 0.0), (x, 1.0), (0.0, 1.0)

    assert kept(ignored(up_to(0.36)))[0] == [0, 1, 1, 1]
    assert kept(ignored(up_to(0.39)))[0] == [0, 0, 1, 1]


def test_a_slanting_side_is_followed_row_by_row() -> None:
    below_the_diagonal = ((0.0, 0.05), (0.95, 1.0), (0.0, 1.0))

    assert kept(watched(below_the_diagonal), shape=(4, 4)) == [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
    ]


def test_the_direction_in_which_corners_are_named_says_nothing() -> None:
    triangle = ((0.0, 0.1), (0.9, 0.2), (0.3, 0.8))

    assert kept(watched(triangle), shape=(9, 9)) == kept(watched(triangle[::-1]), shape=(9, 9))


def test_a_hollow_shape_leaves_out_its_hollow() -> None:
    u = ((0.0, 0.0), (0.25, 0.0), (0.25, 0.75), (0.75, 0.75), (0.75, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))

    assert kept(watched(u), shape=(4, 4)) == [[1, 0, 0, 1]] * 3 + [[1, 1, 1, 1]]


def test_a_map_that_shows_a_part_of_the_frame_has_the_zone_where_it_lies_in_that_part() -> None:
    # The middle half of the frame: from 1/4 to 3/4. The left half of the frame is the left half of it, too ...
    assert kept(ignored(), part=(0.25, 0.25, 0.5, 0.5)) == [[0, 0, 1, 1]] * 2
    # ... but of the right three quarters it is the first third.
    assert kept(ignored(), shape=(1, 3), part=(0.25, 0.0, 0.75, 1.0)) == [[0, 1, 1]]


def test_a_zone_outside_the_part_that_a_map_shows_changes_nothing() -> None:
    corner = ((0.0, 0.0), (0.2, 0.0), (0.0, 0.2))

    assert kept(ignored(corner), part=(0.25, 0.25, 0.5, 0.5)) == [[1] * 4] * 2


# What is refused


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"name": ""}, "a zone's name is ''"),
        ({"name": " "}, "a zone's name is ' '"),
        ({"name": "x" * 65}, "1 to 64 printable"),
        ({"name": "a\nb"}, "printable"),
        ({"kind": "hide"}, "kind is 'hide'; it can be ignore or watch"),
        ({"polygon": LEFT_HALF[:2]}, "polygon has 2 corners; it needs 3 to 64"),
        ({"polygon": LEFT_HALF * 17}, "polygon has 68 corners"),
        ({"polygon": ((0.0, 0.0), (1.1, 0.0), (0.0, 1.0))}, r"polygon\[1\] is \[1.1, 0.0\]"),
        ({"polygon": ((0.0, 0.0), (0.5, -0.1), (0.0, 1.0))}, "fractions of the frame, 0 to 1"),
        ({"polygon": ((0.0, 0.0), (float("nan"), 0.0), (0.0, 1.0))}, "nan"),
    ],
)
def test_a_zone_with_a_value_out_of_bounds_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Zone(**({"name": "tree", "kind": "ignore", "polygon": LEFT_HALF} | values))


def test_zones_that_leave_nothing_to_watch_are_refused() -> None:
    with pytest.raises(ValueError, match="'tree' leave nothing of the picture to watch: make an ignore zone smaller"):
        check_zones([ignored(ALL)])
    with pytest.raises(ValueError, match="'door', 'tree' leave nothing"):
        check_zones([watched(), ignored()])


def test_zones_that_leave_something_are_taken() -> None:
    check_zones([])
    check_zones([watched(), ignored(UPPER_HALF)])


def test_a_watch_zone_outside_the_part_that_is_scored_leaves_nothing() -> None:
    corner = watched(((0.0, 0.0), (0.2, 0.0), (0.2, 0.2), (0.0, 0.2)))
    check_zones([corner])

    with pytest.raises(ValueError, match="leave nothing"):
        check_zones([corner], part=(0.25, 0.25, 0.5, 0.5))


@pytest.mark.parametrize("line", [((0.1, 0.1), (0.5, 0.5), (0.9, 0.9)), ((0.3, 0.3), (0.3001, 0.3), (0.3, 0.3001))])
def test_a_zone_that_covers_nothing_is_refused(line: Any) -> None:
    with pytest.raises(ValueError, match="zone 'tree' covers nothing"):
        check_zones([ignored(line)])


# JSON


def test_a_zone_comes_back_from_json_as_it_was() -> None:
    zone = Zone("Bäume", "ignore", LEFT_HALF)

    assert zone.to_json() == {"name": "Bäume", "kind": "ignore", "polygon": [list(corner) for corner in LEFT_HALF]}
    assert zones_from_json([zone.to_json()]) == (zone,)


def test_whole_numbers_are_fractions_too() -> None:
    (zone,) = zones_from_json([{"name": "a", "kind": "watch", "polygon": [[0, 0], [1, 0], [1, 1]]}])

    assert zone.polygon == ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


def test_a_name_stands_once() -> None:
    with pytest.raises(ValueError, match="2 zones are called 'tree'"):
        zones_from_json([ignored().to_json(), ignored(UPPER_HALF).to_json()])


def test_there_are_not_too_many() -> None:
    with pytest.raises(ValueError, match=f"zones is {MOST_ZONES + 1} values"):
        zones_from_json([ignored(name=str(n)).to_json() for n in range(MOST_ZONES + 1)])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"colour": "red"}, r"zones\[0\]: a zone has the unknown key 'colour'"),
        ({"polygon": [[0, 0], [1, 0], [1]]}, r"polygon\[2\] is 1 values"),
        ({"polygon": [[0, 0], [1, 0], [1, "1"]]}, r"y of polygon\[2\] is '1'; a finite number"),
        ({"polygon": [[0, 0], [1, 0], [True, 1]]}, r"x of polygon\[2\] is True"),
        ({"polygon": "all"}, "polygon is 'all'; a list"),
        ({"kind": None}, "kind is None; a text"),
        ({"name": 5}, "name is 5; a text"),
    ],
)
def test_json_is_read_strictly(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        zones_from_json([ignored().to_json() | change])


@pytest.mark.parametrize("key", ["name", "kind", "polygon"])
def test_no_key_may_be_missing(key: str) -> None:
    whole = ignored().to_json()
    del whole[key]

    with pytest.raises(ValueError, match=f"{key} is missing"):
        zones_from_json([whole])


@pytest.mark.parametrize("value", [{}, None, "zones", 5])
def test_zones_are_a_list(value: object) -> None:
    with pytest.raises(ValueError, match="a list of 0 to"):
        zones_from_json(value)
