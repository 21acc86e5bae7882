"""How often somebody may fail to log in. Pure but for the clock that is handed in; bounded memory."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW = 60.0
"""Seconds over which failed logins are counted."""

MOST_OF_ONE = 5
"""Failures from one address within the window: more than anybody needs who knows the password."""

MOST_OF_ALL = 60
"""Failures from all addresses together within the window: guessing from many machines gets no farther than that."""

MOST_ADDRESSES = 1024
"""Addresses that are remembered; the one that failed longest ago is forgotten first."""


class Attempts:
    """Counts failed logins. Any thread may use it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=MOST_OF_ALL)

    def wait(self, address: str) -> int:
        """Whole seconds until this address may try again; 0 = now."""
        with self._lock:
            now = self._clock()
            own = self._of.get(address, deque[float]())
            return max(_wait(own, MOST_OF_ONE, now), _wait(self._all, MOST_OF_ALL, now))

    def failed(self, address: str) -> None:
        """Notes a failure."""
        with self._lock:
            now = self._clock()
            self._of.setdefault(address, deque(maxlen=MOST_OF_ONE)).append(now)
            self._of.move_to_end(address)
            while len(self._of) > MOST_ADDRESSES:
                self._of.popitem(last=False)
            self._all.append(now)

    def succeeded(self, address: str) -> None:
        """Forgets the failures of an address."""
        with self._lock:
            self._of.pop(address, None)


def _wait(failures: deque[float], most: int, now: float) -> int:
    # The oldest of the last ``most``: while it lies within the window, that many do.
    if len(failures) < most or now - failures[-most] >= WINDOW:
        return 0
    return math.ceil(WINDOW - (now - failures[-most]))
