"""Clips of alerts: the views before and during the event, as an MP4 that goes out with the alert's end.

Scoring comes first: frames are only handed over here, one thread of low priority encodes them, and an alert waits for
its clip for a bounded time. Nothing is raised: an alert without its clip is better than none. What is missing is
logged and counted. Used by ``alerting``; put together in ``programs``.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from stream.clip_thread import Clip, ClipThread
from stream.clip_video import BEST_CODEC, ClipVideo, View, available_codec
from stream.messages import FramePacket

log = logging.getLogger(__name__)

MAX_RING_BYTES = 32 << 20
"""Most bytes of recent views that are kept of a camera: 80 views of 1080p, which are 16 s at 5 a second."""

LIVE_WAIT_S = 0.4
"""Longest time that all alerts together may wait for their clips at a stretch: scoring stands still meanwhile, and a
camera of 5 frames a second loses one for every 0.2 s. The end of a clip that was encoded as it went takes 0.1 s."""

LOSSLESS_WAIT_S = 60.0
"""The same for one alert of a recording, which waits for whatever takes its time."""

_WAIT_PART = 0.05  # of the time that goes by may be spent waiting, where alerts end one after another


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """What clips show."""

    seconds: float  # s of an alert, from its first frame on; what comes later is not in the clip. 0: no clips
    pre_roll: float  # s before that
    height: int  # pixels at most, even
    confirm: float = 0.0  # s that an alert's start message comes after its first frame, at most


class ViewRing:
    """The newest views of one camera: of the last ``seconds``, and at most ``max_bytes`` of them."""

    def __init__(self, seconds: float, *, max_bytes: int = MAX_RING_BYTES) -> None:
        self._seconds, self._max_bytes = seconds, max_bytes
        self._views: deque[View] = deque()
        self._bytes = 0

    def add(self, view: View) -> None:
        """Keeps a view; older ones give way. Where time runs backwards, what is there belongs to another time."""
        if self._views and view.time < self._views[-1].time:
            self.clear()
        self._views.append(view)
        self._bytes += len(view.jpeg)
        while self._views and (self._views[0].time < view.time - self._seconds or self._bytes > self._max_bytes):
            self._bytes -= len(self._views.popleft().jpeg)

    def since(self, time: float) -> list[View]:
        """The views from ``time`` (Unix seconds) on, oldest first."""
        return [view for view in self._views if view.time >= time]

    def clear(self) -> None:
        """Forgets everything."""
        self._views.clear()
        self._bytes = 0


class Clips:
    """The clips of a worker: one encoding thread, and a :class:`CameraClips` for each camera.

    Args:
        settings: of every clip.
        clock: monotonic seconds.
    """

    def __init__(self, settings: ClipSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        codec = available_codec()
        if codec != BEST_CODEC and settings.seconds > 0:
            log.warning("this FFmpeg has no %s: clips are made with %s, which browsers do not play", BEST_CODEC, codec)
        self._settings = settings
        self._thread = ClipThread(lambda: ClipVideo(height=settings.height, codec=codec))
        self._patience = _Patience(clock)

    def camera(self, camera: str, *, lossless: bool) -> CameraClips | None:
        """The recorder of one camera; None where there are to be no clips.

        Args:
            camera: id.
            lossless: no view may be left out, as of a recording: the caller waits instead.
        """
        if self._settings.seconds <= 0:
            return None
        return CameraClips(camera, self._settings, self._thread, None if lossless else self._patience)

    def counts(self) -> Mapping[str, int]:
        """``made`` and ``failed`` clips, ``views_dropped`` and ``views_broken`` of them, so far."""
        return self._thread.counts()

    def close(self) -> None:
        """Ends the thread; clips that are not finished are given up. May be called twice."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Patience:
    """How long alerts may still wait for their clips: spent by waiting, won back with time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._at, self._left = clock, clock(), LIVE_WAIT_S

    def share(self) -> float:
        """Seconds for the next one: half of what is left, as alerts often end together."""
        now = self._clock()
        self._left = min(LIVE_WAIT_S, self._left + _WAIT_PART * (now - self._at))
        self._at = now
        return max(0.0, self._left / 2)

    def waited(self) -> None:
        """Somebody has been waiting since ``share`` was asked."""
        now = self._clock()
        self._left -= now - self._at
        self._at = now


class CameraClips:
    """Records one camera: keeps its newest views, and hands them on while an alert is open. One thread uses it.

    Made by :meth:`Clips.camera`.
    """

    def __init__(self, camera: str, settings: ClipSettings, thread: ClipThread, patience: _Patience | None) -> None:
        self._camera, self._settings, self._thread, self._patience = camera, settings, thread, patience
        self._ring = ViewRing(settings.pre_roll + settings.confirm)
        self._segment: str | None = None
        self._clip: Clip | None = None
        self._alert_id = ""
        self._until = 0.0  # Unix seconds: what is later is not in the clip

    def see(self, packet: FramePacket) -> None:
        """Takes the next frame, scored or not."""
        if packet.segment != self._segment:  # the next recording shows another time
            self._ring.clear()
            self._segment = packet.segment
        view = View(packet.view, packet.source_size, packet.frame_time)
        self._ring.add(view)
        if self._clip is None:
            return
        if view.time > self._until:
            self._thread.end(self._clip)
        else:
            self._hand_on(self._clip, view)

    def begin(self, alert_id: str, started_at: float) -> None:
        """An alert starts: its clip begins with what the ring holds of it and of the time before.

        Args:
            alert_id: for the log.
            started_at: Unix seconds of the alert's first frame.
        """
        self.abandon()
        self._clip, self._alert_id = self._thread.begin(), alert_id
        views = self._ring.since(started_at - self._settings.pre_roll)
        # An excursion that was held by the cooldown or the rate cap may have begun long before what the ring has.
        self._until = max([started_at, *(view.time for view in views[:1])]) + self._settings.seconds
        for view in views:
            if view.time <= self._until:
                self._hand_on(self._clip, view)

    def finish(self, timeout: float | None = None) -> bytes:
        """The alert has ended: its clip, or nothing where there is none; the log says why.

        Args:
            timeout: s to wait for the encoder at most; None: what is proper for the camera.
        """
        clip, self._clip = self._clip, None
        if clip is None:
            return b""
        proper = LOSSLESS_WAIT_S if self._patience is None else self._patience.share()
        self._thread.finish(clip, timeout=proper if timeout is None else timeout)
        if self._patience is not None:
            self._patience.waited()
        if not clip.data:
            log.warning(
                "camera %s, alert %s: it goes out without a clip: %s", self._camera, self._alert_id, clip.problem
            )
        elif clip.left_out:
            total = clip.left_out + clip.encoded
            log.warning(
                "camera %s, alert %s: its clip lacks %d of %d views", self._camera, self._alert_id, clip.left_out, total
            )
        return clip.data

    def abandon(self) -> None:
        """Gives up the clip in the making, if there is one: nobody will ask for it."""
        if self._clip is not None:
            self._thread.drop(self._clip)
            self._clip = None

    def _hand_on(self, clip: Clip, view: View) -> None:
        self._thread.add(clip, view, timeout=LOSSLESS_WAIT_S if self._patience is None else 0.0)
