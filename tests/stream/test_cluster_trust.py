"""Workers that do not keep what they promise."""

from __future__ import annotations

from stream.cluster.trust import FALLS_WITHIN, TRY_AGAIN, Trust


def test_a_worker_that_falls_out_of_work_three_times_is_not_relied_on_for_a_while() -> None:
    trust = Trust()
    for now in (0, 20, 40):
        trust.look({"a", "b"}, now)
        assert not trust.unsteady("b")
        trust.look({"a"}, now + 10)

    assert trust.unsteady("b")
    assert not trust.unsteady("a")
    assert trust.problems[0].startswith("worker b fell out of work 3 times within 5 min")

    trust.look({"a", "b"}, 11 + FALLS_WITHIN)  # the first time is forgotten
    assert not trust.unsteady("b")


def test_a_camera_is_blind_as_long_as_its_worker_works_and_does_not_score_it() -> None:
    trust = Trust()
    trust.look({"a", "b"}, 0)
    placed = {"seen": "a", "blind": "a", "elsewhere": "gone"}

    def scores(camera: str, worker: str) -> bool:
        return camera == "seen"

    assert trust.blind_for(placed, scores, 0) == {"blind": 0}
    assert trust.blind_for(placed, scores, 31) == {"blind": 31}
    assert trust.blind_for({**placed, "blind": "b"}, scores, 32) == {"blind": 0}  # another worker has its own time


def test_what_a_worker_failed_at_is_held_against_it_for_that_camera_and_for_a_while() -> None:
    trust = Trust()
    trust.fail("cam", "a", 0)

    assert trust.failed("cam", "a")
    assert not trust.failed("cam", "b")
    assert not trust.failed("other", "a")
    assert not trust.tried_enough("cam")
    trust.fail("cam", "b", 0)
    assert trust.tried_enough("cam")

    trust.look((), TRY_AGAIN)
    assert not trust.failed("cam", "a")
