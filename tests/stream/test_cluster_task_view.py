"""How far all tasks are, for whoever looks."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import pytest

from stream.cluster.task_view import BarView, JsonView, LineView, view_of
from stream.cluster.tasks import Outcome, Progress, Task

TASKS = [Task(name, ()) for name in ("gate", "yard", "door")]
RUNNING = Progress("running", "n1", 1, "watch", 5, 10)


@dataclass
class Clock:
    now: float = 0.0
    said: list[str] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def view(clock: Clock) -> LineView:
    return LineView(clock.said.append, clock=clock)


def test_a_log_has_a_line_for_each_beginning_and_end(view: LineView, clock: Clock) -> None:
    view.show(TASKS, {"gate": RUNNING}, {}, "")
    view.show(TASKS, {"gate": RUNNING}, {"gate": Outcome(0), "yard": Outcome(1)}, "")
    view.show(TASKS, {"gate": RUNNING}, {"gate": Outcome(0), "yard": Outcome(1)}, "")

    assert clock.said[0] == "gate: begins on n1"
    assert sorted(clock.said[1:]) == ["gate: done", "yard: failed"]


def test_a_log_says_that_a_node_died(view: LineView, clock: Clock) -> None:
    view.show(TASKS, {"gate": RUNNING}, {}, "")
    view.show(TASKS, {"gate": Progress("running", "n2", 2)}, {}, "")

    assert clock.said[-1] == "gate: begins on n2 again: its node, or its process there, died"


def test_a_log_says_now_and_then_how_far_all_are(view: LineView, clock: Clock) -> None:
    view.show(TASKS, {"gate": RUNNING}, {"yard": Outcome(1)}, "")
    clock.now = 15.0
    view.show(TASKS, {"gate": RUNNING}, {"yard": Outcome(1)}, "")
    view.show(TASKS, {"gate": RUNNING}, {"yard": Outcome(1)}, "")

    assert clock.said[2:] == ["1 of 3 ended, 1 running, 1 waiting, 1 failed; gate: watch 50 % on n1"]


def test_a_log_says_once_why_nothing_begins(view: LineView, clock: Clock) -> None:
    for clock.now in (0.0, 4.0, 5.0, 6.0):
        view.show(TASKS, {}, {}, "no node has room")

    assert clock.said == ["no node has room"]


def test_a_program_gets_one_json_line_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    JsonView().show(TASKS, {"gate": RUNNING}, {"yard": Outcome(0)}, "")

    told = json.loads(capsys.readouterr().out)["progress"]
    assert told == {"stage": "tasks", "done": 1, "total": 3, "text": "1 of 3 ended, 1 running, 1 waiting"}


def test_a_terminal_has_a_bar_for_each_running_task(view: LineView) -> None:
    out = io.StringIO()
    bars = BarView(out)
    bars.show(TASKS, {"gate": RUNNING, "yard": RUNNING}, {}, "")
    bars.show(TASKS, {"gate": RUNNING, "yard": RUNNING, "door": RUNNING}, {"gate": Outcome(0)}, "")
    bars.show(TASKS, {}, {task.name: Outcome(0) for task in TASKS}, "")

    shown = out.getvalue()
    assert "gate:  50%" in shown
    assert "door:  50%" in shown
    assert "3/3" in shown


def test_who_looks_decides_about_the_view() -> None:
    assert isinstance(view_of("json"), JsonView)
    assert isinstance(view_of("bar", out=io.StringIO()), LineView)
