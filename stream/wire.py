"""The wire format, as pure functions: values to message parts and back. Sockets never appear here.

Every message of the link and of the feed is one ZeroMQ multipart message::

    part 0   16 bytes, network order: magic "SPDS", version u8, kind u8, payload count u16, meta length u32, CRC-32 u32
    part 1   meta: JSON object, UTF-8
    part 2.. payloads: raw bytes, as many as part 0 says

The CRC covers all parts after part 0 in order (JPEG data decodes "successfully" with flipped bytes). Nothing is
pickled. Used by ``link`` and ``feed``; a client in another language needs only this page.
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
from stream.messages import Alert, Evidence, FramePacket, iso_time

Buffer = bytes | bytearray | memoryview

MAGIC = b"SPDS"
VERSION = 1
_HEADER = struct.Struct("!4sBBHII")

MAX_META_BYTES = 1 << 20  # an alert with hundreds of polygons is about 100 KB
MAX_PART_BYTES = 64 << 20  # set as MAXMSGSIZE on every socket; a 4K raw frame is 25 MB
MAX_PAYLOADS = 4  # more parts than any kind has
MAX_IMAGE_SIDE = 2048  # scoring images are a few hundred pixels wide


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


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """A decoded message."""

    kind: Kind
    meta: Mapping[str, Any]
    payloads: tuple[memoryview, ...]


def encode(kind: Kind, meta: Mapping[str, Any], payloads: Sequence[Buffer] = ()) -> list[Buffer]:
    """Message parts for ``send_multipart``. Payloads are not copied."""
    text = json.dumps(meta, separators=(",", ":"), allow_nan=False).encode()
    return [_HEADER.pack(MAGIC, VERSION, kind, len(payloads), len(text), _crc(text, payloads)), text, *payloads]


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
    if count > MAX_PAYLOADS or len(parts) != 2 + count:
        raise WireError(f"message has {len(parts) - 2} payload part(s), its header says {count}")
    if meta_length != len(parts[1]) or meta_length > MAX_META_BYTES:
        raise WireError(f"meta has {len(parts[1])} bytes, its header says {meta_length} (at most {MAX_META_BYTES})")
    payloads = tuple(memoryview(part) for part in parts[2:])
    if any(len(p) > MAX_PART_BYTES for p in payloads):
        raise WireError(f"a payload part is longer than {MAX_PART_BYTES} bytes")
    if _crc(parts[1], payloads) != crc:
        raise WireError("checksum does not match: the message was damaged on its way")
    try:
        meta = json.loads(bytes(parts[1]))
    except (ValueError, RecursionError) as error:
        raise WireError(f"meta is not JSON: {error}") from None
    if not isinstance(meta, dict):
        raise WireError(f"meta is a JSON {type(meta).__name__}, not an object")
    return Envelope(Kind(kind), meta, payloads)


def encode_frame(packet: FramePacket) -> list[Buffer]:
    """A FRAME message: payloads are scoring image, motion map (empty if none) and JPEG view."""
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
        width, height = (int(v) for v in meta["source_size"])
        motion_shape = meta["motion"]
        return FramePacket(
            camera=str(meta["camera"]),
            seq=int(meta["seq"]),
            frame_time=_date(meta["frame_time"]),
            media_time=_finite(meta["media_time"]),
            captured_mono=_finite(meta["captured_mono"]),
            segment=str(meta["segment"]),
            source_size=(width, height),
            image=_array(payloads[0], meta["image"], np.dtype(np.uint8), channels=3),
            motion=None if motion_shape is None else _array(payloads[1], motion_shape, np.dtype(np.float16)),
            view=bytes(payloads[2]),
            drops={str(k): int(v) for k, v in meta["drops"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise WireError(f"FRAME is not well formed: {type(error).__name__}: {error}") from None


def encode_alert(alert: Alert, evidence: Evidence) -> list[Buffer]:
    """An ALERT message: payloads are mask PNG and snapshot JPEG."""
    return encode(Kind.ALERT, alert.to_json(), [evidence.mask_png, evidence.snapshot_jpeg])


def decode_alert(envelope: Envelope) -> tuple[Alert, Evidence]:
    """Inverse of :func:`encode_alert`. Raises WireError where it is not well formed."""
    if envelope.kind is not Kind.ALERT or len(envelope.payloads) != 2:
        raise WireError(f"expected an ALERT with 2 payloads, got {envelope.kind.name} with {len(envelope.payloads)}")
    try:
        alert = Alert.from_json(envelope.meta)
    except ValueError as error:
        raise WireError(str(error)) from None
    return alert, Evidence(bytes(envelope.payloads[0]), bytes(envelope.payloads[1]))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} where a finite number belongs")
    return number


def _date(value: Any) -> float:
    number = float(value)
    iso_time(number)  # raises for what is no date (NaN, the year 10,000), before somebody deep in the worker does
    return number


def _crc(meta: Buffer, payloads: Sequence[Buffer]) -> int:
    crc = zlib.crc32(meta)
    for payload in payloads:
        crc = zlib.crc32(payload, crc)
    return crc


def _bytes_of(array: NDArray[Any] | bytes) -> Buffer:
    return array if isinstance(array, bytes) else array.data.cast("B")


def _array(data: memoryview, shape: Sequence[int], dtype: np.dtype[Any], channels: int | None = None) -> NDArray[Any]:
    sides = tuple(int(v) for v in shape)
    if len(sides) != (2 if channels is None else 3) or (channels is not None and sides[2] != channels):
        raise WireError(
            f"array of shape {sides} where {'(h, w)' if channels is None else f'(h, w, {channels})'} belongs"
        )
    if not all(0 < side <= MAX_IMAGE_SIDE for side in sides[:2]):
        raise WireError(f"array of shape {sides}: sides must be 1..{MAX_IMAGE_SIDE}")
    if len(data) != int(np.prod(sides)) * dtype.itemsize:
        raise WireError(f"array of shape {sides} needs {int(np.prod(sides)) * dtype.itemsize} bytes, got {len(data)}")
    return np.frombuffer(data, dtype=dtype).reshape(sides)
