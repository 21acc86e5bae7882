"""A store of galleries behind a URL that can fail in chosen ways: fsspec's memory, with faults. For tests of stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

SECRET = "hunter2"


class FaultyFileSystem(MemoryFileSystem):
    """Memory that calls ``fault(operation, path)`` first, which may raise what such packages raise."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False
    fault: Callable[[str, str], None] = staticmethod(lambda operation, path: None)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://")))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        type(self).fault("read" if mode == "rb" else "write", path)
        return super()._open(path, mode=mode, **options)

    def cat_file(self, path: str, **options: Any) -> Any:
        type(self).fault("read", path)
        return super().cat_file(path, **options)

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        type(self).fault("write", path)
        super().pipe_file(path, value, **options)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        type(self).fault("list", path)
        return super().ls(path, detail=detail, **options)


_numbers = itertools.count()


def faulty_url() -> Iterator[str]:
    """A store of its own; for a fixture."""
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    FaultyFileSystem.fault = staticmethod(lambda operation, path: None)
    yield f"faulty://user:{SECRET}@bucket{next(_numbers)}/galleries"
    FaultyFileSystem.fault = staticmethod(lambda operation, path: None)


def fail(*, on: str, name: str = "", error: Exception | None = None, times: int = 1_000_000) -> None:
    """From now on an operation on files of that name fails, so many times."""
    left = [times]

    def fault(operation: str, path: str) -> None:
        if operation == on and name in path and left[0] > 0:
            left[0] -= 1
            raise error or ConnectionError(f"no answer for user:{SECRET}@bucket")

    FaultyFileSystem.fault = staticmethod(fault)


def works() -> None:
    """From now on nothing fails."""
    FaultyFileSystem.fault = staticmethod(lambda operation, path: None)


def files_of(url: str) -> dict[str, bytes]:
    """All files of a store, by their paths in it."""
    fs, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(f"{root}/"): bytes(fs.store[path].getvalue()) for path in fs.find(root)}


def write(url: str, path: str, data: bytes) -> None:
    """Writes a file of a store, as somebody else would."""
    fs, root = fsspec.core.url_to_fs(url)
    fs.makedirs(f"{root}/{path}".rpartition("/")[0], exist_ok=True)
    fs.pipe_file(f"{root}/{path}", data)
