"""Which faults a soak does, and when: drawn from a seed, so that a run can be done again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from stream.errors import UsageError


class Fault(StrEnum):
    """What can be done to a pipeline that runs."""

    KILL_WORKER = "kill-worker"  # SIGKILL
    KILL_READER = "kill-reader"
    KILL_FEED = "kill-feed"
    KILL_SINK = "kill-sink"
    STOP_READER = "stop-reader"  # SIGSTOP for a while, then SIGCONT
    STOP_SINK = "stop-sink"
    HANG_WORKER = "hang-worker"  # SIGSTOP, until somebody notices that it hangs
    RELOAD_SAME = "reload-same"  # SIGHUP with the configuration as it was
    RELOAD_CAMERA = "reload-camera"  # a camera is taken out, and put in again
    RELOAD_BROKEN = "reload-broken"  # a file that is no configuration
    FLOOD_FEED = "flood-feed"  # junk and idle connections on the feed's port
    DEAF_SUBSCRIBER = "deaf-subscriber"  # subscribes, gives signs of life, reads nothing


MOST_QUIET = 60.0
"""Seconds before the end in which no fault begins, to recover from the last one; of a short run a quarter."""

_LEAST_APART = 1 / 5  # of the mean: two faults never begin closer together


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault to come."""

    at: float  # s since the soak began
    fault: Fault
    pick: float  # 0 <= pick < 1: which camera or sink it hits, as a place in the list of them

    def choose(self, names: Sequence[str]) -> str:
        """The one of N > 0 names that the fault hits."""
        return names[int(self.pick * len(names))]


def plan(*, seed: int, seconds: float, every: float, kinds: Sequence[Fault]) -> tuple[Planned, ...]:
    """Faults in order of time.

    Kinds come in rounds: each round has every kind once, in an order of its own, so that none is left out by chance.

    Args:
        seed: the same one gives the same faults.
        seconds: length of the soak.
        every: mean seconds from one fault to the next.
        kinds: what may be done; none: no faults.
    """
    random = Random(seed)
    last = seconds - min(MOST_QUIET, seconds / 4)
    least = every * _LEAST_APART
    planned: list[Planned] = []
    round_left: list[Fault] = []
    at = 0.0
    while kinds:
        at += least + random.expovariate(1 / (every - least))
        if at >= last:
            break
        if not round_left:
            round_left = random.sample(list(kinds), len(kinds))
        planned.append(Planned(at, round_left.pop(), random.random()))
    return tuple(planned)


def faults_named(names: Sequence[str]) -> tuple[Fault, ...]:
    """Faults from their names; ``all`` and ``none`` are names too.

    Raises:
        UsageError: one is unknown.
    """
    if names in ((), ("none",), ["none"]):
        return ()
    if tuple(names) == ("all",):
        return tuple(Fault)
    try:
        return tuple(dict.fromkeys(Fault(name) for name in names))
    except ValueError:
        unknown = next(name for name in names if name not in list(Fault))
        raise UsageError(f"--faults {unknown}: no such fault; there are all, none, {', '.join(Fault)}") from None
