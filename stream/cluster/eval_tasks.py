"""``eval --cluster``: each scene is enrolled and scored on a node, and judged here together with all others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from stream import logs
from stream.cluster.enroll_tasks import marked
from stream.cluster.ray_tasks import ray_runner, wants_gpu
from stream.cluster.task_view import view_of
from stream.cluster.tasks import FOLDER, Outcome, Runner, Task, run_tasks
from stream.cluster_section import ClusterSection
from stream.errors import StreamError, UsageError
from stream.evaluate.parts import PARTS, gather, open_galleries, part_of, scoring_of
from stream.evaluate.plan import Plan, Scored
from stream.evaluate.run import Score, read_back, settle_galleries
from stream.stopping import StopSignal

_PART = "part.json"
_SHARE = "Name a folder for --out that all machines mount, under the same path"

MakeRunner = Callable[[StopSignal, str], AbstractContextManager[Runner]]
"""A runner, told to stop by this, for a backbone on this device."""


def scoring_on(address: str, *, cpus: int | None, runner: MakeRunner | None = None) -> Score:
    """What scores the scenes of an evaluation on the cluster at this address.

    Args:
        address: Ray's.
        cpus: cores of a task; None: as a worker of a cluster has.
        runner: for tests.
    """
    cores = cpus or ClusterSection().worker_cpus

    def on_ray(stop: StopSignal, device: str) -> AbstractContextManager[Runner]:
        return ray_runner(address, cpus=cores, gpus=wants_gpu(device), stop=stop)

    def score(plan: Plan, values: dict[str, Any], stopping: StopSignal) -> Scored:
        return _score(plan, values, stopping, runner or on_ray)

    return score


def _score(plan: Plan, values: dict[str, Any], stopping: StopSignal, runner: MakeRunner) -> Scored:
    places, config = settle_galleries(plan, values)
    scenes = [footage.scene.name for footage in plan.footage]
    parts = plan.options.out / PARTS
    with runner(stopping, plan.options.device) as found, marked(parts, _SHARE) as shared:
        tasks = [
            Task(
                name=scene,
                words=("eval", "--part", f"{FOLDER}/{_PART}"),
                files={_PART: part_of(plan, values, scene).to_text()},
                shared=shared,
            )
            for scene in scenes
        ]
        outcomes = run_tasks(tasks, found, view=view_of("bar"), stop=stopping, environment={})
    done = [scene for scene in scenes if outcomes[scene].code == 0]
    lost = [f"scene {scene}: {_why(outcomes[scene])}" for scene in scenes if scene not in done]
    if not done:
        raise (UsageError if any(outcome.code == 2 for outcome in outcomes.values()) else StreamError)("; ".join(lost))
    for words in lost:  # the figures of the others are worth more than none
        logs.tell(words, level=logging.ERROR)
    gather(config, plan.options.out, done)
    expected = {footage.scene.name: footage.expected(plan.options.every) for footage in plan.footage}
    scoring = scoring_of(expected, {scene: outcomes[scene].result or {} for scene in done}, lost)
    return read_back(plan, places, open_galleries(config, places, done), scoring)


def _why(outcome: Outcome) -> str:
    return outcome.error or f"its command ended with exit code {outcome.code}"
