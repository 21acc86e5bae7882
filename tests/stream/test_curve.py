"""CURVE over real sockets: who has no right key gets nothing through in either direction, and who has one does.

FACTS behind it: ZeroMQ's CURVE accepts any key unless the authenticator, its context and its domain are right.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from pipeline_fakes import Clock, a_packet, wait_until
from zmq.auth.thread import ThreadAuthenticator

from stream.curve import RELOAD_S, CurveClient, CurveServer, Peer
from stream.endpoints import SecureSocket, parse_endpoint
from stream.errors import LinkLost
from stream.feed import FeedServer
from stream.guard import Limits
from stream.key_making import authorise, issue, let_in_only, make_folder, revoke
from stream.keys import Role, SecretKey, load_folder, load_secret
from stream.link import Joined, LinkServer
from stream.link_client import LinkClient
from stream.messages import FramePacket, Mode
from stream.outbox import Outbox, OutboxReader
from stream.server_socket import ServerSocket
from stream.subscriber import AlertSubscriber, request_status
from stream.wire import Kind, decode, encode

LOOPBACK = "tcp://127.0.0.1:*"
LIMITS = Limits(held=1 << 20, held_in_all=2 << 20)


class Site:
    """A server's keys, and what a test opened."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        make_folder(folder)
        self.gate = load_secret(issue(folder, Role.READER, ["gate"]))
        self.ops = load_secret(issue(folder, Role.SUBSCRIBER, ["ops"]))

    def server_keys(self, role: Role) -> CurveServer:
        return CurveServer(load_folder(self.folder), role)

    def server(self, role: Role) -> ServerSocket:
        server = ServerSocket(parse_endpoint(LOOPBACK), options={}, limits=LIMITS, secure=self.server_keys(role))
        self.stack.callback(server.close)
        return server

    def client(self, address: str, secure: SecureSocket | None) -> zmq.Socket[bytes]:
        """A bare socket in a context of its own."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.stack.callback(context.destroy, linger=0)
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        if secure is not None:
            secure(context, socket)
        socket.connect(address)
        return socket

    def link(self, **options: Any) -> LinkServer:
        server = LinkServer(
            parse_endpoint(LOOPBACK), cameras=["gate", "yard"], secure=self.server_keys(Role.READER), **options
        )
        self.stack.callback(server.close)
        return server

    def reader(self, server: LinkServer, camera: str, key: SecretKey) -> LinkClient:
        client = LinkClient(parse_endpoint(server.address), camera=camera, mode=Mode.LIVE, secure=CurveClient(key))
        self.stack.callback(client.close)
        return client


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path / "keys", stack)


def own_key(site: Site, role: Role) -> SecretKey:
    return site.gate if role is Role.READER else site.ops


def new_pair(**fields: Any) -> SecretKey:
    public, secret = (half.decode() for half in zmq.curve_keypair())
    return SecretKey(**{"role": Role.READER, "names": ("gate",), "public": public, "secret": secret} | fields)


def plain(site: Site, role: Role) -> SecureSocket | None:
    return None


def with_the_wrong_server_key(site: Site, role: Role) -> SecureSocket | None:
    own = own_key(site, role)
    return CurveClient(new_pair(public=own.public, secret=own.secret, server=new_pair(server="").public))


def with_an_unknown_key(site: Site, role: Role) -> SecureSocket | None:
    return CurveClient(new_pair(server=site.gate.server))


def with_a_key_of_the_other_door(site: Site, role: Role) -> SecureSocket | None:
    return CurveClient(own_key(site, Role.SUBSCRIBER if role is Role.READER else Role.READER))


def with_a_key_that_was_revoked(site: Site, role: Role) -> SecureSocket | None:
    key = load_secret(issue(site.folder, role, ["former"]))
    revoke(site.folder, "former")
    return CurveClient(key)


def with_a_password(site: Site, role: Role) -> SecureSocket | None:
    def secure(context: zmq.Context[Any], socket: zmq.Socket[bytes]) -> None:
        socket.setsockopt(zmq.PLAIN_USERNAME, b"gate")
        socket.setsockopt(zmq.PLAIN_PASSWORD, b"gate")

    return secure


STRANGERS = [
    plain,
    with_the_wrong_server_key,
    with_an_unknown_key,
    with_a_key_of_the_other_door,
    with_a_key_that_was_revoked,
    with_a_password,
]


@pytest.mark.fault("a peer without a right key", "no message gets through in either direction; honest ones do")
@pytest.mark.parametrize("role", [Role.READER, Role.SUBSCRIBER])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_gets_no_message_through_in_either_direction(
    site: Site, role: Role, stranger: Callable[[Site, Role], SecureSocket | None]
) -> None:
    secure = stranger(site, role)
    server = site.server(role)
    outsider = site.client(server.address, secure)
    for _ in range(3):
        outsider.send_multipart(encode(Kind.STATUS, {"from": "stranger"}))
    wait_until(lambda: server.counts().get("not_let_in"), step=lambda: server.poll(10))

    honest = site.client(server.address, CurveClient(own_key(site, role)))
    honest.send_multipart(encode(Kind.STATUS, {"from": "honest"}))
    wait_until(lambda: server.poll(10))
    received = server.receive()
    assert received is not None
    assert decode(received.parts).meta == {"from": "honest"}
    server.send(received.identity, encode(Kind.STATUS, {}))

    assert honest.poll(10_000)
    assert server.poll(100) is False
    assert outsider.poll(0) == 0


@pytest.mark.parametrize("weakness", ["no authenticator", "one in another context", "another domain", "not enforced"])
def test_what_curve_does_where_one_part_is_missing(site: Site, weakness: str) -> None:
    """Why :class:`CurveServer` sets all of them: without, either a stranger comes in, or nobody does."""
    context, other = zmq.Context(), zmq.Context()
    authenticator = None
    if weakness != "no authenticator":
        authenticator = ThreadAuthenticator(other if weakness == "one in another context" else context)
        authenticator.start()
        site.stack.callback(authenticator.stop)
        authenticator.configure_curve(domain="link", location=str(site.folder / "issued"))
    socket = context.socket(zmq.ROUTER)
    site.stack.callback(other.destroy, linger=0)
    site.stack.callback(context.destroy, linger=0)
    if authenticator is not None:
        site.stack.callback(authenticator.stop)
    server = load_folder(site.folder).server
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, server.secret.encode())
    if weakness == "another domain":
        socket.setsockopt(zmq.ZAP_DOMAIN, b"feed")
    socket.bind(LOOPBACK)
    stranger = site.client(socket.getsockopt_string(zmq.LAST_ENDPOINT), CurveClient(new_pair(server=server.public)))
    stranger.send(b"in")

    came_in = bool(socket.poll(2000 if weakness in ("no authenticator", "one in another context") else 300))
    assert came_in is (weakness in ("no authenticator", "one in another context"))


@pytest.mark.fault("a camera's key used for another", "refused with the reason; the other camera goes on")
def test_a_reader_may_only_be_the_camera_of_its_key(site: Site) -> None:
    server = site.link()
    wrong, right = site.reader(server, "yard", site.gate), site.reader(server, "gate", site.gate)
    events: list[Any] = []

    def step() -> None:
        wrong.poll(0.005)
        right.poll(0.005)
        events.extend(server.poll(0.005))

    wait_until(lambda: wrong.refusal and right.connected, step=step)

    assert "may not be camera 'yard'" in wrong.refusal
    assert [event.camera for event in events if isinstance(event, Joined)] == ["gate"]
    assert server.forbidden >= 1


def test_the_machines_own_key_may_be_any_camera(site: Site) -> None:
    server, local = site.link(), load_folder(site.folder).local
    clients = [site.reader(server, camera, local) for camera in ("gate", "yard")]

    wait_until(
        lambda: all(client.connected for client in clients),
        step=lambda: [*(client.poll(0.005) for client in clients), server.poll(0.005)],
    )


def test_another_machines_own_key_may_be_any_camera_of_a_cluster(site: Site) -> None:
    node = new_pair(server=site.gate.server, role=Role.LOCAL, names=())
    let_in_only(site.folder, Role.LOCAL, {node.public: ["hall-1"]})
    server = site.link()
    readers = [site.reader(server, camera, node) for camera in ("gate", "yard")]

    def step() -> None:
        server.poll(0.005)
        for reader in readers:
            reader.poll(0.005)

    wait_until(lambda: all(reader.connected for reader in readers), step=step)


def test_a_machine_that_left_the_cluster_is_cut_off(site: Site) -> None:
    node = new_pair(server=site.gate.server, role=Role.LOCAL, names=())
    let_in_only(site.folder, Role.LOCAL, {node.public: ["hall-1"]})
    server = site.link()
    reader = site.reader(server, "gate", node)
    wait_until(lambda: reader.connected, step=lambda: (reader.poll(0.005), server.poll(0.005)))
    let_in_only(site.folder, Role.LOCAL, {})

    wait_until(
        lambda: server.guarded().get("revoked", 0) + server.forbidden,
        step=lambda: (reader.poll(0.005), server.poll(0.005)),
    )


def test_the_doors_know_whom_they_let_in_and_a_directory_both(site: Site) -> None:
    node = new_pair(server=site.gate.server)
    let_in_only(site.folder, Role.LOCAL, {node.public: ["hall-1"]})
    doors = {role: site.server_keys(role) for role in (Role.READER, Role.SUBSCRIBER, Role.LOCAL)}

    def opens(key: SecretKey) -> list[Role]:
        return [role for role, door in doors.items() if door.lets_in(key.public)]

    assert opens(site.gate) == [Role.READER, Role.LOCAL]
    assert opens(site.ops) == [Role.SUBSCRIBER, Role.LOCAL]
    assert opens(node) == list(doors)
    assert opens(new_pair(server=site.gate.server)) == []


def test_a_directory_tells_a_reader_from_a_subscriber(site: Site) -> None:
    door = site.server_keys(Role.LOCAL)
    gate, ops = Peer(site.gate.public, frozenset(), any_name=False), Peer(site.ops.public, frozenset(), any_name=False)

    assert (door.names_of(gate, Role.READER), door.names_of(gate, Role.SUBSCRIBER)) == ({"gate"}, set())
    assert (door.names_of(ops, Role.READER), door.names_of(ops, Role.SUBSCRIBER)) == (set(), {"ops"})


def test_a_frame_sent_under_another_cameras_name_is_dropped(site: Site) -> None:
    server = site.link()
    reader, events = site.reader(server, "gate", site.gate), []

    def step() -> None:
        reader.poll(0.005)
        events.extend(server.poll(0.005))

    wait_until(lambda: reader.wants_frame, step=step)
    reader.send_frame(a_packet(1, camera="yard"))
    wait_until(lambda: server.forbidden, step=step)

    assert not [event for event in events if isinstance(event, FramePacket)]


@pytest.mark.fault("a key revoked at runtime", "its connection is shut, and it is not let in again; others go on")
def test_a_revoked_reader_is_cut_off_and_the_others_stay(site: Site) -> None:
    yard_key = load_secret(issue(site.folder, Role.READER, ["yard"]))
    server = site.link()
    gate, yard = site.reader(server, "gate", site.gate), site.reader(server, "yard", yard_key)

    def step() -> None:
        gate.poll(0.005)
        yard.poll(0.005)
        server.poll(0.005)

    wait_until(lambda: gate.connected and yard.connected, step=step)
    revoke(site.folder, "gate")
    wait_until(lambda: server.guarded().get("revoked", 0) + server.forbidden, step=step)
    wait_until(lambda: server.guarded().get("not_let_in"), step=step)  # it tries again, and is not let in

    assert yard.connected


@pytest.mark.slow
def test_a_key_that_is_added_is_let_in_without_a_restart(site: Site) -> None:
    server = site.link()
    pair = new_pair(server=site.gate.server, names=("yard",))
    reader = site.reader(server, "yard", pair)
    wait_until(lambda: server.guarded().get("not_let_in"), step=lambda: (reader.poll(0.005), server.poll(0.005)))
    authorise(site.folder, Role.READER, ["yard"], pair.public)

    wait_until(lambda: reader.connected, step=lambda: (reader.poll(0.005), server.poll(0.005)))


def test_a_key_file_that_is_damaged_meanwhile_lets_nobody_in_and_keeps_the_others(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys = CurveServer(load_folder(site.folder), Role.READER, clock=clock)
    yard = load_secret(issue(site.folder, Role.READER, ["yard"]))
    (site.folder / "readers" / "gate.pub").write_text("damaged")
    clock.now += RELOAD_S

    assert keys.refresh() is True
    assert (keys.lets_in(site.gate.public), keys.lets_in(yard.public)) == (False, True)
    assert "gate.pub" in caplog.text
    clock.now += RELOAD_S
    assert keys.refresh() is False  # said once


def test_a_key_file_that_was_damaged_at_the_start_is_named_by_the_first_look(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (site.folder / "readers" / "gate.pub").write_text("damaged")
    keys = CurveServer(load_folder(site.folder), Role.READER, clock=Clock())
    keys.refresh()

    assert not keys.lets_in(site.gate.public)
    assert caplog.text.count("gate.pub") == 1


def test_a_folder_of_keys_that_is_gone_lets_only_the_own_machine_in(site: Site) -> None:
    clock = Clock()
    keys = CurveServer(load_folder(site.folder), Role.READER, clock=clock)
    local = load_folder(site.folder).local
    (site.folder / "readers").rename(site.folder / "moved")
    clock.now += RELOAD_S
    keys.refresh()

    assert (keys.lets_in(site.gate.public), keys.lets_in(local.public)) == (False, True)


@pytest.fixture
def feed(site: Site, tmp_path: Path) -> FeedServer:
    """A feed that moves when its ``step`` is called."""
    paths = (tmp_path / "outbox.sqlite", tmp_path / "evidence")
    site.stack.enter_context(Outbox(*paths))
    reader = site.stack.enter_context(OutboxReader(*paths))
    return site.stack.enter_context(FeedServer(LOOPBACK, reader, dict, secure=site.server_keys(Role.SUBSCRIBER)))


def subscribe(site: Site, feed: FeedServer, key: SecretKey, name: str | None) -> AlertSubscriber:
    """A subscriber, once it has caught up. Raises LinkLost where it is refused."""
    subscriber = site.stack.enter_context(AlertSubscriber(feed.endpoint, name=name, secure=CurveClient(key)))
    wait_until(lambda: subscriber.caught_up, step=lambda: (feed.step(0.005), subscriber.poll(0.005)))
    return subscriber


def test_a_subscriber_has_the_name_of_its_key_or_none(site: Site, feed: FeedServer) -> None:
    subscribe(site, feed, site.ops, "ops")
    subscribe(site, feed, site.ops, None)
    subscribe(site, feed, load_folder(site.folder).local, "archive")

    with pytest.raises(LinkLost, match="may not subscribe as 'archive'"):
        subscribe(site, feed, site.ops, "archive")
    assert [s["name"] for s in feed.state()["subscribers"]] == ["ops", None, "archive"]


def test_no_issued_key_may_take_the_place_of_a_clusters_collector(site: Site, tmp_path: Path) -> None:
    key = load_secret(issue(site.folder, Role.SUBSCRIBER, ["collect"]))
    paths = (tmp_path / "outbox.sqlite", tmp_path / "evidence")
    site.stack.enter_context(Outbox(*paths))
    reader = site.stack.enter_context(OutboxReader(*paths))
    secure = site.server_keys(Role.SUBSCRIBER)
    feed = site.stack.enter_context(FeedServer(LOOPBACK, reader, dict, secure=secure, outbox_id="a"))

    subscribe(site, feed, load_folder(site.folder).local, "collect")
    with pytest.raises(LinkLost, match="the run of the cluster collects"):
        subscribe(site, feed, key, "collect")
    assert [s["name"] for s in feed.state()["subscribers"]] == ["collect"]


def test_a_revoked_subscriber_gets_nothing_more(site: Site, feed: FeedServer) -> None:
    subscribe(site, feed, site.ops, "ops")
    revoke(site.folder, "ops")

    wait_until(lambda: not feed.state()["subscribers"], step=lambda: feed.step(0.005))


def test_a_status_needs_a_key(site: Site, feed: FeedServer) -> None:
    with pytest.raises(LinkLost, match="asks for no key"):
        request_status(feed.endpoint, 0.3)
    with pytest.raises(LinkLost, match="lets this key in"):
        request_status(feed.endpoint, 0.3, secure=CurveClient(site.gate))


def test_closing_a_server_frees_its_address_and_its_threads(site: Site) -> None:
    before = len(os.listdir("/proc/self/task"))
    server = ServerSocket(parse_endpoint(LOOPBACK), options={}, limits=LIMITS, secure=site.server_keys(Role.READER))
    address = parse_endpoint(server.address)
    server.close()
    server.close()

    ServerSocket(address, options={}, limits=LIMITS, secure=site.server_keys(Role.READER)).close()
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= before)


def test_nothing_that_is_logged_holds_a_secret(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server = site.link()
    client = site.reader(server, "gate", site.gate)
    wait_until(lambda: client.connected, step=lambda: (client.poll(0.005), server.poll(0.005)))
    secrets = [site.gate.secret, *(getattr(load_folder(site.folder), name).secret for name in ("server", "local"))]

    assert "link" in caplog.text
    assert not any(secret in caplog.text or secret in repr(vars(client)) for secret in secrets)
    assert stat.S_IMODE((site.folder / "server.key").stat().st_mode) == 0o600
