"""Where a worker of a cluster finds the gallery of a scene: a copy on its own disk, or a folder that the configuration
names for that scene alone. For ``worker_station``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from stream.config import Config
from stream.gallery_cache import GalleryCache
from stream.gallery_store import store_of

KEEP_UNUSED = 64
"""Galleries that stay on a node's disk though no worker wants them now: cameras come back to where they were."""

_CURRENT = "CURRENT"  # file in a gallery's folder that names the version in force


class Cache(Protocol):
    """What is needed of a :class:`stream.gallery_cache.GalleryCache`."""

    def ready(self, scene: str) -> Path | None:
        """Folder of the scene's gallery, where one lies on this disk."""

    def version(self, scene: str) -> str:
        """The version in it."""

    def cached(self) -> frozenset[str]:
        """Scenes whose galleries lie on this disk."""

    def distrust(self, scene: str) -> None:
        """It was found damaged."""

    def want(self, scenes: Collection[str]) -> None:
        """Which scenes to keep ready from now on."""

    def state(self) -> Mapping[str, str]:
        """By scene that is wanted and not in order: how far, or what is wrong."""

    def close(self) -> None:
        """Ends its thread."""


class NodeGalleries:
    """The galleries of a configuration, on one node.

    Args:
        config: see there.
        folder: of the copies.
        cache: makes what fetches them; for tests.
    """

    def __init__(self, config: Config, folder: Path, *, cache: Callable[[Config, Path], Cache] | None = None) -> None:
        self._own = {scene: section.gallery for scene, section in config.scenes.items() if section.gallery is not None}
        self._cache = (cache or _cache)(config, folder)
        self._wanted: tuple[str, ...] = ()

    def ready(self, scene: str) -> Path | None:
        """Folder of the scene's gallery; None: it is not on this disk yet, see :meth:`state`."""
        own = self._own.get(scene)
        if own is None:
            return self._cache.ready(scene)
        return own if (own / _CURRENT).exists() else None

    def version(self, scene: str) -> str:
        """Changes when another version is in force in that folder."""
        if (own := self._own.get(scene)) is None:
            return self._cache.version(scene)
        try:
            return (own / _CURRENT).read_text(encoding="utf-8").strip()[:64]
        except (OSError, ValueError):
            return ""

    def cached(self) -> frozenset[str]:
        """Scenes whose galleries lie on this disk, wanted or not."""
        return self._cache.cached() | {scene for scene in self._own if self.ready(scene) is not None}

    def distrust(self, scene: str) -> None:
        """A worker has found it damaged: a copy is read in full, and fetched again if need be. What the configuration
        names by itself is left to whoever put it there."""
        if scene not in self._own:
            self._cache.distrust(scene)

    def want(self, scenes: Collection[str]) -> None:
        """Which scenes to keep ready from now on."""
        self._wanted = tuple(scenes)
        self._cache.want([scene for scene in scenes if scene not in self._own])

    def state(self) -> dict[str, str]:
        """By scene that is wanted and not in order: how far, or what is wrong. Such a one may be ready all the same."""
        missing = [scene for scene in self._wanted if scene in self._own and self.ready(scene) is None]
        return {**self._cache.state(), **{scene: f"no gallery in {self._own[scene]} on this node" for scene in missing}}

    def close(self) -> None:
        """Ends what fetches. May be called twice."""
        self._cache.close()


def _cache(config: Config, folder: Path) -> Cache:
    cache = GalleryCache(folder, store_of(config), keep_unused=KEEP_UNUSED)
    cache.start()
    return cache
