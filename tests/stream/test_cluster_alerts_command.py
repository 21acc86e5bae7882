"""``alerts --cluster``, over TCP with CURVE."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from collect_fakes import a_campus, alert, take, wait_for
from secure_campus import SecureCampus, a_secure_campus

from stream.cli import main
from stream.cluster.alerts_command import _Reported
from stream.messages import CameraState, Evidence, StateEvent

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def campus(tmp_path: Path) -> Iterator[SecureCampus]:
    with a_secure_campus(tmp_path / "campus") as made:
        yield made


@pytest.fixture
def key(campus: SecureCampus) -> Path:
    return campus.run.folder / "keys" / "issued" / "ops.key"


class Printed:
    """What a command gave."""

    def __init__(self, code: int, captured: Any) -> None:
        self.code, self.err = code, captured.err
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in captured.out.splitlines()]

    @property
    def numbers(self) -> list[tuple[str, int]]:
        return sorted((line["outbox"], line["seq"]) for line in self.lines if "alert_id" in line)


@pytest.fixture
def alerts(campus: SecureCampus, key: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> Printed:
        code = main(["alerts", "--cluster", campus.run.endpoint, "--key", str(key), "--no-follow", *words])
        return Printed(code, capsys.readouterr())

    return run


def test_alerts_of_all_machines_are_printed_with_their_outbox(campus: SecureCampus, alerts: Any) -> None:
    campus.node("a").commit(1, 2)
    campus.node("b").commit(1)
    campus.tell()
    printed = alerts("--since", "0")
    assert (printed.code, printed.numbers) == (0, [("a", 1), ("a", 2), ("b", 1)])
    schema = json.loads((DOCS / "alert.schema.json").read_text())
    for line in printed.lines:
        jsonschema.validate(line, schema)


def test_since_takes_one_number_for_each_outbox(campus: SecureCampus, alerts: Any) -> None:
    campus.node("a").commit(1, 2, 3)
    campus.node("b").commit(1, 2)
    campus.tell()
    assert alerts("--since", "a=2,b=1").numbers == [("a", 3), ("b", 2)]


def test_a_name_is_remembered_by_every_outbox(campus: SecureCampus, alerts: Any) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1)
    b.commit(1)
    campus.tell()
    assert alerts("--name", "ops").numbers == [("a", 1), ("b", 1)]
    wait_for(lambda: [n.disk.outbox.acknowledged() for n in (a, b)] == [{"ops": 1}] * 2)
    b.commit(2)
    assert alerts("--name", "ops").numbers == [("b", 2)]


def test_a_missing_outbox_is_named_and_the_command_that_does_not_wait_says_that_it_failed(
    campus: SecureCampus, alerts: Any
) -> None:
    a = campus.node("a")
    campus.node("b")
    a.commit(1)
    campus.tell(a.place(), campus.lost("b"))
    printed = alerts("--since", "0", "--events")
    assert printed.numbers == [("a", 1)]
    assert "outbox b of node-b is missing since 1970-01-12T13:46:40.000Z" in printed.err
    assert printed.code == 1
    outboxes = [line for line in printed.lines if line["schema"] == "spade-stream/outbox/1"]
    assert [(each["outbox"], each["state"], each["last_seq"]) for each in outboxes] == [
        ("a", "live", 0),
        ("b", "missing", 9),
    ]


def test_what_retention_removed_is_said_of_each_outbox_once(capsys: pytest.CaptureFixture[str]) -> None:
    with a_campus() as campus, campus.subscriber(since=0) as alerts:
        a, b = campus.node("a"), campus.node("b")
        reported = _Reported(float("inf"))
        for node, removed in ((a, 2), (b, 1)):
            node.commit(1, 2, 3)
            node.disk.outbox.remove_through(removed)
        campus.tell(a.lost(), b.place())
        take(alerts, 1)
        reported.look(alerts, "", final=False)
        campus.tell(a.place(), b.place())  # its gaps come before those of b, which were said already
        take(alerts, 2)
        reported.look(alerts, "", final=False)
        reported.look(alerts, "", final=False)
    assert capsys.readouterr().err.splitlines() == [
        "outbox b: alerts 1 to 1 are gone for good (its retention)",
        "outbox a: alerts 1 to 2 are gone for good (its retention)",
    ]


def test_camera_events_are_printed_with_their_outbox(campus: SecureCampus, alerts: Any) -> None:
    a = campus.node("a")
    a.disk.outbox.record_event(StateEvent("gate", CameraState.FROZEN, "the same picture", 5.0))
    campus.tell()
    [event] = [line for line in alerts("--since", "0", "--events").lines if "camera" in line]
    assert (event["outbox"], event["camera"], event["state"]) == ("a", "gate", "FROZEN")


def test_pictures_of_different_outboxes_with_one_number_lie_apart(
    campus: SecureCampus, alerts: Any, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        campus.node(name).disk.outbox.commit(alert("gate", 1), Evidence(b"mask-" + name.encode(), b"s"))
    campus.tell()
    printed = alerts("--since", "0", "--save", str(tmp_path / "out"))
    assert sorted(Path(line["mask"]).read_bytes() for line in printed.lines) == [b"mask-a", b"mask-b"]


def test_it_goes_on_printing_until_it_is_stopped(
    campus: SecureCampus, key: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, stop = campus.node("a"), threading.Event()
    campus.tell()
    monkeypatch.setattr("stream.stopping.StopSignal.install", lambda self: None)
    monkeypatch.setattr("stream.stopping.StopSignal.__call__", lambda self: stop.is_set())
    words = ["alerts", "--cluster", campus.run.endpoint, "--key", str(key), "--since", "0"]
    thread = threading.Thread(target=main, args=(words,))
    thread.start()
    try:
        printed: list[str] = []
        for n in (1, 2):
            a.commit(n)
            wait_for(lambda n=n: printed.append(capsys.readouterr().out) or f'"a-{n}"' in "".join(printed))  # type: ignore[misc,func-returns-value]
    finally:
        stop.set()
        thread.join()


def test_a_cluster_whose_directory_does_not_answer_is_an_error_for_who_does_not_wait(
    campus: SecureCampus, alerts: Any
) -> None:
    campus.run.stop()
    printed = alerts("--since", "0")
    assert printed.code == 1
    assert "no directory answers" in printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "7"), "each has its own"),
        (("--name", "a name"), "must be 1 to 64 letters"),
        (("--name", "collect"), "the run collects its alerts"),  # it would be told that these are safe
    ],
)
def test_wrong_words_are_wrong_usage(campus: SecureCampus, alerts: Any, words: tuple[str, ...], said: str) -> None:
    printed = alerts(*words)
    assert printed.code == 2
    assert said in printed.err


def test_a_directory_is_asked_with_a_key(campus: SecureCampus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "--cluster", campus.run.endpoint]) == 2
    assert "needs a key, --key FILE" in capsys.readouterr().err


def test_a_reader_s_key_is_not_taken(campus: SecureCampus, capsys: pytest.CaptureFixture[str]) -> None:
    path = campus.run.folder / "keys" / "issued" / "gate.key"
    assert main(["alerts", "--cluster", campus.run.endpoint, "--key", str(path)]) == 2
    assert "is a reader's key" in capsys.readouterr().err


def test_one_feed_takes_one_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "--since", "a=1"]) == 2
    assert "name a cluster with --cluster" in capsys.readouterr().err
