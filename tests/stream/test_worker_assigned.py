"""A worker of a cluster: it says for which cameras it is ready, and of which it has let go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scoring_fakes import SCENE, FakeEngine
from worker_bench import LOW, Bench, FakeLink, Ticking, a_frame, joined

from spade_core.errors import GalleryNotFound
from stream.assigned import Assigned, AssignedWatch, write_assigned
from stream.messages import CameraState, Mode, StateEvent
from stream.scene_choice import SceneEntry, ScenePlan
from stream.worker import Worker


class Opened(FakeEngine):
    """An engine in which these scenes are open."""

    device = "cpu"

    def __init__(self, *scenes: str) -> None:
        super().__init__()
        self.scenes: Any = {scene: SCENE for scene in scenes}
        self.failures: Any = {}
        self.damaged: list[str] = []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    here = Bench(tmp_path)
    yield here
    here.outbox.close()


def run(bench: Bench, engine: Opened, *rounds: Any, between: Any = lambda worker: None, **settings: Any) -> None:
    """Plays the rounds to a worker that has orders of generation 3."""
    bench.engine = engine
    path = bench.folder / "assigned.json"
    write_assigned(path, Assigned(3))
    watch = AssignedWatch(path)
    watch()
    link = FakeLink([*rounds], bench.log)

    def stopping() -> bool:
        between(worker)
        return link.empty

    worker = bench.worker(link, stopping, assigned=watch, **settings)
    worker.run()


def assigned(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = bench.status["worker"]["assigned"]
    return found


def test_it_is_ready_for_cameras_whose_gallery_is_open_and_for_no_others(bench: Bench) -> None:
    run(bench, Opened("yard"), cameras={"gate": "yard", "back": "dark"})

    assert assigned(bench) == {"generation": 3, "ready": ["gate"]}


def test_without_a_camera_it_runs_and_is_ready_for_none(bench: Bench) -> None:
    run(bench, Opened(), [], [], cameras={})

    assert assigned(bench) == {"generation": 3, "ready": []}
    assert bench.status["worker"]["state"] == "STOPPED"


PLAN = ScenePlan((SceneEntry("day"), SceneEntry("night")), "picture")


@pytest.mark.parametrize(
    ("engine", "ready"),
    [
        (Opened("day", "night"), ["gate"]),
        (Opened("day"), []),  # the other one is on its way
    ],
)
def test_a_camera_with_several_scenes_waits_for_all_of_them(bench: Bench, engine: Opened, ready: list[str]) -> None:
    run(bench, engine, cameras={"gate": "day"}, plans={"gate": PLAN})

    assert assigned(bench)["ready"] == ready


def test_but_not_for_one_that_cannot_be_opened(bench: Bench) -> None:
    engine = Opened("day")
    engine.failures = {"night": GalleryNotFound("there is none")}

    run(bench, engine, cameras={"gate": "day"}, plans={"gate": PLAN})

    assert assigned(bench)["ready"] == ["gate"]


@pytest.mark.parametrize(
    ("in_a_cluster", "said"),
    [(True, ["not scored by this worker any more"]), (False, ["removed from the configuration"])],
)
def test_of_a_camera_that_goes_to_another_worker_an_outbox_does_not_say_for_ever_that_it_is_live(
    bench: Bench, in_a_cluster: bool, said: list[str]
) -> None:
    fewer = bench.settings(cameras={"back": "yard"})

    def between(worker: Worker) -> None:
        if bench.rows("gate"):
            worker.reconfigure(fewer)

    rounds = [joined(mode=Mode.LIVE), [a_frame(1, LOW)], [], []]
    if in_a_cluster:
        run(bench, Opened("yard"), *rounds, between=between)
    else:
        link = FakeLink([*rounds], bench.log)

        def stopping() -> bool:
            between(worker)
            return link.empty

        worker = bench.worker(link, stopping)
        worker.run()

    assert "gate" not in bench.status["cameras"]
    events = [event for event in bench.outbox.events_after(0, limit=100) if event.camera == "gate"]
    assert [event.reason for event in events if str(event.state) == "ENDED"] == said


def test_nor_of_one_that_it_lost_when_it_was_killed(bench: Bench) -> None:
    bench.outbox.record_event(StateEvent("attic", CameraState.LIVE, "frames arrive", 5.0))
    bench.outbox.record_event(StateEvent("cellar", CameraState.ENDED, "end of the source", 6.0))

    run(bench, Opened("yard"), [])

    states = {event.camera: (str(event.state), event.reason) for event in bench.outbox.camera_states()}
    assert states["attic"] == ("ENDED", "not scored by this worker any more")
    assert states["cellar"] == ("ENDED", "end of the source")


def test_damaged_orders_are_a_degraded_state(bench: Bench) -> None:
    said, clock = list[tuple[str, str]](), Ticking()
    watch = AssignedWatch(bench.folder / "assigned.json")
    bench.engine = Opened("yard")
    link = FakeLink([[], [], []], bench.log)
    (bench.folder / "assigned.json").write_text("{")
    watch()

    def stopping() -> bool:
        clock.tick()
        if bench.status_file.exists():
            said.append((bench.status["worker"]["state"], bench.status["worker"]["reason"]))
        return link.empty

    bench.worker(link, stopping, assigned=watch, clock=clock).run()

    assert said[-1][0] == "DEGRADED"
    assert "generation 0 stays in force" in said[-1][1]
