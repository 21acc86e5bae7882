"""What the control of a cluster must not forget when it ends: numbers given out, every outbox ever heard of, and where
cameras are. Small files in ``STATE/cluster``. For ``control``.

A disk that is full or a file that cannot be read stops nothing: it is said in ``problem``, and tried again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.cluster.model import MAX_MANY, OutboxPlace, OutboxState, Place
from stream.durable import write_durably
from stream.errors import UsageError
from stream.fields import MAX_WHOLE, as_object, listed, read_object, whole

COUNTER_FILE, OUTBOXES_FILE, PLACES_FILE = "generation.json", "outboxes.json", "places.json"

RESERVED = 1000
"""Numbers that are noted as given out at a time: one write for so many changes."""

LAST_SEQ_EVERY = 10.0
"""Seconds between two writes for nothing but new alerts. A number that is a little old says less, and nothing wrong."""

_ASIDE = ".unreadable"  # suffix of a file that was found broken: a person may want to look at it

_log = logging.getLogger(__name__)


class Kept:
    """One JSON file, written when it has changed, and again when that failed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unreadable = ""
        self._unwritten = ""

    @property
    def problem(self) -> str:
        """What is wrong with the file; empty where nothing is."""
        return self._unwritten or self._unreadable

    def read(self) -> dict[str, Any] | None:
        """What it holds; None where it is not there, or holds nothing that can be read (see :meth:`set_aside`)."""
        try:
            return read_object(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.set_aside(error)
            return None

    def set_aside(self, error: Exception) -> None:
        """Keeps an unreadable file out of the way under another name, and says so for as long as this object lives."""
        aside = self._path.with_name(self._path.name + _ASIDE)
        try:
            self._path.replace(aside)
            fate = f"was laid aside as {aside.name}"
        except OSError as failure:
            fate = f"cannot be laid aside ({failure.strerror})"
        self._unreadable = f"{self._path}: cannot be read, and {fate}: {error}"
        _log.error("%s", self._unreadable)

    def write(self, content: Mapping[str, Any]) -> bool:
        """Replaces it durably; False where that failed."""
        try:
            write_durably(self._path, json.dumps(content).encode() + b"\n")
        except OSError as error:
            text = f"{self._path}: cannot be written: {error.strerror}"
            if text != self._unwritten:
                _log.error("%s", text)
            self._unwritten = text
            return False
        self._unwritten = ""
        return True


class Counter:
    """Numbers that only grow, also over a restart of the control.

    Args:
        folder: where they are noted.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder / COUNTER_FILE)
        found = self._kept.read()
        try:
            self._value = 0 if found is None else whole(found, "reserved")
        except ValueError as error:
            self._kept.set_aside(error)
            self._value = 0
        self._reserved = self._value

    @property
    def problem(self) -> str:
        """What is wrong with its file."""
        return self._kept.problem

    @property
    def value(self) -> int:
        """The last number given out."""
        return self._value

    def next(self) -> int:
        """A number above all that were given out."""
        self._go_to(self._value + 1)
        return self._value

    def catch_up(self, value: int) -> None:
        """Somebody was given this number. If it was not given out here, the file is lost: goes on far above it, because
        others may have been given more.
        """
        if value > self._value:
            self._go_to(min(value, MAX_WHOLE - 2 * RESERVED) + RESERVED)

    def _go_to(self, value: int) -> None:
        self._value = value
        if self._value > self._reserved and self._kept.write({"reserved": self._value + RESERVED}):
            self._reserved = self._value + RESERVED


class PlaceLedger:
    """Where cameras were scored when it was last written.

    Args:
        folder: where it is noted.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder / PLACES_FILE)
        self._written: dict[str, Place] = self._read()

    @property
    def problem(self) -> str:
        """What is wrong with its file."""
        return self._kept.problem

    @property
    def places(self) -> Mapping[str, Place]:
        """As they were written last, by camera."""
        return self._written

    def keep(self, places: Mapping[str, Place]) -> None:
        """Writes them, if they are others than before."""
        if dict(places) == self._written:
            return
        if self._kept.write({"places": [place.to_json() for place in places.values()]}):
            self._written = dict(places)

    def _read(self) -> dict[str, Place]:
        found = self._kept.read() or {"places": []}
        try:
            places = [Place.from_json(as_object(each, "places")) for each in listed(found, "places", most=MAX_MANY)]
        except ValueError as error:
            self._kept.set_aside(error)
            return {}
        return {place.camera: place for place in places}


class OutboxLedger:
    """Every outbox that was ever heard of, and whether its alerts can be had now.

    Args:
        folder: where it is noted.
        counter: gives the numbers of its generations.
        clock: seconds, monotonic.
    """

    def __init__(self, folder: Path, counter: Counter, *, clock: Callable[[], float]) -> None:
        self._kept, self._counter, self._clock = Kept(folder / OUTBOXES_FILE), counter, clock
        self._known = self._read()
        self._due: float | None = None  # when what has changed is to be written at the latest
        self._told = (counter.next(), self._sorted())

    @property
    def problem(self) -> str:
        """What is wrong with its file."""
        return self._kept.problem

    def told(self) -> tuple[int, tuple[OutboxPlace, ...]]:
        """A number that grows with every change of where something can be had, and all outboxes. From any thread."""
        return self._told

    def hear(self, reported: Iterable[OutboxPlace], *, now: float, all_heard: bool) -> None:
        """Takes what the workers that answer say of the outboxes on their disks.

        Args:
            reported: all of it.
            now: Unix seconds.
            all_heard: whether what nobody has reported is missing; False while not all workers have been asked yet.
        """
        live = _best(reported)
        known = {id: _heard(self._known.get(id), place, now) for id, place in live.items()}
        for id, place in self._known.items():
            if id not in known:
                known[id] = _missing(place, now) if all_heard else place
        self._take(known)

    def forget(self, id: str) -> None:
        """Drops one whose disk will not come back.

        Raises:
            UsageError: there is none of this id, or its alerts can be had.
        """
        found = self._known.get(id)
        if found is None:
            raise UsageError(f"no outbox {id!r} was ever heard of; 'spade-stream cluster status' shows them")
        if found.state is OutboxState.LIVE:
            raise UsageError(f"outbox {id!r} is live on {found.node}: only a missing one can be forgotten")
        self._take({key: place for key, place in self._known.items() if key != id})

    def save(self) -> None:
        """Writes what is due. Called often."""
        if self._due is not None and self._clock() >= self._due:
            done = self._kept.write({"outboxes": [place.to_json() for place in self._sorted()]})
            self._due = None if done else self._clock() + 1.0

    def _take(self, known: dict[str, OutboxPlace]) -> None:
        if known == self._known:
            return
        moved = _without_numbers(known) != _without_numbers(self._known)
        self._known = known
        self._told = (self._counter.next() if moved else self._told[0], self._sorted())
        due = self._clock() + (0.0 if moved else LAST_SEQ_EVERY)
        self._due = due if self._due is None else min(due, self._due)

    def _sorted(self) -> tuple[OutboxPlace, ...]:
        return tuple(self._known[id] for id in sorted(self._known))

    def _read(self) -> dict[str, OutboxPlace]:
        found = self._kept.read() or {"outboxes": []}
        try:
            all_of_it = listed(found, "outboxes", most=MAX_MANY)
            outboxes = [OutboxPlace.from_json(as_object(each, "outboxes")) for each in all_of_it]
        except ValueError as error:
            self._kept.set_aside(error)
            return {}
        return {outbox.id: outbox for outbox in outboxes}


def _best(reported: Iterable[OutboxPlace]) -> dict[str, OutboxPlace]:
    """One word on each: for a moment two workers may speak of one outbox. Who serves it is right."""
    best: dict[str, OutboxPlace] = {}
    for place in reported:
        if place.id not in best or _rank(place) > _rank(best[place.id]):
            best[place.id] = place
    return best


def _rank(place: OutboxPlace) -> tuple[bool, int]:
    return place.state is OutboxState.LIVE and bool(place.endpoint), place.last_seq


def _heard(before: OutboxPlace | None, place: OutboxPlace, now: float) -> OutboxPlace:
    if not _rank(place)[0]:  # it is there, and nobody serves it
        return _missing(before or replace(place, state=OutboxState.LIVE), now)
    kept = before is not None and before.state is OutboxState.LIVE
    since = before.since if before is not None and kept else now
    return replace(place, since=since, last_seq=max(place.last_seq, before.last_seq if before else 0))


def _missing(place: OutboxPlace, now: float) -> OutboxPlace:
    if place.state is OutboxState.MISSING:
        return place
    return replace(place, state=OutboxState.MISSING, since=now, endpoint="", server="")


def _without_numbers(known: Mapping[str, OutboxPlace]) -> dict[str, OutboxPlace]:
    return {id: replace(place, last_seq=0) for id, place in known.items()}
