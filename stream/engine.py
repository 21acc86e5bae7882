"""The scoring engine: one backbone, the galleries of all scenes, frames of many cameras in, scores out.

Shared by the worker, enrolment and evaluation, so that there is one place where frames become scores. A scene that
cannot be scored says why; the others go on.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.alarms import AlarmRule
from spade_core.backbone import load_backbone, resolve_device
from spade_core.calibration import Calibration
from spade_core.campus import SceneMemory
from spade_core.enrolled_view import enrolled_view
from spade_core.errors import GalleryCorrupt, GalleryMismatch, SpadeError
from spade_core.extractor import FeatureExtractor, Features, fingerprint_mismatch
from spade_core.gallery import Gallery
from spade_core.methods import FrameScorer, Parameters, frame_scorer, parameters_from
from spade_core.placement import Placement, ScenePlacement
from spade_core.preprocess import Preprocess
from spade_core.runtime import resolve_runtime
from spade_core.scene_fit import SceneFit
from spade_core.scorer import FrameScore
from stream.batching import Batches, is_out_of_memory
from stream.config import Config

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A scene that is ready to score."""

    name: str
    gallery: Gallery
    scorer: FrameScorer
    preprocess: Preprocess = field(default_factory=Preprocess)  # says which part of a frame its maps show
    placement: ScenePlacement | None = None  # tells whether a camera was moved; None = too little stands still here
    fit: Callable[[], SceneFit] | None = None  # tells how well a picture suits it; None = that cannot be told

    @property
    def calibration(self) -> Calibration:
        """Thresholds."""
        return self.gallery.calibration


@dataclass(frozen=True, slots=True, eq=False)
class ToScore:
    """A frame that is to be scored."""

    camera: str
    scene: str
    time: float  # seconds, by the camera's own clock
    segment: str  # clip; what is remembered of one says nothing of the next
    image: NDArray[np.uint8]  # (S, S, 3) RGB
    motion: NDArray[np.float16] | None  # (GRID, GRID) motion map; None = not known
    threshold_factor: float = 1.0  # an operator's: below 1, what only alerts need is made of weaker frames, too
    candidates: tuple[str, ...] = ()  # scenes that the frame is to be compared with, to choose among them


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A frame's result."""

    score: FrameScore
    scene: Scene
    threshold_factor: float = 1.0  # an operator's; scores are what they are, thresholds are multiplied by it
    fits: Mapping[str, float] = field(default_factory=dict)  # of the candidates: see ``scene_choice.SceneChoice.see``

    @property
    def threshold(self) -> float:
        """Score above which the frame is anomalous: the threshold in force."""
        return self.scene.calibration.threshold * self.threshold_factor

    @property
    def grow_threshold(self) -> float:
        """Score as far as which a mask reaches, at most :attr:`threshold`."""
        return min(self.scene.calibration.grow_threshold * self.threshold_factor, self.threshold)


@dataclass(frozen=True, slots=True)
class NotScored:
    """Why a frame has no result. Never to be read as a low score."""

    reason: str
    fits: Mapping[str, float] = field(default_factory=dict, hash=False)  # of the candidates, as far as they are known


Pending = Callable[[], Scored | NotScored]
"""The answer for a frame that is being scored. Waits for it."""


def extractor_of(config: Config, *, at_once: int = 1) -> FeatureExtractor:
    """The feature extractor that a configuration asks for. Raises BackboneError where it cannot be built.

    Args:
        config: see there.
        at_once: images that are to be scored side by side.
    """
    asked = config.backbone
    backbone = load_backbone(
        asked.name,
        weights=asked.weights,
        device=asked.device,
        runtime=asked.runtime,
        at_once=at_once,
        cache=asked.cache or user_cache(os.environ),
    )
    return FeatureExtractor(backbone, Preprocess(config.method.size, config.method.crop))


def user_cache(environment: Mapping[str, str]) -> Path | None:
    """The user's folder for what can be made again (XDG base directories); None where the user has no home."""
    given = environment.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():
        return Path(given, "spade-stream")
    try:
        return Path.home() / ".cache" / "spade-stream"
    except RuntimeError:
        return None


def runtime_of(config: Config) -> str:
    """What runs the backbone that a configuration asks for, and where, in words. Loads no weights.

    Raises:
        BackboneError: the device or the runtime is not there.
        InputError: there is no such kind of device.
    """
    device = resolve_device(config.backbone.device)
    return f"{resolve_runtime(config.backbone.runtime, device)} on {device}"


def parameters_of(config: Config) -> Parameters:
    """The method's parameters in a configuration."""
    return parameters_from(config.method.parameters())


def alarm_rule_of(config: Config) -> AlarmRule:
    """What the configured alert policy asks of scores, as far as it decides on how many alerts start."""
    # Cooldown and rate cap hold alerts back; a threshold is set as if they did not, so that it errs on the quiet side.
    return AlarmRule(min_duration=config.alerts.min_duration, quiet=config.alerts.end_after)


def open_scene(
    name: str, folder: Path, *, extractor: FeatureExtractor, parameters: Parameters
) -> Scene:
    """Opens a scene's gallery for scoring.

    Raises:
        GalleryNotFound, GalleryCorrupt: see :class:`spade_core.gallery.Gallery`.
        GalleryMismatch: it, or its threshold, was made with something else than what runs; says what differs.
    """
    gallery = Gallery(folder)
    difference = fingerprint_mismatch(extractor.fingerprint(), gallery.fingerprint)
    if difference:
        raise GalleryMismatch(
            f"{folder}: made with something else than what runs: {difference}. Use the same backbone, weights and "
            "size, or enroll the scene again"
        )
    expected, found = dict(parameters.describe()), dict(gallery.calibration.parameters)
    if expected != found:
        raise GalleryMismatch(
            f"{folder}: its threshold was set with {found}, but this configuration says {expected}. Enroll the scene "
            "again, or change 'method' back"
        )
    scorer = frame_scorer(
        gallery,
        gallery.calibration,
        size=extractor.preprocess.side,
        parameters=parameters,
        runtime=extractor.backbone.runtime,
    )
    view = enrolled_view(gallery, extractor.preprocess)
    if view is None or not view.usable:
        why_not = "no thumbnail of its gallery can be read" if view is None else view.why_not
        log.info("scene %s: a camera that is moved will not be noticed: %s", name, why_not)
    usable = view if view is not None and view.usable else None
    return Scene(name, gallery, scorer, extractor.preprocess, usable, cache(lambda: SceneFit(gallery)))


class ScoringEngine:
    """Scores batches over cameras and scenes.

    Args:
        extractor: shared by all scenes.
        parameters: of the method.
        galleries: gallery folder of each scene.
        explain: which frames are compared with whole normal frames (eq. 2): those that alerts show, which ask for it,
            or all. A method that goes by it does it for all anyway.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        parameters: Parameters,
        galleries: Mapping[str, Path],
        *,
        explain: Literal["alerts", "always"] = "alerts",
    ) -> None:
        self._extractor, self._parameters, self._explain = extractor, parameters, explain
        at_once = extractor.backbone.runtime.at_once
        self._pool = ThreadPoolExecutor(at_once, "score") if at_once > 1 else None
        self._batches = Batches()
        self.scenes: dict[str, Scene] = {}
        self.failures: dict[str, SpadeError] = {}  # scenes that cannot be scored
        self.waiting: Mapping[str, str] = {}  # scenes whose gallery is still to come, with why: see change_scenes
        for name, folder in galleries.items():
            self._open(name, folder)
        self._memories: dict[str, tuple[Scene, str, SceneMemory]] = {}  # by camera: what is remembered of a segment
        self._verifier = threading.Thread(target=self._verify, name="verify-galleries", daemon=True)

    def change_scenes(self, galleries: Mapping[str, Path]) -> None:
        """Opens what is new here or has a new version on the disk, and lets go of the rest. Another thread may be
        scoring meanwhile: a scene that is opened anew is scored with its old gallery until the new one is there.

        Args:
            galleries: gallery folder of each scene that is to be scored from now on.
        """
        opened = [name for name, folder in galleries.items() if not self._is_current(name, folder)]
        for name in opened:
            self._open(name, galleries[name])
        for name in self.scenes.keys() - galleries.keys():
            del self.scenes[name]
        for name in self.failures.keys() - galleries.keys():
            del self.failures[name]
        for name in opened:  # afterwards: of many that come at once, none waits until another is read in full
            if name in self.scenes and name not in self.failures:
                self._verify_one(self.scenes[name])

    def placement_of(self, scene: str) -> ScenePlacement | None:
        """What tells whether a camera of a scene was moved; None where nothing can."""
        opened = self.scenes.get(scene)
        return opened.placement if opened is not None else None

    def place(self, scene: str, image: NDArray[np.uint8]) -> Placement | None:
        """How a scoring image (S, S, 3) lies to the scene that was enrolled; None where that cannot be told."""
        placement = self.placement_of(scene)
        try:
            return placement.compare(image) if placement is not None else None
        except (cv2.error, MemoryError) as error:
            log.error("scene %s: whether its camera was moved could not be told: %s", scene, error)
            return Placement(None, 0.0, (0.0, 0.0))

    def forget(self, camera: str) -> None:
        """Forgets what is remembered of a camera's last frames."""
        self._memories.pop(camera, None)

    def warm_up(self) -> None:
        """Scores a black frame in every scene and forgets it, so that it is no camera's first frame that waits for a
        gallery's pages and for buffers. Raises nothing: a scene that cannot be scored says so at its first frame.
        """
        side = self._extractor.preprocess.side
        black = np.zeros((side, side, 3), np.uint8)
        self.score([ToScore(f"warm-up of {scene}", scene, 0.0, "", black, None) for scene in self.scenes])
        self._memories.clear()

    def warm_up_network(self) -> None:
        """The same without any scene: takes black frames through the network, as many as are computed side by side."""
        side = self._extractor.preprocess.side
        black = ToScore("warm-up", "", 0.0, "", np.zeros((side, side, 3), np.uint8), None)
        if self._pool is None:
            found = [self._extract([black])]
        else:
            found = list(self._pool.map(self._extract, [[black]] * self.at_once))
        for result in found:
            if isinstance(result, NotScored):
                log.error("the network cannot be run: %s", result.reason)

    def verify_in_background(self) -> None:
        """Reads all galleries in full; a damaged one turns into a failure of its scene. Takes about a second a
        gigabyte.
        """
        self._verifier.start()

    @property
    def at_once(self) -> int:
        """Frames that are computed side by side; 1: those of a batch go through the network in one pass."""
        return self._extractor.backbone.runtime.at_once

    @property
    def damaged(self) -> list[str]:
        """Scenes whose gallery on this disk is damaged: another copy of it would do."""
        return [scene for scene, failure in dict(self.failures).items() if isinstance(failure, GalleryCorrupt)]

    @property
    def device(self) -> str:
        """What computes: ``cpu``, ``cuda:0``."""
        return str(self._extractor.backbone.device)

    @property
    def degraded(self) -> str:
        """Why fewer frames are scored at once than could be, in words; empty where nothing is amiss."""
        return self._batches.degraded

    def score(self, frames: Sequence[ToScore]) -> list[Scored | NotScored]:
        """Scores B frames; returns B results, in order."""
        return [pending() for pending in self.begin(frames)]

    def begin(self, frames: Sequence[ToScore]) -> list[Pending]:
        """Begins to score B frames; returns B answers to be waited for, to be asked in order.

        Where the runtime works side by side, each frame goes its own way on a core of its own, from pixels to score:
        its features are still in that core's cache when they are compared, and no frame waits for another. Elsewhere
        all go through the network in one pass, when the first answer is asked for.
        """
        # Two frames of one camera have to come one after the other.
        apart = len({frame.camera for frame in frames}) == len(frames)
        if self._pool is not None and apart:
            return [self._pool.submit(self._score_alone, frame).result for frame in frames]
        results = self._score_together(frames)
        return [partial(next, results) for _ in frames]

    def _score_alone(self, frame: ToScore) -> Scored | NotScored:
        return next(self._score_together([frame]))

    def _score_together(self, frames: Sequence[ToScore]) -> Iterator[Scored | NotScored]:
        usable = [frame for frame in frames if any(map(self._is_usable, (frame.scene, *frame.candidates)))]
        answers = self._answers(usable)
        wanted = set(map(id, usable))
        for frame in frames:
            yield next(answers) if id(frame) in wanted else NotScored(self._why_not(frame.scene))

    def _answers(self, frames: Sequence[ToScore]) -> Iterator[Scored | NotScored]:
        for batch, found in self._batches.run(frames, self._extract):
            for row, frame in enumerate(batch):
                if isinstance(found, Features):
                    yield self._score_and_compare(frame, found.row(row))
                else:
                    yield NotScored(f"inference failed: {found.reason}")
            del found  # else the features of two batches were held at once

    def _extract(self, frames: Sequence[ToScore]) -> Features | NotScored:
        try:
            return self._extractor.extract(np.stack([frame.image for frame in frames]))
        except (SpadeError, RuntimeError) as error:  # torch raises RuntimeError for whatever goes wrong in it
            if is_out_of_memory(error):
                raise
            return NotScored(str(error))

    def _is_usable(self, scene: str) -> bool:
        return scene in self.scenes and scene not in self.failures

    def _score_and_compare(self, frame: ToScore, features: Features) -> Scored | NotScored:
        result = self._score_one(frame, features)
        return replace(result, fits=self._fits(frame, features)) if frame.candidates else result

    def _fits(self, frame: ToScore, features: Features) -> dict[str, float]:
        """How well a frame fits each candidate; those that cannot be compared with are left out."""
        fits = {}
        for scene in filter(None, map(self.scenes.get, frame.candidates)):
            if scene.name in self.failures or scene.fit is None:
                continue
            placement = self.place(scene.name, frame.image)
            try:
                elsewhere = placement is not None and placement.in_place is False
                fits[scene.name] = math.inf if elsewhere else scene.fit()(features.pooled.float().cpu().numpy())
            except (SpadeError, RuntimeError, MemoryError) as error:
                log.error("scene %s: whether camera %s shows it could not be told: %s", scene.name, frame.camera, error)
        return fits

    def _score_one(self, frame: ToScore, features: Features) -> Scored | NotScored:
        scene = self.scenes.get(frame.scene)
        if scene is None or scene.name in self.failures:  # only looked at, or another thread has let go of it
            return NotScored(self._why_not(frame.scene))
        of, segment, memory = self._memories.get(frame.camera, (None, None, None))
        if memory is None or of is not scene or segment != frame.segment:
            memory = scene.scorer.new_memory()
            self._memories[frame.camera] = (scene, frame.segment, memory)
        try:
            score = scene.scorer.score_frame(
                features, motion=frame.motion, time=frame.time, memory=memory, threshold_factor=frame.threshold_factor
            )
            if self._explain == "always":
                score.explanation()
            return Scored(score, scene)
        except SpadeError as error:
            if not isinstance(error, ValueError):  # a damaged gallery stays damaged; a bad frame passes
                self.failures[scene.name] = error
            return NotScored(str(error))
        except (RuntimeError, MemoryError, cv2.error) as error:
            return NotScored(f"scoring failed: {error or type(error).__name__}")

    def _why_not(self, scene: str) -> str:
        failure = self.failures.get(scene)
        return str(failure) if failure else self.waiting.get(scene) or f"no gallery is configured for scene {scene!r}"

    def _open(self, name: str, folder: Path) -> None:
        try:
            scene = open_scene(name, folder, extractor=self._extractor, parameters=self._parameters)
        except SpadeError as error:
            self.failures[name] = error
            return
        self.scenes[name] = scene
        self.failures.pop(name, None)

    def _is_current(self, name: str, folder: Path) -> bool:
        """Whether a scene is open with the version of its gallery that is in force."""
        scene = self.scenes.get(name)
        if scene is None or name in self.failures or scene.gallery.folder != folder:
            return False
        try:
            return Gallery(folder).version == scene.gallery.version
        except SpadeError:
            return False  # opening it says what is wrong

    def _verify(self) -> None:
        for scene in list(self.scenes.values()):
            self._verify_one(scene)

    def _verify_one(self, scene: Scene) -> None:
        try:
            for _ in scene.gallery.verify():
                pass
        except SpadeError as error:
            if self.scenes.get(scene.name) is scene:  # else another version has taken its place meanwhile
                self.failures[scene.name] = error


def use_threads(threads: int | None) -> None:
    """Sets how many cores torch may use, and OpenVINO in backbones loaded afterwards; None leaves all of them."""
    if threads is not None:
        torch.set_num_threads(threads)
