"""What a station is started with, on whichever node. For the stations and whoever starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stream.config import Config, parse_config

NODE_FOLDER = "SPADE_NODE_FOLDER"
"""Variable of the environment that names a node's folder, where several nodes run on one machine."""


@dataclass(frozen=True, slots=True)
class StationSetting:
    """Everything that a station is told before its first orders."""

    text: str = field(repr=False)  # the user's configuration; ``${NAME}`` as it stands. Some write passwords in it
    address: str  # by which other machines reach this node: an IP address of it
    base: str = "."  # folder that relative paths in the configuration are relative to, on every node
    named: str = "configuration"  # how errors call it
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # values for ``${NAME}``: may be secrets
    folder: str | None = None  # of this node, on its own disk; None: ``cluster.folder`` of the configuration
    log_level: str = "info"  # of the processes
    log_format: str | None = None  # of their log lines; None: as the configuration says

    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        return parse_config(self.text, where=self.named, base=Path(self.base), environment=self.environment)

    def node_folder(self) -> Path:
        """The node's folder. Raises ConfigError."""
        return Path(self.folder) if self.folder else self.config().cluster.folder

    def program(self, *words: str, log_format: str) -> tuple[str, ...]:
        """The command line of a process of this station, which ends when the station's process does.

        Args:
            words: command and arguments; no secret.
            log_format: of its log lines, where the setting says nothing.
        """
        origin = ("--base", self.base, "--named", self.named)
        lines = ("--log-level", self.log_level, "--log-format", self.log_format or log_format)
        return (sys.executable, "-m", "stream", *words, *origin, *lines, "--supervisor", str(os.getpid()))
