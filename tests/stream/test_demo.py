"""The demo's verdict: which alerts found which events, from results, truth and masks made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stream.campus import EventKind, ScriptedEvent
from stream.demo import EARLY, NORMAL_SECONDS, Truth, Verdict, judge
from stream.messages import Alert, Phase
from stream.report import EventOutcome
from stream.results import Episode, Results

FPS = 10.0
SHAPE = (20, 30)
FIRST, SECOND = (
    ScriptedEvent(kind, NORMAL_SECONDS + start, NORMAL_SECONDS + end)
    for kind, start, end in ((EventKind.CYCLIST, 10.0, 15.0), (EventKind.BAG, 30.0, 40.0))
)


def a_mask(*columns: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:10, list(columns)] = 255
    return mask


def frame_at(seconds: float) -> int:
    """Frame index at that second after the normal part."""
    return round((NORMAL_SECONDS + seconds) * FPS)


TRUTH = Truth(
    events=(FIRST, SECOND),
    masks={
        **{frame: a_mask(3, 4) for frame in range(frame_at(10), frame_at(15) + 1)},
        **{frame: a_mask(20, 21) for frame in range(frame_at(30), frame_at(40) + 1)},
    },
    fps=FPS,
)


class Desk:
    """Where alerts are made up, with their mask files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.episodes: list[Episode] = []

    def alert(self, name: str, *messages: tuple[float, np.ndarray | None], frames_off: int = 0) -> None:
        """Messages are (seconds after the normal part, mask)."""
        made = []
        for number, (seconds, mask) in enumerate(messages):
            file = None if mask is None else f"{name}-{number}.png"
            if file is not None:
                cv2.imwrite(str(self.folder / file), mask)
            made.append(self._message(name, seconds, file, frames_off))
        times = [message.frame_time for message in made]
        self.episodes.append(Episode(name, "", min(times), max(times), tuple(made)))

    def _message(self, name: str, seconds: float, mask: str | None, frames_off: int) -> Alert:
        values: dict[str, Any] = {"seq": 1, "phase": Phase.UPDATE, "camera": "walkway", "scene": "walkway"}
        time = NORMAL_SECONDS + seconds
        return Alert(
            alert_id=name,
            started_at=time,
            frame_time=time,
            frame_seq=frame_at(seconds) + frames_off,
            score=2.0,
            threshold=1.0,
            regions=(),
            neighbours=(),
            mask=mask,
            **values,
        )

    def verdict(self) -> Verdict:
        return judge(Results((), tuple(self.episodes)), TRUTH, folder=self.folder)

    def outcomes(self) -> dict[str, EventOutcome]:
        return {outcome.label: outcome for outcome in self.verdict().outcomes}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_without_alerts_every_event_is_missed(desk: Desk):
    verdict = desk.verdict()
    assert [(o.label, o.found, o.delay, o.required) for o in verdict.outcomes] == [
        ("cyclist", False, None, True),
        ("bag", False, None, True),
    ]
    assert (verdict.false_alerts, verdict.matches) == (0, {})


def test_events_are_told_by_the_time_of_the_scored_part(desk: Desk):
    assert [(o.start, o.end) for o in desk.verdict().outcomes] == [(10, 15), (30, 40)]


def test_an_alert_that_masks_part_of_the_object_finds_it(desk: Desk):
    desk.alert("a", (12.0, a_mask(4, 5, 6, 7)))
    verdict = desk.verdict()
    assert [outcome.found for outcome in verdict.outcomes] == [True, False]
    assert (verdict.matches, verdict.false_alerts) == ({"a": "cyclist"}, 0)


def test_an_alert_that_masks_something_else_is_false(desk: Desk):
    desk.alert("a", (12.0, a_mask(20, 21)))  # where the bag will be
    verdict = desk.verdict()
    assert not any(outcome.found for outcome in verdict.outcomes)
    assert (verdict.matches, verdict.false_alerts) == ({"a": None}, 1)


def test_one_message_on_the_object_is_enough(desk: Desk):
    desk.alert("a", (11.0, a_mask(25)), (12.0, a_mask()), (13.0, a_mask(3)), (14.0, None))
    assert desk.verdict().matches == {"a": "cyclist"}


@pytest.mark.parametrize("seconds", [9.9, 15.1, 29.9, 40.1])
def test_an_alert_before_or_after_an_event_does_not_find_it(desk: Desk, seconds: float):
    desk.alert("a", (seconds, a_mask(*range(30))))
    assert desk.verdict().false_alerts == 1


@pytest.mark.parametrize("seconds", [10.0, 15.0])
def test_an_event_includes_its_first_and_its_last_moment(desk: Desk, seconds: float):
    desk.alert("a", (seconds, a_mask(3)))
    assert desk.verdict().matches == {"a": "cyclist"}


def test_a_frame_in_which_the_object_is_hidden_finds_nothing(desk: Desk):
    hidden = Truth(TRUTH.events, {}, FPS)
    desk.alert("a", (12.0, a_mask(*range(30))))
    assert judge(Results((), tuple(desk.episodes)), hidden, folder=desk.folder).false_alerts == 1


def test_a_mask_file_that_is_gone_or_damaged_finds_nothing(desk: Desk):
    desk.alert("gone", (12.0, a_mask(3)))
    desk.alert("damaged", (12.0, a_mask(3)))
    (desk.folder / "gone-0.png").unlink()
    (desk.folder / "damaged-0.png").write_bytes(b"no picture")
    assert desk.verdict().matches == {"gone": None, "damaged": None}


def test_an_alert_that_is_still_open_from_another_event_does_not_find_the_next(desk: Desk):
    desk.alert("a", (14.0, a_mask(3)), (31.0, a_mask(20)))
    verdict = desk.verdict()
    assert [outcome.found for outcome in verdict.outcomes] == [True, False]
    assert verdict.matches == {"a": "cyclist"}


@pytest.mark.parametrize(("before", "found"), [(EARLY, True), (EARLY + 0.1, False)])
def test_an_alert_may_begin_a_little_before_the_object_is_wholly_in_view(desk: Desk, before: float, found: bool):
    desk.alert("a", (30.0 - before, a_mask(20)), (31.0, a_mask(20)))
    assert desk.outcomes()["bag"].found == found


def test_the_delay_counts_to_the_first_alert_that_found_the_event(desk: Desk):
    desk.alert("false", (10.5, a_mask(25)))
    desk.alert("late", (14.0, a_mask(3)))
    desk.alert("early", (12.5, a_mask(3)), (13.0, a_mask(3)))
    desk.alert("bag", (33.0, a_mask(21)))
    outcomes = desk.outcomes()
    assert outcomes["cyclist"].delay == pytest.approx(2.5)
    assert outcomes["bag"].delay == pytest.approx(3.0)
    assert desk.verdict().false_alerts == 1


def test_the_delay_is_that_of_the_first_message_within_the_event(desk: Desk):
    desk.alert("a", (10.0 - EARLY, a_mask(25)), (11.0, a_mask(3)), (13.0, a_mask(3)))
    assert desk.outcomes()["cyclist"].delay == pytest.approx(1.0)
