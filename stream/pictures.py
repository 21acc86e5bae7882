"""JPEG pictures that another process made, decoded only after their header was found to be what was promised.

A decoder takes the memory that a picture's header asks for: 109 KB of PNG became 2.7 GB. So format and dimensions are
read from the first bytes here, and nothing is decoded before they fit. Used wherever a reader's view becomes pixels.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.messages import MAX_FRAME_PIXELS, MAX_FRAME_SIDE

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SEQUENTIAL = (0xC0, 0xC1)  # frame headers of baseline and extended sequential JPEG
_OTHER_FRAMES = (*range(0xC2, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_NO_SEGMENT = (0x00, 0x01, *range(0xD0, 0xDB))  # end, start of scan, restart: no frame header comes any more
_FRAME_HEADER = struct.Struct("!BHHB")  # bits a sample, height, width, components
_TRAILER = 64  # bytes: some encoders pad after the end marker

# As it was encoded: a picture that says that it lies on its side would else come out with its sides exchanged.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def decode_jpeg(data: bytes, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture, (height, width, 3) uint8 BGR.

    Args:
        data: a sequential JPEG (what every encoder writes unless told otherwise), whole.
        size: (width, height) in pixels that it must have; what decoding may cost follows from it.

    Raises:
        ValueError: it is no such JPEG, its header has another size, it is cut off, or it cannot be decoded.
    """
    found = jpeg_size(data)
    if found != size:
        raise ValueError(f"the JPEG is {found[0]} x {found[1]} pixels where {size[0]} x {size[1]} belong")
    if _END not in data[-_TRAILER:]:  # a decoder would fill the rest with gray and report success
        raise ValueError(f"the JPEG of {len(data)} bytes is cut off: it has no end marker")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error as error:
        raise ValueError(f"the JPEG of {len(data)} bytes cannot be decoded: {error.err}") from None
    if picture is None or picture.shape != (size[1], size[0], 3):
        raise ValueError(f"the JPEG of {len(data)} bytes cannot be decoded: what comes after its header is damaged")
    return np.asarray(picture, np.uint8)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels as the frame header says it; reads no pixel.

    Raises:
        ValueError: not a sequential JPEG of 8 bits, or larger than a frame may be.
    """
    bits, height, width, components = _FRAME_HEADER.unpack(_frame_header(data))
    if bits != 8 or components not in (1, 3):
        raise ValueError(f"the JPEG has {components} components of {bits} bits; 1 or 3 of 8 bits are read")
    # Height 0 means "told after the first scan"; the decoder does not read that either.
    if not (0 < width <= MAX_FRAME_SIDE and 0 < height <= MAX_FRAME_SIDE and width * height <= MAX_FRAME_PIXELS):
        raise ValueError(
            f"the JPEG is {width} x {height} pixels; at most {MAX_FRAME_SIDE} a side and {MAX_FRAME_PIXELS} in all "
            "are read"
        )
    return width, height


def _frame_header(data: bytes) -> bytes:
    """The bytes of the frame header: the first segment of its kind, found by the lengths of those before it."""
    if data[:2] != _START:
        raise ValueError(f"not a JPEG: it begins with {data[:4].hex(' ') or 'nothing'}")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _NO_SEGMENT:
            break
        if marker in _OTHER_FRAMES:
            # Of a progressive picture every scan goes over all pixels, and a small file can hold thousands of scans.
            raise ValueError(f"the JPEG is not sequential but progressive or lossless (marker {marker:02x})")
        body, length = at + 4, int.from_bytes(data[at + 2 : at + 4])
        if marker in _SEQUENTIAL and length >= 2 + _FRAME_HEADER.size and body + _FRAME_HEADER.size <= len(data):
            return data[body : body + _FRAME_HEADER.size]
        at += 2 + max(length, 2)
    raise ValueError(f"the JPEG of {len(data)} bytes has no frame header where one belongs (byte {at})")
