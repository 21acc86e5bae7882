"""Gives the cameras to the scoring workers: decides where each is scored, and orders it. For ``control``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from stream.cluster.assignment import CameraLoad, Move, WorkerLoad, camera_load, plan_moves, prefetch, share, used
from stream.cluster.handover import READY_WITHIN, Handover, Handovers
from stream.cluster.ledger import Counter
from stream.cluster.model import Access, StationState, WorkerOrders, WorkerReport
from stream.cluster.posts import Post
from stream.cluster.roster import Key, Roster
from stream.cluster.trust import Trust
from stream.config import Config
from stream.messages import CameraState

START_WITHIN = 60.0
"""Seconds that a worker may load its network for the first time before its cameras are given to others."""

RESTART_WITHIN = 10.0
"""The same for one that was at work: its process has died, and the network lies in the disk cache."""

AVOID = 60.0
"""Seconds for which no camera is moved to or from a worker, for even loads, that was not ready for one in time."""

AT_WORK = (StationState.RUNNING, StationState.DEGRADED)

WorkerPost = Post[WorkerReport]

_log = logging.getLogger(__name__)


class Scoring:
    """Who scores what.

    Args:
        placed: worker of each camera, from before.
        counter: gives the generations of orders.
    """

    def __init__(self, placed: Mapping[str, str], counter: Counter) -> None:
        self.handovers = Handovers(placed)
        self.workers: dict[str, WorkerPost] = {}  # that answer and are wanted, by durable name
        self.loads: dict[str, WorkerLoad] = {}  # of the same
        self.problems: list[str] = []
        self._counter = counter
        self._cameras: dict[str, CameraLoad] = {}
        self._starting: dict[str, float] = {}  # workers that are not at work, and since when; monotonic
        self._worked: set[str] = set()  # workers that have been at work
        self._trust = Trust()
        self._fetched: dict[str, tuple[str, ...]] = {}  # by moving camera: how far its galleries were
        self._avoided: dict[str, tuple[float, str]] = {}  # until when, and why
        self._ordered: dict[Key, WorkerOrders] = {}
        self._spare_for: tuple[object, dict[str, tuple[str, ...]]] = (None, {})

    def configure(self, config: Config) -> None:
        """Takes the cameras of a configuration."""
        self._cameras = {camera.id: camera_load(camera) for camera in config.cameras}
        self.handovers.keep_cameras(self._cameras)

    def look(self, roster: Roster, config: Config, now: float) -> None:
        """Sees who is there."""
        self.problems = []
        self.workers, self.loads = {}, {}
        for (node_id, _), post in roster.workers.items():
            report = post.report
            if report is None or not post.answering or post.leaving_since is not None:
                continue
            if report.worker in self.workers:
                self.problems.append(f"two stations are called {report.worker}: no two nodes may share a folder")
                continue
            node = roster.nodes.get(node_id)
            on_gpu = config.cluster.gpus and node is not None and node.gpus >= 1
            self.workers[report.worker] = post
            self.loads[report.worker] = _load(report, config, on_gpu=on_gpu)
        self._note_starting(now)

    def all_here(self) -> bool:
        """Whether every worker that has cameras answers: the nodes of a cluster that begins anew come one by one."""
        return self.workers.keys() >= set(self.handovers.placed.values())

    def adopt(self) -> None:
        """Leaves cameras with the workers that say they have them, of those that are not known to be anywhere."""
        for name, post in self.workers.items():
            report = post.report
            for camera in (report.ready or report.cameras) if report is not None else ():
                if camera in self._cameras and camera not in self.handovers.placed:
                    self.handovers.adopt(camera, name)

    def decide(self, config: Config, now: float) -> None:
        """Takes cameras from workers that are gone, gives each to another, and evens out the loads."""
        self._trust.look([name for name in self.workers if self._is_at_work(name)], now)
        self.problems += self._trust.problems
        able = self._able(now)
        self._turn_back(able)
        self.handovers.keep_workers(able)
        self._finish(now)
        at_work = {name for name in able if self._may_get_more(name)} or able
        if self.handovers.untouched:  # at the very beginning all load their networks: each is to get its part
            at_work = able
        for move in self._plan(config, able, at_work, homeless=True):
            self.handovers.place(move.camera, move.target, now=now)
            _log.info("camera %s is given to worker %s", move.camera, move.target)
        self._rescue(at_work, config.cluster.moves, now)
        even = at_work - self._avoided.keys()
        for move in self._plan(config, able, even, homeless=False):
            self._start(move, now)

    def order(self, roster: Roster, access: Access, operator: str | None, *, copies: int) -> None:
        """Says to every worker what it is to do, where that is another thing than before."""
        cameras = self.handovers.cameras_of()
        spare = self._spare(copies)
        awaited = self.handovers.awaited
        for key, post in roster.workers.items():
            if post.report is None:
                continue
            name = post.report.worker if self.workers.get(post.report.worker) is post else ""
            wanted = WorkerOrders(0, cameras.get(name, ()), spare.get(name, ()), access, operator)
            self._order(key, post, wanted)
            post.eager = name in awaited or not post.took_orders
        for key in self._ordered.keys() - roster.workers.keys():
            del self._ordered[key]

    def _spare(self, copies: int) -> dict[str, tuple[str, ...]]:
        """Scenes that each worker keeps ready besides, worked out when something has changed."""
        nodes = {name: load.node for name, load in self.loads.items()}
        asked = (copies, nodes, dict(self._cameras), dict(self.handovers.placed))
        if asked != self._spare_for[0]:
            self._spare_for = asked, prefetch(self._cameras, self.loads, self.handovers.placed, copies=copies)
        return self._spare_for[1]

    def has_reader(self, camera: str) -> bool:
        """Whether some reader, perhaps one outside the cluster, reports to the camera's worker."""
        post = self.workers.get(self.handovers.placed.get(camera, ""))
        said = post.report.cameras.get(camera) if post is not None and post.report is not None else None
        return isinstance(said, Mapping) and said.get("state") not in (None, CameraState.NO_READER)

    def used(self) -> dict[str, float]:
        """Part of each worker's time that its cameras take."""
        return used(self._cameras, self.loads, self.handovers.placed)

    def _order(self, key: Key, post: WorkerPost, wanted: WorkerOrders) -> None:
        before = self._ordered.get(key)
        taken = post.report.generation if post.report is not None else 0
        if before is not None and replace(before, generation=0) == wanted and taken <= before.generation:
            return
        orders = replace(wanted, generation=self._counter.next())
        self._ordered[key] = orders
        post.orders = orders.generation, orders.to_text()

    def _note_starting(self, now: float) -> None:
        at_work = {name for name in self.workers if self._is_at_work(name)}
        self._worked |= at_work
        self._starting = {name: self._starting.get(name, now) for name in self.workers.keys() - at_work}
        self._avoided = {name: why for name, why in self._avoided.items() if now < why[0]}
        self.problems += [why for _, why in self._avoided.values()]

    def _may_get_more(self, name: str) -> bool:
        """Whether it works, and knows what it is to do: one that was silent for a while may still do what it did."""
        knows = self.workers[name].took_orders or self.handovers.has_cameras(name)
        return self._is_at_work(name) and knows and not self._trust.unsteady(name)

    def _is_at_work(self, name: str) -> bool:
        return self.workers[name].state in AT_WORK

    def _able(self, now: float) -> set[str]:
        """Workers that may have cameras. One that does not work yet keeps what it has for a while."""
        there = {name for name, post in self.workers.items() if post.state is not StationState.LEAVING}
        at_work = {name for name in there if self._is_at_work(name)}
        placed = set(self.handovers.placed.values())
        if not at_work or self.handovers.untouched:
            return there
        keeping = {name for name in (there & placed) - at_work if not self._trust.unsteady(name)}
        return at_work | {name for name in keeping if now - self._starting[name] <= self._may_take(name)}

    def _may_take(self, name: str) -> float:
        return RESTART_WITHIN if name in self._worked else START_WITHIN

    def _plan(self, config: Config, able: set[str], among: Iterable[str], *, homeless: bool) -> list[Move]:
        """Moves among some workers; cameras of the others stay where they are, and count for nothing."""
        workers = {name: self.loads[name] for name in among}
        heading = {**self.handovers.placed, **{move.camera: move.target for move in self.handovers.moving.values()}}
        placed = {camera: worker for camera, worker in heading.items() if worker in workers}
        fixed = {camera for camera, worker in heading.items() if worker in able and worker not in workers}
        cameras = {name: load for name, load in self._cameras.items() if name not in fixed}
        waiting = cameras.keys() - placed.keys()
        fill, most = config.cluster.fill, config.cluster.moves
        if homeless:  # all at once: nobody watches them, so that there is nothing to be gained by waiting
            return plan_moves(cameras, workers, placed, moving=(), most=len(waiting), fill=fill) if waiting else []
        moving = self.handovers.moving.keys() | set(self.handovers.settling)
        # Who is excluded here is on the move all the same.
        most = max(0, most - len(moving - cameras.keys()))
        return plan_moves(cameras, workers, placed, moving=moving, most=most, fill=fill)

    def _turn_back(self, able: set[str]) -> None:
        """A camera whose worker is gone while it moves goes on to the other one. Where that would still have to fetch
        its galleries, and another worker has them, it is given to a worker like all others of the one that is gone."""
        at_work = [name for name in able if self._is_at_work(name)]
        for camera, move in list(self.handovers.moving.items()):
            if move.source in able or move.target not in able or not self._missing(camera, move.target):
                continue
            if any(not self._missing(camera, name) for name in at_work):
                self.handovers.call_off(camera)

    def _rescue(self, at_work: set[str], most: int, now: float) -> None:
        """Lets another worker get ready for each camera that its own does not score though it is at work. The camera
        goes there when it is: until then its own may still come to score it."""
        blind = self._trust.blind_for(self.handovers.placed, self._scores, now)
        loads, moving = self.used(), len(self.handovers.moving)
        for camera in sorted(camera for camera, seconds in blind.items() if seconds > READY_WITHIN):
            if camera in self.handovers.moving or (target := self._rescuer(camera, at_work, loads)) is None:
                continue
            if not self._missing(camera, target):
                pass  # it costs nothing to try
            elif moving < most and not self._trust.tried_enough(camera):
                moving += 1
            else:
                continue
            loads[target] += share(self._cameras[camera], self.loads[target])
            own = self.handovers.placed[camera]
            _log.warning("worker %s does not score camera %s: %s is tried", own, camera, target)
            self.handovers.begin(camera, target, now=now)

    def _rescuer(self, camera: str, at_work: set[str], loads: Mapping[str, float]) -> str | None:
        """The least loaded worker that was not tried for a camera, of those with its galleries if there are such."""
        others = at_work - {self.handovers.placed[camera]}
        fit = [name for name in others if name in loads and not self._trust.failed(camera, name)]
        return min(fit, key=lambda name: (self._missing(camera, name), loads[name], name), default=None)

    def _missing(self, camera: str, worker: str) -> int:
        return len(set(self._cameras[camera].scenes) - self.loads[worker].cached)

    def _start(self, move: Move, now: float) -> None:
        if self._trust.failed(move.camera, move.target):
            return
        source = self.handovers.placed.get(move.camera)
        if source is None or not self._scores(move.camera, source):
            self.handovers.place(move.camera, move.target, now=now)  # nobody scores it there: nothing to wait for
        else:
            self.handovers.begin(move.camera, move.target, now=now)
        _log.info("camera %s goes from worker %s to %s, to even out the loads", move.camera, source, move.target)

    def _finish(self, now: float) -> None:
        self._see_progress(now)
        outcome = self.handovers.finish(self._is_ready, now=now)
        for move in outcome.done:
            _log.info("camera %s is scored by worker %s from now on", move.camera, move.target)
        for move in outcome.given_up:
            why = self._why_given_up(move)
            _log.warning("%s", why)
            self._trust.fail(move.camera, move.target, now)
            if self._scores(move.camera, move.source):  # else the camera may be to blame
                self._avoided[move.target] = now + AVOID, why

    def _see_progress(self, now: float) -> None:
        """Who gets on with fetching a gallery is given the time for it."""
        moving = self.handovers.moving
        fetched = {camera: self._fetching(camera, move.target) for camera, move in moving.items()}
        for camera, words in fetched.items():
            if words and words != self._fetched.get(camera, words):
                self.handovers.comes_nearer(camera, now=now)
        self._fetched = fetched

    def _fetching(self, camera: str, worker: str) -> tuple[str, ...]:
        """How far a worker is with the galleries of a camera."""
        report = self.workers[worker].report
        fetching = report.fetching if report is not None else {}
        return tuple(f"{scene}: {fetching[scene]}" for scene in self._cameras[camera].scenes if scene in fetching)

    def _why_given_up(self, move: Handover) -> str:
        words = "; ".join(self._fetching(move.camera, move.target)) or "it does not say why"
        return (
            f"camera {move.camera} stays with worker {move.source}: worker {move.target} was not ready for it in time "
            f"({words})"
        )

    def _scores(self, camera: str, worker: str) -> bool:
        """Whether it scores a camera now, whatever it was told since."""
        post = self.workers.get(worker)
        return post is not None and post.report is not None and self._is_at_work(worker) and camera in post.report.ready

    def _is_ready(self, camera: str, worker: str) -> bool:
        return self._scores(camera, worker) and self.workers[worker].took_orders


def _load(report: WorkerReport, config: Config, *, on_gpu: bool) -> WorkerLoad:
    cluster = config.cluster
    cost, lanes = (cluster.frame_cost.gpu, 1.0) if on_gpu else (cluster.frame_cost.cpu, float(cluster.worker_cpus))
    return WorkerLoad(report.worker, report.node, cost, lanes, frozenset(report.cached))
