"""What a new configuration means for the processes that run: who starts, who ends, who starts anew, who is told.

Pure. ``station`` carries a plan out; the worker polls :func:`poller` for what it is told. It is told of every reload,
since the galleries may have new versions.

Which change reaches whom:

=============  ======================================================================================================
section        what happens
=============  ======================================================================================================
cameras        only the readers of those cameras start, end, or start anew; the worker takes the new set while it runs
scenes         the worker takes it while it runs
gallery        the worker takes ``folder`` while it runs; the other keys are for the next enrolment
alerts         the worker takes them while it runs; where ``min_duration`` changes it starts anew, for its clips
clips          the worker starts anew
retention      the feed starts anew; subscribers come back by themselves
log            everybody starts anew; the supervisor's own lines change with its next start
drift          the worker takes it while it runs
backbone       the worker starts anew
method         the worker starts anew; readers too, where the scoring image or the motion map is made otherwise
worker         the worker starts anew
link           the worker and all readers start anew
feed           the feed and all sinks start anew
security       everybody starts anew
sinks          only those sinks start, end, or start anew; those of MQTT also where cameras come, go, or change scene
console        the console starts anew, or ends, or starts; it also starts anew where any section changes that it shows
               (all but ``backbone``, ``worker``, ``clips``, ``retention``, ``drift`` and ``sinks``); browsers come
               back by themselves, and nobody is logged out
state          refused: alerts and their numbers would be left behind
=============  ======================================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from stream.config import Config
from stream.config_sections import CameraSection
from stream.errors import ConfigError

log = logging.getLogger(__name__)

FEED = "feed"
WORKER = "worker"
READERS = "readers"
SINKS = "sinks"
CONSOLE = "console"
COLLECT = "collect"  # of a cluster's run: brings the alerts of all nodes to this machine

RESTARTED_BY: Mapping[str, tuple[str, ...]] = {
    "alerts": (),
    "backbone": (WORKER,),
    "method": (WORKER,),
    "worker": (WORKER,),
    "clips": (WORKER,),
    "retention": (FEED,),
    "log": (FEED, WORKER, READERS, SINKS),
    "drift": (),
    "security": (FEED, WORKER, READERS, SINKS),
    "link": (WORKER, READERS),
    "feed": (FEED, SINKS),
    "cameras": (),
    "scenes": (),
    "gallery": (),
    "sinks": (),
    "console": (CONSOLE,),
    "cluster": (),
}
"""By section, who starts anew when anything in it changes. A section that is missing here restarts everything."""

_EVERYBODY = (FEED, WORKER, READERS, SINKS, CONSOLE)
_NOT_THE_CONSOLE = ("backbone", "worker", "clips", "retention", "drift", "sinks")  # it shows nothing of these
_OF_THE_SCORING_IMAGE = ("size", "crop", "motion_memory")  # keys of ``method`` that readers work with
_KNOW_THE_CAMERAS = ("mqtt",)  # types of sinks that announce them
# Keys of a camera that its reader does not use.
_NOT_THE_READERS = ("scene", "network", "moved_after", "zones", "scenes", "choose", "timezone")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to get from one configuration to another."""

    added: tuple[str, ...] = ()  # in words: "camera gate", "sink archive"
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # the same, and names of sections
    restart: frozenset[str] = frozenset()  # names of processes that stay but start anew
    tell_worker: bool = True  # it takes the new configuration while it runs, and new versions of galleries in any case

    @property
    def in_words(self) -> str:
        """One line for people."""
        parts = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        said = [f"{verb} {', '.join(names)}" for verb, names in parts if names]
        if shared := sorted(self.restart & {FEED, WORKER}):
            said.append(f"restarted {', '.join(shared)}")
        return "; ".join(said) or "the configuration has not changed; new versions of galleries are opened"


def reader_name(camera_id: str) -> str:
    """Of a camera's process."""
    return f"reader {camera_id}"


def sink_name(sink: str) -> str:
    """Of a sink's process."""
    return f"sink {sink}"


def plan(old: Config, new: Config) -> Plan:
    """What to do so that ``new`` is in force instead of ``old``.

    Raises:
        ConfigError: it cannot be done while the system runs.
    """
    if old.state != new.state:
        problem = f"state: is {old.state} and would be {new.state}: alerts would stay behind. Stop the run and start it"
        raise ConfigError("reload", [problem])
    cameras = _compared("camera", {c.id: c for c in old.cameras}, {c.id: c for c in new.cameras})
    sinks = _compared(
        "sink", {sink.name: sink.model_dump() for sink in old.sinks}, {s.name: s.model_dump() for s in new.sinks}
    )
    sections = [name for name in Config.model_fields if getattr(old, name) != getattr(new, name)]
    restart = frozenset(_restarted(old, new, sections))
    return Plan(
        added=cameras.added + sinks.added,
        removed=cameras.removed + sinks.removed,
        changed=cameras.changed + sinks.changed + tuple(n for n in sections if n not in ("cameras", "sinks")),
        restart=restart,
        tell_worker=WORKER not in restart,
    )


def _restarted(old: Config, new: Config, sections: list[str]) -> Iterator[str]:
    """Names of the processes that are in both and have to start anew."""
    groups = {group for name in sections for group in RESTARTED_BY.get(name, _EVERYBODY)}
    if any(getattr(old.method, key) != getattr(new.method, key) for key in _OF_THE_SCORING_IMAGE):
        groups.add(READERS)
    if old.alerts.min_duration != new.alerts.min_duration:  # clips are made for it
        groups.add(WORKER)
    yield from groups & {FEED, WORKER}
    if old.console.enabled and new.console.enabled and set(sections) - set(_NOT_THE_CONSOLE):
        yield CONSOLE
    were = {camera.id: camera for camera in old.cameras}
    for camera in new.cameras:
        if camera.id in were and (READERS in groups or _reads_otherwise(were[camera.id], camera)):
            yield reader_name(camera.id)
    delivered = {sink.name: sink for sink in old.sinks}
    for sink in new.sinks:
        other_cameras = sink.type in _KNOW_THE_CAMERAS and _scenes(old) != _scenes(new)
        if sink.name in delivered and (SINKS in groups or other_cameras or delivered[sink.name] != sink):
            yield sink_name(sink.name)


def _scenes(config: Config) -> dict[str, str]:
    return {camera.id: camera.scene_name for camera in config.cameras}


def _reads_otherwise(old: CameraSection, new: CameraSection) -> bool:
    without = dict.fromkeys(_NOT_THE_READERS)
    return old.model_copy(update=without) != new.model_copy(update=without)


def _compared(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> Plan:
    return Plan(
        added=tuple(f"{kind} {name}" for name in new if name not in old),
        removed=tuple(f"{kind} {name}" for name in old if name not in new),
        changed=tuple(f"{kind} {name}" for name in new if name in old and old[name] != new[name]),
    )


class Signal(Protocol):
    """What :func:`poller` needs of a ``ReloadSignal``."""

    def __call__(self) -> bool:
        """True once for each request."""
        ...

    def done(self) -> None:
        """The request was met."""
        ...


def poller(signal: Signal, load: Callable[[], Config]) -> Callable[[], Config | None]:
    """What a process that takes a new configuration while it runs asks in every round.

    It returns the new configuration once. Being asked again means that the caller has taken it, and only then the
    supervisor is told so.

    Args:
        signal: that asks for it.
        load: reads it. One that is wrong is logged, and the old one stays.
    """
    handed_out = False

    def poll() -> Config | None:
        nonlocal handed_out
        if handed_out:
            handed_out = False
            signal.done()
        if not signal():
            return None
        handed_out = True
        try:
            return load()
        except ConfigError as error:
            log.error("the configuration is not reloaded: %s", error)
            return None

    return poll
