"""The configuration file of a soak: written whole, without a camera, or broken, each in one step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BROKEN = "cameras: [\n"
"""No YAML."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Settings and where they are written."""

    path: Path
    settings: Mapping[str, Any]  # as ``build_config`` takes them; every camera is the only one of its scene

    def write(self, *, without: str | None = None) -> None:
        """Writes the settings. ``without``: a camera that is left out, with its scene."""
        kept = {
            **self.settings,
            "cameras": [camera for camera in self.settings["cameras"] if camera["id"] != without],
            "scenes": {name: scene for name, scene in self.settings["scenes"].items() if name != without},
        }
        self._replace(yaml.safe_dump(kept, sort_keys=False))

    def break_it(self) -> None:
        """Writes what is no configuration."""
        self._replace(BROKEN)

    def _replace(self, text: str) -> None:
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, self.path)
