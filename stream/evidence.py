"""The files of an alert: how they are called, what they may weigh, and whose a file is. For ``outbox``.

A file is named after what identifies its message, so that committing again after a crash overwrites it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from stream.durable import HASHED, safe_name
from stream.errors import AlertRefused, OutboxError
from stream.messages import Alert, Evidence, iso_time
from stream.wire import MAX_PART_BYTES

PICTURES: Final = (
    ("mask", "mask_png", ".mask.png"),
    ("snapshot", "snapshot_jpeg", ".jpg"),
    ("clip", "clip_mp4", ".mp4"),
    ("view", "view_jpeg", ".view.jpg"),
    ("frame", "frame_npz", ".frame.npz"),
)
"""What an alert has as files: the field of Alert that names one, the field of Evidence that holds it, its suffix."""

LOCAL: Final = ("view", "frame")
"""Those that never leave the outbox's machine: they are for looking again and for scoring again, not for receivers."""


def size_of(evidence: Evidence) -> int:
    """Bytes of all pictures together."""
    return sum(len(getattr(evidence, data)) for _, data, _ in PICTURES)


def without_local(evidence: Evidence) -> Evidence:
    """What receivers get."""
    none: dict[str, Any] = {data: b"" for name, data, _ in PICTURES if name in LOCAL}
    return replace(evidence, **none)


def local_lost(stored: Alert, evidence: Evidence) -> bool:
    """Whether something that only this machine keeps was not stored with a message."""
    return any(getattr(evidence, data) and getattr(stored, name) is None for name, data, _ in PICTURES if name in LOCAL)


def name_pictures(alert: Alert, evidence: Evidence) -> Alert:
    """The alert with the names of its pictures, relative to the evidence folder; an empty picture gets None.

    Raises:
        AlertRefused: a picture is longer than the feed carries, or the alert cannot name a file.
    """
    sizes = {name: len(getattr(evidence, data)) for name, data, _ in PICTURES}
    for name, size in sizes.items():
        if size > MAX_PART_BYTES:
            raise AlertRefused(
                f"alert {alert.alert_id}: its {name} has {size} bytes, the feed carries {MAX_PART_BYTES}: "
                "make smaller pictures"
            )
    try:
        folder = f"{iso_time(alert.frame_time)[:10]}/{safe_name(alert.camera)}"
        stem = f"{folder}/{safe_name(alert.alert_id)}-{alert.phase}-{alert.frame_seq}"
    except (ValueError, OverflowError, OSError) as error:
        raise AlertRefused(
            f"alert {alert.alert_id!r} of {alert.camera!r} at {alert.frame_time!r} cannot name a file: {error}"
        ) from error
    names: dict[str, Any] = {name: stem + suffix if sizes[name] else None for name, _, suffix in PICTURES}
    return replace(alert, **names)


def pictures_of(alert: Alert, evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Name and content of every picture that the alert names."""
    for name, data, _ in PICTURES:
        if (file := getattr(alert, name)) is not None:
            yield file, getattr(evidence, data)


def named_in(document: str) -> list[str]:
    """The files that a stored alert names. Nothing where the document is damaged, or names what lies elsewhere."""
    try:
        names = [json.loads(document).get(name) for name, _, _ in PICTURES]
    except (ValueError, AttributeError):
        return []
    return [name for name in names if isinstance(name, str) and is_inside(name)]


def is_inside(name: str) -> bool:
    """Whether a relative file name stays in the evidence folder."""
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def inside(folder: Path, alert: Alert, name: str) -> Path:
    """Where a picture lies.

    Raises:
        OutboxError: its name leads out of the folder.
    """
    if not is_inside(name):
        raise OutboxError(f"alert {alert.seq}: picture {name!r} lies outside the evidence folder {folder}")
    return folder / name


def owner_of(name: str) -> tuple[str, str, int] | None:
    """(alert_id, phase, frame_seq) of the message whose picture has this name; None where the name does not tell."""
    file = PurePosixPath(name).name
    # The longest: a view's name ends as a snapshot's does.
    suffix = max((suffix for _, _, suffix in PICTURES if file.endswith(suffix)), key=len, default=None)
    parts = file.removesuffix(suffix).rsplit("-", 2) if suffix else []
    if len(parts) != 3 or HASHED in parts[0] or not parts[2].isascii() or not parts[2].isdigit():
        return None
    alert_id = unquote(parts[0])
    return (alert_id, parts[1], int(parts[2])) if safe_name(alert_id) == parts[0] else None
