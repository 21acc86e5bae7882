"""Where a benchmark works: a folder that is kept where the user names one, and a temporary one else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
