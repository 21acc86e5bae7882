"""Live views: what every camera shows right now and how its last frame was scored, for whoever looks at that moment.

The worker publishes, a console subscribes; both run on one machine, as one user, and meet in the private run folder.
Nothing here is stored or delivered surely: a viewer that is slow misses frames, and a camera that nobody watches costs
nothing. One message is, beside ZeroMQ's topic, a LIVE message of ``wire``: header with checksum, meta, JPEG, PNG.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import zmq

from stream.endpoints import Endpoint, bind, claim
from stream.errors import WireError
from stream.fields import as_list, as_whole, number, text, text_or_none, whole
from stream.messages import MAX_CAMERA, MAX_FRAME_SIDE, MAX_TEXT, iso_time
from stream.seldom import Seldom
from stream.wire import MAX_PART_BYTES, Buffer, Kind, decode, encode

MOST_PER_SECOND = 5.0
"""Views of one camera per second: a wall of cameras looks alive with it, and costs the worker next to nothing."""

QUEUE = 32
"""Messages that wait for one viewer at each end; what comes after that is dropped. A 4K view has about a megabyte."""

_TOPIC_END = b"\0"  # no id holds one: else who watches "gate" would get "gate-2" too
_MOST_CHANGES = 256  # subscriptions read in one go, so that a flood of them cannot keep the worker from scoring

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """One frame of one camera, with what was found in it."""

    camera: str
    scene: str
    frame_seq: int  # FramePacket.seq
    frame_time: float  # Unix seconds
    score: float | None  # None: this frame was not scored; never to be read as a low score
    threshold: float | None  # in force for this frame; None where there is no score
    alert: str | None  # id of the open alert
    problem: str  # why there is no score, in words; "" = there is one
    source_size: tuple[int, int]  # (width, height) of the native frame in pixels
    heat_box: tuple[float, float, float, float]  # x, y, width, height: the part of the frame that heat covers, 0..1
    view_jpeg: bytes  # the native frame
    heat_png: bytes  # RGBA, transparent where normal, to be stretched over heat_box; b"" = not scored


def encode_live(frame: LiveFrame) -> list[Buffer]:
    """Message parts, the topic first.

    Raises:
        WireError: a value is out of its bounds, so that no viewer would take it.
    """
    meta = {
        "camera": frame.camera,
        "scene": frame.scene,
        "frame_seq": frame.frame_seq,
        "frame_time": frame.frame_time,
        "score": frame.score,
        "threshold": frame.threshold,
        "alert": frame.alert,
        "problem": frame.problem[:MAX_TEXT],
        "source_size": list(frame.source_size),
        "heat_box": list(frame.heat_box),
    }
    try:
        _described(meta)
    except (ValueError, OverflowError, OSError) as error:
        raise WireError(f"live view of camera {frame.camera!r} cannot be sent: {error}") from None
    return [_topic(frame.camera), *encode(Kind.LIVE, meta, [frame.view_jpeg, frame.heat_png])]


def decode_live(parts: Sequence[Buffer]) -> LiveFrame:
    """Inverse of :func:`encode_live`.

    Raises:
        WireError: it is no such message, or it was damaged.
    """
    envelope = decode(parts[1:])
    if envelope.kind is not Kind.LIVE or len(envelope.payloads) != 2:
        raise WireError(f"expected a LIVE with 2 payloads, got {envelope.kind.name} with {len(envelope.payloads)}")
    try:
        fields = _described(envelope.meta)
    except (KeyError, ValueError, OverflowError, OSError) as error:
        raise WireError(f"LIVE is not well formed: {type(error).__name__}: {error}") from None
    if bytes(parts[0]) != _topic(fields["camera"]):
        raise WireError(f"LIVE of camera {fields['camera']!r} came under another topic")
    view, heat = envelope.payloads
    return LiveFrame(**fields, view_jpeg=bytes(view), heat_png=bytes(heat))


class LivePublisher:
    """The worker's end. Nothing in it waits, and after it was made nothing in it raises for whatever viewers do.

    Args:
        endpoint: an ipc socket in a private folder; claimed and bound at once.
        clock: monotonic seconds.

    Raises:
        EndpointBusy: another process publishes there.
        UsageError: it cannot be bound.
    """

    def __init__(self, endpoint: Endpoint, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._complaints = clock, Seldom(_log, clock)
        self._watched = set[bytes]()  # topics
        self._due: dict[str, float] = {}  # camera -> when its next view is
        self._claim = claim(endpoint)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        try:
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.SNDHWM, QUEUE)  # an XPUB drops what does not fit: it never waits
            self._socket.setsockopt(zmq.MAXMSGSIZE, 2 * MAX_CAMERA)  # viewers send nothing but subscriptions
            bind(self._socket, endpoint)
        except BaseException:
            self.close()
            raise

    def wants(self, camera: str) -> bool:
        """Whether somebody watches this camera and its next view is due. To be asked before a view is made."""
        self._hear()
        if not self._watched or _topic(camera) not in self._watched:
            return False
        # Half an interval early is allowed, and counted: a camera of just that rate, a little irregular, keeps it.
        return self._clock() >= self._due.get(camera, float("-inf")) - 0.5 / MOST_PER_SECOND

    def publish(self, frame: LiveFrame) -> None:
        """Hands a view to whoever watches its camera and keeps up; for all others it is dropped."""
        self._due[frame.camera] = max(self._clock(), self._due.get(frame.camera, 0.0)) + 1 / MOST_PER_SECOND
        try:
            self._socket.send_multipart(encode_live(frame), zmq.NOBLOCK)
        except zmq.Again:
            return
        except (WireError, zmq.ZMQError) as error:
            self._complaints.warn(f"a live view is not shown: {error}")

    def close(self) -> None:
        """Frees the endpoint. May be called twice."""
        self._context.destroy(linger=0)
        self._claim.close()

    def _hear(self) -> None:
        for _ in range(_MOST_CHANGES):
            if not self._socket.poll(0):
                return
            change = self._socket.recv(zmq.NOBLOCK)
            begins, topic = change[:1] == b"\1", change[1:]
            if begins and len(topic) <= MAX_CAMERA + 1:
                self._watched.add(topic)
            elif not begins:
                self._watched.discard(topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class LiveSubscriber:
    """A viewer's end, for one thread. Finds a worker that starts later or anew by itself, as long as it is polled.

    Args:
        endpoint: of the worker (``Config.live_endpoint``).
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.malformed = 0  # messages that were no views
        self._watched = frozenset[str]()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        self._socket.connect(endpoint.url)

    def watch(self, cameras: Iterable[str]) -> None:
        """From now on views of these cameras come, and of no others (but for what is on its way)."""
        wanted = frozenset(cameras)
        for camera in wanted - self._watched:
            self._socket.subscribe(_topic(camera))
        for camera in self._watched - wanted:
            self._socket.unsubscribe(_topic(camera))
        self._watched = wanted

    def poll(self, timeout: float) -> LiveFrame | None:
        """The next view, waiting for it so many seconds at most; None where none came. Damaged ones are counted."""
        deadline = time.monotonic() + timeout
        while self._socket.poll(max(0, round((deadline - time.monotonic()) * 1000))):
            try:
                frame = decode_live(self._socket.recv_multipart(zmq.NOBLOCK))
            except WireError as error:
                self.malformed += 1
                _log.debug("live view: %s", error)
                continue
            if frame.camera in self._watched:
                return frame
        return None

    def close(self) -> None:
        """May be called twice."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _topic(camera: str) -> bytes:
    return camera.encode() + _TOPIC_END


def _described(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What LIVE's meta says, checked. Raises KeyError and ValueError."""
    iso_time(number(meta, "frame_time"))  # raises for what is no date
    return {
        "camera": text(meta, "camera", most=MAX_CAMERA),
        "scene": text(meta, "scene", most=MAX_CAMERA),
        "frame_seq": whole(meta, "frame_seq"),
        "frame_time": number(meta, "frame_time"),
        "score": None if meta["score"] is None else number(meta, "score"),
        "threshold": None if meta["threshold"] is None else number(meta, "threshold"),
        "alert": text_or_none(meta, "alert", most=MAX_TEXT),
        "problem": text(meta, "problem", most=MAX_TEXT),
        "source_size": _size(meta["source_size"]),
        "heat_box": _box(meta["heat_box"]),
    }


def _size(value: object) -> tuple[int, int]:
    width, height = as_list(value, "source_size", least=2, most=2)
    return (
        as_whole(width, "source_size", least=1, most=MAX_FRAME_SIDE),
        as_whole(height, "source_size", least=1, most=MAX_FRAME_SIDE),
    )


def _box(value: object) -> tuple[float, float, float, float]:
    sides = as_list(value, "heat_box", least=4, most=4)
    x, y, width, height = (number({"heat_box": side}, "heat_box") for side in sides)
    if not (0 <= x < 1 and 0 <= y < 1 and 0 < width <= 1 and 0 < height <= 1):
        raise ValueError(f"heat_box is {[x, y, width, height]}; fractions of the frame belong there")
    return x, y, width, height
