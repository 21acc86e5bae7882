"""Where the keys of a cluster's run machine are: one home for this, since several programs there need them."""

from __future__ import annotations

from pathlib import Path

from stream.config import Config


def keys_of(config: Config) -> Path:
    """The folder with the keys of this machine: ``security.keys``, or one that the run makes in its state folder."""
    return config.security.keys or config.state / "keys"
