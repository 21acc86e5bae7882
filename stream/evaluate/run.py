"""``eval``: a dataset through the ordinary pipeline, and the figures of it. The one entry is :func:`run_eval`.

The effective configuration is left in ``OUT/eval.yaml``: one camera per scene, replayed losslessly.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spade_core.gallery import Gallery
from stream.config import Config, build_config
from stream.durable import write_durably
from stream.errors import StreamError, UsageError
from stream.evaluate.datasets import open_dataset
from stream.evaluate.document import RunFacts, curves_of, metrics_of
from stream.evaluate.galleries import SceneGallery, enroll_missing, find_galleries
from stream.evaluate.maps import MapFigures, judge_maps
from stream.evaluate.options import EvalOptions
from stream.evaluate.pictures import APART, Shown, choose, write_pictures
from stream.evaluate.plan import Plan, Scored
from stream.evaluate.report import write_page
from stream.evaluate.scored import ScoredClip, ScoredScene, load_scene
from stream.evaluate.scoring import Scoring, score_footage
from stream.evaluate.workspace import check_settings, chosen_scenes, link_scene, settings
from stream.progress import progress_bar
from stream.replay import join_scores, prepare_folder, socket_folder
from stream.stopping import StopSignal

CONFIG, METRICS, CURVES, REPORT = "eval.yaml", "metrics.json", "curves.json", "report.html"

Score = Callable[[Plan, dict[str, Any], StopSignal], Scored]
"""Enrolls and scores with a method of ours: the plan, its configuration as plain values, asked to stop -> what came of
it."""


def score_all(plan: Plan, values: dict[str, Any], stopping: StopSignal) -> Scored:
    """On this machine: enrolment, then the pipeline."""
    places, config = settle_galleries(plan, values)
    galleries = enroll_missing(config, plan.footage, places, stop=stopping)
    path = plan.options.out / CONFIG
    scoring = score_footage(config, path, plan.footage, every=plan.options.every, stopping=stopping)
    return read_back(plan, places, galleries, scoring)


def run_eval(options: EvalOptions, *, stopping: StopSignal, score: Score = score_all) -> int:
    """Evaluates, leaves ``metrics.json`` and ``report.html`` in OUT, and returns the exit code.

    Args:
        options: see there.
        stopping: polled.
        score: what scores the clips, unless the method is somebody else's.

    Raises:
        DatasetError: the dataset is not there, or not what its name says.
        UsageError: OUT holds something else, or a value cannot be used.
        StreamError: it is not complete; the figures of what was scored are there all the same.
    """
    document = evaluate(options, stopping=stopping, score=score)
    print(_line(document))
    print(f"look at {options.out / REPORT}")
    if document["incomplete"]:
        raise StreamError("; ".join(document["incomplete"]))
    return 0


def evaluate(options: EvalOptions, *, stopping: StopSignal, score: Score = score_all) -> dict[str, Any]:
    """As :func:`run_eval`; returns what ``metrics.json`` holds."""
    began, started_at = time.monotonic(), time.time()
    dataset = open_dataset(options.dataset, options.root)
    scenes = chosen_scenes(dataset, options.scenes)
    check_settings(options, dataset)
    if options.is_peer:
        from stream.evaluate.peer import load_model

        load_model()
    _prepare(options)
    with socket_folder() as sockets:
        footage = tuple(link_scene(options.out / "work", scene, folder_fps=dataset.fps) for scene in scenes)
        values = settings(options, dataset, footage, sockets=sockets)
        config = build_config(values, where="eval", base=options.out.resolve(), environment={})
        plan = Plan(options, dataset, footage, config)
        (options.out / CONFIG).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        scored = (_score_peer if options.is_peer else score)(plan, values, stopping)
    picks = choose(scored.scenes, plan.which, apart=APART if dataset.kind == "video" else 0.0)
    maps = _judge(plan, scored.scenes, wanted={pick.frame for pick in picks})
    facts = RunFacts(
        frames_per_second=scored.frames_per_second,
        problems=(*scored.problems, *(problem for scene in scored.scenes for problem in scene.problems)),
        started_at=started_at,
        seconds=time.monotonic() - began,
    )
    document = metrics_of(plan, scored.scenes, maps, facts)
    shown = write_pictures(
        picks,
        maps.wanted,
        out=options.out,
        preprocess=plan.preprocess,
        galleries=scored.galleries,
        thresholds=_mask_thresholds(scored, maps),
        folder_fps=dataset.fps,
    )
    _write(plan, scored.scenes, maps, document, shown)
    return document


def _prepare(options: EvalOptions) -> None:
    """An empty OUT; galleries in it that are to be used again stay."""
    inside = options.galleries is not None and options.galleries.resolve() == (options.out / "galleries").resolve()
    if not inside:
        prepare_folder(options.out, marker=CONFIG)
        return
    if not (options.out / CONFIG).exists():
        raise UsageError(f"--out {options.out}: is not of an earlier run of this command; name another folder")
    for entry in options.out.iterdir():
        if entry.name == "galleries":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def settle_galleries(plan: Plan, values: dict[str, Any]) -> tuple[dict[str, SceneGallery], Config]:
    """Where each scene's gallery comes from, and the configuration with that in it, which is also written to OUT."""
    places = find_galleries(plan.config, plan.footage, plan.options.galleries)
    values["scenes"] = {name: {"gallery": str(place.folder)} for name, place in places.items() if place.reused}
    (plan.options.out / CONFIG).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return places, build_config(values, where="eval", base=plan.options.out.resolve(), environment={})


def read_back(
    plan: Plan, places: Mapping[str, SceneGallery], galleries: Mapping[str, Gallery], scoring: Scoring
) -> Scored:
    """What the pipeline has left in OUT: scores, maps and alerts of all scenes."""
    alerting = {name for name, place in places.items() if plan.dataset.kind == "video" and not place.borrowed}
    frames = {name: len(gallery) for name, gallery in galleries.items()}
    return Scored(_load(plan, frames, alerting), galleries, scoring.frames_per_second, scoring.problems)


def _score_peer(plan: Plan, values: dict[str, Any], stopping: StopSignal) -> Scored:
    """Somebody else's method, in this process."""
    from stream.evaluate.peer import score_with_peer  # loads torch

    scoring, frames = score_with_peer(plan.config, plan.footage, every=plan.options.every, stopping=stopping)
    return Scored(_load(plan, frames, set()), {}, scoring.frames_per_second, scoring.problems)


def _load(plan: Plan, gallery_frames: Mapping[str, int], alerting: set[str]) -> tuple[ScoredScene, ...]:
    """Reads back what was scored, and puts the score log where people look for it."""
    scenes = tuple(
        load_scene(
            plan.config,
            footage,
            out=plan.options.out,
            every=plan.options.every,
            gallery_frames=gallery_frames.get(footage.scene.name, 0),
            alerting=footage.scene.name in alerting,
        )
        for footage in plan.footage
    )
    _keep_scores(plan.config, plan.options.out)
    return scenes


def _judge(plan: Plan, scenes: Sequence[ScoredScene], *, wanted: set[tuple[str, int]]) -> MapFigures:
    clips = sum(len(scene.clips) for scene in scenes)
    with progress_bar("judge", unit="clip", total=clips) as bar:

        def done(clip: ScoredClip) -> None:
            bar.update()
            if not plan.options.keep_maps:
                for path in clip.maps:
                    path.unlink(missing_ok=True)

        regions = plan.dataset.kind == "video"
        maps = judge_maps(scenes, plan.preprocess, regions=regions, wanted=wanted, done=done)
    if not plan.options.keep_maps:
        shutil.rmtree(plan.options.out / "maps", ignore_errors=True)
    return maps


def _mask_thresholds(scored: Scored, maps: MapFigures) -> dict[str, tuple[float, float] | None]:
    """Where alerts are asked for, masks are cut as theirs are; else at one false pixel in a hundred."""
    fallback = None if maps.threshold is None else (maps.threshold, maps.threshold)
    return {
        scene.name: fallback
        if scene.threshold is None or scene.name not in scored.galleries
        else (scene.threshold, scored.galleries[scene.name].calibration.grow_threshold)
        for scene in scored.scenes
    }


def _keep_scores(config: Config, out: Path) -> None:
    """``scores/SCENE.csv``; removes what only the running processes needed."""
    for camera in config.cameras:
        join_scores(config.scores / camera.id, out / "scores" / f"{camera.id}.csv")
    shutil.rmtree(config.state, ignore_errors=True)


def _write(
    plan: Plan, scenes: Sequence[ScoredScene], maps: MapFigures, document: dict[str, Any], shown: Sequence[Shown]
) -> None:
    out = plan.options.out
    curves = curves_of(plan, scenes, maps)
    write_durably(out / METRICS, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    write_durably(out / CURVES, json.dumps(curves, allow_nan=False).encode())
    write_page(out / REPORT, plan, scenes, document, curves, shown)


def _line(document: Mapping[str, Any]) -> str:
    names = ("frame_auc_micro", "frame_auc_micro_causal", "pixel_auc", "pro", "rbdc", "tbdc", "event_recall")
    figures = (f"{name} {document[name]:.3f}" for name in names if document[name] is not None)
    return f"{document['frames']} frames: {', '.join(figures) or 'no labels, no figures'}"
