"""Around a sink: what it refuses for good, camera events, what is told of it, the registry, the test alert."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from feed_fakes import a_place, fill
from sink_partners import Answer, an_alert, free_port, receiving, wait_until

from stream import programs
from stream.config import Config, build_config
from stream.errors import ConfigError, SinkError, SinkRefused, UsageError
from stream.health import write_status
from stream.messages import Alert, CameraState, Evidence, StateEvent
from stream.outbox import Outbox, OutboxReader
from stream.sink_sections import KafkaSection, SinkSection, WebhookSection
from stream.sinks.again import bring_again
from stream.sinks.events import EventBoard
from stream.sinks.facts import SinkFacts, facts_path, read_facts
from stream.sinks.registry import KINDS, Surroundings, check_sink, open_sink, section_named
from stream.sinks.rejected import Rejected
from stream.sinks.runner import ASKED_RETRY_S, TRIES, run_sink
from stream.sinks.watch import WatchedBoard

STALLED = StateEvent("gate", CameraState.STALLED, "no frame for 5 s", 0.0, 1)
LIVE = StateEvent("gate", CameraState.LIVE, "", 0.0, 2)
YARD = StateEvent("yard", CameraState.LIVE, "", 0.0, 3)


class Stream:
    """Hands out alerts, then stops the runner."""

    def __init__(self, count: int) -> None:
        self.waiting = [an_alert(seq) for seq in range(1, count + 1)]
        self.acked: list[int] = []
        self.stopped = False

    def poll(self, timeout: float) -> tuple[Alert, Evidence] | None:
        self.stopped = not self.waiting
        return (self.waiting.pop(0), Evidence(b"", b"")) if self.waiting else None

    def listen(self) -> None:
        """Nothing comes."""

    def ack(self, seq: int) -> None:
        self.acked.append(seq)

    def stop(self) -> bool:
        return self.stopped


class Scripted:
    """A sink that raises what it is told to, by the number of the alert."""

    def __init__(self, errors: dict[int, SinkError], times: int = 1_000) -> None:
        self.errors, self.times = errors, times
        self.tried: list[int] = []
        self.told: list[StateEvent] = []
        self.deaf: SinkError | None = None

    def deliver(self, alert: Alert, evidence: Evidence) -> bool | None:
        self.tried.append(alert.seq)
        if alert.seq in self.errors and self.tried.count(alert.seq) <= self.times:
            raise self.errors[alert.seq]
        return None

    def tell(self, event: StateEvent) -> None:
        if self.deaf is not None:
            raise self.deaf
        self.told.append(event)

    def close(self) -> None:
        """Nothing."""


# -- refused for good -------------------------------------------------------------------------------------------------


@pytest.mark.fault(
    "a sink refuses an alert for good", "laid aside with the reason after 5 attempts; the next one goes on"
)
def test_what_a_sink_refuses_for_good_is_laid_aside_and_the_next_alert_goes_on(tmp_path: Path) -> None:
    stream, sink = Stream(2), Scripted({1: SinkRefused("answers 410")})
    rejected = Rejected(tmp_path / "rejected", wall=lambda: 0.0)

    run_sink(sink, stream, stream.stop, rejected=rejected, sleep=lambda _: None)

    assert sink.tried == [1] * TRIES + [2]
    assert stream.acked == [1, 2]
    [file] = (tmp_path / "rejected").iterdir()
    about = json.loads(file.read_text())
    assert (about["reason"], about["rejected_at"]) == ("answers 410", "1970-01-01T00:00:00.000Z")
    assert Alert.from_json(about["alert"]) == an_alert(1)


def test_a_sink_that_is_only_away_has_nothing_laid_aside(tmp_path: Path) -> None:
    stream, sink = Stream(1), Scripted({1: SinkError("is down")}, times=3 * TRIES)

    run_sink(sink, stream, stream.stop, rejected=Rejected(tmp_path / "rejected"), sleep=lambda _: None)

    assert len(sink.tried) == 3 * TRIES + 1
    assert not (tmp_path / "rejected").exists()


def test_where_nothing_can_be_laid_aside_the_alert_waits(tmp_path: Path) -> None:
    (tmp_path / "rejected").write_text("a file where the folder belongs")
    stream, sink = Stream(1), Scripted({1: SinkRefused("answers 410")}, times=TRIES + 2)

    run_sink(sink, stream, stream.stop, rejected=Rejected(tmp_path / "rejected"), sleep=lambda _: None)

    assert len(sink.tried) == TRIES + 3
    assert stream.acked == [1]


def test_of_what_is_laid_aside_the_oldest_goes_first(tmp_path: Path) -> None:
    rejected = Rejected(tmp_path, most=2)
    for seq in (1, 2, 3, 3):
        rejected.put(an_alert(seq), "no")

    assert len(rejected) == len(Rejected(tmp_path)) == 2
    assert [path.name[:9] for path in sorted(tmp_path.iterdir())] == ["000000002", "000000003"]


@pytest.mark.parametrize(("asked", "waited"), [(40.0, 40.0), (0.1, 0.5), (86_400.0, ASKED_RETRY_S)])
def test_a_server_that_asks_for_patience_gets_it_within_bounds(asked: float, waited: float) -> None:
    stream, slept = Stream(1), list[float]()
    sink = Scripted({1: SinkError("answers 429", again_after=asked)}, times=1)

    run_sink(sink, stream, stream.stop, sleep=slept.append)

    assert sum(slept) == pytest.approx(waited)


# -- camera events ----------------------------------------------------------------------------------------------------


def test_of_each_camera_only_the_latest_event_is_told() -> None:
    board, sink = EventBoard(clock=lambda: 0.0), Scripted({})
    for event in (STALLED, YARD, LIVE):
        board.note(event)

    assert board.tell(sink) is None
    assert sink.told == [YARD, LIVE]
    assert board.waiting == 0


def test_an_event_that_cannot_be_told_waits_and_gives_way_to_a_newer_one() -> None:
    now = [0.0]
    board, sink = EventBoard(clock=lambda: now[0]), Scripted({})
    board.note(STALLED)
    sink.deaf = SinkError("is down")
    assert board.tell(sink) is sink.deaf
    board.note(LIVE)
    sink.deaf = None

    assert board.tell(sink) is None
    assert (sink.told, board.waiting) == ([], 1), "the failure is too fresh"
    now[0] = 1.0
    board.tell(sink)
    assert sink.told == [LIVE]


def test_an_event_that_is_refused_for_good_does_not_keep_back_those_of_others() -> None:
    class Picky(Scripted):
        def tell(self, event: StateEvent) -> None:
            if event.camera == "gate":
                raise SinkRefused("never")
            super().tell(event)

    board, sink = EventBoard(clock=lambda: 0.0), Picky({})
    board.note(LIVE)
    board.note(YARD)

    assert isinstance(board.tell(sink), SinkRefused)
    assert (sink.told, board.waiting) == ([YARD], 0)


def test_the_runner_tells_events_between_alerts() -> None:
    stream, sink, board = Stream(1), Scripted({}), EventBoard()
    board.note(LIVE)

    run_sink(sink, stream, stream.stop, events=board)

    assert (sink.told, sink.tried) == ([LIVE], [1])


def test_while_the_worker_does_not_answer_no_camera_looks_watched() -> None:
    now, problem = [0.0], [""]
    board = WatchedBoard(["gate", "door"], lambda: problem[0], clock=lambda: now[0], wall=lambda: 7.0)
    sink = Scripted({})
    board.note(LIVE)

    def told_at(second: float) -> list[tuple[str, str, str]]:
        now[0], sink.told[:] = second, []
        board.refresh()
        board.tell(sink)
        return [(event.camera, str(event.state), event.reason) for event in sink.told]

    assert told_at(0.0) == [("gate", "LIVE", "")]
    problem[0] = "the worker is NOT_ANSWERING"
    assert told_at(5.0) == [], "it may be starting anew"
    assert told_at(11.0) == [(camera, "NO_READER", problem[0]) for camera in ("gate", "door")]
    board.note(STALLED)
    assert told_at(20.0) == [], "what the feed repeats meanwhile does not make the camera look watched"
    problem[0] = ""
    assert told_at(30.0) == [("gate", "STALLED", "no frame for 5 s")]


def test_a_sink_asks_whether_anybody_watches(tmp_path: Path) -> None:
    class Connected:
        connected = True

    config = a_config(tmp_path, "ipc:///nobody/there")
    assert programs._unwatched(config, Connected()) == "", "the worker is on another machine"  # type: ignore[arg-type]
    write_status(config.status, {"written": time.time(), "worker": {"state": "RUNNING"}})
    assert programs._unwatched(config, Connected()) == ""  # type: ignore[arg-type]
    write_status(config.status, {"written": time.time() - 60, "worker": {"state": "RUNNING"}})
    assert "NOT_ANSWERING" in programs._unwatched(config, Connected())  # type: ignore[arg-type]
    Connected.connected = False
    assert "feed does not answer" in programs._unwatched(config, Connected())  # type: ignore[arg-type]


# -- what is told of a sink -------------------------------------------------------------------------------------------


def test_a_sink_says_how_it_is_doing(tmp_path: Path) -> None:
    now = [0.0]
    path = facts_path(tmp_path / "sinks", "hook")
    facts = SinkFacts(path, kind="webhook", rejected=lambda: 2, wall=lambda: now[0], monotonic=lambda: now[0])

    def told() -> dict[str, Any]:
        return read_facts(tmp_path / "sinks", ["hook", "other"])["hook"]

    assert (told()["type"], told()["delivered"], told()["failing_since"], told()["rejected"]) == ("webhook", 0, None, 2)
    now[0] = 10.0
    facts.failed(SinkError("cannot reach http://user:s3cret@host/"))
    now[0] = 20.0
    facts.failed(SinkError("again"))
    assert told()["failing_since"] == "1970-01-01T00:00:10.000Z"
    assert "s3cret" not in path.read_text()
    facts.delivered(an_alert(7))
    assert (told()["delivered"], told()["last_seq"], told()["failing_since"], told()["last_error"]) == (1, 7, None, "")


def test_a_sink_that_refuses_one_alert_answers_and_so_does_not_fail_but_the_alert_is_counted(tmp_path: Path) -> None:
    facts = SinkFacts(tmp_path / "a.json")
    facts.failed(SinkRefused("answers 413"))
    facts.laid_aside(an_alert(1))
    told = facts.to_json()
    assert (told["failing_since"], told["rejected_total"], told["delivered"]) == (None, 1, 0)


def test_what_does_not_work_beside_the_alerts_counts_as_failing_until_it_works(tmp_path: Path) -> None:
    facts = SinkFacts(tmp_path / "a.json", wall=lambda: 10.0)
    facts.complains(SinkError("topic forbidden"))
    facts.delivered(an_alert(1))
    told = facts.to_json()
    assert (told["failing_since"], told["last_error"]) == ("1970-01-01T00:00:10.000Z", "topic forbidden")
    facts.complains(None)
    assert facts.to_json()["failing_since"] is None


def test_a_message_that_a_sink_does_not_want_is_acknowledged_and_says_nothing_of_how_the_sink_is(
    tmp_path: Path,
) -> None:
    class Choosy(Scripted):
        def deliver(self, alert: Alert, evidence: Evidence) -> bool | None:
            super().deliver(alert, evidence)
            return alert.seq != 1

    facts, stream = SinkFacts(tmp_path / "a.json"), Stream(1)
    facts.failed(SinkError("is down"))
    run_sink(Choosy({}), stream, stream.stop, facts=facts)
    told = facts.to_json()
    assert (stream.acked, told["delivered"], told["last_error"]) == ([1], 0, "is down")


def test_while_an_alert_fails_camera_events_are_told_and_the_sink_looks_no_better_for_it(tmp_path: Path) -> None:
    stream, sink, board = Stream(1), Scripted({1: SinkError("is down")}), EventBoard(clock=lambda: 0.0)
    facts = SinkFacts(tmp_path / "a.json")
    slept = list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            board.note(LIVE)
        stream.stopped = len(slept) == 3

    run_sink(sink, stream, stream.stop, events=board, facts=facts, sleep=sleep)
    assert sink.told == [LIVE]
    assert facts.to_json()["failing_since"] is not None


def test_while_an_alert_is_tried_again_changes_of_cameras_are_read_from_the_feed_and_told() -> None:
    board, sink = EventBoard(clock=lambda: 0.0), Scripted({1: SinkError("is down")})

    class Telling(Stream):
        def listen(self) -> None:
            if sink.tried == [1]:  # after the first failure, and before the alert is brought again
                board.note(STALLED)
            self.stopped = bool(sink.told)

    stream = Telling(1)
    run_sink(sink, stream, stream.stop, events=board, sleep=lambda _: None)
    assert sink.told == [STALLED]
    assert stream.acked == []


def test_a_sink_that_has_something_to_do_is_asked_also_when_no_alert_comes(tmp_path: Path) -> None:
    class Tending(Scripted):
        def tend(self) -> SinkError | None:
            return SinkError("old pictures cannot be removed")

    facts, stream = SinkFacts(tmp_path / "a.json"), Stream(0)
    run_sink(Tending({}), stream, stream.stop, facts=facts)
    assert facts.to_json()["last_error"] == "old pictures cannot be removed"


def test_facts_that_are_missing_or_damaged_are_left_out(tmp_path: Path) -> None:
    facts_path(tmp_path, "a").write_text("{")
    facts_path(tmp_path, "b").write_text("[]")
    assert read_facts(tmp_path, ["a", "b", "c"]) == {}


# -- the registry -----------------------------------------------------------------------------------------------------


def test_the_configuration_and_the_registry_know_the_same_kinds() -> None:
    assert {kind.section for kind in KINDS.values()} == set(get_args(SinkSection))
    for name, kind in KINDS.items():
        assert get_args(kind.section.model_fields["type"].annotation) == (name,)


def test_a_sink_that_is_not_in_the_configuration_is_named_with_those_that_are() -> None:
    hook = WebhookSection(type="webhook", url="http://localhost/")
    assert section_named("webhook", [hook]) is hook
    with pytest.raises(UsageError, match="'siren': the configuration has no such sink; it has: webhook"):
        section_named("siren", [hook])


def test_kafka_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    section = KafkaSection(type="kafka", servers="localhost:9092")
    with pytest.raises(ConfigError, match=r"not installed: pip install 'spade-stream\[kafka\]'"):
        open_sink(section, Surroundings({}, tmp_path))
    with pytest.raises(ConfigError, match="not installed"):
        check_sink(section)


# -- together ---------------------------------------------------------------------------------------------------------


def a_config(state: Path, feed: str, *sinks: dict[str, Any]) -> Config:
    data = {
        "state": str(state),
        "cameras": [{"id": "gate", "source": "campus:"}],
        "feed": {"endpoint": feed},
        "sinks": list(sinks),
    }
    return build_config(data, where="test", base=state, environment={})


@pytest.mark.fault("one sink's server is dead", "the other sinks get every alert meanwhile")
def test_a_dead_webhook_delays_no_other_sink(tmp_path: Path) -> None:
    dead = {"type": "webhook", "url": f"http://127.0.0.1:{free_port()}/"}
    with a_place() as place, place.serving():
        config = a_config(tmp_path, place.endpoint, dead, {"type": "jsonl", "folder": str(tmp_path / "out")})
        stop = threading.Event()
        threads = [
            threading.Thread(target=programs.sink, args=(config, name), kwargs={"stopping": stop.is_set})
            for name in ("webhook", "jsonl")
        ]
        for thread in threads:
            thread.start()
        try:
            fill(place.outbox, 1, 20)
            place.wait_for_places(jsonl=20, webhook=0)
            wait_until(lambda: programs._status(config)["sinks"]["webhook"]["failing_since"])
            status = programs._status(config)["sinks"]
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
        lines = (tmp_path / "out" / "alerts.jsonl").read_text().splitlines()

    assert [json.loads(line)["seq"] for line in lines] == list(range(1, 21))
    assert "cannot be reached" in status["webhook"]["last_error"]
    assert status["jsonl"]["failing_since"] is None


def test_a_test_alert_reaches_the_sink_and_is_marked_as_one(tmp_path: Path) -> None:
    with receiving() as receiver:
        config = a_config(tmp_path, "ipc:///nobody/there", {"type": "webhook", "url": receiver.url})
        said = programs.try_sink(config, "webhook")

    [posted] = receiver.posted
    alert = Alert.from_json(json.loads(posted.body))
    assert said == f"sink webhook took the test alert {alert.alert_id}"
    assert alert.alert_id.startswith("test-")
    assert alert.camera == "spade-stream-test"
    assert "test" in alert.segment


def test_a_test_alert_is_sent_also_where_only_other_phases_are_wanted(tmp_path: Path) -> None:
    with receiving() as receiver:
        config = a_config(tmp_path, "ipc:///nobody/there", {"type": "webhook", "url": receiver.url, "phases": ["end"]})
        programs.try_sink(config, "webhook")
    assert len(receiver.posted) == 1


def test_what_was_laid_aside_is_brought_again_with_its_pictures_and_lies_there_no_more(tmp_path: Path) -> None:
    with receiving(Answer(200), Answer(413)) as receiver:
        hook = {"type": "webhook", "url": receiver.url, "pictures": ["snapshot"], "pictures_as": "base64"}
        config = a_config(tmp_path, "ipc:///nobody/there", hook)
        rejected = Rejected(config.sink_folder / "webhook" / "rejected")
        with Outbox(config.outbox, config.evidence) as outbox:
            fill(outbox, 1, 3)
            for kept in outbox.read_after(0, limit=3):
                rejected.put(kept, "answered 413")
        first = programs.bring_again(config, "webhook")
        said = (len(receiver.posted), first.taken, first.left)
        second = programs.bring_again(config, "webhook")

    assert said == (3, 2, 1), "what is refused again stays, and keeps back no other"
    assert "answers 413" in first.problem
    assert (second.taken, second.left, second.problem) == (1, 0, "")
    bodies = [json.loads(posted.body) for posted in receiver.posted]
    assert [body["seq"] for body in bodies] == [1, 2, 3, 2]
    assert bodies[0]["pictures"]["snapshot"]["base64"]


def test_nothing_more_is_brought_again_where_the_sink_is_not_there(tmp_path: Path) -> None:
    config = a_config(tmp_path, "ipc:///nobody/there", {"type": "webhook", "url": f"http://127.0.0.1:{free_port()}/"})
    rejected = Rejected(config.sink_folder / "webhook" / "rejected")
    for seq in (1, 2):
        rejected.put(an_alert(seq), "answered 410")

    outcome = programs.bring_again(config, "webhook")
    assert (outcome.taken, outcome.left) == (0, 2)
    assert "cannot be reached" in outcome.problem


def test_a_file_that_is_damaged_keeps_back_no_other_alert(tmp_path: Path) -> None:
    rejected = Rejected(tmp_path / "rejected")
    for seq in (1, 2):
        rejected.put(an_alert(seq), "answered 410")
    rejected.files()[0].write_text("{")

    outcome = bring_again(Scripted({}), rejected, lambda alert: (alert, Evidence(b"", b"")))
    assert (outcome.taken, outcome.left) == (1, 1)
    assert "Move it away" in outcome.problem


def test_how_many_lie_aside_is_counted_anew(tmp_path: Path) -> None:
    rejected = Rejected(tmp_path / "rejected")
    rejected.put(an_alert(1), "no")
    rejected.files()[0].unlink()
    assert len(rejected) == 0


def test_a_sink_that_dies_of_what_nobody_expected_says_so_in_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> int:
        raise ZeroDivisionError("with a s3cret")

    monkeypatch.setattr(programs, "run_sink", die)
    config = a_config(tmp_path, "ipc:///nobody/there", {"type": "stdout"})
    with pytest.raises(ZeroDivisionError):
        programs.sink(config, "stdout", stopping=lambda: True)
    told = programs._status(config)["sinks"]["stdout"]
    assert told["failing_since"] is not None
    assert "nobody expected (ZeroDivisionError)" in told["last_error"]
    assert "s3cret" not in told["last_error"]


def test_a_test_alert_that_is_not_taken_is_an_error(tmp_path: Path) -> None:
    with receiving(Answer(403)) as receiver:
        config = a_config(tmp_path, "ipc:///nobody/there", {"type": "webhook", "url": receiver.url})
        with pytest.raises(SinkError, match="answers 403"):
            programs.try_sink(config, "webhook")


def test_a_file_that_keeps_what_it_gets_is_only_opened(tmp_path: Path) -> None:
    config = a_config(tmp_path, "ipc:///nobody/there", {"type": "jsonl", "folder": str(tmp_path / "out")})

    assert "no test alert was written" in programs.try_sink(config, "jsonl")
    assert (tmp_path / "out" / "alerts.jsonl").read_bytes() == b""


def test_a_sink_that_cannot_be_opened_says_so_in_the_status(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = a_config(tmp_path, "ipc:///nobody/there", {"type": "jsonl", "folder": str(tmp_path / "file" / "sub")})

    with pytest.raises(SinkError):
        programs.sink(config, "jsonl", stopping=lambda: True)
    assert "writable folder" in programs._status(config)["sinks"]["jsonl"]["last_error"]


def test_places_of_sinks_are_remembered_by_the_feed(tmp_path: Path) -> None:
    with a_place() as place, place.serving(), OutboxReader(*place.paths) as reader:
        fill(place.outbox, 1, 1)
        config = a_config(tmp_path, place.endpoint, {"type": "jsonl", "folder": str(tmp_path / "out")})
        programs.sink(config, "jsonl", stopping=lambda: reader.acknowledged().get("jsonl") == 1)
