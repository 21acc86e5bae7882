"""What an MQTT sink remembers over restarts: topics that a broker keeps something of, and which alerts are open.

A camera that has left the configuration could otherwise never be cleared, and an alert that is open would be told as
over. For ``mqtt``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from stream.durable import write_durably

_log = logging.getLogger(__name__)


class Announced:
    """A small JSON file. Where it is damaged, what it said is lost, and the log says so.

    Args:
        path: made with the first change, with its folders.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._topics, self._open = self._read()

    @property
    def open_alerts(self) -> frozenset[str]:
        """Cameras whose last message was not the end of an alert."""
        return frozenset(self._open)

    def take(self, topics: set[str]) -> set[str]:
        """Remembers these topics; returns those that are remembered beside them, to be cleared."""
        departed = self._topics - topics
        self._change(self._topics | topics, self._open)
        return departed

    def keep_open(self, cameras: Iterable[str]) -> None:
        """Forgets open alerts of all other cameras: one that comes back later must not be told as on."""
        self._change(self._topics, self._open & set(cameras))

    def forget(self, topics: Iterable[str]) -> None:
        """These have been cleared."""
        self._change(self._topics - set(topics), self._open)

    def set_open(self, camera: str, is_open: bool) -> None:
        """Whether this camera has an open alert."""
        self._change(self._topics, self._open | {camera} if is_open else self._open - {camera})

    def _change(self, topics: set[str], cameras: set[str]) -> None:
        if (topics, cameras) == (self._topics, self._open):
            return
        data = json.dumps({"topics": sorted(topics), "open": sorted(cameras)}).encode()
        try:
            write_durably(self._path, data)
        except OSError as error:  # on a full disk alerts must reach the broker all the same
            _log.error("%s cannot be written: %s. It is remembered in memory alone", self._path, error.strerror)
        self._topics, self._open = topics, cameras

    def _read(self) -> tuple[set[str], set[str]]:
        try:
            told = json.loads(self._path.read_bytes())
            return {str(topic) for topic in told["topics"]}, {str(camera) for camera in told["open"]}
        except FileNotFoundError:
            return set(), set()
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s cannot be read, topics of former cameras stay at the broker: %s", self._path, error)
            return set(), set()
