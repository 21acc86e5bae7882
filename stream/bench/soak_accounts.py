"""What became of every frame and of every alert message of a soak. Pure.

The worker counts what it scored, and readers what they dropped. A process that is killed takes its counts with it, so
counts are compared between two status files of one worker and one reader, and those spans are added up. Where only the
worker changed, the reader's counts go on, and the score log says what the killed worker had scored after its last
status: what is left then was lost with the worker. Where the reader changed, what it had captured after the worker's
last status is not known, and not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.messages import Alert, unix_time
from stream.scorelog import ScoreRow

LOST_WITH_WORKER = "worker.killed"
"""Frames that a worker had taken and neither scored nor given back when it was killed. Only the soak counts them."""

_OF_READER = "reader."
_OF_WORKER = "worker."  # reasons that the worker counts itself: a new one begins at 0

Key = tuple[int, str, str]
"""What identifies an alert message: seq, alert_id, phase."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """From the last status of a killed worker to the first of the next one; the reader is the same."""

    after: float  # Unix seconds: frame time of the last frame that the old one's status knew
    until: float  # the same of the first that the new one's knew
    captured: int  # frames between the two
    dropped: Mapping[str, int]  # of them, by reason, as their reader says


@dataclass(slots=True)
class FrameAccount:
    """One camera's frames."""

    captured: int = 0
    scored: int = 0
    not_scored: int = 0
    drops: Counter[str] = field(default_factory=Counter)  # by "stage.reason"
    spans: int = 0  # pairs of one worker and one reader that were looked at
    readers_lost: int = 0  # readers whose last counts are not known
    crossed: int = 0  # workers that went while the reader stayed
    crossings: list[Crossing] = field(default_factory=list)  # of those, what is not settled yet

    @property
    def unaccounted(self) -> int:
        """Captured frames that are nowhere else in here: 0, or the accounting is wrong."""
        return self.captured - self.scored - self.not_scored - self.drops.total()

    @property
    def tolerance(self) -> int:
        """By how much ``unaccounted`` may miss 0: a reader counts with a frame what it drops while it packs it, though
        that came later. So at each end of a span there may be one too many."""
        return self.spans if any(reason.startswith(_OF_READER) and n for reason, n in self.drops.items()) else 0

    def cross(self, rows: Iterable[ScoreRow]) -> None:
        """Settles all crossings by the camera's score log, of any length."""
        logged = [(row.frame_time, row.score is not None) for row in rows] if self.crossings else []
        for crossing in self.crossings:
            within = [scored for time, scored in logged if crossing.after < time <= crossing.until]
            self.captured += crossing.captured
            self.scored += sum(within)
            self.not_scored += len(within) - sum(within)
            self.drops.update(crossing.dropped)
            self.drops[LOST_WITH_WORKER] += crossing.captured - len(within) - sum(crossing.dropped.values())
        self.crossings.clear()


@dataclass(frozen=True, slots=True)
class _Seen:
    worker: object
    reader: object
    status: Mapping[str, Any]


@dataclass(slots=True)
class Accounts:
    """The frames of all cameras; to be shown every status."""

    cameras: dict[str, FrameAccount] = field(default_factory=dict)
    _last: dict[str, _Seen] = field(default_factory=dict)

    def see(
        self, cameras: Mapping[str, Mapping[str, Any]], *, worker: object, reader_of: Callable[[str], object]
    ) -> None:
        """Takes the next status.

        Args:
            cameras: of the status, see ``CameraHealth.to_json``.
            worker: the process that wrote it; equal means the same one.
            reader_of: the process that reads a camera now, or None.
        """
        for camera in self._last.keys() - cameras.keys():  # taken out of the configuration
            del self._last[camera]
        for camera, status in cameras.items():
            reader = reader_of(camera)
            if status.get("last_seq") is not None and reader is not None:
                self._see(self.cameras.setdefault(camera, FrameAccount()), camera, _Seen(worker, reader, status))

    def _see(self, account: FrameAccount, camera: str, now: _Seen) -> None:
        before = self._last.get(camera)
        self._last[camera] = now
        same_reader = before is not None and before.reader == now.reader and _goes_on(before.status, now.status)
        if before is None or not same_reader:
            account.spans += 1
            account.readers_lost += before is not None and before.reader != now.reader
        elif before.worker == now.worker:
            account.captured += now.status["last_seq"] - before.status["last_seq"]
            account.scored += now.status["scored"] - before.status["scored"]
            account.not_scored += now.status["not_scored"] - before.status["not_scored"]
            account.drops.update(_dropped(before.status, now.status))
        else:
            account.spans += 1
            account.crossed += 1
            account.crossings.append(_crossing(before.status, now.status))


def _goes_on(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """A reader's numbers only rise. (Its process alone says it too late: the status may be the one before's.)"""
    return bool(now["last_seq"] >= before["last_seq"]) and all(
        now["drops"].get(reason, count) >= count
        for reason, count in before["drops"].items()
        if not reason.startswith(_OF_WORKER)
    )


def _dropped(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, int]:
    lost = {reason: count - before["drops"].get(reason, 0) for reason, count in now["drops"].items()}
    return {reason: count for reason, count in lost.items() if count}


def _crossing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Crossing:
    of_reader = {reason: count for reason, count in before["drops"].items() if not reason.startswith(_OF_WORKER)}
    return Crossing(
        after=unix_time(before["last_frame_time"]),
        until=unix_time(now["last_frame_time"]),
        captured=now["last_seq"] - before["last_seq"],
        dropped=_dropped({"drops": of_reader}, now),
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one sink or subscriber got of what was committed."""

    name: str
    received: int  # messages, each counted once
    repeated: int  # messages that came more than once: allowed
    missing: tuple[int, ...]  # numbers that were committed and never came
    foreign: tuple[int, ...]  # numbers that came and are not in the outbox, or are another message there
    gaps: tuple[tuple[int, int], ...] = ()  # first and last number of each gap that the feed told
    after_drain: int = 0  # messages that only came once the feed was started again, after the run's end

    @property
    def equal(self) -> bool:
        """The two sets are the same."""
        return not (self.missing or self.foreign)


def key_of(alert: Alert) -> Key:
    """What identifies an alert message."""
    return alert.seq, alert.alert_id, str(alert.phase)


def deliver(
    name: str,
    got: Sequence[Key],
    committed: Iterable[Key],
    *,
    gaps: Sequence[tuple[int, int]] = (),
    before: int | None = None,
) -> Delivery:
    """Holds what somebody got against the outbox.

    Args:
        name: of the sink or subscriber.
        got: in the order in which it came.
        committed: all of the outbox.
        gaps: that it was told.
        before: how many of ``got`` were there when the run had ended; None: all.
    """
    received, stored = set(got), set(committed)
    return Delivery(
        name=name,
        received=len(received),
        repeated=len(got) - len(received),
        missing=tuple(sorted(seq for seq, *_ in stored - received)),
        foreign=tuple(sorted(seq for seq, *_ in received - stored)),
        gaps=tuple(gaps),
        after_drain=0 if before is None else len(got) - before,
    )
