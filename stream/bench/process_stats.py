"""What processes take of the machine, read from Linux's /proc: processor time, memory, open files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from stream.errors import UsageError

LEAST_FOR_SLOPE = 300.0
"""Seconds that samples must span before memory has a slope: over less, one buffer more looks like a leak."""

_MIB_PER_KIB = 1 / 1024
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process takes, or several together."""

    processes: int = 0
    cpu_s: float = 0.0  # processor time since it began, user and system
    rss_mib: float = 0.0  # memory in use; what processes share counts for each of them
    pss_mib: float = 0.0  # the same, what is shared divided among those who share it: this one adds up
    own_mib: float = 0.0  # of the memory in use what is no file mapped into it: leaks are here, file pages come and go
    files: int = 0  # open file descriptors

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Usage)))


def check_supported() -> None:
    """Raises UsageError where processes cannot be looked at in this way."""
    if not (_PROC / "self" / "smaps_rollup").exists():
        raise UsageError("/proc/PID/smaps_rollup is needed to measure processes: this works on Linux 4.14 or newer")


def usage(pids: Iterable[int]) -> Usage:
    """What these processes take together; those that have ended count for nothing."""
    total = Usage()
    for pid in pids:
        try:
            total += usage_of(_PROC / str(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def usage_of(folder: Path) -> Usage:
    """What one process takes.

    Args:
        folder: its own under ``/proc``.

    Raises:
        FileNotFoundError, ProcessLookupError: it has ended.
    """
    memory = (folder / "smaps_rollup").read_text(encoding="utf-8")
    return Usage(
        processes=1,
        cpu_s=cpu_seconds(folder),
        rss_mib=_kib(memory, "Rss") * _MIB_PER_KIB,
        pss_mib=_kib(memory, "Pss") * _MIB_PER_KIB,
        own_mib=_kib(memory, "Anonymous") * _MIB_PER_KIB,
        files=len(os.listdir(folder / "fd")),
    )


def cpu_seconds(folder: Path) -> float:
    """Processor time of a process since it began, user and system, in s; ``folder`` as for :func:`usage_of`."""
    # The program's name is in brackets and may hold anything, brackets too; the fields are counted after it.
    after_name = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def machine_busy_seconds(stat: Path = _PROC / "stat") -> float:
    """Processor time that the whole machine has spent at work since it began, over all cores, in s."""
    user, nice, system, _idle, _waiting, *interrupts = map(
        int, stat.read_text(encoding="utf-8").split("\n")[0].split()[1:8]
    )
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def slope_per_hour(times: Sequence[float], values: Sequence[float]) -> float | None:
    """How fast a value grows, by least squares.

    Args:
        times: N seconds, rising.
        values: N of them, in any unit.

    Returns:
        That unit per hour; None where the samples span less than ``LEAST_FOR_SLOPE``.
    """
    if len(times) < 2 or times[-1] - times[0] < LEAST_FOR_SLOPE:
        return None
    mean_time, mean_value = sum(times) / len(times), sum(values) / len(values)
    spread = sum((time - mean_time) ** 2 for time in times)
    together = sum((time - mean_time) * (value - mean_value) for time, value in zip(times, values, strict=True))
    return together / spread * 3600


def _kib(rollup: str, name: str) -> int:
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith(f"{name}:")), 0)
