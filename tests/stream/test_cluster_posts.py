"""How one station is asked, told, given up and started again."""

from __future__ import annotations

from cluster_fakes import Disk, FakeReaders, FakeWorker, Time

from stream.cluster.model import StationState, WorkerOrders, WorkerReport
from stream.cluster.posts import KILL_AFTER, LATE, Post
from stream.errors import StationLost


class Desk:
    """One post, gone round four times a second."""

    def __init__(self, worker: FakeWorker | None = None) -> None:
        self.time = worker.time if worker else Time()
        self.worker = worker or FakeWorker("worker:1:0", Disk("a"), self.time)
        self.starts = 0
        self.post = Post(self.start, WorkerReport.from_text, patience=4.0, now=self.time.now, wall=self.time.wall)

    def start(self) -> FakeWorker:
        self.starts += 1
        if self.worker.mode == "dead":
            raise StationLost("no room on its node", dead=True)
        self.worker.open_calls = 0
        return self.worker

    def run(self, seconds: float) -> Desk:
        for _ in range(round(seconds / 0.25)):
            self.time.now += 0.25
            self.post.collect(self.time.now)
            self.post.send(self.time.now)
        return self

    def order(self, generation: int) -> None:
        self.post.orders = generation, WorkerOrders(generation, ("cam",)).to_text()


def test_a_station_is_asked_about_once_a_second_and_more_often_while_somebody_waits() -> None:
    desk = Desk().run(10)
    assert 7 <= len(desk.worker.asked) <= 11

    desk.post.eager = True
    before = len(desk.worker.asked)
    desk.run(10)
    assert len(desk.worker.asked) - before >= 20


def test_orders_are_sent_until_its_report_says_that_it_has_them() -> None:
    desk = Desk().run(1)
    desk.order(5)
    assert not desk.post.took_orders
    desk.run(1)

    assert desk.post.took_orders
    assert desk.worker.asked.count("order") == 1
    desk.worker.orders = WorkerOrders(0)  # it was started again without anybody's noticing
    desk.run(2)
    assert desk.worker.orders.cameras == ("cam",)


def test_what_it_cannot_do_is_said_and_tried_again_and_it_still_answers() -> None:
    desk = Desk().run(1)
    desk.worker.refuses = "order"
    desk.order(5)
    desk.run(10)

    assert desk.post.answering
    assert "failed: no order" in desk.post.problem
    assert 4 <= desk.worker.asked.count("order") <= 6
    desk.worker.refuses = ""
    desk.run(3)
    assert desk.post.problem == ""


def test_one_that_never_began_is_a_problem_after_a_while_and_is_not_killed() -> None:
    time = Time()
    desk = Desk(FakeWorker("worker:1:0", Disk("a"), time, mode="hangs")).run(LATE - 1)
    assert desk.post.problem == ""
    desk.run(KILL_AFTER + 30)

    assert desk.post.state is StationState.STARTING
    assert "something else may have its cores or GPUs" in desk.post.problem
    assert desk.worker.mode == "hangs"
    assert desk.starts == 1


def test_one_that_cannot_be_reached_is_silent_at_once_and_not_started_again() -> None:
    desk = Desk().run(2)
    desk.worker.mode = "unavailable"
    desk.run(1.5)

    assert desk.post.state is StationState.SILENT
    assert not desk.post.answering
    assert desk.post.problem == "is SILENT: worker:1:0 cannot be reached"
    assert desk.starts == 1
    desk.worker.mode = "answers"
    desk.run(1)
    assert desk.post.answering


def test_one_that_cannot_be_started_is_tried_again_ever_more_seldom() -> None:
    time = Time()
    desk = Desk(FakeWorker("worker:1:0", Disk("a"), time, mode="dead")).run(60)

    assert desk.post.state is StationState.GONE
    assert desk.post.reason == "no room on its node"
    assert desk.starts == 6  # at 0, 1, 3, 7, 15 and 31 s


def test_the_text_of_a_question_is_in_no_repr() -> None:
    desk = Desk().run(1)
    desk.post.configuration = "password"
    desk.worker.mode = "hangs"
    desk.run(1)

    assert "password" not in repr(vars(desk.post)["_question"])


def test_a_readers_station_is_asked_in_the_same_way() -> None:
    from stream.cluster.model import ReaderReport

    time = Time()
    readers = FakeReaders("readers:1", Disk("a"), time)
    post = Post(lambda: readers, ReaderReport.from_text, patience=4.0, now=time.now, wall=time.wall)
    post.send(time.now)
    post.collect(time.now)

    assert post.report is not None
    assert post.report.station == "a:readers"


def test_one_that_is_wanted_again_while_it_leaves_is_started_anew() -> None:
    desk = Desk().run(1)
    desk.post.leave(desk.time.now)
    desk.run(2)
    assert desk.worker.draining
    drained = desk.worker
    desk.worker = FakeWorker("worker:1:0", Disk("a"), desk.time)
    desk.post.leave(None)
    desk.run(3)

    assert (drained.mode, desk.starts) == ("dead", 2)
    assert (desk.post.answering, desk.post.state) == (True, StationState.RUNNING)
