"""The file that tells a worker of a cluster what it scores: whole, strict, cheap to ask about."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker_bench import POLICY

from stream.assigned import Assigned, AssignedWatch, read_assigned, write_assigned
from stream.errors import StreamError
from stream.worker_settings import WorkerSettings

TWO = Assigned(
    7, ("gate", "yard"), {"day": Path("/cache/day")}, {"day": "v000002"}, {"night": "its gallery is not here"}
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_assigned(tmp_path / "assigned.json", TWO)

    assert read_assigned(tmp_path / "assigned.json") == TWO


def test_without_a_file_nothing_is_assigned(tmp_path: Path) -> None:
    assert read_assigned(tmp_path / "assigned.json") == Assigned()


@pytest.mark.parametrize("content", ["", "[]", '{"generation": -1}', '{"generation": 1, "cameras": [3]}'])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "assigned.json"
    path.write_text(content)

    with pytest.raises(StreamError, match=r"assigned\.json.*damaged"):
        read_assigned(path)


def test_a_watch_tells_of_each_change_once(tmp_path: Path) -> None:
    path = tmp_path / "assigned.json"
    watch = AssignedWatch(path)
    assert watch() == Assigned()
    assert watch() is None

    write_assigned(path, TWO)
    assert watch() == TWO
    assert watch() is None


def test_a_watch_keeps_the_last_good_orders_and_says_what_is_wrong_with_the_newer(tmp_path: Path) -> None:
    path = tmp_path / "assigned.json"
    write_assigned(path, TWO)
    watch = AssignedWatch(path)
    watch()

    path.write_text("{")
    assert watch() is None
    assert watch.current == TWO
    assert "generation 7 stays in force" in watch.problem

    write_assigned(path, Assigned(8))
    assert watch() == Assigned(8)
    assert watch.problem == ""


def test_a_worker_has_only_the_cameras_that_are_its_own_and_the_galleries_that_are_here() -> None:
    everything = WorkerSettings(
        cameras={"gate": "day", "yard": "night", "roof": "day"},
        policy=POLICY,
        size=32,
        max_batch=8,
        maps=None,
        status=Path("status.json"),
        ready_after=None,
        shared_clock=False,
        galleries={"day": Path("/shared/day"), "night": Path("/shared/night")},
    )

    own = TWO.narrowed(everything)

    assert own.cameras == {"gate": "day", "yard": "night"}
    assert own.galleries == {"day": Path("/cache/day")}
