"""Alerts that a sink will never take, laid aside as files so that they do not hold up the others. For the runner."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from stream.durable import safe_name, write_durably
from stream.errors import SinkError
from stream.messages import Alert, iso_time

MOST = 10_000
"""Files kept; the oldest go first. An alert is some kilobytes, and the outbox has it too, until its retention."""

_log = logging.getLogger(__name__)


class Rejected:
    """A folder of ``SEQ-ALERT-PHASE.json``, each with the alert and the reason.

    Args:
        folder: made with the first alert.
        most: files kept.
        wall: Unix seconds.
    """

    def __init__(self, folder: Path, *, most: int = MOST, wall: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._most, self._wall = most, wall
        self._files = sorted(folder.glob("*.json"))

    def __len__(self) -> int:
        return len(self._files)

    def put(self, alert: Alert, reason: str) -> None:
        """Lays an alert aside. Raises SinkError where the disk takes nothing: then it has to wait."""
        path = self.folder / f"{alert.seq:09d}-{safe_name(alert.alert_id)}-{alert.phase}.json"
        about = {"rejected_at": iso_time(self._wall()), "reason": reason, "alert": alert.to_json()}
        try:
            write_durably(path, json.dumps(about, indent=1).encode())
        except OSError as error:
            raise SinkError(f"{path}: alert {alert.seq} cannot be laid aside: {error.strerror}") from error
        if path not in self._files:
            self._files.append(path)
        while len(self._files) > self._most:
            oldest = self._files.pop(0)
            _log.warning("%s: removed, there are more than %d", oldest, self._most)
            oldest.unlink(missing_ok=True)
