"""Starts the command line in processes of its own, as users do, and looks at what they leave behind."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

BOUND = 240.0
"""Seconds after which something that is waited for counts as never happening: a busy machine is slow, not wrong."""

LEAST = {"method": {"size": 128}, "console": {"enabled": False}}
"""Sections of every configuration here: a quarter of the pixels, because these tests are not about how well it
scores; no console, because two of them would want the same port.
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> str:
        """What to show where a test fails."""
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def spade(*words: str | Path, environment: Mapping[str, str] | None = None, bound: float = BOUND) -> Finished:
    """Runs ``spade-stream WORDS`` to its end."""
    done = subprocess.run(
        _command(words),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=bound,
        env={**os.environ, **(environment or {})},
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def wait_until(condition: Callable[[], T], what: str, *, seconds: float = BOUND) -> T:
    """Asks again and again until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"this did not happen: {what}"
        time.sleep(0.05)
    return answer


class Program:
    """A program that goes on until it is stopped; what it prints is kept in a folder."""

    def __init__(self, folder: Path, words: Sequence[str | Path]) -> None:
        self.name = str(words[0])
        self._out, self._err = folder / f"{self.name}.out", folder / f"{self.name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(_command(words), stdout=out, stderr=err, stdin=subprocess.DEVNULL)

    @property
    def out(self) -> str:
        """Standard output so far, whole lines only."""
        text = self._out.read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1]

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text(encoding="utf-8")

    def until(self, condition: Callable[[], T], what: str) -> T:
        """Waits for a condition; fails at once if the program ends before."""

        def alive_or_true() -> T:
            ended = self.process.poll() is not None  # asked first: what it did last counts
            answer = condition()
            assert answer or not ended, f"{self.name} ended before this happened: {what}\n{self.finished().report}"
            return answer

        try:
            return wait_until(alive_or_true, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- stderr of {self.name}\n{self.err[-4000:]}") from None

    def finished(self) -> Finished:
        """Waits for its end."""
        code = self.process.wait(BOUND)
        return Finished(code, self._out.read_text(encoding="utf-8"), self.err)

    def stop(self) -> Finished:
        """Asks it to end (SIGTERM) and waits for that."""
        self.process.send_signal(signal.SIGTERM)
        return self.finished()


@contextmanager
def started(folder: Path, *words: str | Path) -> Iterator[Program]:
    """A program that runs within the block, and surely not after it."""
    program = Program(folder, words)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.send_signal(signal.SIGTERM)
            try:
                program.process.wait(60)
            except subprocess.TimeoutExpired:
                program.process.kill()  # its children see that it is gone, and end
                program.process.wait()


def write_config(folder: Path, cameras: Sequence[Mapping[str, Any]], **sections: Any) -> Path:
    """Writes ``site.yaml``; ``sections`` are added to LEAST, and a feed of its own unless they name one."""
    feed = {"endpoint": f"tcp://127.0.0.1:{free_port()}"}
    data = {"cameras": [dict(camera) for camera in cameras], **LEAST, "feed": feed, **sections}
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def free_port() -> int:
    """A TCP port on the loopback interface that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(feed: str) -> dict[str, Any] | None:
    """What ``status --json`` prints; None while there is no feed that answers."""
    answer = spade("status", "--connect", feed, "--json")
    return dict(json.loads(answer.out)) if answer.out else None


def camera_status(feed: str, camera: str) -> dict[str, Any]:
    """The same for one camera; empty where nothing is known."""
    return dict(((status(feed) or {}).get("cameras") or {}).get(camera) or {})


def json_lines(text: str) -> list[dict[str, Any]]:
    """One object a line."""
    return [json.loads(line) for line in text.splitlines()]


def score_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a scores CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def logged_rows(folder: Path) -> list[dict[str, str]]:
    """Rows of a camera's score log, over all its days: a test may run at midnight."""
    return [row for path in sorted(folder.glob("*.csv")) for row in score_rows(path)]


def versions(gallery: Path) -> list[str]:
    """What a gallery folder holds, less the lock of whoever last wrote to it."""
    return sorted(path.name for path in gallery.iterdir() if path.name != ".lock")


def assert_clean_failure(done: Finished, code: int, *words: str) -> None:
    """It failed with this exit code, and the message on stderr holds these words and no traceback."""
    assert done.code == code, done.report
    assert "Traceback" not in done.err, done.report
    message = done.err[done.err.find("spade-stream: ") :]
    assert message.startswith("spade-stream: "), done.report
    for word in words:
        assert word in message, done.report


def is_running(pid: int) -> bool:
    """Whether a process exists; one that has ended and that nobody has asked about yet does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(words: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", "stream", *map(str, words)]
