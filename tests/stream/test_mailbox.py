"""The mailbox: live keeps the newest frame and counts the rest, replay keeps every frame."""

from __future__ import annotations

import select
import threading

from pipeline_fakes import PATIENCE_S, grey, wait_until

from stream.mailbox import Captured, Mailbox
from stream.messages import Mode
from stream.sources.base import SourceFrame


def a_frame(index: int) -> Captured:
    return Captured(SourceFrame(index, index / 10, grey(index)), 1000.0 + index / 10, index / 10)


def taken(mailbox: Mailbox) -> int | None:
    captured = mailbox.take()
    return None if captured is None else captured.frame.index


def readable(mailbox: Mailbox) -> bool:
    return bool(select.select([mailbox.wake_fd], [], [], 0)[0])


def test_a_new_mailbox_is_empty() -> None:
    mailbox = Mailbox(Mode.LIVE)

    assert (mailbox.empty, mailbox.take(), mailbox.drops, readable(mailbox)) == (True, None, {}, False)


def test_a_frame_can_be_taken_once() -> None:
    mailbox = Mailbox(Mode.REPLAY)
    mailbox.put(a_frame(3))

    assert not mailbox.empty
    assert (taken(mailbox), taken(mailbox)) == (3, None)
    assert mailbox.empty


def test_live_the_newest_frame_wins_and_each_loss_is_counted() -> None:
    mailbox = Mailbox(Mode.LIVE)
    for index in range(4):
        mailbox.put(a_frame(index))

    assert taken(mailbox) == 3
    assert mailbox.drops == {"reader.overwritten": 3}


def test_a_frame_that_was_taken_in_time_is_no_loss() -> None:
    mailbox = Mailbox(Mode.LIVE)
    for index in range(3):
        mailbox.put(a_frame(index))
        assert taken(mailbox) == index

    assert mailbox.drops == {}


def test_replay_the_writer_waits_and_nothing_is_lost() -> None:
    mailbox, found = Mailbox(Mode.REPLAY), []
    writer = threading.Thread(target=lambda: [mailbox.put(a_frame(index)) for index in range(20)], daemon=True)
    writer.start()

    def take() -> None:
        index = taken(mailbox)
        if index is not None:
            found.append(index)

    wait_until(lambda: len(found) == 20, step=take)
    writer.join(PATIENCE_S)
    assert found == list(range(20))
    assert mailbox.drops == {}


def test_closing_lets_a_waiting_writer_go_and_counts_its_frame() -> None:
    mailbox = Mailbox(Mode.REPLAY)
    mailbox.put(a_frame(0))
    writer = threading.Thread(target=mailbox.put, args=(a_frame(1),), daemon=True)
    writer.start()
    mailbox.close()
    writer.join(PATIENCE_S)

    assert not writer.is_alive()
    assert taken(mailbox) == 0, "what waited may still be taken"
    assert mailbox.drops == {"reader.stopped": 1}


def test_after_closing_nothing_comes_in() -> None:
    mailbox = Mailbox(Mode.LIVE)
    mailbox.close()
    mailbox.put(a_frame(0))

    assert mailbox.empty
    assert mailbox.drops == {"reader.stopped": 1}


def test_drops_are_counted_by_reason() -> None:
    mailbox = Mailbox(Mode.LIVE)
    for reason in ("reader.sampled_out", "reader.sampled_out", "reader.stopped"):
        mailbox.count_drop(reason)

    assert mailbox.drops == {"reader.sampled_out": 2, "reader.stopped": 1}


def test_drops_handed_out_do_not_change_any_more() -> None:
    mailbox = Mailbox(Mode.LIVE)
    before = mailbox.drops
    mailbox.count_drop("reader.stopped")

    assert before == {}


def test_a_frame_wakes_the_reader_until_it_says_that_it_is_awake() -> None:
    mailbox = Mailbox(Mode.LIVE)
    mailbox.put(a_frame(0))
    assert readable(mailbox)

    mailbox.clear_wake()
    assert not readable(mailbox)


def test_closing_wakes_the_reader() -> None:
    mailbox = Mailbox(Mode.LIVE)
    mailbox.close()

    assert readable(mailbox)


def test_waking_somebody_who_never_listens_does_not_block() -> None:
    mailbox = Mailbox(Mode.LIVE)
    for _ in range(100_000):  # far more than a socket's buffer holds
        mailbox.wake()

    mailbox.clear_wake()
    assert not readable(mailbox)
