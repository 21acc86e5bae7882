"""``bench cluster --assignment``: how cameras are placed while nodes die, join and come back, reckoned for many."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

from stream.bench.beside import moment, other_cores
from stream.bench.cluster_hall import FETCH, OPEN, ROUND, Hall, Settling, mixed_nodes
from stream.bench.result import BenchResult, Row, machine, quantile
from stream.cluster.assignment import CameraLoad
from stream.cluster_section import ClusterSection
from stream.errors import StreamError, UsageError

RATES = (2.0, 5.0, 5.0, 10.0)
"""Frames per second that the cameras are drawn from."""

LEAST_NODES = 5
"""A fifth of them dies at once, and that must be one."""


@dataclass(frozen=True, slots=True)
class AssignmentOptions:
    """What ``bench cluster --assignment`` was asked for."""

    cameras: int
    nodes: int  # ``LEAST_NODES`` or more
    seed: int  # of the rates, and of who dies


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to the cluster."""

    name: str
    happen: Callable[[], None]
    note: str = ""


def run_assignment(options: AssignmentOptions, *, stopping: Callable[[], bool]) -> BenchResult:
    """Lets things happen to a cluster, one after the other, and waits each time until all is at rest.

    Raises:
        UsageError: there are too few nodes.
        StreamError: stopped.
    """
    if options.nodes < LEAST_NODES:
        raise UsageError(f"--nodes {options.nodes}: must be {LEAST_NODES} or more, a fifth of them dies at once")
    section, began = ClusterSection(), moment()
    joining = options.nodes // 5
    nodes = mixed_nodes(options.nodes + joining, section)
    hall = Hall(section, {}, nodes)
    rows, plans, prefetches = [], [], []
    for step in _steps(hall, options):
        step.happen()
        homeless = hall.homeless
        settling = hall.settle(stopping=stopping)
        if stopping():
            raise StreamError("stopped")
        rows.append(row_of(step, homeless, settling, hall.loads))
        plans += settling.plan_s
        prefetches += settling.prefetch_s
    summary = {
        "plan_median_ms": _ms(plans, 0.5),
        "plan_p99_ms": _ms(plans, 0.99),
        "plan_largest_ms": _ms(plans, 1.0),
        "prefetch_median_ms": _ms(prefetches, 0.5),
        "prefetches": len(prefetches),
        "rounds": len(plans),
        "others_cores": other_cores(began, moment()),
    }
    return BenchResult("cluster-assignment", _described(options, section), tuple(rows), summary, machine())


def row_of(step: Step, homeless: int, settling: Settling, loads: Mapping[str, float]) -> Row:
    """A step's row.

    Args:
        step: what happened.
        homeless: cameras that it left without a worker.
        settling: what followed.
        loads: of every worker afterwards.
    """
    figures = {
        "homeless": float(homeless),
        "moves": float(settling.moves),
        "placed_rounds": float(settling.placed),
        "scored_s": settling.scored * ROUND,
        "rest_s": settling.rounds * ROUND,
        "at_once": float(settling.at_once),
        "workers": float(len(loads)),
        "least_load": min(loads.values()),
        "mean_load": fsum(loads.values()) / len(loads),
        "largest_load": max(loads.values()),
        "plan_ms": _ms(settling.plan_s, 0.5),
    }
    return Row(step.name, figures, note=step.note if settling.rests else "does not come to rest")


def _steps(hall: Hall, options: AssignmentOptions) -> Iterator[Step]:
    chance = random.Random(options.seed)
    names = sorted(hall.nodes)[: options.nodes]
    new = sorted(hall.nodes.keys() - set(names))
    fifth, most = options.nodes // 5, options.nodes * 3 // 5
    one, several, many = (chance.sample(names, count) for count in (1, fifth, most))

    def grow(first: int, count: int) -> None:
        hall.cameras.update(_cameras(first, count, chance))

    def begin() -> None:
        hall.alive.update(names)
        grow(0, options.cameras)

    yield Step(f"{options.cameras} cameras, {options.nodes} nodes start", begin, "no gallery is cached anywhere")
    yield Step("a node dies", lambda: hall.alive.difference_update(one))
    yield Step("it comes back", lambda: hall.alive.update(one), "its disk still has its galleries")
    yield Step(f"{fifth} nodes die at once", lambda: hall.alive.difference_update(several))
    yield Step(f"{fifth} new nodes join", lambda: hall.alive.update(new), "with empty disks")
    yield Step(f"the {fifth} come back", lambda: hall.alive.update(several))
    extra = max(1, options.cameras // 20)
    yield Step(f"{extra} cameras are added", lambda: grow(options.cameras, extra))
    yield Step(f"{most} nodes die at once", lambda: hall.alive.difference_update(many), "many more than planned for")
    yield Step(f"the {most} come back", lambda: hall.alive.update(many))


def _cameras(first: int, count: int, chance: random.Random) -> dict[str, CameraLoad]:
    made = (f"camera-{number:04}" for number in range(first, first + count))
    return {name: CameraLoad(name, (name,), chance.choice(RATES)) for name in made}


def _described(options: AssignmentOptions, section: ClusterSection) -> dict[str, Any]:
    return {
        "cameras": options.cameras,
        "nodes": options.nodes,
        "seed": options.seed,
        "moves": section.moves,
        "fill": section.fill,
        "copies": section.copies,
        "frame_cost": section.frame_cost.model_dump(),
        "worker_cpus": section.worker_cpus,
        "round_s": ROUND,
        "fetch_s": FETCH,
        "open_s": OPEN,
    }


def _ms(seconds: list[float], part: float) -> float:
    return quantile(sorted(seconds), part) * 1e3
