"""How a camera goes from one worker to another."""

from __future__ import annotations

from stream.cluster.handover import LINGER, READY_WITHIN, Handovers


def never(camera: str, worker: str) -> bool:
    return False


def always(camera: str, worker: str) -> bool:
    return True


def moving() -> Handovers:
    handovers = Handovers({"cam": "a"})
    handovers.begin("cam", "b", now=0.0)
    return handovers


def test_while_a_camera_moves_both_workers_have_it_and_its_place_is_the_old_one() -> None:
    handovers = moving()

    assert handovers.placed == {"cam": "a"}
    assert handovers.cameras_of() == {"a": ("cam",), "b": ("cam",)}
    assert handovers.awaited == {"b"}


def test_a_move_is_done_when_the_new_worker_is_ready_and_the_old_one_lets_go_a_little_later() -> None:
    handovers = moving()
    assert handovers.finish(never, now=1.0).done == ()
    outcome = handovers.finish(lambda camera, worker: worker == "b", now=2.0)

    assert [move.target for move in outcome.done] == ["b"]
    assert handovers.placed == {"cam": "b"}
    assert handovers.still_scored_by("cam") == "a"
    assert handovers.cameras_of() == {"a": ("cam",), "b": ("cam",)}

    handovers.finish(always, now=2.0 + LINGER)
    assert handovers.still_scored_by("cam") is None
    assert handovers.cameras_of() == {"b": ("cam",)}
    assert handovers.done == 1


def test_a_move_that_takes_too_long_is_given_up() -> None:
    handovers = moving()
    assert handovers.finish(never, now=READY_WITHIN).given_up == ()
    outcome = handovers.finish(never, now=READY_WITHIN + 0.1)

    assert [move.camera for move in outcome.given_up] == ["cam"]
    assert handovers.placed == {"cam": "a"}
    assert handovers.moving == {}


def test_the_other_end_of_a_move_has_the_camera_when_one_end_dies() -> None:
    without_source, without_target, without_both = moving(), moving(), moving()
    without_source.keep_workers({"b"})
    without_target.keep_workers({"a"})
    without_both.keep_workers({"c"})

    assert (without_source.placed, without_source.moving) == ({"cam": "b"}, {})
    assert (without_target.placed, without_target.moving) == ({"cam": "a"}, {})
    assert (without_both.placed, without_both.moving) == ({}, {})


def test_a_camera_that_was_placed_at_once_settles_until_its_worker_is_ready() -> None:
    handovers = Handovers({})
    assert handovers.untouched
    handovers.place("cam", "a", now=0.0)
    handovers.finish(never, now=1.0)

    assert not handovers.untouched
    assert set(handovers.settling) == {"cam"}
    assert handovers.awaited == {"a"}
    handovers.finish(always, now=2.0)
    assert set(handovers.settling) == set()


def test_nobody_waits_for_ever_for_a_camera_to_settle() -> None:
    handovers = Handovers({})
    handovers.place("cam", "a", now=0.0)
    handovers.finish(never, now=READY_WITHIN + 0.1)

    assert set(handovers.settling) == set()
    assert handovers.placed == {"cam": "a"}


def test_a_camera_that_is_not_in_the_configuration_any_more_is_nowhere() -> None:
    handovers = moving()
    handovers.finish(always, now=1.0)
    handovers.begin("cam", "c", now=2.0)
    handovers.keep_cameras(["other"])

    assert handovers.placed == {}
    assert handovers.cameras_of() == {}


def test_a_first_place_is_no_move_and_one_after_a_death_is() -> None:
    handovers = Handovers({})
    handovers.place("cam", "a", now=0.0)
    assert handovers.done == 0
    handovers.keep_workers({"b"})
    handovers.place("cam", "b", now=1.0)
    assert handovers.done == 1
