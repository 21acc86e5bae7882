"""The MQTT sink at a real mosquitto: what is published, what Home Assistant is told, what faults do."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from feed_fakes import a_place, fill
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from sink_partners import (
    NOTHING,
    PICTURES,
    Broker,
    MqttListener,
    a_broker,
    a_certificate,
    an_alert,
    listening,
    wait_until,
)

from stream import programs
from stream.config import Config, build_config
from stream.errors import SinkError, SinkRefused
from stream.messages import Alert, CameraState, Evidence, Phase, Region, StateEvent
from stream.sink_sections import MqttSection
from stream.sinks.home_assistant import Topics, device, object_id
from stream.sinks.mqtt import LOST_TIMES, MqttSink, open_mqtt
from stream.sinks.mqtt_link import check_mqtt
from stream.sinks.smaller import fitted
from stream.sinks.snapshot_limit import FLOOR_BYTES, SNAPSHOT_BYTES

CAMERAS = {"gate": "yard", "door": "hall"}
TOO_LARGE = cast(ReasonCode, SimpleNamespace(value=0x95, is_failure=True))  # paho makes none of its own for PUBACK
LIVE = StateEvent("gate", CameraState.LIVE, "frames arrive", 1_700_000_000.0, 3)
STALLED = StateEvent("gate", CameraState.STALLED, "no frame for 5 s", 1_700_000_009.0, 4)


@contextmanager
def a_sink(
    port: int, folder: Path, cameras: Mapping[str, str] = CAMERAS, *, trial: bool = False, **settings: Any
) -> Iterator[MqttSink]:
    section = MqttSection(**{"type": "mqtt", "host": "127.0.0.1", "port": port, "timeout": 5.0, **settings})
    sink = open_mqtt(section, cameras=cameras, folder=folder, trial=trial)
    try:
        yield sink
    finally:
        sink.close()


def retained(port: int) -> dict[str, bytes]:
    """What a broker keeps, by topic."""
    with listening(port) as listener:
        # The broker sends what it keeps, in order, before what comes later.
        listener._client.publish("marker", b"here", qos=1)
        wait_until(lambda: listener.of("marker"))
        return {topic: payload for topic, payload, kept in listener.heard if kept}


# -- what is published ------------------------------------------------------------------------------------------------


@pytest.mark.mqtt
def test_an_alert_is_published_in_the_published_form_and_without_names_of_pictures(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, listening(broker.port) as listener, a_sink(broker.port, tmp_path) as sink:
        sink.deliver(an_alert(1), PICTURES)
        wait_until(lambda: listener.of("spade-stream/alerts/gate"))

    [body] = listener.of("spade-stream/alerts/gate")
    assert Alert.from_json(json.loads(body)) == an_alert(1, mask=None, snapshot=None)


@pytest.mark.mqtt
def test_an_alert_switches_its_camera_on_and_off_and_leaves_a_picture(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.deliver(an_alert(1), PICTURES)
        during = retained(broker.port)
        sink.deliver(an_alert(2, alert_id="a1", phase=Phase.END), NOTHING)
        after = retained(broker.port)

    assert during["spade-stream/cameras/gate/alert"] == b"ON"
    assert during["spade-stream/cameras/door/alert"] == b"OFF"
    assert during["spade-stream/cameras/gate/snapshot"] == b"jpeg"
    assert json.loads(during["spade-stream/cameras/gate/last"])["strength"] == 2.0
    assert "spade-stream/alerts/gate" not in during, "messages of alerts are not retained"
    assert after["spade-stream/cameras/gate/alert"] == b"OFF"


@pytest.mark.mqtt
def test_the_state_of_a_camera_is_retained_and_says_whether_anybody_watches(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.tell(LIVE)
        live = json.loads(retained(broker.port)["spade-stream/cameras/gate/state"])
        sink.tell(STALLED)
        stalled = json.loads(retained(broker.port)["spade-stream/cameras/gate/state"])

    assert (live["state"], live["watched"]) == ("LIVE", True)
    assert (stalled["state"], stalled["watched"], stalled["reason"]) == ("STALLED", False, "no frame for 5 s")


@pytest.mark.mqtt
def test_the_bridge_is_online_while_it_runs_and_offline_after_that(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker:
        with a_sink(broker.port, tmp_path) as sink:
            sink.tell(LIVE)
            assert retained(broker.port)["spade-stream/status"] == b"online"
        assert retained(broker.port)["spade-stream/status"] == b"offline"


@pytest.mark.mqtt
def test_a_test_alert_touches_nothing_that_is_retained_and_does_not_push_the_sink_out(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.tell(LIVE)
        before = retained(broker.port)
        with listening(broker.port) as listener, a_sink(broker.port, tmp_path, trial=True) as trial:
            trial.deliver(an_alert(0, camera="spade-stream-test"), PICTURES)
            wait_until(lambda: listener.of("spade-stream/alerts/spade-stream-test"))
        assert retained(broker.port) == before
        sink.deliver(an_alert(1), PICTURES)


# -- Home Assistant ---------------------------------------------------------------------------------------------------


def the_device(**options: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(device(Topics("spade-stream", "ha"), "gate", "yard", snapshots=True, **options))
    return made


def test_a_device_has_an_alert_a_strength_a_state_and_a_picture() -> None:
    parts = the_device()["components"]
    assert {name: part["platform"] for name, part in parts.items()} == {
        "alert": "binary_sensor",
        "strength": "sensor",
        "state": "sensor",
        "snapshot": "camera",
    }
    assert parts["alert"]["device_class"] == "safety"
    assert len({part["unique_id"] for part in parts.values()}) == 4


def test_the_alert_of_a_camera_that_nobody_watches_is_unavailable_but_its_state_can_be_read() -> None:
    parts = the_device()["components"]
    assert parts["alert"]["availability_mode"] == "all"
    assert [way["topic"] for way in parts["alert"]["availability"]] == [
        "spade-stream/status",
        "spade-stream/cameras/gate/state",
    ]
    assert [way["topic"] for way in parts["state"]["availability"]] == ["spade-stream/status"]
    assert set(parts["state"]["options"]) == set(CameraState)


def test_without_snapshots_an_earlier_camera_entity_is_removed() -> None:
    made = json.loads(device(Topics("p", "ha"), "gate", "yard", snapshots=False))
    # In Home Assistant's words: a component that has its platform alone is to go.
    assert made["components"]["snapshot"] == {"platform": "camera"}


def test_cameras_whose_names_differ_in_a_dot_are_two_devices() -> None:
    assert object_id("p", "a.b") != object_id("p", "a_b")
    assert object_id("p", "a-b_1").startswith("p_a-b_1_")
    assert set(object_id("site/p", "a.b")) <= set("sitep_abcdef0123456789")


def test_a_prefix_and_a_camera_that_read_alike_together_are_two_devices() -> None:
    assert object_id("a_b", "c") != object_id("a", "b_c")


@pytest.mark.mqtt
def test_every_camera_is_announced_and_one_that_left_is_cleared(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker:
        with a_sink(broker.port, tmp_path) as sink:
            sink.tell(LIVE)
            sink.tell(StateEvent("door", CameraState.LIVE, "", 0.0, 5))
            both = retained(broker.port)
        with a_sink(broker.port, tmp_path, {"gate": "yard"}) as sink:
            sink.tell(LIVE)
            one = retained(broker.port)

    announced = Topics("spade-stream", "homeassistant").announcement
    assert {announced("gate"), announced("door")} <= set(both)
    assert announced("gate") in one
    assert [topic for topic in one if "door" in topic] == []


@pytest.mark.mqtt
def test_another_prefix_leaves_nothing_behind_under_the_old_one(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker:
        with a_sink(broker.port, tmp_path) as sink:
            sink.tell(LIVE)
        with a_sink(broker.port, tmp_path, prefix="site/north") as sink:
            sink.tell(LIVE)
            kept = retained(broker.port)

    assert "site/north/cameras/gate/state" in kept
    assert [topic for topic in kept if topic.startswith("spade-stream/cameras")] == []


@pytest.mark.mqtt
def test_without_discovery_nothing_is_announced(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, discovery=None) as sink:
        sink.tell(LIVE)
        assert {topic.split("/")[0] for topic in retained(broker.port)} == {"spade-stream"}


@pytest.mark.mqtt
def test_an_alert_that_is_open_stays_on_over_a_restart_of_sink_and_broker(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.deliver(an_alert(1), PICTURES)
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.tell(LIVE)
        assert retained(broker.port)["spade-stream/cameras/gate/alert"] == b"ON"


@pytest.mark.mqtt
def test_a_camera_that_left_and_came_back_is_not_on_for_an_alert_of_before(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker:
        with a_sink(broker.port, tmp_path) as sink:
            sink.deliver(an_alert(1), NOTHING)
        with a_sink(broker.port, tmp_path, {"door": "hall"}) as sink:
            sink.deliver(an_alert(2, alert_id="a1", phase=Phase.END), NOTHING)
        with a_sink(broker.port, tmp_path) as sink:
            sink.tell(LIVE)
            assert retained(broker.port)["spade-stream/cameras/gate/alert"] == b"OFF"


@pytest.mark.mqtt
def test_without_snapshots_the_picture_of_an_earlier_run_is_cleared(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker:
        with a_sink(broker.port, tmp_path) as sink:
            sink.deliver(an_alert(1), PICTURES)
        assert "spade-stream/cameras/gate/snapshot" in retained(broker.port)
        with a_sink(broker.port, tmp_path, snapshots=False) as sink:
            sink.tell(LIVE)
            assert "spade-stream/cameras/gate/snapshot" not in retained(broker.port)


# -- sizes ------------------------------------------------------------------------------------------------------------


def a_large_picture() -> bytes:
    """A JPEG of noise, 300 kB at least, which no other quality makes much smaller."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    return cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def test_a_picture_is_made_smaller_until_it_fits_and_one_that_fits_is_left_alone() -> None:
    large = a_large_picture()
    small = fitted(large, 20_000)
    assert 0 < len(small) <= 20_000
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR) is not None
    assert fitted(large, len(large)) is large
    assert fitted(large, 100) == b""
    assert fitted(b"no picture", 5) == b""


@pytest.mark.mqtt
@pytest.mark.fault(
    "a snapshot is larger than the MQTT broker takes", "made smaller or left out; the alert is delivered"
)
@pytest.mark.parametrize(
    ("version", "limit"),
    [(5, "max_packet_size 50000"), (3, "max_packet_size 50000"), (5, "message_size_limit 50000")],
    ids=["the broker says how much", "the broker hangs up", "the broker refuses the message"],
)
def test_a_snapshot_that_the_broker_does_not_take_holds_up_nothing(tmp_path: Path, version: int, limit: str) -> None:
    evidence = Evidence(b"", a_large_picture())
    with (
        a_broker(tmp_path, "allow_anonymous true", limit) as broker,
        listening(broker.port) as listener,
        a_sink(broker.port, tmp_path, version=version) as sink,
    ):
        sink.tell(LIVE)
        for seq in (1, 2):
            deliver_until_taken(sink, an_alert(seq), lambda error: None, evidence)
        wait_until(lambda: "a2" in heard(listener))
        kept = retained(broker.port)

    assert 0 < len(kept["spade-stream/cameras/gate/snapshot"]) < 50_000
    assert kept["spade-stream/cameras/gate/alert"] == b"ON"


@pytest.mark.mqtt
def test_a_snapshot_that_cannot_be_made_smaller_is_left_out_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = ("allow_anonymous true", "max_packet_size 20000")
    with a_broker(tmp_path, *limit) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.deliver(an_alert(1), Evidence(b"", bytes(100_000)))
        kept = retained(broker.port)
    assert kept["spade-stream/cameras/gate/alert"] == b"ON"
    assert "spade-stream/cameras/gate/snapshot" not in kept
    assert "its snapshot of 100000 bytes is left out" in caplog.text


@pytest.mark.mqtt
def test_while_snapshots_are_left_out_the_sink_says_so_and_they_come_back(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        for size in (FLOOR_BYTES, FLOOR_BYTES):
            sink._limit.suspect(size)
        sink.deliver(an_alert(1), PICTURES)
        said = str(sink.tend())
        assert "spade-stream/cameras/gate/snapshot" not in retained(broker.port)
        for seq in (2, 3):
            sink.deliver(an_alert(seq), PICTURES)
        assert sink.tend() is None
        assert retained(broker.port)["spade-stream/cameras/gate/snapshot"] == b"jpeg"
    assert "a snapshot of 4 bytes is left out, at most 0 are sent now" in said


@pytest.mark.mqtt
@pytest.mark.parametrize(
    ("number", "most"), [(0, SNAPSHOT_BYTES), (-1, FLOOR_BYTES)], ids=["another message", "itself"]
)
def test_a_snapshot_is_blamed_only_where_it_was_itself_too_large(tmp_path: Path, number: int, most: int) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.tell(LIVE)
        under_way = sink._begin(an_alert(1), Evidence(b"", bytes(60_000)))
        wait_until(lambda: sink._link.all_confirmed(under_way.sent))
        sink._link._confirmed[under_way.sent[number]] = TOO_LARGE
        with pytest.raises(SinkError):
            sink.deliver(an_alert(1), NOTHING)
        assert sink._limit.most == most


@pytest.mark.mqtt
def test_lost_connections_are_not_laid_to_a_snapshot_that_was_confirmed(tmp_path: Path) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.tell(LIVE)
        under_way = sink._begin(an_alert(1), PICTURES)
        wait_until(lambda: sink._link.all_confirmed(under_way.sent))
        sink._link._lost += LOST_TIMES
        assert not sink._is_to_blame(under_way)
        del sink._link._confirmed[under_way.sent[-1]]
        assert sink._is_to_blame(under_way)


@pytest.mark.mqtt
@pytest.mark.fault(
    "the MQTT password cannot be read while a new link is due",
    "an error that says so; tried again, and then it goes on",
)
def test_a_password_that_cannot_be_read_for_a_while_does_not_end_the_sink(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("right\n")
    login = {"username": "sink", "password_file": password, "prefix": "allowed"}
    with a_guarded_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, **login) as sink:
        sink.tell(LIVE)
        under_way = sink._begin(an_alert(1), PICTURES)
        wait_until(lambda: sink._link.all_confirmed(under_way.sent))
        sink._link._confirmed[under_way.sent[-1]] = TOO_LARGE
        password.rename(tmp_path / "elsewhere")
        for _ in range(2):
            with pytest.raises(SinkError, match="password: the secret cannot be read"):
                sink.deliver(an_alert(1), PICTURES)
        sink.tell(STALLED)  # the link still stands
        (tmp_path / "elsewhere").rename(password)
        with pytest.raises(SinkError, match="refuses what is published"):
            sink.deliver(an_alert(1), PICTURES)
        sink.deliver(an_alert(1), PICTURES)


@pytest.mark.mqtt
def test_an_alert_that_is_too_large_is_refused_but_switches_its_camera_over_restarts_too(tmp_path: Path) -> None:
    end = an_alert(2, alert_id="a1", phase=Phase.END, regions=[Region((1, 2, 3, 4), ((1, 2),) * 4000, 10, 2.0)])
    with a_broker(tmp_path, "allow_anonymous true", "max_packet_size 20000") as broker:
        with a_sink(broker.port, tmp_path) as sink:
            sink.deliver(an_alert(1), NOTHING)
            with pytest.raises(SinkRefused, match="takes 20000 bytes, and the alert has"):
                sink.deliver(end, NOTHING)
            assert retained(broker.port)["spade-stream/cameras/gate/alert"] == b"OFF"
        with a_sink(broker.port, tmp_path) as sink:
            sink.tell(LIVE)
            assert retained(broker.port)["spade-stream/cameras/gate/alert"] == b"OFF"


# -- faults -----------------------------------------------------------------------------------------------------------


def deliver_until_taken(
    sink: MqttSink, alert: Alert, failed: Callable[[SinkError], object], evidence: Evidence = PICTURES
) -> None:
    """As the runner does, but for its pauses; what is refused for good is an error here."""
    while True:
        try:
            return sink.deliver(alert, evidence)
        except SinkRefused:
            raise
        except SinkError as error:
            failed(error)


@pytest.mark.mqtt
@pytest.mark.fault(
    "MQTT broker killed and started again", "no committed alert is lost; what it retained is there again"
)
def test_a_broker_that_is_killed_and_started_again_gets_every_alert(tmp_path: Path) -> None:
    errors: list[SinkError] = []
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, timeout=0.5) as sink:
        sink.tell(LIVE)
        sink.deliver(an_alert(1), PICTURES)
        broker.kill()
        back = threading.Event()

        def failed(error: SinkError) -> None:
            errors.append(error)
            if not back.is_set():
                back.set()
                broker.start()

        # A broker without a disk has forgotten everything; a listener that comes with it hears what is sent again.
        deliver_until_taken(sink, an_alert(2, phase=Phase.UPDATE), failed)
        with listening(broker.port) as listener:
            for seq in (3, 4):
                sink.deliver(an_alert(seq, phase=Phase.UPDATE), PICTURES)
            wait_until(lambda: len(listener.of("spade-stream/alerts/gate")) >= 2)
        kept = retained(broker.port)

    assert errors
    assert "lost" in str(errors[0]) or "reached" in str(errors[0])
    assert kept["spade-stream/cameras/gate/alert"] == b"ON"
    assert json.loads(kept["spade-stream/cameras/gate/state"])["state"] == "LIVE"
    assert kept["spade-stream/status"] == b"online"
    assert Topics("spade-stream", "homeassistant").announcement("door") in kept


@pytest.mark.mqtt
@pytest.mark.fault("MQTT broker killed under a stream of alerts", "every committed alert arrives, in order")
def test_over_kills_of_the_broker_every_committed_alert_arrives_in_order(tmp_path: Path) -> None:
    with a_place() as place, place.serving(), a_broker(tmp_path, on_disk=True) as broker:
        config = the_config(tmp_path, place.endpoint, broker.port)
        stop = threading.Event()
        thread = threading.Thread(target=programs.sink, args=(config, "mqtt"), kwargs={"stopping": stop.is_set})
        with listening(broker.port, remembered=True) as listener:
            thread.start()
            try:
                fill(place.outbox, 1, 10)
                for first in (11, 31):
                    wait_until(lambda enough=first - 1: len(heard(listener)) >= enough)
                    broker.kill()
                    fill(place.outbox, first, first + 19)
                    broker.start()
                place.wait_for_places(mqtt=50)
                wait_until(lambda: "a50" in heard(listener))
            finally:
                stop.set()
                thread.join(20)
            found = list(dict.fromkeys(heard(listener)))
    assert found == [f"a{number}" for number in range(1, 51)]


def heard(listener: MqttListener) -> list[str]:
    return [json.loads(payload)["alert_id"] for payload in listener.of("spade-stream/alerts/gate")]


def the_config(state: Path, feed: str, port: int) -> Config:
    data = {
        "state": str(state / "state"),
        "cameras": [{"id": "gate", "source": "campus:"}],
        "feed": {"endpoint": feed},
        "sinks": [{"type": "mqtt", "host": "127.0.0.1", "port": port, "timeout": 1.0}],
    }
    return build_config(data, where="test", base=state, environment={})


@pytest.mark.mqtt
def test_over_tls_the_broker_is_checked(tmp_path: Path) -> None:
    certificate, key = a_certificate(tmp_path)
    settings = (f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true", "user root")
    with a_broker(tmp_path, *settings) as broker:
        with a_sink(broker.port, tmp_path, host="localhost", tls=True, ca=certificate) as sink:
            sink.deliver(an_alert(1), PICTURES)
        with (
            a_sink(broker.port, tmp_path, host="localhost", tls=True, timeout=1.0) as stranger,
            pytest.raises(SinkError, match="certificate verify failed"),
        ):
            stranger.deliver(an_alert(1), PICTURES)


@pytest.mark.mqtt
@pytest.mark.fault(
    "MQTT broker goes away in the middle of a delivery", "the same message goes on, none is queued twice"
)
def test_a_delivery_that_was_under_way_is_not_sent_again_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, timeout=0.3) as sink:
        sink.tell(LIVE)
        answered = sink._link._on_publish
        monkeypatch.setattr(sink._link._client, "on_publish", lambda *_: None)  # confirmations get lost
        with listening(broker.port) as listener:
            for _ in range(3):
                with pytest.raises(SinkError, match="no confirmation"):
                    sink.deliver(an_alert(1), PICTURES)
            monkeypatch.setattr(sink._link._client, "on_publish", answered)
            wait_until(lambda: listener.of("spade-stream/alerts/gate"))
            assert len(listener.of("spade-stream/alerts/gate")) == 1


@contextmanager
def a_guarded_broker(folder: Path) -> Iterator[Broker]:
    """With the user ``sink`` (password ``right``), who may write below ``allowed`` alone."""
    passwords, rights = folder / "passwords", folder / "rights"
    program = "mosquitto_passwd"
    subprocess.run([program, "-b", "-c", str(passwords), "sink", "right"], check=True, capture_output=True)
    rights.write_text("user sink\ntopic readwrite allowed/#\ntopic readwrite homeassistant/#\n")
    for file in (passwords, rights):
        file.chmod(0o600)
    settings = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {rights}", "user root")
    with a_broker(folder, *settings) as broker:
        yield broker


@pytest.mark.mqtt
@pytest.mark.fault("MQTT broker refuses the password", "said in the error, without the password; tried again")
@pytest.mark.parametrize("version", [5, 3])
def test_a_wrong_password_is_a_clear_error_that_does_not_show_it(tmp_path: Path, version: int) -> None:
    wrong = {"username": "sink", "password": "s3cret-wrong", "version": version, "timeout": 1.0}
    with a_guarded_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, **wrong) as sink:
        with pytest.raises(
            SinkError, match=r"refuses the connection: .*[Nn]ot authorized.*user name, password"
        ) as caught:
            sink.deliver(an_alert(1), PICTURES)
        assert "s3cret" not in str(caught.value)


@pytest.mark.mqtt
def test_the_password_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("right\n")
    login = {"username": "sink", "password_file": tmp_path / "password", "prefix": "allowed"}
    with a_guarded_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, **login) as sink:
        sink.deliver(an_alert(1), PICTURES)


@pytest.mark.mqtt
@pytest.mark.fault("MQTT broker's access list forbids a topic", "an error that says so; the alert is brought again")
def test_a_topic_that_the_broker_forbids_is_an_error_and_not_a_delivery(tmp_path: Path) -> None:
    login = {"username": "sink", "password": "right", "prefix": "forbidden"}
    with a_guarded_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, **login) as sink:
        for _ in range(2):
            with pytest.raises(SinkError, match="refuses what is published: Not authorized"):
                sink.deliver(an_alert(1), PICTURES)


@pytest.mark.mqtt
@pytest.mark.fault("MQTT broker's access list forbids the discovery", "said in the status; alerts go on")
def test_a_standing_topic_that_the_broker_forbids_is_told_though_alerts_are_delivered(tmp_path: Path) -> None:
    login = {"username": "sink", "password": "right", "prefix": "allowed", "discovery": "forbidden"}
    with a_guarded_broker(tmp_path) as broker, a_sink(broker.port, tmp_path, **login) as sink:
        sink.deliver(an_alert(1), PICTURES)
        wait_until(sink.tend)
        said = str(sink.tend())
    assert "does not take forbidden/device/" in said
    assert "Not authorized. Check its access list" in said


@pytest.mark.mqtt
def test_while_an_alert_is_refused_states_of_cameras_are_told(tmp_path: Path) -> None:
    (tmp_path / "rights").write_text("topic write spade-stream/cameras/#\n")
    (tmp_path / "rights").chmod(0o600)
    settings = ("allow_anonymous true", f"acl_file {tmp_path / 'rights'}", "user root")
    with a_broker(tmp_path, *settings) as broker, a_sink(broker.port, tmp_path, discovery=None) as sink:
        for _ in range(2):
            with pytest.raises(SinkError, match="Not authorized"):
                sink.deliver(an_alert(1), PICTURES)
            sink.tell(STALLED)


@pytest.mark.mqtt
def test_of_an_alert_that_was_laid_aside_no_answer_is_kept_for_ids_that_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = ReasonCode(PacketTypes.PUBACK, identifier=0x99)
    with a_broker(tmp_path) as broker, a_sink(broker.port, tmp_path) as sink:
        sink.tell(LIVE)
        answered, numbers = sink._link._on_publish, list[int]()

        def refuses_the_first(client: Any, data: Any, number: int, reason: Any, properties: Any) -> None:
            numbers.append(number)
            if len(numbers) == 1:  # the other answers are still to come when the delivery fails
                answered(client, data, number, never, properties)

        monkeypatch.setattr(sink._link._client, "on_publish", refuses_the_first)
        with pytest.raises(SinkRefused, match="Payload format invalid"):
            sink.deliver(an_alert(1), PICTURES)
        wait_until(lambda: len(numbers) == 4)
        monkeypatch.setattr(sink._link._client, "on_publish", answered)
        sink.deliver(an_alert(2), PICTURES)
        assert sink._link._confirmed == {}


def test_a_secret_file_that_is_missing_stops_the_check(tmp_path: Path) -> None:
    section = MqttSection(type="mqtt", host="127.0.0.1", username="a", password_file=tmp_path / "none")
    with pytest.raises(SinkError, match="none: the secret cannot be read: No such file"):
        check_mqtt(section)


def test_an_authority_that_is_no_certificate_stops_the_check(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(SinkError, match=r"ca\.pem: TLS cannot be set up"):
        check_mqtt(MqttSection(type="mqtt", host="broker", tls=True, ca=tmp_path / "ca.pem"))


def test_the_check_names_broker_and_topics_and_not_the_password() -> None:
    said = check_mqtt(MqttSection(type="mqtt", host="broker", tls=True, username="u", password="s3cret"))
    assert said == "broker:8883 (TLS), topics below spade-stream, discovery below homeassistant"
