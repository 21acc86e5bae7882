"""The entries of ``sinks`` in the configuration: one model a kind of sink, and what pydantic alone cannot check.

What a sink sends to another machine is the picture of somebody: unless it is encrypted, ``insecure: true`` has to say
that this is meant. Which factory belongs to which section is in ``sinks.registry``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo

from stream.config_values import Identifier, LocalPath, Section, as_path, as_tuple, expand_variables
from stream.endpoints import Endpoint, is_loopback

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:\-]{1,253}$")]
Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_/.-]{0,98}[A-Za-z0-9_-]$")]
KafkaTopic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,249}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,100}$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Picture = Literal["snapshot", "mask", "clip"]
Pictures = Annotated[tuple[Picture, ...], BeforeValidator(as_tuple)]
Phases = Annotated[tuple[Literal["start", "update", "end"], ...], BeforeValidator(as_tuple), Field(min_length=1)]

ALL_PHASES: tuple[Literal["start", "update", "end"], ...] = ("start", "update", "end")

READY_TEMPLATES = ("slack", "ntfy", "teams")
"""Names of templates that come with the program; anything else is a file."""


def _template(value: object, info: ValidationInfo) -> object:
    return value if value in (None, *READY_TEMPLATES) else str(as_path(value, info))


TemplateName = Annotated[str, BeforeValidator(_template)]

TIMEOUT_MOST = 25.0
"""Seconds that one step may take. The supervisor wants a sign of life every 90 s; three steps may lie between two."""

OWN_HEADERS = frozenset(
    {"content-type", "content-length", "host", "idempotency-key", "x-spade-signature", "transfer-encoding"}
)
"""Headers of a webhook that the program sets itself."""


class JsonLinesSection(Section):
    """alerts.jsonl and pictures in a folder."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    type: Literal["jsonl"]
    name: Identifier = "jsonl"
    folder: LocalPath
    days: float | None = Field(None, gt=0)  # after which pictures and clips are removed; lines stay; None: never


class StdoutSection(Section):
    """One readable line per message on standard output."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    type: Literal["stdout"]
    name: Identifier = "stdout"


class MqttSection(Section):
    """Topics of an MQTT broker, with discovery for Home Assistant."""

    SECRETS: ClassVar[tuple[str, ...]] = ("username", "password")

    type: Literal["mqtt"]
    name: Identifier = "mqtt"
    host: Host  # of the broker
    port: int | None = Field(None, ge=1, le=65535)  # None: 8883 with TLS, else 1883
    tls: bool = False  # encrypted; the broker's certificate is checked
    ca: LocalPath | None = None  # file of the authority that signed the server's certificate; None: those of the system
    certificate: LocalPath | None = None  # file of the certificate that this sink shows, where the server asks for one
    key: LocalPath | None = None  # file of that certificate's key
    username: str | None = Field(None, repr=False)  # may be `${NAME}`
    password: str | None = Field(None, repr=False)  # `${NAME}` of the environment
    password_file: LocalPath | None = None  # file that holds the password, in place of `password`
    client_id: Identifier | None = None  # unique at the broker; None: `spade-stream-NAME`
    version: Literal[5, 3] = 5  # of MQTT (3 means 3.1.1, in which a broker cannot say that it refuses a topic)
    keepalive: int = Field(30, ge=5, le=3600)  # seconds without a word after which the broker calls this sink offline
    prefix: Topic = "spade-stream"  # all topics begin with it
    discovery: Topic | None = "homeassistant"  # prefix of Home Assistant's discovery; None: no discovery
    snapshots: bool = True  # whether each camera's last snapshot is published, retained
    timeout: float = Field(
        10.0, ge=0.1, le=TIMEOUT_MOST
    )  # seconds until a delivery that nobody confirmed counts as failed
    insecure: bool = False  # allows a server on another machine without TLS


class WebhookSection(Section):
    """Each message as an HTTP POST, signed."""

    SECRETS: ClassVar[tuple[str, ...]] = ("url", "secret", "headers", "values")

    type: Literal["webhook"]
    name: Identifier = "webhook"
    url: str = Field(min_length=1, max_length=2048, repr=False)  # `http` or `https`; may hold `${NAME}`
    secret: str | None = Field(None, repr=False)  # `${NAME}`: what messages are signed with (HMAC-SHA256); None: not
    secret_file: LocalPath | None = None  # file that holds it, in place of `secret`
    headers: dict[HeaderName, str] = Field({}, repr=False)  # more headers; values may hold `${NAME}`
    template: TemplateName | None = None  # `slack`, `ntfy`, `teams`, or a JSON file; None: the alert as it is
    values: dict[FieldName, str] = Field({}, repr=False)  # more names for the template; values may hold `${NAME}`
    pictures: Pictures = ()  # which pictures go along: some of snapshot, mask, clip
    pictures_as: Literal["multipart", "base64"] = "multipart"  # parts of a form, or texts in the JSON
    phases: Phases = ALL_PHASES  # which messages are sent; the others count as delivered
    ca: LocalPath | None = None  # file of the authority that signed the server's certificate; None: those of the system
    timeout: float = Field(
        10.0, ge=0.1, le=TIMEOUT_MOST
    )  # seconds for one attempt, from the connection to the last byte
    insecure: bool = False  # allows a server on another machine without TLS


class KafkaSection(Section):
    """Records of a Kafka topic, keyed by camera. Needs the extra `kafka`."""

    SECRETS: ClassVar[tuple[str, ...]] = ("username", "password")

    type: Literal["kafka"]
    name: Identifier = "kafka"
    servers: str = Field(
        pattern=r"^[A-Za-z0-9_.:\[\]-]+:\d+(,[A-Za-z0-9_.:\[\]-]+:\d+)*$"
    )  # `host:port`, several with commas
    topic: KafkaTopic = "spade-stream.alerts"  # of alerts
    events: KafkaTopic | None = None  # topic of camera events; None: they are not sent
    tls: bool = False  # encrypted; the brokers' certificates are checked
    ca: LocalPath | None = None  # file of the authority that signed the server's certificate; None: those of the system
    certificate: LocalPath | None = None  # file of the certificate that this sink shows, where the server asks for one
    key: LocalPath | None = None  # file of that certificate's key
    username: str | None = Field(None, repr=False)  # may be `${NAME}`
    password: str | None = Field(None, repr=False)  # `${NAME}` of the environment
    password_file: LocalPath | None = None  # file that holds the password, in place of `password`
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"  # of SASL, with a username
    timeout: float = Field(
        20.0, ge=1, le=TIMEOUT_MOST
    )  # seconds until a delivery that nobody confirmed counts as failed
    insecure: bool = False  # allows a server on another machine without TLS


class ZmqSection(Section):
    """A ZeroMQ PUB socket, for whoever listens at that moment."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    type: Literal["zmq"]
    name: Identifier = "zmq"
    endpoint: str = "tcp://127.0.0.1:5580"  # `ipc:///absolute/path` or `tcp://address:port` that is bound
    pictures: Pictures = ()  # which pictures go along as further parts: some of snapshot, mask, clip
    insecure: bool = False  # allows an address that other machines can reach, unencrypted


SinkSection = JsonLinesSection | StdoutSection | MqttSection | WebhookSection | KafkaSection | ZmqSection


_HIDDEN = frozenset({"url", "secret", "headers", "values", "username", "password"})


def is_secret(field: str) -> bool:
    """Whether an error must not show the value of this field (``sinks[0].webhook.url``)."""
    parts = field.split(".")
    return parts[0].startswith("sinks[") and not _HIDDEN.isdisjoint(parts)


def with_variables(
    section: SinkSection, environment: Mapping[str, str], field: str, problems: list[str]
) -> SinkSection:
    """The section with ``${NAME}`` in its secrets taken from the environment; what is not set goes to ``problems``."""

    def expanded(value: object, name: str) -> object:
        if isinstance(value, dict):
            return {key: expanded(item, f"{name}.{key}") for key, item in value.items()}
        if not isinstance(value, str):
            return value
        return expand_variables(value, environment, field=f"{field}.{name}", problems=problems)

    return section.model_copy(update={name: expanded(getattr(section, name), name) for name in section.SECRETS})


def sink_problems(section: SinkSection, field: str) -> list[str]:
    """What is wrong with a section beyond single values, each line beginning with the field. Shows no secrets."""
    found: list[str] = []
    if isinstance(section, WebhookSection):
        found += _webhook(section)
    elif isinstance(section, MqttSection):
        found += _credentials(section)
        found += _open_to_others(section.insecure, section.tls, [section.host], "host")
    elif isinstance(section, KafkaSection):
        found += _credentials(section)
        hosts = [server.rpartition(":")[0].strip("[]") for server in section.servers.split(",")]
        found += _open_to_others(section.insecure, section.tls, hosts, "servers")
    return [f"{field}.{problem}" for problem in found]


def _webhook(section: WebhookSection) -> Iterator[str]:
    try:
        parts = urlsplit(section.url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield "url: is no URL"
        return
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in section.url):
        yield "url: must be http://... or https://..., without spaces"
        return
    yield from _open_to_others(section.insecure, parts.scheme == "https", [host], "url")
    if section.secret is not None and section.secret_file is not None:
        yield "secret_file: give it or 'secret', not both"
    if section.secret == "":
        yield "secret: is empty: whoever knows that could sign"
    for name, value in section.headers.items():
        if name.lower() in OWN_HEADERS:
            yield f"headers.{name}: is set by the program itself"
        if not value.isascii() or not value.isprintable():
            yield f"headers.{name}: must be printable ASCII"
    if section.values and section.template is None:
        yield "values: are for a 'template'; there is none"
    if section.template is not None and section.pictures and section.pictures_as == "base64":
        yield "pictures_as: base64 belongs to the alert's own JSON; with a template use multipart"


def _credentials(section: MqttSection | KafkaSection) -> Iterator[str]:
    if section.password is not None and section.password_file is not None:
        yield "password_file: give it or 'password', not both"
    if section.username is None and (section.password is not None or section.password_file is not None):
        yield "username: is required with a password"
    if (section.certificate is None) is not (section.key is None):
        yield "certificate: give it and 'key', or neither"
    if not section.tls and (section.ca or section.certificate):
        yield "tls: is false, so that 'ca' and 'certificate' have no effect; set it, or remove them"


def _open_to_others(insecure: bool, encrypted: bool, hosts: list[str], field: str) -> Iterator[str]:
    if insecure and encrypted:
        yield "insecure: contradicts TLS: remove one of the two"
    if insecure or encrypted or all(is_loopback(Endpoint("", None, host, 0)) for host in hosts):
        return
    yield f"{field}: is another machine, and nothing is encrypted on the way: use TLS, or say 'insecure: true'"
