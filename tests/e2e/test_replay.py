"""``enroll`` and ``replay``: from two video files to masked alerts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import cv2
import jsonschema
import numpy as np
import pytest

from stream.config_sections import AlertsSection, ClipsSection
from stream.policy import PolicySettings

from .conftest import Enrolled
from .footage import FPS, HEIGHT, ONCE, ONCE_COUNT, WIDTH, board_box
from .helpers import Finished, json_lines, score_rows, spade, versions, write_config

pytestmark = pytest.mark.slow

SCHEMA = Path(__file__).parents[2] / "docs" / "alert.schema.json"
(FIRST, AFTER), RATE = ONCE[0], 5


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay left."""

    done: Finished
    out: Path

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Messages, in order."""
        return json_lines((self.out / "alerts.jsonl").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, painted_film: Path, gallery: Path) -> Replayed:
    out = tmp_path_factory.mktemp("replay") / "out"
    return replay(painted_film, gallery, out)


def replay(film: Path, gallery: Path, out: Path) -> Replayed:
    done = spade("replay", film, "--gallery", gallery, "--out", out, "--fps", str(RATE))
    assert done.code == 0, done.report
    return Replayed(done, out)


def media_seconds(text: str) -> float:
    """A recording without a date counts from 1970."""
    return datetime.fromisoformat(text).timestamp()


def test_enroll_makes_one_version_and_says_what_it_holds(enrolled: Enrolled) -> None:
    assert "v000001, 72 frames" in enrolled.done.out  # 60 % of 24 s at 5 a second
    assert versions(enrolled.gallery) == ["CURRENT", "v000001"]
    described = json.loads(spade("gallery", "info", enrolled.gallery, "--json").out)
    assert (described["version"], described["frames"]) == ("v000001", 72)
    assert described["fingerprint"]["backbone"] == "efficientnet_lite0"


def test_a_fresh_gallery_is_intact_and_can_be_shown(enrolled: Enrolled, tmp_path: Path) -> None:
    verified = spade("gallery", "verify", enrolled.gallery)
    assert (verified.code, "is intact" in verified.out) == (0, True), verified.report
    sheet = spade("gallery", "info", enrolled.gallery, "--sheet", tmp_path / "sheet.jpg")
    assert sheet.code == 0, sheet.report
    assert cv2.imread(str(tmp_path / "sheet.jpg")) is not None


def test_every_sampled_frame_has_a_score(replayed: Replayed) -> None:
    rows = score_rows(replayed.out / "scores.csv")
    assert [int(row["frame_seq"]) for row in rows] == list(range(0, ONCE_COUNT, FPS // RATE))
    assert [row["problem"] for row in rows] == [""] * len(rows)
    assert all(float(row["score"]) > 0 for row in rows)
    assert f"{len(rows)} frames scored, 1 alert(s)" in replayed.done.out


def test_each_line_is_an_alert_of_the_published_form(replayed: Replayed) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for alert in replayed.alerts:
        jsonschema.validate(alert, schema)
    assert [alert["seq"] for alert in replayed.alerts] == list(range(1, len(replayed.alerts) + 1))


def test_what_was_painted_gives_one_alert_and_what_was_not_gives_none(replayed: Replayed) -> None:
    first, *_, last = replayed.alerts
    assert len({alert["alert_id"] for alert in replayed.alerts}) == 1
    assert (first["phase"], last["phase"]) == ("start", "end")
    assert FIRST <= media_seconds(first["started_at"]) <= FIRST + 2 / RATE
    assert AFTER - 2 / RATE <= media_seconds(last["ended_at"]) <= AFTER + PolicySettings().end_after
    for alert in replayed.alerts:
        assert alert["score"] > alert["threshold"]
        assert FIRST <= media_seconds(alert["frame_time"]) < AFTER


def test_the_mask_has_the_size_of_the_film_and_lies_on_what_was_painted(replayed: Replayed) -> None:
    for alert in replayed.alerts:
        mask = cv2.imread(str(replayed.out / alert["mask"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (HEIGHT, WIDTH)
        assert set(np.unique(mask)) == {0, 255}
        box = board_box(alert["frame_seq"] / FPS, ONCE)
        assert box is not None
        left, top, right, bottom = box
        inside = np.count_nonzero(mask[top:bottom, left:right])
        assert inside > 0.5 * (bottom - top) * (right - left), "half of the board is masked"
        assert inside > 0.5 * np.count_nonzero(mask), "half of what is masked is the board"


def test_the_snapshot_shows_the_whole_frame(replayed: Replayed) -> None:
    for alert in replayed.alerts:
        assert cv2.imread(str(replayed.out / alert["snapshot"])).shape == (HEIGHT, WIDTH, 3)


def test_the_end_has_a_clip_of_the_time_before_the_alert_and_of_the_alert(replayed: Replayed) -> None:
    *others, end = replayed.alerts
    assert [alert["clip"] for alert in others] == [None] * len(others)
    with av.open(str(replayed.out / end["clip"])) as clip:
        times = [round(float(frame.time), 3) for frame in clip.decode(video=0)]
        assert (clip.streams.video[0].width, clip.streams.video[0].height) == (WIDTH, HEIGHT)
    before = min(media_seconds(end["started_at"]), ClipsSection().pre_roll)
    whole = before + media_seconds(end["ended_at"]) - media_seconds(end["started_at"]) + AlertsSection().end_after
    assert times == pytest.approx([n / RATE for n in range(len(times))], abs=0.002), "every scored frame is in it"
    assert times[-1] == pytest.approx(whole, abs=2 / RATE)


def test_the_report_shows_the_alert_and_pictures_that_are_there(replayed: Replayed) -> None:
    page = (replayed.out / "index.html").read_text(encoding="utf-8")
    alert = replayed.alerts[0]
    assert alert["alert_id"] in page
    assert any(alert["snapshot"] in page for alert in replayed.alerts)
    assert f'<video controls preload="none" src="{replayed.alerts[-1]["clip"]}"' in page


def test_only_results_are_left(replayed: Replayed) -> None:
    assert sorted(path.name for path in replayed.out.iterdir()) == [
        "alerts.jsonl", "index.html", "pictures", "replay.yaml", "scores.csv",
    ]  # fmt: skip


def test_the_same_replay_into_the_same_folder_finds_the_same(
    replayed: Replayed, painted_film: Path, gallery: Path
) -> None:
    before, rows = replayed.alerts, score_rows(replayed.out / "scores.csv")
    (replayed.out / "pictures" / "stale.png").write_bytes(b"of the earlier run")
    again = replay(painted_film, gallery, replayed.out)
    for key in ("seq", "alert_id", "phase", "started_at", "ended_at", "frame_seq"):
        assert [alert[key] for alert in again.alerts] == [alert[key] for alert in before], key
    assert [row["frame_seq"] for row in score_rows(replayed.out / "scores.csv")] == [row["frame_seq"] for row in rows]
    assert not (replayed.out / "pictures" / "stale.png").exists()


@pytest.mark.data
def test_a_real_recording_is_enrolled_and_every_frame_of_its_rest_is_scored(data: Path, tmp_path: Path) -> None:
    recording = data / "video" / "vtest.avi"
    if not recording.is_file():
        pytest.skip(f"{recording} is not there")
    camera = {"id": "street", "source": str(recording), "fps": 5, "seconds": 40}
    config = write_config(tmp_path, [camera], method={"size": 256})
    enrolled = spade("enroll", config)
    assert enrolled.code == 0, enrolled.report
    out = tmp_path / "out"
    done = spade(
        "replay", recording, "--gallery", tmp_path / "galleries" / "street", "--out", out, "--start", "40", "--fps", "2"
    )
    assert done.code == 0, done.report
    with av.open(str(recording)) as container:
        stream = container.streams.video[0]
        native, rate = sum(1 for _ in container.demux(stream) if _.size), float(stream.average_rate)
    expected = [index for index in range(round(40 * rate), native) if (index - round(40 * rate)) % round(rate / 2) == 0]
    rows = score_rows(out / "scores.csv")
    assert [round(float(row["media_time"]) * rate) for row in rows] == expected
    assert [row["problem"] for row in rows] == [""] * len(rows)
