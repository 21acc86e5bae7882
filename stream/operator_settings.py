"""What operators set while the system runs: zones, sensitivity, snoozes. A small JSON file in the state folder.

The console and the ``operator`` commands write it, the worker watches it. It is read strictly and replaced in one step
under a lock. Its revision grows with every change, so that of two people who change the same thing the second is told
what the first did. Pure but for the file; anybody may use it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stream import lockfile
from stream.durable import write_durably
from stream.errors import OperatorSettingsError, SettingsConflict
from stream.fields import as_object, brief, number, read_object, text, whole
from stream.file_watch import FileWatch
from stream.zones import WHOLE, Part, Zone, check_names, check_zones, zones_from_json

SCHEMA = "spade-stream/operator/1"
"""Name and version of the file's format."""

LEAST_FACTOR, MOST_FACTOR = 0.2, 20.0
"""Of the threshold factor: below, everything would alert; above, nothing ever would and the camera were as good as off.
"""

MOST_SNOOZE = 7 * 24 * 60.0
"""Minutes of a snooze. Who wants none of a camera's alerts for longer takes it out of the configuration."""

MOST_REASON = 200
"""Characters of a snooze's reason."""

_LATEST = 32_503_680_000.0  # Unix seconds, the year 3000: no snooze lasts that long, and people's dates end there
_MOST_BYTES = 1 << 24  # of the file: a thousand cameras with ten zones each need 4 MB
_MOST_NAME = 64  # characters of a camera's id
_LOCK_WAIT, _LOCK_PAUSE = 5.0, 0.02  # s: another writer holds it for some milliseconds


@dataclass(frozen=True, slots=True)
class CameraOperator:
    """What operators have set for one camera.

    Raises:
        ValueError: a value is out of bounds; names it.
    """

    zones: tuple[Zone, ...] = ()  # on top of those in the configuration
    threshold_factor: float = 1.0  # the threshold in force is the calibrated one times this
    snoozed_until: float | None = None  # Unix seconds: until then no alert starts; None = not snoozed
    snooze_reason: str = ""  # for people

    def __post_init__(self) -> None:
        check_names(self.zones)
        if not LEAST_FACTOR <= self.threshold_factor <= MOST_FACTOR:  # False for what is no number, too
            raise ValueError(
                f"threshold_factor is {self.threshold_factor!r}; it must be {LEAST_FACTOR:g} to {MOST_FACTOR:g}"
            )
        if self.snoozed_until is not None and not 0 <= self.snoozed_until <= _LATEST:
            raise ValueError(f"snoozed_until is {self.snoozed_until!r}; Unix seconds before the year 3000 belong there")
        if len(self.snooze_reason) > MOST_REASON:
            raise ValueError(f"snooze_reason has {len(self.snooze_reason)} characters; at most {MOST_REASON} fit")

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "zones": [zone.to_json() for zone in self.zones],
            "threshold_factor": self.threshold_factor,
            "snoozed_until": self.snoozed_until,
            "snooze_reason": self.snooze_reason,
        }

    @classmethod
    def from_json(cls, value: object) -> CameraOperator:
        """Inverse of :meth:`to_json`, read strictly; what is missing has its default. Raises ValueError."""
        fields = as_object(value, "a camera")
        _refuse_unknown(fields, ("zones", "threshold_factor", "snoozed_until", "snooze_reason"))
        until = None if fields.get("snoozed_until") is None else number(fields, "snoozed_until")
        return cls(
            zones=zones_from_json(fields.get("zones", [])),
            threshold_factor=number(fields, "threshold_factor") if "threshold_factor" in fields else 1.0,
            snoozed_until=until,
            snooze_reason=text(fields, "snooze_reason", most=MOST_REASON) if "snooze_reason" in fields else "",
        )


_NOTHING_SET = CameraOperator()


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What operators have set for all cameras."""

    revision: int = 0  # changes so far; 0 = nobody has ever set anything
    cameras: Mapping[str, CameraOperator] = field(default_factory=dict)  # by id; the others have nothing set

    def of(self, camera: str) -> CameraOperator:
        """What is set for a camera."""
        return self.cameras.get(camera, _NOTHING_SET)

    def put(self, camera: str, settings: CameraOperator) -> OperatorSettings:
        """The same, but for one camera."""
        others = {name: of for name, of in self.cameras.items() if name != camera}
        return replace(self, cameras=others if settings == _NOTHING_SET else {**others, camera: settings})


# What operators do. Pure: each is a change for :func:`change_settings`.


def with_zones(
    settings: OperatorSettings, camera: str, zones: tuple[Zone, ...], *, fixed: tuple[Zone, ...], part: Part = WHOLE
) -> OperatorSettings:
    """Replaces a camera's zones.

    Args:
        settings: now.
        camera: its id.
        zones: the new ones.
        fixed: those that it has in the configuration.
        part: of the frame that is scored.

    Raises:
        ValueError: together they leave nothing to watch, or one covers nothing.
    """
    check_zones((*fixed, *zones), part=part)
    return settings.put(camera, replace(settings.of(camera), zones=zones))


def with_factor(settings: OperatorSettings, camera: str, factor: float) -> OperatorSettings:
    """Sets a camera's threshold factor. Raises ValueError where it is out of bounds."""
    return settings.put(camera, replace(settings.of(camera), threshold_factor=factor))


def with_snooze(
    settings: OperatorSettings, camera: str, *, now: float, minutes: float, reason: str = ""
) -> OperatorSettings:
    """Snoozes a camera for some minutes from ``now`` (Unix seconds). Raises ValueError where they are out of bounds."""
    if not 0 < minutes <= MOST_SNOOZE:
        raise ValueError(f"minutes is {minutes!r}; a snooze lasts more than 0 and at most {MOST_SNOOZE:g} (a week)")
    until = now + 60 * minutes
    return settings.put(camera, replace(settings.of(camera), snoozed_until=until, snooze_reason=reason))


def without_snooze(settings: OperatorSettings, camera: str) -> OperatorSettings:
    """Ends a camera's snooze; one that is not snoozed stays as it is."""
    return settings.put(camera, replace(settings.of(camera), snoozed_until=None, snooze_reason=""))


# The file


def encode_settings(settings: OperatorSettings) -> bytes:
    """The file's content."""
    cameras = {name: of.to_json() for name, of in sorted(settings.cameras.items())}
    fields = {"schema": SCHEMA, "revision": settings.revision, "cameras": cameras}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode_settings(data: bytes) -> OperatorSettings:
    """Inverse of :func:`encode_settings`, read strictly. Raises ValueError, which names the value."""
    fields = read_object(data)
    _refuse_unknown(fields, ("schema", "revision", "cameras"))
    if fields.get("schema") != SCHEMA:
        raise ValueError(f"schema is {brief(fields.get('schema'))}; this version reads {SCHEMA!r}")
    cameras: dict[str, CameraOperator] = {}
    for name, entry in as_object(fields.get("cameras"), "cameras").items():
        if not 0 < len(name) <= _MOST_NAME:
            raise ValueError(f"a camera is called {brief(name)}; 1 to {_MOST_NAME} characters belong there")
        try:
            cameras[name] = CameraOperator.from_json(entry)
        except ValueError as error:
            raise ValueError(f"cameras.{name}: {error}") from None
    return OperatorSettings(whole(fields, "revision"), cameras)


def read_settings(path: Path) -> OperatorSettings:
    """What is set now; nothing, with revision 0, where there is no such file.

    Raises:
        OperatorSettingsError: it cannot be read, or is damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return OperatorSettings()
    except OSError as error:
        raise OperatorSettingsError(f"{path}: the operators' settings cannot be read: {error.strerror}") from None
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
        return decode_settings(data)
    except ValueError as error:
        raise OperatorSettingsError(
            f"{path}: the operators' settings are damaged: {error}. Repair the file, or delete it to begin anew"
        ) from None


def change_settings(
    path: Path, change: Callable[[OperatorSettings], OperatorSettings], *, expected: int | None = None
) -> OperatorSettings:
    """Changes what is set, one writer at a time, in one step.

    Args:
        path: of the file; made where it is missing, with its folder.
        change: from what is set now to what shall be. Its revision is set here.
        expected: revision that the change was made for; None = whatever it is.

    Returns:
        What is set now. It is on the disk.

    Raises:
        SettingsConflict: somebody changed them since ``expected``.
        OperatorSettingsError: they cannot be read or written, or the file is damaged.
        ValueError: ``change`` raises it, a camera's zones leave nothing to watch, or it is too much for the file.
    """
    with _locked(path):
        now = read_settings(path)
        if expected is not None and expected != now.revision:
            raise SettingsConflict(
                f"the settings were changed meanwhile: they are at revision {now.revision}, your change was made for "
                f"{expected}. Look at them again, and repeat it if it still holds"
            )
        fresh = replace(change(now), revision=now.revision + 1)
        for name, of in fresh.cameras.items():
            if of.zones != now.of(name).zones:
                check_zones(of.zones)
        _write(path, encode_settings(fresh))
        return fresh


def _write(path: Path, data: bytes) -> None:
    decode_settings(data)  # what could not be read again is not written
    if len(data) > _MOST_BYTES:
        raise ValueError(f"with it the settings would take {len(data)} bytes; {_MOST_BYTES} fit: remove zones")
    try:
        write_durably(path, data)
    except OSError as error:
        raise OperatorSettingsError(f"{path}: the settings cannot be written: {error.strerror}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _take(path.with_name(f"{path.name}.lock"))
    try:
        yield
    finally:
        os.close(lock)


def _take(path: Path) -> int:
    deadline = time.monotonic() + _LOCK_WAIT
    while True:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return lockfile.take(path)
        except lockfile.Taken as taken:
            if time.monotonic() > deadline:
                raise OperatorSettingsError(
                    f"{path}: process {taken.owner} has been changing the settings for {_LOCK_WAIT:g} s; try again, "
                    "and look at that process if it stays so"
                ) from None
            time.sleep(_LOCK_PAUSE)
        except OSError as error:
            raise OperatorSettingsError(f"{path}: the settings cannot be locked: {error.strerror}") from None


class SettingsWatch:
    """Tells a running program of new settings. Asking is cheap: the file is read only when it has changed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = FileWatch(path)
        self.current = OperatorSettings()  # the last good ones
        self.problem = ""  # why the file in place is not in force; "" = it is

    def __call__(self) -> OperatorSettings | None:
        """What is set, where that is new since last asked; None = nothing new, or damaged: see :attr:`problem`."""
        if not self._file.changed():
            return None
        try:
            settings = read_settings(self._file.path)
        except OperatorSettingsError as error:
            self.problem = f"{error}. Until then revision {self.current.revision} stays in force"
            # One that is damaged stays so until it is replaced; what could not be read may be readable soon.
            if not os.access(self._file.path, os.R_OK):
                self._file.forget()
            return None
        self.problem, self.current = "", settings
        return settings


def _refuse_unknown(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := sorted(map(str, fields.keys() - set(known))):
        raise ValueError(f"{brief(unknown[0])} is no key of it; its keys are {', '.join(known)}")
