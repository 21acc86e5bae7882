"""The messages and pictures of alerts, as the outbox of this machine has them. Any thread may use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.console.summary import strength_of
from stream.errors import OutboxError
from stream.evidence import inside
from stream.messages import Alert, StateEvent
from stream.outbox import OutboxReader

KINDS = {
    "snapshot.jpg": ("snapshot", "image/jpeg"),
    "view.jpg": ("view", "image/jpeg"),
    "mask.png": ("mask", "image/png"),
    "clip.mp4": ("clip", "video/mp4"),
}
"""By the last part of its address: the field of an alert that names the file, and what it is."""


class AlertFiles:
    """Reads through one outbox.

    Args:
        path: of the outbox.
        evidence: folder of its pictures.
    """

    def __init__(self, path: Path, evidence: Path) -> None:
        self._path, self._evidence = path, evidence
        self._lock = threading.Lock()
        self._reader: OutboxReader | None = None

    def messages(self, alert_id: str) -> list[Alert]:
        """What is kept of an alert, in order; nothing where retention has removed it. Raises OutboxError."""
        with self._outbox() as outbox:
            return outbox.of_alert(alert_id)

    def events(self, camera: str, *, since: float, until: float, limit: int) -> list[StateEvent]:
        """See :meth:`stream.outbox.OutboxReader.events_of`."""
        with self._outbox() as outbox:
            return outbox.events_of(camera, since=since, until=until, limit=limit)

    def file(self, alert_id: str, kind: str, *, seq: int | None = None) -> Path | None:
        """Where a picture of an alert lies: of the message with this number, else of the strongest that has one.

        Args:
            alert_id: see there.
            kind: one of KINDS.
            seq: of the message; None: the strongest.

        Raises:
            OutboxError: the outbox cannot be read.
        """
        field, _ = KINDS[kind]
        of_message = (message for message in self.messages(alert_id) if seq is None or message.seq == seq)
        for message in sorted(of_message, key=lambda message: (-strength_of(message), message.seq)):
            if (name := getattr(message, field, None)) and (path := self._inside(message, name)) is not None:
                return path
        return None

    def close(self) -> None:
        """May be called twice."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _inside(self, alert: Alert, name: str) -> Path | None:
        """The file, if it is there and really lies in the evidence folder: no link may lead out of it."""
        try:
            path = inside(self._evidence, alert, name).resolve(strict=True)
        except (OutboxError, OSError):
            return None
        return path if path.is_file() and path.is_relative_to(self._evidence.resolve()) else None

    @contextmanager
    def _outbox(self) -> Iterator[OutboxReader]:
        with self._lock:
            if self._reader is None:
                self._reader = OutboxReader(self._path, self._evidence)
            yield self._reader
