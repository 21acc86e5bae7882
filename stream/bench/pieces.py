"""The stages that a frame passes, each as a task of its own, called as the reader, the worker and the alerts call them.

``stages`` times them; what they are compared with, and the whole frames, are in ``wholes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.campus import BANK, USUAL_SPEED, CampusParameters, CampusScorer, Channels, SceneMemory
from spade_core.detail import Detail
from spade_core.extractor import Features
from spade_core.methods import motion_meter
from spade_core.place_bank import PlaceBank
from spade_core.preprocess import scoring_image
from spade_core.regions import MaskedRegion, mask_regions
from spade_core.retrieval import NearestFrames
from stream import wire
from stream.bench.material import SCORED_FPS, Material
from stream.bench.timed import Task
from stream.messages import Alert, Evidence, FramePacket, Neighbour, Phase, Region
from stream.outbox import Outbox
from stream.overlay import evidence
from stream.reader import VIEW_QUALITY
from stream.sources import LOOP, open_source
from stream.sources.base import SourceFrame

READER = "reader: "
WORKER = "worker: "
ALERT = "alert: "
"""How the names of the rows begin: what is done for every frame in a reader and in the worker, and what is done only
for a frame that an alert shows."""

SHOWN = 0.8
"""Where no frame of the footage reaches the threshold, regions are cut at this part of the strongest one's score."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The test footage's strongest frame, scored: what an alert would show."""

    features: Features  # B = 1
    pixel_scores: NDArray[np.float32]  # (S, S)
    packet: FramePacket
    threshold: float
    grow_threshold: float


def packets(material: Material) -> list[FramePacket]:
    """The samples as messages of a reader."""
    return [
        FramePacket(
            camera="cam-0",
            seq=sample.frame.index,
            frame_time=1.7e9 + sample.frame.media_time,
            media_time=sample.frame.media_time,
            captured_mono=sample.frame.media_time,
            segment="",
            source_size=(sample.frame.image.shape[1], sample.frame.image.shape[0]),
            image=scoring_image(sample.frame.image, material.extractor.preprocess),
            motion=sample.motion,
            view=_jpeg(sample.frame.image),
        )
        for sample in material.samples
    ]


def reader_tasks(material: Material, opened: ExitStack) -> list[Task]:
    """What a reader does. Decoding and motion are of every native frame, the others of every one that is scored.

    Args:
        material: see there.
        opened: what must be closed afterwards goes there.
    """
    preprocess = material.extractor.preprocess
    decoded, natives = (_played(material.clip, opened) for _ in range(2))
    meter = motion_meter(material.parameters, preprocess)
    images = cycle([sample.frame.image for sample in material.samples])
    messages = cycle(packets(material))

    def motion(frame: SourceFrame) -> None:
        meter.see(frame.image, frame.media_time, frame.segment)
        meter.measure()

    return [
        Task(f"{READER}decode", lambda _: next(decoded)),
        Task(f"{READER}motion", motion, lambda: next(natives)),
        Task(f"{READER}scoring image", lambda image: scoring_image(image, preprocess), lambda: next(images)),
        Task(f"{READER}JPEG view", _jpeg, lambda: next(images)),
        Task(f"{READER}wire encode", wire.encode_frame, lambda: next(messages)),
    ]


def worker_tasks(material: Material) -> list[Task]:
    """What the worker does for every frame; together about what ``campus scorer`` is."""
    extractor, parameters = material.extractor, campus_parameters(material)
    arrived = cycle([[bytes(part) for part in wire.encode_frame(packet)] for packet in packets(material)])
    images = cycle(material.images)
    bank = PlaceBank(
        _array(material, BANK),
        shapes=extractor.level_shapes,
        average=parameters.average,
        reach=parameters.reach,
        runtime=extractor.backbone.runtime,
    )
    return [
        Task(f"{WORKER}wire decode", lambda parts: wire.decode_frame(wire.decode(parts)), lambda: next(arrived)),
        Task(f"{WORKER}extract (trunk)", lambda image: extractor.extract(image[None]), lambda: next(images)),
        Task(
            f"{WORKER}bank search",
            lambda features: bank.distances(features.levels),
            lambda: extractor.extract(next(images)[None]),
        ),
        _fusion(material, bank),
    ]


def alert_tasks(material: Material, shown: Shown, folder: Path, opened: ExitStack) -> list[Task]:
    """What is done for a frame that an alert shows, on top of that. Explaining every frame does the first two for all.

    Args:
        material: see there.
        shown: the frame.
        folder: for the outbox; on the disk that is to be timed.
        opened: what must be closed afterwards goes there.
    """
    nearest = NearestFrames(np.asarray(material.gallery.pooled))
    detail = Detail(material.gallery, nearest)
    images = cycle(material.images)
    pooled = cycle([material.extractor.extract(image[None]).pooled.float().cpu().numpy() for image in material.images])
    drawn = _Drawing(shown, detail.map(shown.features))
    return [
        Task(
            f"{ALERT}pooled features (head)",
            lambda features: features.pooled,
            lambda: material.extractor.extract(next(images)[None]),
        ),
        Task(f"{ALERT}retrieval (eq. 2)", lambda query: nearest.search(query, 1), lambda: next(pooled)),
        Task(f"{ALERT}detail map", lambda _: detail.map(shown.features)),
        Task(f"{ALERT}regions, evidence", lambda _: drawn.draw()),
        _commit(drawn, opened.enter_context(Outbox(folder / "outbox.sqlite", folder / "evidence"))),
    ]


def _fusion(material: Material, bank: PlaceBank) -> Task:
    """From the maps of the channels to the score, with a memory that is full."""
    parameters, extractor = campus_parameters(material), material.extractor
    scorer = CampusScorer(
        material.gallery, size=extractor.preprocess.side, parameters=parameters, runtime=extractor.backbone.runtime
    )
    usual, scales = _array(material, USUAL_SPEED), material.gallery.calibration.scales
    maps = [
        (bank.distances(extractor.extract(image[None]).levels), sample.motion)
        for image, sample in zip(material.images, material.samples, strict=True)
        if sample.motion is not None
    ]
    given, memory, clock = cycle(maps), SceneMemory(parameters.persistence), count(step=1 / SCORED_FPS)

    def fuse(given: tuple[NDArray[np.float32], NDArray[np.float16]]) -> float:
        appearance, motion = given
        speed = np.asarray(motion.astype(np.float32) / usual, np.float32)
        channels = Channels(appearance, speed, memory.lasting(appearance, next(clock)))
        return float(scorer.fused(channels, scales).max())

    for _ in range(round(parameters.persistence * SCORED_FPS) + 1):
        fuse(next(given))
    return Task(f"{WORKER}memory, fusion, smoothing", fuse, lambda: next(given))


class _Drawing:
    """The pictures and the message of an alert."""

    def __init__(self, shown: Shown, detail: NDArray[np.float32]) -> None:
        self._shown, self._detail = shown, detail
        self._count = 0

    def draw(self) -> tuple[tuple[MaskedRegion, ...], Evidence]:
        """As ``stream.alerting`` does it."""
        shown = self._shown
        mask, found = mask_regions(
            shown.pixel_scores,
            size=shown.packet.source_size,
            threshold=shown.threshold,
            grow_threshold=shown.grow_threshold,
            detail=self._detail,
        )
        regions = tuple(Region(r.bbox, r.polygon, r.area, r.peak) for r in found)
        return found, evidence(shown.packet.view, mask, regions, caption="cam-0  start  1.20 x threshold")

    def alert(self, found: tuple[MaskedRegion, ...]) -> Alert:
        """A message that no other has been like."""
        self._count += 1
        packet = self._shown.packet
        return Alert(
            seq=0,
            alert_id=f"cam-0-{self._count}",
            phase=Phase.START,
            camera="cam-0",
            scene="bench",
            started_at=packet.frame_time,
            frame_time=packet.frame_time,
            frame_seq=packet.seq,
            score=1.2,
            threshold=1.0,
            regions=tuple(Region(r.bbox, r.polygon, r.area, r.peak) for r in found),
            neighbours=(Neighbour(0, 1.0, "normal.mp4", 0.0),),
        )


def _commit(drawn: _Drawing, outbox: Outbox) -> Task:
    found, pictures = drawn.draw()
    return Task(f"{ALERT}outbox commit", lambda alert: outbox.commit(alert, pictures), lambda: drawn.alert(found))


def strongest(material: Material, scores: list[NDArray[np.float32]]) -> Shown:
    """The frame with the highest score.

    Args:
        material: see there.
        scores: (S, S) of each of its samples.
    """
    index = int(np.argmax([pixels.max() for pixels in scores]))
    calibration, peak = material.gallery.calibration, float(scores[index].max())
    threshold = min(calibration.threshold, SHOWN * peak)
    return Shown(
        features=material.extractor.extract(material.images[index][None]).kept(),
        pixel_scores=scores[index],
        packet=packets(material)[index],
        threshold=threshold,
        grow_threshold=threshold * calibration.grow_threshold / calibration.threshold,
    )


def campus_parameters(material: Material) -> CampusParameters:
    """The method's parameters, which are those of campus."""
    assert isinstance(material.parameters, CampusParameters)
    return material.parameters


def _array(material: Material, name: str) -> NDArray[Any]:
    array = material.gallery.array(name)
    assert array is not None, "the gallery was made for campus, which keeps it"
    return array


def _played(clip: Path, opened: ExitStack) -> Iterator[SourceFrame]:
    source = open_source(f"{LOOP}{clip}")
    opened.callback(source.close)
    return source.frames()


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    """The whole frame, as a reader sends it."""
    done, view = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, VIEW_QUALITY])
    assert done
    return np.asarray(view).tobytes()
