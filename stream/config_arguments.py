"""From a command's words to the configuration that it means. For the commands."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from stream.config import Config, parse_config, read_text
from stream.errors import UsageError


def load_named(arguments: argparse.Namespace) -> Config:
    """What the words ``config``, ``named`` and ``base`` of a command mean: see ``load_copy``."""
    return load_copy(arguments.config, named=arguments.named, base=arguments.base)


def load_copy(config: Path, *, named: Path | None, base: Path | None) -> Config:
    """The file ``config``, which may be a copy: then ``base`` and ``named`` say where it came from, see ``add_origin``.

    Raises:
        ConfigError: with every problem found.
    """
    where, base = str(named or config), base or config.resolve().parent
    return parse_config(read_text(config, where=where), where=where, base=base, environment=os.environ)


def chosen_scenes(config: Config, scene: str | None) -> list[str]:
    """The scene that a command was told, or all that cameras look at.

    Raises:
        UsageError: no camera looks at it.
    """
    known = list(dict.fromkeys(name for camera in config.cameras for name in camera.scene_names))
    if scene is not None and scene not in known:
        raise UsageError(f"--scene {scene!r}: no camera looks at it; there is: {', '.join(known)}")
    return known if scene is None else [scene]
