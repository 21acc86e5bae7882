"""What is set for one camera while it runs, applied to its scores: zones, threshold factor, snooze. For ``camera``.

Scores come in as the engine made them and go out as they are in force: pixels outside the zones count as 0, the frame's
score is the highest of those that count, thresholds are multiplied by the factor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.alerting import observation_of
from stream.engine import NotScored, Scored
from stream.messages import FramePacket, Phase, iso_time
from stream.operator_settings import CameraOperator
from stream.policy import AlertPolicy, PolicySettings
from stream.zones import Part, Zone, keep_mask

Mask = NDArray[np.bool_]


class CameraSettings:
    """One camera's zones, factor and snooze.

    Args:
        camera: id.
        fixed: zones from the configuration.
        policy: how alerts start; counts those that a snooze holds.
    """

    def __init__(self, camera: str, *, fixed: tuple[Zone, ...] = (), policy: PolicySettings) -> None:
        self._camera, self._fixed, self._policy = camera, fixed, policy
        self._set = CameraOperator()
        self._mask: tuple[tuple[tuple[int, ...], Part], Mask | None] | None = None  # for which map and part; the mask
        self._held_alerts: tuple[str, AlertPolicy] | None = None  # segment; what would start while snoozed
        self.held = 0  # excursions so far that would have become alerts

    @property
    def threshold_factor(self) -> float:
        """The threshold in force, in calibrated ones."""
        return self._set.threshold_factor

    def set_fixed(self, zones: tuple[Zone, ...]) -> None:
        """Takes the zones of a new configuration."""
        if zones != self._fixed:
            self._fixed, self._mask = zones, None

    def take(self, settings: CameraOperator) -> bool:
        """Takes what operators have set; returns whether that changed anything."""
        before, self._set = self._set, settings
        if settings.zones != before.zones:
            self._mask = None
        return settings != before

    def snoozed(self, unix: float) -> bool:
        """Whether no alert may start at that time (Unix seconds, by this machine's clock)."""
        return self._set.snoozed_until is not None and unix < self._set.snoozed_until

    def in_force(self, packet: FramePacket, scored: Scored) -> Scored | NotScored:
        """A result with zones and factor applied; why there is none where the zones leave nothing to watch."""
        keep = self._keep(packet, scored)
        factor = self._set.threshold_factor
        if keep is None:
            return scored if factor == 1 else replace(scored, threshold_factor=factor)
        if not keep.any():
            return NotScored("its zones leave nothing of the picture to watch: change them")
        pixels = scored.score.pixel_scores
        score = replace(
            scored.score,
            score=float(pixels[keep].max()),
            pixel_scores=np.where(keep, pixels, np.float32(0)),
        )
        return replace(scored, score=score, threshold_factor=factor)

    def hold(self, packet: FramePacket, scored: Scored) -> None:
        """Takes a frame of a snoozed camera: counts the alert that would start with it.

        Raises:
            ValueError: as the policy does, where score or time is no number.
        """
        if self._held_alerts is None or self._held_alerts[0] != packet.segment:
            self._held_alerts = packet.segment, AlertPolicy(self._camera, self._policy)
        decisions = self._held_alerts[1].observe(observation_of(packet, scored))
        self.held += sum(decision.phase is Phase.START for decision in decisions)

    def let_go(self) -> None:
        """Forgets the excursion that is going on: the snooze is over, or nobody sees how it goes on."""
        self._held_alerts = None

    def in_words(self, unix: float) -> str:
        """For the log."""
        words = [f"{len(self._fixed) + len(self._set.zones)} zone(s)", f"threshold x {self.threshold_factor:g}"]
        if self._set.snoozed_until is not None and self.snoozed(unix):
            words.append(f"snoozed until {iso_time(self._set.snoozed_until)}: no alert starts")
        return ", ".join(words)

    def to_json(self, unix: float) -> dict[str, Any]:
        """For the status; what a snooze that is over at ``unix`` said is not told any more."""
        snoozed = self.snoozed(unix)
        until = self._set.snoozed_until
        return {
            "threshold_factor": self._set.threshold_factor,
            "snoozed_until": iso_time(until) if snoozed and until is not None else None,
            "snooze_reason": self._set.snooze_reason if snoozed else "",
            "zones": len(self._fixed) + len(self._set.zones),
            "held_by_snooze": self.held,
        }

    def _keep(self, packet: FramePacket, scored: Scored) -> Mask | None:
        zones = (*self._fixed, *self._set.zones)
        if not zones:
            return None
        shape, part = scored.score.pixel_scores.shape, _shown_part(packet, scored)
        if self._mask is None or self._mask[0] != (shape, part):
            self._mask = (shape, part), keep_mask(zones, shape=(shape[0], shape[1]), part=part)
        return self._mask[1]


def _shown_part(packet: FramePacket, scored: Scored) -> Part:
    """The part of the frame that the score map shows, as fractions of it."""
    width, height = packet.source_size
    x, y, w, h = scored.scene.preprocess.part(width, height)
    return x / width, y / height, w / width, h / height
