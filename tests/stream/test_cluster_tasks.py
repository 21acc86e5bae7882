"""Tasks of a cluster: what travels, how far they are, what comes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stream.cluster.enroll_tasks import marked
from stream.cluster.tasks import Board, Outcome, Progress, SharedFolder, Task, board_from_text, run_tasks
from stream.errors import StreamError, UsageError
from stream.stopping import StopSignal


def task(name: str) -> Task:
    return Task(name, ("enroll", "site.yaml"))


class Scripted:
    """A runner that ends tasks in rounds, as told."""

    def __init__(self, *rounds: Mapping[str, Outcome]) -> None:
        self._rounds = list(rounds)
        self.cancelled = 0

    def start(self, tasks: Sequence[Task], environment: Mapping[str, Mapping[str, str]]) -> None: ...

    def ended(self) -> Mapping[str, Outcome]:
        return self._rounds.pop(0) if self._rounds else {}

    def progress(self) -> Mapping[str, Progress]:
        return {"a": Progress("running", "n1", 1, "watch", 1, 2)}

    def why_waiting(self) -> str:
        return "no room"

    def cancel(self) -> None:
        self.cancelled += 1


class Seen:
    """A view that remembers."""

    def __init__(self) -> None:
        self.ended: list[set[str]] = []

    def show(
        self, tasks: Sequence[Task], progress: Mapping[str, Progress], ended: Mapping[str, Outcome], waiting: str
    ) -> None:
        self.ended.append(set(ended))


def run(runner: Scripted, *names: str, view: Seen | None = None, stop: StopSignal | None = None) -> dict[str, Outcome]:
    return run_tasks(
        [task(name) for name in names],
        runner,
        view=view or Seen(),
        stop=stop or StopSignal(),
        environment={},
        sleep=lambda seconds: None,
    )


# --- what travels


def test_a_task_arrives_as_it_was_sent() -> None:
    shared = SharedFolder("/mnt/galleries", ".shared-1", "mount it")
    sent = Task("gate", ("enroll", "é"), {"site.yaml": "cameras: []\n"}, "north", shared, "/var/node", "CURRENT")

    assert Task.from_text(sent.to_text()) == sent
    assert Task.from_text(task("gate").to_text()) == task("gate")


def test_an_outcome_arrives_as_it_was_sent() -> None:
    sent = Outcome(1, "n1", ("line",), {"frames": 7}, "the camera refused the password")

    assert Outcome.from_text(sent.to_text()) == sent


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": 1, "words": [], "files": {}}', '{"name": "a", "files": {}}'])
def test_what_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Task.from_text(text)


# --- the board


def test_the_board_says_how_far_a_task_is_and_where() -> None:
    board = Board()
    board.begin("gate", "n1")
    board.tell("gate", "n1", {"stage": "watch", "done": 5, "total": 10, "text": "half", "coverage": {"x": 1}})

    assert board_from_text(board.to_text()) == {"gate": Progress("running", "n1", 1, "watch", 5, 10, "half")}


def test_a_task_that_begins_anew_counts_its_starts_and_forgets_how_far_it_was() -> None:
    board = Board()
    board.begin("gate", "n1")
    board.tell("gate", "n1", {"stage": "watch", "done": 5, "total": 10, "text": "half"})
    board.begin("gate", "n2")

    assert board_from_text(board.to_text())["gate"] == Progress("running", "n2", 2)


def test_only_the_node_that_has_a_task_can_say_that_it_left() -> None:
    board = Board()
    board.begin("gate", "n1")
    board.begin("gate", "n2")
    board.leave("gate", "n1")
    assert board_from_text(board.to_text())["gate"].state == "running"
    board.leave("gate", "n2")
    assert board_from_text(board.to_text())["gate"].state == "left"


def test_a_node_that_lost_a_task_is_not_heard_about_it_any_more() -> None:
    board = Board()
    board.begin("gate", "n1")
    board.begin("gate", "n2")
    board.tell("gate", "n1", {"stage": "watch", "done": 5, "total": 10, "text": "half"})
    board.tell("attic", "n1", {"stage": "watch", "done": 5, "total": 10, "text": "half"})

    assert board_from_text(board.to_text()) == {"gate": Progress("running", "n2", 2)}


# --- running all of them


def test_outcomes_come_in_the_order_of_the_tasks_and_a_failure_stops_no_other() -> None:
    runner, view = Scripted({"b": Outcome(0)}, {}, {"a": Outcome(1, error="no"), "c": Outcome(0)}), Seen()

    found = run(runner, "a", "b", "c", view=view)

    assert [(name, outcome.code) for name, outcome in found.items()] == [("a", 1), ("b", 0), ("c", 0)]
    assert view.ended == [{"b"}, {"b"}, {"a", "b", "c"}]
    assert runner.cancelled == 0


def test_stopping_cancels_what_runs_and_says_what_was_done() -> None:
    stop = StopSignal()

    class Stopping(Scripted):
        def ended(self) -> Mapping[str, Outcome]:
            stop.ask()
            return {"b": Outcome(0), "c": Outcome(1)}

    runner = Stopping()
    with pytest.raises(StreamError, match="stopped; 1 of 3 were done: b") as raised:
        run(runner, "a", "b", "c", stop=stop)
    assert raised.value.exit_code == 1
    assert runner.cancelled == 1


def test_a_runner_that_breaks_leaves_nothing_running() -> None:
    class Broken(Scripted):
        def ended(self) -> Mapping[str, Outcome]:
            raise OSError("the head is gone")

    runner = Broken()
    with pytest.raises(OSError, match="the head is gone"):
        run(runner, "a")
    assert runner.cancelled == 1


# --- folders that all nodes see


def test_a_shared_folder_has_its_mark_as_long_as_tasks_run(tmp_path: Path) -> None:
    with marked(tmp_path / "galleries", "mount it") as shared:
        assert Path(shared.path, shared.mark).exists()
        assert shared.mark.startswith(".")  # no scene is called so
    assert list((tmp_path / "galleries").iterdir()) == []


def test_a_shared_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"), marked(tmp_path / "file" / "galleries", "mount it"):
        pass
