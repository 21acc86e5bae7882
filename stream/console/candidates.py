"""How many frames wait to be followed, by their files alone: what is in them is for the command that takes them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stream.messages import iso_time


def candidates_of(folder: Path) -> dict[str, Any]:
    """``{candidates, oldest, newest}`` of a scene; the times are those at which the files were written."""
    times = []
    for path in folder.glob("*.npz"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:  # just taken in, or given up
            continue
    return {
        "candidates": len(times),
        "oldest": iso_time(min(times)) if times else None,
        "newest": iso_time(max(times)) if times else None,
    }
