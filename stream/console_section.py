"""The configuration's section ``console``, and what is wrong with one. For ``config``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from stream.config_values import LocalPath, Section, as_tuple
from stream.endpoints import Endpoint, is_loopback, parse_endpoint
from stream.errors import UsageError

DEFAULT_CONSOLE = "127.0.0.1:8470"
"""Where the console listens, unless told otherwise: this machine alone can reach it."""

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
HostNames = Annotated[tuple[HostName, ...], BeforeValidator(as_tuple)]


class ConsoleSection(Section):
    """The web console."""

    enabled: bool = True  # whether `run` starts it
    address: str = DEFAULT_CONSOLE  # HOST:PORT to listen at; beyond loopback it needs TLS, or `insecure`
    names: HostNames = Field((), max_length=64)  # further host names that browsers know it by, as behind a proxy
    users: LocalPath | None = None  # file of user logins; None: a token in STATE/run opens it
    tls_certificate: LocalPath | None = None  # PEM, the chain; with it the console speaks HTTPS
    tls_key: LocalPath | None = None  # PEM, of the certificate; readable by this user alone
    insecure: bool = False  # allows an address that other machines can reach, unencrypted
    metrics_token: LocalPath | None = None  # file of the token that /metrics asks for; None: open on this machine only

    @property
    def endpoint(self) -> Endpoint:
        """The address, checked.

        Raises:
            UsageError: it is not HOST:PORT.
        """
        try:
            return parse_endpoint(f"tcp://{self.address}")
        except UsageError:
            raise UsageError(f"console.address: {self.address[:80]!r} is not HOST:PORT, as {DEFAULT_CONSOLE}") from None

    @property
    def tls(self) -> bool:
        """Whether it speaks HTTPS."""
        return self.tls_certificate is not None


def console_problems(section: ConsoleSection) -> Iterator[str]:
    """What is wrong with it beyond single keys, one line each."""
    if (section.tls_certificate is None) != (section.tls_key is None):
        yield "console: give 'tls_certificate' and 'tls_key' together"
    try:
        endpoint = section.endpoint
    except UsageError as error:
        yield str(error)
        return
    if section.tls and section.insecure:
        yield "console.insecure: contradicts 'tls_certificate': remove one of the two"
    elif not (is_loopback(endpoint) or section.tls or section.insecure or not section.enabled):
        yield (
            f"console.address: other machines can reach {section.address}, and nothing is encrypted there: give "
            "'console.tls_certificate' and 'console.tls_key', use a loopback address, or say 'console.insecure: true'"
        )
