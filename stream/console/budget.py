"""How many alerts the last days would have had at other sensitivities, from the stored scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.score_table import read_table
from stream.what_if import DAY, FACTORS, budget_curve, covered_days

if TYPE_CHECKING:
    from stream.console.parts import Parts


def budget_of(parts: Parts, camera: str, *, days: int) -> dict[str, Any]:
    """The curve of one camera.

    Args:
        parts: see there.
        camera: id, of the configuration.
        days: back from now.
    """
    shown = parts.board.look.cameras[camera]
    threshold, factor = shown["threshold"], shown["threshold_factor"]
    calibrated = threshold / factor if threshold else None  # the one in force is the calibrated one times the factor
    since = parts.clock() - days * DAY
    real = parts.store.confirmed_real(camera, since=since)
    answer: dict[str, Any] = {
        "camera": camera,
        "days": days,
        "covered_days": 0.0,
        "calibrated_threshold": calibrated,
        "factor": factor,
        "confirmed_real": len(real),
        "curve": [],
    }
    if calibrated is None:  # nothing was scored yet: no curve is no promise of silence
        return answer
    table = read_table(parts.config.scores, camera, since=since)
    points = budget_curve(table, FACTORS, calibrated, parts.config.alerts.settings(), known_real=frozenset(real))
    return {
        **answer,
        "covered_days": covered_days(table),
        "curve": [
            {
                "factor": point.factor,
                "threshold": point.threshold,
                "alerts": point.alerts,
                "alerts_per_day": point.alerts_per_day,
                "real": point.real,
            }
            for point in points
        ],
    }
