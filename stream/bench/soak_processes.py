"""The processes of a run, seen from outside through Linux's /proc: who they are, and signals that hit no other one."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUPERVISOR = "supervisor"
"""Role of the run's own process; the others have the names that the supervisor gives them."""

_PROC = Path("/proc")
_OPTION = {"read": "--camera", "sink": "--name"}  # where a process says whose it is
_ROLES = {"read": "reader", "sink": "sink", "score": "worker", "feed": "feed"}


@dataclass(frozen=True, slots=True)
class Instance:
    """One process, from its birth to its death: a number alone may come back as another one's."""

    role: str  # "worker", "feed", "reader gate", "sink archive", ...
    pid: int
    born: int  # in ticks since the machine began


def role_of(argv: Sequence[str]) -> str | None:
    """What a process of ours is, by its words; None where it is none of ours."""
    words = _after_program(argv)
    if not words or words[0] not in _ROLES:
        return None
    role, option = _ROLES[words[0]], _OPTION.get(words[0])
    if option is None:
        return role
    return f"{role} {words[words.index(option) + 1]}" if option in words[:-1] else role


def processes_of(run: int, proc: Path = _PROC) -> dict[str, Instance]:
    """The run and its children that live, by role.

    Args:
        run: process id of ``spade-stream run``.
        proc: for tests.
    """
    found = {}
    for folder in proc.glob("[0-9]*"):
        try:
            state, parent, born = _stat(folder)
            if state == "Z" or run not in (parent, int(folder.name)):
                continue
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except (OSError, ValueError, IndexError):  # it ended while we looked
            continue
        role = SUPERVISOR if int(folder.name) == run else role_of(words)
        if role is not None:
            found[role] = Instance(role, int(folder.name), born)
    return found


def lives(instance: Instance, proc: Path = _PROC) -> bool:
    """Whether this very process is still there."""
    try:
        state, _, born = _stat(proc / str(instance.pid))
    except (OSError, ValueError, IndexError):
        return False
    return born == instance.born and state != "Z"


def send(instance: Instance, number: signal.Signals) -> bool:
    """Sends a signal; False where the process has ended."""
    if not lives(instance):
        return False
    try:
        os.kill(instance.pid, number)
    except ProcessLookupError:
        return False
    return True


def catches(pid: int, number: signal.Signals, proc: Path = _PROC) -> bool:
    """Whether a process has a handler for a signal, which would end it otherwise."""
    try:
        lines = (proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    mask = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return bool(mask >> (number - 1) & 1)


def _stat(folder: Path) -> tuple[str, int, int]:
    """State, parent and birth of a process."""
    # The program's name is in brackets and may hold anything, brackets too; the fields are counted after it.
    fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def _after_program(argv: Sequence[str]) -> Sequence[str]:
    """The words behind ``-m stream`` or ``spade-stream``."""
    for index, word in enumerate(argv):
        if word.rpartition("/")[2] == "spade-stream" or (word == "stream" and index and argv[index - 1] == "-m"):
            return argv[index + 1 :]
    return ()
