"""What the figures are called and mean, for tables that people read. ``docs/evaluation.md`` explains them at length."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of ``metrics.json``."""

    key: str
    label: str
    meaning: str
    digits: int = 3
    is_fraction: bool = True  # 0..1, higher is better: can be drawn as a bar


FIGURES = (
    Figure("frame_auc_micro", "Frame AUC", "all frames together, nothing normalised"),
    Figure("frame_auc_micro_causal", "Frame AUC, causal", "the same, each clip averaged over its past alone"),
    Figure("frame_auc_macro", "Frame AUC per clip", "mean over clips that have normal and anomalous frames"),
    Figure("frame_auc_macro_causal", "Frame AUC per clip, causal", "the same of averaged scores"),
    Figure("frame_auc_micro_map", "Frame AUC by map", "a frame's score is its highest pixel score"),
    Figure("frame_auc_micro_image", "Frame AUC by image", "a frame's score is that of the whole image (eq. 2)"),
    Figure("pixel_auc", "Pixel AUC", "all pixels of all frames"),
    Figure("pro", "PRO", "per-region overlap up to 0.3 false positive pixels, normalised"),
    Figure("rbdc", "RBDC", "regions found, against false regions per frame up to 1"),
    Figure("tbdc", "TBDC", "tracks found, against false regions per frame up to 1"),
    Figure("event_recall", "Events found", "part of the true events that an alert was raised for"),
    Figure("false_alerts", "False alerts", "alerts that no event explains", 0, False),
    Figure("false_alerts_per_hour", "False alerts an hour", "of normal footage", 1, False),
    Figure("median_delay", "Delay", "median seconds from an event's start to its alert", 1, False),
    Figure("frames_per_second", "Frames a second", "scored, with decoding and all else on the same machine", 1, False),
    Figure("gallery_frames", "Gallery frames", "of all scenes", 0, False),
)


def shown(value: float | int | None, digits: int) -> str:
    """A figure for people; a dash where it does not exist."""
    return "\N{EN DASH}" if value is None else f"{value:,.{digits}f}"
