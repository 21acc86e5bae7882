"""The worker under operators' hands: zones, factors and snoozes that change while it runs, and a damaged file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_fakes import THRESHOLD
from worker_bench import HIGH, LOW, POLICY, Bench, FakeLink, Ticking, a_frame, joined

from stream.link import LinkEvent
from stream.messages import Mode, Phase
from stream.operator_settings import CameraOperator, SettingsWatch, change_settings
from stream.zones import Zone

START, UPDATE, END = Phase.START, Phase.UPDATE, Phase.END
# The fake engine scores the upper left 8 x 8 pixels of 32 x 32.
CORNER = Zone("corner", "ignore", ((0.0, 0.0), (0.25, 0.0), (0.25, 0.25), (0.0, 0.25)))
ALL = Zone("all", "ignore", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
DOOR = Zone("door", "watch", CORNER.polygon)


class Watched:
    """A bench with operators: one round a second, and what they do before some of them."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.file = folder / "operator.json"
        self.seen: list[dict[str, Any]] = []  # the status after each round

    def set(self, camera: str = "gate", **values: Any) -> Callable[[], object]:
        def do() -> object:
            return change_settings(self.file, lambda s: s.put(camera, replace(s.of(camera), **values)))

        return do

    def play(
        self, *rounds: list[LinkEvent], do: dict[int, Callable[[], object]] | None = None, **settings: Any
    ) -> None:
        """Plays rounds, a second each, beginning at Unix second 1000; ``do`` is done before the round of its number."""
        link, clock, actions = FakeLink(list(rounds), self.bench.log), Ticking(), dict(do or {})

        def stopping() -> bool:
            clock.tick()
            if self.bench.status_file.exists():
                self.seen.append(self.bench.status)
            actions.pop(len(rounds) - len(link.rounds), lambda: None)()
            return link.empty

        self.worker = self.bench.worker(link, stopping, clock=clock, operator=SettingsWatch(self.file), **settings)
        self.worker.run()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    here = Watched(tmp_path)
    yield here
    here.bench.outbox.close()


def frames(*levels: int, camera: str = "gate", first: int = 0, **fields: Any) -> list[list[LinkEvent]]:
    return [[a_frame(seq, level, camera=camera, **fields)] for seq, level in enumerate(levels, start=first)]


def live(camera: str = "gate") -> list[LinkEvent]:
    return joined(camera, mode=Mode.LIVE)


# Zones


def test_what_lies_in_an_ignored_zone_raises_no_alert_and_is_not_in_the_log_of_scores(watched: Watched) -> None:
    watched.set(zones=(CORNER,))()
    watched.play(live(), *frames(HIGH, HIGH, HIGH))

    assert watched.bench.phases == []
    assert [row.score for row in watched.bench.rows()] == [0.0] * 3
    assert watched.bench.camera()["zones"] == 1
    assert watched.bench.camera()["last_score"] == 0.0


def test_regions_and_mask_end_where_a_zone_begins(watched: Watched) -> None:
    right = Zone("right", "ignore", ((0.125, 0.0), (1.0, 0.0), (1.0, 1.0), (0.125, 1.0)))
    watched.play(live(), *frames(HIGH, HIGH), do={0: watched.set(zones=(right,))})

    (start, end) = watched.bench.outbox.read_after(0, limit=9)
    for alert in (start, end):
        (region,) = alert.regions
        x, y, width, height = region.bbox
        assert (x, y) == (0, 0)
        assert width == pytest.approx(8, abs=1), "an eighth of 64 pixels: the zone cuts the corner in two"
        assert height == pytest.approx(12, abs=1), "a quarter of 48 pixels"


def test_score_maps_on_the_disk_stay_as_they_were_scored(watched: Watched, tmp_path: Path) -> None:
    watched.set(zones=(CORNER,))()
    watched.play(live(), *frames(HIGH), maps=tmp_path / "maps")

    assert np.load(tmp_path / "maps" / "gate" / "00000000.npy").max() == HIGH


def test_zones_of_the_configuration_hold_too_and_for_their_camera_alone(watched: Watched) -> None:
    both = [[a_frame(n, HIGH), a_frame(n, HIGH, camera="back")] for n in range(2)]
    watched.play(live() + live("back"), *both, zones={"gate": (CORNER,)})

    assert [alert.camera for alert in watched.bench.outbox.read_after(0, limit=9)] == ["back", "back"]
    assert [row.score for row in watched.bench.rows("back")] == [HIGH] * 2
    assert (watched.bench.camera("gate")["zones"], watched.bench.camera("back")["zones"]) == (1, 0)


def test_a_zone_drawn_over_an_open_alert_lets_it_end_as_when_it_is_quiet(watched: Watched) -> None:
    watched.play(live(), *frames(*[HIGH] * 9), do={4: watched.set(zones=(CORNER,))})

    assert watched.bench.phases == [START, END]
    start, end = watched.bench.outbox.read_after(0, limit=9)
    assert end.score == start.score == HIGH, "it shows what it was about"
    assert [row.score for row in watched.bench.rows()][-3:] == [0.0] * 3


def test_a_watched_zone_that_holds_all_there_is_to_see_changes_nothing(watched: Watched) -> None:
    watched.play(live(), *frames(*[HIGH] * 6), do={3: watched.set(zones=(DOOR,))})

    assert watched.bench.phases == [START, END], "the alert went on, and ended with the run"
    assert [row.score for row in watched.bench.rows()] == [HIGH] * 6


def test_zones_that_leave_nothing_are_a_state_and_no_quiet_camera(watched: Watched) -> None:
    watched.play(live(), *frames(HIGH), zones={"gate": (ALL,)})

    camera = watched.bench.camera()
    assert (camera["state"], camera["last_score"], camera["not_scored"]) == ("NOT_SCORED", None, 1)
    assert camera["reason"] == "its zones leave nothing of the picture to watch: change them"
    assert watched.bench.rows()[0].problem == camera["reason"]


def test_new_zones_in_the_configuration_hold_without_a_new_beginning(watched: Watched) -> None:
    def reconfigure() -> None:
        watched.worker.reconfigure(watched.bench.settings(zones={"gate": (DOOR,)}))

    watched.play(live(), *frames(*[HIGH] * 6), do={3: reconfigure})

    assert watched.bench.phases == [START, END]
    assert watched.bench.camera()["zones"] == 1
    assert watched.bench.camera()["scored"] == 6


# The factor


def test_with_a_higher_factor_the_same_scores_raise_no_alert(watched: Watched) -> None:
    watched.set(threshold_factor=20.0)()
    watched.play(live(), *frames(HIGH, HIGH, HIGH))

    assert watched.bench.phases == []
    assert {row.threshold for row in watched.bench.rows()} == {20 * THRESHOLD}, "what the score was compared with"
    camera = watched.bench.camera()
    assert (camera["threshold"], camera["calibrated_threshold"]) == (20 * THRESHOLD, THRESHOLD)
    assert camera["threshold_factor"] == 20.0


def test_with_a_lower_factor_weaker_scores_raise_one_that_tells_the_threshold_in_force(watched: Watched) -> None:
    watched.set(threshold_factor=0.5)()
    watched.play(live(), *frames(8, 8))

    (start, _) = watched.bench.outbox.read_after(0, limit=9)
    assert (start.score, start.threshold) == (8.0, THRESHOLD / 2)
    assert len(start.regions) == 1


def test_a_factor_holds_in_the_status_before_the_next_frame_comes(watched: Watched) -> None:
    watched.play(live(), *frames(LOW), [], [], [], do={3: watched.set(threshold_factor=2.0)})

    assert watched.seen[1]["cameras"]["gate"]["threshold"] == THRESHOLD
    assert watched.bench.camera()["threshold"] == 2 * THRESHOLD


# Snooze


def test_a_snoozed_camera_is_scored_and_logged_and_starts_no_alert(watched: Watched) -> None:
    watched.set(snoozed_until=9999.0, snooze_reason="roadworks")()
    watched.play(live(), *frames(HIGH, HIGH, HIGH))

    assert watched.bench.phases == []
    assert [(row.score, row.alert) for row in watched.bench.rows()] == [(HIGH, "")] * 3
    camera = watched.bench.camera()
    assert (camera["state"], camera["held_by_snooze"]) == ("LIVE", 1)
    assert (camera["snoozed_until"], camera["snooze_reason"]) == ("1970-01-01T02:46:39.000Z", "roadworks")


def test_an_open_alert_ends_when_its_camera_is_snoozed_and_no_other_one(watched: Watched) -> None:
    both = [[a_frame(n, HIGH), a_frame(n, HIGH, camera="back")] for n in range(6)]
    watched.play(live() + live("back"), *both, do={4: watched.set(snoozed_until=9999.0)})

    committed = [(alert.camera, alert.phase) for alert in watched.bench.outbox.read_after(0, limit=9)]
    assert committed[:2] == [("gate", START), ("back", START)]
    assert committed[2] == ("gate", END), "at once"
    assert committed[3:] == [("back", END)], "with the run"
    assert watched.bench.rows("back")[-1].alert != ""


def test_an_open_alert_ends_at_once_even_where_no_frame_comes(watched: Watched) -> None:
    quiet: list[list[LinkEvent]] = [[], [], []]
    watched.play(live(), *frames(HIGH, HIGH), *quiet, do={3: watched.set(snoozed_until=9999.0)})

    assert watched.seen[-1]["cameras"]["gate"]["alert"] is None
    assert watched.bench.phases == [START, END]


def test_a_snooze_ends_by_itself_and_what_still_goes_on_is_a_new_alert(watched: Watched) -> None:
    # Frame n is scored at second 1002 + n, so the snooze is over with frame 3.
    watched.set(snoozed_until=1005.0)()
    watched.play(live(), *frames(*[HIGH] * 8))

    (start, end) = watched.bench.outbox.read_after(0, limit=9)
    assert (start.phase, end.phase) == (START, END)
    assert (start.frame_seq, start.started_at) == (4, 1000.3)
    camera = watched.bench.camera()
    assert (camera["snoozed_until"], camera["snooze_reason"], camera["held_by_snooze"]) == (None, "", 1)


def test_a_snooze_that_is_taken_back_is_over_at_once(watched: Watched) -> None:
    watched.set(snoozed_until=9999.0)()
    watched.play(live(), *frames(*[HIGH] * 6), do={3: watched.set(snoozed_until=None)})

    assert watched.bench.phases == [START, END]
    assert watched.bench.camera()["snoozed_until"] is None


def test_what_began_before_a_snooze_begins_anew_after_it(watched: Watched) -> None:
    slow = replace(POLICY, min_duration=0.3)
    do = {2: watched.set(snoozed_until=9999.0), 5: watched.set(snoozed_until=None)}
    watched.play(live(), *frames(*[HIGH] * 10), do=do, policy=slow)

    (start, _) = watched.bench.outbox.read_after(0, limit=9)
    assert start.started_at == 1000.5, "the first frame after the snooze"


def test_a_recording_is_snoozed_by_the_clock_on_the_wall_too(watched: Watched) -> None:
    watched.set(snoozed_until=1500.0)()
    watched.play(joined(), *frames(HIGH, HIGH, HIGH, frame_time=9000.0))

    assert watched.bench.phases == []


def test_held_alerts_stay_counted_when_a_camera_begins_anew(watched: Watched) -> None:
    def reconfigure() -> None:
        watched.worker.reconfigure(watched.bench.settings(moved_after={"gate": 9.0}))

    watched.set(snoozed_until=9999.0)()
    watched.play(live(), *frames(HIGH, HIGH), [], [], do={4: reconfigure})

    assert watched.bench.camera()["held_by_snooze"] == 1
    assert watched.bench.camera()["snoozed_until"] is not None, "it has not forgotten what is set"


# What is told


def test_the_status_names_the_revision_that_is_in_force(watched: Watched) -> None:
    watched.play(live(), *frames(LOW, LOW, LOW), do={2: watched.set(threshold_factor=2.0)})

    assert watched.seen[0]["worker"]["operator_revision"] == 0
    assert watched.bench.status["worker"]["operator_revision"] == 1
    assert watched.bench.status["worker"]["operator_problem"] == ""


@pytest.mark.fault("operators' settings damaged", "DEGRADED, naming the file; the last good ones stay in force")
def test_a_damaged_file_leaves_the_last_good_settings_in_force_and_the_worker_degraded(watched: Watched) -> None:
    watched.set(threshold_factor=20.0)()
    damage = {2: lambda: watched.file.write_text("{}")}
    watched.play(live(), *frames(HIGH, HIGH, HIGH, HIGH), do=damage)  # type: ignore[arg-type]

    worker = watched.seen[-1]["worker"]
    assert worker["state"] == "DEGRADED"
    assert str(watched.file) in worker["reason"]
    assert worker["operator_problem"] in worker["reason"]
    assert worker["operator_revision"] == 1
    assert {row.threshold for row in watched.bench.rows()} == {20 * THRESHOLD}


def test_a_file_that_is_repaired_is_taken_and_the_worker_well_again(watched: Watched) -> None:
    def repair() -> None:
        watched.file.unlink()
        watched.set(threshold_factor=3.0)()

    watched.file.write_text("no settings")
    watched.play(live(), *frames(*[LOW] * 5), do={3: repair})

    assert watched.seen[0]["worker"]["state"] == "DEGRADED"
    assert watched.seen[-1]["worker"]["state"] == "RUNNING"
    assert watched.bench.camera()["threshold_factor"] == 3.0


def test_a_camera_that_comes_later_gets_what_is_set_for_it(watched: Watched) -> None:
    def reconfigure() -> None:
        watched.worker.reconfigure(watched.bench.settings(cameras={"gate": "yard", "roof": "yard"}))

    watched.set("roof", threshold_factor=2.0)()
    watched.play(live(), *frames(LOW, LOW), do={2: reconfigure})

    assert watched.bench.camera("roof")["threshold_factor"] == 2.0


def test_settings_of_a_camera_that_is_not_here_disturb_nobody(watched: Watched) -> None:
    watched.set("attic", threshold_factor=2.0)()
    watched.play(live(), *frames(LOW))

    assert watched.bench.status["worker"]["state"] == "STOPPED"
    assert watched.bench.camera()["threshold_factor"] == CameraOperator().threshold_factor
