"""``bench stages``: what each step of a frame costs, beside the backbone's forward pass, our methods and peers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stream.bench import wholes
from stream.bench.beside import moment, other_cores
from stream.bench.folder import work_folder
from stream.bench.material import Material, ScoringOptions, described, make_material
from stream.bench.pieces import ALERT, READER, WORKER, alert_tasks, reader_tasks, strongest, worker_tasks
from stream.bench.result import BenchResult, Row, machine, quantile, timing
from stream.bench.timed import Task, measure, nothing

WITH_BACKBONE = "{}, with the backbone's pass"

SEARCH, FUSION = f"{WORKER}bank search", f"{WORKER}memory, fusion, smoothing"
"""What campus adds to its features: what a peer's scoring of features that are there is to be compared with."""

MOST_OVER_BACKBONE, LEAST_BELOW_DIFFERENCES, LEAST_BELOW_CDIST = 1.3, 100.0, 5.0
"""The goals: what campus may take of the forward pass that it needs, and how many times faster it is than the two ways
in which SPADE is usually computed."""

_WHOLE = "whole frames"
_FROM_FEATURES = "from features on; of campus: bank search, and memory, fusion, smoothing"
_NOTES = {
    wholes.BACKBONE: "whole network with its head; the image is normalised already",
    wholes.CAMPUS: "whole frame, as the worker does it",
    wholes.EXPLAINED: "whole frame, with retrieval (eq. 2)",
    wholes.SPADE: "whole frame, method: spade",
    wholes.DIFFERENCES: "scoring alone: both frames' features are there",
    wholes.CDIST: "scoring alone",
    wholes.PATCHCORE: "scoring alone",
    f"{READER}decode": "H.264, of every native frame",
    f"{READER}motion": "of every native frame, at most 10 a second",
    f"{ALERT}outbox commit": "waits for the disk",
}


@dataclass(frozen=True, slots=True)
class StageOptions:
    """What ``bench stages`` was asked for."""

    scoring: ScoringOptions
    batches: tuple[int, ...]  # numbers of frames at once, beside one
    seconds: float  # for all timings together
    out: Path | None  # folder to keep footage and gallery in; None: a temporary one


def run_stages(options: StageOptions, *, stopping: Callable[[], bool]) -> BenchResult:
    """Makes footage and a gallery, and times everything in turn.

    Raises:
        UsageError: OUT holds something else.
        SpadeError, StreamError: see ``make_material``.
    """
    with work_folder(options.out) as folder, ExitStack() as opened:
        material = make_material(folder, options.scoring, stopping=stopping)
        tasks, missing = _tasks(material, options, folder, opened)
        device = material.extractor.backbone.device
        began = moment()
        found = measure(tasks, seconds=options.seconds, stopping=stopping, sync=synchronizer(device))
        others = other_cores(began, moment())
        ran = {"ran_in": f"{material.extractor.backbone.runtime.name}, {torch.get_num_threads()} threads"}
    rows = rows_of(tasks, found, missing)
    return BenchResult(
        "stages",
        {**described(options.scoring), **ran, "batches": list(options.batches), "seconds": options.seconds},
        (*rows, *comparisons_of(found)),
        {**sums_of(found), "others_cores": others},
        machine(str(device)),
    )


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Waits until the device is done: a GPU's calls return before their work is."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else nothing


def _tasks(
    material: Material, options: StageOptions, folder: Path, opened: ExitStack
) -> tuple[list[Task], Mapping[str, str]]:
    """All that is timed, in the order of the table; and of what cannot be, why not."""
    batches = [1, *(count for count in options.batches if count != 1)]
    backbone = wholes.backbone_tasks(material, batches)
    shown = strongest(material, wholes.scores_of(material))
    peers, without = wholes.peer_tasks(material)
    campus = wholes.campus_tasks(material, batches)
    tasks = [
        *backbone[:1],
        *reader_tasks(material, opened),
        *worker_tasks(material),
        *alert_tasks(material, shown, folder, opened),
        *campus[:2],
        wholes.spade_task(material),
        *(task for pair in zip(backbone[1:], campus[2:], strict=True) for task in pair),
        *peers,
    ]
    return tasks, {wholes.PATCHCORE: without} if without else {}


def rows_of(tasks: Sequence[Task], found: Mapping[str, Sequence[float]], missing: Mapping[str, str]) -> list[Row]:
    """A row of each task, beside the backbone's for as many frames at once; and of peers with the backbone's pass.

    Args:
        tasks: in the order of the table.
        found: their timings, s.
        missing: names of what could not be timed, with the reason.
    """
    alone = timing(wholes.BACKBONE, found[wholes.BACKBONE], note=_NOTES[wholes.BACKBONE])
    rows = []
    for task in tasks:
        base = None if task.name == wholes.BACKBONE else alone
        note = _NOTES.get(task.name, "")
        if task.per > 1:
            note = "per frame"
            together = wholes.several(wholes.BACKBONE, task.per)
            base = timing(together, found[together]) if task.name != together else alone
        rows.append(timing(task.name, found[task.name], base=base, note=note))
    nothing_found = dict.fromkeys(alone.figures, None)
    rows += [Row(name, nothing_found, note=why) for name, why in missing.items()]
    return [*rows, *(_with_backbone(row, alone) for row in rows if row.name in wholes.PEERS and row.ratio)]


def _with_backbone(peer: Row, alone: Row) -> Row:
    added = {name: (peer.figures[name] or 0.0) + (alone.figures[name] or 0.0) for name in ("median_ms", "least_ms")}
    figures = {**dict.fromkeys(alone.figures, None), **added}
    ratio = added["median_ms"] / (alone.figures["median_ms"] or math.nan)
    return Row(WITH_BACKBONE.format(peer.name), figures, alone.name, ratio, "whole frame: of the two, added")


def comparisons_of(found: Mapping[str, Sequence[float]]) -> list[Row]:
    """What is compared with what: how many times it takes, by the medians and by the least times of both, and what is
    wanted of the medians. The least ones say how it would be on a machine with nothing else to do.
    """
    backbone, campus = ((name,) for name in (wholes.BACKBONE, wholes.CAMPUS))
    peers = {wholes.DIFFERENCES: LEAST_BELOW_DIFFERENCES, wholes.CDIST: LEAST_BELOW_CDIST, wholes.PATCHCORE: None}
    measured = {name: least for name, least in peers.items() if name in found}
    return [
        _compared(found, campus, backbone, _WHOLE, most=MOST_OVER_BACKBONE),
        _compared(found, (wholes.EXPLAINED,), backbone, _WHOLE),
        _compared(found, (wholes.SPADE,), campus, _WHOLE),
        *(_compared(found, (name, wholes.BACKBONE), campus, _WHOLE, least=least) for name, least in measured.items()),
        *(_compared(found, (name,), (SEARCH, FUSION), _FROM_FEATURES) for name in measured),
    ]


def _compared(
    found: Mapping[str, Sequence[float]],
    ours: Sequence[str],
    others: Sequence[str],
    what: str,
    *,
    most: float | None = None,
    least: float | None = None,
) -> Row:
    """What some rows take together, over what some others take together."""

    def together(names: Sequence[str], quantile: Callable[[Sequence[float]], float]) -> float:
        return sum(quantile(found[name]) for name in names)

    figures = {
        "times": together(ours, _median) / together(others, _median),
        "times_at_best": together(ours, min) / together(others, min),
        "at_most": most,
        "at_least": least,
    }
    whole = ours[0] if len(ours) == 1 else WITH_BACKBONE.format(ours[0])
    beside = others[0] if len(others) == 1 else f"{wholes.CAMPUS}, scoring alone"
    return Row(f"{whole} / {beside}", figures, note=what)


def sums_of(found: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What a frame takes in a reader and in the worker, and an alert message on top of that: sums of medians, ms."""

    def total(*beginnings: str) -> float:
        return round(1e3 * sum(_median(times) for name, times in found.items() if name.startswith(beginnings)), 3)

    return {
        "reader_ms": total(READER),
        "worker_ms": round(total(f"{WORKER}wire decode") + 1e3 * _median(found[wholes.CAMPUS]), 3),
        "alert_ms": total(ALERT),
    }


def _median(times: Sequence[float]) -> float:
    return quantile(sorted(times), 0.5)
