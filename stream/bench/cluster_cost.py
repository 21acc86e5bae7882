"""``bench cluster --cost``: what a frame costs a worker on this machine, as the configuration of a cluster wants it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from stream.bench import wholes
from stream.bench.beside import moment, other_cores
from stream.bench.folder import work_folder
from stream.bench.material import ScoringOptions, described, make_material
from stream.bench.pieces import WORKER, worker_tasks
from stream.bench.result import BenchResult, Row, machine, quantile, timing
from stream.bench.stages import synchronizer
from stream.bench.timed import measure

AT_ONCE_ON_GPU = 32
"""Cameras that are scored at once on a GPU: one that is worth having in a cluster has so many."""

BUSY = 0.2
"""Cores that other processes may keep busy before the figures say more of them than of the work."""

DECODE = f"{WORKER}wire decode"


@dataclass(frozen=True, slots=True)
class CostOptions:
    """What ``bench cluster --cost`` was asked for."""

    scoring: ScoringOptions
    seconds: float  # for all timings together


def run_cost(options: CostOptions, *, stopping: Callable[[], bool]) -> BenchResult:
    """Times whole frames as a busy worker scores them: a frame of each camera at once, a camera for each core.

    Raises:
        SpadeError, StreamError: see ``make_material``.
    """
    with work_folder(None) as folder:
        material = make_material(folder, options.scoring, stopping=stopping)
        device = material.extractor.backbone.device
        lanes = torch.get_num_threads() if device.type == "cpu" else 1
        at_once = lanes if device.type == "cpu" else AT_ONCE_ON_GPU
        # The second is the one with every frame explained, which only alerts need.
        alone, _, *together = wholes.campus_tasks(material, [1, *([at_once] if at_once > 1 else [])])
        decode = next(task for task in worker_tasks(material) if task.name == DECODE)
        began = moment()
        found = measure(
            [decode, alone, *together], seconds=options.seconds, stopping=stopping, sync=synchronizer(device)
        )
        others = other_cores(began, moment())
        ran_in = f"{material.extractor.backbone.runtime.name}, {torch.get_num_threads()} threads"
    kind = "cpu" if device.type == "cpu" else "gpu"
    summary = {"kind": kind, "lanes": lanes, **costs_of(found, at_once=at_once, lanes=lanes), "others_cores": others}
    asked = {**described(options.scoring), "seconds": options.seconds, "ran_in": ran_in}
    return BenchResult("cluster-cost", asked, rows_of(found), summary, machine(str(device)))


def costs_of(found: Mapping[str, Sequence[float]], *, at_once: int, lanes: int) -> dict[str, float]:
    """Seconds of one lane for a frame: by the medians, and by the least times, as if nothing else ran.

    Args:
        found: timings by name, s for each frame.
        at_once: frames that were scored together.
        lanes: cores that were at work for them; 1 on a GPU.
    """
    scored = found[wholes.several(wholes.CAMPUS, at_once)]
    return {
        "frame_cost_s": _median(found[DECODE]) + lanes * _median(scored),
        "least_s": min(found[DECODE]) + lanes * min(scored),
    }


def rows_of(found: Mapping[str, Sequence[float]]) -> tuple[Row, ...]:
    """What was timed."""
    notes = {DECODE: "one core", wholes.CAMPUS: "all cores on one frame"}
    return tuple(timing(name, times, note=notes.get(name, "per frame, all cores")) for name, times in found.items())


def lines_of(result: BenchResult) -> str:
    """What belongs into a cluster's configuration; with a remark where other processes kept the machine busy."""
    summary = result.summary
    cost, least, others = (summary[name] for name in ("frame_cost_s", "least_s", "others_cores"))
    lines = f"cluster:\n  frame_cost:\n    {summary['kind']}: {_rounded_up(cost)}"
    if others is None or others <= BUSY:
        return lines
    best = f"without them it might be {_rounded_up(least)}"
    return f"{lines}  # others kept {others:.1f} cores busy, {best}: measure again on an idle machine"


def _rounded_up(seconds: float) -> str:
    """Two digits: a cost that is taken to be larger errs on the safe side."""
    step = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return f"{math.ceil(seconds / step - 1e-9) * step:.2g}"


def _median(times: Sequence[float]) -> float:
    return quantile(sorted(times), 0.5)
