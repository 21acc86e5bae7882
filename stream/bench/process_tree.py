"""Which processes belong together, from what Linux says in ``/proc``: to find all of a node, to kill or to measure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def descendants(pid: int) -> Iterator[int]:
    """Children of a process, their children, and so on, by process id, the nearest first."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                after_name = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(folder.name))
    waiting = list(children.get(pid, []))
    while waiting:
        child = waiting.pop(0)
        yield child
        waiting += children.get(child, [])


def command_of(pid: int) -> str:
    """Which command of ours a process is (``score``, ``read``, ...); empty: it is none, or has ended."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    at = words.index(b"stream") if b"stream" in words else len(words)
    return words[at + 1].decode(errors="replace") if at + 1 < len(words) and words[at - 1] == b"-m" else ""


def with_variable(name: str, value: Path) -> Iterator[int]:
    """Processes that have this in their environment, as far as one may see it."""
    mark = os.fsencode(f"{name}={value}")
    for process in _PROC.iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # it has ended, or is another user's
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    yield int(process.name)


def runs(pid: int) -> bool:
    """It has not ended; a dead one that nobody has waited for yet has."""
    try:
        state = (_PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
