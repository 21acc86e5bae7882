"""Where a benchmark works: a folder that is kept where the user names one, and a temporary one else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import UsageError
from stream.replay import prepare_folder

_MARKER = "bench-footage"
"""File in a folder of a benchmark: what holds it may be replaced."""


@contextmanager
def work_folder(out: Path | None) -> Iterator[Path]:
    """An empty folder.

    Args:
        out: made, or emptied where an earlier benchmark made it; None: a temporary one, removed afterwards.

    Raises:
        UsageError: OUT holds something else, which is left alone.
    """
    if out is not None:
        prepare_folder(out, marker=_MARKER)
        (out / _MARKER).touch()
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="spade-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kept_folder(out: Path | None) -> Iterator[Path]:
    """A folder in which ``clips`` and what hangs on them stay for the next time.

    Args:
        out: made, or used again where it holds clips; None: a temporary one, removed afterwards.

    Raises:
        UsageError: OUT holds something else, which is left alone.
    """
    if out is None:
        folder = Path(tempfile.mkdtemp(prefix="spade-bench-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file")
    if out.is_dir() and any(out.iterdir()) and not (out / "clips").is_dir():
        raise UsageError(f"--out {out}: is not empty and not of an earlier run of this command; name another folder")
    (out / "clips").mkdir(parents=True, exist_ok=True)
    yield out
