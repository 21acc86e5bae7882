"""What the worker needs to know besides its parts. Loads nothing heavy: ``programs`` makes it, ``worker`` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stream.policy import PolicySettings
from stream.scene_choice import ScenePlan
from stream.zones import Zone


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """A worker's settings; all but ``size`` and ``max_batch`` may be replaced while it runs."""

    cameras: Mapping[str, str]  # camera id -> scene; of several the first
    policy: PolicySettings
    size: int  # S, side of the scoring image
    max_batch: int  # frames scored at once
    maps: Path | None  # folder for score maps, None = none are kept
    status: Path
    ready_after: float | None  # s from the beginning of the process until it could score; None = not known
    shared_clock: bool  # readers run on this machine, so that their monotonic times compare with ours
    galleries: Mapping[str, Path] = field(default_factory=dict)  # scene -> folder, for scenes that are added later
    moved_after: Mapping[str, float | None] = field(default_factory=dict)  # camera -> s, see ViewWatch; None = off

    plans: Mapping[str, ScenePlan] = field(default_factory=dict)  # camera -> its scenes, where it has several
    zones: Mapping[str, tuple[Zone, ...]] = field(default_factory=dict)  # camera -> its zones in the configuration

    def of(self, camera: str) -> tuple[object, ...]:
        """All that a camera must begin anew for; nothing where there is none. Zones may change under way."""
        if camera not in self.cameras:
            return ()
        return (self.cameras[camera], self.plans.get(camera), self.moved_after.get(camera), self.policy)
