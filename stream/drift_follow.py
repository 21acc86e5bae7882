"""Lets a gallery follow slow change: ``drift_guard`` judges candidates, and those that pass become a new version.

Each candidate is scored against the anchor (the version last enrolled), and what raised an alert before is scored with
the candidates added, as its camera sees it now, and as it would without operators' zones, which may go again: none may
make an alert silent that is one today. What operators called normal is silent today, so it needs no exception here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spade_core.confirmed import NewFrame, WithConfirmed, WithJoined
from spade_core.errors import GalleryCorrupt, GalleryError, GalleryNotFound, InputError
from spade_core.extractor import FeatureExtractor, Features, fingerprint_mismatch
from spade_core.gallery import Gallery, NormalFrames
from spade_core.methods import FrameScorer, frame_scorer, gallery_parameters
from spade_core.scene_fit import SceneFit
from stream.comparable import units_of_gallery
from stream.drift_alerts import Heard, OldAlert, Trial
from stream.drift_guard import (
    SILENCES,
    FollowLimits,
    History,
    Judged,
    Told,
    Verdict,
    history_of,
    judge,
    too_early_or_told,
)
from stream.drift_store import Candidate
from stream.enroll import Progress
from stream.errors import StreamError
from stream.gallery_add import add_kept, new_frames
from stream.kept_frame import KeptFrame
from stream.normal_judge import AsSeen, Eyes
from stream.scene_choice import FITS
from stream.zones import WHOLE, Part

MOST_REBUILDS = 3
"""Times that what a gallery keeps is chosen anew among all its frames, at half a minute each in a large one, to find a
set of candidates that silences nothing. After that none of them joins."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of it."""

    scene: str
    version: str | None  # the new one; None = there is none
    added: int  # frames, or those that would be
    refused: Counter[str] = field(default_factory=Counter)  # why -> how many

    def to_json(self) -> dict[str, Any]:
        """As the command tells it."""
        refused = [{"reason": reason, "count": count} for reason, count in sorted(self.refused.items())]
        return {"scene": self.scene, "version": self.version, "added": self.added, "refused": refused}


class Follower:
    """Decides about the candidates of one scene.

    Args:
        gallery: the version in force.
        extractor: as it was made with.
        limits: how much may join.
        cameras: what is set for each now.
        part: of a frame that is scored.
        on_progress: told after every frame; may raise.

    Raises:
        GalleryMismatch: the extractor is another one.
        GalleryError: the anchor is not there, or another gallery has its number, or the note was tampered with.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        extractor: FeatureExtractor,
        limits: FollowLimits,
        cameras: Mapping[str, AsSeen],
        part: Part = WHOLE,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._gallery, self._extractor, self._limits, self._tell = gallery, extractor, limits, on_progress
        self.history = _history(gallery)
        anchor = gallery if self.history.anchor == gallery.version else _anchor(gallery, self.history)
        for version in (gallery, anchor):
            if difference := fingerprint_mismatch(extractor.fingerprint(), version.fingerprint):
                raise GalleryError(f"{version}: made with something else than what runs: {difference}")
        self._anchor, self._fit = anchor, SceneFit(anchor)
        self._by_anchor = self._scorer(anchor)
        bare = {camera: seen.without_operators() for camera, seen in cameras.items()}
        self._eyes = tuple(
            Eyes(gallery.calibration, parameters=gallery_parameters(gallery), cameras=seen, part=part)
            for seen in ((cameras,) if bare == cameras else (cameras, bare))
        )
        self._units = units_of_gallery(gallery.folder, factors={seen.threshold_factor for seen in cameras.values()})

    def decide(
        self, candidates: Sequence[Candidate], *, told: Sequence[Told], old: Iterable[OldAlert], now: float
    ) -> tuple[Verdict, list[KeptFrame]]:
        """Which candidates may join, and their frames.

        Args:
            candidates: oldest first.
            told: when there were alerts, of all cameras.
            old: what raised alerts in this scene, as far as it was kept.
            now: Unix seconds.
        """
        places = [(candidate.camera, candidate.time) for candidate in candidates]
        early = {p: (why, good) for p, why, good in too_early_or_told(places, told, now=now, hold=self._limits.hold)}
        frames, judged = dict[int, KeptFrame](), list[Judged | None]()
        for place, candidate in enumerate(candidates):
            frame = None if place in early else candidate.read()
            judged.append(None if place in early else self._judged(candidate, frame))
            if frame is not None:
                frames[place] = frame
            self._tell(Progress("judging", place + 1, len(candidates)))
        verdict = judge(judged, room=self.history.room(now, self._limits), farthest=FITS)
        for place, (why, for_good) in early.items():
            verdict.refuse(place, why, for_good=for_good)
        self._refuse_silencing(verdict, frames, old)
        return verdict, [frames[place] for place in verdict.accepted]

    def join(self, frames: Sequence[KeptFrame], *, now: float, note: Mapping[str, Any]) -> Gallery:
        """Makes a new version with these. Raises as :func:`stream.gallery_add.add_kept`."""
        return add_kept(
            self._gallery,
            frames,
            extractor=self._extractor,
            note={**note, "drift": self.history.after(now, len(frames)).to_json()},
            on_progress=self._tell,
            inside=[None] * len(frames),
        )

    def _judged(self, candidate: Candidate, frame: KeptFrame | None) -> Judged:
        strength, fits = None, float("inf")
        try:
            if frame is not None:
                features = self._extractor.extract(frame.image[None])
                fits = self._fit(features.pooled.float().cpu().numpy())
                strength = _score(self._by_anchor, features, frame) / self._anchor.calibration.threshold
        except InputError:  # of another size, or not finite
            strength = None
        return Judged(candidate.camera, candidate.time, strength, fits)

    # -- old alerts ---------------------------------------------------------------------------------------------------

    def _refuse_silencing(self, verdict: Verdict, frames: Mapping[int, KeptFrame], old: Iterable[OldAlert]) -> None:
        """Takes back what would make an alert silent, the candidate first that alone would come nearest to that."""
        if not verdict.accepted:
            return
        wanted = [frames[place] for place in verdict.accepted]
        made = new_frames(self._gallery, wanted, extractor=self._extractor, inside=[None] * len(wanted))
        new = dict(zip(verdict.accepted, made, strict=True))
        trial, loud = Trial(self._with, new), list[OldAlert]()
        for number, alert in enumerate(old, start=1):
            self._tell(Progress("old alerts", number, None))
            if all_heard := self._heard(alert):
                loud.append(alert)
            for heard in all_heard:
                self._hold_up(verdict, trial, heard)
        self._hold_up_as_made(verdict, trial, new, loud)

    def _heard(self, alert: OldAlert) -> list[Heard]:
        """As it is seen now and without the operators' zones; not where it is silent today: nothing can make it so."""
        try:
            features = self._extractor.extract(alert.frame.image[None])
            found = [self._heard_by(eyes, alert, features) for eyes in self._eyes]
        except InputError:  # scored with other settings of the method: today it would be no alert, nor silent
            return []
        return [heard for heard in found if not heard.is_silent]

    def _heard_by(self, eyes: Eyes, alert: OldAlert, features: Features) -> Heard:
        def score(scorer: FrameScorer, lasting: NDArray[np.bool_] | None) -> float:
            return eyes.score(scorer, alert.frame, features, lasting)

        then = [factor * self._gallery.calibration.threshold for factor in self._units.factors_of(alert.threshold)]
        return Heard(alert, score, threshold=eyes.threshold(alert.frame.camera), then=then, today=self._today)

    def _hold_up(self, verdict: Verdict, trial: Trial, heard: Heard) -> None:
        while verdict.accepted and (reason := heard.against(trial.together(verdict.accepted))):
            self._take_back(verdict, trial, heard, reason)

    def _take_back(self, verdict: Verdict, trial: Trial, heard: Heard, reason: str) -> None:
        left = {place: heard.worth(trial.alone(place)) for place in verdict.accepted}
        verdict.take_back(min(left, key=lambda place: left[place]), reason)

    def _hold_up_as_made(
        self, verdict: Verdict, trial: Trial, new: Mapping[int, NewFrame], loud: Sequence[OldAlert]
    ) -> None:
        """The same by the version as it would be made. What ``campus`` keeps is chosen anew then, so that old frames
        that were left out before may silence something, too.
        """
        for _ in range(MOST_REBUILDS):
            if not verdict.accepted or not loud:
                return
            self._tell(Progress("arranging", len(self._gallery), None))
            scorer = self._joined([new[place] for place in verdict.accepted])
            if (found := self._first_against(loud, scorer)) is None:
                return
            del scorer  # before the next one is made
            self._take_back(verdict, trial, *found)
        for place in tuple(verdict.accepted):
            verdict.take_back(place, SILENCES)

    def _first_against(self, loud: Sequence[OldAlert], scorer: FrameScorer) -> tuple[Heard, str] | None:
        for number, alert in enumerate(loud, start=1):
            self._tell(Progress("old alerts", number, len(loud)))
            for heard in self._heard(alert):  # anew: the features of all at once would take too much
                if reason := heard.against(scorer):
                    return heard, reason
        return None

    @cached_property
    def _today(self) -> FrameScorer:
        return self._by_anchor if self._anchor is self._gallery else self._scorer(self._gallery)

    def _with(self, new: Sequence[NewFrame]) -> FrameScorer:
        parameters, device = gallery_parameters(self._gallery), self._extractor.backbone.device
        return self._scorer(WithConfirmed(self._gallery, new, parameters=parameters, device=device))

    def _joined(self, new: Sequence[NewFrame]) -> FrameScorer:
        parameters, device = gallery_parameters(self._gallery), self._extractor.backbone.device
        return self._scorer(WithJoined(self._gallery, new, parameters=parameters, device=device))

    def _scorer(self, normal: NormalFrames) -> FrameScorer:
        gallery = self._gallery if not isinstance(normal, Gallery) else normal
        return frame_scorer(
            normal,
            gallery.calibration,
            size=self._extractor.preprocess.side,
            parameters=gallery_parameters(gallery),
            runtime=self._extractor.backbone.runtime,
        )


def _score(scorer: FrameScorer, features: Features, frame: KeptFrame) -> float:
    found = scorer.score_frame(features, motion=frame.motion, time=frame.frame_time, memory=scorer.new_memory()).score
    if not np.isfinite(found):
        raise InputError("the score is not finite")
    return found


def _history(gallery: Gallery) -> History:
    try:
        return history_of(
            gallery.manifest["note"],
            version=gallery.version,
            frames=len(gallery),
            digest=str(gallery.manifest["digest"]),
        )
    except ValueError as error:
        raise GalleryError(f"{gallery.folder}, {gallery.version}: {error}. Enroll the scene again") from None


def _anchor(gallery: Gallery, history: History) -> Gallery:
    try:
        anchor = Gallery(gallery.folder, history.anchor)
    except (GalleryNotFound, GalleryCorrupt) as error:
        raise GalleryError(
            f"{gallery.folder}: {history.anchor}, the version that was enrolled, cannot be read, and what may join is "
            f"judged by it: enroll the scene again ({error})"
        ) from None
    # One that was pulled keeps the number that its anchor has elsewhere, and here another gallery may have that.
    told = history.anchor_frames, history.anchor_digest or anchor.manifest["digest"]
    if (len(anchor), anchor.manifest["digest"]) != told:
        raise GalleryError(
            f"{gallery.folder}: {history.anchor} is not the version that {gallery.version} was enrolled as, and what "
            "may join is judged by that: follow on the machine that enrolled it, or enroll the scene again"
        )
    return anchor


def follow(
    scene: str,
    follower: Follower,
    candidates: Sequence[Candidate],
    *,
    told: Sequence[Told],
    old: Iterable[OldAlert],
    now: float,
    note: Mapping[str, Any] | None,
    decided: Callable[[Sequence[Candidate]], None],
) -> Followed:
    """Decides about candidates, and makes the new version.

    Args:
        scene: name.
        follower: of its gallery.
        candidates, told, old, now: see :meth:`Follower.decide`.
        note: remarks for the new version's manifest; None = only say what would be done.
        decided: gets the candidates that need not be kept any more.
    """
    verdict, frames = follower.decide(candidates, told=told, old=old, now=now)
    if note is None:
        return Followed(scene, None, len(frames), verdict.refused)
    made = follower.join(frames, now=now, note=note) if frames else None
    try:
        decided([candidates[place] for place in (*verdict.accepted, *verdict.for_good)])
    except OSError as error:
        raise StreamError(f"scene {scene}: a candidate cannot be removed: {error}") from None
    return Followed(scene, made.version if made else None, len(frames), verdict.refused)
