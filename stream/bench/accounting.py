"""What became of every frame between two moments of a run, and how old frames were when they were done with. Pure, but
for reading the score logs and the alerts that the run left.

``age`` is the time from a frame's capture in the reader to the moment when the worker had its score and had committed
its alerts (see ``stream.worker``): the figure that latency means here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.bench.camera_run import KINDS, Measured, Sample, Snapshot
from stream.bench.process_stats import slope_per_hour
from stream.bench.result import Row, quantile
from stream.messages import Alert, Phase
from stream.outbox import OutboxReader
from stream.scorelog import ScoreRow, read_scores

PASSED_OVER = "reader.sampled_out"
"""Frames that the camera gives beyond the rate at which it is scored: left out on purpose, and no loss."""

_PAGE = 500  # alerts read at once


@dataclass(frozen=True, slots=True)
class Counted:
    """One camera's frames between two moments."""

    camera: str
    captured: int  # native frames
    scored: int
    not_scored: int  # frames that came to the worker and could not be scored
    passed_over: int  # see PASSED_OVER
    dropped: Mapping[str, int]  # the others that were lost, by "stage.reason"; without zeros
    ages: tuple[float, ...]  # s, of the scored frames
    alert_ages: tuple[float, ...]  # s, of those on which an alert started or was told anew
    trouble: str = ""  # why the camera was not watched all the time, or its counts do not hold

    @property
    def lost(self) -> int:
        """Frames that ought to have been scored and were not."""
        return sum(self.dropped.values()) + self.not_scored

    @property
    def unaccounted(self) -> int:
        """Captured frames that are nowhere else in here: 0, or the accounting is wrong.

        Where frames are passed over, one more or less: the reader counts one that comes while another is sent off.
        """
        return self.captured - self.scored - self.lost - self.passed_over


def count_cameras(measured: Measured) -> list[Counted]:
    """The accounts of all cameras of a run."""
    told = _told(measured)
    return [
        count_camera(
            camera,
            measured.first.cameras[camera],
            measured.last.cameras[camera],
            read_scores(measured.config.scores, camera),
            told=told.get(camera, frozenset()),
        )
        for camera in measured.last.cameras
    ]


def count_camera(
    camera: str, first: Mapping[str, Any], last: Mapping[str, Any], rows: Iterable[ScoreRow], *, told: frozenset[int]
) -> Counted:
    """One camera's account.

    Args:
        camera: id.
        first: its status at the beginning; what is counted comes after its ``last_seq``.
        last: its status at the end; what is counted goes up to its ``last_seq``.
        rows: its score log, of any length.
        told: frames (``frame_seq``) on which an alert started or was told anew.
    """
    begin, end = int(first["last_seq"]), int(last["last_seq"])
    ages = {row.frame_seq: row.age for row in rows if begin < row.frame_seq <= end and row.score is not None}
    drops = {
        reason: lost
        for reason, count in sorted(last["drops"].items())
        if (lost := int(count) - int(first["drops"].get(reason, 0)))
    }
    return Counted(
        camera,
        captured=end - begin,
        scored=int(last["scored"]) - int(first["scored"]),
        not_scored=int(last["not_scored"]) - int(first["not_scored"]),
        passed_over=drops.pop(PASSED_OVER, 0),
        dropped=drops,
        ages=tuple(age for age in ages.values() if age is not None),
        alert_ages=tuple(age for seq, age in ages.items() if age is not None and seq in told),
        trouble="" if last["state"] == "LIVE" else f"{last['state']}: {last['reason']}",
    )


def broken(first: Snapshot, last: Snapshot, restarts: Mapping[str, int]) -> str:
    """Why what was counted between the two says nothing, or ""."""
    if first.pid != last.pid or restarts:
        return f"restarted meanwhile: {', '.join(restarts) or 'worker'}"
    return ""


def latency_figures(counted: Sequence[Counted]) -> dict[str, float | None]:
    """Of several cameras together: percentiles of the ages in ms, over all frames and of the worst camera."""
    together = [age for camera in counted for age in camera.ages]
    worst = [quantile(sorted(camera.ages), 0.95) for camera in counted if camera.ages]
    alerts = [age for camera in counted for age in camera.alert_ages]
    return {
        "p50_ms": _ms(together, 0.5),
        "p95_ms": _ms(together, 0.95),
        "p99_ms": _ms(together, 0.99),
        "worst_p95_ms": max(worst) * 1e3 if worst else None,
        "alert_messages": float(len(alerts)),
        "alert_p95_ms": _ms(alerts, 0.95),
    }


def camera_row(name: str, counted: Counted) -> Row:
    """One camera's line."""
    figures = {
        "captured": float(counted.captured),
        "scored": float(counted.scored),
        "passed_over": float(counted.passed_over),
        "dropped": float(counted.lost),
        "unaccounted": float(counted.unaccounted),
        "p50_ms": _ms(counted.ages, 0.5),
        "p95_ms": _ms(counted.ages, 0.95),
    }
    reasons = [f"{reason} {count}" for reason, count in counted.dropped.items()]
    if counted.not_scored:
        reasons.append(f"not scored {counted.not_scored}")
    return Row(f"{name}, {counted.camera}", figures, note=", ".join([*reasons, *filter(None, [counted.trouble])]))


def other_cores(samples: Sequence[Sample]) -> float:
    """Cores that all other processes kept busy meanwhile: what they take, the pipeline did not have."""
    first, last = samples[0], samples[-1]
    own = sum(last.used[kind].cpu_s - first.used[kind].cpu_s for kind in KINDS)
    return max(0.0, last.busy_s - first.busy_s - own) / (last.time - first.time)


def process_rows(name: str, samples: Sequence[Sample]) -> list[Row]:
    """What each kind of process took between the first sample and the last."""
    times = [sample.time for sample in samples]
    return [
        Row(f"{name}, {kind}", _process_figures(times, [sample.used[kind] for sample in samples])) for kind in KINDS
    ]


def _process_figures(times: Sequence[float], used: Sequence[Any]) -> dict[str, float | None]:
    first, last = used[0], used[-1]
    return {
        "processes": float(last.processes),
        "cores": (last.cpu_s - first.cpu_s) / (times[-1] - times[0]),
        "rss_mib": last.rss_mib,
        "pss_start_mib": first.pss_mib,
        "pss_end_mib": last.pss_mib,
        "pss_mib_per_hour": slope_per_hour(times, [usage.pss_mib for usage in used]),
        "own_end_mib": last.own_mib,
        "own_mib_per_hour": slope_per_hour(times, [usage.own_mib for usage in used]),
        "files_start": float(first.files),
        "files_end": float(last.files),
    }


def _told(measured: Measured) -> dict[str, frozenset[int]]:
    """By camera, the frames on which an alert started or was told anew. (An end shows an earlier frame: the peak.)"""
    found: dict[str, set[int]] = {}
    with OutboxReader(measured.config.outbox, measured.config.evidence) as outbox:
        for alert in _all(outbox):
            if alert.phase is not Phase.END:
                found.setdefault(alert.camera, set()).add(alert.frame_seq)
    return {camera: frozenset(frames) for camera, frames in found.items()}


def _all(outbox: OutboxReader) -> Iterable[Alert]:
    seq = 0
    while page := outbox.read_after(seq, limit=_PAGE):
        yield from page
        seq = page[-1].seq


def _ms(seconds: Sequence[float], q: float) -> float | None:
    return quantile(sorted(seconds), q) * 1e3 if seconds else None
