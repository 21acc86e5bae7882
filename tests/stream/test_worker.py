"""The worker with an engine that scores as the test says: batches, states, rows, maps, and commits before DONE."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pipeline_fakes import GreySource, short_folder, wait_until
from scoring_fakes import THRESHOLD, FakeEngine
from worker_bench import HIGH, LOW, POLICY, SIDE, Bench, FakeLink, Ticking, a_frame, a_placement, a_state, joined

from spade_core.preprocess import Preprocess
from stream.endpoints import parse_endpoint
from stream.errors import OutboxError
from stream.link import Ended, LinkEvent, LinkServer
from stream.messages import CameraState, Mode, Phase
from stream.reader import Reader, ReaderSettings
from stream.score_maps import map_to_keep


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    here = Bench(tmp_path)
    yield here
    here.outbox.close()


def event_of(*levels: int) -> list[list[LinkEvent]]:
    """A round per frame."""
    return [[a_frame(seq, level)] for seq, level in enumerate(levels)]


# Scores and rows


def test_every_frame_gets_a_row_with_what_it_was_compared_to(bench: Bench) -> None:
    bench.run(joined(), [a_frame(4, 7, segment="clip")])

    (row,) = bench.rows()
    assert (row.frame_seq, row.frame_time, row.media_time, row.segment) == (4, 1000.4, 0.4, "clip")
    assert (row.score, row.image_score, row.threshold, row.nearest) == (7.0, 3.5, THRESHOLD, 2)
    assert (row.alert, row.problem) == ("", "")
    assert row.age is not None
    assert row.age > 0


def test_the_age_of_a_frame_from_another_machine_is_not_known(bench: Bench) -> None:
    bench.run(joined(), [a_frame(0, LOW)], shared_clock=False)

    assert bench.rows()[0].age is None
    assert bench.camera()["age_p50"] is None


def test_rows_name_the_alert_that_is_open(bench: Bench) -> None:
    bench.run(joined(), *event_of(LOW, HIGH, HIGH, LOW, LOW, LOW, LOW))

    alert = bench.outbox.read_after(0, limit=1)[0].alert_id
    assert [row.alert for row in bench.rows()] == ["", "", alert, alert, alert, "", ""]


# Frames that cannot be scored


def test_a_frame_that_cannot_be_scored_is_a_state_and_a_row_without_a_score(bench: Bench) -> None:
    bench.engine.rule = lambda scene, image: "the gallery is damaged"
    bench.run(joined(), [a_frame(0, HIGH)])

    (row,) = bench.rows()
    assert (row.score, row.image_score, row.threshold, row.nearest) == (None, None, None, None)
    assert row.problem == "the gallery is damaged"
    camera = bench.camera()
    assert (camera["state"], camera["reason"]) == ("NOT_SCORED", "the gallery is damaged")
    assert (camera["scored"], camera["not_scored"], camera["last_score"]) == (0, 1, None)
    assert bench.phases == []


def test_a_camera_is_live_again_when_its_frames_are_scored_again(bench: Bench) -> None:
    bench.engine.rule = lambda scene, image: "out of memory" if image[0, 0, 0] == HIGH else 1.0
    bench.run(joined(), *event_of(HIGH, LOW))

    camera = bench.camera()
    assert (camera["state"], camera["scored"], camera["not_scored"], camera["last_score"]) == ("LIVE", 1, 1, 1.0)


def test_unscored_frames_do_not_end_an_alert(bench: Bench) -> None:
    bench.engine.rule = lambda scene, image: "out of memory" if image[0, 0, 0] == 99 else float(image[0, 0, 0])
    bench.run(joined(), *event_of(HIGH, HIGH, 99, 99, 99, 99, HIGH))

    assert bench.phases == [Phase.START, Phase.END]
    assert bench.outbox.read_after(1, limit=1)[0].ended_at == 1000.6


def test_a_scoring_image_of_another_size_is_not_scored_and_spoils_nothing_else(bench: Bench) -> None:
    small = np.zeros((16, 16, 3), np.uint8)
    bench.run(joined() + joined("back"), [a_frame(0, LOW, image=small), a_frame(0, LOW, camera="back")])

    assert "scoring image is (16, 16, 3), this worker needs (32, 32, 3)" in bench.rows("gate")[0].problem
    assert bench.camera()["state"] == "NOT_SCORED"
    assert bench.rows("back")[0].score == 1.0
    assert bench.engine.batches == [["yard"]]


# Batches


def test_two_cameras_share_a_batch(bench: Bench) -> None:
    bench.run(joined() + joined("back"), [a_frame(0, 3), a_frame(0, 4, camera="back")])

    assert bench.engine.batches == [["yard", "yard"]]
    assert (bench.rows("gate")[0].score, bench.rows("back")[0].score) == (3.0, 4.0)


def test_a_batch_has_its_limit_and_who_waited_longest_goes_first(bench: Bench) -> None:
    bench.run(
        joined() + joined("back"), [a_frame(0, 3), a_frame(0, 4, camera="back")], [a_frame(1, 3)], max_batch=1, more=3
    )

    scored = [entry for entry in bench.log if entry.startswith("scored")]
    assert scored == ["scored gate 0", "scored back 0", "scored gate 1"]
    assert [len(batch) for batch in bench.engine.batches] == [1, 1, 1]


def test_a_camera_may_send_its_next_frame_while_this_one_is_scored(bench: Bench) -> None:
    bench.run(joined(), [a_frame(0, LOW)])

    assert bench.log == ["grant gate", "scored gate 0"]


def test_a_live_camera_sends_its_next_frame_when_this_one_is_done(bench: Bench) -> None:
    bench.run(joined(mode=Mode.LIVE), [a_frame(0, LOW)])

    assert bench.log == ["scored gate 0", "grant gate"], "a worker that dies has one frame of it, not two"


def test_a_live_camera_whose_frame_cannot_be_scored_goes_on(bench: Bench) -> None:
    bench.run(joined(mode=Mode.LIVE), [a_frame(0, LOW, image=np.zeros((8, 8, 3), np.uint8))])

    assert bench.log == ["scored gate 0", "grant gate"]


def test_what_an_earlier_reader_counted_is_not_kept(bench: Bench) -> None:
    bench.run(joined(), [a_frame(0, LOW, drops={"link.lost": 1})], joined(), [a_frame(0, LOW, drops={})])

    assert bench.camera()["drops"] == {}


def test_a_reader_that_sends_more_than_its_credit_loses_the_older_frame_and_it_is_counted(bench: Bench) -> None:
    bench.run(joined(), [a_frame(0, LOW), a_frame(1, LOW)])

    assert [row.frame_seq for row in bench.rows()] == [1]
    assert bench.camera()["drops"] == {"worker.replaced": 1}


# Side by side


class SideBySideEngine(FakeEngine):
    """Works on two frames at once; notes what is begun and what is waited for."""

    at_once = 2

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def begin(self, frames: Any) -> list[Callable[[], Any]]:
        def answer(frame: Any, pending: Callable[[], Any]) -> Any:
            self.log.append(f"answer {frame.camera}")
            return pending()

        self.log += [f"begin {frame.camera}" for frame in frames]
        return [partial(answer, *each) for each in zip(frames, super().begin(frames), strict=True)]


FIVE = {name: "yard" for name in "abcde"}


def side_by_side(bench: Bench, *rounds: list[LinkEvent], more: int) -> list[str]:
    """What the engine was asked, in turn."""
    bench.engine = SideBySideEngine(asked := [])
    bench.run([event for name in FIVE for event in joined(name)], *rounds, cameras=FIVE, more=more)
    return asked


def test_side_by_side_two_frames_a_core_are_taken_and_answers_are_waited_for_in_turn(bench: Bench) -> None:
    asked = side_by_side(bench, [a_frame(0, LOW, camera=name) for name in FIVE], more=6)

    assert asked[:4] == ["begin a", "begin b", "begin c", "begin d"]
    assert asked[4:7] == ["answer a", "begin e", "answer b"], "the next is handed over before the next answer"
    assert [entry for entry in asked if entry.startswith("answer")] == [f"answer {name}" for name in "abcde"]


def test_side_by_side_a_camera_has_one_frame_in_work_at_a_time(bench: Bench) -> None:
    asked = side_by_side(
        bench, [a_frame(0, LOW, camera="a"), a_frame(0, LOW, camera="b")], [a_frame(1, LOW, camera="b")], more=6
    )

    assert asked == ["begin a", "begin b", "answer a", "answer b", "begin b", "answer b"]
    assert [row.frame_seq for row in bench.rows("b")] == [0, 1]


def test_side_by_side_what_is_in_work_is_finished_before_the_worker_ends(bench: Bench) -> None:
    side_by_side(bench, [a_frame(0, LOW, camera=name) for name in "abcd"], more=0)

    assert [len(bench.rows(name)) for name in "abcd"] == [1, 1, 1, 1]


def test_side_by_side_the_end_is_confirmed_only_when_the_last_frame_is_scored(bench: Bench) -> None:
    side_by_side(bench, [a_frame(0, LOW, camera="a"), a_frame(0, LOW, camera="b"), Ended("b", "", {})], more=6)

    assert bench.log.index("scored b 0") < bench.log.index("done b")


# Alerts


def test_a_frame_counts_as_scored_only_when_its_alert_is_committed(bench: Bench) -> None:
    bench.run(joined(), *event_of(HIGH, HIGH))

    assert bench.log[:5] == ["grant gate", "scored gate 0", "grant gate", "commit gate start", "scored gate 1"]


def test_an_alert_that_is_open_at_the_end_is_ended_and_committed_before_the_reader_hears_done(bench: Bench) -> None:
    bench.run(joined(), *event_of(HIGH, HIGH), [Ended("gate", "", {"reader.sampled_out": 5})])

    assert bench.log[-2:] == ["commit gate end", "done gate"]
    camera = bench.camera()
    assert (camera["state"], camera["reason"], camera["alert"]) == ("ENDED", "end of the source", None)
    assert camera["drops"] == {"reader.sampled_out": 5}


def test_the_reader_of_a_live_camera_that_ends_was_stopped_for_a_camera_has_no_end(bench: Bench) -> None:
    bench.run(joined(mode=Mode.LIVE), [Ended("gate", "", {})])

    assert (bench.camera()["state"], bench.camera()["reason"]) == ("ENDED", "its reader was stopped")


def test_a_frame_that_waits_is_scored_before_the_end_is_confirmed(bench: Bench) -> None:
    bench.run(
        joined() + joined("back"),
        [a_frame(0, LOW, camera="back"), a_frame(0, LOW), Ended("gate", "", {})],
        max_batch=1,
        more=3,
    )

    assert bench.log == ["grant back", "scored back 0", "grant gate", "scored gate 0", "done gate"]


def test_a_source_that_broke_off_says_why(bench: Bench) -> None:
    bench.run(joined(), [Ended("gate", "cut short", {})])

    assert (bench.camera()["state"], bench.camera()["reason"]) == ("ENDED", "broke off: cut short")


def test_a_live_camera_whose_reader_breaks_off_does_not_look_as_if_it_were_at_its_end(bench: Bench) -> None:
    bench.run(joined(mode=Mode.LIVE), [Ended("gate", "KeyError in the capture thread: 'pts'", {})])

    assert bench.camera()["state"] == "OFFLINE", "ENDED counts as well, and nobody watches this camera"
    assert bench.camera()["reason"] == "broke off: KeyError in the capture thread: 'pts'"


def test_a_new_segment_ends_the_alert_of_the_old_one(bench: Bench) -> None:
    frames = [[a_frame(seq, HIGH, segment="ab"[seq // 2])] for seq in range(4)]
    bench.run(joined(), *frames)

    alerts = bench.outbox.read_after(0, limit=9)
    assert [(alert.phase, alert.segment) for alert in alerts] == [
        (Phase.START, "a"),
        (Phase.END, "a"),
        (Phase.START, "b"),
        (Phase.END, "b"),
    ]


@pytest.mark.parametrize(
    "state", [CameraState.OFFLINE, CameraState.STALLED, CameraState.AUTH_FAILED, CameraState.CORRUPT]
)
def test_an_alert_ends_when_its_camera_is_lost(bench: Bench, state: CameraState) -> None:
    bench.run(joined(), *event_of(HIGH, HIGH), [a_state(state, "nobody answers")], [a_frame(9, LOW)])

    assert bench.log.index("commit gate end") < bench.log.index("scored gate 9")
    assert (bench.camera()["state"], bench.camera()["reason"]) == (str(state), "nobody answers")


def test_an_alert_ends_when_its_reader_falls_silent(bench: Bench) -> None:
    bench.gone = ["gate"]
    bench.run(joined(), *event_of(HIGH, HIGH), joined("back"), [a_frame(5, LOW, camera="back")])

    assert bench.phases == [Phase.START, Phase.END]
    assert bench.log.index("commit gate end") < bench.log.index("scored back 5"), "not only when the worker stops"
    camera = bench.camera()
    assert (camera["state"], camera["reason"]) == ("NO_READER", "its reader stopped reporting")
    assert camera["alert"] is None
    assert bench.camera("back")["state"] == "LIVE"


def test_stopping_scores_what_is_there_and_ends_what_is_open(bench: Bench) -> None:
    rounds: list[list[LinkEvent]] = [joined(), [a_frame(0, HIGH)], [a_frame(1, HIGH)]]
    link = FakeLink(rounds, bench.log)
    bench.worker(link, lambda: len(rounds) == 1).run()  # the last frame comes when the worker is told to stop

    assert bench.log[-2:] == ["scored gate 1", "commit gate end"]
    assert len(bench.rows()) == 2


class FullDisk:
    """Takes no commit while it is full."""

    def __init__(self, bench: Bench) -> None:
        self.full, self._commit = True, bench.outbox.commit
        bench.outbox.commit = self  # type: ignore[method-assign]

    def __call__(self, alert: Any, evidence: Any) -> Any:
        if self.full:
            raise OutboxError("no space left. Free some disk space")
        return self._commit(alert, evidence)


@pytest.mark.fault("disk full", "DEGRADED with the reason; no commit is claimed; scoring goes on; all is told later")
def test_while_nothing_can_be_committed_the_worker_is_degraded_and_goes_on_scoring(bench: Bench) -> None:
    disk, seen, clock = FullDisk(bench), list[dict[str, Any]](), Ticking()
    link = FakeLink([joined(mode=Mode.LIVE), *event_of(HIGH, HIGH, HIGH, LOW, LOW, LOW), [], *[[]] * 9], bench.log)

    def stopping() -> bool:
        clock.tick()
        if bench.status_file.exists():
            seen.append(bench.status)
        if len(link.rounds) == 10:
            disk.full = False
        return link.empty

    bench.worker(link, stopping, clock=clock).run()

    degraded = [status["worker"] for status in seen if status["worker"]["state"] == "DEGRADED"]
    assert degraded, "it said so while it lasted"
    assert "1 alert messages wait: no space left" in degraded[0]["reason"]
    assert len(bench.rows()) == 6, "all frames were scored"
    assert bench.phases == [Phase.START, Phase.END], "both came through when there was room again"
    assert bench.log.index("scored gate 0") < bench.log.index("commit gate start") < bench.log.index("scored gate 5")
    assert not {"scored gate 1", "scored gate 2"} & set(bench.log), "their reader would have forgotten them"


def test_a_recording_waits_while_nothing_can_be_committed(bench: Bench) -> None:
    disk, clock = FullDisk(bench), Ticking(10.0)
    link = FakeLink([joined(), *event_of(HIGH, HIGH, HIGH), [], [], []], bench.log)

    def stopping() -> bool:
        clock.tick()
        if len(link.rounds) == 1:
            assert len(bench.rows()) == 2, "the third frame waits: replay is lossless"
            disk.full = False
        return link.empty

    bench.worker(link, stopping, clock=clock).run()

    assert len(bench.rows()) == 3
    assert bench.phases == [Phase.START, Phase.END]


def test_the_end_of_a_recording_is_confirmed_only_when_its_last_alert_is_committed(bench: Bench) -> None:
    disk, clock = FullDisk(bench), Ticking(10.0)
    link = FakeLink([joined(), *event_of(HIGH, HIGH), [Ended("gate", "", {})], [], [], []], bench.log)

    def stopping() -> bool:
        clock.tick()
        assert disk.full is False or "done gate" not in bench.log
        if len(link.rounds) == 1:
            disk.full = False
        return link.empty

    bench.worker(link, stopping, clock=clock).run()

    assert bench.log.index("commit gate end") < bench.log.index("done gate")


def test_what_can_never_be_committed_does_not_keep_the_worker_from_ending(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    FullDisk(bench)
    bench.run(joined(mode=Mode.LIVE), *event_of(HIGH, HIGH, HIGH))

    assert bench.status["worker"]["state"] == "STOPPED"
    assert bench.status["worker"]["lost_messages"] == {"start": 1, "end": 1}
    assert "given up" in caplog.text


def test_an_alert_that_a_killed_worker_left_open_is_ended_though_the_disk_is_full_at_first(bench: Bench) -> None:
    bench.run(joined(), *event_of(HIGH, HIGH), [])
    bench.outbox._db.execute("DELETE FROM alerts WHERE phase = 'end'")  # as if it had been killed before
    disk, clock = FullDisk(bench), Ticking(10.0)
    link = FakeLink([[], [], [], []], bench.log)

    def stopping() -> bool:
        clock.tick()
        if len(link.rounds) == 2:
            disk.full = False
        return link.empty

    bench.worker(link, stopping, clock=clock).run()

    assert bench.phases == [Phase.START, Phase.END]


def test_while_a_recording_waits_for_the_disk_the_worker_waits_too(bench: Bench) -> None:
    FullDisk(bench)
    link = FakeLink([joined(), *event_of(HIGH, HIGH, HIGH), [], []], bench.log)
    bench.worker(link, lambda: link.empty).run()

    assert link.waits[-3] > 0, "a loop without a pause would take a whole core"


def test_the_end_of_an_earlier_reader_is_not_the_end_of_the_next_one(bench: Bench) -> None:
    disk, clock = FullDisk(bench), Ticking(10.0)
    rounds = [joined(), *event_of(HIGH, HIGH), [Ended("gate", "", {})], joined(), [a_frame(0, LOW)], [], [], []]
    link = FakeLink(rounds, bench.log)

    def stopping() -> bool:
        clock.tick()
        if len(link.rounds) == 3:
            disk.full = False
        return link.empty

    bench.worker(link, stopping, clock=clock).run()

    assert "done gate" not in bench.log
    assert bench.log.count("scored gate 1") == 0, "that was a frame of the earlier one"
    assert bench.camera()["state"] == "LIVE"


# Frames without a score while an alert is open


def test_an_alert_ends_when_nothing_could_be_scored_for_a_while(bench: Bench) -> None:
    bench.engine.rule = lambda scene, image: "the gallery is damaged" if image[0, 0, 0] == 99 else HIGH
    later = [[a_frame(seq, 99)] for seq in range(2, 110, 20)]  # two seconds apart
    bench.run(joined(), *event_of(HIGH, HIGH), *later, [a_frame(130, 99)])

    assert bench.log.index("commit gate end") < bench.log.index("scored gate 130")


# A camera that was moved


def moving(bench: Bench, *moved: bool | None) -> None:
    """Plays a frame a second; says of each whether the camera is out of place, None: that cannot be told."""
    bench.engine.placements = [None if away is None else a_placement(in_place=not away) for away in moved]
    link, clock = FakeLink([joined(mode=Mode.LIVE), *event_of(*(HIGH for _ in moved))], bench.log), Ticking()

    def stopping() -> bool:
        clock.tick()
        return link.empty

    bench.worker(link, stopping, clock=clock, moved_after={"gate": 2.0}).run()


@pytest.mark.fault("camera bumped out of place", "MOVED, scores invalid, re-enrolment proposed; LIVE when put back")
def test_a_camera_that_was_moved_is_not_scored_and_its_alert_ends(bench: Bench) -> None:
    moving(bench, *[False] * 3, *[True] * 12)

    camera, rows = bench.camera(), bench.rows()
    assert camera["state"] == "MOVED"
    assert "enroll" in camera["reason"]
    assert [row.score is None for row in rows][:3] == [False] * 3
    assert rows[-1].score is None
    assert rows[-1].problem == camera["reason"]
    assert bench.phases == [Phase.START, Phase.END]


def test_a_camera_that_is_put_back_is_scored_again(bench: Bench) -> None:
    moving(bench, *[True] * 10, *[False] * 6)

    assert bench.camera()["state"] == "LIVE"
    assert bench.rows()[-1].score is not None


def test_a_moved_camera_is_scored_again_when_its_new_gallery_cannot_tell(bench: Bench) -> None:
    moving(bench, *[True] * 10, *[None] * 3)

    assert bench.camera()["state"] == "LIVE"
    assert bench.rows()[-1].score is not None


def test_a_recording_is_scored_as_it_is(bench: Bench) -> None:
    bench.engine.placements = [a_placement(in_place=False)] * 12
    bench.run(joined(mode=Mode.REPLAY), *event_of(*[LOW] * 12), moved_after={"gate": 1.0})

    assert all(row.score is not None for row in bench.rows())


# Changes of state


def test_every_change_of_a_cameras_state_is_an_event(bench: Bench) -> None:
    bench.run(joined(), [a_state(CameraState.STALLED, "no frame")], [a_state(CameraState.LIVE)])

    events = [(event.camera, event.state) for event in bench.outbox.events_after(0, limit=10)]
    assert events == [("gate", state) for state in (CameraState.CONNECTING, CameraState.LIVE, CameraState.STALLED,
                                                    CameraState.LIVE)]


# A new configuration


def reloading(bench: Bench, *rounds: list[LinkEvent], after: int, **settings: Any) -> FakeLink:
    """Plays rounds; after so many of them, the worker gets new settings."""
    link = FakeLink(list(rounds), bench.log)

    def stopping() -> bool:
        if len(rounds) - len(link.rounds) == after:
            worker.reconfigure(bench.settings(**settings))
        return link.empty

    worker = bench.worker(link, stopping)
    worker.run()
    return link


def test_cameras_are_added_and_removed_and_the_others_go_on(bench: Bench) -> None:
    link = reloading(
        bench,
        joined() + joined("back"),
        *event_of(HIGH, HIGH),
        [a_frame(2, HIGH)],
        [],
        after=3,
        cameras={"gate": "yard", "roof": "roof"},
        galleries={"yard": Path("y")},
    )

    assert set(bench.status["cameras"]) == {"gate", "roof"}
    assert (link.admitted, link.dismissed) == ({"gate", "roof"}, ["back"])
    assert bench.camera("gate")["scored"] == 3
    assert bench.phases == [Phase.START, Phase.END], "the alert of a camera that stays goes on"
    assert bench.engine.changed == [{"yard": Path("y")}]


def test_what_is_in_work_of_a_camera_that_is_removed_is_finished(bench: Bench) -> None:
    reloading(bench, joined(), *event_of(HIGH, HIGH), [], after=3, cameras={"back": "yard"})

    assert len(bench.rows()) == 2
    assert bench.phases == [Phase.START, Phase.END]
    assert set(bench.status["cameras"]) == {"back"}
    assert [event.state for event in bench.outbox.camera_states()] == [CameraState.ENDED]


def test_new_alert_settings_leave_counts_and_states_as_they_are(bench: Bench) -> None:
    reloading(
        bench,
        joined(),
        [a_frame(0, LOW, drops={"reader.overwritten": 4})],
        [Ended("gate", "", {"reader.overwritten": 5})],
        [],
        after=3,
        policy=replace(POLICY, min_duration=60.0),
    )

    camera = bench.camera()
    assert (camera["state"], camera["scored"], camera["drops"]) == ("ENDED", 1, {"reader.overwritten": 5})


def test_new_alert_settings_end_what_is_open_and_hold_from_then_on(bench: Bench) -> None:
    later = [[a_frame(seq, HIGH)] for seq in (2, 3, 4)]
    reloading(
        bench, joined(), *event_of(HIGH, HIGH), *later, after=3, policy=replace(POLICY, min_duration=60.0)
    )

    assert bench.phases == [Phase.START, Phase.END]


# Maps and the status file


def test_score_maps_are_kept_where_asked_for(bench: Bench) -> None:
    bench.run(joined(), *event_of(7, 8), maps=bench.folder / "maps")

    first, second = (np.load(bench.folder / "maps" / "gate" / f"{seq:08d}.npy") for seq in (0, 1))
    assert first.shape == (SIDE, SIDE)
    assert (first[:8, :8] == 7).all()
    assert second.max() == 8
    assert first[8:].max() == 0
    assert first.dtype == np.float16


def test_a_map_with_a_score_that_half_precision_cannot_hold_is_kept_as_it_is() -> None:
    assert map_to_keep(np.array([[65504.0]], np.float32)).dtype == np.float16
    high = map_to_keep(np.array([[65536.0]], np.float32))
    assert (high.dtype, high.max()) == (np.float32, 65536.0)


def test_a_frame_without_a_score_has_no_map(bench: Bench) -> None:
    bench.engine.rule = lambda scene, image: "no gallery"
    bench.run(joined(), *event_of(7), maps=bench.folder / "maps")

    assert list(bench.folder.glob("maps/**/*.npy")) == []


def test_the_status_tells_of_every_camera_from_the_start(bench: Bench) -> None:
    bench.engine.failures["yard"] = RuntimeError("levels.crc does not match")
    bench.run(joined(), [a_frame(3, 7, drops={"reader.overwritten": 2})])

    status = bench.status
    assert (status["worker"]["state"], status["worker"]["malformed_messages"]) == ("STOPPED", 0)
    assert status["worker"]["scene_failures"] == {"yard": "levels.crc does not match"}
    gate, back = bench.camera("gate"), bench.camera("back")
    assert (gate["scene"], gate["state"], gate["scored"], gate["last_seq"]) == ("yard", "LIVE", 1, 3)
    assert (gate["last_score"], gate["threshold"]) == (7.0, THRESHOLD)
    assert gate["last_frame_time"] == "1970-01-01T00:16:40.300Z"
    assert gate["drops"] == {"reader.overwritten": 2}
    assert (back["state"], back["reason"]) == ("NO_READER", "its reader has not reported yet")


def test_while_it_works_the_status_says_that_it_runs(bench: Bench) -> None:
    link = FakeLink([joined(), []], bench.log)
    seen: list[str] = []

    def stopping() -> bool:
        if bench.status_file.exists():
            seen.append(bench.status["worker"]["state"])
        return link.empty

    bench.worker(link, stopping).run()

    assert set(seen) == {"RUNNING"}
    assert bench.status["worker"]["state"] == "STOPPED"


# With the real link, and a real reader


def test_a_recording_goes_through_reader_link_and_worker_to_committed_alerts(bench: Bench) -> None:
    with short_folder() as folder:
        endpoint = parse_endpoint(f"ipc://{folder}/link")
        stop = threading.Event()
        bench.engine.rule = lambda scene, image: 50.0 if 5 <= image[0, 0, 0] - 10 < 10 else 1.0  # frames 5 to 9 of 20
        link = LinkServer(endpoint, cameras=["gate", "back"])
        worker = bench.worker(link, stop.is_set)
        settings = ReaderSettings(
            camera="gate", mode=Mode.REPLAY, fps=None, recorded_at=1000.0, endless=False, preprocess=Preprocess(SIDE)
        )
        reader = Reader(settings, endpoint=endpoint, open_source=lambda: GreySource(20), stopping=lambda: False)
        thread = threading.Thread(target=reader.run, daemon=True)
        thread.start()

        def stop_after_the_reader() -> bool:
            if not thread.is_alive():
                stop.set()
            return stop.is_set()

        worker._stopping = stop_after_the_reader
        with link:
            worker.run()
        wait_until(lambda: not thread.is_alive())

    assert [row.frame_seq for row in bench.rows()] == list(range(20))
    start, end = bench.outbox.read_after(0, limit=9)
    assert (start.phase, start.started_at, start.frame_seq) == (Phase.START, 1000.5, 6)
    assert (end.phase, end.ended_at) == (Phase.END, pytest.approx(1000.9))
    assert bench.camera()["state"] == "ENDED"
    assert cv2.imdecode(np.frombuffer(bench.outbox.evidence_of(start).mask_png, np.uint8), 0).max() == 255
