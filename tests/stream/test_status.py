"""``status``: what it prints of processes and the configuration, and when it exits with 1."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from stream import feed_commands
from stream.stopping import StopSignal

WELL = {
    "state": "running",
    "pid": 7,
    "restarts": 0,
    "hung": 0,
    "last_exit": None,
    "started": "2026-01-01T00:00:00.000Z",
}


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "worker": {"state": "RUNNING", "reason": ""},
        "cameras": {},
        "supervisor": {"state": "RUNNING", "pid": 1},
        "processes": {"worker": WELL},
        "config": {"loaded": "2026-01-01T00:00:00.000Z", "error": ""},
        **changes,
    }


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Asks a feed that gives this answer; returns the exit code and what was printed."""

    def asked(told: dict[str, Any]) -> tuple[int, str]:
        monkeypatch.setattr(feed_commands, "request_status", lambda *_, **__: told)
        code = feed_commands.status(argparse.Namespace(connect="tcp://x:1", json=False, key=None), StopSignal())
        return code, capsys.readouterr().out

    return asked


def test_of_processes_that_are_well_nothing_is_said(ask: Any) -> None:
    code, said = ask(answer())

    assert code == 0
    assert "process" not in said
    assert "configuration" not in said


def test_a_feed_without_a_supervisor_is_no_fault(ask: Any) -> None:
    assert ask({"worker": {"state": "RUNNING"}, "cameras": {}})[0] == 0


def test_what_was_restarted_is_told_and_no_fault_any_more(ask: Any) -> None:
    code, said = ask(answer(processes={"worker": {**WELL, "restarts": 3, "hung": 1, "last_exit": "signal 9"}}))

    assert code == 0
    assert "process worker: running, 3 restart(s), 1 of them because it hung; last end: signal 9" in said


@pytest.mark.parametrize("state", ["waiting", "hung"])
def test_a_process_that_is_down_is_a_fault(ask: Any, state: str) -> None:
    code, said = ask(answer(processes={"sink archive": {**WELL, "state": state, "restarts": 1}}))

    assert code == 1
    assert f"process sink archive: {state}" in said


@pytest.mark.parametrize("state", ["starting", "stopping", "ended"])
def test_a_process_that_comes_or_goes_is_none(ask: Any, state: str) -> None:
    assert ask(answer(processes={"reader gate": {**WELL, "state": state}}))[0] == 0


def test_a_supervisor_that_hangs_is_a_fault(ask: Any) -> None:
    code, said = ask(answer(supervisor={"state": "NOT_ANSWERING", "pid": 1, "reason": "its last report is 20 s old"}))

    assert code == 1
    assert "supervisor NOT_ANSWERING its last report is 20 s old" in said


def test_a_configuration_that_was_not_taken_is_told(ask: Any) -> None:
    code, said = ask(answer(config={"loaded": "2026-01-01T00:00:00.000Z", "error": "cameras: is required"}))

    assert code == 0, "everything is watched, as the old one says"
    assert "not reloaded, the one of 2026-01-01T00:00:00.000Z is in force: cameras: is required" in said


def a_camera(**changes: Any) -> dict[str, Any]:
    well = {"state": "LIVE", "reason": "frames arrive", "drops": {}, "age_p95": None, "scored": 5}
    set_ = {"threshold_factor": 1.0, "snoozed_until": None, "snooze_reason": "", "held_by_snooze": 0}
    return {**well, **set_, **changes}


def test_of_a_camera_that_nobody_has_set_anything_for_nothing_more_is_said(ask: Any) -> None:
    code, said = ask(answer(cameras={"gate": a_camera()}))

    assert code == 0
    assert said.splitlines()[-1].endswith("- frames arrive")


def test_a_snoozed_camera_says_until_when_and_why_and_what_it_holds(ask: Any) -> None:
    snoozed = a_camera(snoozed_until="2026-01-01T12:00:00.000Z", snooze_reason="roadworks", held_by_snooze=3)
    code, said = ask(answer(cameras={"gate": snoozed}))

    assert code == 0, "somebody wanted it so"
    assert said.splitlines()[-1].endswith(
        "frames arrive; SNOOZED until 2026-01-01T12:00:00.000Z: roadworks, 3 alert(s) held"
    )


def test_a_threshold_that_somebody_has_moved_is_told(ask: Any) -> None:
    assert ask(answer(cameras={"gate": a_camera(threshold_factor=1.5)}))[1].endswith("frames arrive; threshold x 1.5\n")


def test_the_status_of_an_older_worker_can_be_shown(ask: Any) -> None:
    old = {key: value for key, value in a_camera().items() if "snooze" not in key and key != "threshold_factor"}

    assert ask(answer(cameras={"gate": old}))[0] == 0


def test_a_sink_that_takes_nothing_is_told_and_is_a_fault(ask: Any) -> None:
    failing = {"failing_since": "2026-01-01T00:00:00.000Z", "last_error": "no broker", "rejected": 0}
    well = {"failing_since": None, "last_error": "", "rejected": 3}
    code, said = ask(answer(sinks={"home": failing, "hook": well}))

    assert code == 1
    assert "sink home: takes nothing since 2026-01-01T00:00:00.000Z: no broker" in said
    assert "sink hook: 3 alert(s) laid aside in sinks/hook/rejected" in said
    assert ask(answer(sinks={"hook": well}))[0] == 0
