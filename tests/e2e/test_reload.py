"""A run that reads its configuration again: what changed changes, and everything else goes on; and how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from .helpers import (
    Program,
    assert_clean_failure,
    free_port,
    is_running,
    spade,
    started,
    status,
    wait_until,
    write_config,
)

pytestmark = pytest.mark.slow


def camera(name: str, *, fps: float = 5.0) -> dict[str, Any]:
    """One of the scene that the gallery knows; without an end."""
    return {"id": name, "source": "campus:?seed=3&size=160x90&fps=10", "fps": fps, "scene": "yard"}


class Site:
    """A configuration that is edited while it runs."""

    def __init__(self, folder: Path, gallery: Path) -> None:
        self.feed = f"tcp://127.0.0.1:{free_port()}"
        self._sections = {"scenes": {"yard": {"gallery": str(gallery)}}, "feed": {"endpoint": self.feed}}
        self.folder = folder
        self.path = self.write([camera("stays"), camera("goes")])

    def write(self, cameras: list[dict[str, Any]], **sections: Any) -> Path:
        """Writes the file anew."""
        return write_config(self.folder, cameras, **{**self._sections, **sections})

    def status(self) -> dict[str, Any]:
        """What ``status --json`` says; empty while nobody answers."""
        return status(self.feed) or {}

    def cameras(self) -> dict[str, Any]:
        """The cameras of it."""
        return dict(self.status().get("cameras", {}))

    def pids(self) -> dict[str, int]:
        """Of the processes, by name."""
        return {name: process["pid"] for name, process in self.status().get("processes", {}).items()}

    def scored(self, *names: str, more_than: int = 0) -> dict[str, int]:
        """Frames scored, once every one of these cameras is watched and has more than that."""
        found = self.cameras()
        if not all(name in found and found[name]["state"] == "LIVE" for name in names):
            return {}
        counts = {name: int(found[name]["scored"]) for name in names}
        return counts if all(count > more_than for count in counts.values()) else {}


@contextmanager
def running(folder: Path, gallery: Path) -> Iterator[tuple[Site, Program]]:
    """A run whose two cameras are scored."""
    site = Site(folder, gallery)
    with started(folder, "run", site.path) as run:
        run.until(lambda: site.scored("stays", "goes"), "both cameras are scored")
        yield site, run


@pytest.mark.fault("camera added and removed on reload", "the others go on untouched, in the same process")
def test_cameras_come_and_go_and_the_others_go_on(tmp_path: Path, gallery: Path) -> None:
    with running(tmp_path, gallery) as (site, run):
        before, seen = site.pids(), site.scored("stays")["stays"]
        site.write([camera("stays"), camera("comes", fps=2.0)])
        run.process.send_signal(signal.SIGHUP)
        run.until(lambda: "reloaded: added camera comes; removed camera goes" in run.err, "it says what it did")
        run.until(lambda: site.scored("stays", "comes"), "the new camera is scored")
        after = site.pids()

        assert {name: after[name] for name in ("feed", "worker", "reader stays")} == {
            name: before[name] for name in ("feed", "worker", "reader stays")
        }
        assert set(after) == {"feed", "worker", "reader stays", "reader comes"}
        assert not is_running(before["reader goes"])
        assert set(site.cameras()) == {"stays", "comes"}
        run.until(lambda: site.scored("stays", more_than=seen), "the camera that stays goes on counting")
        assert all(process["restarts"] == 0 for process in site.status()["processes"].values())
        done = run.stop()
    assert done.code == 0, done.report
    assert "Traceback" not in done.err
    assert "refuses camera" not in done.err, "the worker knew the new camera before its reader came"


@pytest.mark.fault("malformed config on reload", "the old one stays in force; the error is in the status")
def test_a_wrong_configuration_changes_nothing_and_shows_in_the_status(tmp_path: Path, gallery: Path) -> None:
    with running(tmp_path, gallery) as (site, run):
        before = site.pids()
        site.write([camera("stays"), camera("stays")], nonsense=1)
        run.process.send_signal(signal.SIGHUP)
        run.until(lambda: "not reloaded, the old configuration stays in force" in run.err, "it says so")
        run.until(lambda: site.status()["config"]["error"], "the status says so")
        assert "nonsense: unknown key" in site.status()["config"]["error"]
        assert "configuration not reloaded" in spade("status", "--connect", site.feed).out

        os.kill(before["reader goes"], signal.SIGKILL)  # what starts again now must not read the wrong file
        run.until(
            lambda: site.pids()["reader goes"] not in (None, before["reader goes"]) and site.scored("goes"),
            "the camera is watched again",
        )
        assert {**site.pids(), "reader goes": 0} == {**before, "reader goes": 0}
        assert site.status()["processes"]["reader goes"]["last_exit"] == "signal 9"

        site.write([camera("stays")])
        run.process.send_signal(signal.SIGHUP)
        run.until(lambda: "reloaded: removed camera goes" in run.err, "the next one that is right is taken")
        run.until(lambda: site.status()["config"]["error"] == "", "the error is gone")
        done = run.stop()
    assert done.code == 0, done.report


@pytest.mark.fault("config that only the worker finds wrong", "taken back; the error is in the status")
def test_a_configuration_that_only_the_worker_finds_wrong_is_taken_back(tmp_path: Path, gallery: Path) -> None:
    with running(tmp_path, gallery) as (site, run):
        site.write([camera("stays"), camera("goes")], backbone={"weights": str(tmp_path / "no-such-file.pth")})
        run.process.send_signal(signal.SIGHUP)
        run.until(lambda: "a process could not work with it: worker (exit code" in run.err, "it goes back")
        run.until(lambda: site.scored("stays", "goes"), "both cameras are scored again")
        assert "worker" in site.status()["config"]["error"]
        done = run.stop()
    assert done.code == 0, done.report


@pytest.mark.fault("a second SIGTERM", "everything ends at once")
def test_the_second_signal_ends_everything_at_once(tmp_path: Path, gallery: Path) -> None:
    with running(tmp_path, gallery) as (site, run):
        processes = site.pids()
        os.kill(processes["worker"], signal.SIGSTOP)  # the drain would wait for it
        run.process.send_signal(signal.SIGTERM)
        run.until(lambda: not is_running(processes["reader stays"]), "the drain has begun")
        run.process.send_signal(signal.SIGTERM)
        code = run.process.wait(30)
    assert code == -signal.SIGTERM
    for name, pid in processes.items():  # a gigabyte takes the kernel a moment
        wait_until(lambda pid=pid: not is_running(pid), f"{name} has ended", seconds=10)  # type: ignore[misc]


@pytest.mark.fault("SIGTERM with a hung worker", "it is killed in time; exit code 0")
def test_a_hung_worker_is_killed_when_the_run_is_stopped_and_the_run_ends_well(tmp_path: Path, gallery: Path) -> None:
    with running(tmp_path, gallery) as (site, run):
        os.kill(site.pids()["worker"], signal.SIGSTOP)
        done = run.stop()
    assert done.code == 0, done.report
    assert "worker did not end in time: killed" in done.err


@pytest.mark.fault("two runs on one state folder", "the second one is refused, and says who owns it")
def test_a_state_folder_has_one_run(tmp_path: Path, gallery: Path) -> None:
    with running(tmp_path, gallery) as (site, run):
        other = yaml.safe_load(site.path.read_text()) | {"feed": {"endpoint": f"tcp://127.0.0.1:{free_port()}"}}
        second = tmp_path / "second.yaml"
        second.write_text(yaml.safe_dump(other))
        assert_clean_failure(spade("run", second), 1, f"in use by process {run.process.pid}", "another 'state'")
        assert run.process.poll() is None


def test_no_process_has_a_secret_in_its_words_and_the_copy_is_private(
    tmp_path: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED", "3")
    site = Site(tmp_path, gallery)
    source = {"source": "campus:?seed=${SEED}&size=160x90&fps=10"}
    site.write([camera("stays") | source, camera("goes") | source])
    with started(tmp_path, "run", site.path) as run:
        run.until(lambda: site.scored("stays", "goes"), "both cameras are scored")
        copy = tmp_path / "state" / "run" / "config.yaml"
        assert "seed=${SEED}&" in copy.read_text()
        assert copy.stat().st_mode & 0o777 == 0o600
        assert copy.parent.stat().st_mode & 0o777 == 0o700
        for pid in site.pids().values():
            assert b"seed=" not in Path(f"/proc/{pid}/cmdline").read_bytes()
