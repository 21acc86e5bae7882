"""Tells whether a video file was cut short, and how many frames it holds, without decoding it.

A cut file often plays without any error from the decoder: the rest is simply not there. What cannot lie is the
container's own structure, which says how many bytes belong to the file. Used by ``video``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import av.container
import av.video.stream

COUNT_LIMIT_BYTES = 512 << 20
"""Largest file that is read once to count its frames: below a second from a warm disk, about 4 s from a cold one."""

_TRANSPORT_SYNC = 0x47
_TRANSPORT_PACKETS = (188, 192, 204)  # bytes: plain, with time codes (M2TS), with error correction


def missing_bytes(path: Path) -> int:
    """How many bytes at the end of the file are not there, by the file's own structure; 0 = complete or not known.

    Known for AVI, MP4/MOV, Matroska/WebM and MPEG transport streams (unless those end between two packets).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head[:4] == b"RIFF":
            end = _riff_end(file)
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
            end = _boxes_end(file)
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            end = _matroska_end(file)
        else:
            end = _transport_end(file, size)
    return max(0, end - size)


def count_frames(container: av.container.InputContainer, path: Path, *, complete: bool) -> int | None:
    """Exact number of frames that the file holds; None where only reading a very large file would tell.

    The number in the header is not it: an AVI counts time slots there, and a cut file what it once held.

    Args:
        container: the open file; is left at its beginning.
        complete: the file is not cut short, so that what its index lists is there.
    """
    stream = container.streams.video[0]
    if complete and "mp4" in container.format.name and stream.frames == len(stream.index_entries) > 0:
        return sum(not entry.is_discard for entry in stream.index_entries)  # an edit list hides the others
    if path.stat().st_size > COUNT_LIMIT_BYTES:
        return None
    with av.open(f"file:{path}") as copy:
        try:
            packets = judged_packets(copy, complete=complete)
            return sum(packet.size > 0 and not packet.is_discard and not damaged for packet, damaged in packets)
        except av.FFmpegError:
            return None  # decoding will meet the same fault, and report it


def judged_packets(
    container: av.container.InputContainer, *, complete: bool
) -> Iterator[tuple[av.Packet[av.VideoStream], bool]]:
    """The video's packets in their order, each with whether it is damaged; the last is empty and stands for the end.

    Args:
        complete: the file is not cut short.
    """
    packets = container.demux(container.streams.video[0])
    if complete or container.format.name != "mpegts":
        yield from ((packet, packet.is_corrupt) for packet in packets)
        return
    # A transport stream does not say how long a frame is: nobody but us knows that the last one is not whole.
    held: av.Packet[av.VideoStream] | None = None
    for packet in packets:
        if held is not None:
            yield held, held.is_corrupt or not packet.size
        held = packet
    if held is not None:
        yield held, False


def _riff_end(file: BinaryIO) -> int:
    # Large AVI files are several RIFF chunks one after the other.
    position = 0
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or header[:4] != b"RIFF":
            return position
        length = int.from_bytes(header[4:8], "little")
        if length in (0, 0xFFFFFFFF):
            return position  # written to a pipe, or the recorder was killed: no declared end
        position += 8 + length + length % 2


def _boxes_end(file: BinaryIO) -> int:
    position = 0
    while True:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return position + 8 if header else position
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return position  # this box goes to the end of the file, wherever that is
        if length < 8:
            return position  # no box: what follows does not belong to the file
        position += length


def _matroska_end(file: BinaryIO) -> int:
    file.seek(4)
    header_length = _matroska_size(file)
    if header_length is None:
        return 0
    file.seek(header_length, 1)
    if file.read(4) != b"\x18\x53\x80\x67":  # Segment, which holds everything
        return 0
    length = _matroska_size(file)
    return 0 if length is None else file.tell() + length


def _matroska_size(file: BinaryIO) -> int | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + file.read(width - 1), "big")
    return None if value == (1 << 7 * width) - 1 else value  # all ones: a live recording of unknown length


def _transport_end(file: BinaryIO, size: int) -> int:
    for length in _TRANSPORT_PACKETS:
        offset = 4 if length == 192 else 0
        file.seek(0)
        start = file.read(3 * length)
        if len(start) == 3 * length and all(start[offset + n * length] == _TRANSPORT_SYNC for n in range(3)):
            return -(-size // length) * length
    return 0
