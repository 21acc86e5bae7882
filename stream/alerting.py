"""From scored frames to committed alerts, for one camera: policy, regions, pictures, outbox."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.errors import SpadeError
from spade_core.regions import mask_regions, placed
from spade_core.scorer import Explanation, FrameScore
from stream.engine import Scored
from stream.kept_frame import KeptFrame, encode_kept
from stream.messages import Alert, Evidence, FramePacket, Neighbour, Phase, Region
from stream.overlay import encode, evidence
from stream.policy import AlertPolicy, Decision, Observation, PolicySettings

log = logging.getLogger(__name__)

Commit = Callable[[Alert, Evidence], Alert | None]
"""Stores a message with its pictures; None where it cannot be stored yet, and waits."""


class ClipRecorder(Protocol):
    """What makes the clips of one camera, as :class:`stream.clips.CameraClips` does. Nothing in it raises."""

    def see(self, packet: FramePacket) -> None:
        """The next frame, scored or not."""
        ...

    def begin(self, alert_id: str, started_at: float) -> None:
        """An alert starts, whose first frame was at ``started_at`` (Unix seconds)."""
        ...

    def finish(self) -> bytes:
        """The alert has ended: its MP4, empty where there is none. Waits for a bounded time."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A frame that may yet be shown: all that an alert message needs of it."""

    packet: FramePacket
    scored: Scored


def observation_of(packet: FramePacket, scored: Scored) -> Observation:
    """A frame as the alert policy sees it."""
    return Observation(
        packet.frame_time, packet.seq, scored.score.score, scored.threshold, scored.scene.calibration.usual
    )


class CameraAlerts:
    """The alerts of one camera.

    Args:
        camera: id.
        settings: of the policy.
        commit: stores an alert with its pictures; the alert is real when it returns one.
        clips: makes the clip that goes out with an alert's end; None: there are none.
    """

    def __init__(
        self, camera: str, settings: PolicySettings, *, commit: Commit, clips: ClipRecorder | None = None
    ) -> None:
        self._camera, self._commit, self._clips = camera, commit, clips
        self._policy = AlertPolicy(camera, settings)
        self._peak: _Shown | None = None  # of the excursion that is going on
        self._last: FramePacket | None = None
        self.open_alert: str | None = None

    def observe(self, packet: FramePacket, scored: Scored) -> list[Alert]:
        """Takes the next scored frame; returns what was committed because of it.

        A new segment (clip) ends what was open: the next clip shows another time.
        """
        alerts = self.finish() if self._last is not None and self._last.segment != packet.segment else []
        self.see(packet)  # before the decisions: the clip of an alert that starts now shows this frame too
        shown = _Shown(packet, scored)
        decisions = self._policy.observe(observation_of(packet, scored))
        alerts += self._publish_all(decisions, shown)
        if self._policy.is_peak:  # after publishing: where time ran backwards, an old alert ends with its old peak
            self._peak = shown
        self._last = packet
        return alerts

    def see(self, packet: FramePacket) -> None:
        """Takes a frame that has no score: it decides nothing, but clips show it. Not for those that are observed."""
        if self._clips is not None:
            self._clips.see(packet)

    def finish(self) -> list[Alert]:
        """The source is at its end, or the worker drains: an open alert ends."""
        if self._last is None:
            return []
        alerts = self._publish_all(self._policy.finish(self._last.frame_time), None)
        self._last = self._peak = None
        return alerts

    def _publish_all(self, decisions: Iterable[Decision], current: _Shown | None) -> list[Alert]:
        published = [self._publish(decision, current) for decision in decisions]
        return [alert for alert in published if alert is not None]

    def _publish(self, decision: Decision, current: _Shown | None) -> Alert | None:
        shown = self._peak if decision.phase is Phase.END or current is None else current
        if shown is None:
            raise RuntimeError(f"camera {self._camera}: the policy ends an alert whose peak was never seen")
        self.open_alert = None if decision.phase is Phase.END else decision.alert_id
        clip = self._clip(decision)
        score = shown.scored.score
        explanation, detail = self._explained(score)
        strength = score.score / shown.scored.threshold
        caption = f"{self._camera}  {decision.phase}  {strength:.2f} x threshold"
        try:
            mask, regions = self._regions(shown, detail)
            pictures = self._pictures(shown.packet, mask, regions, caption)
        except (cv2.error, MemoryError) as error:  # what was decided is told, whatever can be shown of it
            log.error("camera %s: an alert goes out without pictures: %s", self._camera, error)
            regions, pictures = (), Evidence(b"", b"")
        alert = self._alert(decision, shown, regions, explanation)
        return self._commit(alert, replace(pictures, clip_mp4=clip, frame_npz=self._kept(shown)))

    def _regions(
        self, shown: _Shown, detail: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.uint8], tuple[Region, ...]]:
        """The mask of the whole frame, and the regions in it."""
        x, y, width, height = shown.scored.scene.preprocess.part(*shown.packet.source_size)
        mask, found = mask_regions(
            shown.scored.score.pixel_scores,
            size=(width, height),
            threshold=shown.scored.threshold,
            grow_threshold=shown.scored.grow_threshold,
            detail=detail,
        )
        mask, found = placed(mask, found, at=(x, y), size=shown.packet.source_size)
        return mask, tuple(Region(r.bbox, r.polygon, r.area, r.peak) for r in found)

    def _pictures(
        self, packet: FramePacket, mask: NDArray[np.uint8], regions: tuple[Region, ...], caption: str
    ) -> Evidence:
        """The evidence, as far as it can be drawn: an alert without its snapshot is better than none."""
        try:
            return replace(evidence(packet.view, mask, regions, caption=caption), view_jpeg=packet.view)
        except ValueError as error:  # what the reader sent beside the scoring image is no picture of that size
            log.error(
                "camera %s, frame %d: an alert goes out without its snapshot: %s", self._camera, packet.seq, error
            )
            return Evidence(encode(".png", mask), b"")

    def _kept(self, shown: _Shown) -> bytes:
        """The scoring input, with which the frame can be scored again; empty where it cannot be kept."""
        packet, scene = shown.packet, shown.scored.scene.name
        try:
            return encode_kept(
                KeptFrame(self._camera, scene, packet.seq, packet.frame_time, packet.image, packet.motion)
            )
        except (ValueError, MemoryError) as error:
            log.error("camera %s: an alert goes out that cannot be scored again: %s", self._camera, error)
            return b""

    def _why(self, shown: _Shown) -> dict[str, float]:
        """The strength of each channel where the score is highest, in thresholds; empty where it cannot be had."""
        try:
            return {name: part / shown.scored.threshold for name, part in shown.scored.score.channels.items()}
        except (SpadeError, RuntimeError, MemoryError, cv2.error) as error:
            log.error("camera %s: an alert goes out without the reason why it fired: %s", self._camera, error)
            return {}

    def _clip(self, decision: Decision) -> bytes:
        """Begins the clip at an alert's start; at its end, what became of it."""
        if self._clips is None:
            return b""
        if decision.phase is Phase.START:
            self._clips.begin(decision.alert_id, decision.started_at)
        return self._clips.finish() if decision.phase is Phase.END else b""

    def _explained(self, score: FrameScore) -> tuple[Explanation | None, NDArray[np.float32] | None]:
        """What an alert is explained with, as far as it can be had: an alert that explains less is better than none."""
        try:
            return score.explanation(), score.detail
        # Torch raises RuntimeError for whatever goes wrong in it.
        except (SpadeError, RuntimeError, MemoryError, cv2.error) as error:
            log.error("camera %s: an alert goes out without its nearest normal frames: %s", self._camera, error)
            return None, None

    def _alert(
        self, decision: Decision, shown: _Shown, regions: tuple[Region, ...], explanation: Explanation | None
    ) -> Alert:
        gallery = shown.scored.scene.gallery
        neighbours = tuple(
            Neighbour(index, distance, gallery.frames[index].source, gallery.frames[index].media_time)
            for index, distance in (explanation.neighbours if explanation else ())
        )
        return Alert(
            seq=0,
            alert_id=decision.alert_id,
            phase=decision.phase,
            camera=self._camera,
            scene=shown.scored.scene.name,  # the one in force then: a camera may have several
            segment=shown.packet.segment,
            started_at=decision.started_at,
            ended_at=decision.until if decision.phase is Phase.END else None,
            frame_time=shown.packet.frame_time,
            frame_seq=shown.packet.seq,
            score=shown.scored.score.score,
            threshold=shown.scored.threshold,
            regions=regions,
            neighbours=neighbours,
            why=self._why(shown),
        )
