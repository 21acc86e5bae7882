"""``tune``: the curve of stored scores, and the factor that keeps to the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gallery_files
import pytest

from spade_core.gallery import Gallery
from stream.cli import main
from stream.scorelog import ScoreLog, ScoreRow
from stream.tune_command import in_words


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """One camera with a gallery, and an hour of its scores from five minutes ago back."""
    gallery_files.build(tmp_path / "galleries" / "gate")
    path = tmp_path / "site.yaml"
    path.write_text("state: state\ngallery: {folder: galleries}\ncameras: [{id: gate, source: gate.mp4}]\n")
    return path


NOW = 1_700_000_000.0


def log(site: Path, events: dict[int, float], *, seconds: int = 3600) -> float:
    """A score a second, quiet but for events of four seconds, in thresholds; returns the calibrated threshold."""
    threshold = Gallery(site.parent / "galleries" / "gate").calibration.threshold
    scores = ScoreLog(site.parent / "state" / "scores")
    for second in range(seconds):
        strength = next((s for at, s in events.items() if at <= second < at + 4), 0.1)
        alert = "real-one" if events.get(second - 2) == 5.0 else ""
        score = strength * threshold
        scores.add(
            "gate", ScoreRow(NOW - 3900 + second, second, second, "", score, None, threshold, None, None, alert, "")
        )
    scores.close()
    return threshold


def told(site: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["tune", str(site), "--camera", "gate", "--json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.tune_command.time.time", lambda: NOW)


def test_the_curve_says_what_each_factor_would_have_given(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threshold = log(site, {600: 1.2, 1200: 1.7, 1800: 3.0})

    found = told(site, capsys)

    alerts = {round(point["factor"], 2): point["alerts"] for point in found["curve"]}
    assert (alerts[1.0], alerts[1.32], alerts[2.0], alerts[4.0]) == (3, 2, 1, 0)
    assert found["calibrated_threshold"] == threshold
    assert found["covered_days"] == pytest.approx(3599 / 86_400)
    assert found["suggested"]["factor"] == pytest.approx(3.03, abs=0.01)  # the first step above 3
    assert (found["false_alarms_per_day"], found["enough"], found["factor"]) == (1.0, False, 1.0)


def test_real_alerts_are_no_false_alarms(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(site, {600: 5.0})

    point = next(p for p in told(site, capsys, "--real", "real-one")["curve"] if p["factor"] == 2.0)

    assert (point["alerts"], point["real"]) == (0, 1)


def test_only_the_days_asked_for_count(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(site, {600: 5.0, 3000: 5.0})

    found = told(site, capsys, "--days", str(1800 / 86_400))

    assert next(p for p in found["curve"] if p["factor"] == 2.0)["alerts"] == 1


def test_people_get_a_table(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(site, {600: 1.2})

    assert main(["tune", str(site), "--camera", "gate"]) == 0

    said = capsys.readouterr().out
    assert "gate: 0.04 days watched, threshold in force 1 x calibrated" in said
    assert "from factor 1.32 on: at most 1 a day" in said
    assert "0.04 days are too few to be sure" in said


def test_where_no_factor_is_enough_that_is_said() -> None:
    point = {"factor": 8.0, "threshold": 8.0, "alerts": 90, "alerts_per_day": 9.0, "real": 0}
    found = {"camera": "gate", "covered_days": 10.0, "factor": 1.0, "false_alarms_per_day": 1.0, "enough": True}
    found |= {"damaged_rows": 0, "not_comparable_rows": 0}

    assert in_words({**found, "suggested": point, "curve": [point]})[-1].startswith("no factor up to 8.00 keeps to 1")


def test_a_camera_without_scores_is_told_so(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(site), "--camera", "gate"]) == 2
    assert "no frame was scored in that time" in capsys.readouterr().err


def test_damaged_scores_are_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(site, {})
    file = next((site.parent / "state" / "scores" / "gate").glob("*.csv"))
    file.write_text("no scores\n")

    assert main(["tune", str(site), "--camera", "gate"]) == 1
    assert f"all that {file.parent} has is damaged" in capsys.readouterr().err


def test_one_damaged_row_is_left_out_and_told(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(site, {})
    file = next((site.parent / "state" / "scores" / "gate").glob("*.csv"))
    file.write_bytes(file.read_bytes() + b"\0\0\0\0\n")

    assert main(["tune", str(site), "--camera", "gate"]) == 0
    assert "1 rows of the scores are damaged and left out" in capsys.readouterr().out


def test_an_unknown_camera_is_wrong_usage(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(site), "--camera", "yard"]) == 2
    assert "yard" in capsys.readouterr().err
