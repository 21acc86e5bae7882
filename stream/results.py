"""What a replay left behind, read back: scores and alert messages, grouped for reports and evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spade_core.gallery import Gallery
from stream.durable import write_durably
from stream.messages import Alert
from stream.report import AlertCard, Timeline
from stream.scorelog import ScoreRow, read_scores

Span = tuple[str, float, float]
"""(label, start, end), seconds of media time."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert from start to end, as its messages tell it. Times are media times, s."""

    alert_id: str
    segment: str
    start: float
    end: float
    messages: tuple[Alert, ...]  # in order

    @property
    def strongest(self) -> Alert:
        """The message with the highest score."""
        return max(self.messages, key=lambda alert: alert.score / alert.threshold)


@dataclass(frozen=True, slots=True)
class Results:
    """Scores and alerts of one recording."""

    rows: tuple[ScoreRow, ...]
    episodes: tuple[Episode, ...]

    @property
    def not_scored(self) -> int:
        """Frames that could not be scored."""
        return sum(row.score is None for row in self.rows)


def load_results(*, scores: Path, camera: str, alerts: Path, recorded_at: float) -> Results:
    """Reads back what a replay wrote.

    Args:
        scores: folder of the score log.
        camera: id in it.
        alerts: the JSON lines file; may be missing where there was no alert.
        recorded_at: Unix seconds of media time 0.
    """
    rows = tuple(read_scores(scores, camera))
    lines = alerts.read_text(encoding="utf-8").splitlines() if alerts.exists() else []
    return Results(rows, _episodes([Alert.from_json(json.loads(line)) for line in lines], recorded_at))


def _episodes(messages: Sequence[Alert], recorded_at: float) -> tuple[Episode, ...]:
    by_id: dict[str, list[Alert]] = {}
    for message in messages:
        by_id.setdefault(message.alert_id, []).append(message)
    return tuple(
        Episode(
            alert_id=alert_id,
            segment=phases[0].segment,
            start=phases[0].started_at - recorded_at,
            end=max(phase.ended_at or phase.frame_time for phase in phases) - recorded_at,
            messages=tuple(phases),
        )
        for alert_id, phases in by_id.items()
    )


def timelines(results: Results, *, name: str, truth: Sequence[Span] = ()) -> tuple[Timeline, ...]:
    """A timeline per segment (clip), times counted from the segment's first scored frame.

    Args:
        results: of a recording.
        name: of the timeline where there are no segments.
        truth: true events by media time, for recordings without segments.
    """
    segments: dict[str, list[ScoreRow]] = {}
    for row in results.rows:
        segments.setdefault(row.segment, []).append(row)
    return tuple(
        _timeline(segment or name, rows, segment, results.episodes, truth) for segment, rows in segments.items()
    )


def _timeline(
    name: str, rows: list[ScoreRow], segment: str, episodes: Sequence[Episode], truth: Sequence[Span]
) -> Timeline:
    origin = rows[0].media_time
    last = rows[-1].media_time - origin
    thresholds = [row.threshold for row in rows if row.threshold is not None]
    return Timeline(
        name=name,
        times=np.array([row.media_time - origin for row in rows]),
        scores=np.array([np.nan if row.score is None else row.score for row in rows]),
        threshold=thresholds[0] if thresholds else 0.0,
        truth=tuple((label, max(0.0, start - origin), max(0.0, end - origin)) for label, start, end in truth),
        alerts=tuple(
            (e.alert_id, min(max(0.0, e.start - origin), last), min(max(0.0, e.end - origin), last))
            for e in episodes
            if e.segment == segment
        ),
    )


def cards(
    results: Results, *, folder: Path, gallery: Gallery, matches: Mapping[str, str | None], recorded_at: float
) -> tuple[AlertCard, ...]:
    """A card per alert; writes the thumbnails of the normal frames that they were compared with beside the pictures.

    Args:
        results: of a recording.
        folder: of the report; pictures are relative to it.
        gallery: that scored it.
        matches: alert id -> label of the true event, None for a false alert; ids that are missing are unknown.
        recorded_at: Unix seconds of media time 0.
    """
    return tuple(_card(e, folder, gallery, matches.get(e.alert_id), recorded_at) for e in results.episodes)


def _card(episode: Episode, folder: Path, gallery: Gallery, match: str | None, recorded_at: float) -> AlertCard:
    best = episode.strongest
    neighbour = None
    if best.neighbours:
        neighbour = Path("pictures") / f"normal-{best.neighbours[0].index:06d}.jpg"
        if not (folder / neighbour).exists():
            write_durably(folder / neighbour, gallery.thumbnail(best.neighbours[0].index))
    clip = next((message.clip for message in episode.messages if message.clip), None)
    where = f"{episode.segment}, " if episode.segment else ""
    return AlertCard(
        alert=best,
        phases=episode.messages,
        snapshot=Path(best.snapshot) if best.snapshot else None,
        mask=Path(best.mask) if best.mask else None,
        neighbour=neighbour,
        caption=f"{where}{episode.start:.1f} s to {episode.end:.1f} s, shown at {best.frame_time - recorded_at:.1f} s",
        matches=match,
        clip=Path(clip) if clip else None,
    )
