"""``bench cameras``: how many cameras this machine scores, how late, and what that takes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.bench.accounting import (
    broken,
    camera_row,
    count_cameras,
    latency_figures,
    other_cores,
    process_rows,
)
from stream.bench.camera_run import Measured, Timing, measure, run_settings
from stream.bench.clips import Footage, make_films
from stream.bench.folder import kept_folder
from stream.bench.process_stats import check_supported
from stream.bench.result import BenchResult, Row
from stream.bench.search import largest
from stream.replay import socket_folder

WARM_UP = 10.0
"""Seconds after all cameras are scored that do not count: buffers grow, and the worker reads all galleries in the
background to compare their checksums."""

MOST_CAMERAS = 512
"""The search goes no further: what holds that many needs another benchmark, on several machines."""


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """What ``bench cameras`` was asked for."""

    counts: tuple[int, ...]  # numbers of cameras to measure; with ``find``, the first is where the search begins
    find: bool  # search the largest number that holds
    timing: Timing
    limit_ms: float  # p95 of the age that a number of cameras must keep to count as held
    footage: Footage
    out: Path | None  # folder for footage, galleries and what the runs leave; None: a temporary one


@dataclass(frozen=True, slots=True)
class Trial:
    """One number of cameras, measured."""

    cameras: int
    summary: Row
    processes: tuple[Row, ...]
    each: tuple[Row, ...]  # a row for each camera
    failure: str  # why it does not hold, or ""


def run_cameras(
    options: CameraOptions, *, on_trial: Callable[[Trial], None], stopping: Callable[[], bool]
) -> tuple[BenchResult, list[Trial]]:
    """Measures, and returns the result without the machine, and the trials in the order in which they were made.

    Raises:
        UsageError: the machine cannot be measured so, or OUT holds something else.
        StreamError: stopped, or a run did not come to anything.
    """
    check_supported()
    with kept_folder(options.out) as folder:
        runs = folder / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        trials: dict[int, Trial] = {}

        def holds(cameras: int) -> bool:
            if cameras not in trials:
                trials[cameras] = _trial(runs / f"{cameras}", folder, options, cameras, stopping=stopping)
                on_trial(trials[cameras])
            return not trials[cameras].failure

        summary: dict[str, Any] = {"limit_ms": options.limit_ms, "seconds": options.timing.seconds}
        if options.find:
            summary["largest"] = largest(holds, first=options.counts[0], most=MOST_CAMERAS)
        else:
            summary["held"] = [cameras for cameras in options.counts if holds(cameras)]
    made = list(trials.values())
    return BenchResult("cameras", _described(options), _in_order(made, made), summary), made


def judge(row: Row, limit_ms: float, troubles: Sequence[str]) -> str:
    """Why a number of cameras does not hold, or "".

    Args:
        row: its summary.
        limit_ms: for the p95 of the age.
        troubles: of cameras and processes.
    """
    p95, dropped = row.figures["p95_ms"], row.figures["dropped"]
    if troubles:
        return troubles[0]
    if dropped:
        return f"{dropped:.0f} frame(s) dropped"
    if p95 is None or p95 > limit_ms:
        return f"p95 above {limit_ms:g} ms" if p95 is not None else "no frame was scored"
    return ""


def _trial(run: Path, folder: Path, options: CameraOptions, cameras: int, *, stopping: Callable[[], bool]) -> Trial:
    films = make_films(folder, options.footage, cameras=cameras, stopping=stopping)
    with socket_folder() as sockets:
        settings = run_settings(films, options.footage, sockets=sockets)
        measured = measure(run, settings, options.timing, stopping=stopping)
    return evaluate_trial(measured, limit_ms=options.limit_ms)


def evaluate_trial(measured: Measured, *, limit_ms: float) -> Trial:
    """The rows of a run."""
    counted = count_cameras(measured)
    name = f"{len(counted)} cameras"
    figures: dict[str, float | None] = {
        "captured": float(sum(camera.captured for camera in counted)),
        "scored": float(sum(camera.scored for camera in counted)),
        "dropped": float(sum(camera.lost for camera in counted)),
        **latency_figures(counted),
        "worker_ready_s": measured.first.ready_after,
        "others_cores": other_cores(measured.samples),
    }
    troubles = [f"{camera.camera} is {camera.trouble}" for camera in counted if camera.trouble]
    if reason := broken(measured.first, measured.last, measured.outcome.restarts):
        troubles.insert(0, reason)
    failure = judge(Row(name, figures), limit_ms, troubles)
    return Trial(
        cameras=len(counted),
        summary=Row(name, figures, note=f"fails: {failure}" if failure else "holds"),
        processes=tuple(process_rows(name, measured.samples)),
        each=tuple(camera_row(name, camera) for camera in counted),
        failure=failure,
    )


def rows_to_show(trials: Sequence[Trial], options: CameraOptions) -> tuple[Row, ...]:
    """Rows as people read them: of a search, single cameras only of the largest number that held."""
    held = max((trial.cameras for trial in trials if not trial.failure), default=0)
    return _in_order(trials, [trial for trial in trials if not options.find or trial.cameras == held])


def _in_order(trials: Sequence[Trial], in_full: Sequence[Trial]) -> tuple[Row, ...]:
    """All summaries, then all processes, then single cameras of some."""
    rising, full = (sorted(some, key=lambda trial: trial.cameras) for some in (trials, in_full))
    return (
        *(trial.summary for trial in rising),
        *(row for trial in rising for row in trial.processes),
        *(row for trial in full for row in trial.each),
    )


def _described(options: CameraOptions) -> dict[str, Any]:
    footage = options.footage
    return {
        "cameras": list(options.counts),
        "find": options.find,
        "seconds": options.timing.seconds,
        "warm_up": options.timing.warm_up,
        "limit_ms": options.limit_ms,
        "picture": "x".join(map(str, footage.picture)),
        "native_fps": footage.native_fps,
        "fps": footage.fps,
        "gallery_frames": footage.gallery_frames,
        **{name: dict(section) for name, section in footage.method.items()},
    }
