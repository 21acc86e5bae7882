"""The values that travel between the hops, frozen. Anybody may import this module.

Times: ``*_time`` is Unix time in seconds (for people and for other programs); ``*_mono`` is ``time.monotonic()`` of
the machine that took it (for intervals, on that machine only). ``media_time`` is seconds since the source's first
frame, by the source's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.fields import as_list, as_object, as_whole, brief, listed, number, text, text_or_none, whole

ALERT_SCHEMA = "spade-stream/alert/1"
"""Name and version of the alert JSON. The number grows when a field changes its meaning or disappears."""

MAX_FRAME_SIDE = 16_384
"""Pixels a side of a native frame: more than any camera gives, and what a decoder allocates stays bounded."""

MAX_FRAME_PIXELS = 1 << 27
"""Pixels of a native frame, 134 million: 400 MB decoded, the most that one picture may cost."""

MAX_CAMERA = 64
"""Characters of a camera's id."""

MAX_SEGMENT = 1024
"""Characters of a clip's name: four times what a file system allows."""

MAX_TEXT = 4096
"""Characters of any text in an alert: the longest path."""

# The JSON of an alert is at most 1 MiB. What fits into it is within these, so that none that was committed is refused.

MAX_REGIONS = 1 << 16
"""Regions of an alert."""

MAX_POINTS = 1 << 18
"""Points of a polygon."""

MAX_NEIGHBOURS = 1 << 15
"""Normal frames that an alert is compared with."""

MAX_CHANNELS = 16
"""Channels that an alert's strength is made of."""

MAX_OUTBOX = 128
"""Characters of an outbox's id."""

_FAR = 2**31 - 1  # no pixel of a frame lies farther off

EVENT_SCHEMA = "spade-stream/camera-event/1"
"""The same for the event that a camera changed its state."""


class Mode(StrEnum):
    """What gives way when frames come faster than they are scored."""

    LIVE = "live"  # newest wins: a waiting frame is overwritten by a newer one, and the loss is counted
    REPLAY = "replay"  # lossless: the source waits


class Phase(StrEnum):
    """Where in its life an alert is."""

    START = "start"
    UPDATE = "update"
    END = "end"


class CameraState(StrEnum):
    """What a camera is doing. Every state but LIVE and ENDED means that nobody is watching that place."""

    CONNECTING = "CONNECTING"  # the source is being opened for the first time or again
    LIVE = "LIVE"  # frames arrive and are scored
    STALLED = "STALLED"  # the source is open, but gives no frames
    OFFLINE = "OFFLINE"  # the source cannot be opened; it is tried again
    AUTH_FAILED = "AUTH_FAILED"  # the camera refuses the credentials; it is tried again, slowly
    CORRUPT = "CORRUPT"  # what the source gives cannot be decoded
    FROZEN = "FROZEN"  # the camera sends the same picture over and over
    OBSCURED = "OBSCURED"  # the lens is covered or the picture black: there is nothing to see in it
    MOVED = "MOVED"  # the camera shows another view than the one that was enrolled; its scores mean nothing
    NOT_SCORED = "NOT_SCORED"  # frames arrive, but there is no usable gallery or inference fails
    NO_READER = "NO_READER"  # the camera's reader process does not report
    ENDED = "ENDED"  # a finite source was read to its end


@dataclass(frozen=True, slots=True, eq=False)
class FramePacket:
    """One frame on its way from a reader to the worker."""

    camera: str
    seq: int  # index of the frame in the source, counted over every native frame, from 0 (not over scored ones)
    frame_time: float  # Unix seconds: when the scene looked like this (source clock mapped to wall clock)
    media_time: float  # seconds since the source's first frame
    captured_mono: float  # time.monotonic() in the reader when the frame was decoded
    segment: str  # name of the clip, for sources made of several clips; else ""
    source_size: tuple[int, int]  # (width, height) of the native frame in pixels
    image: NDArray[np.uint8]  # (S, S, 3) RGB: the scoring image
    motion: NDArray[np.float16] | None  # (h, w) motion map in pixels per frame, where the method uses one
    view: bytes  # JPEG of the native frame, for evidence
    drops: Mapping[str, int] = field(default_factory=dict)  # frames not sent so far, by "stage.reason"


@dataclass(frozen=True, slots=True)
class Region:
    """One connected anomalous region, in pixels of the source frame."""

    bbox: tuple[int, int, int, int]  # x, y, width, height
    polygon: tuple[tuple[int, int], ...]  # outer contour, (x, y) each
    area: int  # pixels
    peak: float  # highest pixel score inside, same unit as Alert.score


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One of the K most similar normal frames: what the alerting frame was compared with."""

    index: int  # position in the gallery
    distance: float  # mean squared L2 distance of pooled features (eq. 2, one summand)
    source: str  # which clip or camera it was enrolled from
    media_time: float  # seconds since that source's first frame


@dataclass(frozen=True, slots=True)
class Alert:
    """One phase of one alert, as committed to the outbox and published on the feed.

    ``mask``, ``snapshot`` and ``clip`` are file names relative to the evidence folder of whoever holds the alert
    (outbox or sink), or None where there is none. ``view`` and ``frame`` are the same, but stay in the outbox.
    """

    seq: int  # position in the outbox, from 1, without holes; 0 = not committed yet
    alert_id: str
    phase: Phase
    camera: str
    scene: str
    started_at: float  # Unix seconds: the first frame of the excursion that became this alert
    frame_time: float  # Unix seconds of the frame that this message shows
    frame_seq: int  # FramePacket.seq of that frame
    score: float  # that frame's score: the highest pixel score (eq. 3, smoothed)
    threshold: float  # the scene's threshold; an alert starts above it
    regions: tuple[Region, ...]
    neighbours: tuple[Neighbour, ...]
    segment: str = ""  # clip name for sources made of several clips
    ended_at: float | None = None  # Unix seconds of the last anomalous frame; only at the end
    mask: str | None = None  # PNG, source-frame size, 255 = anomalous
    snapshot: str | None = None  # JPEG of the frame with the region drawn in
    clip: str | None = None  # short MP4 of what led to the alert and of the event; only at the end
    view: str | None = None  # JPEG of the frame with nothing drawn in; only in the outbox
    frame: str | None = None  # what was scored, see ``stream.kept_frame``; only in the outbox
    why: Mapping[str, float] = field(default_factory=dict, hash=False)  # strength of each channel at the peak, in
    # thresholds; empty where it is not known
    outbox: str = ""  # id of the outbox that a machine of a cluster first committed it in; "" = the one it is in

    def to_json(self) -> dict[str, Any]:
        """The published form (schema ``spade-stream/alert/1``); times become ISO 8601 in UTC with milliseconds."""
        return {
            "schema": ALERT_SCHEMA,
            "seq": self.seq,
            "alert_id": self.alert_id,
            "phase": str(self.phase),
            "camera": self.camera,
            "scene": self.scene,
            "segment": self.segment,
            "started_at": iso_time(self.started_at),
            "ended_at": None if self.ended_at is None else iso_time(self.ended_at),
            "frame_time": iso_time(self.frame_time),
            "frame_seq": self.frame_seq,
            "score": self.score,
            "threshold": self.threshold,
            "regions": [
                {"bbox": list(r.bbox), "polygon": [list(p) for p in r.polygon], "area": r.area, "peak": r.peak}
                for r in self.regions
            ],
            "mask": self.mask,
            "snapshot": self.snapshot,
            "clip": self.clip,
            "neighbours": [
                {"index": n.index, "distance": n.distance, "source": n.source, "media_time": n.media_time}
                for n in self.neighbours
            ],
        } | self._optional_json()

    def _optional_json(self) -> dict[str, Any]:
        """What is left out where there is nothing: ``view`` and ``frame`` are for the outbox alone."""
        optional = {
            "view": self.view,
            "frame": self.frame,
            "why": dict(self.why) or None,
            "outbox": self.outbox or None,
        }
        return {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Alert:
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError: the schema is not ours, or a field is missing or has the wrong form. Unknown fields are allowed.
        """
        if data.get("schema") != ALERT_SCHEMA:
            raise ValueError(f"alert schema is {brief(data.get('schema'))}; this version reads {ALERT_SCHEMA!r}")
        try:
            return cls(
                seq=whole(data, "seq"),
                alert_id=text(data, "alert_id", most=MAX_TEXT),
                phase=Phase(data["phase"]),
                camera=text(data, "camera", most=MAX_TEXT),
                scene=text(data, "scene", most=MAX_TEXT),
                segment=text_or_none(data, "segment", most=MAX_TEXT) or "",
                started_at=_time(data["started_at"]),
                ended_at=None if data.get("ended_at") is None else _time(data["ended_at"]),
                frame_time=_time(data["frame_time"]),
                frame_seq=whole(data, "frame_seq"),
                score=number(data, "score"),
                threshold=number(data, "threshold"),
                regions=tuple(map(_region, listed(data, "regions", most=MAX_REGIONS))),
                neighbours=tuple(map(_neighbour, listed(data, "neighbours", most=MAX_NEIGHBOURS))),
                mask=text_or_none(data, "mask", most=MAX_TEXT),
                snapshot=text_or_none(data, "snapshot", most=MAX_TEXT),
                clip=text_or_none(data, "clip", most=MAX_TEXT),
                view=text_or_none(data, "view", most=MAX_TEXT),
                frame=text_or_none(data, "frame", most=MAX_TEXT),
                why=_channels(data.get("why")),
                outbox=text_or_none(data, "outbox", most=MAX_OUTBOX) or "",
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
            raise ValueError(f"alert is not well formed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The pictures of one alert message."""

    mask_png: bytes  # source-frame size, one channel, 255 = anomalous
    snapshot_jpeg: bytes  # the frame with the region drawn in
    clip_mp4: bytes = b""  # the views before and during the event, at its end; empty = there is none
    view_jpeg: bytes = b""  # the frame with nothing drawn in; does not travel
    frame_npz: bytes = b""  # what was scored, from :func:`stream.kept_frame.encode_kept`; does not travel


@dataclass(frozen=True, slots=True)
class StateEvent:
    """A camera changed its state, with the reason in words."""

    camera: str
    state: CameraState
    reason: str
    at_time: float  # Unix seconds
    id: int = 0  # place among the recorded events, from 1; 0 = not recorded

    def to_json(self) -> dict[str, Any]:
        """The published form (schema ``spade-stream/camera-event/1``); the time is ISO 8601 in UTC."""
        return {
            "schema": EVENT_SCHEMA,
            "id": self.id,
            "camera": self.camera,
            "state": str(self.state),
            "reason": self.reason,
            "at_time": iso_time(self.at_time),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StateEvent:
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError: the schema is not ours, or a field is missing or has the wrong form. Unknown fields are allowed.
        """
        if data.get("schema") != EVENT_SCHEMA:
            raise ValueError(f"camera event schema is {brief(data.get('schema'))}; this version reads {EVENT_SCHEMA!r}")
        try:
            return cls(
                camera=text(data, "camera", most=MAX_TEXT),
                state=CameraState(data["state"]),
                reason=text(data, "reason", most=MAX_TEXT),
                at_time=_time(data["at_time"]),
                id=whole(data, "id"),
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
            raise ValueError(f"camera event is not well formed: {type(error).__name__}: {error}") from error


def _channels(value: object) -> dict[str, float]:
    channels = {} if value is None else as_object(value, "why")
    if len(channels) > MAX_CHANNELS:
        raise ValueError(f"why has {len(channels)} channels; at most {MAX_CHANNELS} belong there")
    return {text({"channel": name}, "channel", most=64): number(channels, name) for name in channels}


def _region(value: object) -> Region:
    fields = as_object(value, "region")
    x, y, width, height = (
        as_whole(side, "bbox", least=-_FAR, most=_FAR) for side in as_list(fields["bbox"], "bbox", least=4, most=4)
    )
    points = (as_list(point, "polygon", least=2, most=2) for point in listed(fields, "polygon", most=MAX_POINTS))
    return Region(
        bbox=(x, y, width, height),
        polygon=tuple(
            (as_whole(px, "polygon", least=-_FAR, most=_FAR), as_whole(py, "polygon", least=-_FAR, most=_FAR))
            for px, py in points
        ),
        area=whole(fields, "area"),
        peak=number(fields, "peak"),
    )


def _neighbour(value: object) -> Neighbour:
    fields = as_object(value, "neighbour")
    return Neighbour(
        index=whole(fields, "index"),
        distance=number(fields, "distance"),
        source=text(fields, "source", most=MAX_TEXT),
        media_time=number(fields, "media_time"),
    )


def _time(value: object) -> float:
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError(f"{brief(value)} is no ISO 8601 time")
    time = unix_time(value)
    iso_time(time)  # raises for what a time zone moves out of the calendar, before whoever prints it does
    return time


def iso_time(unix: float) -> str:
    """Unix seconds as ISO 8601 in UTC, milliseconds, ``Z``."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_time(iso: str) -> float:
    """Inverse of :func:`iso_time`. Raises ValueError where the text is no ISO 8601 time."""
    return datetime.fromisoformat(iso).timestamp()
