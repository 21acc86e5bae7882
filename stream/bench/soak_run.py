"""The run that a soak works on: ``spade-stream run`` in a process of its own, and what became of its alerts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stream.bench.soak_accounts import Delivery, Key, deliver, key_of
from stream.bench.soak_subscribers import Recorder
from stream.bench.soak_watch import wait_until
from stream.config import Config
from stream.messages import Alert
from stream.outbox import OutboxReader
from stream.sink_sections import JsonLinesSection

DRAIN_PATIENCE = 30.0
"""Seconds after which a run that does not end is killed."""

SETTLE_PATIENCE = 60.0
"""Seconds that sinks get for what they had not taken when the run ended."""

_PAGE = 500  # alerts read at once


class Run:
    """Starts, watches and ends the run; more than once where it ends by itself.

    Args:
        config: path of the configuration file.
        log: file that gets what all its processes say.
    """

    def __init__(self, config: Path, log: BinaryIO) -> None:
        self._config, self._log = config, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Starts it; returns its process id."""
        self._process = spawn(["run", str(self._config)], self._log)
        return self._process.pid

    def alive(self) -> bool:
        """It runs."""
        return self._process is not None and self._process.poll() is None

    def how_it_ended(self) -> str:
        """In words, for a run that is not alive."""
        code = self._process.poll() if self._process else None
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def drain(self) -> tuple[int | None, float]:
        """SIGTERM; returns its exit code (None: it had to be killed), and the seconds that it took."""
        if self._process is None:
            return None, 0.0
        return end(self._process, DRAIN_PATIENCE)


def spawn(words: Sequence[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    """Starts a command of ours, in a session of its own: Ctrl-C is for the soak, which then ends it in order."""
    command = [sys.executable, "-m", "stream", *words, "--supervisor", str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def end(process: subprocess.Popen[bytes], patience: float) -> tuple[int | None, float]:
    """SIGTERM, SIGKILL after ``patience`` seconds; returns the exit code (None: killed) and the seconds."""
    began = time.monotonic()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        code: int | None = process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = None
    return code, time.monotonic() - began


def committed(config: Config) -> list[Key]:
    """Every alert message in the outbox, in order. Raises OutboxError."""
    with OutboxReader(config.outbox, config.evidence) as outbox:
        return [key_of(alert) for alert in _all(outbox)]


def _all(outbox: OutboxReader) -> Iterator[Alert]:
    seq = 0
    while page := outbox.read_after(seq, limit=_PAGE):
        yield from page
        seq = page[-1].seq


def written(folder: Path) -> list[Key]:
    """What a sink has written into ``folder/alerts.jsonl``; a line that a crash cut short does not count."""
    try:
        lines = (folder / "alerts.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [(alert["seq"], alert["alert_id"], alert["phase"]) for alert in map(json.loads, lines)]


def deliveries(config: Config, path: Path, recorders: Sequence[Recorder], log: BinaryIO) -> list[Delivery]:
    """What everybody got of what was committed, once the run has ended.

    Who has not got everything gets it from a feed that is started again, as with the next run; how much that is, is
    told.

    Args:
        config: of the run.
        path: its file.
        recorders: subscribers of the soak.
        log: for what is started again.
    """
    stored = committed(config)
    sinks = {sink.name: sink.folder for sink in config.sinks if isinstance(sink, JsonLinesSection)}

    def got() -> dict[str, list[Key]]:
        own = {recorder.name: list(recorder.got) for recorder in recorders}
        return {**{name: written(folder) for name, folder in sinks.items()}, **own}

    before = {name: len(keys) for name, keys in got().items()}

    def complete() -> bool:
        return all(set(stored) <= set(keys) for keys in got().values())

    if not complete():
        with _feed_again(path, list(sinks), log):
            wait_until(complete, SETTLE_PATIENCE, look=lambda: None)
    gaps = {recorder.name: recorder.gaps for recorder in recorders}
    return [deliver(name, keys, stored, gaps=gaps.get(name, ()), before=before[name]) for name, keys in got().items()]


@contextmanager
def _feed_again(path: Path, sinks: Sequence[str], log: BinaryIO) -> Iterator[None]:
    started = [spawn(["feed", str(path)], log), *(spawn(["sink", str(path), "--name", name], log) for name in sinks)]
    try:
        yield
    finally:
        for process in reversed(started):
            end(process, DRAIN_PATIENCE)
