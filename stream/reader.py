"""The reader process of one camera: capture thread -> one-slot mailbox -> link. Imports nothing heavy (no torch)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from spade_core.motion import MEMORY
from spade_core.preprocess import Preprocess, scoring_image
from stream.capture import Capture
from stream.endpoints import Endpoint
from stream.errors import LinkLost
from stream.link import LinkClient
from stream.mailbox import Captured, Mailbox
from stream.messages import CameraState, FramePacket, Mode, StateEvent
from stream.sources.base import Source

log = logging.getLogger(__name__)

VIEW_QUALITY = 85
"""JPEG quality of the evidence view: artefacts stay invisible beside a camera's own compression."""

STOP_WAIT = 7.0
"""Seconds that a stopped reader waits for the worker to score and commit what it has sent."""

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


class Reader:
    """Reads one camera until its source ends or it is told to stop.

    Args:
        settings: of the camera.
        endpoint: the worker's.
        open_source: opens the camera.
        stopping: polled; True asks for a clean end.
    """

    def __init__(
        self,
        settings: ReaderSettings,
        *,
        endpoint: Endpoint,
        open_source: Callable[[], Source],
        stopping: Callable[[], bool],
    ) -> None:
        self._settings, self._endpoint, self._stopping = settings, endpoint, stopping
        self._mailbox = Mailbox(settings.mode)
        self._state = StateEvent(settings.camera, CameraState.CONNECTING, "starting", time.time())
        self._told: tuple[StateEvent, int] | None = None
        self._end_told = 0
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
        )

    def run(self) -> None:
        """Reads to the end.

        Raises:
            LinkLost: the worker refuses this camera.
            SourceError: a finite source cannot be read, or breaks off; what came before was scored.
        """
        settings, deadline = self._settings, None
        with LinkClient(self._endpoint, camera=settings.camera, mode=settings.mode) as link:
            self._capture.start()
            while not link.done:
                link.poll(_TICK, wake_fd=self._mailbox.wake_fd)
                self._mailbox.clear_wake()
                if link.refusal:
                    self._capture.stop()
                    raise LinkLost(f"the worker at {self._endpoint} refuses camera {settings.camera}: {link.refusal}")
                if self._stopping():
                    self._capture.stop()
                    deadline = deadline or time.monotonic() + STOP_WAIT
                if deadline and time.monotonic() > deadline:
                    log.warning("camera %s: the worker did not confirm the end in time", settings.camera)
                    break
                self._speak(link)
        self._capture.stop()
        self._capture.join(STOP_WAIT)

    @property
    def error(self) -> str:
        """Why a finite source broke off; empty at a proper end."""
        return self._capture.error

    def _speak(self, link: LinkClient) -> None:
        if not link.connected:
            return
        standing = (self._state, link.welcomes)
        if self._told != standing and link.send_state(standing[0]):
            self._told = standing
        if link.wants_frame and (captured := self._mailbox.take()):
            self.sent += 1
            link.send_frame(self._packet(captured, link))
        finished = self._capture.finished and self._mailbox.empty and link.idle
        due = finished and self._end_told != link.welcomes
        if due and link.send_end(error=self._capture.error, drops=self._drops(link)):
            self._end_told = link.welcomes

    def _report(self, state: CameraState, reason: str) -> None:
        event = StateEvent(self._settings.camera, state, reason, time.time())
        level = logging.INFO if state in (CameraState.LIVE, CameraState.CONNECTING) else logging.WARNING
        log.log(level, "camera %s: %s (%s)", event.camera, event.state, event.reason)
        self._state = event
        self._mailbox.wake()

    def _drops(self, link: LinkClient) -> dict[str, int]:
        drops = self._mailbox.drops
        return {**drops, "link.lost": link.lost} if link.lost else drops

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
            drops=self._drops(link),
        )
