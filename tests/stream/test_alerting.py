"""From scored frames to committed alerts: what is shown, what is masked, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pipeline_fakes import HEIGHT, WIDTH, a_packet
from scoring_fakes import THRESHOLD, a_result

from spade_core.errors import GalleryCorrupt
from spade_core.later import Later
from spade_core.preprocess import Preprocess
from spade_core.scorer import Explanation
from stream.alerting import CameraAlerts, ClipRecorder
from stream.engine import Scored
from stream.kept_frame import decode_kept
from stream.messages import Alert, Evidence, FramePacket, Neighbour, Phase
from stream.policy import PolicySettings

SETTINGS = PolicySettings(min_duration=0.1, end_after=0.2, update_every=0.5, cooldown=0.0, release_ratio=0.8)
START, UPDATE, END = Phase.START, Phase.UPDATE, Phase.END


class FakeRecorder:
    """A clip is a list of what it was told since the alert began."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def see(self, packet: FramePacket) -> None:
        self.told.append(f"frame {packet.seq}")

    def begin(self, alert_id: str, started_at: float) -> None:
        self.told.append(f"begin at {started_at}")

    def finish(self) -> bytes:
        told, self.told = self.told, []
        return ", ".join(told).encode()


class Desk:
    """The alerts of one camera, and what was committed of them."""

    def __init__(self, settings: PolicySettings = SETTINGS, *, clips: ClipRecorder | None = None) -> None:
        self.committed: list[tuple[Alert, Evidence]] = []
        self.alerts = CameraAlerts("gate", settings, commit=self._commit, clips=clips)
        self._seq = 0

    def _commit(self, alert: Alert, evidence: Evidence) -> Alert:
        self.committed.append((alert, evidence))
        return replace(alert, seq=len(self.committed))

    def see(self, *scores: float, segment: str = "", at: tuple[int, int] = (0, 0)) -> list[Alert]:
        """The next frames, a tenth of a second apart."""
        found: list[Alert] = []
        for score in scores:
            found += self.alerts.observe(a_packet(self._seq, segment=segment), a_result(score, at=at))
            self._seq += 1
        return found

    def mask(self, index: int) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(self.committed[index][1].mask_png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_normal_frames_commit_nothing() -> None:
    desk = Desk()

    assert desk.see(1, 9, 10, 1) == []
    assert (desk.committed, desk.alerts.open_alert) == ([], None)
    assert desk.alerts.finish() == []


def test_an_alert_starts_with_the_frame_that_confirms_it() -> None:
    desk = Desk()
    (alert,) = desk.see(1, 20, 15)

    assert (alert.seq, alert.phase, alert.camera, alert.scene) == (1, START, "gate", "yard")
    assert (alert.frame_seq, alert.score, alert.threshold) == (2, 15.0, THRESHOLD)
    assert (alert.started_at, alert.frame_time, alert.ended_at) == (1000.1, 1000.2, None)
    assert desk.alerts.open_alert == alert.alert_id


def test_what_is_handed_back_is_what_the_outbox_made_of_it() -> None:
    desk = Desk()

    assert [alert.seq for alert in desk.see(20, 20, 1, 1, 1)] == [1, 2]


def test_the_end_shows_the_strongest_frame_and_when_it_was_over() -> None:
    desk = Desk()
    start, end = desk.see(20, 20, 50, 30, 1, 1, 1)

    assert (end.phase, end.alert_id) == (END, start.alert_id)
    assert (end.frame_seq, end.score, end.frame_time) == (2, 50.0, 1000.2)
    assert (end.started_at, end.ended_at) == (1000.0, 1000.3)
    assert desk.alerts.open_alert is None


def test_the_mask_of_the_end_is_that_of_the_strongest_frame() -> None:
    desk = Desk()
    desk.see(20, 20)
    desk.see(50, at=(16, 16))
    desk.see(20, 1, 1, 1)

    assert [alert.phase for alert, _ in desk.committed] == [START, END]
    assert desk.mask(0)[2, 2] == 255
    assert desk.mask(0)[30, 40] == 0
    assert desk.mask(1)[2, 2] == 0
    assert desk.mask(1)[30, 40] == 255, "row 20, column 20 of 32 x 32 in the native frame of 48 x 64"


def test_an_update_shows_the_current_frame() -> None:
    desk = Desk()
    alerts = desk.see(20, 30, 20, 20, 20, 20, 20)

    assert [(alert.phase, alert.frame_seq, alert.score) for alert in alerts] == [(START, 1, 30.0), (UPDATE, 6, 20.0)]


def test_an_update_waits_for_a_frame_that_shows_something() -> None:
    desk = Desk()
    start, update = desk.see(20, 20, 20, 20, 20, 20, 9, 10.5)  # 9 is between release level and threshold

    assert (update.phase, update.score) == (UPDATE, 10.5)
    assert len(update.regions) == 1
    assert start.alert_id == update.alert_id


def test_region_and_mask_are_in_pixels_of_the_native_frame() -> None:
    desk = Desk()
    (alert,) = desk.see(20, 20)
    mask = desk.mask(0)

    (region,) = alert.regions
    x, y, width, height = region.bbox
    assert mask.shape == (HEIGHT, WIDTH)
    assert (x, y) == (0, 0)
    assert width == pytest.approx(WIDTH / 4, abs=2)
    assert height == pytest.approx(HEIGHT / 4, abs=2)
    assert region.area == (mask == 255).sum()
    assert region.peak == 20.0
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize(
    ("crop", "at", "where"),
    [
        # 32 of 64 is the frame's inner half: columns 16 to 47 of 64, rows 12 to 35 of 48.
        (32, (0, 0), (16, 12)),
        (32, (24, 24), (40, 30)),
        (None, (0, 0), (0, 0)),
        (None, (24, 24), (48, 36)),
    ],
)
def test_with_a_crop_mask_and_regions_lie_where_the_crop_does(
    crop: int | None, at: tuple[int, int], where: tuple[int, int]
) -> None:
    committed: list[tuple[Alert, Evidence]] = []

    def commit(alert: Alert, evidence: Evidence) -> Alert:
        committed.append((alert, evidence))
        return alert

    preprocess = Preprocess(64, crop)
    scored = a_result(20, at=at)
    scored = replace(scored, scene=SimpleNamespace(**{**vars(scored.scene), "preprocess": preprocess}))
    alerts = CameraAlerts("gate", SETTINGS, commit=commit)
    for number in range(2):
        alerts.observe(a_packet(number), scored)

    ((alert, evidence),) = committed
    mask = cv2.imdecode(np.frombuffer(evidence.mask_png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (HEIGHT, WIDTH)
    (region,) = alert.regions
    # A quarter of the map's side is a quarter of the scored part's; blurred edges may be two pixels off.
    _, _, width, height = preprocess.part(WIDTH, HEIGHT)
    assert region.bbox == pytest.approx((*where, width / 4, height / 4), abs=2)
    x, y, w, h = region.bbox
    assert cv2.boundingRect(mask) == region.bbox
    assert all(x <= px < x + w and y <= py < y + h for px, py in region.polygon)
    assert region.area == (mask == 255).sum()


def test_with_a_crop_what_lies_outside_is_never_anomalous() -> None:
    committed: list[Evidence] = []

    def commit(alert: Alert, evidence: Evidence) -> Alert:
        committed.append(evidence)
        return alert

    scored = a_result(20)
    scored.score.pixel_scores[:] = 20.0  # everything that was scored is anomalous
    scored = replace(scored, scene=SimpleNamespace(**{**vars(scored.scene), "preprocess": Preprocess(64, 32)}))
    alerts = CameraAlerts("gate", SETTINGS, commit=commit)
    for number in range(2):
        alerts.observe(a_packet(number), scored)

    mask = cv2.imdecode(np.frombuffer(committed[0].mask_png, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[12:36, 16:48] = 255
    np.testing.assert_array_equal(mask, expected)


def test_the_snapshot_is_the_native_frame_with_the_region_in_it() -> None:
    desk = Desk()
    desk.see(20, 20)
    snapshot = cv2.imdecode(np.frombuffer(desk.committed[0][1].snapshot_jpeg, np.uint8), cv2.IMREAD_COLOR)

    assert snapshot.shape == (HEIGHT, WIDTH, 3)
    assert snapshot[40, 50] == pytest.approx([128] * 3, abs=12)


def test_the_neighbours_say_where_they_came_from() -> None:
    (alert,) = Desk().see(20, 20)

    assert alert.neighbours == (Neighbour(2, 0.25, "day2", 1.0), Neighbour(0, 0.5, "day0", 0.0))


def test_a_new_segment_ends_what_was_open_before_its_first_frame_counts() -> None:
    desk = Desk()
    (start,) = desk.see(20, 30, segment="a")
    (end,) = desk.see(99, segment="b")

    assert (end.phase, end.alert_id, end.segment, end.score) == (END, start.alert_id, "a", 30.0)
    assert desk.alerts.open_alert is None, "one frame of the new segment is no alert yet"
    (other,) = desk.see(99, segment="b")
    assert (other.phase, other.segment) == (START, "b")
    assert other.alert_id != start.alert_id


def test_an_excursion_does_not_reach_over_segments() -> None:
    desk = Desk()

    assert desk.see(20, segment="a") + desk.see(20, segment="b") == []


def test_finishing_ends_what_is_open_once() -> None:
    desk = Desk()
    desk.see(20, 40, 20)

    (end,) = desk.alerts.finish()
    assert (end.phase, end.score, end.ended_at) == (END, 40.0, 1000.2)
    assert desk.alerts.finish() == []


@pytest.mark.fault("wall clock jumps", "frame times follow it; the policy ends what was open")
def test_where_time_runs_backwards_the_old_alert_ends_with_its_old_peak() -> None:
    desk = Desk()
    desk.see(1, 20, 30)
    found = desk.alerts.observe(a_packet(0, frame_time=500.0), a_result(99))

    assert [(alert.phase, alert.score) for alert in found] == [(END, 30.0)]


def test_a_commit_that_fails_is_not_swallowed() -> None:
    def refuse(alert: Alert, evidence: Evidence) -> Alert:
        raise OSError("disk full")

    alerts = CameraAlerts("gate", SETTINGS, commit=refuse)
    alerts.observe(a_packet(0), a_result(20))

    with pytest.raises(OSError, match="disk full"):
        alerts.observe(a_packet(1), a_result(20))


def test_an_alert_that_cannot_be_explained_goes_out_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Explanation:
        raise GalleryCorrupt("features of frame 3 were altered")

    desk = Desk()
    for seq in range(2):
        scored = a_result(20)
        desk.alerts.observe(a_packet(seq), replace(scored, score=replace(scored.score, explanation=Later(fails))))
    ((alert, _),) = desk.committed
    assert (alert.phase, alert.neighbours, len(alert.regions)) == (START, (), 1)
    assert "without its nearest normal frames: features of frame 3 were altered" in caplog.text


def test_only_frames_that_are_shown_are_explained() -> None:
    asked: list[int] = []

    def explain(seq: int) -> Later[Explanation]:
        return Later(lambda: asked.append(seq) or Explanation(0.5, ()))

    desk = Desk()
    for seq, score in enumerate([1, 20, 15, 1, 1, 1, 1]):
        scored = a_result(score)
        desk.alerts.observe(a_packet(seq), replace(scored, score=replace(scored.score, explanation=explain(seq))))
    assert [alert.frame_seq for alert, _ in desk.committed] == [2, 1]
    assert asked == [2, 1]


def test_the_end_carries_the_clip_of_every_frame_and_no_other_message_does() -> None:
    desk = Desk(clips=FakeRecorder())
    desk.see(1, 20, 20, 20, 20, 20, 20, 20, 1, 1, 1)
    clips = {alert.phase: evidence.clip_mp4.decode() for alert, evidence in desk.committed}

    assert list(clips) == [START, UPDATE, END]
    # The frame that starts the alert is seen before it begins, and the closing frame before it ends.
    seen = ["frame 0", "frame 1", "frame 2", "begin at 1000.1", *(f"frame {seq}" for seq in range(3, 11))]
    assert clips == {START: "", UPDATE: "", END: ", ".join(seen)}


def test_frames_that_have_no_score_are_in_the_clip_too() -> None:
    desk = Desk(clips=FakeRecorder())
    desk.see(20, 20)
    desk.alerts.see(a_packet(7))
    desk.alerts.finish()

    assert desk.committed[-1][1].clip_mp4 == b"frame 0, frame 1, begin at 1000.0, frame 7"


def test_the_first_frame_of_the_next_segment_is_not_in_the_clip_of_the_last() -> None:
    desk = Desk(clips=FakeRecorder())
    desk.see(20, 20, segment="a")
    desk.see(1, segment="b")

    assert desk.committed[-1][1].clip_mp4 == b"frame 0, frame 1, begin at 1000.0"


def test_without_a_recorder_there_are_no_clips() -> None:
    desk = Desk()
    desk.alerts.see(a_packet(0))
    desk.see(20, 20, 1, 1, 1)

    assert [evidence.clip_mp4 for _, evidence in desk.committed] == [b"", b""]


@pytest.mark.fault("corrupt JPEG part", "the alert goes out with its mask and without a snapshot; none is lost")
def test_a_view_that_is_no_picture_costs_the_snapshot_and_not_the_alert() -> None:
    desk = Desk()
    for seq, score in enumerate((20, 20, 50, 1, 1, 1)):
        packet = replace(a_packet(seq), view=b"\xff\xd8 no picture")
        desk.alerts.observe(packet, a_result(score))

    assert [alert.phase for alert, _ in desk.committed] == [START, END]
    assert [evidence.snapshot_jpeg for _, evidence in desk.committed] == [b"", b""]
    assert desk.mask(1).max() == 255


def test_an_alert_whose_pictures_find_no_memory_goes_out_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cv2.error("insufficient memory")

    monkeypatch.setattr("stream.alerting.mask_regions", fail)
    desk = Desk()
    desk.see(20, 20, 1, 1, 1, 1)

    assert [alert.phase for alert, _ in desk.committed] == [START, END]
    assert desk.committed[0][1].mask_png == b""


def test_an_alert_ends_when_the_source_does_though_its_strongest_frame_cannot_be_shown() -> None:
    desk = Desk()
    desk.see(20, 20)
    desk.alerts.observe(replace(a_packet(2), view=b""), a_result(50))

    assert [alert.phase for alert in desk.alerts.finish()] == [END]


# -- what is kept beside it, and why it fired --------------------------------------------------------------------------


def test_every_message_keeps_the_clean_view_and_what_was_scored() -> None:
    desk = Desk()
    desk.see(1, 20, 15)
    _, evidence = desk.committed[0]
    packet = a_packet(2)

    assert evidence.view_jpeg == packet.view != evidence.snapshot_jpeg
    kept = decode_kept(evidence.frame_npz)
    assert (kept.camera, kept.scene, kept.frame_seq, kept.frame_time) == ("gate", "yard", 2, packet.frame_time)
    assert np.array_equal(kept.image, packet.image)


def test_the_end_keeps_the_strongest_frame() -> None:
    desk = Desk()
    desk.see(1, 20, 40, 15, 1, 1, 1, 1)

    assert decode_kept(desk.committed[-1][1].frame_npz).frame_seq == 2


def test_a_view_that_is_no_picture_is_not_kept_as_one() -> None:
    desk = Desk()
    for number, score in enumerate((20, 20)):
        desk.alerts.observe(replace(a_packet(number), view=b"no JPEG"), a_result(score))

    assert desk.committed[0][1].view_jpeg == b""
    assert desk.committed[0][1].frame_npz != b""


def test_an_input_that_cannot_be_kept_costs_only_that(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for number, score in enumerate((20, 20)):
        packet = replace(a_packet(number), image=np.zeros((4, 5, 3), np.uint8))
        desk.alerts.observe(packet, a_result(score))

    assert desk.committed[0][1].frame_npz == b""
    assert desk.committed[0][1].snapshot_jpeg != b""
    assert "cannot be scored again" in caplog.text


def with_parts(score: float, **parts: float) -> Scored:
    scored = a_result(score)
    return replace(scored, score=replace(scored.score, parts=lambda row, column: parts))


def test_an_alert_says_how_strong_each_channel_was_in_thresholds() -> None:
    desk = Desk()
    for number in range(2):
        desk.alerts.observe(a_packet(number), with_parts(20.0, appearance=15.0, motion=5.0))

    assert desk.committed[0][0].why == {"appearance": 1.5, "motion": 0.5}  # the threshold is 10
    assert desk.committed[0][0].to_json()["why"] == {"appearance": 1.5, "motion": 0.5}


def test_an_operators_threshold_is_what_strengths_are_in() -> None:
    desk = Desk()
    for number in range(2):
        desk.alerts.observe(a_packet(number), replace(with_parts(40.0, appearance=30.0), threshold_factor=2.0))

    assert desk.committed[0][0].why == {"appearance": 1.5}


def test_an_alert_whose_reason_cannot_be_told_goes_out_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    def fails(row: int, column: int) -> dict[str, float]:
        raise RuntimeError("the device is lost")

    desk = Desk()
    for number in range(2):
        scored = a_result(20.0)
        desk.alerts.observe(a_packet(number), replace(scored, score=replace(scored.score, parts=fails)))

    assert desk.committed[0][0].why == {}
    assert "why it fired: the device is lost" in caplog.text
