"""The wire format, as pure functions: values to message parts and back. Sockets never appear here.

Every message of the link and of the feed is one ZeroMQ multipart message::

    part 0   16 bytes, network order: magic "SPDS", version u8, kind u8, payload count u16, meta length u32, CRC-32 u32
    part 1   meta: JSON object, UTF-8
    part 2.. payloads: raw bytes, as many as part 0 says

The CRC covers the header's first 12 bytes and, in order, each further part with its length as u32 before it: JPEG data
decodes "successfully" with flipped bytes, and of a kind or a length one bit makes another. Nothing is pickled. Used by
``link`` and ``feed``; a client in another language needs only ``docs/wire.md``.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import WireError
from stream.fields import as_list, as_object, as_whole, number, read_object, text, whole
from stream.messages import (
    MAX_CAMERA,
    MAX_FRAME_PIXELS,
    MAX_FRAME_SIDE,
    MAX_SEGMENT,
    Alert,
    Evidence,
    FramePacket,
    iso_time,
)

Buffer = bytes | bytearray | memoryview

MAGIC = b"SPDS"
VERSION = 2  # 1: the checksum covered neither the header nor where one payload ends and the next begins
_HEADER = struct.Struct("!4sBBHII")
_CHECKED = 12  # bytes of the header before its checksum

MAX_META_BYTES = 1 << 20  # an alert with hundreds of polygons is about 100 KB
MAX_PART_BYTES = 64 << 20  # set as MAXMSGSIZE on every socket; a 4K raw frame is 25 MB
MAX_PAYLOADS = 4  # more parts than any kind has
MAX_IMAGE_SIDE = 2048  # scoring images are a few hundred pixels wide
MAX_VIEW_BYTES = 16 << 20  # a 4K frame of mere noise is 6 MB
MAX_HEAT_BYTES = 1 << 20  # 160 x 160 RGBA pixels are 102 KB even where they cannot be compressed
MAX_DROPS = 64  # there are about ten reasons
MAX_DOCUMENT_BYTES = 16 << 20  # how a cluster stands: a thousand cameras with one or two kilobytes each, several times


class Kind(IntEnum):
    """What a message is. The comment names the sender."""

    # link: reader <-> worker
    HELLO = 1  # reader: I am this camera
    WELCOME = 2  # worker: known; followed by credits
    REFUSED = 3  # worker or feed: no, with the reason
    CREDIT = 4  # worker: you may send one more frame
    FRAME = 5  # reader
    STATE = 6  # reader: the camera changed its state
    END = 7  # reader: a finite source is at its end
    DONE = 8  # worker: everything you sent is scored and committed
    BEAT = 9  # both: alive
    # feed: subscriber <-> feed
    SUBSCRIBE = 20  # subscriber: send me what came after this sequence number
    ALERT = 21  # feed
    ACK = 22  # subscriber: everything up to here is safe with me
    GAP = 23  # feed: these sequence numbers are gone for good
    STATUS = 24  # subscriber asks, feed answers
    CAUGHT_UP = 25  # feed: you have everything that was committed when you subscribed
    EVENT = 26  # feed: a camera changed its state; only to whom asked for it
    # live views: worker -> whoever looks
    LIVE = 40  # worker: what a camera shows and how it was scored
    # directory of a cluster: readers, subscribers <-> directory. Each is asked and answered under the same name
    WHERE = 60  # reader: which worker scores this camera?
    OUTBOXES = 61  # subscriber: which outboxes are there?
    CLUSTER = 62  # how does the cluster stand?


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message of one kind may hold at most."""

    meta: int  # bytes
    payloads: tuple[int, ...] = ()  # bytes of each; none may be missing at the front


SMALL_TALK = Limits(64 << 10)
"""Most kinds: a few fields, none of them longer than a reason in words."""

LIMITS: Mapping[Kind, Limits] = {
    **dict.fromkeys(Kind, SMALL_TALK),
    Kind.FRAME: Limits(64 << 10, (3 * MAX_IMAGE_SIDE**2, 2 * MAX_IMAGE_SIDE**2, MAX_VIEW_BYTES)),
    Kind.ALERT: Limits(MAX_META_BYTES, (MAX_PART_BYTES, MAX_PART_BYTES, MAX_PART_BYTES)),
    Kind.LIVE: Limits(64 << 10, (MAX_VIEW_BYTES, MAX_HEAT_BYTES)),
    Kind.STATUS: Limits(MAX_DOCUMENT_BYTES),  # of a cluster, too: thousands of cameras, one or two kilobytes each
    Kind.OUTBOXES: Limits(MAX_META_BYTES),  # some thousands, about 300 bytes each
    Kind.CLUSTER: Limits(64 << 10, (MAX_DOCUMENT_BYTES,)),  # a payload: only who asked for it reads the JSON
}


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """A decoded message."""

    kind: Kind
    meta: Mapping[str, Any]
    payloads: tuple[memoryview, ...]


def encode(kind: Kind, meta: Mapping[str, Any], payloads: Sequence[Buffer] = ()) -> list[Buffer]:
    """Message parts for ``send_multipart``. Payloads are not copied.

    Raises:
        WireError: it is longer than the other side would take.
    """
    data = json.dumps(meta, separators=(",", ":"), allow_nan=False).encode()
    _check_lengths(kind, len(data), len(data), [memoryview(payload) for payload in payloads])
    head = _HEADER.pack(MAGIC, VERSION, kind, len(payloads), len(data), 0)[:_CHECKED]
    return [head + _crc(head, [data, *payloads]).to_bytes(4), data, *payloads]


def decode(parts: Sequence[Buffer]) -> Envelope:
    """The message that these parts are. Payloads are views, not copies.

    Raises:
        WireError: magic, version, kind, part count, length, checksum or JSON is wrong.
    """
    if len(parts) < 2:
        raise WireError(f"message has {len(parts)} part(s); at least 2 are needed")
    if len(parts[0]) != _HEADER.size:
        raise WireError(f"header has {len(parts[0])} bytes, not {_HEADER.size}")
    magic, version, kind, count, meta_length, crc = _HEADER.unpack(parts[0])
    if magic != MAGIC:
        raise WireError("not a spade-stream message (wrong magic)")
    if version != VERSION:
        raise WireError(f"wire version is {version}; this program speaks {VERSION}: upgrade the older side")
    if kind not in Kind._value2member_map_:
        raise WireError(f"unknown message kind {kind}")
    payloads = tuple(memoryview(part) for part in parts[2:])
    if count > MAX_PAYLOADS or len(payloads) != count:
        raise WireError(f"message has {len(payloads)} payload part(s), its header says {count}")
    _check_lengths(Kind(kind), len(parts[1]), meta_length, payloads)
    if _crc(parts[0], parts[1:]) != crc:
        raise WireError("checksum does not match: the message was damaged on its way")
    try:
        return Envelope(Kind(kind), read_object(bytes(parts[1])), payloads)
    except ValueError as error:
        raise WireError(f"meta is not JSON of ours: {error}") from None


def claimed_kind(parts: Sequence[Buffer]) -> Kind | None:
    """What kind a message that :func:`decode` refused says it is, if it says so. Nothing of it is certain."""
    code = parts[0][5] if parts and len(parts[0]) == _HEADER.size else -1
    return Kind(code) if code in Kind._value2member_map_ else None


def _check_lengths(kind: Kind, meta: int, announced: int, payloads: Sequence[memoryview]) -> None:
    """Before the checksum and the JSON are worked on, which takes as long as the message is."""
    limits = LIMITS[kind]
    if meta != announced or meta > limits.meta:
        raise WireError(f"meta has {meta} bytes, its header says {announced} ({kind.name}: at most {limits.meta})")
    if len(payloads) > len(limits.payloads):
        raise WireError(f"{kind.name} has {len(payloads)} payload part(s), at most {len(limits.payloads)} belong there")
    for place, (payload, most) in enumerate(zip(payloads, limits.payloads, strict=False), start=1):
        if payload.nbytes > most:
            raise WireError(f"payload {place} of {kind.name} has {payload.nbytes} bytes, at most {most} belong there")


def encode_frame(packet: FramePacket) -> list[Buffer]:
    """A FRAME message: payloads are scoring image, motion map (empty if none) and JPEG view.

    Raises:
        WireError: a value is out of its bounds, so that the worker would refuse the frame.
    """
    image = np.ascontiguousarray(packet.image)
    motion = b"" if packet.motion is None else np.ascontiguousarray(packet.motion)
    meta = {
        "camera": packet.camera,
        "seq": packet.seq,
        "frame_time": packet.frame_time,
        "media_time": packet.media_time,
        "captured_mono": packet.captured_mono,
        "segment": packet.segment,
        "source_size": list(packet.source_size),
        "image": list(image.shape),
        "motion": None if packet.motion is None else list(packet.motion.shape),
        "drops": dict(packet.drops),
    }
    try:
        _described(meta)
    except (ValueError, OverflowError, OSError) as error:
        raise WireError(f"frame {packet.seq} of camera {packet.camera!r} cannot be sent: {error}") from None
    return encode(Kind.FRAME, meta, [_bytes_of(image), _bytes_of(motion), packet.view])


def decode_frame(envelope: Envelope) -> FramePacket:
    """Inverse of :func:`encode_frame`. Arrays are read-only views of the message.

    Raises:
        WireError: a field is missing, or a payload does not have the size that its shape needs.
    """
    meta, payloads = envelope.meta, envelope.payloads
    if envelope.kind is not Kind.FRAME or len(payloads) != 3:
        raise WireError(f"expected a FRAME with 3 payloads, got {envelope.kind.name} with {len(payloads)}")
    try:
        return FramePacket(
            **_described(meta),
            image=_array(payloads[0], meta["image"], np.dtype(np.uint8), channels=3),
            motion=_motion(payloads[1], meta["motion"]),
            view=bytes(payloads[2]),
        )
    except (KeyError, ValueError, OverflowError, OSError) as error:
        raise WireError(f"FRAME is not well formed: {type(error).__name__}: {error}") from None


def _described(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What FRAME's meta says of the frame, but for its arrays, checked."""
    return {
        "camera": text(meta, "camera", most=MAX_CAMERA),
        "seq": whole(meta, "seq"),
        "frame_time": _date(meta, "frame_time"),
        "media_time": number(meta, "media_time"),
        "captured_mono": number(meta, "captured_mono"),
        "segment": text(meta, "segment", most=MAX_SEGMENT),
        "source_size": _frame_size(meta["source_size"]),
        "drops": decode_drops(meta["drops"]),
    }


def decode_drops(value: object) -> dict[str, int]:
    """Frames lost so far, by ``stage.reason``. Raises ValueError where it is no such table."""
    drops = as_object(value, "drops")
    if len(drops) > MAX_DROPS:
        raise ValueError(f"drops has {len(drops)} entries; at most {MAX_DROPS} belong there")
    return {text({"reason": key}, "reason", most=64): as_whole(count, "drops") for key, count in drops.items()}


def encode_alert(alert: Alert, evidence: Evidence) -> list[Buffer]:
    """An ALERT message: payloads are mask PNG, snapshot JPEG and, where there is one, the clip's MP4."""
    clip = [evidence.clip_mp4] if evidence.clip_mp4 else []
    return encode(Kind.ALERT, alert.to_json(), [evidence.mask_png, evidence.snapshot_jpeg, *clip])


def decode_alert(envelope: Envelope) -> tuple[Alert, Evidence]:
    """Inverse of :func:`encode_alert`. Raises WireError where it is not well formed."""
    if envelope.kind is not Kind.ALERT or len(envelope.payloads) not in (2, 3):
        count = len(envelope.payloads)
        raise WireError(f"expected an ALERT with 2 or 3 payloads, got {envelope.kind.name} with {count}")
    try:
        alert = Alert.from_json(envelope.meta)
    except ValueError as error:
        raise WireError(str(error)) from None
    return alert, Evidence(*(bytes(payload) for payload in envelope.payloads))


def _date(meta: Mapping[str, Any], name: str) -> float:
    seconds = number(meta, name)
    for day in (-86_400.0, 86_400.0):
        iso_time(seconds + day)  # raises for what is no date in some time zone, before the worker does
    return seconds


def _frame_size(value: object) -> tuple[int, int]:
    width, height = (
        as_whole(side, "source_size", least=1, most=MAX_FRAME_SIDE)
        for side in as_list(value, "source_size", least=2, most=2)
    )
    if width * height > MAX_FRAME_PIXELS:  # masks and decoded views are made of this size
        raise ValueError(f"source_size is {width} x {height}; at most {MAX_FRAME_PIXELS} pixels belong there")
    return width, height


def _motion(data: memoryview, shape: object) -> NDArray[np.float16] | None:
    if shape is None:
        if len(data):
            raise ValueError(f"motion is null, and its payload has {len(data)} bytes")
        return None
    return _array(data, shape, np.dtype("<f2"))


def _crc(head: Buffer, parts: Sequence[Buffer]) -> int:
    crc = zlib.crc32(memoryview(head)[:_CHECKED])
    for part in parts:
        crc = zlib.crc32(part, zlib.crc32(memoryview(part).nbytes.to_bytes(4), crc))
    return crc


def _bytes_of(array: NDArray[Any] | bytes) -> Buffer:
    return array if isinstance(array, bytes) else array.data.cast("B")


def _array(data: memoryview, shape: object, dtype: np.dtype[Any], channels: int | None = None) -> NDArray[Any]:
    belongs = "(h, w)" if channels is None else f"(h, w, {channels})"
    sides = [as_whole(side, "shape", least=1, most=MAX_IMAGE_SIDE) for side in as_list(shape, "shape", most=3)]
    if len(sides) != (2 if channels is None else 3) or (channels is not None and sides[2] != channels):
        raise ValueError(f"array of shape {tuple(sides)} where {belongs} belongs")
    needed = math.prod(sides) * dtype.itemsize
    if data.nbytes != needed:
        raise ValueError(f"array of shape {tuple(sides)} needs {needed} bytes, got {data.nbytes}")
    return np.frombuffer(data, dtype=dtype).reshape(sides)
