"""Who somebody is: by the cookie of a session, by the token of a program, or by logging in.

Used by ``guard`` and the API.

With a file of users, people log in by name and password, and the token is for programs and for whoever may read the
state folder. Without one, the token is the one login.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stream.console.attempts import Attempts
from stream.console.sessions import Session, Sessions
from stream.console.token import is_secret
from stream.console.users import Users
from stream.errors import StreamError

COOKIE = "spade_session"
"""Holds a session's id; out of reach of scripts."""

OPERATOR = "operator"
"""Whoever comes with the token: the audit trail knows no other name for them."""


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
    """

    def __init__(self, *, token: str, users: Users | None, sessions: Sessions, attempts: Attempts) -> None:
        self._token, self._users, self._sessions, self._attempts = token, users, sessions, attempts

    @property
    def kind(self) -> str:
        """What the login page has to ask for: ``users`` or ``token``."""
        return "token" if self._users is None else "users"

    def by_cookie(self, session_id: str) -> Identity | None:
        """Whose session this is; None where it is nobody's, or its user was removed."""
        session = self._sessions.find(session_id) if session_id else None
        if session is None:
            return None
        if not self._may(session.user):
            self._sessions.end(session)
            return None
        return Identity(session.user, session)

    def by_bearer(self, token: str, *, address: str) -> Identity | None:
        """The program that knows the token. Raises TooManyAttempts."""
        return Identity(OPERATOR, None) if self._counted(address, lambda: self._is_token(token)) else None

    def log_in(self, user: str, password: str, *, address: str) -> tuple[str, Session] | None:
        """A new session and its id; None where name or password is wrong. Raises TooManyAttempts, ConsoleError."""
        users = self._users
        fits = self._counted(address, lambda: users is not None and users.check(user, password))
        return self._sessions.begin(user) if fits else None

    def log_in_by_token(self, token: str, *, address: str) -> tuple[str, Session] | None:
        """The same with the token."""
        return self._sessions.begin(OPERATOR) if self._counted(address, lambda: self._is_token(token)) else None

    def log_out(self, session: Session) -> None:
        """Ends a session."""
        self._sessions.end(session)

    def is_alive(self, identity: Identity) -> bool:
        """Whether somebody who came in earlier may still be here."""
        if identity.session is None:
            return True
        return self._sessions.is_alive(identity.session) and self._may(identity.user)

    def _may(self, user: str) -> bool:
        return user == OPERATOR or (self._users is not None and self._users.knows(user))

    def _is_token(self, token: str) -> bool:
        return is_secret(token, self._token)

    def _counted(self, address: str, check: Callable[[], bool]) -> bool:
        if wait := self._attempts.wait(address):
            raise TooManyAttempts(wait)
        fits = check()
        if fits:
            self._attempts.succeeded(address)
        else:
            self._attempts.failed(address)
        return fits
