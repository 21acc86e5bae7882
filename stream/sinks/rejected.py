"""Alerts that a sink will never take, laid aside as files so that they do not hold up the others. For the runner.

They may be brought again, by ``sink --again``, while the sink itself runs: what lies there is looked up each time.
"""

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

    def __len__(self) -> int:
        return len(self.files())

    def files(self) -> list[Path]:
        """What lies there now, in order."""
        return sorted(self.folder.glob("*.json"))

    def put(self, alert: Alert, reason: str) -> None:
        """Lays an alert aside. Raises SinkError where the disk takes nothing: then it has to wait."""
        path = self.folder / f"{alert.seq:09d}-{safe_name(alert.alert_id)}-{alert.phase}.json"
        about = {"rejected_at": iso_time(self._wall()), "reason": reason, "alert": alert.to_json()}
        try:
            write_durably(path, json.dumps(about, indent=1).encode())
        except OSError as error:
            raise SinkError(f"{path}: alert {alert.seq} cannot be laid aside: {error.strerror}") from error
        for oldest in self.files()[: -self._most]:
            _log.warning("%s: removed, there are more than %d", oldest, self._most)
            oldest.unlink(missing_ok=True)


def read_rejected(path: Path) -> Alert:
    """The alert in one of these files. Raises SinkError where it cannot be read."""
    try:
        return Alert.from_json(json.loads(path.read_bytes())["alert"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SinkError(f"{path}: is no alert that was laid aside: {error}. Move it away") from error
