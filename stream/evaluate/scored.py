"""What a run gave every test frame, clip by clip: read back from the score log and the alerts of the ordinary pipeline.

All that comes after (figures, pictures, curves) sees only these values, whichever method made them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spade_core.metrics import AlertSpan
from stream.config import Config
from stream.evaluate.datasets.model import TestClip
from stream.evaluate.workspace import ALERTS, SceneFootage
from stream.results import Episode, load_results
from stream.scorelog import ScoreRow


@dataclass(frozen=True, slots=True, eq=False)
class ScoredClip:
    """One test clip. N of its T native frames were scored."""

    scene: str
    clip: TestClip
    fps: float  # native rate
    truth: NDArray[np.bool_] | None  # (T,) is each native frame anomalous; None = not labelled
    indices: NDArray[np.int64]  # (N,) native frame of the clip, rising
    peaks: NDArray[np.float64]  # (N,) highest pixel score
    image_scores: NDArray[np.float64]  # (N,) score of the whole image (eq. 2)
    nearest: tuple[int | None, ...]  # (N,) gallery index of the nearest normal frame
    maps: tuple[Path, ...]  # (N,) file of each frame's pixel scores
    alerts: tuple[AlertSpan, ...]  # seconds in the clip

    @property
    def name(self) -> str:
        """Names the clip among those of all scenes."""
        return f"{self.scene}/{self.clip.name}"

    @property
    def times(self) -> NDArray[np.float64]:
        """(N,) seconds since the clip's first frame."""
        return self.indices / self.fps

    @property
    def labels(self) -> NDArray[np.bool_] | None:
        """(N,) is each scored frame anomalous; None = not labelled."""
        return None if self.truth is None else self.truth[self.indices]


@dataclass(frozen=True, slots=True)
class ScoredScene:
    """The clips of a scene, and what is missing of them."""

    name: str
    clips: tuple[ScoredClip, ...]
    threshold: float | None  # None: no alerts are asked for
    gallery_frames: int
    problems: tuple[str, ...] = ()


def load_scene(
    config: Config, footage: SceneFootage, *, out: Path, every: int, gallery_frames: int, alerting: bool
) -> ScoredScene:
    """Reads back a scene.

    Args:
        config: of the run.
        footage: of the scene.
        out: folder of the run.
        every: every Nth frame was to be scored.
        gallery_frames: that it was compared with.
        alerting: False: its threshold means nothing, so there are no alerts.

    Raises:
        DatasetError: the labels do not fit the frames.
    """
    results = load_results(
        scores=config.scores, camera=footage.camera, alerts=out / ALERTS if alerting else out / "none", recorded_at=0.0
    )
    rows = [row for row in results.rows if row.score is not None]
    thresholds = [row.threshold for row in rows if row.threshold is not None]
    episodes = [episode for episode in results.episodes if episode.messages[0].camera == footage.camera]
    maps = config.state.parent / "maps" / footage.camera
    return ScoredScene(
        name=footage.scene.name,
        clips=tuple(_clip(clip, footage, rows, episodes, maps) for clip in footage.scene.test),
        threshold=thresholds[0] if thresholds and alerting else None,
        gallery_frames=gallery_frames,
        problems=tuple(_problems(footage, results.rows, every)),
    )


def frames_digest(scenes: Sequence[ScoredScene]) -> str:
    """The same for two runs exactly where they scored the same frames of the same clips."""
    digest = hashlib.sha256()
    for clip in sorted((clip for scene in scenes for clip in scene.clips), key=lambda clip: clip.name):
        digest.update(f"{clip.name}:{clip.indices.tolist()}\n".encode())
    return digest.hexdigest()[:16]


def map_file(folder: Path, seq: int) -> Path:
    """Where the worker keeps the pixel scores of a camera's frame."""
    return folder / f"{seq:08d}.npy"


def _clip(
    clip: TestClip, footage: SceneFootage, rows: Sequence[ScoreRow], episodes: Sequence[Episode], maps: Path
) -> ScoredClip:
    start, count = footage.starts[clip.name], footage.counts[clip.name]
    mine = sorted((row for row in rows if row.segment == clip.name), key=lambda row: row.frame_seq)
    # Its first frame's time; a video's own times need not be index / fps.
    origin = mine[0].media_time - (mine[0].frame_seq - start) / footage.fps if mine else 0.0
    return ScoredClip(
        scene=footage.scene.name,
        clip=clip,
        fps=footage.fps,
        truth=clip.labels.frame_labels(count),
        indices=np.array([row.frame_seq - start for row in mine], np.int64),
        peaks=np.array([row.score for row in mine], np.float64),
        image_scores=np.array([row.image_score for row in mine], np.float64),
        nearest=tuple(row.nearest for row in mine),
        maps=tuple(map_file(maps, row.frame_seq) for row in mine),
        alerts=tuple(
            _span(f"{footage.scene.name}/{clip.name}", episode, origin)
            for episode in episodes
            if episode.segment == clip.name
        ),
    )


def _span(clip: str, episode: Episode, origin: float) -> AlertSpan:
    """From when the alert was raised: what it is about began before."""
    raised = max(0.0, min(message.frame_time for message in episode.messages) - origin)
    return AlertSpan(clip, raised, max(raised, episode.end - origin))


def _problems(footage: SceneFootage, rows: Sequence[ScoreRow], every: int) -> list[str]:
    problems = []
    scene, expected = f"scene {footage.scene.name}", footage.expected(every)
    if unscored := [row for row in rows if row.score is None]:
        problems.append(f"{scene}: {len(unscored)} frame(s) could not be scored; the first: {unscored[0].problem}")
    if len(rows) < expected:
        problems.append(f"{scene}: {expected - len(rows)} of {expected} frame(s) were not reached")
    return problems
