"""The console's cluster: what it makes of what the control says, and that nothing old, damaged or away looks well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_document import a_document, a_worker, an_outbox, changed, processes_of, write_document
from console_fakes import a_config, a_launcher, an_alert, built, caught_up, write_status
from starlette.testclient import TestClient

from stream.cluster.run_command import COLLECT as STARTED_AS
from stream.config import Config
from stream.console.app import make_app
from stream.console.cluster_file import COLLECT, ClusterFile, is_fresh, well_formed
from stream.console.cluster_view import cluster_view, troubles
from stream.console.parts import Parts
from stream.health import STALE_AFTER
from stream.messages import CameraState, Evidence, Phase, iso_time
from stream.outbox import Outbox

NOW = 1_700_000_000.0
SPREAD = {"oak": ("gate", "quad"), "elm": ("dock",)}
RUN = processes_of(COLLECT, "feed")["processes"]


def looked(**states: tuple[CameraState, str]) -> dict[str, dict[str, Any]]:
    """The cameras as the board has them; those that are not named are LIVE."""
    return {
        name: {
            "id": name,
            "scene": name,
            "state": str(state),
            "reason": reason,
            "watched": state is CameraState.LIVE,
            "since": iso_time(NOW - 100),
        }
        for name in ("gate", "quad", "dock")
        for state, reason in [states.get(name, (CameraState.LIVE, ""))]
    }


def view(
    looks: Mapping[str, Mapping[str, Any]] | None = None, /, *, now: float = NOW, **changes: Any
) -> dict[str, Any]:
    """The page, where the control says this now."""
    document = well_formed(a_document(SPREAD, now=NOW, **changes))
    return cluster_view(document, looked() if looks is None else looks, now=now)


def without_elm() -> dict[str, Any]:
    """What is said when the node elm has died, and its camera was not given away yet."""
    well = a_document(SPREAD, now=NOW)
    return {
        "nodes": changed(well["nodes"], "elm", state="GONE", since=NOW - 5, reason="it does not answer"),
        "workers": changed(well["workers"], "elm", state="GONE"),
        "readers": changed(well["readers"], "elm", state="GONE"),
        "outboxes": changed(well["outboxes"], "elm", state="missing", since=NOW - 5),
    }


# -- where all is well ------------------------------------------------------------------------------------------------


def test_where_all_is_well_every_camera_is_watched_and_nothing_is_wrong() -> None:
    page = view()
    assert page["cameras"] == {"all": 3, "watched": 3, "ended": 0, "not_watched": 0}
    assert (page["fresh"], page["troubles"], page["not_watched"], page["problems"]) == (True, 0, [], [])


def test_a_node_shows_its_workers_with_their_load_and_their_cameras() -> None:
    worker = a_worker("oak", ["gate", "quad"], load=0.5, capacity=40.0)
    (elm, oak) = view(workers=[worker])["nodes"]
    assert (elm["name"], oak["name"]) == ("elm", "oak")
    (shown,) = oak["workers"]
    assert (shown["load"], shown["frames_per_second"]) == (0.5, 20.0)  # half of its time, of 40 frames a second
    assert [camera["id"] for camera in shown["cameras"]] == ["gate", "quad"]
    assert (oak["cameras"], oak["reads"]) == (2, 2)


def test_a_worker_whose_node_the_control_does_not_list_is_shown_all_the_same() -> None:
    (oak,) = view(nodes=[], workers=[a_worker("oak", ["gate"])], readers=[])["nodes"]
    assert (oak["name"], oak["state"]) == ("oak", "RUNNING")


# -- what is not watched ----------------------------------------------------------------------------------------------


def test_cameras_with_the_same_trouble_stand_together_the_largest_group_first() -> None:
    gone = (CameraState.NOT_SCORED, "no worker")
    page = view(looked(gate=gone, quad=gone, dock=(CameraState.MOVED, "another view")))
    assert [[each["id"] for each in group["cameras"]] for group in page["not_watched"]] == [["gate", "quad"], ["dock"]]
    assert page["not_watched"][0]["reason"] == "no worker"


def test_reasons_that_differ_are_told_for_each_camera() -> None:
    page = view(looked(gate=(CameraState.OFFLINE, "port 1"), quad=(CameraState.OFFLINE, "port 2")))
    (group,) = page["not_watched"]
    assert group["reason"] is None
    assert [camera["reason"] for camera in group["cameras"]] == ["port 1", "port 2"]


@pytest.mark.parametrize(
    ("state", "where"),
    [
        (CameraState.OFFLINE, ("read", "elm")),
        (CameraState.NO_READER, ("read", "elm")),
        (CameraState.MOVED, ("scored", "oak")),
        (CameraState.NOT_SCORED, ("scored", "oak")),
    ],
)
def test_a_trouble_is_where_its_cause_is(state: CameraState, where: tuple[str, str]) -> None:
    placed = {"gate": {"worker": "oak:0", "reader": "elm:readers"}}
    (group,) = view(looked(gate=(state, "")), cameras=placed)["not_watched"]
    assert (group["what"], group["node"]) == where


@pytest.mark.parametrize(
    ("changes", "doing"),
    [
        ({}, "goes on when it can; else enrol the scene"),
        ({"workers": [a_worker("elm", ["dock"], state="STARTING")]}, "its worker is starting"),
        ({"moves": {"moving": [{"camera": "dock", "target": "oak:0"}]}}, "is being moved to oak:0"),
        ({"moves": {"moving": ["dock"]}}, "is being moved"),
        ({"cameras": {"dock": {"worker": None}}}, "waits for a worker that can take it"),
        ({"cameras": {}}, "the cluster takes it up with the next configuration"),
        ({"workers": [a_worker("elm", ["dock"], state="GONE")]}, "waits for its turn to be moved"),
        (
            {"workers": [a_worker("elm", ["dock"], fetching={"dock": "40 %"})]},
            "its gallery is on its way: 40 %",
        ),
    ],
    ids=[
        "nothing",
        "its worker starts",
        "moved",
        "moved somewhere",
        "nowhere",
        "unknown",
        "its worker is gone",
        "fetching",
    ],
)
def test_what_is_being_done_about_it_is_said(changes: dict[str, Any], doing: str) -> None:
    (group,) = view(looked(dock=(CameraState.NOT_SCORED, "")), **changes)["not_watched"]
    assert group["doing"] == doing


def test_a_recording_at_its_end_is_not_called_unwatched() -> None:
    page = view(looked(dock=(CameraState.ENDED, "read to its end")))
    assert page["cameras"] == {"all": 3, "watched": 2, "ended": 1, "not_watched": 0}
    assert page["not_watched"] == []


# -- what is away -----------------------------------------------------------------------------------------------------


def test_a_node_that_is_gone_stands_first_and_counts_with_its_outbox() -> None:
    page = view(looked(dock=(CameraState.NOT_SCORED, "elm is gone")), **without_elm())
    assert [node["name"] for node in page["nodes"]] == ["elm", "oak"]
    assert page["nodes"][0]["reason"] == "it does not answer"
    assert page["troubles"] == 2, "the node, and the outbox on its disk; its worker and readers go without saying"


def test_what_a_node_that_is_away_says_of_itself_is_not_said_twice() -> None:
    problems = ["node elm (192.0.2.10) is gone since 2023-11-14T22:13:15.000Z", "node elms is odd"]
    assert view(**without_elm(), problems=problems)["problems"] == ["node elms is odd"]


def test_an_outbox_that_is_there_and_gives_nothing_is_a_trouble() -> None:
    page = view(outboxes=[an_outbox("elm"), an_outbox("oak", problem="its feed does not answer")])
    assert (page["troubles"], page["outboxes"][1]["problem"]) == (1, "its feed does not answer")


def test_a_missing_outbox_stands_first_with_what_was_taken_of_it() -> None:
    outboxes = [an_outbox("elm"), an_outbox("oak", state="missing", last_seq=9, taken=7, gaps=[[1, 2]])]
    first, second = view(outboxes=outboxes)["outboxes"]
    assert (first["node"], first["last_seq"], first["taken"], first["gaps"]) == ("oak", 9, 7, [[1, 2]])
    assert second["node"] == "elm"


def test_a_worker_in_trouble_on_a_node_that_is_well_counts() -> None:
    well = a_document(SPREAD, now=NOW)
    assert view(workers=changed(well["workers"], "elm", state="DEGRADED"))["troubles"] == 1


def test_what_the_control_said_long_ago_is_not_how_things_are() -> None:
    late = NOW + STALE_AFTER + 1
    document = well_formed(a_document(SPREAD, now=NOW))
    assert not is_fresh(document, now=late)
    assert troubles(document, now=late) == 1
    page = view(looked(dock=(CameraState.NOT_SCORED, "")), now=late)
    assert page["fresh"] is False
    assert page["not_watched"][0]["doing"] == "not known"


# -- the file ---------------------------------------------------------------------------------------------------------


def test_the_process_that_writes_the_file_is_the_one_that_a_cluster_s_run_starts() -> None:
    assert COLLECT == STARTED_AS


def test_without_a_file_there_is_no_cluster(tmp_path: Path) -> None:
    assert ClusterFile(tmp_path / "cluster.json").read(RUN) is None


def test_the_file_of_an_earlier_run_says_nothing_of_a_run_on_one_machine(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    write_document(path, a_document(SPREAD))
    assert ClusterFile(path).read(processes_of("worker", "feed")["processes"]) is None
    assert ClusterFile(path).read(RUN) is not None


def test_a_new_document_is_seen(tmp_path: Path) -> None:
    path, found = tmp_path / "cluster.json", []
    file = ClusterFile(path)
    for name in ("first", "second"):
        write_document(path, a_document(SPREAD, name=name))
        document = file.read(RUN)
        found.append(document and document["name"])
    assert found == ["first", "second"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"nodes": 3}', '{"nodes": [3]}', '{"cameras": {"gate": 3}}', '{"written": NaN}', "[" * 100_000],
)
def test_a_damaged_file_is_said_and_never_reads_as_well(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(text)
    document = ClusterFile(path).read(RUN)
    assert document is not None
    page = cluster_view(document, looked(), now=NOW)
    assert page["damaged"]
    assert (page["fresh"], page["troubles"]) == (False, 1)


def test_a_time_that_no_clock_shows_is_left_out() -> None:
    well = a_document(SPREAD, now=NOW)
    assert view(nodes=changed(well["nodes"], "oak", since=1e300))["nodes"][1]["since"] is None


# -- the API ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = a_config(tmp_path, cameras=("gate", "quad", "dock"))
    write_status(config, now=time.time())
    Outbox(config.outbox, config.evidence).close()
    return config


@pytest.fixture
def desk(config: Config) -> Iterator[tuple[Parts, TestClient]]:
    with built(config) as parts:
        browser = TestClient(make_app(parts), base_url="http://localhost:8470", client=("127.0.0.1", 50001))
        token = (config.state / "run" / "console-token").read_text().strip()
        assert browser.post("/api/v1/login", json={"token": token}).status_code == 200
        yield parts, browser


def begin(config: Config, parts: Parts, **changes: Any) -> None:
    """The run has a cluster, and the control says this of it."""
    config.processes.write_text(json.dumps(processes_of(COLLECT, "feed")))
    write_document(config.cluster_document, a_document(SPREAD, **changes))
    parts.board.refresh()


def test_one_machine_has_no_cluster(desk: tuple[Parts, TestClient]) -> None:
    _, browser = desk
    assert browser.get("/api/v1/cluster").json() == {"cluster": None}
    assert browser.get("/api/v1/status").json()["cluster"] is None
    assert browser.get("/api/v1/cameras").json()["cameras"][0]["node"] is None


def test_the_cluster_is_told_with_the_states_that_all_pages_show(
    config: Config, desk: tuple[Parts, TestClient]
) -> None:
    parts, browser = desk
    write_status(config, now=time.time(), states={"dock": (CameraState.OFFLINE, "no answer")})
    begin(config, parts)
    page = browser.get("/api/v1/cluster").json()["cluster"]
    assert page["cameras"]["not_watched"] == 1
    assert page["not_watched"][0]["cameras"][0]["id"] == "dock"
    assert browser.get("/api/v1/status").json()["cluster"] == {"name": "campus", "troubles": 0}


def test_a_camera_says_which_node_scores_it(config: Config, desk: tuple[Parts, TestClient]) -> None:
    parts, browser = desk
    begin(config, parts)
    cameras = {camera["id"]: camera["node"] for camera in browser.get("/api/v1/cameras").json()["cameras"]}
    assert cameras == {"gate": "oak", "quad": "oak", "dock": "elm"}
    assert browser.get("/api/v1/cameras/dock/scores").json()["node"] == "elm"
    assert browser.get("/api/v1/cameras/dock/budget").json()["node"] == "elm"


def test_an_alert_of_another_machine_says_where_its_frame_is(config: Config, desk: tuple[Parts, TestClient]) -> None:
    parts, browser = desk
    begin(config, parts)
    with Outbox(config.outbox, config.evidence) as outbox:
        for number, came_from in ((1, "out-elm"), (2, "out-long-forgotten"), (3, "")):
            alert = replace(an_alert(number, Phase.START, camera="gate", at=time.time()), outbox=came_from)
            outbox.commit(alert, Evidence(b"png", b"jpeg"))
    caught_up(config, parts)
    told = [browser.get(f"/api/v1/alerts/gate-000{number}").json()["elsewhere"] for number in (1, 2, 3)]
    assert told == [{"outbox": "out-elm", "node": "elm"}, {"outbox": "out-long-forgotten", "node": ""}, None]


def test_no_worker_of_this_machine_has_to_be_told_of_a_new_gallery(config: Config) -> None:
    config.processes.write_text(json.dumps(processes_of("feed")))
    assert a_launcher(config, ("false",)).tell_worker() == "no worker of a run is there: start it again"
    config.processes.write_text(json.dumps(processes_of(COLLECT, "feed")))
    assert a_launcher(config, ("false",)).tell_worker() == ""
