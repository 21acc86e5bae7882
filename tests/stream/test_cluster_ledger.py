"""What the control of a cluster does not forget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stream.cluster.ledger import LAST_SEQ_EVERY, Counter, OutboxLedger, PlaceLedger
from stream.cluster.model import OutboxPlace, OutboxState, Place
from stream.errors import UsageError

LIVE = OutboxPlace("one", "a", OutboxState.LIVE, 0.0, 7, "tcp://a:8550", "key-a")


class Clock:
    """Seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ledger(folder: Path, clock: Clock | None = None) -> OutboxLedger:
    return OutboxLedger(folder, Counter(folder), clock=clock or Clock())


def test_numbers_grow_by_one_and_never_go_back_after_a_restart(tmp_path: Path) -> None:
    counter = Counter(tmp_path)

    assert [counter.next(), counter.next(), counter.next()] == [1, 2, 3]
    assert Counter(tmp_path).next() > 3


def test_a_counter_that_lost_its_file_goes_on_far_above_what_others_were_given(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    counter.catch_up(5000)
    assert counter.next() == 6001
    counter.catch_up(6001)  # it gave that out itself
    assert counter.next() == 6002


def test_a_counter_whose_file_is_broken_says_so_and_keeps_it_for_a_person(tmp_path: Path) -> None:
    (tmp_path / "generation.json").write_text('{"reserved": "many"}')
    counter = Counter(tmp_path)

    assert "generation.json: cannot be read" in counter.problem
    assert (tmp_path / "generation.json.unreadable").read_text() == '{"reserved": "many"}'
    assert counter.next() == 1


def test_a_counter_that_cannot_write_counts_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file where the folder belongs")
    counter = Counter(tmp_path / "folder")

    assert counter.next() == 1
    assert "generation.json: cannot be" in counter.problem


def test_places_are_read_as_they_were_kept(tmp_path: Path) -> None:
    places = {"cam": Place("cam", 4, "a:0", "tcp://a:8500", "key-a")}
    PlaceLedger(tmp_path).keep(places)

    assert PlaceLedger(tmp_path).places == places


def test_a_broken_file_of_places_leaves_all_cameras_without_one(tmp_path: Path) -> None:
    (tmp_path / "places.json").write_text('{"places": [{"camera": "cam"}]}')
    kept = PlaceLedger(tmp_path)

    assert kept.places == {}
    assert "laid aside as places.json.unreadable" in kept.problem


def test_an_outbox_that_is_heard_of_for_the_first_time_is_live_since_now(tmp_path: Path) -> None:
    outboxes = ledger(tmp_path)
    generation, before = outboxes.told()
    outboxes.hear([LIVE], now=50.0, all_heard=True)

    assert before == ()
    assert outboxes.told() == (generation + 1, (replace(LIVE, since=50.0),))


def test_more_alerts_are_no_new_generation(tmp_path: Path) -> None:
    outboxes = ledger(tmp_path)
    outboxes.hear([LIVE], now=50.0, all_heard=True)
    generation, _ = outboxes.told()
    outboxes.hear([replace(LIVE, last_seq=9)], now=51.0, all_heard=True)

    assert outboxes.told() == (generation, (replace(LIVE, since=50.0, last_seq=9),))


def test_an_outbox_that_nobody_reports_is_missing_with_its_last_number(tmp_path: Path) -> None:
    outboxes = ledger(tmp_path)
    outboxes.hear([LIVE], now=50.0, all_heard=True)
    outboxes.hear([], now=60.0, all_heard=False)
    assert outboxes.told()[1][0].state is OutboxState.LIVE  # not everybody was asked yet

    outboxes.hear([], now=61.0, all_heard=True)
    outboxes.hear([], now=62.0, all_heard=True)
    assert outboxes.told()[1] == (OutboxPlace("one", "a", OutboxState.MISSING, 61.0, 7),)


def test_an_outbox_that_is_there_without_a_feed_is_missing(tmp_path: Path) -> None:
    outboxes = ledger(tmp_path)
    outboxes.hear([replace(LIVE, endpoint="")], now=50.0, all_heard=True)

    assert outboxes.told()[1] == (OutboxPlace("one", "a", OutboxState.MISSING, 50.0, 7),)


def test_of_two_words_on_one_outbox_that_of_who_serves_it_counts(tmp_path: Path) -> None:
    outboxes = ledger(tmp_path)
    elsewhere = replace(LIVE, state=OutboxState.MISSING, endpoint="", last_seq=99)
    for words in ([LIVE, elsewhere], [elsewhere, LIVE]):
        outboxes.hear(words, now=50.0, all_heard=True)

        assert outboxes.told()[1][0].endpoint == "tcp://a:8550"


def test_a_missing_outbox_is_still_missing_after_a_restart(tmp_path: Path) -> None:
    outboxes = ledger(tmp_path)
    outboxes.hear([LIVE], now=50.0, all_heard=True)
    outboxes.hear([], now=60.0, all_heard=True)
    outboxes.save()
    again = ledger(tmp_path)

    assert again.told()[1] == outboxes.told()[1]
    assert again.told()[0] > outboxes.told()[0]


def test_new_alerts_alone_are_written_now_and_then(tmp_path: Path) -> None:
    clock = Clock()
    outboxes = ledger(tmp_path, clock)
    outboxes.hear([LIVE], now=50.0, all_heard=True)
    outboxes.save()
    outboxes.hear([replace(LIVE, last_seq=8)], now=51.0, all_heard=True)
    outboxes.save()

    def written() -> int:
        (one,) = json.loads((tmp_path / "outboxes.json").read_text())["outboxes"]
        return int(one["last_seq"])

    assert written() == 7
    clock.now += LAST_SEQ_EVERY
    outboxes.save()
    assert written() == 8


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    clock = Clock()
    outboxes = ledger(tmp_path, clock)
    (tmp_path / "outboxes.json").mkdir()
    outboxes.hear([LIVE], now=50.0, all_heard=True)
    outboxes.save()
    assert "outboxes.json: cannot be" in outboxes.problem

    (tmp_path / "outboxes.json").rmdir()
    clock.now += 2
    outboxes.save()
    assert outboxes.problem == ""
    assert [each.id for each in ledger(tmp_path).told()[1]] == ["one"]


def test_only_a_missing_outbox_can_be_forgotten(tmp_path: Path) -> None:
    outboxes = ledger(tmp_path)
    outboxes.hear([LIVE], now=50.0, all_heard=True)
    with pytest.raises(UsageError, match="'two' was ever heard of"):
        outboxes.forget("two")
    with pytest.raises(UsageError, match="is live on a"):
        outboxes.forget("one")

    outboxes.hear([], now=60.0, all_heard=True)
    outboxes.forget("one")
    outboxes.save()
    assert ledger(tmp_path).told()[1] == ()
