"""Outboxes on a node: each keeps its name for ever, and those that workers have left are served too."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

from stream.cluster.model import OutboxState
from stream.cluster.outbox_id import known_outbox_id, outbox_id
from stream.cluster.outbox_shelf import Shelf
from stream.errors import OutboxError
from stream.outbox import Outbox

SERVER = "s" * 40


def an_outbox(state: Path) -> Path:
    Outbox(state / "outbox.sqlite", state / "evidence").close()
    return state / "outbox.sqlite"


@pytest.fixture
def shelf() -> Shelf:
    ports = count(20001)
    return Shelf(
        node="gpu-1",
        server=SERVER,
        port=lambda: next(ports),
        endpoint=lambda port: f"tcp://10.1.0.7:{port}",
        wall=lambda: 1000.0,
    )


def test_an_outbox_is_named_once(tmp_path: Path) -> None:
    path = an_outbox(tmp_path)
    assert known_outbox_id(path) == ""

    name = outbox_id(path)

    assert len(name) == 16
    assert outbox_id(path) == known_outbox_id(path) == name


def test_the_name_goes_where_the_outbox_goes_and_a_new_outbox_has_a_new_one(tmp_path: Path) -> None:
    path = an_outbox(tmp_path / "here")
    name = outbox_id(path)
    shutil.move(tmp_path / "here", tmp_path / "there")

    assert outbox_id(tmp_path / "there" / "outbox.sqlite") == name
    assert outbox_id(an_outbox(tmp_path / "here")) != name


def test_an_outbox_that_has_a_name_is_an_outbox_like_any_other(tmp_path: Path) -> None:
    path = an_outbox(tmp_path)
    outbox_id(path)

    with Outbox(path, tmp_path / "evidence") as outbox:
        assert outbox.last_seq() == 0


def test_what_is_no_outbox_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="no outbox yet"):
        outbox_id(tmp_path / "outbox.sqlite")
    (tmp_path / "outbox.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(OutboxError, match="not a database"):
        outbox_id(tmp_path / "outbox.sqlite")


def test_its_own_outbox_is_made_and_told_first(shelf: Shelf, tmp_path: Path) -> None:
    own = shelf.add(tmp_path / "worker-0")
    an_outbox(tmp_path / "worker-3")

    assert shelf.keep([tmp_path / "worker-3"], own=tmp_path / "worker-0")

    first, second = shelf.places()
    assert (first.id, first.endpoint) == (own.id, "tcp://10.1.0.7:20001")
    assert (second.id, second.endpoint) == (outbox_id(tmp_path / "worker-3" / "outbox.sqlite"), "tcp://10.1.0.7:20002")
    for place in (first, second):
        assert (place.node, place.server, place.state) == ("gpu-1", SERVER, OutboxState.LIVE)
        assert (place.since, place.last_seq) == (1000.0, 0)


def test_an_outbox_whose_worker_is_back_is_left_to_that(shelf: Shelf, tmp_path: Path) -> None:
    own, left = tmp_path / "worker-0", tmp_path / "worker-3"
    shelf.add(own)
    an_outbox(left)
    shelf.keep([left], own=own)

    assert not shelf.keep([left], own=own)  # nothing new
    assert shelf.keep([], own=own)
    assert [served.state for served in shelf.served] == [own]
    assert len(shelf.places()) == 1


def test_another_port_is_another_place_of_the_same_outbox(shelf: Shelf, tmp_path: Path) -> None:
    before = shelf.add(tmp_path / "worker-0")

    after = shelf.move(tmp_path / "worker-0")

    assert (after.id, after.since) == (before.id, before.since)
    assert shelf.places()[0].endpoint == "tcp://10.1.0.7:20002"


def test_an_outbox_that_is_damaged_is_named_and_does_not_hide_the_others(shelf: Shelf, tmp_path: Path) -> None:
    own, bad, good = (tmp_path / f"worker-{n}" for n in range(3))
    shelf.add(own)
    bad.mkdir()
    (bad / "outbox.sqlite").write_bytes(b"something else" * 100)
    an_outbox(good)

    shelf.keep([bad, good], own=own)

    assert [served.state for served in shelf.served] == [own, good]
    assert "not a database" in shelf.problems[bad]
    shelf.keep([good], own=own)  # somebody has taken it away
    assert shelf.problems == {}
