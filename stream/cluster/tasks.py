"""Long work that is cut into tasks for the nodes of a cluster: what a task is, how far all are, what came of each.

A task is a command of ours, which a node runs in a process of its own, exactly as a user would there. Knows nothing of
Ray: whoever starts tasks on nodes is a :class:`Runner`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from stream import __version__
from stream.cluster.model import MAX_MANY, MAX_NAME, MAX_WORDS
from stream.errors import StreamError
from stream.fields import as_object, listed, number, read_object, text, whole
from stream.stopping import StopSignal

FOLDER = "@task-folder@"
"""Stands in the words and files of a task for the folder that its node gives it."""

LOOK_EVERY = 0.25
"""Seconds between two looks at how far tasks are."""

MOST_FILE = 1 << 24
"""Characters of a file of a task: a configuration of thousands of scenes."""

State = Literal["waiting", "running", "left"]
"""Of a task; ``left``: it has left its node, and its outcome is on its way."""

_STATES: Mapping[str, State] = {"waiting": "waiting", "running": "running", "left": "left"}


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that has to be the same one on the node. The file with this mark is put into it for as long as tasks
    run: without it results would end on the node's own disk, and nobody would find them."""

    path: str  # absolute
    mark: str  # name of the file
    remedy: str  # what to do where it is missing


@dataclass(frozen=True, slots=True)
class Task:
    """One command that a node is to run."""

    name: str  # for people; no two tasks have the same
    words: tuple[str, ...]  # of the command, without the program; holds no secret
    files: Mapping[str, str] = field(default_factory=dict)  # written into its folder first: name -> text; no secret
    network: str | None = None  # camera network that its node has to reach; None: any node
    shared: SharedFolder | None = None  # checked before anything is done
    place: str | None = None  # folder on the node in which it gets its own; None: that for temporary files
    keeps: str | None = None  # file of its folder that shows that something is there which a failure must not delete
    version: str = __version__  # of the program that hands it out: another one may come to other results

    def to_text(self) -> str:
        """As it travels."""
        shared = self.shared
        return json.dumps(
            {
                "name": self.name,
                "words": list(self.words),
                "files": dict(self.files),
                "network": self.network,
                "shared": None if shared is None else [shared.path, shared.mark, shared.remedy],
                "place": self.place,
                "keeps": self.keeps,
                "version": self.version,
            }
        )

    @classmethod
    def from_text(cls, data: str) -> Task:
        """Raises ValueError where it is not well formed."""
        fields = read_object(data.encode())
        files = as_object(fields.get("files"), "files")
        shared = None if fields.get("shared") is None else _words(fields, "shared", most=MAX_WORDS)
        return cls(
            text(fields, "name", most=MAX_NAME),
            _words(fields, "words", most=MAX_WORDS),
            {name: text(files, name, most=MOST_FILE) for name in files},
            _optional(fields, "network"),
            None if shared is None else SharedFolder(*shared),
            _optional(fields, "place"),
            _optional(fields, "keeps"),
            text(fields, "version", most=MAX_NAME) if "version" in fields else "",
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    code: int  # of the command; 0 = it did what it was asked for
    node: str = ""  # where that was
    said: tuple[str, ...] = ()  # lines for people
    result: Mapping[str, Any] | None = None  # as the command told it at its end
    error: str = ""  # why it failed, in words; without secrets

    def to_text(self) -> str:
        """As it travels."""
        result = None if self.result is None else dict(self.result)
        return json.dumps(
            {"code": self.code, "node": self.node, "said": list(self.said), "result": result, "error": self.error}
        )

    @classmethod
    def from_text(cls, data: str) -> Outcome:
        """Raises ValueError where it is not well formed."""
        fields = read_object(data.encode())
        return cls(
            int(number(fields, "code")),
            text(fields, "node", most=MAX_NAME),
            _words(fields, "said", most=MAX_WORDS),
            None if fields.get("result") is None else as_object(fields.get("result"), "result"),
            text(fields, "error", most=MAX_WORDS),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is."""

    state: State = "waiting"
    node: str = ""  # where it runs
    starts: int = 0  # more than one: before, its nodes or its processes died
    stage: str = ""  # what it is doing, one word
    done: int = 0
    total: int | None = None  # None: not known
    text: str = ""  # the same for people

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "state": self.state,
            "node": self.node,
            "starts": self.starts,
            "stage": self.stage,
            "done": self.done,
            "total": self.total,
            "text": self.text,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        """Raises ValueError where it is not well formed."""
        return cls(
            _STATES.get(text(data, "state", most=MAX_NAME), "waiting"),
            text(data, "node", most=MAX_NAME),
            whole(data, "starts"),
            text(data, "stage", most=MAX_NAME),
            whole(data, "done"),
            None if data.get("total") is None else whole(data, "total"),
            text(data, "text", most=MAX_WORDS),
        )


class Board:
    """Where running tasks say how far they are. Of one thread."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}

    def begin(self, task: str, node: str) -> None:
        """A task begins on a node, perhaps not for the first time."""
        starts = self._progress.get(task, Progress()).starts
        self._progress[task] = Progress("running", node, starts + 1)

    def tell(self, task: str, node: str, step: Mapping[str, Any]) -> None:
        """What a task says: ``stage``, ``done``, ``total``, ``text``. From a node that it has left it means nothing."""
        before = self._progress.get(task)
        if before is None or before.node != node:
            return
        told = Progress.from_json({**before.to_json(), **{name: step.get(name) for name in _STEP}})
        self._progress[task] = replace(told, state="running")

    def leave(self, task: str, node: str) -> None:
        """A task has left a node, and its folder and process there are gone."""
        before = self._progress.get(task)
        if before is not None and before.node == node:
            self._progress[task] = replace(before, state="left")

    def to_text(self) -> str:
        """As it travels; tasks that have not begun are not in it."""
        return json.dumps({task: progress.to_json() for task, progress in self._progress.items()})


_STEP = ("stage", "done", "total", "text")


def board_from_text(data: str) -> dict[str, Progress]:
    """What a board says, by task. Raises ValueError where it is not well formed."""
    fields = read_object(data.encode())
    return {task: Progress.from_json(as_object(fields.get(task), "progress")) for task in fields}


class Runner(Protocol):
    """What starts tasks on nodes. None of its functions waits for a task."""

    def start(self, tasks: Sequence[Task], environment: Mapping[str, Mapping[str, str]]) -> None:
        """Hands out all tasks; each begins when a node has room.

        Args:
            tasks: see there.
            environment: of each task by name, variables for its process only. They may be secrets, and are written
                nowhere.
        """
        ...

    def ended(self) -> Mapping[str, Outcome]:
        """Tasks that have ended since it was asked last."""
        ...

    def progress(self) -> Mapping[str, Progress]:
        """How far tasks are; those that have not begun may be missing."""
        ...

    def why_waiting(self) -> str:
        """What those that have not begun wait for."""
        ...

    def cancel(self) -> None:
        """Ends what runs, and waits for that for some seconds."""
        ...


class View(Protocol):
    """Who is shown how far it is."""

    def show(
        self, tasks: Sequence[Task], progress: Mapping[str, Progress], ended: Mapping[str, Outcome], waiting: str
    ) -> None:
        """Called a few times a second, and once at the end."""
        ...


def run_tasks(
    tasks: Sequence[Task],
    runner: Runner,
    *,
    view: View,
    stop: StopSignal,
    environment: Mapping[str, Mapping[str, str]],
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Outcome]:
    """Runs all tasks, each whatever becomes of the others, and returns what came of each, in their order.

    Args:
        tasks: see there.
        runner: starts them.
        view: shows them.
        stop: polled; True ends those that run.
        environment: see :meth:`Runner.start`.
        sleep: pause, s.

    Raises:
        StreamError: it was told to stop; says what had been done until then.
    """
    found: dict[str, Outcome] = {}
    try:
        runner.start(tasks, environment)
        while len(found) < len(tasks):
            if stop():
                raise StreamError(_stopped(tasks, found))
            found.update(runner.ended())
            view.show(tasks, runner.progress(), found, runner.why_waiting())
            if len(found) < len(tasks):
                sleep(LOOK_EVERY)
    finally:
        if len(found) < len(tasks):
            runner.cancel()
    return {task.name: found[task.name] for task in tasks}


def _stopped(tasks: Sequence[Task], found: Mapping[str, Outcome]) -> str:
    done = [task.name for task in tasks if task.name in found and found[task.name].code == 0]
    words = f"stopped; {len(done)} of {len(tasks)} were done"
    return f"{words}: {', '.join(done)}" if done else words


def _words(fields: Mapping[str, Any], name: str, *, most: int) -> tuple[str, ...]:
    return tuple(text({name: each}, name, most=most) for each in listed(fields, name, most=MAX_MANY))


def _optional(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else text(fields, name, most=MAX_WORDS)
