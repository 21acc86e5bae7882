"""The two kinds of places that a store of galleries can be: a folder, and a URL that fsspec knows. For
``gallery_store``.

A folder is written like any gallery folder: under its lock, the new version renamed into its place. Behind a URL there
is neither lock nor renaming. There a version's number is claimed with a small file of a name of its own, looked for
afterwards: of two that publish at the same time, the one that looks later sees the other's, and takes another number.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spade_core.errors import GalleryCorrupt, GalleryError, SpadeError
from spade_core.gallery_layout import CURRENT, MANIFEST, is_version
from stream.errors import GalleryStoreError, StreamError, UsageError
from stream.gallery_copy import (
    AGAIN,
    CHUNK,
    MAX_MANIFEST,
    FolderVersion,
    Manifest,
    OnProgress,
    VersionSource,
    parse_manifest,
    receive,
)
from stream.redact import redact_text, redact_url

_CLAIM = ".claim-"
_MOST_TRIES = 20  # numbers that are claimed before somebody is told; each lost one was another machine's


def folder_of(url: str) -> Path | None:
    """The folder that a store's URL means; None: it is another kind of URL."""
    if "://" not in url:
        return Path(url)
    scheme, _, rest = url.partition("://")
    return Path(rest) if scheme.lower() in ("file", "local") else None


class FolderPlace:
    """A folder, which several machines may have mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def scenes(self) -> list[str]:
        """See :class:`stream.gallery_store.Place`."""
        try:
            return [path.name for path in self._folder.iterdir() if path.is_dir() and path.name[:1] != "."]
        except OSError as error:
            raise self._gone(error) from None

    def read(self, scene: str, name: str, *, most: int) -> bytes | None:
        """See there."""
        path = self._folder / scene / name
        try:
            with path.open("rb") as file:
                return file.read(most)
        except (FileNotFoundError, NotADirectoryError):
            if not self._folder.is_dir():  # a share that is not mounted must not look like an empty one
                raise self._gone(None) from None
            return None
        except OSError as error:
            raise GalleryStoreError(f"{path}: cannot be read: {error.strerror or error}") from None

    def version(self, scene: str, name: str) -> VersionSource:
        """See there."""
        return FolderVersion(self._folder / scene / name)

    def publish(self, source: Path, manifest: Manifest, scene: str, *, on_progress: OnProgress) -> str:
        """See there."""
        return receive(FolderVersion(source), manifest, source.name, self._folder / scene, on_progress=on_progress)

    def _gone(self, error: OSError | None) -> GalleryStoreError:
        why = "is not there" if error is None else f"cannot be read: {error.strerror or error}"
        return GalleryStoreError(f"{self._folder}: the folder of galleries {why}. Is its disk mounted?")


class UrlPlace:
    """A URL that fsspec knows. It is connected to when it is first needed, and again after a failure.

    Raises:
        UsageError: no such kind of URL is known, or the package for it is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url, self._name = url.rstrip("/"), redact_url(url.rstrip("/"))
        self._fs: Any = None
        self._root = ""
        import fsspec  # not above: loading it takes longer than most commands run

        try:
            fsspec.get_filesystem_class(fsspec.utils.get_protocol(url))
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self._name}: no store of galleries can be opened there: {error}") from None

    def __str__(self) -> str:
        return self._name

    def scenes(self) -> list[str]:
        """See :class:`stream.gallery_store.Place`."""
        return self._names("")

    def read(self, scene: str, name: str, *, most: int) -> bytes | None:
        """See there."""
        with self._asking(f"{scene}/{name}") as fs:
            try:
                # In one request: what is opened and then read may be another one by then.
                return bytes(fs.cat_file(f"{self._root}/{scene}/{name}", start=0, end=most))
            except FileNotFoundError:
                return None

    def version(self, scene: str, name: str) -> VersionSource:
        """See there."""
        return _UrlVersion(self, f"{scene}/{name}")

    def publish(self, source: Path, manifest: Manifest, scene: str, *, on_progress: OnProgress) -> str:
        """See there."""
        there = sorted((name for name in self._names(scene) if is_version(name)), key=_number)
        found = self._same(scene, [source.name, *reversed(there)], manifest, on_progress)
        if found is None:
            found = self._claim(scene, max([_number(source.name), *(_number(name) + 1 for name in there)]))
            try:
                self._upload(source, manifest, f"{scene}/{found}", on_progress)
            except BaseException:
                self._remove(f"{scene}/{found}")
                raise
        self._write(f"{scene}/{CURRENT}", f"{found}\n".encode())
        return found

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, by its path in the store."""
        with self._asking(path) as fs:
            try:
                with fs.open(f"{self._root}/{path}", "rb") as file:
                    while chunk := file.read(CHUNK):
                        yield bytes(chunk)
            except FileNotFoundError:
                raise GalleryCorrupt(f"{self._name}/{path}: is missing. {AGAIN}") from None

    def _same(self, scene: str, names: list[str], manifest: Manifest, on_progress: OnProgress) -> str | None:
        """Which of these versions is that one, and whole."""
        for name in dict.fromkeys(names):
            data = self.read(scene, f"{name}/{MANIFEST}", most=MAX_MANIFEST + 1)
            with suppress(GalleryError):  # damaged, so not the one
                same = data is not None and parse_manifest(data, name).digest == manifest.digest
                if same and self._is_whole(f"{scene}/{name}", manifest, on_progress):
                    return name
        return None

    def _is_whole(self, target: str, manifest: Manifest, on_progress: OnProgress) -> bool:
        """Reads all of it: who publishes something again may do so because what is there is damaged."""
        with self._asking(target) as fs:
            fs.invalidate_cache()
        done = 0
        for name, entry in manifest.files.items():
            digest, size = hashlib.sha256(), 0
            for chunk in self.chunks(f"{target}/{name}"):
                digest.update(chunk)
                size += len(chunk)
                on_progress(min(done + size, manifest.size_bytes), manifest.size_bytes)
            if {"bytes": size, "sha256": digest.hexdigest()} != dict(entry):
                return False
            done += size
        return True

    def _claim(self, scene: str, number: int) -> str:
        """A number that is nobody else's."""
        for tried in range(_MOST_TRIES):
            # Two that have lost to each other must not go on side by side.
            number += 0 if tried == 0 else 1 + secrets.randbelow(tried + 1)
            name, mine = f"v{number:06d}", f"{_CLAIM}{secrets.token_hex(8)}"
            self._write(f"{scene}/{name}/{mine}", b"1")
            if self._names(f"{scene}/{name}") == [mine]:
                return name
            self._remove(f"{scene}/{name}/{mine}")
        raise GalleryStoreError(f"{self._name}/{scene}: other machines publish there all the time; try again later")

    def _upload(self, source: Path, manifest: Manifest, target: str, on_progress: OnProgress) -> None:
        done = 0
        for name, entry in manifest.files.items():
            digest, size = hashlib.sha256(), 0
            with self._asking(f"{target}/{name}") as fs, fs.open(f"{self._root}/{target}/{name}", "wb") as out:
                for chunk in FolderVersion(source).chunks(name):
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                    on_progress(done + size, manifest.size_bytes)
            if {"bytes": size, "sha256": digest.hexdigest()} != dict(entry):
                raise GalleryCorrupt(f"{source / name}: its checksum is not the one it was written with")
            done += size
        self._check_sizes(manifest, target)
        self._write(f"{target}/{MANIFEST}", manifest.data)
        for name in self._names(target):
            if name.startswith(_CLAIM):
                self._remove(f"{target}/{name}")

    def _check_sizes(self, manifest: Manifest, target: str) -> None:
        for name, entry in manifest.files.items():
            with self._asking(f"{target}/{name}") as fs:
                fs.invalidate_cache()
                size = fs.info(f"{self._root}/{target}/{name}")["size"]
            if size != entry["bytes"]:
                raise GalleryStoreError(f"{self._name}/{target}/{name}: {size} bytes arrived of {entry['bytes']}")

    def _names(self, path: str) -> list[str]:
        """What is in a folder; nothing where there is none: many of these stores know no folders."""
        with self._asking(path) as fs:
            fs.invalidate_cache()  # others publish there, too
            try:
                found = fs.ls(f"{self._root}/{path}".rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
            own = f"{self._root}/{path}".strip("/")  # of an empty folder some of them tell the folder itself
        return sorted({name.rpartition("/")[2] for one in found if (name := str(one).strip("/")) != own})

    def _write(self, path: str, data: bytes) -> None:
        with self._asking(path) as fs:
            try:
                fs.pipe_file(f"{self._root}/{path}", data)
            except FileNotFoundError:  # some of these stores have folders, which have to be made
                top = self._root[: self._root.find("/", 1)] if "/" in self._root[1:] else self._root
                if not fs.exists(top):  # but never a bucket, for its name may be mistyped
                    raise GalleryStoreError(f"{self._name}: its bucket or first folder is not there: make it") from None
                fs.makedirs(f"{self._root}/{path}".rpartition("/")[0], exist_ok=True)
                fs.pipe_file(f"{self._root}/{path}", data)

    def _remove(self, path: str) -> None:
        """What cannot be removed has no manifest, so that nobody takes it for a version."""
        with suppress(GalleryStoreError), self._asking(path) as fs:
            fs.invalidate_cache()
            fs.rm(f"{self._root}/{path}", recursive=True)

    @contextmanager
    def _asking(self, path: str) -> Iterator[Any]:
        """The file system; what goes wrong there, of whatever kind, is one kind of error here."""
        try:
            if self._fs is None:
                import fsspec

                self._fs, root = fsspec.core.url_to_fs(self._url)
                self._root = str(root).rstrip("/")
            yield self._fs
        except (StreamError, SpadeError):
            raise
        except Exception as error:  # each of these packages has errors of its own
            self._fs = None
            what = redact_text(f"{type(error).__name__}: {error}", [self._url])
            raise GalleryStoreError(f"{self._name}/{path}: the store does not answer as it should: {what}") from None


class _UrlVersion:
    """A version behind a URL."""

    def __init__(self, place: UrlPlace, path: str) -> None:
        self._place, self._path = place, path

    @property
    def where(self) -> str:
        """For errors."""
        return f"{self._place}/{self._path}"

    def link(self, name: str, target: Path) -> bool:
        """Never possible there."""
        return False

    def chunks(self, name: str) -> Iterator[bytes]:
        """See :class:`stream.gallery_copy.VersionSource`."""
        return self._place.chunks(f"{self._path}/{name}")


def _number(name: str) -> int:
    return int(name[1:])
