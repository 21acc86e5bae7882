"""``replay``: a recording through the same reader, link, worker, policy, outbox, feed and sink as a live camera,
losslessly.

The effective configuration is left in ``OUT/replay.yaml``; ``spade-stream run OUT/replay.yaml`` does the same again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from spade_core.gallery import Gallery
from spade_core.methods import gallery_parameters
from stream import machine, programs
from stream.config import Config, build_config
from stream.config_sections import CameraSection
from stream.durable import write_durably
from stream.endless import is_endless
from stream.errors import StreamError, UsageError
from stream.health import read_status
from stream.progress import Form, Step, progress_bar, progress_reporter
from stream.report import Report, write_report
from stream.results import Results, cards, load_results, timelines
from stream.sources import check_source, describe_source, local_path
from stream.supervisor import Outcome

CAMERA = "replay"
"""Camera id of what is replayed."""

_STATUS_EVERY = 0.5  # s between two looks at how far it is


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What ``replay`` was asked for."""

    source: str
    gallery: Path
    out: Path
    fps: float | None = None  # None: every frame
    folder_fps: float = 10.0
    start: float = 0.0  # s
    seconds: float | None = None
    recorded_at: datetime | None = None
    weights: Path | None = None
    device: str = "auto"
    maps: bool = False  # keep score maps


def run_replay(options: ReplayOptions, *, stopping: Callable[[], bool]) -> int:
    """Replays, reports, and returns the exit code.

    Raises:
        SourceNotFound, GalleryError: there is nothing to replay, or nothing to compare with.
        UsageError: the source has no end, there is no such file of weights, or OUT holds something else.
        BackboneError, InputError: there is no such device.
    """
    check_source(options.source)
    if options.weights is not None and not options.weights.is_file():
        raise UsageError(f"--weights {options.weights}: there is no such file")
    from stream.engine import runtime_of  # loads torch

    gallery = Gallery(options.gallery)
    for _ in gallery.verify():
        pass
    with socket_folder() as sockets:
        settings = _settings(options, gallery, sockets)
        config = build_config(settings, where="replay", base=options.out.resolve(), environment={})
        camera = config.camera(CAMERA)
        if is_endless(camera):
            raise UsageError(f"{describe_source(options.source)} has no end: use 'spade-stream run' for live sources")
        runtime_of(config)  # a worker that finds no device is started again and again, for minutes
        prepare_folder(options.out, marker="replay.yaml")
        path = options.out / "replay.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        outcome = run_with_progress(config, path, expected=expected_frames(camera), stopping=stopping)
    results = load_results(
        scores=config.scores, camera=CAMERA, alerts=options.out / "alerts.jsonl", recorded_at=camera.recorded_at_unix
    )
    finish_folder(options.out, config, CAMERA)
    _report(options, gallery, results, camera, outcome)
    return _summary(options, results, outcome, stopped=stopping())


def method_settings(gallery: Gallery, *, weights: Path | None, device: str) -> dict[str, Any]:
    """Backbone and method sections that fit a gallery.

    Raises:
        GalleryMismatch: it was made by a method that this version does not have.
    """
    preprocessing = gallery.fingerprint["preprocessing"]
    image = {"size": preprocessing["size"]}
    if (crop := preprocessing.get("crop")) is not None:
        image["crop"] = crop
    parameters = dict(gallery_parameters(gallery).describe())
    name = parameters.pop("method")
    backbone = {"name": gallery.fingerprint["backbone"], "weights": None if weights is None else str(weights.resolve())}
    return {"backbone": {**backbone, "device": device}, "method": {"name": name, **image, **parameters}}


def _settings(options: ReplayOptions, gallery: Gallery, sockets: Path) -> dict[str, Any]:
    path = local_path(options.source)
    camera = {
        "id": CAMERA,
        "source": options.source if path is None else str(path.resolve()),
        "scene": CAMERA,
        "fps": options.fps,
        "mode": "replay",
        "folder_fps": options.folder_fps,
        "start": options.start,
        "seconds": options.seconds,
        "recorded_at": options.recorded_at,
    }
    return {
        "state": "state",
        "cameras": [camera],
        "scenes": {CAMERA: {"gallery": str(options.gallery.resolve())}},
        **method_settings(gallery, weights=options.weights, device=options.device),
        "worker": {"maps": "maps" if options.maps else None, "explain": "always"},
        "link": {"endpoint": f"ipc://{sockets}/link"},
        "feed": {"endpoint": f"ipc://{sockets}/feed"},
        "console": {"enabled": False},
        "sinks": [{"type": "jsonl", "folder": "."}],
    }


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A private folder with a short name, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="spade-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare_folder(out: Path, *, marker: str) -> None:
    """Makes OUT, or empties it where an earlier run of the same command made it.

    Raises:
        UsageError: it holds something else, which is left alone.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file")
    if out.is_dir() and any(out.iterdir()):
        if not (out / marker).exists():
            raise UsageError(
                f"--out {out}: is not empty and not of an earlier run of this command; name another folder"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


def finish_folder(out: Path, config: Config, camera: str) -> None:
    """Puts the scores where people look for them, and removes what only the running processes needed."""
    join_scores(config.scores / camera, out / "scores.csv")
    shutil.rmtree(config.state, ignore_errors=True)


def join_scores(days: Path, target: Path) -> None:
    """Joins a camera's score files, one a day, into one with one heading."""
    lines: list[bytes] = []
    for part in sorted(days.glob("*.csv")):
        more = part.read_bytes().splitlines(keepends=True)
        lines += more[1:] if lines else more
    write_durably(target, b"".join(lines))


def run_with_progress(
    config: Config,
    path: Path,
    *,
    expected: int | None,
    stopping: Callable[[], bool],
    on_tick: Callable[[], None] = lambda: None,
    form: Form = "bar",
) -> Outcome:
    """Runs the pipeline with a bar that counts the frames that all cameras had scored.

    Args:
        config: what runs.
        path: of its file.
        expected: frames in all; None = not known.
        stopping: polled; True asks for a clean end.
        on_tick: called often meanwhile.
        form: who is told how far it is.

    Raises:
        ProcessMisconfigured: a process cannot work with this configuration.
        StreamError: one breaks off again and again.
    """
    due = 0.0
    with _counter(expected, form) as tell:

        def show() -> None:
            nonlocal due
            on_tick()
            if time.monotonic() < due:
                return
            due = time.monotonic() + _STATUS_EVERY
            cameras = read_status(config.status, now=time.time())["cameras"].values()
            tell(sum(camera["scored"] + camera["not_scored"] for camera in cameras))

        try:
            return machine.run(config, path, stopping=stopping, on_tick=show)
        finally:
            due = 0.0
            show()


@contextmanager
def _counter(expected: int | None, form: Form) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many frames are done."""
    if form == "json":
        with progress_reporter("score", unit="frame", form=form) as report:
            yield lambda done: report(Step("score", done, expected))
        return
    with progress_bar("score", unit="frame", total=expected) as bar:
        yield lambda done: bar.update(done - bar.n)


def expected_frames(camera: CameraSection) -> int | None:
    """Frames of a camera that will be scored; None = its source does not say how long it is."""
    source = programs.open_camera(camera)
    try:
        count, rate = source.info.frame_count, source.info.fps
    finally:
        source.close()
    if count is None or camera.fps is None or rate is None or camera.fps >= rate:
        return count
    return round(count * camera.fps / rate)


def _report(
    options: ReplayOptions, gallery: Gallery, results: Results, camera: CameraSection, outcome: Outcome
) -> None:
    threshold = gallery.calibration.threshold
    above = sum(row.score is not None and row.score > threshold for row in results.rows)
    write_report(
        options.out / "index.html",
        Report(
            title=f"Replay of {Path(options.source).name}",
            subtitle=(
                describe_source(options.source),
                f"gallery {options.gallery}, {gallery.version}, {len(gallery)} frames",
            ),
            summary=(
                ("Alerts", str(len(results.episodes)), ""),
                (
                    "Frames scored",
                    f"{len(results.rows) - results.not_scored:,}",
                    f"{results.not_scored} could not be scored",
                ),
                ("Above the threshold", f"{above:,}", "frames"),
            ),
            timelines=timelines(results, name=Path(options.source).name) if results.rows else (),
            events=None,
            alerts=cards(results, folder=options.out, gallery=gallery, matches={}, recorded_at=camera.recorded_at_unix),
            notes=tuple(f"The run was not complete: {failure}." for failure in outcome.failed),
        ),
    )


def _summary(options: ReplayOptions, results: Results, outcome: Outcome, *, stopped: bool) -> int:
    scored = len(results.rows) - results.not_scored
    print(f"{scored} frames scored, {len(results.episodes)} alert(s): {options.out / 'index.html'}")
    problems = [f"{failure}: the recording was not read to its end" for failure in outcome.failed]
    if results.not_scored:
        reason = next(row.problem for row in results.rows if row.score is None)
        problems.append(f"{results.not_scored} frame(s) could not be scored; the first: {reason}")
    if stopped:
        problems.append("stopped before the end")
    elif not results.rows:
        problems.append("no frame was scored")
    if problems:
        raise StreamError("; ".join(problems))
    return os.EX_OK
