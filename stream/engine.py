"""The scoring engine: one backbone, the galleries of all scenes, frames of many cameras in, scores out.

Shared by the worker, enrolment and evaluation, so that there is one place where frames become scores. A scene that
cannot be scored says why; the others go on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.alarms import AlarmRule
from spade_core.backbone import load_backbone, resolve_device
from spade_core.calibration import Calibration
from spade_core.campus import SceneMemory
from spade_core.errors import GalleryMismatch, SpadeError
from spade_core.extractor import FeatureExtractor, Features, fingerprint_mismatch
from spade_core.gallery import Gallery
from spade_core.methods import FrameScorer, Parameters, frame_scorer, parameters_from
from spade_core.preprocess import Preprocess
from spade_core.runtime import Runtime, resolve_runtime
from spade_core.scorer import FrameScore
from stream.config import Config


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A scene that is ready to score."""

    name: str
    gallery: Gallery
    scorer: FrameScorer
    preprocess: Preprocess = field(default_factory=Preprocess)  # says which part of a frame its maps show

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


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A frame's result."""

    score: FrameScore
    scene: Scene


@dataclass(frozen=True, slots=True)
class NotScored:
    """Why a frame has no result. Never to be read as a low score."""

    reason: str


def extractor_of(config: Config, *, batch: int = 1) -> FeatureExtractor:
    """The feature extractor that a configuration asks for. Raises BackboneError where it cannot be built.

    Args:
        config: see there.
        batch: most images that will come at once.
    """
    asked = config.backbone
    backbone = load_backbone(
        asked.name,
        weights=asked.weights,
        device=asked.device,
        runtime=asked.runtime,
        cache=asked.cache or user_cache(os.environ),
    )
    return FeatureExtractor(backbone, Preprocess(config.method.size, config.method.crop), batch=batch)


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
    name: str, folder: Path, *, extractor: FeatureExtractor, parameters: Parameters, runtime: Runtime | None = None
) -> Scene:
    """Opens a scene's gallery for scoring.

    Args:
        name: of the scene.
        folder: of its gallery.
        extractor: of the features that will be scored.
        parameters: of the method.
        runtime: what compares them with the gallery; None = what makes them.

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
        runtime=runtime or extractor.backbone.runtime,
    )
    return Scene(name, gallery, scorer, extractor.preprocess)


class ScoringEngine:
    """Scores batches over cameras and scenes.

    Args:
        extractor: shared by all scenes.
        parameters: of the method.
        galleries: gallery folder of each scene.
        threads: frames compared with their galleries side by side, where several come at once on a CPU.
        explain: which frames are compared with whole normal frames (eq. 2): those that alerts show, which ask for it,
            or all. A method that goes by it does it for all anyway.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        parameters: Parameters,
        galleries: Mapping[str, Path],
        *,
        threads: int = 1,
        explain: Literal["alerts", "always"] = "alerts",
    ) -> None:
        self._extractor, self._explain = extractor, explain
        runtime, side_by_side = extractor.backbone.runtime, threads > 1 and extractor.backbone.device.type == "cpu"
        self._pool = ThreadPoolExecutor(threads, "compare") if side_by_side else None
        if side_by_side:
            runtime = runtime.on_one_core()
        self.scenes: dict[str, Scene] = {}
        self.failures: dict[str, SpadeError] = {}  # scenes that cannot be scored
        for name, folder in galleries.items():
            try:
                self.scenes[name] = open_scene(
                    name, folder, extractor=extractor, parameters=parameters, runtime=runtime
                )
            except SpadeError as error:
                self.failures[name] = error
        self._memories: dict[str, tuple[str, SceneMemory]] = {}  # by camera: segment, and what is remembered of it
        self._verifier = threading.Thread(target=self._verify, name="verify-galleries", daemon=True)

    def verify_in_background(self) -> None:
        """Reads all galleries in full; a damaged one turns into a failure of its scene. Takes about a second a
        gigabyte.
        """
        self._verifier.start()

    def score(self, frames: Sequence[ToScore]) -> list[Scored | NotScored]:
        """Scores B frames in one forward pass; returns B results, in order."""
        scenes = [frame.scene for frame in frames]
        results: list[Scored | NotScored] = [NotScored(self._why_not(scene)) for scene in scenes]
        usable = [b for b, scene in enumerate(scenes) if scene in self.scenes and scene not in self.failures]
        if not usable:
            return results
        try:
            features = self._extractor.extract(np.stack([frames[b].image for b in usable]))
        except (SpadeError, RuntimeError) as error:  # torch raises RuntimeError for whatever goes wrong in it
            for b in usable:
                results[b] = NotScored(f"inference failed: {error}")
            return results
        rows = [features.row(position) for position in range(len(usable))]
        wanted = [frames[b] for b in usable]
        # Two frames of one camera have to come one after the other.
        apart = len(wanted) > 1 and len({frame.camera for frame in wanted}) == len(wanted)
        run = self._pool.map if self._pool is not None and apart else map
        for b, result in zip(usable, run(self._score_one, wanted, rows), strict=True):
            results[b] = result
        return results

    def _score_one(self, frame: ToScore, features: Features) -> Scored | NotScored:
        scene = self.scenes[frame.scene]
        segment, memory = self._memories.get(frame.camera, (None, None))
        if memory is None or segment != frame.segment:
            memory = scene.scorer.new_memory()
            self._memories[frame.camera] = (frame.segment, memory)
        try:
            score = scene.scorer.score_frame(features, motion=frame.motion, time=frame.time, memory=memory)
            if self._explain == "always":
                score.explanation()
            return Scored(score, scene)
        except SpadeError as error:
            if not isinstance(error, ValueError):  # a damaged gallery stays damaged; a bad frame passes
                self.failures[scene.name] = error
            return NotScored(str(error))
        except RuntimeError as error:
            return NotScored(f"scoring failed: {error}")

    def _why_not(self, scene: str) -> str:
        failure = self.failures.get(scene)
        return str(failure) if failure else f"no gallery is configured for scene {scene!r}"

    def _verify(self) -> None:
        for name, scene in list(self.scenes.items()):
            try:
                for _ in scene.gallery.verify():
                    pass
            except SpadeError as error:
                self.failures[name] = error


def use_threads(threads: int | None) -> None:
    """Sets how many cores torch may use, and OpenVINO in backbones loaded afterwards; None leaves all of them."""
    if threads is not None:
        torch.set_num_threads(threads)
