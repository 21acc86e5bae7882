"""Who is logged in. A session's id is known to its browser alone; here and in the store there is only its hash."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from stream.errors import ConsoleStoreError

IDLE = 12 * 3600.0
"""Seconds without a request after which a session is over: an operator's shift."""

MOST_SESSIONS = 1000
"""Sessions at once; the one that was used longest ago goes first."""

_NOTE_EVERY = 60.0  # s between two notes of a session's use in the store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """One browser of one user."""

    key: str  # hash of its id
    user: str
    csrf: str  # what unsafe requests have to carry; made of the id, so it dies with it
    credential: str  # stands for what it was begun with: a session does not outlive a password

    def __repr__(self) -> str:
        return f"Session(user={self.user!r})"


@dataclass(frozen=True, slots=True)
class _Use:
    user: str
    credential: str
    used: float  # Unix seconds
    noted: float  # Unix seconds: the use that the store knows of


class Kept(Protocol):
    """What is needed of a store, so that a restart logs nobody out."""

    def sessions(self) -> list[tuple[str, str, str, float]]:
        """(key, user, credential, last use)."""
        ...

    def keep_session(self, key: str, user: str, credential: str, used: float) -> None:
        """Notes one."""
        ...

    def drop_session(self, key: str) -> None:
        """Forgets one."""
        ...


class Sessions:
    """All sessions. Any thread may use it.

    Args:
        store: keeps them over a restart. Where it takes nothing they live in memory.
        clock: Unix seconds.
    """

    def __init__(self, store: Kept, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._used: OrderedDict[str, _Use] = OrderedDict()
        for key, user, credential, used in sorted(store.sessions(), key=lambda row: row[3]):
            self._used[key] = _Use(user, credential, used, used)

    def begin(self, user: str, credential: str) -> tuple[str, Session]:
        """A new session and its id, which nobody but the browser may keep. ``credential``: see Session."""
        session_id = secrets.token_urlsafe(32)
        session = _session(session_id, user, credential)
        now = self._clock()
        with self._lock:
            self._used[session.key] = _Use(user, credential, now, now)
            gone = [self._used.popitem(last=False)[0] for _ in range(len(self._used) - MOST_SESSIONS)]
        self._try(lambda: self._store.keep_session(session.key, user, credential, now))
        for key in gone:
            self._try(lambda key=key: self._store.drop_session(key))  # type: ignore[misc]
        return session_id, session

    def find(self, session_id: str) -> Session | None:
        """The session with this id, whose use this is; None where there is none, or where it was idle for too long."""
        key = _key(session_id)
        now = self._clock()
        with self._lock:
            use = self._used.get(key)
            known = use is not None and abs(now - use.used) < IDLE
            if use is not None and known:
                due = abs(now - use.noted) >= _NOTE_EVERY
                self._used[key] = replace(use, used=now, noted=now if due else use.noted)
                self._used.move_to_end(key)
            elif use is not None:
                del self._used[key]
        if use is None:
            return None
        if not known:
            self._try(lambda: self._store.drop_session(key))
            return None
        if due:
            self._try(lambda: self._store.keep_session(key, use.user, use.credential, now))
        return _session(session_id, use.user, use.credential)

    def is_alive(self, session: Session) -> bool:
        """Whether it is still there. Asking is no use of it."""
        with self._lock:
            use = self._used.get(session.key)
            return use is not None and abs(self._clock() - use.used) < IDLE

    def end(self, session: Session) -> None:
        """Logs it out."""
        with self._lock:
            self._used.pop(session.key, None)
        self._try(lambda: self._store.drop_session(session.key))

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ConsoleStoreError as error:
            _log.warning("a session is kept in memory only: %s", error)


def _session(session_id: str, user: str, credential: str) -> Session:
    csrf = hmac.new(session_id.encode(), b"csrf", hashlib.sha256).hexdigest()
    return Session(_key(session_id), user, csrf, credential)


def _key(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
