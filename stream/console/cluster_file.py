"""What the control of a cluster says of it, as it lies on this machine: ``STATE/cluster.json``, read strictly enough
that a page can be made of it. On one machine there is none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream.fields import read_object
from stream.health import STALE_AFTER
from stream.reload import COLLECT

MOST_BYTES = 64 << 20
"""More than a cluster of some thousand cameras says; a bigger file is damaged."""

_SHAPES = {
    "nodes": list,
    "workers": list,
    "readers": list,
    "outboxes": list,
    "problems": list,
    "cameras": dict,
    "moves": dict,
}

_log = logging.getLogger(__name__)


class ClusterFile:
    """The newest document. Any thread may ask; the file is read again only where it has changed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._mark: tuple[int, int, int] | None = None
        self._document: Mapping[str, Any] | None = None

    def read(self, processes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The document; None where this run has no cluster.

        Args:
            processes: by name, as the supervisor tells them. A run of one machine may find the file of an earlier run
                with a cluster, which says nothing of now.
        """
        if processes and COLLECT not in processes:
            return None
        with self._lock:
            mark = self._look()
            if mark != self._mark:
                self._mark, self._document = mark, None if mark is None else self._fresh()
            return self._document

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _fresh(self) -> Mapping[str, Any] | None:
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
            return well_formed(read_object(data))
        except (OSError, ValueError) as error:
            _log.warning("%s cannot be read: %s", self._path, error)
            return {
                "damaged": str(error),
                **{name: kind() for name, kind in _SHAPES.items()},
            }  # not known is not "well"


def well_formed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with all its parts. Raises ValueError where one of them is something else."""
    parts = {name: document.get(name, kind()) for name, kind in _SHAPES.items()}
    for name, kind in _SHAPES.items():
        if not isinstance(parts[name], kind):
            raise ValueError(f"{name} is no {'list' if kind is list else 'object'}")
    for name in ("nodes", "workers", "readers", "outboxes"):
        if not all(isinstance(each, dict) for each in parts[name]):
            raise ValueError(f"{name} holds what is no object")
    if not all(isinstance(each, dict) for each in parts["cameras"].values()):
        raise ValueError("cameras holds what is no object")
    return {**document, **parts}


def written_of(document: Mapping[str, Any]) -> float | None:
    """When it was written, Unix seconds; None where it does not say."""
    written = document.get("written")
    return float(written) if isinstance(written, int | float) and not isinstance(written, bool) else None


def is_fresh(document: Mapping[str, Any], *, now: float) -> bool:
    """Whether it says how things are now: it is written once a second."""
    written = written_of(document)
    return written is not None and now - written <= STALE_AFTER
