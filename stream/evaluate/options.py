"""What ``spade-stream eval`` was asked for, and the settings of the method that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stream.errors import UsageError

PEER = "anomalib:patchcore"
"""Name of the one method that is not ours; see :mod:`stream.evaluate.peer`."""

METHODS = ("campus", "spade", PEER)

PARAMETERS = ("size", "crop", "k", "kappa", "levels", "neighbours", "sigma")
"""Keys of the configuration's ``method`` section that the command line has options for."""

VIDEO_METHOD: Mapping[str, Any] = {"name": "campus"}
"""Of video, unless asked otherwise: what cameras run. With ``spade``: K = 1, as in the paper for ShanghaiTech."""

IMAGE_METHOD: Mapping[str, Any] = {"name": "spade", "k": 50, "crop": 224}
"""Of single images, unless asked otherwise: the paper's values for MVTec AD."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """One evaluation. None everywhere means: the default of the dataset's kind, or of the configuration."""

    dataset: str
    root: Path
    out: Path
    method: str | None = None  # one of METHODS
    parameters: Mapping[str, Any] = field(default_factory=dict)  # keys of the configuration's ``method`` section
    backbone: str | None = None
    weights: Path | None = None
    device: str = "auto"
    capacity: int = 5000  # most gallery frames of a scene; the paper's number
    every: int = 1  # every Nth test frame is scored
    scenes: tuple[str, ...] = ()  # only these; () = all
    false_alarms_per_day: float | None = None
    keep_maps: bool = False
    galleries: Path | None = None  # of an earlier run; used where they match

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"--method {self.method!r}: known are {', '.join(METHODS)}")
        if self.every < 1:
            raise UsageError(f"--every {self.every}: must be 1 (every frame) or more")
        if self.capacity < 1:
            raise UsageError(f"--capacity {self.capacity}: must be 1 or more")

    @property
    def is_peer(self) -> bool:
        """Whether somebody else's method is asked for."""
        return self.method == PEER

    def method_section(self, kind: Literal["video", "images"]) -> dict[str, Any]:
        """The configuration's ``method`` section. Only what was asked for and what the kind of data needs is in it.

        The peer has none of its own: it gets the section that gives its frames the same size.
        """
        default = IMAGE_METHOD if kind == "images" else VIDEO_METHOD
        if self.is_peer:
            sizes = {name: self.parameters[name] for name in ("size", "crop") if name in self.parameters}
            return {"name": "spade", **{name: default[name] for name in ("crop",) if name in default}, **sizes}
        if self.method in (None, default["name"]):
            return {**default, **self.parameters}
        return {"name": self.method, **self.parameters}
