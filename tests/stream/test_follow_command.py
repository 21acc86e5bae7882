"""``gallery follow`` from the command line: which scenes, what it says, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_drift_follow import OLD, Dim, a_frame
from tiny_extractor import brief_settings, tiny_extractor

from spade_core.gallery import Gallery
from spade_core.scorer import SpadeParameters
from stream import cli, engine
from stream.drift_guard import Told
from stream.drift_store import DriftStore
from stream.enroll import enroll
from stream.follow_command import told_of
from stream.messages import Alert, Phase

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a scene that was enrolled and one that was not."""
    monkeypatch.setattr(engine, "extractor_of", lambda config, at_once=1: tiny_extractor())
    enroll(
        Dim(120),
        tmp_path / "galleries" / "yard",
        settings=brief_settings(capacity=60),
        extractor=tiny_extractor(),
        parameters=SpadeParameters(),
        note={},
        on_progress=lambda progress: None,
    )
    write(tmp_path)
    return tmp_path


def write(folder: Path, **drift: Any) -> None:
    cameras = [{"id": "gate", "source": "0", "scene": "yard"}, {"id": "roof", "source": "1"}]
    section = {"day_part": 0.05} | drift
    (folder / "site.yaml").write_text(yaml.safe_dump({"cameras": cameras, "drift": section}))


def store(site: Path) -> DriftStore:
    return DriftStore(site / "state" / "drift", most=10)


def follow(site: Path, *options: str) -> int:
    return cli.main(["gallery", "follow", str(site / "site.yaml"), *options])


def test_candidates_join_and_it_says_how_to_undo_that(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(site).keep(a_frame(0.1))

    assert follow(site, "--scene", "yard") == 0
    assert Gallery(site / "galleries" / "yard").version == "v000002"
    said = capsys.readouterr().out
    assert "v000002, 1 frame(s) added; refused: none" in said
    assert "undo: spade-stream gallery use" in said


def test_a_program_gets_one_line_with_the_result(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(site).keep(a_frame(0.1))
    store(site).keep(a_frame(50.0, OLD + 1))

    assert follow(site, "--scene", "yard", "--progress", "json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == {
        "result": {
            "scene": "yard",
            "version": "v000002",
            "added": 1,
            "refused": [{"reason": "too far from what was enrolled", "count": 1}],
        }
    }
    assert lines[0]["progress"]["stage"] == "judging"


def test_a_dry_run_changes_nothing(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(site).keep(a_frame(0.1))

    assert follow(site, "--dry-run") == 0
    assert "1 frame(s) would be added" in capsys.readouterr().out
    assert Gallery(site / "galleries" / "yard").version == "v000001"
    assert len(store(site).candidates("yard")) == 1


@pytest.mark.parametrize(("mode", "version"), [("off", "v000001"), ("collect", "v000001"), ("apply", "v000002")])
def test_a_timer_adds_only_where_the_configuration_says_so(site: Path, mode: str, version: str) -> None:
    write(site, mode=mode)
    store(site).keep(a_frame(0.1))

    assert follow(site, "--scheduled") == 0
    assert Gallery(site / "galleries" / "yard").version == version


def test_a_scene_that_cannot_follow_does_not_stop_the_others_and_is_said(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store(site).keep(a_frame(0.1))
    store(site).keep(replace(a_frame(0.1), scene="roof"))

    assert follow(site) == 1
    assert "scene roof" in caplog.text
    assert Gallery(site / "galleries" / "yard").version == "v000002"


def test_a_scene_that_nobody_looks_at_is_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(site, "--scene", "cellar") == 2
    assert "'cellar': no camera looks at it; there is: yard, roof" in capsys.readouterr().err


def message(alert_id: str, started_at: float, frame_time: float, ended_at: float | None = None) -> Alert:
    return Alert(
        seq=1,
        alert_id=alert_id,
        phase=Phase.START if ended_at is None else Phase.END,
        camera="gate",
        scene="yard",
        segment="",
        started_at=started_at,
        ended_at=ended_at,
        frame_time=frame_time,
        frame_seq=1,
        score=2.0,
        threshold=1.0,
        regions=(),
        neighbours=(),
    )


def test_the_time_of_an_alert_is_that_of_all_its_messages() -> None:
    alerts = [message("a", 10.0, 11.0), message("b", 50.0, 51.0), message("a", 10.0, 12.0, ended_at=30.0)]

    assert told_of(alerts) == [Told("gate", 10.0, 30.0), Told("gate", 50.0, 51.0)]
