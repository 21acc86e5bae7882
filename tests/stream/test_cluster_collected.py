"""Small parts of the collector: what it remembers, what it asks the directory, which open alerts it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from collect_fakes import Directory, alert

from stream.cluster.collected import MAX_GAPS, Collected
from stream.cluster.directory_client import Refused
from stream.cluster.directory_watch import ASK_EVERY, SILENT_AFTER, DirectoryWatch
from stream.cluster.model import OutboxPlace, OutboxState
from stream.cluster.open_alerts import AWAY_FOR, OpenAlerts
from stream.messages import Alert, Evidence
from stream.subscriber import Gap


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# -- how far each outbox is -------------------------------------------------------------------------------------------


def test_what_was_collected_is_known_to_the_next_collector(tmp_path: Path) -> None:
    first = Collected(tmp_path / "new" / "collected.json")
    first.take("a", 7)
    first.take("a", 5)  # a repetition
    assert first.lose("a", Gap(1, 2))
    first.write()
    again = Collected(tmp_path / "new" / "collected.json")
    assert (again.outboxes["a"].seq, again.outboxes["a"].gaps) == (7, (Gap(1, 2),))
    assert not again.lose("a", Gap(1, 2))  # told before


def test_of_very_many_gaps_the_newest_are_remembered(tmp_path: Path) -> None:
    collected = Collected(tmp_path / "collected.json")
    for n in range(MAX_GAPS + 1):
        collected.lose("a", Gap(n, n))
    assert (collected.outboxes["a"].gaps[0], len(collected.outboxes["a"].gaps)) == (Gap(1, 1), MAX_GAPS)
    collected.write()
    assert len(Collected(tmp_path / "collected.json").outboxes["a"].gaps) == MAX_GAPS


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"a": {"taken": -1, "gaps": []}}', b'{"a": {"taken": 1, "gaps": [[1]]}}']
)
def test_a_damaged_file_only_says_less(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "collected.json").write_bytes(content)
    assert Collected(tmp_path / "collected.json").outboxes == {}
    assert "is not known" in caplog.text


# -- what the directory says ------------------------------------------------------------------------------------------


class Counting(Directory):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def ask_outboxes(self) -> bool:
        self.asked.append("outboxes")
        return True

    def ask_cluster(self) -> bool:
        self.asked.append("cluster")
        return True


def test_the_directory_is_asked_once_a_second_and_what_it_said_last_holds() -> None:
    directory, clock = Counting(), Clock()
    watch = DirectoryWatch(directory, documents=True, clock=clock)
    watch.step()
    watch.step()
    assert directory.asked == ["outboxes", "cluster"]
    clock.now += ASK_EVERY
    place = OutboxPlace("a", "n", OutboxState.LIVE, 1.0, 0)
    directory.tell(place)
    directory.tell_document({"written": 1.0})
    watch.step()
    assert directory.asked == ["outboxes", "cluster"] * 2
    clock.now += SILENT_AFTER + 1
    assert (watch.outboxes, watch.document) == ((place,), {"written": 1.0})
    assert watch.problem == "the directory has not answered for 6 s"


def test_a_directory_that_refuses_is_a_problem_until_it_answers() -> None:
    directory = Directory()
    watch = DirectoryWatch(directory)
    directory._answers.append(Refused("this key is a reader's"))
    watch.step()
    assert watch.problem == "the directory refuses: this key is a reader's"
    directory.tell()
    watch.step()
    assert watch.problem == ""


# -- open alerts ------------------------------------------------------------------------------------------------------

NONE = Evidence(b"", b"")
OPEN = [(replace(alert(name or "own", 1), outbox=name), NONE) for name in ("a", "b", "")]


def ended(messages: list[tuple[Alert, Evidence]]) -> list[str]:
    return [each.alert_id for each, _ in messages]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def alerts(clock: Clock) -> OpenAlerts:
    return OpenAlerts(lambda wanted: [each for each in OPEN if wanted(each[0])], clock=clock)


def test_what_is_open_in_an_outbox_that_stays_away_is_ended_once(alerts: OpenAlerts, clock: Clock) -> None:
    assert alerts.due(live={"a", "b"}, known={"a", "b"}) == []
    clock.now += AWAY_FOR - 1
    assert alerts.due(live={"b"}, known={"a", "b"}) == []
    clock.now += 1
    assert ended(alerts.due(live={"b"}, known={"a", "b"})) == ["a-1", "own-1"]
    clock.now += AWAY_FOR
    assert alerts.due(live={"b"}, known={"a", "b"}) == []


def test_an_outbox_that_is_back_before_that_keeps_its_alerts_open(alerts: OpenAlerts, clock: Clock) -> None:
    alerts.due(live={"a", "b"}, known={"a", "b"})
    for live in ({"b"}, {"a", "b"}, {"b"}):
        clock.now += AWAY_FOR - 1
        assert "a-1" not in ended(alerts.due(live=live, known={"a", "b"}))


def test_one_that_goes_again_has_its_alerts_ended_again(alerts: OpenAlerts, clock: Clock) -> None:
    for _ in range(2):
        alerts.due(live={"a", "b"}, known={"a", "b"})
        clock.now += AWAY_FOR
        assert "a-1" in ended(alerts.due(live={"b"}, known={"a", "b"}))


def test_what_a_forgotten_outbox_left_open_is_ended(alerts: OpenAlerts, clock: Clock) -> None:
    alerts.due(live={"b"}, known={"b"})
    clock.now += AWAY_FOR
    assert ended(alerts.due(live={"b"}, known={"b"})) == ["a-1", "own-1"]
