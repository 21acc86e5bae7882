"""Footage and galleries for cameras that do not exist: rendered and enrolled once, then played over and over.

To render a scene while it is watched would cost more than all that is to be measured. So there are a few short
recordings, which cameras share, and a gallery for each place, enrolled from normal footage of that place. Both stay in
the benchmark's folder, under names that say what they are, and are used again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spade_core.errors import GalleryNotFound
from spade_core.gallery import Gallery
from stream.campus import CampusScene, EventKind, Script, ScriptedEvent, normal_script
from stream.campus.script import USUAL_SECONDS
from stream.campus.video import render_video
from stream.errors import StreamError
from stream.progress import progress_bar

PLACES = (7, 11)
"""Seeds of the places; cameras take them in turn."""

CLIPS_PER_PLACE = 2
"""Recordings of each place, of other people: so cameras of one place do not all alarm at the same moment."""

CLIP_SECONDS = 60.0
"""Length of a recording."""

EVENT_EVERY = 15.0
"""Seconds from one anomaly to the next: alerts are part of what is measured, in a run of half a minute too. Each is
over before the next begins, also for the alert policy, which waits for quiet and then cools down."""

_EVENTS = (EventKind.CYCLIST, EventKind.CART)  # in turn; what is found with certainty at any rate of frames

HOLDOUT = 0.2
"""Part of the normal footage that sets the threshold."""

STOP_WAIT = 10.0
"""Seconds that an enrolment which is told to stop gets for that."""


@dataclass(frozen=True, slots=True)
class Footage:
    """What recordings and galleries are to be like."""

    picture: tuple[int, int]  # width, height in pixels, both even
    native_fps: float  # frames per second recorded
    fps: float  # of them scored
    gallery_frames: int
    method: Mapping[str, Any]  # the sections ``backbone`` and ``method`` of the configuration
    event_every: float = EVENT_EVERY  # s from one anomaly to the next


@dataclass(frozen=True, slots=True)
class Film:
    """What a camera shows, and the gallery of what is normal there."""

    clip: Path
    gallery: Path


def make_films(folder: Path, footage: Footage, *, cameras: int, stopping: Callable[[], bool]) -> list[Film]:
    """One film for each camera, some of them the same; renders and enrolls what is not there yet.

    Args:
        folder: of the benchmark.
        footage: see there.
        cameras: how many.
        stopping: polled.

    Raises:
        StreamError: stopped; or a gallery cannot be made, for the reason that its enrolment printed.
    """
    galleries: dict[int, Path] = {}
    clips: dict[tuple[int, int], Path] = {}
    for index in range(min(cameras, len(PLACES) * CLIPS_PER_PLACE)):
        place, walkers = _place_and_walkers(index)
        clips[place, walkers] = _clip(folder, footage, place, walkers, stopping=stopping)
        if place not in galleries:
            galleries[place] = _gallery(folder, footage, place, stopping=stopping)
    seen = [_place_and_walkers(index) for index in range(cameras)]
    return [Film(clips[place, walkers], galleries[place]) for place, walkers in seen]


def _place_and_walkers(index: int) -> tuple[int, int]:
    """Which place a camera looks at, and the seed of the people whom it sees there."""
    return PLACES[index % len(PLACES)], 1 + index // len(PLACES) % CLIPS_PER_PLACE


def _clip(folder: Path, footage: Footage, place: int, walkers: int, *, stopping: Callable[[], bool]) -> Path:
    every = footage.event_every
    script = Script(CLIP_SECONDS, walkers, tuple(_events(every, offset=every * (walkers - 1) / CLIPS_PER_PLACE)))
    return _recording(folder, footage, f"events{every:g}s", place, script, stopping=stopping)


def _events(every: float, *, offset: float) -> Iterator[ScriptedEvent]:
    for number in range(int(CLIP_SECONDS / every)):
        kind, start = _EVENTS[number % len(_EVENTS)], offset + number * every
        yield ScriptedEvent(kind, start, start + USUAL_SECONDS[kind])


def _recording(
    folder: Path, footage: Footage, what: str, place: int, script: Script, *, stopping: Callable[[], bool]
) -> Path:
    width, height = footage.picture
    seconds = script.duration or 0.0
    name = f"{what}-place{place}-walk{script.walk_seed}-{width}x{height}-{footage.native_fps:g}fps-{seconds:g}s.mp4"
    path = folder / "clips" / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = CampusScene(seed=place, width=width, height=height, fps=footage.native_fps, script=script)
    render_clip(scene, path, f"render {what}, place {place}", stopping=stopping)
    return path


def render_clip(scene: CampusScene, path: Path, label: str, *, stopping: Callable[[], bool]) -> None:
    """Renders a finite scene from its beginning to its end, with a bar under this label.

    Raises:
        StreamError: stopped; nothing is left then.
    """
    count = scene.frame_count or 0
    with progress_bar(label, unit="frame", total=count) as bar:

        def on_progress(done: int, total: int) -> None:
            if stopping():
                raise StreamError("stopped")
            bar.update(done - bar.n)

        render_video(scene, path, count=count, on_progress=on_progress)


def _gallery(folder: Path, footage: Footage, place: int, *, stopping: Callable[[], bool]) -> Path:
    what = {"frames": footage.gallery_frames, "fps": footage.fps, "native": footage.native_fps, **footage.method}
    digest = hashlib.sha256(json.dumps([what, footage.picture], sort_keys=True).encode()).hexdigest()[:8]
    gallery = folder / "galleries" / f"place{place}-{footage.gallery_frames}-{digest}"
    try:
        Gallery(gallery)
    except GalleryNotFound:
        script = normal_script(math.ceil(footage.gallery_frames / (1 - HOLDOUT)) / footage.fps)
        normal = _recording(folder, footage, "normal", place, script, stopping=stopping)
        _enroll(gallery, footage, normal, stopping=stopping)
    return gallery


def _enroll(gallery: Path, footage: Footage, normal: Path, *, stopping: Callable[[], bool]) -> None:
    """In a process of its own, so that this one, which stays beside what is measured, never loads torch."""
    settings = {
        "cameras": [{"id": gallery.name, "source": str(normal.resolve()), "fps": footage.fps}],
        "gallery": {
            "folder": str(gallery.parent.resolve()),
            "capacity": footage.gallery_frames,
            "holdout": HOLDOUT,
        },
        **footage.method,
    }
    config = gallery.parent / f"{gallery.name}.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "stream", "enroll", str(config), "--supervisor", str(os.getpid())]
    process = subprocess.Popen(
        command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )  # its progress goes to standard error, as ours
    try:
        while process.poll() is None:
            if stopping():
                raise StreamError("stopped")
            time.sleep(0.05)
    finally:
        _end(process)
    if process.returncode:
        raise StreamError(f"the gallery of {normal.name} was not made (exit code {process.returncode}; see above)")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
