"""What a run tells its control, and the control its stations: the configuration, and what belongs to it.

As text it holds the values of the environment variables that the configuration names, which may be passwords of
cameras: it is never written to a disk or a log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stream import __version__
from stream.config import Config, parse_config
from stream.errors import UsageError
from stream.fields import as_object, read_object, text

MOST_TEXT = 1 << 24
"""Characters of a configuration: a thousand cameras take a quarter of a million."""

_NAMED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """A configuration on its way to another program."""

    config: str = field(repr=False)  # the user's file; ``${NAME}`` as it stands there. Some write passwords in it
    base: str  # what relative paths in it are relative to, on every machine
    named: str  # how errors call it
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # values for ``${NAME}``
    log_level: str = "info"
    log_format: str | None = None  # None: as the configuration says
    token: str = ""  # which telling this is: the control gives it back
    version: str = __version__  # of the program that tells it

    def parsed(self) -> Config:
        """The configuration. Raises ConfigError."""
        return parse_config(self.config, where=self.named, base=Path(self.base), environment=self.environment)

    def check_version(self) -> None:
        """Raises UsageError where another version of this program tells it: neither knows what the other means."""
        if self.version != __version__:
            raise UsageError(
                f"this node has spade-stream {__version__}, and the run {self.version or 'an older one'}: install the "
                "same on all machines, and start Ray anew on this one"
            )

    def to_text(self) -> str:
        """As it travels; without the token the same for the same settings."""
        return json.dumps(
            {
                "config": self.config,
                "base": self.base,
                "named": self.named,
                "environment": dict(self.environment),
                "log_level": self.log_level,
                "log_format": self.log_format,
                "token": self.token,
                "version": self.version,
            }
        )

    @classmethod
    def from_text(cls, data: str) -> ClusterSettings:
        """Raises ValueError where it is not well formed; says nothing of the values."""
        fields = read_object(data.encode())
        environment = as_object(fields.get("environment"), "environment")
        return cls(
            text(fields, "config", most=MOST_TEXT),
            text(fields, "base", most=4096),
            text(fields, "named", most=4096),
            {name: text(environment, name, most=1 << 16) for name in environment},
            text(fields, "log_level", most=16),
            None if fields.get("log_format") is None else text(fields, "log_format", most=16),
            text(fields, "token", most=128),
            text(fields, "version", most=64) if "version" in fields else "",
        )


def named_variables(config: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Of an environment, the variables that a configuration names; those that are not set are left out."""
    return {name: environment[name] for name in sorted(set(_NAMED.findall(config))) if name in environment}
