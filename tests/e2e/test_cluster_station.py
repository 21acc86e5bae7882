"""A worker's and a readers' station of one node, with real processes and keys, told what to do by this test instead of
a control: frames are scored where the directory says, and alerts go where the keys allow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.cluster.directory import DirectoryServer
from stream.cluster.model import Access, OutboxPlace, Place, ReaderOrders, StationState, WorkerOrders, WorkerReport
from stream.cluster.reader_station import ReaderStation
from stream.cluster.station_setting import StationSetting
from stream.cluster.worker_station import WorkerStation
from stream.curve import CurveClient, CurveServer
from stream.key_making import let_in_only, make_folder
from stream.keys import KeyFolder, Role, load_folder
from stream.messages import Alert, Phase
from stream.subscriber import AlertSubscriber

from .helpers import LEAST, is_running, wait_until

pytestmark = pytest.mark.slow


class Book:
    """What the directory answers, as a test sets it."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}

    def place(self, camera: str) -> Place:
        return self.places.get(camera, Place(camera, 0, reason="nobody scores it yet"))

    def outboxes(self) -> tuple[int, tuple[OutboxPlace, ...]]:
        return 0, ()

    def document(self) -> Mapping[str, Any]:
        return {}


@dataclass
class Node:
    """A node under a test's control."""

    keys: KeyFolder  # of the machine where the control would be
    book: Book
    directory: str
    worker: WorkerStation
    readers: ReaderStation
    generation: int = 0

    def score(self, *cameras: str) -> None:
        """Has the worker score these, waits until it could, and then leads their readers to it."""
        self.generation += 1
        report = self.worker.report()
        access = Access(nodes={report.node: report.key, "run": self.keys.local.public})
        self.worker.order(WorkerOrders(self.generation, cameras=cameras, access=access))
        self.until(lambda now: set(now.ready) == set(cameras), f"it could score {cameras}")
        self.book.places = {
            name: Place(name, self.generation, self.worker.name, report.endpoint, report.server) for name in cameras
        }

    def until(self, condition: Callable[[WorkerReport], bool], what: str) -> WorkerReport:
        """Waits until the worker's report is like this, and returns it."""

        def asked() -> WorkerReport | None:
            report = self.worker.report()
            return report if condition(report) else None

        found = wait_until(asked, what)
        assert found is not None
        return found

    def scores(self, camera: str, more: int = 5) -> None:
        """Waits until the worker has scored some more frames of a camera."""
        before = self.worker.report().cameras.get(camera, {}).get("scored", 0)
        self.until(lambda now: now.cameras.get(camera, {}).get("scored", 0) >= before + more, f"{camera} is scored")

    def alerts(self, count: int) -> list[Alert]:
        """The first alerts of its outbox, as another machine gets them."""
        outbox = self.worker.report().outboxes[0]
        key = replace(self.keys.local, server=outbox.server)
        with AlertSubscriber(
            outbox.endpoint, name="archive", since=0, secure=CurveClient(key), outbox=outbox.id
        ) as subscriber:
            found: list[Alert] = []

            def enough() -> bool:
                got = subscriber.poll(0.2)
                found.extend([got[0]] if got else [])
                return len(found) >= count

            wait_until(enough, f"{count} alert(s) came")
            return found


@pytest.fixture
def node(tmp_path: Path, gallery: Path, painted_film: Path) -> Iterator[Node]:
    folder, run = tmp_path / "node", tmp_path / "run-keys"
    cameras = [
        {"id": name, "source": f"loop:{painted_film}", "fps": 5, "scene": gallery.name} for name in ("gate", "yard")
    ]
    sections = {"gallery": {"store": str(gallery.parent)}, "cluster": {"worker_cpus": 1}}
    text = yaml.safe_dump({"cameras": cameras, **LEAST, **sections})
    setting = StationSetting(text, "127.0.0.1", base=str(tmp_path), folder=str(folder))
    make_folder(run)
    with ExitStack() as stack:
        worker = WorkerStation(setting)
        stack.callback(worker.close)
        readers = ReaderStation(setting)
        stack.callback(readers.close)
        let_in_only(run, Role.LOCAL, {readers.report().key: [readers.report().node]})
        keys, book, stopped = load_folder(run), Book(), threading.Event()
        server = DirectoryServer("tcp://127.0.0.1:*", book, secure=CurveServer(keys, Role.LOCAL))
        serving = threading.Thread(target=server.run, args=(stopped.is_set,))
        serving.start()
        stack.callback(server.close)
        stack.callback(serving.join)
        stack.callback(stopped.set)
        yield Node(keys, book, str(server.address), worker, readers)


def test_a_worker_scores_what_it_is_told_to_while_it_runs_and_ends_without_losing_an_alert(node: Node) -> None:
    # Without any camera it has its network loaded, and waits.
    idle = node.until(lambda now: now.state is StationState.RUNNING, "it is warm")
    assert (idle.ready, dict(idle.cameras), idle.generation) == ((), {}, 0)

    node.readers.order(ReaderOrders(1, ("gate", "yard"), node.directory, node.keys.server.public))
    node.score("gate")
    node.scores("gate")
    report = node.worker.report()
    assert report.cached == (report.cameras["gate"]["scene"],)
    assert set(report.cameras) == {"gate"}  # the other reader waits for its place

    # The assignment changes while it runs: the one camera goes, the other comes.
    process = report.processes["worker"]["pid"]
    node.score("yard")
    node.scores("yard")
    report = node.worker.report()
    assert set(report.cameras) == {"yard"}
    assert (report.processes["worker"]["pid"], report.processes["worker"]["restarts"]) == (process, 0)

    first = node.alerts(1)[0]
    assert first.seq == 1
    assert first.phase is Phase.START

    # Orders that are older than these come too late.
    node.worker.order(WorkerOrders(1, cameras=("gate",)))
    assert node.worker.report().generation == 2

    node.worker.drain()
    left = node.until(lambda now: now.state is StationState.LEAVING and not now.reason, "it has committed everything")
    last = left.outboxes[0].last_seq
    messages = node.alerts(last)
    assert [alert.seq for alert in messages] == list(range(1, last + 1))
    started, ended = (
        {alert.alert_id for alert in messages if alert.phase is phase} for phase in (Phase.START, Phase.END)
    )
    assert started == ended != set()
    assert left.processes["feed"]["state"] == "running"

    readers = node.readers.report().cameras
    assert {name: report["state"] for name, report in readers.items()} == {"gate": "running", "yard": "running"}
    children = [int(report["pid"]) for report in (*readers.values(), left.processes["feed"])]
    assert all(map(is_running, children))
    node.readers.close()
    node.worker.close()
    assert not any(map(is_running, children))
