"""``demo``: the whole product on a scene of its own making, judged against the truth that the renderer knows."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from spade_core.gallery import Gallery
from spade_core.metrics import roc_auc
from spade_core.metrics.events import EARLY
from stream.campus import CampusScene, Script, ScriptedEvent, test_script
from stream.campus.video import render_video
from stream.commands import enroll_camera
from stream.config import Config, load_config
from stream.errors import StreamError
from stream.overlay import encode
from stream.progress import progress_bar
from stream.replay import expected_frames, finish_folder, prepare_folder, run_with_progress, socket_folder
from stream.report import EventOutcome, Report, write_report
from stream.results import Episode, Results, cards, load_results, timelines
from stream.sheet import tiled
from stream.stopping import StopSignal

CAMERA = "walkway"
NORMAL_SECONDS = 120.0  # walkers only: enrolled
HELD_OUT = 0.4
"""Part of the normal footage that sets the threshold: two minutes are little, and what stays for eight seconds is only
known in what is left of a piece after eight."""

SCORED_FPS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What really happens in the demo's video."""

    events: tuple[ScriptedEvent, ...]
    masks: Mapping[int, NDArray[np.uint8]]  # frame index -> (H, W), 255 = anomalous; frames without anomaly are absent
    fps: float


def run_demo(out: Path, *, seed: int, method: str, stopping: StopSignal) -> int:
    """Runs the demo and returns the exit code: 1 where a required event is missed."""
    began = time.monotonic()
    prepare_folder(out, marker="demo.yaml")
    with socket_folder() as sockets:
        path = out / "demo.yaml"
        path.write_text(_HEADER + yaml.safe_dump(_settings(sockets, method), sort_keys=False), encoding="utf-8")
        config = load_config(path, {})
        camera = config.camera(CAMERA)
        print("1. rendering the scene", flush=True)
        truth = _render(out / "campus.mp4", seed=seed, stopping=stopping)
        print(f"2. enrolling its first {NORMAL_SECONDS:.0f} s, which are normal", flush=True)
        gallery = _enroll(config, stopping)
        print("3. reader, worker, feed and subscribers, as processes of their own; alerts as they arrive:", flush=True)
        outcome = run_with_progress(config, path, expected=expected_frames(camera), stopping=stopping)
    if stopping() or outcome.failed:
        raise StreamError("stopped before the end" if stopping() else f"the run failed: {', '.join(outcome.failed)}")
    results = load_results(scores=config.scores, camera=CAMERA, alerts=out / "alerts.jsonl", recorded_at=0.0)
    if results.not_scored or not results.rows:
        raise StreamError(f"{results.not_scored} of {len(results.rows)} frames could not be scored")
    verdict = judge(results, truth, folder=out)
    frame_auc, pixel_auc = _aucs(results, truth, config)
    finish_folder(out, config, CAMERA)
    shutil.rmtree(out / "maps")  # 90 MB that nobody looks at
    figures = {
        "frame_auc": frame_auc,
        "pixel_auc": pixel_auc,
        "events_found": {outcome.label: outcome.found for outcome in verdict.outcomes},
        "false_alerts": verdict.false_alerts,
        "frames": len(results.rows),
    }
    (out / "demo.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    _overview(out, results, verdict)
    _report(out, results, verdict, gallery, truth, figures)
    return _print_verdict(out, verdict, figures, seconds=time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Alerts held against the truth."""

    outcomes: tuple[EventOutcome, ...]
    matches: Mapping[str, str | None]  # alert id -> true event, None = false alert

    @property
    def false_alerts(self) -> int:
        """Alerts of which no message shows an anomaly."""
        return sum(match is None for match in self.matches.values())


def judge(results: Results, truth: Truth, *, folder: Path) -> Verdict:
    """An alert finds an event if it starts with it and one of its messages masks part of the object while it lasts.

    Args:
        results: alerts with the names of their mask files.
        truth: events and masks.
        folder: that the mask files are relative to.
    """
    hits = {
        episode.alert_id: [event for event in truth.events if _hits(episode, event, truth, folder)]
        for episode in results.episodes
    }
    outcomes = []
    for event in truth.events:
        finders = [e for e in results.episodes if event in hits[e.alert_id]]
        told = min((_told_at(e, event) for e in finders), default=None)
        outcomes.append(
            EventOutcome(
                label=str(event.kind),
                start=event.start - NORMAL_SECONDS,
                end=event.end - NORMAL_SECONDS,
                found=bool(finders),
                required=True,
                delay=None if told is None else max(0.0, told - event.start),
                timeline=CAMERA,
            )
        )
    return Verdict(tuple(outcomes), {i: str(events[0].kind) if events else None for i, events in hits.items()})


def _told_at(episode: Episode, event: ScriptedEvent) -> float:
    """Media time of the episode's first message within the event."""
    return min((m.frame_time for m in episode.messages if event.start <= m.frame_time <= event.end), default=event.end)


def _hits(episode: Episode, event: ScriptedEvent, truth: Truth, folder: Path) -> bool:
    if episode.start < event.start - EARLY:
        return False
    for message in episode.messages:
        true_mask = truth.masks.get(message.frame_seq)
        if not event.start <= message.frame_seq / truth.fps <= event.end or true_mask is None or message.mask is None:
            continue
        mask = cv2.imread(str(folder / message.mask), cv2.IMREAD_GRAYSCALE)
        if mask is not None and bool(((mask > 0) & (true_mask > 0)).any()):
            return True
    return False


_HEADER = "# made by 'spade-stream demo'; relative paths are relative to this file\n"


def _settings(sockets: Path, method: str) -> dict[str, Any]:
    camera = {"id": CAMERA, "source": "campus.mp4", "fps": SCORED_FPS, "mode": "replay", "start": NORMAL_SECONDS}
    return {
        "state": "state",
        "cameras": [camera],
        "gallery": {"folder": "galleries", "holdout": HELD_OUT},
        "method": {"name": method},
        "worker": {"maps": "maps", "explain": "always"},
        "link": {"endpoint": f"ipc://{sockets}/link"},
        "feed": {"endpoint": f"ipc://{sockets}/feed"},
        "console": {"enabled": False},
        "sinks": [{"type": "jsonl", "folder": "."}, {"type": "stdout"}],
    }


def _render(path: Path, *, seed: int, stopping: Callable[[], bool]) -> Truth:
    template = test_script(walk_seed=seed + 1)
    events = tuple(
        ScriptedEvent(event.kind, event.start + NORMAL_SECONDS, event.end + NORMAL_SECONDS) for event in template.events
    )
    script = Script(NORMAL_SECONDS + (template.duration or 0.0), seed + 1, events)
    scene = CampusScene(seed=seed, script=script)
    count = round((script.duration or 0.0) * scene.fps)
    masks: dict[int, NDArray[np.uint8]] = {}
    with progress_bar("render", unit="frame", total=count) as bar:

        def on_frame(index: int, mask: NDArray[np.uint8]) -> None:
            if stopping():
                raise StreamError("stopped")
            if mask.any():
                masks[index] = mask
            bar.update()

        render_video(scene, path, count=count, on_frame=on_frame)
    return Truth(events, masks, scene.fps)


def _enroll(config: Config, stopping: StopSignal) -> Gallery:
    from stream.engine import extractor_of

    normal = config.camera(CAMERA).model_copy(update={"start": 0.0, "seconds": NORMAL_SECONDS})
    return enroll_camera(config, normal, extractor_of(config), capacity=None, stop=stopping)


def _aucs(results: Results, truth: Truth, config: Config) -> tuple[float | None, float | None]:
    """Frame and pixel AUC over the scored frames, plain (no normalisation, no smoothing over time)."""
    folder = config.state.parent / "maps" / CAMERA
    labels = np.array([row.frame_seq in truth.masks for row in results.rows])
    maps, masks = [], []
    for row in results.rows:
        pixels = np.load(folder / f"{row.frame_seq:08d}.npy", allow_pickle=False)
        true_mask = truth.masks.get(row.frame_seq)
        small = (
            np.zeros(pixels.shape, bool)
            if true_mask is None
            else cv2.resize(true_mask, pixels.shape[::-1], interpolation=cv2.INTER_AREA) >= 128
        )
        maps.append(pixels)
        masks.append(small)
    scores = np.array([row.score for row in results.rows], dtype=np.float64)
    return roc_auc(scores, labels), roc_auc(np.stack(maps), np.stack(masks))


def _report(
    out: Path, results: Results, verdict: Verdict, gallery: Gallery, truth: Truth, figures: Mapping[str, Any]
) -> None:
    found = sum(outcome.found for outcome in verdict.outcomes)
    spans = [(str(event.kind), event.start, event.end) for event in truth.events]
    write_report(
        out / "index.html",
        Report(
            title="spade-stream demo",
            subtitle=(
                "A rendered campus walkway, recorded as H.264, read back and scored by the live pipeline.",
                f"Gallery: {len(gallery)} normal frames. Nothing was trained; the threshold comes from normal footage.",
            ),
            summary=(
                ("Events found", f"{found} of {len(verdict.outcomes)}", "cyclist, cart, bag and runner"),
                ("False alerts", str(verdict.false_alerts), f"in {len(results.rows) / SCORED_FPS:.0f} s"),
                ("Frame AUC", _figure(figures["frame_auc"]), "plain"),
                ("Pixel AUC", _figure(figures["pixel_auc"]), "256 x 256"),
            ),
            timelines=timelines(results, name=CAMERA, truth=spans),
            events=verdict.outcomes,
            alerts=cards(results, folder=out, gallery=gallery, matches=verdict.matches, recorded_at=0.0),
            notes=("An event counts as found if an alert starts with it and masks part of the object while it lasts.",),
        ),
    )


def _overview(out: Path, results: Results, verdict: Verdict) -> None:
    """``overview.jpg``: the strongest frame of the alert that found each event, side by side."""
    best = {verdict.matches[e.alert_id]: e.strongest.snapshot for e in results.episodes if verdict.matches[e.alert_id]}
    pictures = [cv2.imread(str(out / snapshot)) for snapshot in best.values() if snapshot]
    readable = [np.asarray(picture, np.uint8) for picture in pictures if picture is not None]
    if readable:
        (out / "overview.jpg").write_bytes(encode(".jpg", tiled(readable, columns=2)))


def _print_verdict(out: Path, verdict: Verdict, figures: Mapping[str, Any], *, seconds: float) -> int:
    print()
    for outcome in verdict.outcomes:
        text = f"found after {outcome.delay:.1f} s" if outcome.delay is not None else "MISSED"
        print(f"  {outcome.label:8} {outcome.start:5.1f} s to {outcome.end:5.1f} s   {text}")
    print(f"  false alerts: {verdict.false_alerts}")
    print(f"  frame AUC {_figure(figures['frame_auc'])}, pixel AUC {_figure(figures['pixel_auc'])}")
    print(f"  look at {out / 'index.html'}   ({seconds:.0f} s)")
    missed = _missed(verdict.outcomes)
    if missed:
        raise StreamError(f"the demo FAILED: missed {', '.join(missed)}")
    return 0


def _missed(outcomes: Sequence[EventOutcome]) -> list[str]:
    return [outcome.label for outcome in outcomes if outcome.required and not outcome.found]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
