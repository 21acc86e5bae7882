"""Which cameras a worker of a cluster scores now, and with which galleries: a file that its station writes and the
worker watches. For ``programs``, ``worker`` and the stations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stream.durable import write_durably
from stream.errors import StreamError
from stream.fields import as_list, as_object, read_object, text, whole
from stream.file_watch import FileWatch
from stream.worker_settings import WorkerSettings

_MOST_NAME, _MOST_WORDS, _MOST = 128, 4096, 100_000  # characters of a name and of a reason; cameras


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a worker is to score."""

    generation: int = 0  # of the orders that it follows from
    cameras: tuple[str, ...] = ()
    galleries: Mapping[str, Path] = field(default_factory=dict)  # scene -> folder, of those that lie on this disk
    versions: Mapping[str, str] = field(default_factory=dict)  # scene -> version there: another one is to be opened
    waiting: Mapping[str, str] = field(default_factory=dict)  # scene -> why its gallery is not here yet

    def narrowed(self, settings: WorkerSettings) -> WorkerSettings:
        """The settings of a worker that has all cameras of a configuration, less those that it does not score."""
        cameras = {name: scene for name, scene in settings.cameras.items() if name in self.cameras}
        return replace(settings, cameras=cameras, galleries=dict(self.galleries))


def write_assigned(path: Path, assigned: Assigned) -> None:
    """Replaces the file in one step. Raises OSError."""
    fields = {
        "generation": assigned.generation,
        "cameras": list(assigned.cameras),
        "galleries": {scene: str(folder) for scene, folder in assigned.galleries.items()},
        "versions": dict(assigned.versions),
        "waiting": dict(assigned.waiting),
    }
    write_durably(path, json.dumps(fields).encode())


def read_assigned(path: Path) -> Assigned:
    """What stands in the file; nothing, with generation 0, where there is none.

    Raises:
        StreamError: it cannot be read, or is damaged.
    """
    try:
        fields = read_object(path.read_bytes())
        cameras = as_list(fields.get("cameras"), "cameras", most=_MOST)
        return Assigned(
            whole(fields, "generation"),
            tuple(text({"camera": name}, "camera", most=_MOST_NAME) for name in cameras),
            {scene: Path(folder) for scene, folder in _texts(fields, "galleries").items()},
            _texts(fields, "versions"),
            _texts(fields, "waiting"),
        )
    except FileNotFoundError:
        return Assigned()
    except OSError as error:
        raise StreamError(f"{path}: what this worker is to score cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StreamError(f"{path}: what this worker is to score is damaged: {error}") from None


class AssignedWatch:
    """Tells a running worker of new orders. Asking is cheap: the file is read only when it has changed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = FileWatch(path)
        self.current = Assigned()  # the last good one
        self.problem = ""  # why the file in place is not in force; "" = it is

    def __call__(self) -> Assigned | None:
        """What is to be scored, where that is new since last asked; None = nothing new, or damaged: see
        :attr:`problem`."""
        if not self._file.changed():
            return None
        try:
            fresh = read_assigned(self._file.path)
        except StreamError as error:
            self.problem = f"{error}. Until it is written anew, generation {self.current.generation} stays in force"
            return None
        self.problem, self.current = "", fresh
        return fresh


def _texts(fields: Mapping[str, object], name: str) -> dict[str, str]:
    found = as_object(fields.get(name), name)
    return {key: text(found, key, most=_MOST_WORDS) for key in found}
