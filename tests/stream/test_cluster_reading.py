"""Which reader station reads which camera."""

from __future__ import annotations

from collections.abc import Iterable

from stream.cluster.reading import CameraWish, ReaderPlace, assign_readers


def stations(*each: tuple[str, str | None]) -> dict[str, ReaderPlace]:
    """By name: the station of node ``a`` is ``a:readers``."""
    return {f"{node}:readers": ReaderPlace(f"{node}:readers", node, network) for node, network in each}


def cameras(count: int, *, network: str | None = None, node: str | None = None) -> list[CameraWish]:
    return [CameraWish(f"cam{number}", network, node) for number in range(count)]


def counts(read: dict[str, str], names: Iterable[str]) -> list[int]:
    return [sum(station == name for station in read.values()) for name in names]


def test_cameras_are_spread_by_their_number() -> None:
    read = assign_readers(cameras(5), stations(("a", None), ("b", None)), {})

    assert counts(read, ("a:readers", "b:readers")) == [3, 2]


def test_a_camera_with_a_network_is_read_only_where_that_is_reached() -> None:
    read = assign_readers(cameras(3, network="plant"), stations(("a", None), ("b", "plant"), ("c", "yard")), {})

    assert set(read.values()) == {"b:readers"}
    assert len(read) == 3


def test_a_camera_that_nobody_reaches_has_no_station() -> None:
    assert assign_readers(cameras(1, network="plant"), stations(("a", None)), {}) == {}
    assert assign_readers(cameras(1), {}, {}) == {}


def test_a_camera_stays_where_it_is_read_also_when_a_station_joins() -> None:
    read = {f"cam{number}": "a:readers" for number in range(4)}

    assert assign_readers(cameras(4), stations(("a", None), ("b", None)), read) == read


def test_the_cameras_of_a_station_that_is_gone_go_to_those_with_the_fewest() -> None:
    read = {"cam0": "gone:readers", "cam1": "a:readers", "cam2": "a:readers", "cam3": "b:readers"}
    after = assign_readers(cameras(4), stations(("a", None), ("b", None)), read)

    assert after == {**read, "cam0": "b:readers"}


def test_a_camera_whose_network_has_changed_is_read_elsewhere() -> None:
    read = {"cam0": "a:readers"}
    after = assign_readers(cameras(1, network="plant"), stations(("a", None), ("b", "plant")), read)

    assert after == {"cam0": "b:readers"}


def test_a_camera_is_read_beside_its_worker_unless_that_makes_counts_uneven() -> None:
    read = assign_readers(cameras(4, node="b"), stations(("a", None), ("b", None)), {})

    assert read["cam0"] == read["cam1"] == "b:readers"  # one more than the other has
    assert counts(read, ("a:readers", "b:readers")) == [1, 3]
