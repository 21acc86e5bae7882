"""The feed: who asks later, or again, or while the worker is being killed, gets exactly what was committed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest

from stream.outbox import OutboxReader

from .footage import FPS, HEIGHT, THRICE_COUNT, WIDTH
from .helpers import Finished, camera_status, json_lines, logged_rows, spade, started, status, write_config

pytestmark = pytest.mark.slow

RATE = 5
POLICY = {"min_duration": 0.4, "end_after": 1.0, "update_every": 0.5, "cooldown": 0.0}


@dataclass(frozen=True, slots=True)
class Site:
    """A running feed, all of whose alerts are committed, and what happened until then."""

    feed: str
    folder: Path
    workers: tuple[int, int]  # process ids, before and after the first was killed
    first: list[dict[str, Any]]  # what a named subscriber had got when it left, early on
    first_done: Finished
    log: str  # standard error of run
    states: dict[str, Any]  # of the cameras

    @property
    def committed(self) -> list[dict[str, Any]]:
        """All alerts as others get them, from the store itself."""
        state = self.folder / "state"
        with OutboxReader(state / "outbox.sqlite", state / "evidence") as outbox:
            return [outbox.deliverable(alert)[0].to_json() for alert in outbox.read_after(0, limit=10_000)]


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, gallery: Path, thrice_painted_film: Path, sockets: Path
) -> Iterator[Site]:
    """Runs a recording with alerts beside a camera that nobody can reach, so that the feed outlives the recording.

    As soon as the first alert has reached a subscriber, the worker is killed and the subscriber leaves.
    """
    folder, feed = tmp_path_factory.mktemp("feed"), f"ipc://{sockets}/feed"
    cameras = [
        {"id": "gate", "source": str(thrice_painted_film), "fps": RATE, "scene": "yard"},
        {"id": "quay", "source": "rtsp://127.0.0.1:1/cam", "scene": "yard"},
    ]
    config = write_config(
        folder,
        cameras,
        scenes={"yard": {"gallery": str(gallery)}},
        feed={"endpoint": feed},
        alerts=POLICY,
        sinks=[{"type": "jsonl", "folder": "alerts"}],
    )
    with (
        started(folder, "run", config) as run,
        started(folder, "alerts", "--connect", feed, "--since", "0", "--name", "archive") as early,
    ):
        early.until(lambda: early.out, "the first alert reaches the subscriber")
        # From the file, because the command takes a second: a fast machine would score the rest meanwhile.
        worker = int(json.loads((folder / "state" / "status.json").read_text(encoding="utf-8"))["worker"]["pid"])
        os.kill(worker, signal.SIGKILL)
        early_done = early.stop()
        run.until(lambda: camera_status(feed, "gate").get("state") == "ENDED", "the recording is scored to its end")
        now = status(feed) or {}
        yield Site(
            feed,
            folder,
            (worker, int(now["worker"]["pid"])),
            json_lines(early.out),
            early_done,
            run.err,
            now["cameras"],
        )
        done = run.stop()
        assert done.code == 0, done.report


def alerts(site: Site, *words: str) -> list[dict[str, Any]]:
    """What ``alerts --no-follow`` prints."""
    done = spade("alerts", "--connect", site.feed, "--no-follow", *words)
    assert (done.code, "Traceback" in done.err) == (0, False), done.report
    return json_lines(done.out)


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [alert["seq"] for alert in found]


def test_a_killed_worker_is_started_again_and_loses_no_frame(site: Site) -> None:
    before, after = site.workers
    assert after != before
    assert "worker died (signal 9)" in site.log
    rows = logged_rows(site.folder / "state" / "scores" / "gate")
    assert {int(row["frame_seq"]) for row in rows} == set(range(0, THRICE_COUNT, FPS // RATE))


def test_a_camera_that_nobody_can_reach_is_reported_and_disturbs_no_other(site: Site) -> None:
    quay = site.states["quay"]
    assert quay["state"] in ("OFFLINE", "CONNECTING")
    assert quay["scored"] == 0
    shown = spade("status", "--connect", site.feed)
    assert shown.code == 1, "a camera is not watched"
    assert "quay" in shown.out


def test_alerts_came_before_and_after_the_worker_was_killed(site: Site) -> None:
    starts = [alert for alert in site.committed if alert["phase"] == "start"]
    assert len({alert["alert_id"] for alert in starts}) >= 3
    assert numbers(site.committed) == list(range(1, len(site.committed) + 1))


def test_since_0_prints_all_that_is_committed(site: Site) -> None:
    assert alerts(site, "--since", "0") == site.committed


def test_since_a_number_prints_exactly_what_came_after_it(site: Site) -> None:
    middle = len(site.committed) // 2
    assert alerts(site, "--since", str(middle)) == site.committed[middle:]
    assert alerts(site, "--since", str(len(site.committed))) == []


def test_without_since_and_name_nothing_old_is_printed(site: Site) -> None:
    assert alerts(site) == []


def test_who_subscribes_late_and_goes_on_gets_the_same(site: Site, tmp_path: Path) -> None:
    with started(tmp_path, "alerts", "--connect", site.feed, "--since", "1") as late:
        late.until(lambda: len(json_lines(late.out)) >= len(site.committed) - 1, "all alerts are printed")
        done = late.stop()
    assert done.code == 0, done.report
    assert json_lines(done.out) == site.committed[1:]


def test_a_name_is_remembered(site: Site) -> None:
    assert site.first_done.code == 0, site.first_done.report
    assert site.first
    rest = alerts(site, "--name", "archive")
    assert rest
    assert site.first + rest == site.committed
    assert alerts(site, "--name", "archive") == []


def test_the_sink_has_the_same_alerts_in_the_same_order(site: Site) -> None:
    found = json_lines((site.folder / "alerts" / "alerts.jsonl").read_text(encoding="utf-8"))
    told = ("seq", "alert_id", "phase", "score", "regions")
    assert [[alert[key] for key in told] for alert in found] == [
        [alert[key] for key in told] for alert in site.committed
    ]


def test_the_pictures_come_along_where_they_are_wanted(site: Site, tmp_path: Path) -> None:
    first, *_ = alerts(site, "--since", "0", "--save", str(tmp_path / "pictures"))
    assert cv2.imread(first["mask"], cv2.IMREAD_UNCHANGED).shape == (HEIGHT, WIDTH)
    assert cv2.imread(first["snapshot"]).shape == (HEIGHT, WIDTH, 3)
