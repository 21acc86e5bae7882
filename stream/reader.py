"""The reader process of one camera: capture thread -> one-slot mailbox -> link. Imports nothing heavy (no torch)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from spade_core.motion import MEMORY
from spade_core.preprocess import Preprocess, scoring_image
from stream.capture import Capture
from stream.cluster.guide import Guide
from stream.endpoints import Endpoint, SecureSocket
from stream.errors import LinkLost, SourceStalled
from stream.link_client import LinkClient
from stream.lookout import Watching
from stream.mailbox import Captured, Mailbox
from stream.messages import CameraState, FramePacket, Mode, StateEvent
from stream.sources.base import DAMAGE_PATIENCE, Source

log = logging.getLogger(__name__)

VIEW_QUALITY = 85
"""JPEG quality of the evidence view: artefacts stay invisible beside a camera's own compression."""

STOP_WAIT = 3.0
"""Seconds that a stopped reader waits for the worker to score and commit what it has sent, and for its camera to be let
go. With what it takes to notice the stop that is less than a drain leaves to readers (``supervisor.DRAIN_BY``)."""

FAREWELL = 1.0
"""Seconds in which a reader whose decoder hangs tells the worker so, before it ends."""

ALONE = 30.0
"""Seconds without a worker after which a reader says so: longer than a worker takes to start."""

_TICK = 0.5  # s, at most this late to notice a stop


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """What a reader needs to know of its camera."""

    camera: str
    mode: Mode
    fps: float | None  # None: every frame
    recorded_at: float  # Unix seconds of the first frame, for replay
    endless: bool  # the source has no end of its own: where it fails it is opened again
    preprocess: Preprocess
    motion_memory: float = MEMORY  # s, see ``spade_core.motion``
    watching: Watching = field(default_factory=Watching)  # how a live camera's pictures are watched
    stuck_after: float | None = None  # s without progress in which the capture thread counts as hung; None = never


def patience_with(*, open_timeout: float, read_timeout: float) -> float:
    """Seconds after which a camera's capture thread is hung and not just slow.

    Looking up a name has no time-out that we could set, and a driver may hang. A camera that sends nothing but damaged
    data has ``DAMAGE_PATIENCE``, and counts as slow.
    """
    return 2 * max(open_timeout, read_timeout) + DAMAGE_PATIENCE


class Reader:
    """Reads one camera until its source ends or it is told to stop.

    Args:
        settings: of the camera.
        endpoint: the worker's; None where a guide says it.
        open_source: opens the camera.
        stopping: polled; True asks for a clean end.
        secure: sets the CURVE keys of the link's sockets.
        guide: leads it to its worker, in a cluster; the caller closes it. No worker's refusal is final then.
        port_open: asks whether a camera that is away answers again; None = it cannot be asked.
    """

    def __init__(
        self,
        settings: ReaderSettings,
        *,
        endpoint: Endpoint | None,
        open_source: Callable[[], Source],
        stopping: Callable[[], bool],
        secure: SecureSocket | None = None,
        guide: Guide | None = None,
        port_open: Callable[[], bool] | None = None,
    ) -> None:
        self._settings, self._endpoint, self._stopping = settings, endpoint, stopping
        self._secure, self._guide = secure, guide
        self._mailbox = Mailbox(settings.mode)
        self._state = StateEvent(settings.camera, CameraState.CONNECTING, "starting", time.time())
        self._told: tuple[StateEvent, int] | None = None
        self._end_told = 0
        self._alone_since: float | None = time.monotonic()  # without a worker; None: it has one, or it was told
        self.sent = 0  # frames handed to the link
        self._capture = Capture(
            open_source=open_source,
            mode=settings.mode,
            fps=settings.fps,
            recorded_at=settings.recorded_at,
            endless=settings.endless,
            mailbox=self._mailbox,
            report=self._report,
            preprocess=settings.preprocess,
            motion_memory=settings.motion_memory,
            watching=settings.watching,
            port_open=port_open,
        )

    def run(self) -> None:
        """Reads to the end.

        Raises:
            LinkLost: the worker refuses this camera, and no guide knows another one.
            SourceStalled: the capture thread hangs, and nothing but the end of the process can free it.
        """
        settings, deadline = self._settings, None
        with LinkClient(self._endpoint, camera=settings.camera, mode=settings.mode, secure=self._secure) as link:
            self._capture.start()
            while not link.done:
                link.poll(_TICK, wake_fd=self._mailbox.wake_fd)
                self._mailbox.clear_wake()
                if self._guide is not None:
                    self._guide.lead(link)
                elif link.refusal:
                    self._capture.stop()
                    raise LinkLost(f"the worker at {self._endpoint} refuses camera {settings.camera}: {link.refusal}")
                if self._stopping():
                    self._capture.stop()
                    deadline = deadline or time.monotonic() + STOP_WAIT
                if deadline and time.monotonic() > deadline:
                    log.warning("camera %s: the worker did not confirm the end in time", settings.camera)
                    break
                self._speak(link)
                self._tell_if_alone(link)
                self._check_progress(link)
        self._capture.stop()
        self._capture.join(STOP_WAIT if deadline is None else max(_TICK / 2, deadline - time.monotonic()))

    @property
    def error(self) -> str:
        """Why a finite source broke off; empty at a proper end."""
        return self._capture.error

    def _tell_if_alone(self, link: LinkClient) -> None:
        """A worker that refuses a key does not answer at all: who waits for long should know what to look at."""
        if link.connected:
            self._alone_since = time.monotonic()
        elif self._alone_since is not None and time.monotonic() - self._alone_since > ALONE:
            self._alone_since = None  # said once; again when it was connected meanwhile
            log.warning("camera %s: %s", self._settings.camera, self._why_alone())

    def _why_alone(self) -> str:
        if self._guide is not None:
            return self._guide.words
        keys = ", and does it let this key in" if self._secure else ""
        return f"no worker answers at {self._endpoint}: does it run there{keys}?"

    def _check_progress(self, link: LinkClient) -> None:
        stuck, most = self._capture.stuck_for, self._settings.stuck_after
        if most is None or stuck <= most:
            return
        reason = f"the decoder has made no progress for {stuck:.0f} s; the reader ends so that it is started again"
        self._report(CameraState.STALLED, reason)
        self._capture.stop()
        last = time.monotonic() + FAREWELL
        while link.connected and (self._state, link.welcomes) != self._told and time.monotonic() < last:
            self._speak(link)
            link.poll(_TICK / 5)
        raise SourceStalled(f"camera {self._settings.camera}: {reason}")

    def _speak(self, link: LinkClient) -> None:
        if not link.connected:
            return
        standing = (self._state, link.welcomes)
        if self._told != standing and link.send_state(standing[0]):
            self._told = standing
        holding = self._guide is not None and self._guide.holding
        if link.wants_frame and not holding and (captured := self._mailbox.take()):
            self.sent += 1
            link.send_frame(self._packet(captured, link))
        finished = self._capture.finished and self._mailbox.empty and link.idle
        due = finished and self._end_told != link.welcomes
        if due and link.send_end(error=self._capture.error, drops=_with_lost(self._mailbox.drops, link)):
            self._end_told = link.welcomes

    def _report(self, state: CameraState, reason: str) -> None:
        event = StateEvent(self._settings.camera, state, reason, time.time())
        level = logging.INFO if state in (CameraState.LIVE, CameraState.CONNECTING) else logging.WARNING
        log.log(level, "camera %s: %s (%s)", event.camera, event.state, event.reason)
        self._state = event
        self._mailbox.wake()

    def _packet(self, captured: Captured, link: LinkClient) -> FramePacket:
        frame = captured.frame
        encoded, view = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, VIEW_QUALITY])
        if not encoded:
            raise ValueError(f"frame {frame.index} of shape {frame.image.shape} could not be encoded as JPEG")
        return FramePacket(
            camera=self._settings.camera,
            seq=frame.index,
            frame_time=captured.frame_time,
            media_time=frame.media_time,
            captured_mono=captured.captured_mono,
            segment=frame.segment,
            source_size=(frame.image.shape[1], frame.image.shape[0]),
            image=scoring_image(frame.image, self._settings.preprocess),
            motion=captured.motion,
            view=np.asarray(view).tobytes(),
            drops=_with_lost(captured.drops, link),
        )


def _with_lost(drops: Mapping[str, int], link: LinkClient) -> dict[str, int]:
    """All frames that a reader has lost: its own, and those that were on their way when a worker went."""
    return {**drops, "link.lost": link.lost} if link.lost else dict(drops)
