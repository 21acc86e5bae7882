"""``bench link``: how many frames a second go from one process to another, the way they go here and by other ways."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import zmq

from spade_core.motion import GRID
from spade_core.preprocess import Preprocess, scoring_image
from stream import wire
from stream.bench.link_sender import CAMERA, HIGH_WATER, Order, Way, encoded, run
from stream.bench.result import BenchResult, Row, machine, timing
from stream.bench.timed import Task, measure
from stream.campus import CampusScene, normal_script
from stream.endpoints import parse_endpoint
from stream.errors import StreamError
from stream.link import LinkServer
from stream.messages import FramePacket
from stream.reader import VIEW_QUALITY
from stream.replay import socket_folder
from stream.wire import Buffer

FRAMES, RAW_FRAMES = 50, 10
"""Messages in a burst, whose time is taken as a whole: enough that its beginning and its end count for little."""

_LOOK = 1.0  # s between two looks whether the sender is still alive, while nothing comes

IPC, TCP, CURVE = "ipc", "tcp", "tcp + CURVE"
BASE = f"{IPC}, FRAME"
CREDIT = f"{IPC}, FRAME, by credit"

_NOTES = {
    BASE: "scoring image, motion map, JPEG of the whole frame",
    CREDIT: "the link as it is: one frame on its way, the next when it is taken",
    f"{IPC}, raw frame": "uncompressed pixels of the whole frame, which no reader sends",
}
_DIED = "the sending process has died"
_END_PATIENCE = 5.0  # s for it to end by itself
_LOOPBACK = "tcp://127.0.0.1:*"
_TILE = (640, 360)  # width, height in pixels of the picture that is rendered
_PLACE = 7  # seed of the scene whose picture is sent


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What ``bench link`` was asked for."""

    picture: tuple[int, int]  # width, height of the native frame in pixels
    size: int  # S, side of the scoring image in pixels
    seconds: float  # for all timings together


def run_link(options: LinkOptions, *, stopping: Callable[[], bool]) -> BenchResult:
    """Sends messages from a process of its own to this one, by each way in turn.

    Raises:
        StreamError: stopped, or the sender has died.
    """
    packet, raw = a_packet(options)
    orders = {
        BASE: Order(0, FRAMES),
        CREDIT: Order(None, FRAMES),
        f"{TCP}, FRAME": Order(1, FRAMES),
        f"{CURVE}, FRAME": Order(2, FRAMES),
        f"{IPC}, raw frame": Order(0, RAW_FRAMES, raw=True),
        f"{TCP}, raw frame": Order(1, RAW_FRAMES, raw=True),
        f"{CURVE}, raw frame": Order(2, RAW_FRAMES, raw=True),
    }
    with socket_folder() as folder, ExitStack() as opened:
        post = _Post(folder, opened, packet, raw)
        tasks = [Task(name, post.carry, partial(_same, order), per=order.count) for name, order in orders.items()]
        found = measure(tasks, seconds=options.seconds, stopping=stopping)
    base = timing(BASE, found[BASE])
    rows = [
        _row(name, found[name], base, _bytes(encoded(packet, raw if o.raw else None))) for name, o in orders.items()
    ]
    described = {"picture": "x".join(map(str, options.picture)), "size": options.size, "seconds": options.seconds}
    return BenchResult("link", described, tuple(rows), machine=machine())


def a_packet(options: LinkOptions) -> tuple[FramePacket, bytes]:
    """What a reader sends of a picture, and the picture's pixels as they are.

    The picture is a small one side by side with itself: as full of detail, and rendered in no time.
    """
    width, height = options.picture
    small, _ = CampusScene(seed=_PLACE, width=_TILE[0], height=_TILE[1], fps=10.0, script=normal_script(10.0)).render(0)
    picture = np.tile(small, (-(-height // _TILE[1]), -(-width // _TILE[0]), 1))[:height, :width]
    _, view = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, VIEW_QUALITY])
    packet = FramePacket(
        camera=CAMERA,
        seq=20,
        frame_time=1.7e9,
        media_time=2.0,
        captured_mono=2.0,
        segment="",
        source_size=options.picture,
        image=scoring_image(picture, Preprocess(options.size)),
        motion=np.ones((GRID, GRID), np.float16),
        view=np.asarray(view).tobytes(),
    )
    return packet, picture.tobytes()


class _Post:
    """The receiving end of every way, and the process that sends.

    Args:
        folder: for sockets.
        opened: what must be closed afterwards goes there.
        packet, raw: see :func:`stream.bench.link_sender.run`.

    """

    def __init__(self, folder: Path, opened: ExitStack, packet: FramePacket, raw: bytes) -> None:
        link = f"ipc://{folder}/link"
        self._server = opened.enter_context(LinkServer(parse_endpoint(link), cameras=[CAMERA]))
        context = opened.enter_context(zmq.Context())
        self._sockets: list[zmq.Socket[bytes]] = []
        ways = []
        for url, encrypted in ((f"ipc://{folder}/plain", False), (_LOOPBACK, False), (_LOOPBACK, True)):
            socket = context.socket(zmq.ROUTER)
            opened.callback(socket.close, linger=0)
            ways.append(_bound(socket, url, encrypted=encrypted))
            self._sockets.append(socket)
        # Not a fork, which would inherit the sockets' threads half-alive.
        spawn = multiprocessing.get_context("spawn")
        self._orders, theirs = spawn.Pipe()
        self._sender = spawn.Process(target=run, args=(theirs, ways, link, packet, raw), daemon=True)
        self._sender.start()
        theirs.close()
        opened.callback(self._end)

    def carry(self, order: Order) -> None:
        """Has messages sent, receives and decodes them.

        Raises:
            StreamError: the sender has died.
        """
        try:
            self._orders.send(order)
        except OSError:
            raise StreamError(_DIED) from None
        if order.way is None:
            self._by_credit(order.count)
        else:
            self._at_once(self._sockets[order.way], order)

    def _at_once(self, socket: zmq.Socket[bytes], order: Order) -> None:
        for _ in range(order.count):
            while not socket.poll(int(_LOOK * 1000)):
                self._check()
            _, *parts = socket.recv_multipart()
            envelope = wire.decode(parts)
            if not order.raw:
                wire.decode_frame(envelope)

    def _by_credit(self, count: int) -> None:
        while count:
            events = self._server.poll(_LOOK)
            for packet in (event for event in events if isinstance(event, FramePacket)):
                self._server.grant(packet.camera)
                count -= 1
            if not events:
                self._check()

    def _check(self) -> None:
        if not self._sender.is_alive():
            raise StreamError(_DIED)

    def _end(self) -> None:
        self._orders.close()
        self._sender.join(_END_PATIENCE)
        if self._sender.is_alive():
            self._sender.kill()
            self._sender.join()


def _bound(socket: zmq.Socket[bytes], url: str, *, encrypted: bool) -> Way:
    """Binds a socket, with a key made for it where it is encrypted. Who sends is not asked: only we know the port."""
    public: bytes | None = None
    if encrypted:
        public, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_server = True
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.bind(url)
    return Way(socket.getsockopt_string(zmq.LAST_ENDPOINT), public)


def _row(name: str, seconds: Sequence[float], base: Row, size: int) -> Row:
    row = timing(name, seconds, base=None if name == BASE else base, note=_NOTES.get(name, ""))
    median = row.figures["median_ms"] or math.nan
    rates = {"message_kb": size / 1e3, "messages_per_s": 1e3 / median, "mb_per_s": size / 1e3 / median}
    return Row(name, {**rates, **row.figures}, row.base, row.ratio, row.note)


def _bytes(parts: Sequence[Buffer]) -> int:
    return sum(len(part) for part in parts)


def _same(order: Order) -> Order:
    return order
