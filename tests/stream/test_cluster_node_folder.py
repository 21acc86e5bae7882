"""A node's folder: a name that outlives restarts, keys that follow orders, a state folder for each worker."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stream.cluster.model import Access
from stream.cluster.node_folder import NodeFolder
from stream.errors import KeyFileError, UsageError
from stream.key_making import make_folder
from stream.keys import load_folder
from stream.run_folder import RunFolder


def a_key(folder: Path) -> str:
    """Public key of another machine."""
    make_folder(folder)
    return load_folder(folder).local.public


def test_a_node_keeps_its_name_and_its_keys(tmp_path: Path) -> None:
    first = NodeFolder(tmp_path / "node", host="gpu.campus.example")
    again = NodeFolder(tmp_path / "node", host="another-host")

    assert first.name == again.name
    assert first.name.startswith("gpu-")
    assert first.key_folder().local.public == again.key_folder().local.public


def test_two_nodes_on_one_host_have_different_names(tmp_path: Path) -> None:
    names = {NodeFolder(tmp_path / str(n), host="gpu").name for n in range(3)}

    assert len(names) == 3


@pytest.mark.parametrize("host", ["", "_?", "x" * 300, "straße"])
def test_whatever_the_host_is_called_the_name_can_be_a_keys(tmp_path: Path, host: str) -> None:
    node = NodeFolder(tmp_path / "node", host=host or "-")

    node.let_in(Access(nodes={node.name: node.key_folder().local.public}))  # raises where it is no name
    assert len(node.name) <= 64


def test_nobody_else_may_look_into_it(tmp_path: Path) -> None:
    node = NodeFolder(tmp_path / "node")

    for folder in (node.path, node.keys, node.claim(0).path):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "{}", '{"name": "../up"}', "[]"])
def test_a_damaged_name_is_refused_and_not_replaced(tmp_path: Path, content: str) -> None:
    NodeFolder(tmp_path / "node")
    (tmp_path / "node" / "node.json").write_text(content)

    with pytest.raises(UsageError, match="holds no name of a node"):
        NodeFolder(tmp_path / "node")
    assert (tmp_path / "node" / "node.json").read_text() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match=r"cluster\.folder .*file/node"):
        NodeFolder(tmp_path / "file" / "node")


def test_who_may_come_in_is_what_the_orders_say_and_nobody_else(tmp_path: Path) -> None:
    node, other, reader = NodeFolder(tmp_path / "node"), a_key(tmp_path / "other"), a_key(tmp_path / "reader")

    node.let_in(Access(nodes={"b-1": other}, readers={reader: ("gate", "yard")}, subscribers={reader: ("ops",)}))
    access = node.key_folder().access
    assert access.may_all(other)
    assert access.readers == {reader: frozenset({"gate", "yard"})}
    assert access.subscribers == {reader: frozenset({"ops"})}

    node.let_in(Access(readers={reader: ("gate",)}))
    access = node.key_folder().access
    assert not access.may_all(other)
    assert access.readers == {reader: frozenset({"gate"})}
    assert access.subscribers == {}


def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path) -> None:
    node = NodeFolder(tmp_path / "node")

    with pytest.raises(KeyFileError, match="not a name"):
        node.let_in(Access(nodes={"../../server": a_key(tmp_path / "other")}))


def test_a_worker_has_the_folder_of_its_number_and_comes_back_to_it(tmp_path: Path) -> None:
    node = NodeFolder(tmp_path / "node")

    first = node.claim(1)
    assert (first.number, first.path) == (1, node.path / "worker-1")
    first.close()
    assert node.claim(1).path == first.path


def test_where_its_folder_is_taken_a_worker_has_the_first_one_that_is_free(tmp_path: Path) -> None:
    node = NodeFolder(tmp_path / "node")
    taken = [node.claim(0, wait=0.0), node.claim(1, wait=0.0)]

    assert node.claim(0, wait=0.0).number == 2
    assert {folder.number for folder in taken} == {0, 1}


def test_outboxes_without_a_worker_are_left_over(tmp_path: Path) -> None:
    node = NodeFolder(tmp_path / "node")
    busy, gone, empty = (node.claim(n) for n in range(3))
    for folder in (busy, gone):
        (folder.path / "outbox.sqlite").touch()
    gone.close()
    empty.close()

    assert node.left_over() == [gone.path]
    assert node.claim(1, wait=0.0).path == gone.path  # to look at it takes it from nobody
    assert node.left_over() == []


def test_what_only_looks_like_a_workers_folder_is_none(tmp_path: Path) -> None:
    node = NodeFolder(tmp_path / "node")
    for name in ("worker-", "worker-x", "worker-1.bak"):
        (node.path / name).mkdir()

    assert node.workers() == []


def test_a_state_folder_in_use_by_a_run_is_not_claimed(tmp_path: Path) -> None:
    node = NodeFolder(tmp_path / "node")
    run = RunFolder(node.path / "worker-0")

    assert node.claim(0, wait=0.0).number == 1
    run.close()
