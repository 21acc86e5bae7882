"""Credentials never come through, however odd they are."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stream.redact import redact_text, redact_url

ODD = "@:/?#%&=+ ;,[]()'\"\\"
passwords = st.text(st.sampled_from("abcXYZ019$!.-_" + ODD), min_size=4, max_size=16)


def survives(password: str, shown: str, harmless: str) -> bool:
    """Whether the password can be read in ``shown``, unless the rest of the URL spells it by chance."""
    return password in shown and password not in harmless


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://cam.example:554/stream1?channel=1", "rtsp://cam.example:554/stream1?channel=1"),
        ("rtsp://bob:secret@cam.example/1", "rtsp://***@cam.example/1"),
        ("rtsp://bob@cam.example/1", "rtsp://***@cam.example/1"),
        ("rtsp://bob:p@ss/w?r#d@cam.example/1", "rtsp://***@cam.example/1"),
        ("rtsp://bob:secret@[fe80::1]:554/1", "rtsp://***@[fe80::1]:554/1"),
        ("http://cam/video?channel=1&password=secret", "http://cam/video?channel=1&password=***"),
        ("http://cam/video?user=bob&pwd=se&cret#x", "http://cam/video?user=***"),
        ("http://cam/video?auth_TOKEN=secret", "http://cam/video?auth_TOKEN=***"),
        ("http://cam/video?account=bob&pw=secret", "http://cam/video?account=***"),
        ("http://cam/video?pw=secret", "http://cam/video?pw=***"),
        ("http://cam/video?PIN=1234&x=1", "http://cam/video?PIN=***"),
        ("http://cam/video?code=abcd", "http://cam/video?code=***"),
        ("http://cam/video?access=12", "http://cam/video?access=***"),
        ("http://cam/video?codec=h264&spin=1", "http://cam/video?codec=h264&spin=1"),
        ("rtsp://cam/user=bob_password=secret_channel=1.sdp", "rtsp://cam/user=***"),
        ("http://cam/v?password=s@cret", "http://***"),
        ("rtsp://bob:sec?token=ret@cam/1", "rtsp://***"),
        ("rtsp://bob:secret", "rtsp://***"),
        ("rtsp://bob:secret@/1", "rtsp://***"),
        ("rtsp:/bob:secret@cam/1", "***@cam/1"),
        ("clips/cam@2x.mp4", "clips/cam@2x.mp4"),
        ("", ""),
    ],
)
def test_a_url_keeps_its_place_and_loses_its_credentials(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@given(passwords, st.sampled_from(["rtsp", "rtsps", "http", "https", "mqtt"]))
@example("p@ss:w/r?d#%", "rtsp")
@example("user=@@@", "rtsp")
@example("://x://@", "rtsp")
def test_no_password_before_the_host_survives(password: str, scheme: str) -> None:
    for spelled in (password, quote(password), quote(password, safe="")):
        shown = redact_url(f"{scheme}://admin:{spelled}@cam.example:554/live/1")
        assert not survives(spelled, shown, f"{scheme}://***@cam.example:554/live/1")


@given(passwords, st.sampled_from(["password", "pwd", "token", "user", "auth", "key", "PASS", "access_token"]))
def test_no_password_in_a_parameter_survives(password: str, name: str) -> None:
    shown = redact_url(f"http://cam.example/video?channel=1&{name}={password}&fps=5")
    assert not survives(password, shown, f"http://cam.example/video?channel=1&{name}=***")


@given(passwords, st.text(max_size=12), st.text(max_size=12))
def test_no_known_secret_survives_in_free_text(password: str, before: str, after: str) -> None:
    url = f"rtsp://admin:{password}@cam.example/1"
    assume(password not in before + after)
    text = f"{before} open({url!r}) {password} {quote(password, safe='')} failed: {url} {after}"
    shown = redact_text(text, [url])
    assert not survives(password, shown, redact_text(f"{before} open('rtsp://***@cam.example/1') *** failed: {after}"))


@given(st.text(st.sampled_from("abcXYZ019$!.-_@:/?#%&=+;"), min_size=4, max_size=16))
def test_no_password_without_white_space_survives_in_free_text_even_if_unknown(password: str) -> None:
    shown = redact_text(f"cannot open 'rtsp://admin:{password}@cam.example/1' (401), giving up")
    assert not survives(password, shown, "cannot open 'rtsp://***@cam.example/1' (401), giving up")


def test_free_text_without_secrets_is_unchanged() -> None:
    text = (
        "camera gate (rtsp://cam.example:554/1): no frame within 5 s; mail ops@example.org, see http://help.example/."
    )
    assert redact_text(text) == text


def test_a_known_secret_is_hidden_in_every_spelling() -> None:
    assert redact_text("got p@ss/1, p%40ss%2F1, p%40ss%2f1", ["p@ss/1"]) == "got ***, ***, ***"


def test_the_password_of_a_known_url_is_hidden_where_it_stands_alone() -> None:
    assert redact_text("login as bob with sec ret", ["rtsp://bob:sec ret@cam/1"]) == "login as bob with ***"
