"""What is known of every camera: a state with its reason, and a file that never passes for news when it is old."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from small_disk import SmallDisk, full_disk

from stream.health import STALE_AFTER, CameraHealth, process_age, read_status, write_status
from stream.messages import CameraState


def a_status(state: str = "RUNNING") -> dict[str, Any]:
    worker = {"state": state, "reason": "", "pid": 1}
    return {"written": 1000.0, "worker": worker, "cameras": {"gate": {"state": "LIVE"}}}


def test_a_camera_that_nobody_reported_on_says_so() -> None:
    found = CameraHealth("yard").to_json()

    assert (found["scene"], found["state"], found["reason"]) == ("yard", "NO_READER", "its reader has not reported yet")
    assert (found["scored"], found["not_scored"], found["drops"]) == (0, 0, {})
    assert [found[name] for name in ("last_frame_time", "last_score", "threshold", "alert", "age_p50")] == [None] * 5


def test_a_change_of_state_keeps_the_time_since_when() -> None:
    health = CameraHealth("yard")

    assert health.change(CameraState.OFFLINE, "nobody answers", 10.0)
    assert not health.change(CameraState.OFFLINE, "still nobody", 20.0)
    assert (health.state, health.reason, health.since) == (CameraState.OFFLINE, "still nobody", 10.0)
    assert health.change(CameraState.LIVE, "", 30.0)
    assert health.since == 30.0


def test_times_are_told_for_people() -> None:
    health = CameraHealth("yard", since=1.5, last_frame_time=60.25)

    assert health.to_json()["since"] == "1970-01-01T00:00:01.500Z"
    assert health.to_json()["last_frame_time"] == "1970-01-01T00:01:00.250Z"


def test_ages_are_told_by_their_quantiles() -> None:
    health = CameraHealth("yard")
    health.ages.extend([0.5] + [0.1] * 60 + [0.2] * 33 + [0.9] * 6)

    assert (health.to_json()["age_p50"], health.to_json()["age_p95"]) == (0.1, 0.9)


def test_the_quantiles_of_a_single_age_are_that_age() -> None:
    health = CameraHealth("yard")
    health.ages.append(0.3)

    assert (health.to_json()["age_p50"], health.to_json()["age_p95"]) == (0.3, 0.3)


def test_old_ages_are_forgotten() -> None:
    health = CameraHealth("yard")
    health.ages.extend([9.0] * 1000 + [0.1] * 500)

    assert health.to_json()["age_p95"] == 0.1


def test_two_cameras_do_not_share_their_counts() -> None:
    first, second = CameraHealth("a"), CameraHealth("b")
    first.drops["link.lost"] = 1
    first.ages.append(1.0)

    assert (second.drops, list(second.ages)) == ({}, [])


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_status(tmp_path / "status.json", a_status())

    assert read_status(tmp_path / "status.json", now=1001.0) == a_status()
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_new_status_replaces_the_old_one(tmp_path: Path) -> None:
    write_status(tmp_path / "status.json", a_status())
    write_status(tmp_path / "status.json", a_status("STOPPED"))

    assert read_status(tmp_path / "status.json", now=1001.0)["worker"]["state"] == "STOPPED"


def test_an_old_status_says_that_the_worker_does_not_answer(tmp_path: Path) -> None:
    write_status(tmp_path / "status.json", a_status())
    fresh = read_status(tmp_path / "status.json", now=1000.0 + STALE_AFTER)
    stale = read_status(tmp_path / "status.json", now=1000.0 + STALE_AFTER + 1)

    assert fresh["worker"]["state"] == "RUNNING"
    assert (stale["worker"]["state"], stale["worker"]["pid"]) == ("NOT_ANSWERING", 1)
    assert stale["worker"]["reason"] == "its last status is 16 s old"


def test_a_worker_that_was_stopped_long_ago_is_still_stopped(tmp_path: Path) -> None:
    write_status(tmp_path / "status.json", a_status("STOPPED"))

    assert read_status(tmp_path / "status.json", now=1e9)["worker"]["state"] == "STOPPED"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"written": null}', json.dumps("x")])
def test_without_a_status_the_worker_does_not_run(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "status.json").write_text(text)

    assert read_status(tmp_path / "status.json", now=0.0) == {
        "worker": {"state": "NOT_RUNNING", "reason": "no status was ever written"},
        "cameras": {},
    }


@pytest.mark.parametrize("state", ["RUNNING", "DEGRADED", "STARTING"])
def test_any_state_of_a_worker_that_tells_of_itself_is_believed_until_it_is_old(tmp_path: Path, state: str) -> None:
    write_status(tmp_path / "status.json", a_status(state))

    assert read_status(tmp_path / "status.json", now=1001.0)["worker"]["state"] == state
    assert read_status(tmp_path / "status.json", now=1100.0)["worker"]["state"] == "NOT_ANSWERING"


def test_the_file_is_padded_so_that_a_longer_status_has_room_in_it(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for text, size in (("", 1 << 16), ("x" * 70_000, 2 << 16)):
        write_status(path, {**a_status(), "text": text})
        assert path.stat().st_size == size
        assert json.loads(path.read_text())["text"] == text


def test_on_a_full_disk_the_status_is_written_over_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    write_status(path, a_status("STOPPED"))
    monkeypatch.setattr(os, "replace", full_disk)

    assert write_status(path, a_status("DEGRADED"))
    assert read_status(path, now=1001.0) == a_status("DEGRADED")
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]


def test_a_status_that_cannot_be_told_is_said_to_be_so_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "status.json"
    write_status(path, a_status())
    monkeypatch.setattr(os, "replace", full_disk)

    assert not write_status(path, {**a_status("DEGRADED"), "text": "x" * 70_000})  # does not fit into the old one
    assert not write_status(tmp_path / "new.json", a_status())
    assert "No space left" in caplog.text
    assert read_status(path, now=1001.0) == a_status()


def test_on_a_real_full_disk_it_is_still_told_and_afterwards_too(small_disk: SmallDisk) -> None:
    path = small_disk.path / "status.json"
    write_status(path, a_status())
    small_disk.fill()
    for state in ("DEGRADED", "RUNNING", "DEGRADED"):
        assert write_status(path, {**a_status(state), "reason": "x" * 10_000})
        assert read_status(path, now=1001.0)["worker"]["state"] == state

    small_disk.free()
    assert write_status(path, a_status())
    assert read_status(path, now=1001.0) == a_status()


def test_a_status_that_is_just_being_written_over_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    path.write_text('{"written": 10')
    monkeypatch.setattr("stream.health.time.sleep", lambda _: write_status(path, a_status()))

    assert read_status(path, now=1001.0) == a_status()


def test_a_process_knows_its_age(tmp_path: Path) -> None:
    # Began 250 ticks after the machine, which is up for 10 s; its name holds what separates fields elsewhere.
    ticks = os.sysconf("SC_CLK_TCK")
    stat, uptime = tmp_path / "stat", tmp_path / "uptime"
    stat.write_text(f"7 (a) b) S {' '.join(str(field) for field in range(4, 22))} {250} 0 0\n")
    uptime.write_text("10.00 17.5\n")
    assert process_age(stat, uptime) == pytest.approx(10 - 250 / ticks)


def test_where_the_system_does_not_say_no_age_is_known(tmp_path: Path) -> None:
    assert process_age(tmp_path / "stat", tmp_path / "uptime") is None
    (tmp_path / "stat").write_text("nothing of the kind")
    assert process_age(tmp_path / "stat", tmp_path / "uptime") is None
