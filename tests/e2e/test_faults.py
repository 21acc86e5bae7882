"""The fault matrix, as far as it takes whole programs: what is killed, hung, damaged or misconfigured meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from faults.cameras import camera as http_camera
from numpy.typing import NDArray

from stream.outbox import OutboxReader
from stream.subscriber import AlertSubscriber

from .helpers import Program, camera_status, free_port, is_running, started, status, write_config

pytestmark = pytest.mark.slow


class Listener:
    """A subscriber in a thread: takes every alert, in order, and says so."""

    def __init__(self, feed: str) -> None:
        self.got: list[tuple[int, str, str]] = []
        self._stop = threading.Event()
        self._subscriber = AlertSubscriber(feed, name="listener", since=0)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            if found := self._subscriber.poll(0.2):
                self.got.append((found[0].seq, found[0].alert_id, str(found[0].phase)))

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self._subscriber.close()


@contextmanager
def listening(feed: str) -> Iterator[Listener]:
    listener = Listener(feed)
    try:
        yield listener
    finally:
        listener.close()


def committed(folder: Path) -> list[tuple[int, str, str]]:
    """What the outbox holds."""
    with OutboxReader(folder / "state" / "outbox.sqlite", folder / "state" / "evidence") as outbox:
        return [(alert.seq, alert.alert_id, str(alert.phase)) for alert in outbox.read_after(0, limit=10_000)]


def worker_of(feed: str) -> int:
    """Process id of the worker that works now; 0 where there is none."""
    worker = (status(feed) or {}).get("worker", {})
    pid = int(worker.get("pid") or 0)
    return pid if worker.get("state") == "RUNNING" and is_running(pid) else 0


def scored_more(feed: str, name: str, than: int) -> Callable[[], int]:
    """Whether a camera is LIVE with more frames scored than so many."""

    def answer() -> int:
        now = camera_status(feed, name)
        return int(now["scored"]) if now.get("state") == "LIVE" and now["scored"] > than else 0

    return answer


@pytest.mark.fault("worker killed (kill -9) again and again", "restarted; no committed alert lost, none out of order")
@pytest.mark.fault("SIGTERM under load", "drains, exits 0, every sink has every committed alert")
def test_a_worker_that_is_killed_loses_no_committed_alert(
    tmp_path: Path, gallery: Path, thrice_painted_film: Path
) -> None:
    feed = f"tcp://127.0.0.1:{free_port()}"
    cameras = [{"id": name, "source": f"loop:{thrice_painted_film}", "fps": 5, "scene": "yard"} for name in ("a", "b")]
    config = write_config(
        tmp_path,
        cameras,
        scenes={"yard": {"gallery": str(gallery)}},
        feed={"endpoint": feed},
        sinks=[{"type": "jsonl", "folder": "alerts"}],
    )
    with started(tmp_path, "run", config) as run, listening(feed) as listener:
        seen = 0
        for _ in range(3):
            run.until(lambda: len(listener.got) > seen, "an alert is delivered")  # noqa: B023
            worker = run.until(lambda: worker_of(feed), "the worker works")
            os.kill(worker, signal.SIGKILL)
            run.until(lambda: worker_of(feed) not in (0, worker), "another worker works")  # noqa: B023
            seen = len(listener.got)
        run.until(lambda: len(listener.got) > seen, "an alert is delivered by the last worker")
        last = status(feed) or {}
        done = run.stop()
        stored = committed(tmp_path)
        run_out = (tmp_path / "alerts" / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
    assert done.code == 0, done.report
    assert [seq for seq, _, _ in stored] == list(range(1, len(stored) + 1))
    assert listener.got == stored[: len(listener.got)]
    assert [(line["seq"], line["alert_id"], line["phase"]) for line in map(json.loads, run_out)] == stored
    for alert_id in {alert for _, alert, _ in stored}:
        phases = [phase for _, alert, phase in stored if alert == alert_id]
        assert (phases[0], phases[-1]) == ("start", "end"), "the next worker ends what a killed one left open"
        assert set(phases[1:-1]) <= {"update"}
    for name in ("a", "b"):  # on its way when a worker died: at most one frame a camera each time
        assert last["cameras"][name]["drops"].get("link.lost", 0) <= 3


@pytest.mark.long
@pytest.mark.fault("worker hangs (stopped, not dead)", "noticed by its pulse, killed, restarted; cameras LIVE again")
def test_a_worker_that_hangs_is_replaced(tmp_path: Path, gallery: Path, normal_film: Path) -> None:
    feed = f"tcp://127.0.0.1:{free_port()}"
    camera = {"id": "gate", "source": f"loop:{normal_film}", "fps": 5, "scene": "yard"}
    config = write_config(tmp_path, [camera], scenes={"yard": {"gallery": str(gallery)}}, feed={"endpoint": feed})
    with started(tmp_path, "run", config) as run:
        run.until(scored_more(feed, "gate", 5), "the camera is scored")
        worker = worker_of(feed)
        os.kill(worker, signal.SIGSTOP)
        run.until(lambda: worker_of(feed) not in (0, worker), "another worker works")
        run.until(scored_more(feed, "gate", 5), "the camera is scored by it")
        processes = (status(feed) or {})["processes"]
        assert processes["worker"]["hung"] == 1
        assert not is_running(worker)
        assert run.stop().code == 0


@pytest.mark.fault("gallery cut short or bit-flipped", "that scene is NOT_SCORED with the file named; others go on")
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gallery_stops_its_own_scene_alone(
    tmp_path: Path, gallery: Path, normal_film: Path, damage: str
) -> None:
    feed = f"tcp://127.0.0.1:{free_port()}"
    shutil.copytree(gallery, tmp_path / "bad")
    largest = max((tmp_path / "bad").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    data = bytearray(largest.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    cameras = [{"id": name, "source": f"loop:{normal_film}", "fps": 3, "scene": name} for name in ("good", "bad")]
    scenes = {"good": {"gallery": str(gallery)}, "bad": {"gallery": str(tmp_path / "bad")}}
    config = write_config(tmp_path, cameras, scenes=scenes, feed={"endpoint": feed})
    with started(tmp_path, "run", config) as run:
        run.until(lambda: camera_status(feed, "bad").get("state") == "NOT_SCORED", "the bad scene is NOT_SCORED")
        run.until(scored_more(feed, "good", 3), "the good one is scored")
        assert largest.name in camera_status(feed, "bad")["reason"]
        assert camera_status(feed, "bad")["last_score"] is None
        assert run.stop().code == 0


def pictures_of(film: Path) -> list[NDArray[np.uint8]]:
    """A film's frames."""
    with av.open(str(film)) as source:
        return [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in source.decode(video=0)]


@pytest.mark.fault("camera bumped out of place", "MOVED, scores invalid, re-enrolment proposed; LIVE when put back")
def test_a_camera_that_was_bumped_is_not_scored_until_it_is_put_back(
    tmp_path: Path, gallery: Path, normal_film: Path
) -> None:
    feed, film = f"tcp://127.0.0.1:{free_port()}", pictures_of(normal_film)

    def in_place(n: int) -> NDArray[np.uint8]:
        return film[n % len(film)]

    def bumped(n: int) -> NDArray[np.uint8]:
        return np.roll(in_place(n), (12, 48), axis=(0, 1))

    with http_camera(in_place) as gate:
        camera = {"id": "gate", "source": gate.url(), "fps": 5, "scene": "yard", "moved_after": 5.0}
        config = write_config(tmp_path, [camera], scenes={"yard": {"gallery": str(gallery)}}, feed={"endpoint": feed})
        with started(tmp_path, "run", config) as run:
            run.until(scored_more(feed, "gate", 10), "the camera is scored")
            gate.picture = bumped
            moved = run.until(
                lambda: found if (found := camera_status(feed, "gate")).get("state") == "MOVED" else None,
                "the camera is MOVED",
            )
            assert "enroll" in moved["reason"]
            time.sleep(1.0)
            held = camera_status(feed, "gate")
            assert (held["last_score"], held["alert"]) == (None, None)
            gate.picture = in_place
            run.until(scored_more(feed, "gate", held["scored"]), "the camera is LIVE and scored again")
            assert run.stop().code == 0


@pytest.mark.fault("reader killed (kill -9)", "restarted alone; its camera is LIVE again, the others are not touched")
def test_a_reader_that_is_killed_comes_back_alone(tmp_path: Path, gallery: Path, normal_film: Path) -> None:
    feed = f"tcp://127.0.0.1:{free_port()}"
    cameras = [{"id": name, "source": f"loop:{normal_film}", "fps": 3, "scene": "yard"} for name in ("a", "b")]
    config = write_config(tmp_path, cameras, scenes={"yard": {"gallery": str(gallery)}}, feed={"endpoint": feed})
    with started(tmp_path, "run", config) as run:
        run.until(scored_more(feed, "a", 3), "camera a is scored")
        before = run.until(lambda: all_running(run, feed), "all processes run")
        os.kill(before["reader a"], signal.SIGKILL)
        after = run.until(
            lambda: now if (now := all_running(run, feed)) and now["reader a"] != before["reader a"] else None,
            "another reader runs",
        )
        run.until(scored_more(feed, "a", camera_status(feed, "a")["scored"]), "camera a is scored again")
        assert {name: pid for name, pid in after.items() if name != "reader a"} == {
            name: pid for name, pid in before.items() if name != "reader a"
        }
        assert run.stop().code == 0


def all_running(run: Program, feed: str) -> dict[str, int] | None:
    """Process ids by name, once every process runs."""
    processes = (status(feed) or {}).get("processes") or {}
    found = {name: int(process["pid"] or 0) for name, process in processes.items()}
    return found if found and all(map(is_running, found.values())) else None
