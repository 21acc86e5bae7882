"""How often somebody may fail to log in. Pure but for the clock that is handed in; bounded memory."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict, deque
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

    One that is being checked counts as a failure until it is known not to be one: else many at once would all find the
    count as it was before the first of them.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=MOST_OF_ALL)
        self._checked: Counter[str] = Counter()  # by address, those that are being checked

    def begin(self, address: str) -> int:
        """Whole seconds until this address may try again; with 0 the try has begun, and :meth:`end` has to follow."""
        with self._lock:
            now = self._clock()
            own = self._of.get(address, deque[float]())
            wait = max(_wait(own, MOST_OF_ONE, now), _wait(self._all, MOST_OF_ALL, now))
            of_one = _within(own, now) + self._checked[address]
            if not wait and (of_one >= MOST_OF_ONE or _within(self._all, now) + self._checked.total() >= MOST_OF_ALL):
                wait = 1  # those are known soon
            if not wait:
                self._checked[address] += 1
            self._checked = +self._checked
            return wait

    def end(self, address: str, *, fits: bool | None) -> None:
        """Notes how a try ended: a fitting one forgets the failures of its address; None: it could not be checked."""
        with self._lock:
            self._checked[address] -= 1
            self._checked = +self._checked
            if fits:
                self._of.pop(address, None)
            elif fits is not None:
                self._failed(address)

    def _failed(self, address: str) -> None:
        now = self._clock()
        self._of.setdefault(address, deque(maxlen=MOST_OF_ONE)).append(now)
        self._of.move_to_end(address)
        while len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)
        self._all.append(now)


def _within(failures: deque[float], now: float) -> int:
    return sum(now - failure < WINDOW for failure in failures)


def _wait(failures: deque[float], most: int, now: float) -> int:
    # The oldest of the last ``most``: while it lies within the window, that many do.
    if len(failures) < most or now - failures[-most] >= WINDOW:
        return 0
    return math.ceil(WINDOW - (now - failures[-most]))
