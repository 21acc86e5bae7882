"""What the sections of the configuration are made of: kinds of values, paths relative to the file, ``${NAME}``.

For ``config`` and ``sink_sections``, which hold the sections themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationInfo

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Section(BaseModel):
    """A part of the file: unknown keys are refused, nothing is converted silently, errors do not show the input."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def as_path(value: object, info: ValidationInfo) -> object:
    """A path, relative to the configuration file. Raises ValueError where the value is none."""
    if not isinstance(value, str | Path):
        raise ValueError(f"must be a path, not {type(value).__name__}")
    base = (info.context or {}).get("base", Path())
    return Path(os.path.normpath(base / expand_home(value)))


def expand_home(value: str | Path) -> Path:
    """A path whose ``~`` is somebody's home folder. Raises ValueError where there is no such user."""
    try:
        return Path(value).expanduser()
    except RuntimeError:  # what pathlib raises for ~NAME without such a user
        raise ValueError(f"{Path(value).parts[0]} is nobody's home folder: write the path in full") from None


def as_tuple(value: object) -> object:
    """A list of YAML as a tuple, which cannot be changed."""
    return tuple(value) if isinstance(value, list) else value


def expand_variables(text: str, environment: Mapping[str, str], *, field: str, problems: list[str]) -> str:
    """``text`` with every ``${NAME}`` taken from the environment; what is not set is added to ``problems``."""
    missing = [name for name in _VARIABLE.findall(text) if name not in environment]
    problems += [f"{field}: environment variable {name} is not set" for name in missing]
    return _VARIABLE.sub(lambda match: environment.get(match[1], ""), text)


LocalPath = Annotated[Path, BeforeValidator(as_path)]


def as_store(value: object, info: ValidationInfo) -> object:
    """A URL as it stands, or else a path, relative to the configuration file."""
    if isinstance(value, str) and "://" in value:
        return value
    return str(as_path(value, info))


StoreUrl = Annotated[str, BeforeValidator(as_store)]
