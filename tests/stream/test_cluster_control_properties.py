"""Whatever happens to nodes and stations: once it is over, one worker scores each camera, and all is at rest."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cluster_fakes import FakeWorker, World
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.cluster.model import StationState

EVENTS = ("die", "hang", "answer", "restart", "join", "return", "control", "wait", "cut", "blind", "stall")
HEALED_WITHIN = 60.0  # s: a station that hangs is killed after that, a node that does not answer much sooner given up


class Storm:
    """Things that happen, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lives = {"a": 1, "b": 1}
        for name in self.lives:
            world.fleet.add(name)

    def happen(self, event: str, name: str) -> None:
        fleet = self.world.fleet
        alive = {fleet.disks[id].name for id in fleet.known}
        if event == "control":
            self.world.start()
        elif event == "cut":  # the control is cut off: nobody answers until the end, or who is told to
            self._set_mode("hangs")
        elif event == "stall":
            self.world.time.now += 10
        elif event == "blind" and self._has_worker(name):
            fleet.worker(name).never_ready.add("cam0")
        elif event == "die" and name in alive:
            fleet.kill(name)
        elif event in ("join", "return") and name not in alive:
            self.lives[name] = self.lives.get(name, 0) + 1
            fleet.add(name, life=self.lives[name])
        elif event in ("hang", "answer", "restart") and self._has_worker(name):
            worker = fleet.worker(name)
            if worker.mode != "dead":
                worker.mode = {"hang": "hangs", "answer": "answers", "restart": "dead"}[event]

    def end(self) -> None:
        """The last node that is left is well."""
        for name in ("a", "z"):
            self.happen("join", name)
        self._set_mode("answers")
        for station in self.world.fleet.stations.values():
            if isinstance(station, FakeWorker):
                station.never_ready.clear()

    def _set_mode(self, mode: str) -> None:
        for station in self.world.fleet.stations.values():
            if station.mode != "dead":
                station.mode = mode

    def _has_worker(self, name: str) -> bool:
        fleet = self.world.fleet
        return any(fleet.disks[id].name == name for id, kind, _ in fleet.stations if kind == "worker")


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.sampled_from("abc"), st.sampled_from([0.25, 1.0, 5.0, 12.0])), max_size=12
    )
)
def test_after_any_storm_every_camera_is_scored_once_and_nothing_moves(events: list[tuple[str, str, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), 5)
        storm = Storm(world)
        for event, name, seconds in events:
            storm.happen(event, name)
            world.run(seconds)  # and sees that no place goes back
        storm.end()
        world.run(HEALED_WITHIN)

        workers = [world.fleet.worker(name) for name in names_alive(world)]
        working = {worker.durable: worker for worker in workers}
        for camera, worker in world.places().items():
            assert camera in working[worker].ready
            assert world.camera(camera)["state"] == "LIVE"
        ordered = [camera for worker in working.values() for camera in worker.orders.cameras]
        assert sorted(ordered) == sorted(world.places())
        assert all(worker.state is StationState.RUNNING for worker in working.values())
        read = [camera for name in names_alive(world) for camera in world.fleet.readers(name).orders.cameras]
        assert sorted(read) == sorted(world.places())

        places = {camera: world.control.place(camera) for camera in world.places()}
        if "fell out of work" in world.problems():
            return  # a worker that is relied on again gets cameras some time
        world.run(20)
        assert {camera: world.control.place(camera) for camera in places} == places


def names_alive(world: World) -> list[str]:
    return sorted({world.fleet.disks[id].name for id in world.fleet.known})
