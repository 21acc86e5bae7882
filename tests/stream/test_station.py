"""What a run does beside keeping processes going: a new configuration on request, its state on disk, systemd told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_fakes import Clock, short_folder

from stream.child import ChildSpec, Stage
from stream.config import Config, parse_config
from stream.errors import StreamError
from stream.notify import Notifier
from stream.reload import FEED, WORKER, reader_name
from stream.run_folder import RunFolder
from stream.station import PUBLISH_EVERY, Reloading, Station, read_processes
from stream.supervisor import Change, Phase

ONE = "console: {enabled: false}\ncameras: [{id: gate, source: 'campus:?seed=${SEED}'}]\n"
TWO = ONE.replace("]", ", {id: yard, source: 'campus:'}]")


class FakeSupervisor:
    """Does what it is told when the test says so."""

    def __init__(self) -> None:
        self.phase, self.settled, self.ready, self.failed_trial = Phase.RUNNING, True, False, ""
        self.changes: list[Change] = []
        self.processes: dict[str, dict[str, Any]] = {"worker": {"state": "starting"}}

    def change(self, change: Change) -> None:
        self.changes.append(change)
        self.settled, self.failed_trial = False, ""

    def report(self) -> dict[str, dict[str, Any]]:
        return self.processes


class RecordingNotifier(Notifier):
    """Keeps what systemd would be told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.told: list[str] = []

    def _say(self, *lines: str) -> None:
        self.told += [line for line in lines if not line.startswith(("WATCHDOG", "MONOTONIC"))]


def processes(config: Config) -> list[ChildSpec]:
    return [
        ChildSpec(FEED, ("feed",), Stage.FEED, ends=False),
        ChildSpec(WORKER, ("score",), Stage.WORKER, ends=False),
        *(ChildSpec(reader_name(c.id), ("read", c.id), Stage.READERS, ends=False) for c in config.cameras),
    ]


class Site:
    """A station over a file that the test edits."""

    def __init__(self, folder: Path, *, anew: frozenset[str] = frozenset()) -> None:
        self.file, self.state = folder / "site.yaml", folder / "state"
        self.file.write_text(ONE)
        self.asked, self.said = False, list[str]()
        self.clock, self.supervisor, self.notifier = Clock(), FakeSupervisor(), RecordingNotifier()
        self.folder = RunFolder(self.state)
        self.station = Station(
            self.load(ONE),
            ONE,
            folder=self.folder,
            processes=processes,
            reloading=Reloading(self.file, self._take_request, self.load, self.said.append),
            notifier=self.notifier,
            anew=anew,
            monotonic=self.clock,
            wall=lambda: self.clock.now,
        )

    def load(self, text: str) -> Config:
        config = parse_config(text, where="site.yaml", base=self.file.parent, environment={"SEED": "s3cret"})
        if "unusable" in text:
            raise StreamError("no scene can be scored")
        return config

    def tick(self) -> None:
        self.station.tick(self.supervisor)  # type: ignore[arg-type]

    def reload(self, text: str) -> None:
        self.file.write_text(text)
        self.asked = True
        self.tick()

    def published(self) -> dict[str, Any]:
        return dict(json.loads((self.state / "processes.json").read_text()))

    def _take_request(self) -> bool:
        asked, self.asked = self.asked, False
        return asked


@pytest.fixture
def site() -> Iterator[Site]:
    with short_folder() as folder:
        made = Site(folder)
        yield made
        made.folder.close()


def test_the_processes_get_a_copy_of_what_the_run_began_with(site: Site) -> None:
    site.file.write_text("half an ed")

    assert site.folder.config.read_text() == ONE, "with the name of the secret and not the secret"


def test_a_new_camera_starts_one_reader_and_tells_the_worker(site: Site) -> None:
    site.reload(TWO)
    change = site.supervisor.changes[0]

    assert [spec.name for spec in change.children] == ["feed", "worker", "reader gate", "reader yard"]
    assert (change.restart, change.tell) == (set(), {"worker"})
    assert site.folder.config.read_text() == TWO
    assert site.said == [], "it is said when it is done"

    site.supervisor.settled = True
    site.tick()
    assert site.said == ["reloaded: added camera yard"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cameras: []\n", "cameras"),
        ("cameras: [", "line 1, column 11"),
        (TWO + "unusable: 1\n", "unusable: unknown key"),
        (TWO + "# unusable\n", "no scene can be scored"),
        (TWO + "state: elsewhere\n", "state: is"),
        (TWO.replace("SEED", "NO_SUCH_NAME"), "NO_SUCH_NAME is not set"),
    ],
)
def test_a_wrong_configuration_changes_nothing_and_is_told(site: Site, text: str, why: str) -> None:
    site.reload(text)

    assert site.supervisor.changes == []
    assert site.folder.config.read_text() == ONE
    assert [camera.id for camera in site.station.config.cameras] == ["gate"]
    assert why in site.said[0]
    assert site.said[0].startswith("not reloaded, the old configuration stays in force: ")
    assert why in site.published()["config"]["error"]


def test_a_file_that_is_gone_changes_nothing(site: Site) -> None:
    site.file.unlink()
    site.asked = True
    site.tick()

    assert site.supervisor.changes == []
    assert "cannot be read" in site.said[0]


def test_a_bug_in_the_loading_does_not_end_the_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(old: Config, new: Config) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stream.station.plan", fails)
    site.reload(TWO)

    assert site.supervisor.changes == []
    assert "ZeroDivisionError" in site.said[0]


def test_what_a_library_says_of_the_new_one_shows_no_password(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(old: Config, new: Config) -> None:
        raise RuntimeError("no answer from rtsp://admin:hunter2@cam/1")

    monkeypatch.setattr("stream.station.plan", fails)
    site.reload(TWO)

    assert "no answer from rtsp://***@cam/1" in site.said[0]
    assert "hunter2" not in site.said[0]


def test_a_disk_that_is_full_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stream.run_folder.write_durably", fails)
    site.reload(TWO)

    assert site.supervisor.changes == []
    assert "No space left on device" in site.said[0]


def test_the_error_is_gone_after_the_next_one_that_is_right(site: Site) -> None:
    site.reload("cameras: []\n")
    site.clock.now += 50
    site.reload(TWO)
    site.supervisor.settled = True
    site.tick()

    assert site.published()["config"] == {"loaded": "1970-01-01T00:02:30.000Z", "error": ""}


def test_what_dies_of_the_new_configuration_brings_the_old_one_back(site: Site) -> None:
    site.reload(TWO + "backbone: {device: nonsense}\n")
    assert site.supervisor.changes[0].restart == {"worker"}

    site.supervisor.failed_trial = "worker (exit code 2)"
    site.tick()
    back = site.supervisor.changes[1]
    assert [spec.name for spec in back.children] == ["feed", "worker", "reader gate"]
    assert back.restart == {"worker"}
    assert site.folder.config.read_text() == ONE
    assert site.station.config.backbone.device == "auto"

    site.supervisor.settled = True
    site.tick()
    assert len(site.said) == 1
    assert "a process could not work with it: worker (exit code 2)" in site.said[0]
    assert "worker (exit code 2)" in site.published()["config"]["error"]


def test_what_dies_of_the_old_one_is_not_changed_again_and_again(site: Site) -> None:
    site.reload(TWO)
    site.supervisor.failed_trial = "worker (exit code 2)"
    site.tick()
    site.supervisor.failed_trial = "worker (exit code 2)"
    site.tick()

    assert len(site.supervisor.changes) == 2


def test_a_second_request_waits_until_the_first_is_done(site: Site) -> None:
    site.reload(TWO)
    site.reload(ONE)
    assert len(site.supervisor.changes) == 1

    site.supervisor.settled = True
    site.tick()
    site.tick()
    assert len(site.supervisor.changes) == 2


def test_the_service_is_ready_when_its_processes_are(site: Site) -> None:
    site.tick()
    assert site.notifier.told == []
    site.supervisor.ready = True
    site.tick()
    site.tick()
    assert site.notifier.told == ["READY=1", "STATUS=running"]


def test_what_is_to_start_anew_with_every_configuration_does() -> None:
    with short_folder() as folder:
        site = Site(folder, anew=frozenset({"collect"}))
        site.reload(TWO)
        site.folder.close()

    assert site.supervisor.changes[0].restart == {"collect"}


def test_a_reload_is_told_from_its_beginning_to_its_end(site: Site) -> None:
    site.supervisor.ready = True
    site.tick()
    site.notifier.told.clear()
    site.reload(TWO)
    assert site.notifier.told == ["RELOADING=1"]
    site.supervisor.settled = True
    site.tick()
    assert site.notifier.told == ["RELOADING=1", "READY=1", "STATUS=running"]

    site.notifier.told.clear()
    site.reload("cameras: []\n")
    assert site.notifier.told[:2] == ["RELOADING=1", "READY=1"]
    assert site.notifier.told[2].startswith("STATUS=site.yaml: 1 problem")


def test_the_drain_is_told_once(site: Site) -> None:
    site.supervisor.phase = Phase.DRAINING
    site.tick()
    site.supervisor.phase = Phase.STOPPED
    site.tick()

    assert site.notifier.told == ["STOPPING=1", "STATUS=draining"]


def test_the_state_is_written_at_once_when_it_changes_and_now_and_then_when_not(site: Site) -> None:
    site.tick()
    first = site.published()
    assert first["supervisor"] == {"state": "RUNNING", "pid": os.getpid()}
    assert first["processes"] == {"worker": {"state": "starting"}}

    site.clock.now += PUBLISH_EVERY / 2
    site.tick()
    assert site.published()["written"] == first["written"]
    site.supervisor.processes = {"worker": {"state": "running"}}
    site.tick()
    assert site.published()["processes"] == {"worker": {"state": "running"}}
    site.clock.now += PUBLISH_EVERY
    site.tick()
    assert site.published()["written"] == first["written"] + PUBLISH_EVERY * 1.5


def test_at_the_end_another_run_may_have_the_state_folder(site: Site) -> None:
    site.supervisor.phase = Phase.STOPPED
    site.tick()

    RunFolder(site.state).close()


# -- reading it -------------------------------------------------------------------------------------------------------


def told(site: Site, change: Callable[[dict[str, Any]], None] = lambda report: None, *, age: float = 1.0) -> Any:
    site.tick()
    report = site.published()
    written = report["written"]
    change(report)
    path = site.state / "processes.json"
    path.write_text(json.dumps(report))
    return read_processes(path, now=written + age)


def test_what_was_written_is_read(site: Site) -> None:
    found = told(site)

    assert found["supervisor"]["state"] == "RUNNING"
    assert found["processes"] == {"worker": {"state": "starting"}}
    assert found["config"]["error"] == ""


def test_a_supervisor_that_hangs_shows(site: Site) -> None:
    assert told(site, age=20.0)["supervisor"] == {
        "state": "NOT_ANSWERING",
        "pid": os.getpid(),
        "reason": "its last report is 20 s old",
    }


@pytest.mark.parametrize(
    "over",
    [
        lambda report: report["supervisor"].update(state="STOPPED"),
        lambda report: report["supervisor"].update(pid=2**22 + 1),  # more than Linux gives
        lambda report: report.pop("written"),
    ],
    ids=["stopped", "dead", "cut off"],
)
def test_nothing_is_said_of_a_run_that_is_over(site: Site, over: Callable[[dict[str, Any]], None]) -> None:
    assert told(site, over) == {}


def test_nothing_is_said_where_nothing_was_ever_written(tmp_path: Path) -> None:
    assert read_processes(tmp_path / "processes.json", now=0.0) == {}
