"""The scoring input of one frame, kept beside an alert so that it can be scored again. Pure; anybody may import it.

What an operator calls normal must join the gallery exactly as it was scored, and a new gallery can only be judged by
what it makes of the same input. A JPEG is not that: its blocks alone move a score. Nothing is pickled.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream.fields import as_whole, number, read_object, text, whole
from stream.messages import MAX_CAMERA, MAX_TEXT, iso_time

MAX_SIDE: Final = 2048
"""Cells or pixels a side of a kept array: what the link lets through at most, far beyond what is scored."""

MAX_KEPT_BYTES: Final = 32 << 20
"""Bytes of one encoded frame: the largest arrays, if nothing in them could be made smaller."""

_FORMAT: Final = 1  # of the arrays and of their description
_MAX_ABOUT: Final = 16 << 10  # bytes of the description
_HEADER: Final = 1 << 10  # bytes that NumPy puts before an array at most
_NAMES: Final = ("about", "image", "motion")


@dataclass(frozen=True, slots=True, eq=False)
class KeptFrame:
    """One frame as it was scored."""

    camera: str
    scene: str
    frame_seq: int  # FramePacket.seq
    frame_time: float  # Unix seconds
    image: NDArray[np.uint8]  # (S, S, 3) RGB: the scoring image
    motion: NDArray[np.float16] | None  # (h, w) motion map in flow pixels per interval; None = not known


def encode_kept(frame: KeptFrame) -> bytes:
    """The frame as a compressed ``.npz``.

    Raises:
        ValueError: it could not be read again: an array has another shape or type, or a field is out of its bounds.
    """
    about = {
        "format": _FORMAT,
        "camera": frame.camera,
        "scene": frame.scene,
        "frame_seq": frame.frame_seq,
        "frame_time": frame.frame_time,
    }
    arrays: dict[str, Any] = {"image": frame.image}
    if frame.motion is not None:
        arrays["motion"] = frame.motion
    description = json.dumps(about, separators=(",", ":")).encode()
    _checked(_described(description), arrays)
    file = io.BytesIO()
    np.savez_compressed(file, about=np.frombuffer(description, np.uint8), **arrays)
    return file.getvalue()


def decode_kept(data: bytes) -> KeptFrame:
    """Inverse of :func:`encode_kept`. What it allocates is bounded, whatever the bytes are.

    Raises:
        ValueError: it is no such file; says what is wrong with it.
    """
    if len(data) > MAX_KEPT_BYTES:
        raise ValueError(f"kept frame: {len(data)} bytes; at most {MAX_KEPT_BYTES} belong there")
    try:
        arrays = _arrays(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, SyntaxError) as error:
        raise ValueError(f"kept frame: no readable .npz file: {error}") from None
    about = arrays.pop("about")
    if about.dtype != np.uint8 or about.ndim != 1:
        raise ValueError(f"kept frame: its description is {about.dtype} of shape {about.shape}, not bytes")
    return _checked(_described(about.tobytes()), arrays)


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    most = {"about": _MAX_ABOUT, "image": 3 * MAX_SIDE**2, "motion": 2 * MAX_SIDE**2}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = archive.infolist()
        names = [entry.filename.removesuffix(".npy") for entry in found]
        if sorted(names) not in (["about", "image"], list(_NAMES)):
            inside = ", ".join(names)[:200] or "nothing"
            raise ValueError(f"kept frame: holds {inside}; {', '.join(_NAMES)} belong there")
        for name, entry in zip(names, found, strict=True):  # before anything is unpacked
            if entry.file_size > most[name] + _HEADER:
                raise ValueError(f"kept frame: {name} has {entry.file_size} bytes; at most {most[name]} belong there")
        arrays = {}
        for name, entry in zip(names, found, strict=True):
            with archive.open(entry) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        return arrays


def _described(data: bytes) -> dict[str, Any]:
    try:
        about = read_object(data)
        whole(about, "format", least=_FORMAT, most=_FORMAT)
        iso_time(number(about, "frame_time"))  # raises for what is no date
        return {
            "camera": text(about, "camera", most=MAX_CAMERA),
            "scene": text(about, "scene", most=MAX_TEXT),
            "frame_seq": whole(about, "frame_seq"),
            "frame_time": number(about, "frame_time"),
        }
    except (KeyError, ValueError, OverflowError, OSError) as error:
        raise ValueError(f"kept frame: its description is not well formed: {error}") from None


def _checked(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> KeptFrame:
    image, motion = arrays["image"], arrays.get("motion")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3:
        raise ValueError(f"kept frame: its image is {_form(image)}; uint8 (S, S, 3) belongs there")
    as_whole(int(image.shape[0]), "side of the kept image", least=1, most=MAX_SIDE)
    if motion is not None:
        if motion.dtype != np.float16 or motion.ndim != 2 or not all(1 <= side <= MAX_SIDE for side in motion.shape):
            raise ValueError(f"kept frame: its motion is {_form(motion)}; float16 (h, w) belongs there")
        if not np.isfinite(motion).all():
            raise ValueError("kept frame: its motion is not finite everywhere")
    return KeptFrame(**about, image=image, motion=motion)


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
