"""The candidates of drift following, as files: ``FOLDER/SCENE/TIME-CAMERA.npz``. Bounded in number and in bytes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from stream.durable import safe_name, write_durably
from stream.kept_frame import MAX_KEPT_BYTES, KeptFrame, decode_kept, encode_kept

log = logging.getLogger(__name__)

MOST_BYTES = 256 << 20
"""Bytes that the candidates of a scene may take: 200 of them take about 30 MB at 256 x 256 pixels."""

_NAME = re.compile(r"^(\d{15})-(.+)\.npz$")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kept frame, by the name of its file."""

    path: Path
    camera: str
    time: float  # Unix seconds, of the frame

    def read(self) -> KeptFrame | None:
        """The frame; None where the file is damaged or gone, which is logged."""
        try:
            if self.path.stat().st_size > MAX_KEPT_BYTES:
                raise ValueError(f"it is longer than {MAX_KEPT_BYTES} bytes")
            return decode_kept(self.path.read_bytes())
        except (OSError, ValueError) as error:
            log.warning("%s: a candidate cannot be read: %s", self.path, error)
            return None


class DriftStore:
    """Candidates of all scenes.

    Args:
        folder: made when the first one is kept.
        most: candidates of a scene; the oldest go first.
    """

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder, self.most = folder, most
        self.problem = ""  # why the last one could not be kept

    def keep(self, frame: KeptFrame) -> None:
        """Stores a candidate and removes what is too much. Raises nothing: the next one may find room."""
        name = f"{max(0, round(frame.frame_time * 1000)):015d}-{safe_name(frame.camera)}.npz"
        path = self._scene(frame.scene) / name
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(path, encode_kept(frame))
            self._thin(frame.scene)
            self.problem = ""
        except (OSError, ValueError) as error:
            self.problem = f"{path.name}: {error}"
            log.error("a candidate of drift following is lost: %s", self.problem)

    def candidates(self, scene: str) -> list[Candidate]:
        """Of one scene, oldest first."""
        try:
            names = sorted(path.name for path in self._scene(scene).iterdir())
        except OSError:
            return []
        found = [(name, _NAME.match(name)) for name in names]
        return [
            Candidate(self._scene(scene) / name, unquote(match[2]), int(match[1]) / 1000)
            for name, match in found
            if match is not None
        ]

    def remove(self, candidates: Iterable[Candidate]) -> None:
        """They are decided about. Raises OSError where a file cannot be removed."""
        for candidate in candidates:
            candidate.path.unlink(missing_ok=True)

    def _thin(self, scene: str) -> None:
        kept, size = self.candidates(scene), 0
        for place, candidate in enumerate(reversed(kept)):
            size += candidate.path.stat().st_size
            if place and (place >= self.most or size > MOST_BYTES):
                candidate.path.unlink(missing_ok=True)

    def _scene(self, scene: str) -> Path:
        return self._folder / safe_name(scene)
