"""Where the galleries of several machines live: a folder that all of them mount, or a URL that fsspec knows (s3, gcs,
webdav, ...). It looks like a folder of galleries::

    STORE/SCENE/CURRENT          name of the version in force
    STORE/SCENE/v000001/...      as gallery_layout says; the manifest comes last, without one it is not there yet

What is published is a whole version, then its name; what is fetched is compared with its checksums before it is used.
Numbers of versions are the store's own: two machines may both have made a ``v000002``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spade_core.errors import GalleryCorrupt, GalleryNotFound
from spade_core.gallery_layout import CURRENT, MANIFEST, current_version, is_version
from stream.config import Config
from stream.errors import UsageError
from stream.gallery_copy import MAX_MANIFEST, Manifest, OnProgress, VersionSource, parse_manifest, receive
from stream.gallery_places import FolderPlace, UrlPlace, folder_of

_NAME = 64  # bytes of a version's name that are read
_MANIFEST = MAX_MANIFEST + 1  # so that one that is too long is seen to be
_PUSH = "Publish the gallery again ('spade-stream gallery push')"
_SCENE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # as the configuration has it: no path


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """The version of a scene's gallery that a store has in force."""

    scene: str
    version: str  # its name in the store
    digest: str  # SHA-256 of its manifest, and so of all of it
    frames: int
    size_bytes: int
    made: str  # ISO 8601, as its note says; "" = it does not say


class Place(Protocol):
    """What a store needs of the place where it lies. ``folder`` and ``urls`` differ in how something is written."""

    def scenes(self) -> list[str]:
        """Names of the folders in it. Raises GalleryStoreError where it cannot be read."""
        ...

    def read(self, scene: str, name: str, *, most: int) -> bytes | None:
        """The first bytes of a small file of a scene; None where there is no such file. Raises GalleryStoreError."""
        ...

    def version(self, scene: str, name: str) -> VersionSource:
        """A version there, to be copied from."""
        ...

    def publish(self, source: Path, manifest: Manifest, scene: str, *, on_progress: OnProgress) -> str:
        """Puts a version there and in force; its name there. Nothing is changed where it fails."""
        ...


class GalleryStore:
    """Galleries that several machines share. Of no thread: each thread that uses one builds its own, or takes turns.

    Args:
        url: a folder, or a URL that fsspec knows. It is not asked for anything before the first call.

    Raises:
        UsageError: nothing here knows such a URL.
    """

    def __init__(self, url: str) -> None:
        self._folder = folder_of(url)
        self._place: Place = UrlPlace(url) if self._folder is None else FolderPlace(self._folder)
        self.name = str(self._place)
        """For people and for the log; holds no credentials."""

    def __repr__(self) -> str:
        return f"GalleryStore({self.name!r})"

    def is_gallery(self, folder: Path, scene: str) -> bool:
        """Whether this gallery folder is the store's own of that scene, so that there is nothing to copy."""
        return self._folder is not None and (self._folder / scene).resolve() == folder.resolve()

    def scenes(self) -> tuple[str, ...]:
        """Scenes of which it has a gallery in force, in the order of their names.

        Raises:
            GalleryStoreError: it cannot be read now.
        """
        found = sorted(name for name in self._place.scenes() if _SCENE.fullmatch(name))
        return tuple(scene for scene in found if self._place.read(scene, CURRENT, most=_NAME) is not None)

    def current(self, scene: str) -> StoredVersion:
        """What is in force there for a scene.

        Raises:
            GalleryNotFound: it has no gallery of it.
            GalleryCorrupt, GalleryMismatch: what it has cannot be used.
            GalleryStoreError: it cannot be read now.
        """
        return _stored(scene, *self._look(scene))

    def fetch(self, stored: StoredVersion, into: Path, on_progress: OnProgress) -> str:
        """Makes a version part of a gallery folder of this machine, and puts it in force there. What is there already
        is used; what was in force stays so until all of the new one has come and is right.

        Args:
            stored: as :meth:`current` gave it.
            into: the gallery folder (it holds ``CURRENT``); made if needed.
            on_progress: told the bytes done, and those in all; may raise, and then nothing was changed.

        Returns:
            Its name in that folder.

        Raises:
            GalleryBusy: another program is changing that folder, which may be the same fetching.
            GalleryNotFound, GalleryCorrupt, GalleryMismatch: the store has it no more, or what came cannot be used.
            GalleryError: the folder cannot be written, or has no room.
            GalleryStoreError: the store cannot be read now.
        """
        manifest = self._manifest(stored.scene, stored.version)
        if manifest.digest != stored.digest:
            raise GalleryCorrupt(f"{self.name}: {stored.scene}/{stored.version} has changed meanwhile. Ask again")
        source = self._place.version(stored.scene, stored.version)
        return receive(source, manifest, stored.version, into, on_progress=on_progress)

    def publish(self, folder: Path, scene: str, on_progress: OnProgress) -> StoredVersion:
        """Puts the version that is in force in a gallery folder into the store, and in force there. All of it is read
        on its way and compared with its checksums.

        Args:
            folder: the gallery folder of this machine.
            scene: whose gallery it is.
            on_progress: as in :meth:`fetch`.

        Raises:
            GalleryNotFound, GalleryCorrupt, GalleryMismatch: it cannot be used; the store is as it was.
            GalleryBusy: another program is publishing there.
            GalleryError, GalleryStoreError: the store cannot be written now.
        """
        path = folder / current_version(folder)
        try:
            manifest = parse_manifest((path / MANIFEST).read_bytes(), str(path))
        except OSError as error:
            raise GalleryCorrupt(f"{path / MANIFEST}: {error.strerror or error}") from None
        if self.is_gallery(folder, scene):
            return _stored(scene, path.name, manifest)
        name = self._place.publish(path, manifest, _checked(scene), on_progress=on_progress)
        return _stored(scene, name, manifest)

    def _look(self, scene: str) -> tuple[str, Manifest]:
        data = self._place.read(_checked(scene), CURRENT, most=_NAME)
        if data is None:
            raise GalleryNotFound(
                f"{self.name}: it has no gallery of scene {scene!r}; enroll it, or publish one that a machine has with "
                f"'spade-stream gallery push CONFIG --scene {scene}'"
            )
        name = data.decode("ascii", "replace").strip()
        if not is_version(name):
            raise GalleryCorrupt(f"{self.name}: {scene}/{CURRENT}: {name[:40]!r} is not a version name. {_PUSH}")
        return name, self._manifest(scene, name)

    def _manifest(self, scene: str, name: str) -> Manifest:
        data = self._place.read(scene, f"{name}/{MANIFEST}", most=_MANIFEST)
        if data is None:
            raise GalleryCorrupt(f"{self.name}: {scene}/{name}: it has no {MANIFEST}. {_PUSH}")
        return parse_manifest(data, f"{self.name}/{scene}/{name}")


def store_of(config: Config) -> GalleryStore:
    """The store that the machines of a cluster fetch galleries from: ``gallery.store``, else ``gallery.folder``, which
    then has to be a folder that all of them see.

    Raises:
        UsageError: nothing here knows such a URL.
    """
    return GalleryStore(config.gallery.store or str(config.gallery.folder))


def _stored(scene: str, name: str, manifest: Manifest) -> StoredVersion:
    made = manifest.note.get("made")
    when = made if isinstance(made, str) else ""
    return StoredVersion(scene, name, manifest.digest, manifest.frames, manifest.size_bytes, when)


def _checked(scene: str) -> str:
    if not _SCENE.fullmatch(scene):
        raise UsageError(f"{scene!r} is not the name of a scene")
    return scene
