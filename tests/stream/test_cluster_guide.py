"""A reader that is led by the directory, with real links and keys: it moves between workers and keeps its count."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from directory_fakes import Campus, Worker, soon
from pipeline_fakes import PATIENCE_S, Clock, GreySource, wait_until

from spade_core.preprocess import Preprocess
from stream import reader
from stream.cluster import guide as guide_module
from stream.cluster.guide import ASK_S, OLDER_S, Guide
from stream.keys import SecretKey
from stream.link import Ended, Joined, Reported
from stream.lookout import Watching
from stream.messages import CameraState, Mode
from stream.reader import Reader, ReaderSettings

SIDE = 32  # pixels of the scoring image


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def campus(tmp_path: Path, stack: ExitStack) -> Campus:
    return Campus(tmp_path / "campus", stack).start()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guide that waits for nothing as long as it does in earnest."""
    monkeypatch.setattr(guide_module, "ASK_S", 0.1)
    monkeypatch.setattr(guide_module, "RETRY_S", 0.3)


def a_worker(name: str, tmp_path: Path, stack: ExitStack, *, lets_in: SecretKey | None) -> Worker:
    worker = Worker(name, tmp_path / name, stack)
    if lets_in is not None:
        worker.let_in(reader=lets_in.public)
    return worker.start()


@pytest.fixture
def old(tmp_path: Path, stack: ExitStack, campus: Campus) -> Worker:
    return a_worker("old", tmp_path, stack, lets_in=campus.gate)


@pytest.fixture
def new(tmp_path: Path, stack: ExitStack, campus: Campus) -> Worker:
    return a_worker("new", tmp_path, stack, lets_in=campus.gate)


class Running:
    """A led reader of camera gate in a thread; each frame waits until the test has asked for it."""

    def __init__(self, campus: Campus, stack: ExitStack, *, mode: Mode, frames: int) -> None:
        self.stop, self.allowed, self._frames = threading.Event(), 0, frames
        settings = ReaderSettings(
            "gate",
            mode,
            fps=None,
            recorded_at=1000.0,
            endless=False,
            preprocess=Preprocess(SIDE),
            watching=Watching(frozen_after=None, obscured_after=None),  # its frames are plain grey
        )
        self.guide = stack.enter_context(Guide(campus.address(campus.gate), camera="gate", mode=mode))
        self.reader = Reader(
            settings,
            endpoint=None,
            open_source=lambda: GreySource(frames, fps=1000, gate=self._wait),
            stopping=self.stop.is_set,
            guide=self.guide,
        )
        self._thread = threading.Thread(target=self.reader.run)
        self._thread.start()
        stack.callback(self.end)

    def _wait(self, index: int) -> None:
        while index >= self.allowed and not self.stop.is_set():
            time.sleep(0.002)

    def allow(self, frames: int) -> None:
        """So many frames of the source may come in all."""
        self.allowed = frames

    def join(self) -> None:
        """To the end of the source."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def end(self) -> None:
        self.stop.set()
        self.join()


# Moving


def ends_with(worker: Worker, number: int) -> bool:
    return worker.numbers[-1:] == [number]


@pytest.mark.usefixtures("hasty")
def test_a_live_reader_that_moves_loses_no_frame_between_two_workers_that_answer(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.LIVE, frames=60)
    for number in range(20):  # one at a time, so that none is overwritten
        running.allow(number + 1)
        soon(partial(ends_with, old, number))
    campus.book.put("gate", new)
    soon(lambda: new.of(Joined))
    for number in range(20, 60):
        running.allow(number + 1)
        soon(partial(ends_with, new, number))
    running.join()

    assert old.numbers + new.numbers == list(range(60))
    assert new.of(Ended) == [Ended("gate", "", {})]


@pytest.mark.usefixtures("hasty")
def test_every_frame_of_a_live_camera_on_the_move_is_scored_or_counted(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.LIVE, frames=400)

    def at_camera_speed() -> None:
        running.allow(running.allowed + 1)
        time.sleep(0.005)

    wait_until(lambda: len(old.numbers) > 20, step=at_camera_speed)
    campus.book.put("gate", new)
    wait_until(lambda: running.allowed >= 400, step=at_camera_speed)
    running.join()

    (end,) = new.of(Ended)
    assert len(old.numbers) + len(new.numbers) + sum(end.drops.values()) == 400
    assert new.numbers[-1] == 399


@pytest.mark.fault(
    "a cluster's worker dies with a camera's frame", "the frame is counted as lost; the next goes to the new worker"
)
@pytest.mark.usefixtures("hasty")
def test_a_frame_that_a_dead_worker_had_is_counted_as_lost_once(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    old.serving = False
    running = Running(campus, stack, mode=Mode.LIVE, frames=3)
    running.allow(1)
    soon(lambda: old.numbers == [0])
    old.kill()
    campus.book.put("gate", new)
    soon(lambda: new.of(Joined))
    running.allow(2)
    soon(lambda: new.numbers == [1])
    running.allow(3)
    running.join()

    assert new.numbers == [1, 2]
    assert new.of(Ended) == [Ended("gate", "", {"link.lost": 1})]


@pytest.mark.fault(
    "a replay's worker dies in a cluster", "what it had not confirmed is sent to the new worker, in order"
)
@pytest.mark.usefixtures("hasty")
def test_a_replay_sends_again_what_the_old_worker_has_not_confirmed(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=9)
    running.allow(3)
    soon(lambda: old.numbers == [0, 1, 2])
    old.confirming = False  # 3, 4 and 5 are taken, and never said to be scored
    running.allow(6)
    soon(lambda: old.numbers == [0, 1, 2, 3, 4, 5])
    old.kill()
    campus.book.put("gate", new)
    running.allow(9)
    running.join()

    assert new.numbers == [3, 4, 5, 6, 7, 8]
    assert new.of(Ended) == [Ended("gate", "", {})]


@pytest.mark.usefixtures("hasty")
def test_a_replay_that_moves_between_workers_that_confirm_has_no_frame_scored_twice(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=200)
    running.allow(100)
    soon(lambda: len(old.numbers) > 10)
    campus.book.put("gate", new)
    soon(lambda: new.of(Joined))
    running.allow(200)
    running.join()

    assert old.numbers + new.numbers == list(range(200))


@pytest.mark.usefixtures("hasty")
def test_a_move_waits_for_what_is_under_way_and_meanwhile_sends_nothing_new(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(guide_module.SETTLE_S, Mode.REPLAY, PATIENCE_S)
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=3)
    old.confirming = False
    running.allow(1)
    soon(lambda: old.numbers == [0])
    campus.book.put("gate", new)
    soon(lambda: running.guide.holding)
    running.allow(3)
    soon(lambda: not running.reader._mailbox.empty)
    assert (old.numbers, new.of(Joined)) == ([0], [])

    old.confirming = True
    running.join()
    assert (old.numbers, new.numbers) == ([0], [1, 2])


@pytest.mark.usefixtures("hasty")
def test_a_new_worker_hears_what_the_camera_is_doing(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.LIVE, frames=5)
    running.allow(1)
    soon(lambda: old.numbers == [0])
    campus.book.put("gate", new)

    soon(lambda: CameraState.LIVE in [reported.event.state for reported in new.of(Reported)])


@pytest.mark.usefixtures("hasty")
def test_the_end_of_a_replay_is_told_to_the_worker_that_it_moved_to(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=2)
    old.serving = False
    running.allow(2)
    soon(lambda: old.numbers == [0])
    old.kill()
    campus.book.put("gate", new)
    running.join()

    assert new.numbers == [0, 1]
    assert new.of(Ended) == [Ended("gate", "", {})]


# Waiting


@pytest.mark.fault(
    "a cluster's directory goes away while cameras are read",
    "readers go on with the last worker, and follow it once it is back",
)
@pytest.mark.usefixtures("hasty")
def test_without_the_directory_a_reader_goes_on_and_follows_it_when_it_returns(
    campus: Campus, stack: ExitStack, old: Worker, new: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=4)
    running.allow(1)
    soon(lambda: old.numbers == [0])
    campus.stop()
    running.allow(2)
    soon(lambda: old.numbers == [0, 1])
    campus.book.put("gate", new)
    campus.start()
    soon(lambda: new.of(Joined))
    running.allow(4)
    running.join()

    assert (old.numbers, new.numbers) == ([0, 1], [2, 3])


@pytest.mark.usefixtures("hasty")
def test_a_camera_that_loses_its_worker_goes_on_there_until_it_has_another(
    campus: Campus, stack: ExitStack, old: Worker
) -> None:
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=2)
    running.allow(1)
    soon(lambda: old.numbers == [0])
    campus.book.put("gate", None, reason="node hall-1 does not answer")
    soon(lambda: "node hall-1 does not answer" in running.guide.words)
    running.allow(2)
    running.join()

    assert old.numbers == [0, 1]


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_does_not_know_the_camera_yet_is_asked_again(
    campus: Campus, stack: ExitStack, old: Worker
) -> None:
    assert old.link is not None
    old.link.admit([])
    campus.book.put("gate", old)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=1)
    running.allow(1)
    time.sleep(0.5)  # it was refused for good, as it were
    old.link.admit(["gate"])
    running.join()

    assert old.numbers == [0]


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_lets_the_key_in_only_later_is_found(campus: Campus, stack: ExitStack, tmp_path: Path) -> None:
    worker = a_worker("late", tmp_path, stack, lets_in=None)
    assert worker.link is not None
    campus.book.put("gate", worker)
    running = Running(campus, stack, mode=Mode.REPLAY, frames=1)
    running.allow(1)
    soon(lambda: worker.link and worker.link.guarded().get("not_let_in"))
    worker.let_in(reader=campus.gate.public)
    running.join()

    assert worker.numbers == [0]


@pytest.mark.usefixtures("hasty")
def test_a_reader_without_a_worker_says_why(
    campus: Campus, stack: ExitStack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ALONE", 0.3)
    campus.book.put("gate", None, reason="no worker has its gallery yet")
    Running(campus, stack, mode=Mode.LIVE, frames=1)

    soon(lambda: "names no worker: no worker has its gallery yet" in caplog.text)


def test_a_reader_without_a_worker_ends_when_it_is_told(campus: Campus, stack: ExitStack) -> None:
    running = Running(campus, stack, mode=Mode.LIVE, frames=1)

    running.end()


# What the guide believes


class Asked:
    """A guide alone, whose time passes when the test says so."""

    def __init__(self, campus: Campus, stack: ExitStack) -> None:
        self.clock, self.campus = Clock(), campus
        self.guide = stack.enter_context(
            Guide(campus.address(campus.gate), camera="gate", mode=Mode.LIVE, clock=self.clock)
        )

    def told(self) -> str:
        """Endpoint of the place that the next question brings; empty: no other than before."""
        before, self.clock.now = self.questions, self.clock.now + ASK_S
        found = []

        def step() -> None:
            if place := self.guide.poll(connected=True):
                found.append(place.endpoint)

        # The answer to the second question comes after that to the first.
        wait_until(lambda: self.questions > before, step=step)
        self.clock.now += ASK_S
        wait_until(lambda: self.questions > before + 1, step=step)
        return found[0] if found else ""

    @property
    def questions(self) -> int:
        time.sleep(0.01)
        return self.campus.counts().get("where", 0)


@pytest.fixture
def asked(campus: Campus, stack: ExitStack) -> Asked:
    return Asked(campus, stack)


def test_a_reader_that_waits_long_for_a_worker_asks_less_often(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    monkeypatch.setattr(asked.guide._client, "ask_place", lambda camera: times.append(asked.clock.now) or True)
    began = asked.clock.now
    for _ in range(100):
        asked.guide.poll(connected=False)
        asked.clock.now += 0.25

    assert sum(at - began < 10 for at in times) == 40  # four times a second
    assert sum(at - began >= 10 for at in times) == 15


def test_the_same_place_is_told_once(asked: Asked, old: Worker) -> None:
    asked.campus.book.put("gate", old)

    assert [asked.told(), asked.told()] == [old.address, ""]


def test_a_place_of_another_generation_that_is_the_same_moves_nobody(asked: Asked, old: Worker) -> None:
    asked.campus.book.put("gate", old)
    asked.told()
    asked.campus.book.put("gate", old)

    assert asked.told() == ""


def test_a_worker_that_was_started_again_elsewhere_is_another_place(asked: Asked, old: Worker) -> None:
    asked.campus.book.put("gate", old)
    asked.told()
    again = replace(asked.campus.book.places["gate"], generation=3, endpoint="tcp://127.0.0.1:9")
    asked.campus.book.places["gate"] = again

    assert asked.told() == "tcp://127.0.0.1:9"


def test_an_older_place_is_believed_only_when_the_directory_stays_with_it(asked: Asked, old: Worker) -> None:
    asked.campus.book.generation = 50
    asked.campus.book.put("gate", old)
    asked.told()
    older = replace(asked.campus.book.places["gate"], generation=3, endpoint="tcp://127.0.0.1:9")
    asked.campus.book.places["gate"] = older

    assert asked.told() == ""
    asked.clock.now += OLDER_S
    assert asked.told() == "tcp://127.0.0.1:9"


@pytest.mark.parametrize("fields", [{"endpoint": "hall-1:8500"}, {"server": "short"}, {"server": ""}])
def test_a_place_that_cannot_be_used_is_said_and_not_gone_to(
    asked: Asked, old: Worker, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    asked.campus.book.put("gate", old)
    asked.campus.book.places["gate"] = replace(asked.campus.book.places["gate"], **fields)

    assert asked.told() == ""
    assert "a place that cannot be used" in caplog.text


def test_a_directory_that_refuses_is_said(campus: Campus, stack: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    guide = stack.enter_context(Guide(campus.address(campus.gate), camera="yard", mode=Mode.LIVE))
    wait_until(lambda: "may not be camera" in guide.words, step=lambda: guide.poll(connected=False))

    assert "may not be camera 'yard'" in caplog.text
