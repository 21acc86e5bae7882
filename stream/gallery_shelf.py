"""The folder of a machine's copies of galleries: what lies there, and what of it nobody needs. For ``gallery_cache``.

Several processes share it. Each marks the scenes that it wants with the time; what no process has marked for a while
is unused.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from spade_core.errors import GalleryError, SpadeError
from spade_core.gallery import Gallery
from spade_core.gallery_layout import check_size, current_version, read_manifest
from spade_core.gallery_versions import gallery_lock, prune

log = logging.getLogger(__name__)

KEPT_FOR = 120.0
"""Seconds after its last mark from which on a scene counts as unused; marks are set every half minute."""

VERSIONS = 2
"""Versions of a scene that stay: the one in force, and one that a worker may still have open."""

_MARK = ".wanted"  # its time of change says when somebody last wanted the scene
_GONE = ".gone-"  # what the name of a folder begins with that is being deleted


class GalleryShelf:
    """Copies of galleries in a folder, an ordinary gallery folder each.

    Args:
        folder: made when something comes.
        wall: Unix seconds.
    """

    def __init__(self, folder: Path, *, wall: Callable[[], float]) -> None:
        self.folder, self._wall = folder, wall

    def held(self, scene: str) -> tuple[str, str]:
        """Name and digest of the version in force here, if all its files have their sizes; empty texts else."""
        try:
            version = current_version(self.folder / scene)
            manifest = read_manifest(self.folder / scene / version)
            for name, entry in manifest["files"].items():
                check_size(self.folder / scene / version / name, entry)
        except SpadeError:
            return "", ""
        return version, str(manifest["digest"])

    def check(self, scene: str) -> None:
        """Opens a copy, which reads its small files in full. Raises GalleryError where it is damaged."""
        Gallery(self.folder / scene)

    def scenes(self) -> list[str]:
        """Those of which there is a folder here."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and path.name[:1] != ".")
        except OSError:
            return []  # nothing has come yet

    def mark(self, scene: str) -> None:
        """Says that somebody wants the scene. What is not here needs no mark."""
        now, path = self._wall(), self.folder / scene / _MARK
        try:
            path.touch()
            os.utime(path, (now, now))
        except OSError:
            pass  # no folder yet; or a full or broken disk, of which the next fetching tells

    def free_bytes(self) -> int:
        """Room on its disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free

    def drop_old_versions(self, scene: str) -> None:
        """Deletes what is older than the version in force and the one before."""
        try:
            prune(self.folder / scene, keep=VERSIONS)
        except SpadeError as error:
            log.warning("old versions stay: %s", error)

    def drop_unused(self, *, keep: int, wanted: Collection[str]) -> None:
        """Deletes all scenes that nobody on this machine wants but the ``keep`` latest."""
        for path in self.folder.glob(f"{_GONE}*"):  # a crash left it
            shutil.rmtree(path, ignore_errors=True)
        unused = sorted((-self._marked(scene), scene) for scene in self.scenes() if scene not in wanted)
        old = [scene for marked, scene in unused if self._wall() + marked > KEPT_FOR]
        for scene in old[keep:]:
            try:
                self._drop(scene)
            except (GalleryError, OSError) as error:
                log.warning("the copy of scene %s stays: %s", scene, error)

    def _drop(self, scene: str) -> None:
        gone = self.folder / f"{_GONE}{scene}-{secrets.token_hex(4)}"
        with gallery_lock(self.folder / scene):  # another process may be fetching it just now
            os.rename(self.folder / scene, gone)
        shutil.rmtree(gone)
        log.info("scene %s: its copy was deleted, nobody has asked for it lately", scene)

    def _marked(self, scene: str) -> float:
        try:
            return (self.folder / scene / _MARK).stat().st_mtime
        except OSError:
            return 0.0
