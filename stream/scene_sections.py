"""The configuration of a camera's scenes and of drift following. For ``config``, which holds the other sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from stream.config_values import Identifier, Section
from stream.scene_choice import SceneEntry, ScenePlan, parse_window, plan_problems


class CameraSceneSection(Section):
    """One of several scenes of a camera."""

    scene: Identifier
    hours: str | None = None  # "06:00-20:00", local time; None: at all other times

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, hours: str | None) -> str | None:
        if hours is not None:
            parse_window(hours)
        return hours

    @property
    def entry(self) -> SceneEntry:
        """As the choice takes it."""
        return SceneEntry(self.scene, None if self.hours is None else parse_window(self.hours))


class DriftSection(Section):
    """How galleries follow slow change: season, light, what was parked or built there."""

    mode: Literal["off", "collect", "apply"] = "collect"  # apply: the daily timer may follow, too
    per_day: int = Field(20, ge=1, le=1000)  # candidates collected per scene and day
    keep: int = Field(200, ge=1, le=10_000)  # candidates kept per scene; the oldest go first
    hold_hours: float = Field(24.0, ge=1, le=24 * 30)  # a younger candidate is never used
    day_part: float = Field(0.02, gt=0, le=0.1)  # of the gallery that may join it in a day
    total_part: float = Field(0.2, gt=0, le=0.5)  # of the enrolled gallery that may join it until it is enrolled again


def known_zone(name: str | None) -> str | None:
    """The name of a time zone, checked. Raises ValueError where the system does not know it."""
    if name is None:
        return None
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(
            "this machine knows no such time zone; write it like Europe/Berlin (the system's tzdata package has them)"
        ) from None
    return name


def plan_of(
    scenes: Sequence[CameraSceneSection], choose: Literal["schedule", "picture"] | None, timezone: str | None
) -> ScenePlan:
    """How one of a camera's scenes is chosen: by schedule where hours are given, else by the picture."""
    by = choose or ("schedule" if any(part.hours is not None for part in scenes) else "picture")
    return ScenePlan(tuple(part.entry for part in scenes), by, timezone)


def check_scenes(
    scene: str | None,
    scenes: Sequence[CameraSceneSection] | None,
    choose: Literal["schedule", "picture"] | None,
    timezone: str | None,
) -> None:
    """Raises ValueError where a camera's scenes contradict each other."""
    if scenes is None:
        for name, value in (("choose", choose), ("timezone", timezone)):
            if value is not None:
                raise ValueError(f"'{name}' has no effect without 'scenes'; remove it")
        return
    if scene is not None:
        raise ValueError("give 'scene' for one scene or 'scenes' for several, not both")
    if len(scenes) < 2:
        raise ValueError("'scenes' are two at least; for one, give 'scene'")
    plan = plan_of(scenes, choose, timezone)
    if timezone is not None and plan.by == "picture":
        raise ValueError("'timezone' has no effect with 'choose: picture'; remove it")
    if problems := plan_problems(plan.entries, plan.by):
        raise ValueError(f"scenes: {'; '.join(problems)}")
