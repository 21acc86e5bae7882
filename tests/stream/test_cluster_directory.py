"""The directory over real sockets with CURVE: who is told what, whatever else comes, and what a client makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from directory_fakes import Campus, Worker, an_outbox, soon
from pipeline_fakes import wait_until

from stream.cluster.directory import MAX_ASKED, MAX_REASON
from stream.cluster.directory_client import DirectoryAddress, DirectoryClient, Outboxes, Places, Refused
from stream.cluster.model import OutboxState, Place
from stream.curve import CurveClient
from stream.errors import LinkLost, UsageError
from stream.key_making import let_in_only, revoke
from stream.keys import Role, SecretKey
from stream.wire import SMALL_TALK, Envelope, Kind, decode, encode

PATIENCE = 20.0  # s for one answer, on a busy machine


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def campus(tmp_path: Path, stack: ExitStack) -> Campus:
    return Campus(tmp_path / "campus", stack).start()


class Bare:
    """A socket that sends what no client of ours does."""

    def __init__(self, campus: Campus, key: SecretKey, stack: ExitStack) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        self.socket = context.socket(zmq.DEALER)
        CurveClient(key)(context, self.socket)
        self.socket.connect(campus.endpoint)

    def ask(self, parts: list[Any]) -> Envelope:
        self.send(parts)
        assert self.socket.poll(int(PATIENCE * 1000))
        return decode(self.socket.recv_multipart())

    def send(self, parts: list[Any]) -> None:
        self.socket.send_multipart(parts)


@pytest.fixture
def bare(campus: Campus, stack: ExitStack) -> Bare:
    return Bare(campus, campus.keys.local, stack)


# What it tells


def test_a_camera_has_the_place_that_the_book_gives_it(campus: Campus) -> None:
    there = Place("gate", 7, "hall-1:0", "tcp://10.0.0.7:8500", "k" * 40)
    campus.book.places["gate"] = there

    assert campus.client(campus.keys.local).fetch_place("gate", PATIENCE) == there


def test_a_camera_that_is_nowhere_comes_with_the_reason(campus: Campus) -> None:
    campus.book.put("gate", None, reason="no worker has room")

    place = campus.client(campus.keys.local).fetch_place("gate", PATIENCE)
    assert (place.worker, place.reason) == ("", "no worker has room")


def test_outboxes_come_with_their_generation_the_missing_ones_too(campus: Campus) -> None:
    campus.book.generation = 12
    campus.book.known = (an_outbox("one"), an_outbox("two", state=OutboxState.MISSING, last_seq=41))

    assert campus.client(campus.keys.local).fetch_outboxes(PATIENCE) == (12, campus.book.known)


def test_the_document_of_a_thousand_cameras_comes_whole(campus: Campus) -> None:
    cameras = {f"camera-{number}": {"state": "LIVE", "reason": "x" * 2000} for number in range(1000)}
    campus.book.text = {"name": "campus", "cameras": cameras}

    assert campus.client(campus.keys.local).fetch_cluster(PATIENCE) == campus.book.text


def test_questions_are_answered_in_order(campus: Campus) -> None:
    answers: list[Any] = []
    client = campus.client(campus.keys.local)
    campus.book.known = (an_outbox("one"),)
    client.fetch_outboxes(PATIENCE)  # it is connected
    assert client.ask_place("gate")
    assert client.ask_outboxes()
    wait_until(lambda: len(answers) == 2, step=lambda: answers.extend(client.poll(0.05)))

    assert [type(answer) for answer in answers] == [Places, Outboxes]


def test_as_many_places_as_may_be_asked_for_fit_into_one_answer(campus: Campus, bare: Bare) -> None:
    cameras = [f"camera-{number}" for number in range(MAX_ASKED)]
    for camera in cameras:
        campus.book.places[camera] = Place(camera, 1, "w" * 128, "e" * 512, "k" * 128, "\N{SNOWMAN}" * 4096)

    answer = bare.ask(encode(Kind.WHERE, {"cameras": cameras}))
    assert [place["camera"] for place in answer.meta["places"]] == cameras
    assert {len(place["reason"]) for place in answer.meta["places"]} == {MAX_REASON}
    assert len(encode(Kind.WHERE, answer.meta)[1]) < SMALL_TALK.meta


# Who may ask what


def refused(ask: Callable[[], object]) -> str:
    with pytest.raises(LinkLost, match="refuses") as caught:
        ask()
    return str(caught.value)


def test_a_readers_key_asks_for_its_own_cameras_and_for_nothing_else(campus: Campus) -> None:
    client = campus.client(campus.gate)
    campus.book.put("gate", None, reason="soon")

    assert client.fetch_place("gate", PATIENCE).reason == "soon"
    assert "may not be camera 'yard'" in refused(lambda: client.fetch_place("yard", PATIENCE))
    assert "subscriber" in refused(lambda: client.fetch_outboxes(PATIENCE))
    assert "subscriber" in refused(lambda: client.fetch_cluster(PATIENCE))
    assert campus.counts()["forbidden"] == 3


def test_a_subscribers_key_asks_for_outboxes_and_the_cluster_and_for_no_camera(campus: Campus) -> None:
    client = campus.client(campus.ops)

    assert client.fetch_outboxes(PATIENCE) == (1, ())
    assert client.fetch_cluster(PATIENCE) == {"name": "campus"}
    assert "may not be camera 'ops'" in refused(lambda: client.fetch_place("ops", PATIENCE))


def test_one_of_several_cameras_that_is_not_the_keys_spoils_the_question(campus: Campus, stack: ExitStack) -> None:
    peer = Bare(campus, campus.gate, stack)

    answer = peer.ask(encode(Kind.WHERE, {"cameras": ["gate", "yard"]}))
    assert answer.kind is Kind.REFUSED
    assert "yard" in answer.meta["reason"]


def test_a_nodes_key_asks_everything_once_it_is_let_in(campus: Campus, tmp_path: Path, stack: ExitStack) -> None:
    node = Worker("hall-1", tmp_path / "node", stack).keys.local
    client = campus.client(node)
    with pytest.raises(LinkLost, match="lets this key in"):
        client.fetch_cluster(0.3)
    let_in_only(campus.keys.path, Role.LOCAL, {node.public: ["hall-1"]})

    assert client.fetch_cluster(PATIENCE) == {"name": "campus"}  # ZeroMQ alone would not have tried again
    assert client.fetch_outboxes(PATIENCE) == (1, ())
    assert client.fetch_place("gate", PATIENCE).camera == "gate"


@pytest.mark.fault("a key of a cluster's node is revoked", "its connection to the directory is shut; others go on")
def test_a_node_that_is_let_in_no_more_is_told_nothing(campus: Campus, tmp_path: Path, stack: ExitStack) -> None:
    node = Worker("hall-1", tmp_path / "node", stack).keys.local
    let_in_only(campus.keys.path, Role.LOCAL, {node.public: ["hall-1"]})
    client = campus.client(node)
    client.fetch_cluster(PATIENCE)
    let_in_only(campus.keys.path, Role.LOCAL, {})

    def told_nothing() -> bool:
        try:
            client.fetch_cluster(0.5)
        except LinkLost:
            return True
        return False

    soon(told_nothing)
    assert campus.client(campus.keys.local).fetch_cluster(PATIENCE) == {"name": "campus"}


def test_a_key_that_is_revoked_is_told_nothing(campus: Campus) -> None:
    client = campus.client(campus.ops)
    client.fetch_cluster(PATIENCE)
    revoke(campus.keys.path, "ops")

    def told_nothing() -> bool:
        try:
            client.fetch_cluster(0.5)
        except LinkLost:
            return True
        return False

    soon(told_nothing)


# What comes that should not


@pytest.mark.parametrize(
    "request_",
    [
        encode(Kind.WHERE, {}),
        encode(Kind.WHERE, {"cameras": []}),
        encode(Kind.WHERE, {"cameras": ["gate"] * (MAX_ASKED + 1)}),
        encode(Kind.WHERE, {"cameras": "gate"}),
        encode(Kind.WHERE, {"cameras": [7]}),
        encode(Kind.WHERE, {"cameras": ["x" * 65]}),
        encode(Kind.HELLO, {"camera": "gate", "mode": "live"}),
        [b"SPDS", b"{}"],
    ],
)
def test_what_is_not_well_formed_is_counted_and_the_next_question_answered(
    campus: Campus, bare: Bare, request_: list[Any]
) -> None:
    bare.send(request_)

    assert bare.ask(encode(Kind.OUTBOXES, {})).kind is Kind.OUTBOXES
    assert campus.counts()["malformed"] == 1


def test_a_book_that_fails_is_said_and_ends_nothing(campus: Campus, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Any:
        raise KeyError("secret")

    client = campus.client(campus.keys.local)
    campus.book.document = fails  # type: ignore[method-assign]
    reason = refused(lambda: client.fetch_cluster(PATIENCE))

    assert "KeyError" in reason
    assert "secret" not in reason
    assert campus.counts()["failed"] == 1
    assert client.fetch_outboxes(PATIENCE) == (1, ())


def test_a_document_that_is_too_long_is_refused_and_ends_nothing(campus: Campus) -> None:
    client = campus.client(campus.keys.local)
    campus.book.text = {"long": "x" * (17 << 20)}

    assert "WireError" in refused(lambda: client.fetch_cluster(PATIENCE))
    assert client.fetch_outboxes(PATIENCE) == (1, ())


# The client


@pytest.mark.fault("a cluster's directory goes away", "its clients say so, and are answered again once it is back")
def test_a_client_asks_a_directory_that_returns(campus: Campus) -> None:
    client = campus.client(campus.keys.local)
    client.fetch_outboxes(PATIENCE)
    campus.stop()
    with pytest.raises(LinkLost, match="no answer within"):
        client.fetch_outboxes(0.3)
    campus.book.generation = 2
    campus.start()

    assert client.fetch_outboxes(PATIENCE) == (2, ())


def test_a_client_without_a_directory_waits_no_longer_than_it_says(campus: Campus) -> None:
    campus.stop()
    client = campus.client(campus.keys.local)

    with pytest.raises(LinkLost, match=r"no answer within 0\.2 s: check that the cluster runs"):
        client.fetch_place("gate", 0.2)
    assert (client.connected, client.ask_place("gate"), client.poll()) == (False, False, [])


def test_an_answer_that_comes_too_late_is_none_to_the_next_question(campus: Campus) -> None:
    client = campus.client(campus.keys.local)
    client.fetch_outboxes(PATIENCE)
    assert client.ask_outboxes()
    soon(lambda: campus.counts()["outboxes"] == 2)  # it is on its way, and nobody waits for it
    campus.book.generation = 9

    assert client.fetch_outboxes(PATIENCE)[0] == 9


class Liar:
    """A directory that answers whatever the test says."""

    def __init__(self, stack: ExitStack) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        self._socket = context.socket(zmq.ROUTER)
        self._socket.bind("tcp://127.0.0.1:*")
        self.client = stack.enter_context(
            DirectoryClient(self._socket.getsockopt_string(zmq.LAST_ENDPOINT), secure=None)
        )

    def answers(self, parts: list[Any]) -> list[Any]:
        soon(lambda: self.client.ask_cluster())
        identity, *_ = self._socket.recv_multipart()
        self._socket.send_multipart([identity, *parts])
        answers: list[Any] = []
        wait_until(lambda: answers or self.client.malformed, step=lambda: answers.extend(self.client.poll(0.05)))
        return answers


@pytest.mark.parametrize(
    "parts",
    [
        encode(Kind.WHERE, {"places": []}),
        encode(Kind.WHERE, {"places": [{"camera": "gate"}]}),
        encode(Kind.WHERE, {"places": ["gate"]}),
        encode(Kind.OUTBOXES, {"generation": -1, "outboxes": []}),
        encode(Kind.OUTBOXES, {"generation": 1, "outboxes": [{**an_outbox().to_json(), "state": "lost"}]}),
        encode(Kind.CLUSTER, {}),
        encode(Kind.CLUSTER, {}, [b"[]"]),
        encode(Kind.STATUS, {}),
        [b"SPDS", b"{}"],
    ],
)
def test_an_answer_that_cannot_be_read_is_counted_and_not_believed(stack: ExitStack, parts: list[Any]) -> None:
    liar = Liar(stack)

    assert liar.answers(parts) == []
    assert liar.client.malformed == 1


def test_a_refusal_says_why(stack: ExitStack) -> None:
    assert Liar(stack).answers(encode(Kind.REFUSED, {"reason": "not you"})) == [Refused("not you")]


@pytest.mark.parametrize("endpoint", ["ipc:///run/directory", "tcp://*:8480", "tcp://hall:0", "hall:6379", "auto"])
def test_an_address_that_no_directory_has_is_wrong_usage(campus: Campus, endpoint: str) -> None:
    with pytest.raises(UsageError):
        DirectoryAddress(endpoint, campus.keys.local)


def test_an_address_shows_no_secret(campus: Campus) -> None:
    assert campus.keys.local.secret not in repr(campus.address(campus.keys.local))
