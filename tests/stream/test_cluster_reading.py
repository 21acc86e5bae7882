"""Which reader station reads which camera."""

from __future__ import annotations

from collections.abc import Iterable

from stream.cluster.reading import CameraWish, ReaderPlace, assign_readers, even_out


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


def test_cameras_go_to_a_station_that_joins_a_few_at_a_time_until_it_is_not_felt_any_more() -> None:
    places, read = stations(("a", None), ("b", None)), {f"cam{number}": "a:readers" for number in range(8)}
    steps = []
    while moves := even_out(cameras(8), places, read, most=2):
        steps.append(len(moves))
        read |= moves

    assert steps == [2, 1]  # 8 and 0, 6 and 2, 5 and 3: two cameras more are not worth a move
    assert counts(read, places) == [5, 3]


def test_a_few_cameras_more_of_many_are_not_worth_a_move() -> None:
    read = {f"cam{number}": "a:readers" if number < 40 else "b:readers" for number in range(71)}

    assert even_out(cameras(71), stations(("a", None), ("b", None)), read, most=9) == {}  # 40 and 31: not a quarter
    del read["cam70"]
    assert len(even_out(cameras(70), stations(("a", None), ("b", None)), read, most=9)) == 1


def test_no_camera_is_moved_out_of_its_network_or_away_from_a_source_that_would_begin_anew() -> None:
    read = {f"cam{number}": "a:readers" for number in range(6)}
    ending = [CameraWish(f"cam{number}", None, None, stays=True) for number in range(6)]

    assert even_out(cameras(6, network="plant"), stations(("a", "plant"), ("b", None)), read, most=4) == {}
    assert even_out(ending, stations(("a", None), ("b", None)), read, most=4) == {}


def test_the_camera_that_comes_beside_its_worker_is_moved_first() -> None:
    read = {f"cam{number}": "a:readers" for number in range(4)}
    wishes = [*cameras(3, node="a"), CameraWish("cam3", None, "b")]

    assert even_out(wishes, stations(("a", None), ("b", None)), read, most=1) == {"cam3": "b:readers"}
