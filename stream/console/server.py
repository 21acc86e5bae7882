"""The console's process: builds its parts, runs their threads, and serves until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import uvicorn
from starlette.routing import BaseRoute

from stream import __version__, security
from stream.comparable import units_of
from stream.config import Config
from stream.console.alert_files import AlertFiles
from stream.console.app import make_app
from stream.console.attempts import Attempts
from stream.console.auth import Gate, cookie_name
from stream.console.board import Board
from stream.console.budget import Budgets
from stream.console.checks import check_certificate
from stream.console.connections import MOST_CONNECTIONS, Connection
from stream.console.events import Hub
from stream.console.follower import Alerts, Follower
from stream.console.galleries import Galleries
from stream.console.history import ScoreHistory
from stream.console.jobs import Jobs
from stream.console.lanes import Lane
from stream.console.launcher import Launcher
from stream.console.parts import Parts
from stream.console.sessions import Sessions
from stream.console.store import Store
from stream.console.token import FILE, ensure_token
from stream.console.users import Users
from stream.console.watcher import Views, Watcher
from stream.endpoints import connect_address, parse_endpoint
from stream.errors import EndpointBusy, UsageError
from stream.live import LiveSubscriber
from stream.messages import StateEvent
from stream.outbox import OutboxReader
from stream.subscriber import AlertSubscriber

LOOK_EVERY = 0.2
"""Seconds between two looks of the event loop whether to stop; each is a sign of life to the supervisor."""

DRAIN = 1.0
"""Seconds that requests have for their end when the console stops. Event streams are ended at once."""

DEAD_AFTER = 30_000
"""Milliseconds after which a connection whose other end takes nothing is closed."""

_PAGES = Path(__file__).with_name("static")

_log = logging.getLogger(__name__)


def build(config: Config, launcher: Launcher, *, pages: Path = _PAGES, stack: ExitStack) -> Parts:
    """The console's parts; nothing runs yet.

    Args:
        config: in force.
        launcher: of jobs.
        pages: folder of the front end.
        stack: closes them.

    Raises:
        ConsoleError: users, token or store cannot be used.
    """
    store = stack.enter_context(contextlib.closing(Store(config.state / "console.sqlite")))
    hub = Hub()
    galleries = Galleries(config.gallery_of)
    users = None if config.console.users is None else Users(config.console.users)
    gate = Gate(
        token=ensure_token(config.state / "run" / FILE),
        users=users,
        sessions=Sessions(store),
        attempts=Attempts(),
        cookie=cookie_name(config.console.endpoint.port),
    )
    jobs = Jobs(
        on_change=lambda job: hub.publish("job", job.to_json()),
        hidden=[camera.source for camera in config.cameras],
    )
    stack.enter_context(contextlib.closing(jobs))
    return Parts(
        config=config,
        version=__version__,
        store=store,
        gate=gate,
        hub=hub,
        board=Board(config, galleries=galleries, hub=hub),
        watcher=Watcher((camera.id for camera in config.cameras), subscribe=lambda: _views(config), hub=hub),
        files=stack.enter_context(contextlib.closing(AlertFiles(config.outbox, config.evidence))),
        galleries=galleries,
        history=ScoreHistory(config.scores),
        reading=Lane("scores", at_once=4, most_waiting=64, patience=30.0),
        budgets=Budgets(
            config.scores,
            settings=config.alerts.settings(),
            confirmed_real=lambda camera, since: store.confirmed_real(camera, since=since),
            units=lambda camera, factor: units_of(config, camera, factors=(factor,)),
            clock=time.time,
        ),
        jobs=jobs,
        launcher=launcher,
        pages=pages,
        secure_cookie=config.console.tls,
        clock=time.time,
    )


def serve(
    config: Config, launcher: Launcher, *, stopping: Callable[[], bool], routes: Callable[[Parts], list[BaseRoute]]
) -> None:
    """The console, until it is stopped.

    Args:
        config: in force.
        launcher: of jobs.
        stopping: polled by the event loop in the main thread.
        routes: of health and metrics.

    Raises:
        EndpointBusy: something else listens at its address.
        ConsoleError: users, token, certificate or store cannot be used.
        UsageError: the address is not this machine's.
    """
    check_certificate(config)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(config))
        parts = build(config, launcher, stack=stack)
        stack.enter_context(_threads(config, parts))
        app = make_app(parts, routes=routes(parts))
        _log.info("console on %s://%s", "https" if config.console.tls else "http", config.console.address)
        asyncio.run(_serve(app, config, listener, parts.hub, stopping))


def listen(config: Config) -> socket.socket:
    """The socket, bound. Raises EndpointBusy, UsageError."""
    endpoint = config.console.endpoint
    host = "0.0.0.0" if endpoint.host == "*" else endpoint.host
    try:
        found = socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(found[0], socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"console.address: {config.console.address}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER)
        listener.bind(found[4])
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if isinstance(error, PermissionError) or "in use" not in str(error.strerror).lower():
            raise UsageError(f"console.address: {config.console.address}: {error.strerror}") from None
        raise EndpointBusy(
            f"console.address: {config.console.address} is in use already: stop what listens there, or choose another"
        ) from None
    return listener


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: this process is stopped by ``StopSignal``."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(app: Any, config: Config, listener: socket.socket, hub: Hub, stopping: Callable[[], bool]) -> None:
    section = config.console
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # it tells of every start and end, and of Ctrl-C
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # addresses may hold the token of a link
            proxy_headers=False,  # who a request comes from is what the socket says
            server_header=False,
            lifespan="off",
            ws="none",
            http=Connection,
            loop="asyncio",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=max(1, round(DRAIN)),
            ssl_certfile=section.tls_certificate,
            ssl_keyfile=section.tls_key,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not serving.done() and not stopping():
        await asyncio.wait([serving], timeout=LOOK_EVERY)
    server.should_exit = True
    hub.close()
    while not serving.done():
        stopping()  # still alive
        await asyncio.wait([serving], timeout=LOOK_EVERY)
    await serving


@contextlib.contextmanager
def _threads(config: Config, parts: Parts) -> Iterator[None]:
    stop = threading.Event()

    def subscribe(place: int, on_event: Callable[[StateEvent], None]) -> AbstractContextManager[Alerts]:
        secure = security.feed_client(config, "console")
        address = connect_address(config.feed.endpoint)
        return AlertSubscriber(address, since=place, on_event=on_event, secure=secure)

    follower = Follower(
        parts.store,
        outbox=lambda: OutboxReader(config.outbox, config.evidence),
        subscribe=subscribe,
        hub=parts.hub,
        on_event=parts.board.hear,
        on_feed=lambda connected, seq: parts.board.hear_feed(connected=connected, last_seq=seq),
    )
    work = {"follower": follower.run, "watcher": parts.watcher.run, "board": parts.board.run}
    threads = [threading.Thread(target=run, args=(stop,), name=name, daemon=True) for name, run in work.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(2.0)


def _views(config: Config) -> AbstractContextManager[Views]:
    return LiveSubscriber(parse_endpoint(config.live_endpoint))
