"""Who may come in: users, the token, sessions, failed logins, and under which host names."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.console.attempts import MOST_ADDRESSES, MOST_OF_ALL, MOST_OF_ONE, WINDOW, Attempts
from stream.console.auth import OPERATOR, Gate, TooManyAttempts
from stream.console.hosts import host_of, is_known, is_loopback_address, is_same_origin
from stream.console.sessions import IDLE, MOST_SESSIONS, Sessions
from stream.console.store import Store
from stream.console.token import ensure_token, read_secret
from stream.console.users import PasswordHash, Users, read_users, set_user
from stream.errors import ConsoleError

TOKEN = "t" * 43
PASSWORD = "correct horse battery"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path / "console.sqlite", clock=clock)


def a_gate(store: Store, clock: Clock, users: Users | None = None) -> Gate:
    return Gate(token=TOKEN, users=users, sessions=Sessions(store, clock=clock), attempts=Attempts(clock=clock))


@pytest.mark.parametrize("host", ["localhost:8470", "127.0.0.1:8470", "[::1]:8470", "192.0.2.7", "SPADE.example.org"])
def test_addresses_and_names_of_this_machine_are_known(host: str) -> None:
    assert is_known(host, {"spade.example.org"})


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "spade.example.org.evil", "127.0.0.1:x", "[::1", "a@127.0.0.1"],
)
def test_a_name_that_somebody_else_points_here_is_not(host: str) -> None:
    assert not is_known(host, {"spade.example.org"})


def test_a_host_loses_its_port_and_brackets() -> None:
    assert [host_of(h) for h in ("A.b:80", "[fe80::1]:80", "c")] == ["a.b", "fe80::1", "c"]


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost:8471", "localhost:8470", ""])
def test_only_a_page_of_the_same_host_and_port_is_of_the_same_origin(origin: str) -> None:
    assert is_same_origin("http://localhost:8470", "localhost:8470")
    assert is_same_origin("https://localhost:8470", "localhost:8470")  # behind a proxy that ends TLS
    assert not is_same_origin(origin, "localhost:8470")


@pytest.mark.parametrize(("address", "local"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True)])
def test_loopback_has_several_spellings(address: str, local: bool) -> None:
    assert is_loopback_address(address) is local
    assert not is_loopback_address("192.0.2.1")
    assert not is_loopback_address("testclient")


def test_a_password_fits_its_own_hash_and_no_other() -> None:
    kept = PasswordHash.of(PASSWORD)
    assert PasswordHash.parse(str(kept)).fits(PASSWORD)
    assert not kept.fits(PASSWORD + "!")
    assert str(kept) != str(PasswordHash.of(PASSWORD)), "each has a salt of its own"
    assert PASSWORD not in str(kept)
    assert str(kept) not in repr(kept)


@pytest.mark.parametrize("text", ["", "scrypt$2$8$1$AAAA", "md5$2$8$1$AAAA$AAAA", "scrypt$1048576$8$1$AAAA$AAAA"])
def test_a_hash_that_is_none_or_would_take_all_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PasswordHash.parse(text)


def test_a_users_file_is_private_and_kept_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "users"
    assert not set_user(path, "anna", PASSWORD)
    assert not set_user(path, "ben", PASSWORD)
    assert set_user(path, "anna", PASSWORD + "2"), "she was there"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(read_users(path)) == ["anna", "ben"]
    assert set_user(path, "ben", None)
    assert list(read_users(path)) == ["anna"]


def test_a_users_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users"
    set_user(path, "anna", PASSWORD)
    path.chmod(0o640)
    with pytest.raises(ConsoleError, match="chmod 600"):
        Users(path).check("anna", PASSWORD)


def test_a_damaged_line_is_named_without_what_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("anna:plainpassword\n")
    path.chmod(0o600)
    with pytest.raises(ConsoleError, match="line 1") as error:
        Users(path).names()
    assert "plainpassword" not in str(error.value)


@pytest.mark.parametrize("password", ["short", "x" * 257])
def test_a_password_too_short_or_too_long_is_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(ConsoleError, match="10 to 256 characters"):
        set_user(tmp_path / "users", "anna", password)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "../x", "x" * 65])
def test_a_name_that_the_file_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="user"):
        set_user(tmp_path / "users", name, PASSWORD)


def test_a_user_who_is_removed_is_out_at_once(tmp_path: Path, store: Store, clock: Clock) -> None:
    path = tmp_path / "users"
    set_user(path, "anna", PASSWORD)
    gate = a_gate(store, clock, Users(path))
    assert gate.kind == "users"
    found = gate.log_in("anna", PASSWORD, address="1")
    assert found is not None
    identity = gate.by_cookie(found[0])
    assert identity is not None
    assert identity.user == "anna"
    set_user(path, "anna", None)
    assert not gate.is_alive(identity)
    assert gate.by_cookie(found[0]) is None


def test_wrong_names_and_wrong_passwords_do_not_come_in(tmp_path: Path, store: Store, clock: Clock) -> None:
    path = tmp_path / "users"
    set_user(path, "anna", PASSWORD)
    gate = a_gate(store, clock, Users(path))
    assert gate.log_in("anna", PASSWORD[:-1], address="1") is None
    assert gate.log_in("nobody", PASSWORD, address="1") is None
    assert gate.log_in("", "", address="1") is None


def test_without_a_users_file_only_the_token_comes_in(store: Store, clock: Clock) -> None:
    gate = a_gate(store, clock)
    assert gate.kind == "token"
    assert gate.log_in("anna", PASSWORD, address="1") is None
    assert gate.log_in_by_token(TOKEN[:-1], address="1") is None
    assert gate.log_in_by_token(TOKEN, address="1") is not None
    program = gate.by_bearer(TOKEN, address="1")
    assert program is not None
    assert (program.user, program.session) == (OPERATOR, None)


def test_who_fails_too_often_waits_even_with_the_right_password(tmp_path: Path, store: Store, clock: Clock) -> None:
    set_user(tmp_path / "users", "anna", PASSWORD)
    gate = a_gate(store, clock, Users(tmp_path / "users"))
    for _ in range(MOST_OF_ONE):
        assert gate.log_in("anna", "wrong", address="1") is None
    with pytest.raises(TooManyAttempts, match="try again in 60 s"):
        gate.log_in("anna", PASSWORD, address="1")
    assert gate.log_in("anna", PASSWORD, address="2") is not None, "others are not held up"
    clock.now += WINDOW
    assert gate.log_in("anna", PASSWORD, address="1") is not None


def test_nobody_with_the_token_is_locked_out_by_failures_of_others(tmp_path: Path, store: Store, clock: Clock) -> None:
    set_user(tmp_path / "users", "anna", PASSWORD)
    gate = a_gate(store, clock, Users(tmp_path / "users"))
    for _ in range(MOST_OF_ONE):
        assert gate.log_in("anna", "wrong", address="1") is None
    assert gate.by_bearer(TOKEN, address="1") is not None
    assert gate.log_in_by_token(TOKEN, address="1") is not None


def test_wrong_tokens_keep_nobody_from_logging_in(tmp_path: Path, store: Store, clock: Clock) -> None:
    set_user(tmp_path / "users", "anna", PASSWORD)
    gate = a_gate(store, clock, Users(tmp_path / "users"))
    for _ in range(MOST_OF_ALL):
        assert gate.log_in_by_token("wrong", address="1") is None
        assert gate.by_bearer("wrong", address="1") is None
    assert gate.log_in("anna", PASSWORD, address="1") is not None


def test_failed_logins_are_logged_without_what_may_be_a_password(
    tmp_path: Path, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    set_user(tmp_path / "users", "anna", PASSWORD)
    gate = a_gate(store, clock, Users(tmp_path / "users"))
    gate.log_in("anna", "wr0ng-one", address="192.0.2.1")
    gate.log_in(PASSWORD, "", address="192.0.2.2")
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "a login of anna from 192.0.2.1 failed",
        "a login of somebody who is no user from 192.0.2.2 failed",
    ]


def fail(attempts: Attempts, address: str) -> None:
    assert attempts.begin(address) == 0
    attempts.end(address, fits=False)


def test_guessing_from_many_addresses_is_stopped_too(clock: Clock) -> None:
    attempts = Attempts(clock=clock)
    for number in range(MOST_OF_ALL):
        fail(attempts, str(number))
    assert attempts.begin("new") == 60


def test_of_many_at_once_no_more_are_checked_than_one_after_the_other(clock: Clock) -> None:
    attempts = Attempts(clock=clock)
    assert [attempts.begin("1") for _ in range(MOST_OF_ONE + 2)] == [0] * MOST_OF_ONE + [1, 1]
    assert attempts.begin("2") == 0, "others are not held up"
    for _ in range(MOST_OF_ONE):
        attempts.end("1", fits=False)
    assert attempts.begin("1") == 60


def test_what_fitted_or_could_not_be_checked_is_no_failure(clock: Clock) -> None:
    attempts = Attempts(clock=clock)
    for fits in (True, None) * MOST_OF_ONE:
        assert attempts.begin("1") == 0
        attempts.end("1", fits=fits)


def test_of_many_addresses_only_some_are_remembered(clock: Clock) -> None:
    attempts = Attempts(clock=clock)
    for number in range(MOST_ADDRESSES + 10):
        clock.now += WINDOW
        fail(attempts, str(number))
    assert len(attempts._of) == MOST_ADDRESSES
    assert not attempts._checked


def test_a_session_does_not_outlive_the_password_it_was_begun_with(tmp_path: Path, store: Store, clock: Clock) -> None:
    path = tmp_path / "users"
    set_user(path, "anna", PASSWORD)
    gate = a_gate(store, clock, Users(path))
    for change in (lambda: set_user(path, "anna", PASSWORD + "2"), lambda: _removed_and_added(path)):
        found = gate.log_in("anna", _password_of(path), address="1")
        assert found is not None
        again = a_gate(store, clock, Users(path))
        identity = again.by_cookie(found[0])
        assert identity is not None, "a restart logs nobody out"
        change()
        assert not again.is_alive(identity)
        assert again.by_cookie(found[0]) is None


def _removed_and_added(path: Path) -> None:
    password = _password_of(path)
    set_user(path, "anna", None)
    set_user(path, "anna", password)


def _password_of(path: Path) -> str:
    kept = read_users(path)["anna"]
    return PASSWORD if kept.fits(PASSWORD) else PASSWORD + "2"


def test_a_session_of_the_link_ends_with_its_token_and_with_the_first_users_file(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    found = a_gate(store, clock).log_in_by_token(TOKEN, address="1")
    other = a_gate(store, clock).log_in_by_token(TOKEN, address="1")
    assert found is not None
    assert other is not None
    assert a_gate(store, clock).by_cookie(found[0]) is not None
    fresh = Gate(token="n" * 43, users=None, sessions=Sessions(store, clock=clock), attempts=Attempts(clock=clock))
    assert fresh.by_cookie(found[0]) is None
    set_user(tmp_path / "users", "anna", PASSWORD)
    assert a_gate(store, clock, Users(tmp_path / "users")).by_cookie(other[0]) is None


def test_where_users_cannot_be_asked_for_nobody_stays(tmp_path: Path, store: Store, clock: Clock) -> None:
    set_user(tmp_path / "users", "anna", PASSWORD)
    gate = a_gate(store, clock, Users(tmp_path / "users"))
    found = gate.log_in("anna", PASSWORD, address="1")
    assert found is not None
    identity = gate.by_cookie(found[0])
    assert identity is not None
    (tmp_path / "users").unlink()
    assert not gate.is_alive(identity)


def test_a_session_lasts_while_it_is_used_and_over_a_restart(store: Store, clock: Clock) -> None:
    session_id, session = Sessions(store, clock=clock).begin("anna", "of anna")
    again = Sessions(store, clock=clock)
    clock.now += IDLE - 1
    found = again.find(session_id)
    assert found is not None
    assert (found.user, found.csrf) == ("anna", session.csrf)
    clock.now += IDLE - 1
    assert again.find(session_id) is not None
    clock.now += IDLE
    assert again.find(session_id) is None
    assert store.sessions() == []


def test_the_store_does_not_know_the_ids_of_sessions(store: Store, clock: Clock) -> None:
    session_id, session = Sessions(store, clock=clock).begin("anna", "of anna")
    kept = str(store.sessions())
    assert session_id not in kept
    assert session.csrf not in kept
    assert session.csrf not in repr(session)


def test_a_session_that_ended_is_gone(store: Store, clock: Clock) -> None:
    sessions = Sessions(store, clock=clock)
    session_id, session = sessions.begin("anna", "of anna")
    sessions.end(session)
    assert sessions.find(session_id) is None
    assert not sessions.is_alive(session)


def test_sessions_are_bounded(clock: Clock) -> None:
    class Nowhere:
        def sessions(self) -> list[tuple[str, str, str, float]]:
            return []

        def keep_session(self, key: str, user: str, credential: str, used: float) -> None: ...

        def drop_session(self, key: str) -> None: ...

    sessions = Sessions(Nowhere(), clock=clock)
    first, _ = sessions.begin("anna", "of anna")
    for _ in range(MOST_SESSIONS):
        sessions.begin("ben", "of ben")
    assert sessions.find(first) is None


def test_two_processes_agree_on_one_private_token(tmp_path: Path) -> None:
    path = tmp_path / "run" / "console-token"
    token = ensure_token(path)
    assert ensure_token(path) == token
    assert len(token) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(p.name for p in path.parent.iterdir()) == ["console-token"]


@pytest.mark.parametrize(("text", "mode"), [("short", 0o600), ("t" * 40, 0o644), ("t" * 40 + " t", 0o600)])
def test_a_secret_that_is_open_or_damaged_is_refused(tmp_path: Path, text: str, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConsoleError) as error:
        read_secret(path, "it")
    assert text not in str(error.value)
