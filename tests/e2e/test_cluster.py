"""A cluster on one machine, with real Ray nodes: one of them is killed, another joins, the first comes back.

The story is told once, by what ``bench cluster`` shows; each test looks at a part of it. Then the cluster is started a
second time, its run is killed, and a third one takes over.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stream.bench.clips import Footage, make_films
from stream.bench.cluster_demo import DemoOptions, show
from stream.bench.cluster_findings import Shown, account, failures, messages
from stream.bench.cluster_site import Site, all_scored, site_settings
from stream.bench.local_ray import SETTINGS

from .helpers import Finished, spade, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]  # the first test waits for the whole story

CAMERAS, NODES = 6, 3
PASSWORD = "hush-5d1f0c"


@dataclass
class Story:
    """What happened."""

    site: Site
    shown: Shown
    left: Finished  # what was there to stop after the run had ended
    status: Finished
    alerts: Finished
    committed: int
    holding: int  # nodes with alerts, before they were asked for
    knowing: int = 0  # processes of nodes that have the password in their environment
    written: list[str] = field(default_factory=list)  # files and command lines that hold it
    taken_over: list[str] = field(default_factory=list)  # cameras that another worker has after the run was killed
    ended: tuple[int, float] = (1, 0.0)


FOOTAGE = Footage(
    picture=(320, 180), native_fps=1, fps=1, gallery_frames=100, method={"method": {"size": 128}}, event_every=15
)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All of it, once: it takes minutes."""
    pytest.importorskip("ray", reason="needs Ray, which comes with the extra cluster")
    films_folder, folder = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("site")
    films = make_films(films_folder, FOOTAGE, cameras=CAMERAS, stopping=lambda: False)
    options = DemoOptions(CAMERAS, NODES, FOOTAGE, None)
    with Site(folder, site_settings(films, FOOTAGE, folder)) as site:
        shown = show(site, options, say=print)
        left = spade("cluster", "stop", site.ray.address, environment=SETTINGS)
        with site.path.open("a") as config:
            config.write("# ${CAM_PASSWORD}\n")  # as in a camera's URL: what a configuration names goes to the nodes
        site.ray.environment = {**os.environ, "CAM_PASSWORD": PASSWORD}  # nodes were started without it
        site.start_run()
        site.wait(lambda d: all_scored(d, cameras=CAMERAS), "every camera is scored again", seconds=240)
        holding = sum(bool(messages(node.folder)) for node in site.ray.nodes.values())
        told = Story(
            site,
            shown,
            left,
            spade("cluster", "status", site.ray.address, environment=SETTINGS),
            spade("alerts", "--cluster", site.ray.address, "--since", "0", "--no-follow", environment=SETTINGS),
            account(site)[0],
            holding,
        )
        _look_for_the_password(site, told)
        _kill_the_run(site, told)
        yield told


def _look_for_the_password(site: Site, told: Story) -> None:
    processes = [Path("/proc") / str(pid) for node in site.ray.nodes.values() for pid in node.processes()]
    told.knowing = sum(_has_it(process / "environ") for process in processes)
    files = [path for folder in (site.folder, site.ray.temporary) for path in folder.rglob("*") if path.is_file()]
    told.written = [str(path) for path in [*files, *(process / "cmdline" for process in processes)] if _has_it(path)]


def _has_it(path: Path) -> bool:
    try:
        return PASSWORD.encode() in path.read_bytes()
    except OSError:  # it is gone by now
        return False


def _kill_the_run(site: Site, told: Story) -> None:
    before = {name: camera["worker"] for name, camera in site.document()["cameras"].items()}
    assert site.process is not None
    os.kill(site.process.pid, signal.SIGKILL)
    site.process.wait()
    runs = _runs_at_work(site)
    site.start_run()
    wait_until(lambda: _runs_at_work(site) > runs, "the next run has the cluster")
    document = site.wait(lambda d: all_scored(d, cameras=CAMERAS), "the cluster goes on", seconds=120)
    told.taken_over = [name for name, camera in document["cameras"].items() if camera["worker"] != before[name]]
    told.ended = site.stop_run()


def _runs_at_work(site: Site) -> int:
    """How many runs have said so far that the control has their configuration."""
    return site.log.read_text().count("its directory is")


def test_cameras_are_spread_evenly_before_anything_happens(story: Story) -> None:
    assert sorted(story.shown.before.values()) == [2, 2, 2]


def test_no_promise_is_broken_when_a_node_dies(story: Story) -> None:
    # How long a takeover takes is for `bench cluster` to say: this machine may be busy with other things.
    assert [broken for broken in failures(story.shown) if "are promised" not in broken] == []


def test_every_camera_of_the_dead_node_is_scored_elsewhere(story: Story) -> None:
    assert story.shown.watched.elsewhere.keys() == story.shown.watched.cameras
    assert len(story.shown.watched.cameras) == 2


def test_no_camera_of_the_dead_node_looks_well_while_nobody_scores_it(story: Story) -> None:
    assert story.shown.watched.silent == set()


def test_the_outbox_of_the_dead_node_is_named_as_missing(story: Story) -> None:
    assert story.shown.watched.missing is not None


def test_no_committed_alert_is_lost_after_the_disk_is_back(story: Story) -> None:
    assert story.shown.on_dead > 0
    assert story.shown.lost == 0


def test_a_node_that_joins_gets_its_part(story: Story) -> None:
    assert sorted(story.shown.with_two.values()) == [3, 3]
    assert sorted(story.shown.after.values()) == [2, 2, 2]


def test_a_run_that_is_told_to_stop_leaves_nothing_running(story: Story) -> None:
    assert story.shown.ended[0] == 0
    assert "nothing of spade-stream runs" in story.left.out, story.left.report


def test_cluster_status_shows_every_worker_and_that_all_is_well(story: Story) -> None:
    assert story.status.code == 0, story.status.report
    assert f"{CAMERAS} of {CAMERAS} cameras watched" in story.status.out


def test_alerts_of_all_outboxes_come_through_one_subscriber(story: Story) -> None:
    alerts = [json.loads(line) for line in story.alerts.out.splitlines()]

    assert story.alerts.code == 0, story.alerts.report
    assert 1 < story.holding <= len({alert["outbox"] for alert in alerts})
    assert 0 < len(alerts) <= story.committed


def test_a_camera_s_password_reaches_the_processes_of_nodes_and_no_file_or_command_line(story: Story) -> None:
    assert story.knowing >= NODES
    assert story.written == []


def test_a_run_that_is_killed_is_taken_over_without_moving_a_camera(story: Story) -> None:
    assert story.taken_over == []
    assert story.ended[0] == 0
