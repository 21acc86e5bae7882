"""What a replay left behind, read back: episodes, timelines and cards for the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.messages import Alert, Neighbour, Phase
from stream.results import Results, cards, load_results, timelines
from stream.scorelog import ScoreLog, ScoreRow

RECORDED_AT = 1000.0


class FakeGallery:
    """Thumbnails that tell which frame they are of."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def thumbnail(self, index: int) -> bytes:
        self.asked.append(index)
        return b"thumbnail %d" % index


def an_alert(alert_id: str, phase: Phase, time: float, **fields: Any) -> Alert:
    """Times are media times."""
    values: dict[str, Any] = {
        "seq": 1,
        "alert_id": alert_id,
        "phase": phase,
        "camera": "replay",
        "scene": "yard",
        "started_at": RECORDED_AT + 2.0,
        "frame_time": RECORDED_AT + time,
        "frame_seq": 0,
        "score": 20.0,
        "threshold": 10.0,
        "regions": (),
        "neighbours": (Neighbour(3, 0.5, "day1", 1.5),),
    }
    return Alert(**(values | fields))


A = (
    an_alert("a", Phase.START, 2.5, score=20.0, snapshot="pictures/a1.jpg", mask="pictures/a1.png"),
    an_alert("a", Phase.UPDATE, 3.5, score=60.0, threshold=20.0, snapshot="pictures/a2.jpg", mask="pictures/a2.png"),
    an_alert("a", Phase.END, 3.5, score=70.0, threshold=40.0, ended_at=RECORDED_AT + 4.0),
)
B = (an_alert("b", Phase.START, 6.0, started_at=RECORDED_AT + 5.5, segment="two"),)


def a_row(time: float, score: float | None = 1.0, *, segment: str = "", threshold: float | None = 10.0) -> ScoreRow:
    return ScoreRow(RECORDED_AT + time, round(time * 10), time, segment, score, score, threshold, 0, None, "", "")


def loaded(folder: Path, rows: list[ScoreRow], alerts: tuple[Alert, ...] | None) -> Results:
    log = ScoreLog(folder / "scores")
    for row in rows:
        log.add("replay", row)
    log.close()
    if alerts is not None:
        (folder / "alerts.jsonl").write_text("".join(json.dumps(alert.to_json()) + "\n" for alert in alerts))
    return load_results(
        scores=folder / "scores", camera="replay", alerts=folder / "alerts.jsonl", recorded_at=RECORDED_AT
    )


def test_scores_and_alerts_are_read_back(tmp_path: Path) -> None:
    rows = [a_row(0.0), a_row(0.5, 7.0)]
    results = loaded(tmp_path, rows, A + B)

    assert results.rows == tuple(rows)
    assert [episode.alert_id for episode in results.episodes] == ["a", "b"]
    assert results.episodes[0].messages == A


def test_a_recording_without_alerts_has_no_file_of_them(tmp_path: Path) -> None:
    results = loaded(tmp_path, [a_row(0.0)], None)

    assert (len(results.rows), results.episodes) == (1, ())


def test_frames_that_could_not_be_scored_are_counted(tmp_path: Path) -> None:
    rows = [a_row(0.0), a_row(0.1, None, threshold=None), a_row(0.2, 0.0)]

    assert loaded(tmp_path, rows, None).not_scored == 1


def test_an_episode_lasts_from_the_first_frame_to_the_end_of_its_event(tmp_path: Path) -> None:
    episode = loaded(tmp_path, [a_row(0.0)], A).episodes[0]

    assert (episode.start, episode.end) == (2.0, 4.0)


def test_an_episode_without_an_end_lasts_to_the_last_frame_shown(tmp_path: Path) -> None:
    episode = loaded(tmp_path, [a_row(0.0)], B).episodes[0]

    assert (episode.start, episode.end, episode.segment) == (5.5, 6.0, "two")


def test_messages_of_two_alerts_may_mix(tmp_path: Path) -> None:
    results = loaded(tmp_path, [a_row(0.0)], (A[0], B[0], A[2]))

    assert [len(episode.messages) for episode in results.episodes] == [2, 1]


def test_the_strongest_message_is_the_one_highest_above_its_threshold(tmp_path: Path) -> None:
    episode = loaded(tmp_path, [a_row(0.0)], A).episodes[0]

    assert episode.strongest == A[1], "3 thresholds, against 2 and 1.75"


def test_what_is_no_alert_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alerts.jsonl").write_text('{"schema": "other/1"}\n')

    with pytest.raises(ValueError, match="alert schema is 'other/1'"):
        loaded(tmp_path, [a_row(0.0)], None)


# Timelines


def test_a_recording_has_one_timeline_by_its_name(tmp_path: Path) -> None:
    results = loaded(tmp_path, [a_row(0.0), a_row(0.5, None, threshold=None), a_row(6.0, 9.0)], A)
    (line,) = timelines(results, name="clip.mp4", truth=[("intruder", 1.0, 2.0)])

    assert (line.name, line.threshold) == ("clip.mp4", 10.0)
    assert line.times.tolist() == [0.0, 0.5, 6.0]
    np.testing.assert_array_equal(line.scores, [1.0, np.nan, 9.0])
    assert line.truth == (("intruder", 1.0, 2.0),)
    assert line.alerts == (("a", 2.0, 4.0),)


def test_every_segment_has_a_timeline_of_its_own_from_its_first_frame_on(tmp_path: Path) -> None:
    rows = [a_row(0.0, segment="one"), a_row(0.5, segment="one"), a_row(5.0, segment="two"), a_row(7.0, segment="two")]
    one, two = timelines(loaded(tmp_path, rows, B), name="unused")

    assert (one.name, one.times.tolist(), one.alerts) == ("one", [0.0, 0.5], ())
    assert (two.name, two.times.tolist(), two.alerts) == ("two", [0.0, 2.0], (("b", 0.5, 1.0),))


def test_alerts_stay_within_their_timeline(tmp_path: Path) -> None:
    long = (replace(A[0], started_at=RECORDED_AT - 1.0), replace(A[2], ended_at=RECORDED_AT + 99.0))
    (line,) = timelines(loaded(tmp_path, [a_row(0.0), a_row(3.0)], long), name="clip")

    assert line.alerts == (("a", 0.0, 3.0),)


def test_a_recording_of_which_nothing_could_be_scored_has_a_timeline_too(tmp_path: Path) -> None:
    (line,) = timelines(loaded(tmp_path, [a_row(0.0, None, threshold=None)], None), name="clip")

    assert np.isnan(line.scores).all()
    assert line.threshold == 0.0


def test_a_recording_without_frames_has_no_timeline(tmp_path: Path) -> None:
    assert timelines(loaded(tmp_path, [], None), name="clip") == ()


# Cards


def made_cards(folder: Path, gallery: Any, matches: dict[str, str | None] | None = None) -> Any:
    results = loaded(folder, [a_row(0.0)], A + B)
    return cards(results, folder=folder, gallery=gallery, matches=matches or {}, recorded_at=RECORDED_AT)


def test_an_alert_has_one_card_with_its_strongest_message(tmp_path: Path) -> None:
    first, second = made_cards(tmp_path, FakeGallery())

    assert (first.alert, first.phases) == (A[1], A)
    assert (first.snapshot, first.mask) == (Path("pictures/a2.jpg"), Path("pictures/a2.png"))
    assert first.caption == "2.0 s to 4.0 s, shown at 3.5 s"
    assert (second.caption, second.snapshot) == ("two, 5.5 s to 6.0 s, shown at 6.0 s", None)


def test_the_card_shows_the_clip_that_came_with_the_end(tmp_path: Path) -> None:
    with_clip = (*A[:-1], replace(A[-1], clip="pictures/a3.mp4"))
    results = loaded(tmp_path, [a_row(0.0)], with_clip + B)
    first, second = cards(results, folder=tmp_path, gallery=FakeGallery(), matches={}, recorded_at=RECORDED_AT)

    assert (first.clip, second.clip) == (Path("pictures/a3.mp4"), None)


def test_the_normal_frame_it_was_compared_with_lies_beside_the_pictures_once(tmp_path: Path) -> None:
    gallery = FakeGallery()
    first, second = made_cards(tmp_path, gallery)

    assert first.neighbour == second.neighbour == Path("pictures/normal-000003.jpg")
    assert (tmp_path / first.neighbour).read_bytes() == b"thumbnail 3"
    assert gallery.asked == [3]


def test_a_card_says_which_true_event_was_found(tmp_path: Path) -> None:
    first, second = made_cards(tmp_path, FakeGallery(), {"a": "intruder", "b": None})

    assert (first.matches, second.matches) == ("intruder", None)
