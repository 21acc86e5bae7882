"""Figures of merit that the field uses, from plain arrays. NumPy and OpenCV only.

``frame`` judges the score of each frame, ``pixel`` and ``region`` the score maps (both streaming: no map is kept),
``events`` the alerts that the policy made of them. A figure that does not exist, because a class is absent, is None.
"""

from spade_core.metrics.events import AlertFigures, AlertSpan, Event, events_from_labels, judge_alerts
from spade_core.metrics.frame import causal_average, macro_auc, roc_auc, roc_curve
from spade_core.metrics.pixel import PixelTally
from spade_core.metrics.region import RegionCurves, RegionTally, region_thresholds
from spade_core.metrics.tracks import GroundTruthRegion, tracks_from_masks

__all__ = [
    "AlertFigures",
    "AlertSpan",
    "Event",
    "GroundTruthRegion",
    "PixelTally",
    "RegionCurves",
    "RegionTally",
    "causal_average",
    "events_from_labels",
    "judge_alerts",
    "macro_auc",
    "region_thresholds",
    "roc_auc",
    "roc_curve",
    "tracks_from_masks",
]
