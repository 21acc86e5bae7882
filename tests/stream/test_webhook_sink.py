"""The webhook at a real HTTP server: what is posted, how it is signed, what each answer means, what never leaks."""

from __future__ import annotations

import base64
import email
import json
import logging
import ssl
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from sink_partners import NOTHING, PICTURES, Answer, Receiver, a_certificate, an_alert, receiving

from stream.errors import SinkError, SinkRefused
from stream.messages import Alert, Phase
from stream.sink_sections import READY_TEMPLATES, WebhookSection
from stream.sinks.signature import signature, verify
from stream.sinks.webhook import WebhookSink, check_webhook, place_of
from stream.sinks.webhook_template import READY, Template, values_of

NOW = 1_800_000_000.0


def a_sink(receiver: Receiver, **settings: Any) -> WebhookSink:
    section = WebhookSection(**{"type": "webhook", "url": receiver.url, "timeout": 5.0, **settings})
    return WebhookSink(section, wall=lambda: NOW)


# -- what is posted ---------------------------------------------------------------------------------------------------


def test_an_alert_is_posted_in_the_published_form_with_its_identity() -> None:
    with receiving() as receiver:
        a_sink(receiver).deliver(an_alert(1), PICTURES)

    [posted] = receiver.posted
    assert posted.path == "/hook/s3cret-path?token=s3cret-token"
    assert Alert.from_json(json.loads(posted.body)) == an_alert(1, mask=None, snapshot=None)
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["idempotency-key"] == "a1/start/10"
    assert "x-spade-signature" not in posted.headers


def test_only_the_phases_that_are_wanted_are_posted() -> None:
    with receiving() as receiver:
        sink = a_sink(receiver, phases=("start", "end"))
        for seq, phase in enumerate(Phase, 1):
            assert sink.deliver(an_alert(seq, phase=phase), NOTHING) is (phase is not Phase.UPDATE)

    assert [json.loads(posted.body)["phase"] for posted in receiver.posted] == ["start", "end"]


def test_headers_of_the_user_go_along() -> None:
    with receiving() as receiver:
        a_sink(receiver, headers={"Authorization": "Bearer t0ken"}).deliver(an_alert(1), NOTHING)

    assert receiver.posted[0].headers["authorization"] == "Bearer t0ken"


def parts_of(headers: Any, body: bytes) -> dict[str, Message]:
    whole = email.message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    return {part.get_param("name", header="content-disposition"): part for part in whole.get_payload()}  # type: ignore[misc,union-attr]


def test_pictures_go_along_as_parts_of_a_form_and_the_alert_names_them() -> None:
    with receiving() as receiver:
        a_sink(receiver, pictures=("snapshot", "clip"), secret="k").deliver(an_alert(1), PICTURES)

    [posted] = receiver.posted
    parts = parts_of(posted.headers, posted.body)
    alert = json.loads(parts["alert"].get_payload(decode=True))  # type: ignore[arg-type]
    assert (alert["snapshot"], alert["mask"], alert["clip"]) == ("snapshot.jpg", None, "clip.mp4")
    assert parts["snapshot"].get_payload(decode=True) == b"jpeg"
    assert parts["clip"].get_content_type() == "video/mp4"
    assert set(parts) == {"alert", "snapshot", "clip"}
    assert verify("k", posted.body, posted.headers["x-spade-signature"], now=NOW), "the signature is over all of it"


def test_pictures_go_along_in_the_json_and_a_lost_one_is_left_out() -> None:
    with receiving() as receiver:
        sink = a_sink(receiver, pictures=("snapshot", "clip"), pictures_as="base64")
        sink.deliver(an_alert(1, clip=None), PICTURES)
        sink.deliver(an_alert(2), NOTHING)

    first, second = (json.loads(posted.body) for posted in receiver.posted)
    assert base64.b64decode(first["pictures"]["snapshot"]["base64"]) == b"jpeg"
    assert first["pictures"]["snapshot"]["type"] == "image/jpeg"
    assert "pictures" not in second
    assert second["snapshot"] is None


# -- the signature ----------------------------------------------------------------------------------------------------


def test_the_signature_is_over_the_time_and_the_body() -> None:
    with receiving() as receiver:
        a_sink(receiver, secret="key").deliver(an_alert(1), NOTHING)

    [posted] = receiver.posted
    header = posted.headers["x-spade-signature"]
    assert header.startswith("t=1800000000,v1=")
    assert verify("key", posted.body, header, now=NOW + 299)


def test_the_signature_is_the_known_one() -> None:
    # printf '1.body' | openssl dgst -sha256 -hmac key
    assert signature("key", b"body", 1) == "t=1,v1=" + KNOWN


KNOWN = "91b5374b153842ad05b2c4eab9349b8321b14703165bd3fb8b034dfb8be98ae5"


@pytest.mark.parametrize(
    ("secret", "body", "header", "now"),
    [
        ("other", b"body", None, 1.0),
        ("key", b"body.", None, 1.0),
        ("key", b"body", None, 302.0),  # too old
        ("key", b"body", "t=2,v1=" + KNOWN, 1.0),  # the time was changed
        ("key", b"body", "t=1", 1.0),
        ("key", b"body", "", 1.0),
        ("key", b"body", "t=\N{SUPERSCRIPT TWO},v1=x", 1.0),
    ],
)
def test_what_is_not_ours_or_not_fresh_is_not_verified(
    secret: str, body: bytes, header: str | None, now: float
) -> None:
    assert not verify(secret, body, signature("key", b"body", 1) if header is None else header, now=now)


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_is_a_delivery(status: int) -> None:
    with receiving(Answer(status)) as receiver:
        a_sink(receiver).deliver(an_alert(1), NOTHING)


@pytest.mark.parametrize("status", [401, 403, 404, 407, 408, 425, 429, 500, 502, 503])
def test_not_now_is_an_error_after_which_it_is_brought_again(status: int) -> None:
    said = pytest.raises(SinkError, match=f"answers {status}: try later")
    with receiving(Answer(status, body=b"try later\n")) as receiver, said as caught:
        a_sink(receiver).deliver(an_alert(1), NOTHING)
    assert not isinstance(caught.value, SinkRefused)


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
def test_never_is_a_refusal(status: int) -> None:
    with receiving(Answer(status)) as receiver, pytest.raises(SinkRefused, match=f"answers {status}"):
        a_sink(receiver).deliver(an_alert(1), NOTHING)


def test_a_redirect_is_not_followed() -> None:
    with receiving() as elsewhere, receiving(Answer(307, {"Location": elsewhere.url})) as receiver:
        with pytest.raises(SinkError, match="redirects, which is not followed") as caught:
            a_sink(receiver, secret="key").deliver(an_alert(1), PICTURES)
        assert elsewhere.posted == []
    assert not isinstance(caught.value, SinkRefused), "the address is mended one day; the alert waits"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0),
        ("Fri, 15 Jan 2027 08:01:40 GMT", 100.0),
        ("Fri, 15 Jan 2020 08:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("99999999999999999999", None),
        ("Fri, 15 Jan 99999999999999 08:00:00 GMT", None),
        ("Fri, 15 Jan 2027 08:00:00 +99999999999999999", None),
    ],
)
def test_the_server_says_when_to_come_again(value: str, seconds: float | None) -> None:
    with receiving(Answer(429, {"Retry-After": value})) as receiver, pytest.raises(SinkError) as caught:
        a_sink(receiver).deliver(an_alert(1), NOTHING)
    assert caught.value.again_after == seconds


@pytest.mark.fault("a webhook's receiver hangs", "given up after the time-out; brought again")
@pytest.mark.parametrize("answer", [Answer(hangs=True), Answer(drips=True)], ids=["silent", "a byte now and then"])
def test_a_receiver_that_hangs_is_given_up(answer: Answer) -> None:
    with receiving(answer) as receiver:
        sink = a_sink(receiver, timeout=0.3)
        with pytest.raises(SinkError, match=r"no whole answer within 0\.3 s"):
            sink.deliver(an_alert(1), NOTHING)
        sink.deliver(an_alert(1), NOTHING)
    assert len(receiver.posted) == 2


def test_an_endless_answer_is_read_only_in_part() -> None:
    with receiving(Answer(500, body=b"x" * (1 << 20))) as receiver, pytest.raises(SinkError) as caught:
        a_sink(receiver).deliver(an_alert(1), NOTHING)
    assert len(str(caught.value)) < 500


def test_over_tls_the_receiver_is_checked(tmp_path: Path) -> None:
    certificate, key = a_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver = Receiver(tls=context)
    try:
        url = f"https://localhost:{receiver.port}/"
        a_sink(receiver, url=url, ca=certificate).deliver(an_alert(1), PICTURES)
        with pytest.raises(SinkError, match="certificate verify failed"):
            a_sink(receiver, url=url).deliver(an_alert(2), PICTURES)
    finally:
        receiver.close()
    assert len(receiver.posted) == 1


# -- secrets ----------------------------------------------------------------------------------------------------------

SECRETS = {"url_path": "s3cret-path", "query": "s3cret-token", "key": "s3cret-key", "header": "s3cret-header"}


def test_no_secret_is_in_an_error_a_log_or_a_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = Answer(500, body=b"no s3cret-key, and /hook/s3cret-path?token=s3cret-token with Bearer s3cret-header")
    with receiving(echo) as receiver:
        sink = a_sink(receiver, secret="s3cret-key", headers={"Authorization": "Bearer s3cret-header"})
        with pytest.raises(SinkError) as caught:
            sink.deliver(an_alert(1), NOTHING)
        shown = [repr(sink), str(caught.value), repr(caught.value), repr(sink._section), caplog.text]
        shown.append(check_webhook(sink._section))
    assert [text for text in shown if "s3cret" in text] == []


def test_values_for_a_template_are_hidden_as_they_may_be_secrets_too() -> None:
    with receiving(Answer(500, body=b"no s3cret-topic")) as receiver:
        sink = a_sink(receiver, template="ntfy", values={"topic": "s3cret-topic"})
        with pytest.raises(SinkError, match=r"no \*\*\*") as caught:
            sink.deliver(an_alert(1), NOTHING)
    assert "s3cret" not in str(caught.value) + repr(sink._section)


@pytest.mark.parametrize("url", ["https://h/s3cret-path\x7f", "https://\N{SNOWMAN}.exa_mple.-x/s3cret-path"])
def test_an_address_of_which_no_request_can_be_made_is_found_by_the_check_and_never_kills_the_sink(url: str) -> None:
    section = WebhookSection(type="webhook", url=url)
    with pytest.raises(SinkError, match="'url' cannot be used") as caught:
        check_webhook(section)
    with pytest.raises(SinkError) as delivered:
        WebhookSink(section).deliver(an_alert(1), NOTHING)
    assert "s3cret" not in str(caught.value) + str(delivered.value)


def test_of_a_url_only_scheme_host_and_port_are_shown() -> None:
    assert place_of("https://user:pass@hooks.example.org/T0/B0/x?y=z") == "https://hooks.example.org/***"
    assert place_of("http://[::1]:8080/x") == "http://[::1]:8080/***"


# -- templates --------------------------------------------------------------------------------------------------------


def written(folder: Path, document: Any) -> str:
    path = folder / "template.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_names_in_braces_become_values_and_a_lone_one_keeps_its_type(tmp_path: Path) -> None:
    document = {"text": "{camera} at {strength}x {{really}}", "n": "{region_count}", "list": ["{frame_seq}"], "same": 3}
    filled = Template(written(tmp_path, document), {}).fill(an_alert(1))
    assert filled == {"text": "gate at 2.00x {really}", "n": 1, "list": [10], "same": 3}


@pytest.mark.parametrize("nasty", ['"}, {"admin": true', "{seq}", "\\", "\n", "\N{GRINNING FACE}", "${HOME}"])
def test_no_value_breaks_out_of_its_text(tmp_path: Path, nasty: str) -> None:
    template = Template(written(tmp_path, {"a": "<{camera}>", "{camera}": 1}), {})
    assert json.loads(json.dumps(template.fill(an_alert(1, camera=nasty)))) == {"a": f"<{nasty}>", nasty: 1}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"a": "{kamera}"}, "{kamera} is no name. There are: alert_id, camera"),
        ({"a": "{camera.__class__}"}, "is no name"),
        ({"a": "{camera!r}"}, "only {name} can stand in braces"),
        ({"a": "{score:>99999999}"}, "only {name} can stand in braces"),
        ({"a": "{camera"}, "expected '}'"),
        ({"a": "{}"}, "is no name"),
    ],
)
def test_a_template_that_cannot_work_is_refused_at_the_start(tmp_path: Path, document: Any, problem: str) -> None:
    with pytest.raises(SinkError) as caught:
        Template(written(tmp_path, document), {})
    assert problem in str(caught.value)


def test_a_template_that_is_deeper_than_anybody_needs_is_refused(tmp_path: Path) -> None:
    document: Any = "x"
    for _ in range(40):
        document = [document]
    with pytest.raises(SinkError, match="is deeper than"):
        Template(written(tmp_path, document), {})


def test_a_template_file_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"No such file.* or one of ntfy, slack, teams"):
        Template(str(tmp_path / "none.json"), {})
    (tmp_path / "bad.json").write_text("{camera}")
    with pytest.raises(SinkError, match="is no JSON"):
        Template(str(tmp_path / "bad.json"), {})


def test_the_ready_templates_are_those_of_the_configuration_and_work() -> None:
    assert set(READY) == set(READY_TEMPLATES)
    for name in READY:
        assert "gate" in json.dumps(Template(name, {"topic": "alerts"}).fill(an_alert(1)))
    with pytest.raises(SinkError, match=r"\{topic\} is no name"):
        Template("ntfy", {})


def test_values_of_the_user_are_names_too() -> None:
    with receiving() as receiver:
        a_sink(receiver, template="ntfy", values={"topic": "alerts"}).deliver(an_alert(1), NOTHING)
    assert json.loads(receiver.posted[0].body)["topic"] == "alerts"


def test_a_template_can_name_every_field_of_an_alert_but_pictures() -> None:
    fields = set(an_alert(1).to_json()) - {"mask", "snapshot", "clip"}
    assert set(values_of(an_alert(1))) == fields | {"strength", "summary", "region_count"}
