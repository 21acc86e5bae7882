"""The metrics: what they say of a run, that they say nothing that is not known, and that Prometheus likes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cluster_document import a_document, changed
from monitoring_fakes import a_camera, a_status, an_outbox
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families

import stream
from stream import __version__
from stream.clips import Clips, ClipSettings
from stream.console.metrics import CLIPS, DROPS, LOST, METRICS, metrics_text
from stream.messages import CameraState, Phase

PROMTOOL = shutil.which("promtool")
STREAM = Path(stream.__file__).parent


def values(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(text.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(text: bytes, name: str, **labels: str) -> float | None:
    return values(text).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def text() -> bytes:
    return metrics_text(a_status(), an_outbox())


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("spade_build_info", {"version": __version__}, 1),
        ("spade_worker_up", {}, 1),
        ("spade_worker_state", {"state": "RUNNING"}, 1),
        ("spade_worker_state", {"state": "NOT_ANSWERING"}, 0),
        ("spade_worker_start_time_seconds", {}, 900),
        ("spade_worker_lost_messages_total", {"kind": "update"}, 3),
        ("spade_link_refused_messages_total", {"reason": "malformed"}, 2),
        ("spade_scene_failed", {"scene": "dock"}, 1),
        ("spade_clips_total", {"result": "made"}, 1),
        ("spade_camera_state", {"camera": "gate", "state": "LIVE"}, 1),
        ("spade_camera_state", {"camera": "gate", "state": "FROZEN"}, 0),
        ("spade_camera_watched", {"camera": "gate"}, 1),
        ("spade_camera_score_strength", {"camera": "gate"}, 2),  # a score of 4 with a threshold of 2
        ("spade_camera_last_frame_timestamp_seconds", {"camera": "gate"}, 1000.5),
        ("spade_frames_captured_total", {"camera": "gate"}, 8),
        ("spade_frames_scored_total", {"camera": "gate"}, 3),
        ("spade_frames_not_scored_total", {"camera": "gate"}, 1),
        ("spade_frames_dropped_total", {"camera": "gate", "stage": "reader", "reason": "sampled_out"}, 4),
        ("spade_frames_dropped_total", {"camera": "gate", "stage": "link", "reason": "lost"}, 0),
        ("spade_supervisor_up", {}, 1),
        ("spade_process_up", {"process": "worker"}, 1),
        ("spade_process_restarts_total", {"process": "worker"}, 2),
        ("spade_process_hangs_total", {"process": "worker"}, 1),
        ("spade_config_last_reload_successful", {}, 1),
        ("spade_sink_failing", {"sink": "archive"}, 1),
        ("spade_sink_failing", {"sink": "phone"}, 0),
        ("spade_sink_delivered_total", {"sink": "phone"}, 12),
        ("spade_sink_rejected_total", {"sink": "archive"}, 3),
        ("spade_sink_laid_aside", {"sink": "archive"}, 1),
        ("spade_outbox_up", {}, 1),
        ("spade_outbox_last_seq", {}, 12),
        ("spade_outbox_alerts", {}, 10),
        ("spade_outbox_pending", {"subscriber": "archive"}, 5),
        ("spade_outbox_pending", {"subscriber": "phone"}, 0),
        ("spade_cluster_control_up", {}, 1),
        ("spade_cluster_node_up", {"node": "oak"}, 1),
        ("spade_cluster_worker_up", {"node": "oak", "worker": "oak:0"}, 1),
        ("spade_cluster_worker_load_ratio", {"node": "oak", "worker": "oak:0"}, 1 / 80),
        ("spade_cluster_outbox_missing", {"node": "oak", "outbox": "out-oak"}, 0),
        ("spade_cluster_cameras_waiting", {}, 0),
        ("spade_cluster_moves_total", {}, 0),
    ],
)
def test_the_metrics_say_how_the_run_stands(text: bytes, name: str, labels: dict[str, str], expected: float) -> None:
    assert value(text, name, **labels) == expected


def test_what_has_not_happened_yet_is_told_as_0_so_that_the_first_time_is_an_increase(text: bytes) -> None:
    for kind in ("start", "end", "pictures", "event"):
        assert value(text, "spade_worker_lost_messages_total", kind=kind) == 0
    assert value(text, "spade_clips_total", result="views_dropped") == 0
    assert value(text, "spade_frames_dropped_total", camera="gate", stage="reader", reason="overwritten") == 0


def test_the_kinds_of_losses_are_those_that_the_program_counts() -> None:
    source = {path: path.read_text() for path in STREAM.glob("*.py")}
    counted = {drop for code in source.values() for drop in re.findall(r'"((?:reader|link|worker)\.[a-z_]+)"', code)}
    assert set(DROPS) <= counted
    assert counted - set(DROPS) == set()
    with Clips(ClipSettings(seconds=1.0, pre_roll=0.0, height=90)) as clips:
        assert set(CLIPS) == set(clips.counts())
    lost = set(re.findall(r'_(?:count_lost|give_up)\("(\w+)"|_lost\["(\w+)"\]', source[STREAM / "commits.py"]))
    assert {word for pair in lost for word in pair if word} | set(Phase) == set(LOST)


def test_histograms_count_in_each_bucket_what_is_below_it_too(text: bytes) -> None:
    def bucket(le: str) -> float | None:
        return value(text, "spade_frame_age_seconds_bucket", camera="gate", le=le)

    # Frames of 0.04, 0.08 and 0.2 s.
    assert [bucket(le) for le in ("0.025", "0.05", "0.1", "0.25", "+Inf")] == [0, 1, 2, 3, 3]
    assert value(text, "spade_frame_age_seconds_count", camera="gate") == 3
    assert value(text, "spade_frame_age_seconds_sum", camera="gate") == pytest.approx(0.32)
    assert value(text, "spade_stage_seconds_bucket", stage="score", le="0.5") == 1
    assert value(text, "spade_score_strength_bucket", camera="gate", le="1.0") == 2


@pytest.mark.parametrize("state", list(CameraState))
def test_exactly_one_state_of_a_camera_is_1(state: CameraState) -> None:
    found = values(metrics_text(a_status(gate=a_camera(state)), None))
    ones = [dict(labels)["state"] for (name, labels), v in found.items() if name == "spade_camera_state" and v == 1]

    assert ones == [str(state)]
    assert found["spade_camera_watched", (("camera", "gate"),)] == (state in ("LIVE", "ENDED"))


@pytest.mark.parametrize("worker", ["NOT_ANSWERING", "STOPPED", "FAILED", "NOT_RUNNING"])
def test_a_camera_whose_worker_is_gone_is_not_live_though_it_was(worker: str) -> None:
    text = metrics_text(a_status(worker=worker), an_outbox())

    assert value(text, "spade_worker_up") == 0
    assert value(text, "spade_worker_state", state=worker) == 1
    assert value(text, "spade_camera_state", camera="gate", state="LIVE") == 0
    assert value(text, "spade_camera_state", camera="gate", state="UNKNOWN") == 1
    assert value(text, "spade_camera_watched", camera="gate") == 0


def test_a_degraded_worker_is_up() -> None:
    assert value(metrics_text(a_status(worker="DEGRADED"), None), "spade_worker_up") == 1


def test_a_camera_that_is_gone_is_in_no_metric() -> None:
    assert b'"back"' in metrics_text(a_status(gate=a_camera(), back=a_camera()), None)
    assert b'"back"' not in metrics_text(a_status(gate=a_camera()), None)


def test_a_node_that_is_gone_is_down_and_the_outbox_on_its_disk_is_missing() -> None:
    well = a_document({"oak": ["gate"]})
    gone = {part: changed(well[part], "oak", state="GONE") for part in ("nodes", "workers")}
    gone["outboxes"] = changed(well["outboxes"], "oak", state="missing")
    text = metrics_text(a_status() | {"cluster": {"document": well | gone, "fresh": True}}, None)

    assert value(text, "spade_cluster_node_up", node="oak") == 0
    assert value(text, "spade_cluster_worker_up", node="oak", worker="oak:0") == 0
    assert value(text, "spade_cluster_outbox_missing", node="oak", outbox="out-oak") == 1


def test_of_a_cluster_whose_control_is_not_heard_nothing_else_is_told() -> None:
    old = {"cluster": {"document": a_document({"oak": ["gate"]}), "fresh": False}}
    found = values(metrics_text(a_status() | old, None))

    assert {name: told for (name, _), told in found.items() if name.startswith("spade_cluster")} == {
        "spade_cluster_control_up": 0
    }


def test_one_machine_has_no_metrics_of_a_cluster() -> None:
    assert b"spade_cluster" not in metrics_text(a_status() | {"cluster": None}, None)


def test_what_is_not_known_is_left_out_and_not_0() -> None:
    fresh = a_camera(CameraState.NO_READER, last_score=None, last_frame_time=None, last_seq=None, threshold=None)
    found = values(metrics_text(a_status(gate=fresh), None))
    gate = (("camera", "gate"),)

    for name in ("score_strength", "last_frame_timestamp_seconds"):
        assert (f"spade_camera_{name}", gate) not in found
    assert ("spade_frames_captured_total", gate) not in found


def test_an_outbox_that_cannot_be_read_says_so_and_nothing_else() -> None:
    names = {name for name, _ in values(metrics_text(a_status(), None)) if name.startswith("spade_outbox")}

    assert names == {"spade_outbox_up"}
    assert value(metrics_text(a_status(), None), "spade_outbox_up") == 0
    assert b"spade_outbox_up" not in metrics_text(a_status(), None, outbox_known=False)


def test_without_a_supervisor_or_any_status_the_metrics_say_that() -> None:
    never = {"worker": {"state": "NOT_RUNNING", "reason": "no status was ever written"}, "cameras": {}}
    text = metrics_text(never, None)

    assert (value(text, "spade_worker_up"), value(text, "spade_supervisor_up")) == (0, 0)


@pytest.mark.parametrize("state", ["waiting", "hung", "starting"])
def test_a_process_that_does_not_work_is_not_up(state: str) -> None:
    status = a_status()
    status["processes"]["sink archive"] = {"state": state, "restarts": 3, "hung": 0}

    assert value(metrics_text(status, None), "spade_process_up", process="sink archive") == 0


def test_an_operators_settings_are_told() -> None:
    snoozed = a_camera(snoozed_until="2026-01-01T00:00:00.000Z", threshold_factor=1.5, held_by_snooze=4, alert="a1")
    text = metrics_text(a_status(gate=snoozed), None)

    assert value(text, "spade_camera_snoozed", camera="gate") == 1
    assert value(text, "spade_camera_threshold_factor", camera="gate") == 1.5
    assert value(text, "spade_camera_held_by_snooze_total", camera="gate") == 4
    assert value(text, "spade_camera_alert_open", camera="gate") == 1


def test_a_reload_that_was_refused_is_told() -> None:
    status = a_status()
    status["config"]["error"] = "cameras: is required"

    assert value(metrics_text(status, None), "spade_config_last_reload_successful") == 0


def test_names_that_hold_odd_characters_cannot_break_the_format() -> None:
    cameras: dict[str, Any] = {'a"b\\c\nspade_worker_up 0': a_camera()}
    status = a_status(**cameras)

    assert value(metrics_text(status, None), "spade_camera_watched", camera='a"b\\c\nspade_worker_up 0') == 1


def test_names_follow_the_conventions() -> None:
    for name, described in METRICS.items():
        assert name.startswith("spade_")
        assert name.endswith("_total") == (described.kind is CounterMetricFamily)
        assert described.text.endswith(".")


def test_every_metric_that_is_described_is_told(text: bytes) -> None:
    told = {name.removesuffix("_bucket") for name, _ in values(text)}

    assert set(METRICS) - told == set()


def test_every_histogram_has_its_bounds(text: bytes) -> None:
    for name, described in METRICS.items():
        if described.kind is HistogramMetricFamily:
            assert f"{name}_bucket".encode() in text


@pytest.mark.promtool
@pytest.mark.skipif(PROMTOOL is None, reason="promtool (of Prometheus) is not installed")
def test_prometheus_finds_nothing_to_complain_about(text: bytes) -> None:
    assert PROMTOOL is not None
    done: Any = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
