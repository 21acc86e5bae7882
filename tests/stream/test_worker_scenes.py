"""A worker whose camera has several scenes: which one is in force, what an alert of that time says, what is MOVED."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scoring_fakes import SCENE, FakeEngine
from worker_bench import HIGH, LOW, Bench, FakeLink, Ticking, a_frame, a_placement, joined

from stream.drift import DriftCollector
from stream.engine import NotScored, Scored, ToScore
from stream.kept_frame import KeptFrame
from stream.link import LinkEvent
from stream.messages import Mode, Phase
from stream.scene_choice import CHECKS, SceneEntry, ScenePlan, Window, parse_window

NOON = 43_200.0  # Unix seconds: 12:00 in UTC
BY_PICTURE = ScenePlan((SceneEntry("day"), SceneEntry("night")), "picture")
BY_SCHEDULE = ScenePlan((SceneEntry("day", parse_window("06:00-12:01")), SceneEntry("night")), "schedule", "UTC")
DAY, NIGHT = {"day": 0.9, "night": 2.2}, {"day": 2.2, "night": 0.9}


class SceneEngine(FakeEngine):
    """Scores by brightness; what fits, and what is in view, is what the test says.

    Args:
        fits: number of the frame -> fits of the scenes.
        in_view: (scene, number of the frame) -> whether it is in place there; None = cannot be told.
    """

    def __init__(
        self,
        fits: Callable[[int], dict[str, float]] = lambda seq: DAY,
        in_view: Callable[[str, int], bool | None] = lambda scene, seq: True,
    ) -> None:
        super().__init__()
        self.scenes = {name: SimpleNamespace(**{**vars(SCENE), "name": name}) for name in ("day", "night")}
        self._fits, self._in_view = fits, in_view
        self.asked: list[int] = []  # frames that were compared with all scenes

    def place(self, scene: str, image: Any) -> Any:
        in_view = self._in_view(scene, int(image[0, 0, 1]))
        return None if in_view is None else a_placement(in_place=in_view)

    def score(self, frames: Sequence[ToScore]) -> list[Scored | NotScored]:
        return [self._answer(frame, result) for frame, result in zip(frames, super().score(frames), strict=True)]

    def _answer(self, frame: ToScore, result: Scored | NotScored) -> Scored | NotScored:
        if isinstance(result, Scored):
            result = replace(result, scene=self.scenes[frame.scene])
        if not frame.candidates:
            return result
        seq = int(frame.image[0, 0, 1])
        self.asked.append(seq)
        return replace(result, fits=self._fits(seq))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    here = Bench(tmp_path)
    yield here
    here.outbox.close()


def frames(*levels: int, every: float = 1.0, first: int = 0, begin: float = NOON) -> list[list[LinkEvent]]:
    """A round per frame; the second channel of its picture is its number."""
    rounds: list[list[LinkEvent]] = []
    for seq, level in enumerate(levels, start=first):
        frame = a_frame(seq, level, frame_time=begin + every * seq)
        frame.image[..., 1] = seq
        rounds.append([frame])
    return rounds


def run(bench: Bench, *rounds: list[LinkEvent], plan: ScenePlan = BY_PICTURE, **settings: Any) -> None:
    """A live camera with two scenes, a second a round."""
    link, clock = FakeLink([*rounds], bench.log), Ticking()

    def stopping() -> bool:
        clock.tick()
        return link.empty

    values: dict[str, Any] = {"cameras": {"gate": "day"}, "plans": {"gate": plan}} | settings
    bench.worker(link, stopping, clock=clock, **values).run()


def scenes_of_alerts(bench: Bench) -> list[tuple[Phase, str]]:
    return [(alert.phase, alert.scene) for alert in bench.outbox.read_after(0, limit=100)]


# By the picture


def test_a_camera_of_one_scene_is_never_compared_with_others(bench: Bench) -> None:
    bench.engine = SceneEngine()
    link = FakeLink([joined(mode=Mode.LIVE), *frames(LOW, LOW)], bench.log)
    bench.worker(link, lambda: link.empty, cameras={"gate": "day"}).run()

    assert bench.engine.asked == []
    assert (bench.camera()["scene"], bench.camera()["scenes"]) == ("day", ["day"])


def test_the_first_frame_is_scored_by_the_scene_that_it_shows(bench: Bench) -> None:
    bench.engine = engine = SceneEngine(fits=lambda seq: NIGHT)
    run(bench, joined(mode=Mode.LIVE), *frames(LOW))

    assert engine.batches == [["day"], ["night"]]  # compared, then scored anew
    assert len(bench.rows()) == 1
    assert bench.camera()["scene"] == "night"


def test_pictures_are_compared_once_a_second_not_at_every_frame(bench: Bench) -> None:
    bench.engine = engine = SceneEngine()
    run(bench, joined(mode=Mode.LIVE), *frames(*[LOW] * 9, every=0.25))

    assert engine.asked == [0, 4, 8]


def test_the_status_says_which_scene_is_in_force_since_when_and_why(bench: Bench) -> None:
    bench.engine = SceneEngine(fits=lambda seq: DAY if seq < 3 else NIGHT)
    run(bench, joined(mode=Mode.LIVE), *frames(*[LOW] * (3 + CHECKS + 1)))

    camera = bench.camera()
    assert (camera["state"], camera["scene"], camera["scenes"]) == ("LIVE", "night", ["day", "night"])
    assert camera["reason"].endswith("scene night, by the picture (fit 0.90, day 2.20)")
    assert camera["scene_since"] == camera["since"]  # LIVE again, after a moment of doubt
    told = [event.reason for event in bench.outbox.events_after(0, limit=100)]
    assert "scene night, by the picture (fit 0.90, day 2.20)" in told


def test_an_alert_goes_on_where_only_the_light_changes_and_says_which_scene_each_message_is_about(
    bench: Bench,
) -> None:
    bench.engine = SceneEngine(fits=lambda seq: DAY if seq < 4 else NIGHT)
    run(bench, joined(mode=Mode.LIVE), *frames(LOW, *[HIGH] * 13, LOW, LOW))

    told = scenes_of_alerts(bench)
    assert told[0] == (Phase.START, "day")
    assert (Phase.UPDATE, "night") in told
    assert [phase for phase, _ in told].count(Phase.START) == 1


def test_an_alert_ends_where_the_camera_turns_to_another_place(bench: Bench) -> None:
    away = {"day": math.inf, "night": 1.0}
    bench.engine = SceneEngine(
        fits=lambda seq: DAY if seq < 4 else away, in_view=lambda scene, seq: (scene == "day") == (seq < 4)
    )
    run(bench, joined(mode=Mode.LIVE), *frames(LOW, *[HIGH] * 9), moved_after={"gate": 20.0})

    told = scenes_of_alerts(bench)
    assert told[:2] == [(Phase.START, "day"), (Phase.END, "day")]
    assert told[2] == (Phase.START, "night")


def test_light_that_is_switched_raises_no_alert_though_the_old_gallery_finds_it_odd(bench: Bench) -> None:
    bench.engine = SceneEngine(fits=lambda seq: DAY if seq < 7 else NIGHT)
    bench.engine.rule = lambda scene, image: float(HIGH if image[0, 0, 1] >= 7 and scene == "day" else LOW)
    run(bench, joined(mode=Mode.LIVE), *frames(*[LOW] * 40, every=0.2))

    assert scenes_of_alerts(bench) == []
    doubtful = [row.frame_seq for row in bench.rows() if row.score is None]
    assert doubtful[0] == 8  # the second one at night: the first only raised the question
    assert "seems to show scene night" in bench.rows()[8].problem
    assert bench.camera()["scene"] == "night"


# MOVED


def test_a_preset_that_is_another_scene_is_never_called_moved(bench: Bench) -> None:
    away = {"day": math.inf, "night": 1.0}
    bench.engine = SceneEngine(
        fits=lambda seq: DAY if seq < 4 else away, in_view=lambda scene, seq: (scene == "day") == (seq < 4)
    )
    run(bench, joined(mode=Mode.LIVE), *frames(*[LOW] * 20), moved_after={"gate": 1.0})

    assert "MOVED" not in [str(event.state) for event in bench.outbox.events_after(0, limit=100)]
    assert (bench.camera()["state"], bench.camera()["scene"]) == ("LIVE", "night")


def test_a_camera_that_shows_none_of_its_scenes_is_moved(bench: Bench) -> None:
    nowhere = {"day": math.inf, "night": math.inf}
    bench.engine = SceneEngine(fits=lambda seq: DAY if seq < 1 else nowhere, in_view=lambda scene, seq: seq < 1)
    run(bench, joined(mode=Mode.LIVE), *frames(*[LOW] * 20), moved_after={"gate": 5.0})

    assert (bench.camera()["state"], bench.camera()["scene"]) == ("MOVED", "day")


def test_a_moved_camera_that_is_turned_to_another_of_its_scenes_is_scored_again(bench: Bench) -> None:
    def fits(seq: int) -> dict[str, float]:
        return DAY if seq < 1 else {"day": math.inf, "night": 1.0 if seq >= 15 else math.inf}

    bench.engine = SceneEngine(fits=fits, in_view=lambda scene, seq: seq < 1 if scene == "day" else seq >= 15)
    run(bench, joined(mode=Mode.LIVE), *frames(*[LOW] * 25), moved_after={"gate": 5.0})

    assert (bench.camera()["state"], bench.camera()["scene"]) == ("LIVE", "night")
    unscored = [row.frame_seq for row in bench.rows() if row.score is None]
    assert unscored
    assert max(unscored) < 15 + CHECKS


def test_by_schedule_a_camera_that_shows_the_scene_of_another_hour_is_moved_and_says_so(bench: Bench) -> None:
    bench.engine = SceneEngine(in_view=lambda scene, seq: scene == "night")
    run(bench, joined(mode=Mode.LIVE), *frames(*[LOW] * 10), moved_after={"gate": 5.0}, plan=BY_SCHEDULE)

    assert bench.camera()["state"] == "MOVED"
    assert bench.camera()["reason"].endswith("It shows scene night, which is not in force")


# By schedule


def test_a_schedule_is_followed_from_the_first_frame_of_its_hours(bench: Bench) -> None:
    bench.engine = engine = SceneEngine()
    run(bench, joined(mode=Mode.REPLAY), *frames(LOW, LOW, LOW, every=30.0), plan=BY_SCHEDULE)

    assert engine.batches == [["day"], ["day"], ["night"]]  # 12:00:00, 12:00:30, 12:01:00
    assert engine.asked == []
    assert bench.camera()["scene"] == "night"


def test_a_scene_without_a_gallery_does_not_stop_the_other_one(bench: Bench) -> None:
    bench.engine = SceneEngine()
    bench.engine.rule = lambda scene, image: "not enrolled" if scene == "day" else float(image[0, 0, 0])
    run(bench, joined(mode=Mode.LIVE), *frames(LOW, LOW, LOW, every=30.0), plan=BY_SCHEDULE)

    assert [row.problem for row in bench.rows()] == ["not enrolled", "not enrolled", ""]


def test_new_hours_are_taken_while_it_runs(bench: Bench) -> None:
    bench.engine = engine = SceneEngine()
    other = replace(BY_SCHEDULE, entries=(SceneEntry("night", Window(720, 721)), SceneEntry("day")))
    link = FakeLink([joined(mode=Mode.LIVE), *frames(LOW), *frames(LOW, first=1)], bench.log)
    values: dict[str, Any] = {"cameras": {"gate": "day"}, "plans": {"gate": BY_SCHEDULE}}

    def stopping() -> bool:
        if len(link.rounds) == 1:
            worker.reconfigure(bench.settings(**(values | {"plans": {"gate": other}})))
        return link.empty

    worker = bench.worker(link, stopping, **values)
    worker.run()

    assert engine.batches == [["day"], ["night"]]


# Slow change


def quiet(seq: int) -> list[LinkEvent]:
    return [a_frame(seq, LOW, frame_time=NOON + 60.0 * seq)]


def test_quiet_frames_of_a_live_camera_become_candidates_of_the_scene_in_force(bench: Bench) -> None:
    bench.engine = SceneEngine()
    kept: list[KeptFrame] = []
    link = FakeLink([joined(mode=Mode.LIVE), *(quiet(seq) for seq in range(12))], bench.log)
    bench.worker(link, lambda: link.empty, cameras={"gate": "day"}, drift=DriftCollector(10, kept.append)).run()

    assert [(frame.camera, frame.scene, frame.frame_seq) for frame in kept] == [("gate", "day", 5)]


def test_a_scene_whose_threshold_is_zero_gives_none_and_does_no_harm(bench: Bench) -> None:
    bench.engine = SceneEngine()
    nothing = SimpleNamespace(threshold=0.0, grow_threshold=0.0, usual=0.0)
    bench.engine.scenes["day"].calibration = nothing
    kept: list[KeptFrame] = []
    link = FakeLink([joined(mode=Mode.LIVE), *(quiet(seq) for seq in range(12))], bench.log)
    bench.worker(link, lambda: link.empty, cameras={"gate": "day"}, drift=DriftCollector(10, kept.append)).run()

    assert kept == []
    assert (bench.camera()["state"], bench.camera()["not_scored"]) == ("NOT_SCORED", 12)


def test_the_status_says_why_candidates_are_lost(bench: Bench) -> None:
    bench.engine = SceneEngine()
    drift = DriftCollector(10, lambda frame: None, problem=lambda: "no room")
    link = FakeLink([joined(mode=Mode.LIVE)], bench.log)
    bench.worker(link, lambda: link.empty, cameras={"gate": "day"}, drift=drift).run()
    assert bench.status["worker"]["drift_problem"] == "no room"

    drift.per_day = 0  # switched off: nothing is lost
    assert drift.problem == ""


@pytest.mark.parametrize("mode", list(Mode))
def test_an_alert_and_a_recording_give_no_candidates(bench: Bench, mode: Mode) -> None:
    bench.engine = SceneEngine()
    kept: list[KeptFrame] = []
    odd = [[a_frame(8, HIGH, frame_time=NOON + 480.0)]] if mode is Mode.LIVE else []
    link = FakeLink([joined(mode=mode), *(quiet(seq) for seq in range(8)), *odd, *map(quiet, range(9, 13))], bench.log)
    bench.worker(link, lambda: link.empty, cameras={"gate": "day"}, drift=DriftCollector(10, kept.append)).run()

    assert kept == []
