"""What the worker shows of every frame: scored, not scored, watched by nobody; and what a failure there costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from pipeline_fakes import short_folder, wait_until
from scoring_fakes import THRESHOLD, a_result
from worker_bench import HIGH, LOW, Bench, FakeLink, a_frame, joined

from spade_core.preprocess import Preprocess
from stream.config import Config, build_config
from stream.endpoints import parse_endpoint
from stream.live import LiveFrame, LivePublisher, LiveSubscriber
from stream.live_views import LiveViews
from stream.programs import _live_views


class FakePublisher:
    """Collects what is published of the cameras that are watched."""

    def __init__(self, *watched: str) -> None:
        self.watched, self.published = watched, list[LiveFrame]()

    def wants(self, camera: str) -> bool:
        return camera in self.watched

    def publish(self, frame: LiveFrame) -> None:
        self.published.append(frame)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    here = Bench(tmp_path)
    yield here
    here.outbox.close()


def shown(bench: Bench, publisher: FakePublisher, *frames: object) -> list[LiveFrame]:
    link = FakeLink([joined(), *([frame] for frame in frames)], bench.log)  # type: ignore[list-item]
    bench.worker(link, lambda: link.empty, live=LiveViews(publisher)).run()
    return publisher.published


def test_every_frame_of_a_watched_camera_is_shown_with_its_score_and_heat(bench: Bench) -> None:
    (view,) = shown(bench, FakePublisher("gate"), a_frame(4, 7, view=b"jpeg"))

    assert (view.camera, view.scene, view.frame_seq, view.frame_time) == ("gate", "yard", 4, 1000.4)
    assert (view.score, view.threshold, view.alert, view.problem) == (7.0, THRESHOLD, None, "")
    assert (view.source_size, view.view_jpeg) == ((64, 48), b"jpeg")
    heat = cv2.imdecode(np.frombuffer(view.heat_png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert heat is not None
    assert heat.shape == (32, 32, 4)
    assert heat[0, 0, 3] > 0  # where the fake engine's score is
    assert heat[31, 31, 3] == 0


def test_a_frame_during_an_alert_names_it(bench: Bench) -> None:
    views = shown(bench, FakePublisher("gate"), *(a_frame(seq, HIGH) for seq in range(3)))

    assert views[0].alert is None
    assert views[2].alert == bench.outbox.read_after(0, limit=1)[0].alert_id


def test_a_frame_that_is_not_scored_is_shown_with_the_reason_and_without_heat(bench: Bench) -> None:
    bench.engine.rule = lambda scene, image: "the gallery is damaged"
    (view,) = shown(bench, FakePublisher("gate"), a_frame(0, HIGH))

    assert (view.score, view.threshold, view.heat_png) == (None, None, b"")
    assert view.problem == "the gallery is damaged"


def test_with_a_crop_the_heat_covers_the_part_that_was_scored(bench: Bench) -> None:
    scene: Any = SimpleNamespace(**(vars(bench.engine.scenes["yard"]) | {"preprocess": Preprocess(256, 128)}))
    result = replace(a_result(LOW), scene=scene)
    bench.engine.score = lambda frames: [result for _ in frames]  # type: ignore[method-assign]
    (view,) = shown(bench, FakePublisher("gate"), a_frame(0, LOW))

    assert view.heat_box == (0.25, 0.25, 0.5, 0.5)


def test_nothing_is_made_of_a_camera_that_nobody_watches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> bytes:
        raise AssertionError("a picture was made that nobody sees")

    monkeypatch.setattr("stream.live_views.heat_png", fail)

    assert shown(bench, FakePublisher("back"), a_frame(0, HIGH)) == []


def test_a_view_that_cannot_be_made_costs_no_score(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> bytes:
        raise cv2.error("no memory")

    monkeypatch.setattr("stream.live_views.heat_png", fail)

    assert shown(bench, FakePublisher("gate"), a_frame(0, HIGH), a_frame(1, HIGH)) == []
    assert [row.score for row in bench.rows()] == [HIGH, HIGH]
    assert "a live view cannot be made: no memory" in caplog.text


def test_a_worker_without_live_views_says_why(bench: Bench) -> None:
    link = FakeLink([joined()], bench.log)
    bench.worker(link, lambda: link.empty, live=LiveViews(None, problem="no room")).run()

    assert bench.status["worker"]["live_problem"] == "no room"


def test_a_viewer_sees_what_a_worker_scores(bench: Bench) -> None:
    with short_folder() as folder:
        endpoint = parse_endpoint(f"ipc://{folder}/run/live.sock")
        with LivePublisher(endpoint) as publisher, LiveSubscriber(endpoint) as viewer:
            viewer.watch(["gate"])
            wait_until(lambda: publisher.wants("gate"))
            link = FakeLink([joined(), [a_frame(4, 7)], [a_frame(9, 7, camera="back")]], bench.log)
            bench.worker(link, lambda: link.empty, live=LiveViews(publisher)).run()

            found = viewer.poll(10.0)
            assert found is not None
            assert (found.camera, found.frame_seq, found.score) == ("gate", 4, 7.0)
            assert viewer.poll(0.05) is None


# Where the socket is


def configured(state: Path, **sections: object) -> Config:
    cameras = [{"id": "gate", "source": "0"}]
    return build_config({"cameras": cameras, "state": str(state), **sections}, where="t", base=state, environment={})


def test_the_socket_is_in_the_private_folder_of_the_run() -> None:
    assert configured(Path("/s")).live_endpoint == "ipc:///s/run/live.sock"


def test_it_is_beside_the_links_socket_where_that_has_a_place_of_its_own() -> None:
    link = {"endpoint": "ipc:///run/spade/link"}

    assert configured(Path("/s"), link=link).live_endpoint == "ipc:///run/spade/link.live"
    assert configured(Path("/s"), link={"endpoint": "tcp://127.0.0.1:5571"}).live_endpoint == "ipc:///s/run/live.sock"


def test_a_long_path_gives_way_to_a_short_one_that_is_the_same_for_all_processes() -> None:
    deep = Path("/" + "deep/" * 30)
    path = configured(deep).live_endpoint.removeprefix("ipc://")

    assert len(path) < 100
    assert Path(path).parent == Path(configured(deep).link_endpoint.removeprefix("ipc://")).parent
    assert configured(deep).live_endpoint == configured(deep).live_endpoint != configured(deep / "er").live_endpoint


def test_a_socket_that_cannot_be_made_costs_the_views_and_not_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    with short_folder() as folder:
        (folder / "run").mkdir()
        (folder / "run").chmod(0o777)  # others could take it over

        with _live_views(configured(folder)) as live:
            assert "may be written by others" in live.problem
            live.show(a_frame(0, LOW), "yard", None, a_result(LOW))  # type: ignore[arg-type]
    assert "there are no live views" in caplog.text
