"""Whom the machines of a cluster let in."""

from __future__ import annotations

from pathlib import Path

from cluster_fakes import FakeFleet, Time, World, key_of

from stream.cluster.gatekeeper import LOOK_EVERY, Gatekeeper
from stream.cluster.model import Access
from stream.cluster.roster import GONE_SHOWN, GoneNode, Roster
from stream.errors import KeyFileError


def test_a_node_that_is_gone_keeps_its_key_because_it_comes_back_with_it(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.fleet.add("a")
    world.fleet.add("b")
    world.run(5)
    world.fleet.kill("a")
    world.run(10)

    assert world.fleet.worker("b").orders.access.nodes["a"] == key_of("a")


def test_a_node_that_never_comes_back_is_not_let_in_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.fleet.add("a")
    world.fleet.add("b")
    world.run(5)
    world.fleet.kill("a")
    world.run(8)
    world.control.forget("outbox-a:0")
    world.time.now += GONE_SHOWN
    world.run(8)

    assert world.fleet.worker("b").orders.access.nodes.keys() == {"b", "run"}


def test_keys_that_cannot_be_written_are_tried_again_after_a_while() -> None:
    time, tries = Time(), []

    def full(nodes: object) -> None:
        tries.append(time.now)
        if len(tries) < 3:
            raise KeyFileError("keys: no space left")

    keeper = Gatekeeper(Access, full)
    roster = Roster(FakeFleet(time), wall=time.wall)
    roster.gone["a"] = GoneNode("a", "10.0.0.2", 0.0)
    keeper._nodes["a"] = "local-a"
    for _ in range(60):
        time.now += 0.25
        keeper.look(roster, time.now)
        if len(tries) == 2:
            assert keeper.problem == "keys cannot be handed out: keys: no space left"

    assert [later - tries[0] for later in tries] == [0, LOOK_EVERY, 2 * LOOK_EVERY]
    assert keeper.problem == ""


def test_a_key_that_was_issued_meanwhile_is_let_in(tmp_path: Path) -> None:
    issued = {"access": Access()}
    time = Time()
    keeper = Gatekeeper(lambda: issued["access"], lambda nodes: None)
    roster = Roster(FakeFleet(time), wall=time.wall)
    keeper.look(roster, 0.0)
    issued["access"] = Access(readers={"key": ("cam",)})
    keeper.look(roster, LOOK_EVERY - 0.1)
    assert keeper.access.readers == {}

    keeper.look(roster, LOOK_EVERY)
    assert keeper.access.readers == {"key": ("cam",)}
