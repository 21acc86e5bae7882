"""Who somebody is: by the cookie of a session, by the token of a program, or by logging in.

Used by ``guard`` and the API.

With a file of users, people log in by name and password, and the token is for programs and for whoever may read the
state folder. Without one, the token is the one login. Nobody guesses a token, which is random: only passwords have a
limit, so that nobody who knows the token can be locked out by others' failures.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass

from stream.console.attempts import Attempts
from stream.console.sessions import Session, Sessions
from stream.console.token import is_secret
from stream.console.users import Users
from stream.errors import ConsoleError, StreamError
from stream.seldom import Seldom

COOKIE = "spade_session"
"""Begins the name of the cookie that holds a session's id; out of reach of scripts."""

OPERATOR = "operator"
"""Whoever comes with the token: the audit trail knows no other name for them."""


_log = logging.getLogger(__name__)


def cookie_name(port: int) -> str:
    """The cookie's name. Browsers hand a host's cookies to all its ports: two consoles must not share one."""
    return f"{COOKIE}_{port}"


class TooManyAttempts(StreamError):
    """Too many logins have failed.

    Args:
        wait: seconds until the next one may be tried.
    """

    def __init__(self, wait: int) -> None:
        self.wait = wait
        super().__init__(f"too many failed logins: try again in {wait} s")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request."""

    user: str
    session: Session | None  # None: a program with the token, which no other page can make a browser send


class Gate:
    """Knows who may come in. Any thread may use it.

    Args:
        token: of the console.
        users: who may log in by name; None: nobody.
        sessions: who has done so.
        attempts: who has failed.
        cookie: name of the one that holds a session's id.
    """

    def __init__(
        self, *, token: str, users: Users | None, sessions: Sessions, attempts: Attempts, cookie: str = COOKIE
    ) -> None:
        self._token, self._users, self._sessions, self._attempts = token, users, sessions, attempts
        self.cookie = cookie
        # With the kind of login: where there are users from now on, who came with the link logs in by name.
        self._of_token = hashlib.sha256(f"{self.kind}:{token}".encode()).hexdigest()
        self._seldom = Seldom(_log, time.monotonic)

    @property
    def kind(self) -> str:
        """What the login page has to ask for: ``users`` or ``token``."""
        return "token" if self._users is None else "users"

    def by_cookie(self, session_id: str) -> Identity | None:
        """Whose session this is; None where it is nobody's, or what it was begun with is not valid any more."""
        session = self._sessions.find(session_id) if session_id else None
        if session is None:
            return None
        if not self._may(session):
            self._sessions.end(session)
            return None
        return Identity(session.user, session)

    def by_bearer(self, token: str, *, address: str) -> Identity | None:
        """The program that knows the token."""
        return Identity(OPERATOR, None) if self._is_token(token, address) else None

    def log_in(self, user: str, password: str, *, address: str) -> tuple[str, Session] | None:
        """A new session and its id; None where name or password is wrong. Raises TooManyAttempts, ConsoleError."""
        credential = None if self._users is None else self._checked(self._users, user, password, address)
        return None if credential is None else self._sessions.begin(user, credential)

    def log_in_by_token(self, token: str, *, address: str) -> tuple[str, Session] | None:
        """The same with the token, which has no limit."""
        return self._sessions.begin(OPERATOR, self._of_token) if self._is_token(token, address) else None

    def log_out(self, session: Session) -> None:
        """Ends a session."""
        self._sessions.end(session)

    def is_alive(self, identity: Identity) -> bool:
        """Whether somebody who came in earlier may still be here."""
        if identity.session is None:
            return True
        try:
            return self._sessions.is_alive(identity.session) and self._may(identity.session)
        except ConsoleError as error:  # who cannot be asked for may not
            self._seldom.warn(str(error))
            return False

    def _may(self, session: Session) -> bool:
        """Whether password or token are those that the session was begun with."""
        if session.user == OPERATOR and session.credential == self._of_token:
            return True
        return self._users is not None and session.credential == self._users.credential(session.user)

    def _is_token(self, token: str, address: str) -> bool:
        fits = is_secret(token, self._token)
        if not fits:
            self._seldom.warn(f"a wrong token from {address}")
        return fits

    def _checked(self, users: Users, user: str, password: str, address: str) -> str | None:
        """The credential, where the password is right."""
        if wait := self._attempts.begin(address):
            raise TooManyAttempts(wait)
        fits: bool | None = None
        try:
            credential = users.check(user, password)
            fits = credential is not None
        finally:
            self._attempts.end(address, fits=fits)
        if credential is None:  # a name that is none may be a password in the wrong field
            known = user if users.credential(user) is not None else "somebody who is no user"
            _log.warning("a login of %s from %s failed", known, address)
        return credential
