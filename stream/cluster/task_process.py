"""Runs a task on its node: a folder of its own, the command in a process of its own, what it says handed on.

The process is what a user would have started there. It ends with the program that watches it, whatever ends that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from stream import __version__
from stream.cluster.station_setting import NODE_FOLDER
from stream.cluster.tasks import FOLDER, Outcome, SharedFolder, Task
from stream.lockfile import Taken, take
from stream.redact import redact_text

TELL_EVERY = 1.0
"""Seconds between two words of a task about how far it is."""

END_WITHIN = 8.0
"""Seconds that a command has for its end when its task is cancelled."""

KEPT = "kept"
"""File in a task's folder that stays after a failure because there is something in it that took long."""

_LOCK = "task.lock"
_MOST_LINE = 1 << 20  # bytes of a line that are read
_MOST_SAID = 200  # lines for people that are kept
_TAIL = 20  # lines of complaints that are shown where it fails
_MOST_ERROR = 3000  # characters of them

Tell = Callable[[Mapping[str, Any]], None]


def carry_out(
    task: Task,
    environment: Mapping[str, str],
    *,
    node: str,
    tell: Tell,
    clock: Callable[[], float] = time.monotonic,
    program: tuple[str, ...] = (sys.executable, "-m", "stream"),
) -> Outcome:
    """Runs a task to its end. Whatever a command does, this returns how it ended.

    Args:
        task: see there.
        environment: more variables of its process.
        node: name of this machine.
        tell: told how far it is, about once a second.
        clock: monotonic seconds.
        program: what runs the words of a task.
    """
    if task.version != __version__:
        here = f"{node} has spade-stream {__version__}, and this command is of {task.version or 'an older one'}"
        return Outcome(2, node, error=f"{here}: install the same on all machines")
    if task.shared is not None and not _sees(task.shared):
        shared = task.shared
        return Outcome(2, node, error=f"{shared.path} is not the same folder on {node}. {shared.remedy}")
    try:
        with _folder(task, os.environ.get(NODE_FOLDER) or task.place) as folder:
            found = _Run(task, environment, folder, program, _seldom(tell, clock)).outcome(node)
            return found if found.code == 0 else _kept(task, folder, found)
    except OSError as error:
        what = error.filename or "the task's folder"
        return Outcome(1, node, error=f"{node}: {what}: {error.strerror or error}")


def _sees(shared: SharedFolder) -> bool:
    with suppress(OSError):  # it may not be looked into
        return Path(shared.path, shared.mark).exists()
    return False


@contextmanager
def _folder(task: Task, place: str | None) -> Iterator[Path]:
    """A new folder with the files of the task; afterwards it is gone, unless it is to be kept."""
    root = Path(tempfile.gettempdir())
    if place is not None:
        root = Path(place) / "tasks"
        for made in (root.parent, root):  # that of the node's workers, too: it must not be open if it is made here
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(root)
    folder = Path(tempfile.mkdtemp(prefix="spade-task-", dir=root)).resolve()
    lock = take(folder / _LOCK)
    try:
        for name, content in task.files.items():
            (folder / name).touch(mode=0o600)  # some write a camera's password in their configuration
            (folder / name).write_text(content.replace(FOLDER, str(folder)), encoding="utf-8")
        yield folder
    finally:
        if not (folder / KEPT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(root: Path) -> None:
    """Removes folders of tasks that were killed. In a folder for temporary files there may be other users' ones."""
    for left in root.glob("spade-task-*"):
        with suppress(Taken, OSError):
            if left.lstat().st_uid != os.getuid() or (left / KEPT).exists() or not (left / _LOCK).exists():
                continue
            lock = take(left / _LOCK)
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _kept(task: Task, folder: Path, found: Outcome) -> Outcome:
    """A failure after the long part of the work was done: that is kept, and where it is belongs to the reason."""
    if task.keeps is None or not (folder / task.keeps).exists():
        return found
    (folder / KEPT).touch()
    error = f"{found.error.rstrip('. ')}. What was made is kept on {found.node} in {folder}"
    return Outcome(found.code, found.node, found.said, found.result, error)


class _Run:
    """One process, listened to until its end."""

    def __init__(
        self, task: Task, environment: Mapping[str, str], folder: Path, program: tuple[str, ...], tell: Tell
    ) -> None:
        self._tell, self._hidden = tell, tuple(value for value in environment.values() if value)
        self._said: deque[str] = deque(maxlen=_MOST_SAID)
        self._result: Mapping[str, Any] | None = None
        words = (word.replace(FOLDER, str(folder)) for word in task.words)
        self._process = subprocess.Popen(
            [*program, *words, "--supervisor", str(os.getpid())],  # it ends when this process is gone
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def outcome(self, node: str) -> Outcome:
        """Waits for its end. Ends it where this thread is interrupted."""
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        tail = _Tail(process.stderr)
        try:
            with process.stdout as stream:
                for line in iter(lambda: stream.readline(_MOST_LINE), b""):
                    self._hear(line)
            code = process.wait()
        finally:
            _end(process)
        said = tuple(redact_text(line, self._hidden) for line in self._said)
        if code == 0:
            return Outcome(0, node, said, self._result)
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        error = redact_text(tail.text(), self._hidden) or f"the command failed: {how}"
        return Outcome(code if code > 0 else 1, node, said, self._result, error)

    def _hear(self, line: bytes) -> None:
        try:
            heard = json.loads(line)
        except (ValueError, RecursionError):
            heard = None
        if isinstance(heard, dict) and isinstance(heard.get("progress"), dict):
            self._tell(heard["progress"])
        elif isinstance(heard, dict) and isinstance(heard.get("result"), dict):
            self._result = heard["result"]
        else:
            self._said.append(line.decode("utf-8", "replace").rstrip()[:_MOST_ERROR])


def _seldom(tell: Tell, clock: Callable[[], float]) -> Tell:
    """Hands on the first word of each stage, and then one a second."""
    stage, due = None, 0.0

    def seldom(step: Mapping[str, Any]) -> None:
        nonlocal stage, due
        if step.get("stage") != stage or clock() >= due:
            stage, due = step.get("stage"), clock() + TELL_EVERY
            tell(step)

    return seldom


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and kills it where it does not."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Tail:
    """Reads what a process complains about, and keeps the end of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: deque[bytes] = deque(maxlen=_TAIL)
        self._stream = stream
        self._thread = threading.Thread(target=self._read, name="task's errors", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The message that the command ended with, or else its last lines."""
        self._thread.join(2.0)
        whole = b"".join(self._lines).decode("utf-8", "replace")
        _, mark, message = whole.rpartition("spade-stream: ")
        return (message if mark else whole).strip()[-_MOST_ERROR:]

    def _read(self) -> None:
        with self._stream:
            for line in iter(lambda: self._stream.readline(4096), b""):
                self._lines.append(line)
