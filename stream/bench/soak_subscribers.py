"""Subscribers of a soak within its own process: threads that note what they get, slowly, or with long pauses."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.bench.soak_accounts import Key, key_of
from stream.errors import StreamError
from stream.subscriber import AlertSubscriber

SLOW = 0.3
"""Seconds that the slow subscriber takes for each message."""

READS, PAUSES = 45.0, 30.0
"""Seconds: the one with pauses listens, and then does not, for longer than the feed keeps a silent one."""

_POLL = 0.2  # s, at most this late to notice an end


class Recorder:
    """A named subscriber that notes every message, in memory and in a file.

    Args:
        endpoint: of the feed.
        name: known to the feed; also of the file.
        path: CSV that gets seq, alert_id and phase of each message.
        ready: called before each poll with the seconds since it began; may take its time, and say False for "not now".
    """

    def __init__(self, endpoint: str, *, name: str, path: Path, ready: Callable[[float], bool]) -> None:
        self.name = name
        self.got: list[Key] = []
        self.gaps: tuple[tuple[int, int], ...] = ()
        self.problem = ""  # why it ended before it was told to
        self._endpoint, self._path, self._ready = endpoint, path, ready
        self._stop, self._hurry = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"subscriber {name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(10.0)

    def hurry(self) -> None:
        """No more waiting: takes what there is as fast as it comes."""
        self._hurry.set()

    @property
    def last_seq(self) -> int:
        """Number of the last message that it got, 0 before the first."""
        return self.got[-1][0] if self.got else 0

    def _run(self) -> None:
        began = time.monotonic()
        try:
            with AlertSubscriber(self._endpoint, name=self.name) as subscriber, self._path.open("w") as file:
                lines = csv.writer(file)
                while not self._stop.is_set():
                    if not (self._hurry.is_set() or self._ready(time.monotonic() - began)):
                        continue
                    if (found := subscriber.poll(_POLL)) is not None:
                        self.got.append(key_of(found[0]))
                        lines.writerow(self.got[-1])
                        file.flush()
                    self.gaps = tuple((gap.first, gap.last) for gap in subscriber.gaps)
        except (StreamError, OSError) as error:
            self.problem = str(error)


def slow_subscriber(endpoint: str, folder: Path) -> Recorder:
    """One that takes ``SLOW`` seconds for every message."""

    def ready(_: float) -> bool:
        time.sleep(SLOW)
        return True

    return Recorder(endpoint, name="slow", path=folder / "slow.csv", ready=ready)


def pausing_subscriber(endpoint: str, folder: Path) -> Recorder:
    """One that listens for ``READS`` seconds, then does nothing for ``PAUSES``, and so on."""

    def ready(since: float) -> bool:
        listens = since % (READS + PAUSES) < READS
        time.sleep(0.0 if listens else _POLL)
        return listens

    return Recorder(endpoint, name="pausing", path=folder / "pausing.csv", ready=ready)
