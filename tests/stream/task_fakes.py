"""A runner of tasks without a cluster: each command runs in this process, one after the other, when it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from spade_core.errors import SpadeError
from stream import cli
from stream.cluster.tasks import FOLDER, Outcome, Progress, Task
from stream.errors import StreamError
from stream.stopping import StopSignal

GO = StopSignal(getppid=lambda: 1)


class InProcess:
    """See :class:`stream.cluster.tasks.Runner`.

    Args:
        folder: for the folders of tasks.
        lost: tasks whose nodes die whenever they are tried.
    """

    def __init__(self, folder: Path, *, lost: Sequence[str] = ()) -> None:
        self._folder, self._lost = folder, lost
        self.tasks: list[Task] = []
        self.environment: Mapping[str, Mapping[str, str]] = {}
        self.told: dict[str, list[str]] = {}  # stages, by task
        self.cancelled = False
        self._done = 0

    def start(self, tasks: Sequence[Task], environment: Mapping[str, Mapping[str, str]]) -> None:
        self.tasks, self.environment = list(tasks), environment

    def ended(self) -> Mapping[str, Outcome]:
        """The next one, backwards: what is merged must not hang on who is first."""
        task = self.tasks[-1 - self._done]
        self._done += 1
        if task.name in self._lost:
            return {task.name: Outcome(1, error="its node died")}
        assert task.shared is None or Path(task.shared.path, task.shared.mark).exists()
        return {task.name: self._run(task)}

    def progress(self) -> Mapping[str, Progress]:
        return {}

    def why_waiting(self) -> str:
        return ""

    def cancel(self) -> None:
        self.cancelled = True

    def _run(self, task: Task) -> Outcome:
        task = Task.from_text(task.to_text())  # as it would arrive
        folder = self._folder / task.name
        folder.mkdir(parents=True)
        for name, content in task.files.items():
            (folder / name).write_text(content.replace(FOLDER, str(folder)))
        arguments = cli._parser().parse_args([word.replace(FOLDER, str(folder)) for word in task.words])
        said = StringIO()
        try:
            with redirect_stdout(said), mock.patch.dict(os.environ, self.environment.get(task.name, {})):
                code = arguments.run(arguments, GO)
        except (StreamError, SpadeError) as error:
            return Outcome(1, "node", error=str(error))
        return Outcome.from_text(self._outcome(task.name, code, said.getvalue().splitlines()).to_text())

    def _outcome(self, name: str, code: int, lines: Sequence[str]) -> Outcome:
        heard = [json.loads(line) for line in lines if line.startswith("{")]
        self.told[name] = [each["progress"]["stage"] for each in heard if "progress" in each]
        result = [each["result"] for each in heard if "result" in each][-1]
        return Outcome(code, "node", tuple(line for line in lines if not line.startswith("{")), result)
