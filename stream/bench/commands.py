"""What each ``bench`` action does. One function an action: (arguments, stop) -> exit code."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stream.bench.result import BenchResult, machine
from stream.bench.table import compare as compared
from stream.bench.table import table
from stream.durable import write_durably
from stream.errors import UsageError
from stream.stopping import StopSignal

_CLUSTER_EVENTS = 15.0  # s from one anomaly to the next at a camera: every node soon has alerts of its own

if TYPE_CHECKING:
    from stream.bench.clips import Footage
    from stream.bench.material import ScoringOptions


def stages(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.bench.stages``."""
    from stream.bench.stages import StageOptions, run_stages

    scoring = _scoring(arguments, gallery_frames=arguments.gallery_frames)
    options = StageOptions(scoring, arguments.batch, arguments.seconds, arguments.out)
    return _show(run_stages(options, stopping=stop), arguments)


def link(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.bench.link``."""
    from stream.bench.link import LinkOptions, run_link

    options = LinkOptions(arguments.picture, arguments.size, arguments.seconds)
    return _show(run_link(options, stopping=stop), arguments)


def gallery(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.bench.galleries``."""
    from stream.bench.galleries import GalleryOptions, run_gallery

    options = GalleryOptions(_scoring(arguments, gallery_frames=1), tuple(sorted(arguments.frames)), arguments.seconds)
    return _show(run_gallery(options, stopping=stop), arguments)


def compare(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Two results side by side."""
    print(compared(BenchResult.read(arguments.old), BenchResult.read(arguments.new)))
    return 0


def cameras(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.bench.cameras``. With ``--check``, exits 1 if a number of cameras does not hold."""
    from stream.bench.camera_run import Timing
    from stream.bench.cameras import WARM_UP, CameraOptions, Trial, rows_to_show, run_cameras
    from stream.bench.clips import EVENT_EVERY

    options = CameraOptions(
        counts=arguments.cameras,
        find=arguments.find,
        timing=Timing(WARM_UP, arguments.seconds),
        limit_ms=arguments.limit_ms,
        footage=_footage(arguments, event_every=EVENT_EVERY),
        out=arguments.out,
    )

    def on_trial(trial: Trial) -> None:
        print(f"{trial.cameras} cameras: {trial.summary.note}", flush=True)

    result, trials = run_cameras(options, on_trial=on_trial, stopping=stop)
    result = replace(result, machine=machine(_device(arguments.device)))
    if arguments.json is not None:
        save(arguments.json, result)
    print(f"\n{table(replace(result, rows=rows_to_show(trials, options)))}")
    held = {trial.cameras for trial in trials if not trial.failure}
    asked = options.counts[:1] if options.find else options.counts
    return 1 if arguments.check and not held.issuperset(asked) else 0


def soak(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.bench.soak``. Exits 1 if a promise was broken."""
    from stream.bench.soak import SoakOptions, run_soak
    from stream.bench.soak_page import write_page
    from stream.bench.soak_plan import faults_named
    from stream.bench.soak_report import broken, tables, to_json

    options = SoakOptions(
        seconds=arguments.minutes * 60,
        cameras=arguments.cameras,
        footage=_footage(arguments, event_every=arguments.event_every),
        seed=arguments.seed,
        every=arguments.every,
        faults=faults_named(arguments.faults),
        out=arguments.out,
        rtsp=arguments.rtsp,
    )
    soaked = run_soak(options, say=lambda line: print(line, flush=True), stopping=stop)
    about = machine(_device(arguments.device))
    document = to_json(soaked, options=options.described(), machine=about)
    write_durably(arguments.out / "soak.json", json.dumps(document, indent=1).encode())
    write_page(arguments.out / "soak.html", soaked)
    print(f"\n{tables(soaked, machine=about)}")
    return 1 if broken(soaked) else 0


def cluster(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """See ``stream.bench.cluster_demo``, or what the option asks for. Exits 1 if a promise was broken."""
    if arguments.assignment:
        return _cluster_assignment(arguments, stop)
    if arguments.cost:
        return _cluster_cost(arguments, stop)
    from stream.cluster.ray_connect import ray_module

    ray_module()  # refused before anything is rendered
    arguments.gallery_frames = arguments.gallery_frames or 150  # below, a threshold cannot be set at every rate
    footage = _footage(arguments, event_every=_CLUSTER_EVENTS)
    return (
        _cluster_overhead(arguments, footage, stop) if arguments.overhead else _cluster_demo(arguments, footage, stop)
    )


def _cluster_demo(arguments: argparse.Namespace, footage: Footage, stop: StopSignal) -> int:
    from stream.bench.cluster_demo import DemoOptions, run_demo
    from stream.bench.cluster_findings import failures

    nodes = arguments.nodes or 3
    if nodes < 2:
        raise UsageError(f"--nodes {nodes}: one dies, and another has to be there: 2 or more")
    options = DemoOptions(arguments.cameras or 24, nodes, footage, arguments.out)
    result, shown = run_demo(options, say=lambda line: print(line, flush=True), stopping=stop)
    _show(replace(result, machine=machine(_device(arguments.device))), arguments)
    return 1 if failures(shown) else 0


def _cluster_overhead(arguments: argparse.Namespace, footage: Footage, stop: StopSignal) -> int:
    from stream.bench.cluster_overhead import OverheadOptions, run_overhead

    options = OverheadOptions(arguments.cameras or 4, arguments.seconds or 60.0, footage, arguments.out)
    result = run_overhead(options, stopping=stop)
    return _show(replace(result, machine=machine(_device(arguments.device))), arguments)


def _cluster_assignment(arguments: argparse.Namespace, stop: StopSignal) -> int:
    from stream.bench.cluster_assignment import AssignmentOptions, run_assignment

    options = AssignmentOptions(arguments.cameras or 1000, arguments.nodes or 50, arguments.seed)
    return _show(run_assignment(options, stopping=stop), arguments)


def _cluster_cost(arguments: argparse.Namespace, stop: StopSignal) -> int:
    from stream.bench.cluster_cost import CostOptions, lines_of, run_cost

    scoring = _scoring(arguments, gallery_frames=arguments.gallery_frames or 1000)
    result = run_cost(CostOptions(scoring, arguments.seconds or 30.0), stopping=stop)
    _show(result, arguments)
    print(f"\n{lines_of(result)}")
    return 0


def _footage(arguments: argparse.Namespace, *, event_every: float) -> Footage:
    from stream.bench.clips import Footage

    return Footage(
        picture=arguments.picture,
        native_fps=arguments.native_fps or arguments.fps,
        fps=arguments.fps,
        gallery_frames=arguments.gallery_frames,
        method={
            "backbone": {"name": arguments.backbone, "runtime": arguments.runtime, "device": arguments.device},
            "method": {"size": arguments.size},
        },
        event_every=event_every,
    )


def _scoring(arguments: argparse.Namespace, *, gallery_frames: int) -> ScoringOptions:
    from stream.bench.material import ScoringOptions  # loads torch

    return ScoringOptions(
        backbone=arguments.backbone,
        weights=arguments.weights,
        size=arguments.size,
        device=arguments.device,
        runtime=arguments.runtime,
        threads=arguments.threads,
        gallery_frames=gallery_frames,
    )


def _show(result: BenchResult, arguments: argparse.Namespace) -> int:
    if arguments.json is not None:
        save(arguments.json, result)
    print(table(result))
    return 0


def save(path: Path, result: BenchResult) -> None:
    """Writes a result as JSON, for ``bench compare``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(result.to_json(), indent=1).encode())


def _device(asked: str) -> str:
    from spade_core.backbone import resolve_device  # loads torch, so not before everything is measured

    return str(resolve_device(asked))
