"""How one sink is doing, told in ``STATE/sinks/NAME.json``: written by the runner, read for the feed's status."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stream.durable import safe_name
from stream.health import write_status
from stream.messages import Alert, iso_time
from stream.redact import redact_text

WRITE_EVERY = 2.0
"""Seconds between two writings while only the count of deliveries grows."""

_MOST_ERROR = 500  # characters of an error that are kept


class SinkFacts:
    """What is told of one sink.

    Args:
        path: file that it is told in; its folder is made. None: nowhere.
        kind: type of the sink.
        rejected: asked each time how many alerts lie aside.
        wall: Unix seconds.
        monotonic: clock, s.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        kind: str = "",
        rejected: Callable[[], int] = lambda: 0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._kind, self._rejected = path, kind, rejected
        self._wall, self._monotonic = wall, monotonic
        self._delivered, self._last_seq = 0, 0
        self._last_at: float | None = None
        self._laid_aside = 0
        self._failing_since: float | None = None
        self._error = ""
        self._complaint = ""  # what does not work though alerts may be taken
        self._complaint_since: float | None = None
        self._due, self._dirty = monotonic(), True
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(at_once=True)

    def delivered(self, alert: Alert) -> None:
        """The sink took an alert."""
        self._delivered, self._last_seq, self._last_at = self._delivered + 1, alert.seq, self._wall()
        self.works()

    def laid_aside(self, alert: Alert) -> None:
        """The sink refused an alert for good. It answers, so it does not fail: how many lie aside says it."""
        self._last_seq, self._laid_aside = alert.seq, self._laid_aside + 1
        self._failing_since, self._error = None, ""
        self._write(at_once=True)

    def works(self) -> None:
        """The sink took something."""
        recovered = self._failing_since is not None
        self._failing_since, self._error = None, ""
        self._write(at_once=recovered)

    def failed(self, error: Exception) -> None:
        """The sink took nothing."""
        new = self._failing_since is None
        self._failing_since = self._wall() if self._failing_since is None else self._failing_since
        self._error = redact_text(str(error))[:_MOST_ERROR]
        self._write(at_once=new)

    def complains(self, error: Exception | None) -> None:
        """What of the sink does not work though alerts may be taken; None: nothing. It counts as failing."""
        text = "" if error is None else redact_text(str(error))[:_MOST_ERROR]
        if text == self._complaint:
            return
        self._complaint = text
        self._complaint_since = None if not text else self._complaint_since or self._wall()
        self._write(at_once=True)

    def idle(self) -> None:
        """Nothing happens; what was not written yet is."""
        if self._dirty:
            self._write()

    def to_json(self) -> dict[str, Any]:
        """What is told."""
        return {
            "type": self._kind,
            "delivered": self._delivered,  # since this process began
            "last_seq": self._last_seq,
            "last_delivered_at": _iso(self._last_at),
            "failing_since": _iso(min(filter(None, (self._failing_since, self._complaint_since)), default=None)),
            "last_error": self._error or self._complaint,
            "rejected": self._rejected(),  # that lie aside now
            "rejected_total": self._laid_aside,  # since this process began
            "written": self._wall(),
        }

    def _write(self, *, at_once: bool = False) -> None:
        now, self._dirty = self._monotonic(), True
        if self._path is None or (now < self._due and not at_once):
            return
        self._due, self._dirty = now + WRITE_EVERY, False
        write_status(self._path, self.to_json())


def facts_path(folder: Path, name: str) -> Path:
    """The file of one sink in ``Config.sink_folder``."""
    return folder / f"{safe_name(name)}.json"


def read_facts(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the sinks of these names told last; those that never told anything are left out."""
    found = {}
    for name in names:
        try:
            told = json.loads(facts_path(folder, name).read_bytes())
        except (OSError, ValueError):  # none yet, or it is just written over
            continue
        if isinstance(told, dict):
            found[name] = told
    return found


def _iso(time_: float | None) -> str | None:
    return None if time_ is None else iso_time(time_)
