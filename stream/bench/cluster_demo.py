"""What a cluster promises, shown on one machine: a node dies by SIGKILL, and its cameras are scored elsewhere in
seconds, no committed alert is lost, no camera is silent; a node joins, and the load evens out.

Every look at the cluster is a question to its directory, as ``cluster status`` asks it. Alerts are counted in the files
of the outboxes themselves.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from stream.bench.clips import Footage, make_films
from stream.bench.cluster_site import Site, all_scored, scored, site_settings, spread
from stream.bench.folder import kept_folder
from stream.bench.result import BenchResult, Row
from stream.errors import StreamError

WITHIN = 15.0
"""Seconds that the cameras of a dead node may go without being scored."""

NODE_CORES = 1
"""Of each node, and of its one worker."""

HONEST_WITHIN = 8.0
"""Seconds from a node's death until nothing may say any more that a camera is scored there: ``cluster.patience``, a
round of questions, and the time that an answer takes on a busy machine."""

_START_WAIT = (120.0, 5.0)  # s until all cameras are scored: in any case, and for each camera
_MOVE_WAIT = 180.0  # s until the load is even, or cameras are scored elsewhere: more is a failure, not a figure
_SEE_ALERTS = 180.0  # s until the node that is killed has some alerts of its own
_LOOK_EVERY = 0.2  # s

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What is shown."""

    cameras: int
    nodes: int  # that score; the head is one more
    footage: Footage
    out: Path | None  # None: a temporary folder


@dataclass(slots=True)
class Watched:
    """What was seen of the cameras of a node that was killed."""

    killed: float  # monotonic seconds
    cameras: frozenset[str]
    elsewhere: dict[str, float] = field(default_factory=dict)  # camera -> s until it was seen to be scored elsewhere
    noticed: float | None = None  # s until the control said that something is wrong
    silent: set[str] = field(default_factory=set)  # cameras that still looked well, and were not scored anywhere
    missing: float | None = None  # s until the outbox of the node was named as missing


@dataclass(slots=True)
class Shown:
    """All that was found."""

    before: dict[str, int]  # cameras of each worker
    watched: Watched
    processes: int  # that were killed
    joined: float = 0.0  # s from the start of another node until the load was even
    with_two: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    committed: int = 0  # alert messages in all outboxes of the nodes
    on_dead: int = 0  # of them on the node that was killed, when it was
    lost: int = 0  # of them not in the outbox of the run's machine, at the end
    returned: float = 0.0  # s from the dead node's return until its alerts were there
    ended: tuple[int, float] = (0, 0.0)  # exit code of the run, and s that its end took


def run_demo(options: DemoOptions, *, say: Say, stopping: Callable[[], bool]) -> tuple[BenchResult, Shown]:
    """Shows it, and says how long everything took.

    Raises:
        StreamError: it could not be shown: something never came; says what.
    """
    with kept_folder(options.out) as folder:
        films = make_films(folder, options.footage, cameras=options.cameras, stopping=stopping)
        site_folder = fresh_folder(folder / "site")
        settings = site_settings(films, options.footage, site_folder, worker_cpus=NODE_CORES)
        with Site(site_folder, settings, stopping) as site:
            shown = show(site, options, say)
    return BenchResult("cluster", described(options), rows(shown), summary(shown)), shown


def show(site: Site, options: DemoOptions, say: Say) -> Shown:
    """The demonstration on a site that was not started yet; at the end its run has ended."""
    names = [f"node-{number}" for number in range(1, options.nodes + 1)]
    began = time.monotonic()
    site.start(dict.fromkeys(names, NODE_CORES))
    always, each = _START_WAIT
    patience = always + each * options.cameras
    site.wait(lambda d: all_scored(d, cameras=options.cameras), "every camera is scored", seconds=patience)
    document = site.wait(lambda d: is_even(d, workers=options.nodes), "the load is even", seconds=_MOVE_WAIT)
    took = time.monotonic() - began
    say(f"{options.cameras} cameras on {options.nodes} nodes after {took:.0f} s: {_counts(document)}")
    victim, worker = _victim(site, document, names)
    _await_alerts(site, victim)
    shown = _kill(site, victim, worker, say)
    _grow(site, options, shown, say)
    _bring_back(site, victim, shown, say)
    shown.ended = site.stop_run()
    shown.committed, shown.lost = account(site)
    say(f"the run ended with exit code {shown.ended[0]} after {shown.ended[1]:.1f} s")
    say(f"{shown.committed} alert messages were committed on the nodes, {shown.lost} of them are missing here")
    return shown


def _victim(site: Site, document: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """A node, and its worker: the first that has one."""
    for name in names:
        known = _durable_name(site, name)
        for worker in document["workers"]:
            if worker["node"] == known and spread(document)[worker["name"]]:
                return name, worker
    raise StreamError("no worker has any camera")


def _durable_name(site: Site, name: str) -> str:
    try:
        told = json.loads((site.ray.nodes[name].folder / "node.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(told["name"])


def _await_alerts(site: Site, victim: str) -> None:
    folder = site.ray.nodes[victim].folder
    site.wait(lambda _: len(messages(folder)) > 0, "the node has committed an alert", seconds=_SEE_ALERTS)


def _kill(site: Site, victim: str, worker: Mapping[str, Any], say: Say) -> Shown:
    document = site.document()
    began = time.monotonic()
    processes = site.ray.kill(victim)
    having = {name for name, camera in document["cameras"].items() if camera.get("worker") == worker["name"]}
    watched = Watched(began, frozenset(having))
    shown = Shown(spread(document), watched, processes, on_dead=len(messages(site.ray.nodes[victim].folder)))
    say(f"{victim} killed: {processes} processes, {len(watched.cameras)} cameras, {shown.on_dead} alert messages on it")
    last_seen = time.time()
    while set(watched.elsewhere) != watched.cameras or watched.missing is None:
        if time.monotonic() - began > _MOVE_WAIT:
            break
        if site.stopping():
            raise StreamError("stopped")
        look(watched, site.document(), str(worker["name"]), str(worker["node"]), now=time.monotonic(), killed=last_seen)
        time.sleep(_LOOK_EVERY)
    slowest = max(watched.elsewhere.values(), default=float("nan"))
    say(f"{len(watched.elsewhere)} of {len(watched.cameras)} cameras are scored elsewhere after {slowest:.1f} s")
    return shown


def look(watched: Watched, document: Mapping[str, Any], dead: str, node: str, *, now: float, killed: float) -> None:
    """Notes what a document says of the cameras of a dead worker.

    Args:
        watched: is changed.
        document: of the control; empty: it did not answer.
        dead: name of the worker.
        node: of its machine.
        now: monotonic seconds.
        killed: Unix seconds of the death: a camera is scored elsewhere when a frame of a later time was.
    """
    after = now - watched.killed
    for name in watched.cameras:
        camera = document.get("cameras", {}).get(name, {})
        if not scored(camera):
            continue
        if camera.get("worker") != dead:
            if name not in watched.elsewhere and unix(camera.get("last_frame_time")) >= killed:
                watched.elsewhere[name] = after
        elif after > HONEST_WITHIN:
            watched.silent.add(name)
    states = {each["name"]: each["state"] for each in document.get("workers", ())}
    if watched.noticed is None and document and states.get(dead) not in ("RUNNING", "DEGRADED", "STARTING"):
        watched.noticed = after
    gone = [each for each in document.get("outboxes", ()) if each["node"] == node and each["state"] == "missing"]
    if watched.missing is None and gone:
        watched.missing = after


def unix(text: str | None) -> float:
    """Unix seconds of an ISO 8601 time; 0 where there is none."""
    return 0.0 if not text else datetime.fromisoformat(text).timestamp()


def _grow(site: Site, options: DemoOptions, shown: Shown, say: Say) -> None:
    shown.with_two = spread(site.document())
    began = time.monotonic()
    site.ray.add("node-new", cpus=NODE_CORES)
    site.ray.await_joined(stopping=site.stopping)
    document = site.wait(
        lambda d: is_even(d, workers=options.nodes) and all_scored(d, cameras=options.cameras),
        "the load is even, with a new node",
        seconds=_MOVE_WAIT,
    )
    shown.joined, shown.after = time.monotonic() - began, spread(document)
    say(f"a node has joined: {_counts(document)} after {shown.joined:.0f} s, its start included")


def _bring_back(site: Site, victim: str, shown: Shown, say: Say) -> None:
    """Starts the dead node again, with its disk: what nobody has fetched from it comes now."""
    began = time.monotonic()
    site.ray.revive(victim)
    site.ray.await_joined(stopping=site.stopping)
    here, there = site.config.state, site.ray.nodes[victim].folder
    kept = messages(there)
    site.wait(lambda _: kept <= messages(here), "the alerts of the node that came back are here", seconds=_MOVE_WAIT)
    shown.returned = time.monotonic() - began
    say(f"{victim} is back: all its alerts are here after {shown.returned:.0f} s, its start included")


def is_even(document: Mapping[str, Any], *, workers: int) -> bool:
    """Whether so many workers have as many cameras as can be, give or take one, and nothing is on the move."""
    counts = spread(document).values()
    moves = document.get("moves", {})
    still = not moves.get("moving") and not moves.get("waiting")
    return still and len(counts) >= workers and max(counts) - min(counts) <= 1


def account(site: Site) -> tuple[int, int]:
    """How many alert messages the nodes have committed, and how many of them are not in the run's own outbox."""
    here, committed = messages(site.config.state), set[tuple[str, ...]]()
    for node in site.ray.nodes.values():
        committed |= messages(node.folder)
    return len(committed), len(committed - here)


def messages(folder: Path) -> set[tuple[str, ...]]:
    """What tells every alert message apart that any outbox under a folder holds."""
    return {each for file in folder.rglob("outbox.sqlite") for each in _messages(file)}


def _messages(file: Path) -> Iterator[tuple[str, ...]]:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as store:
            yield from (tuple(map(str, row)) for row in store.execute("SELECT alert_id, phase, frame_seq FROM alerts"))
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):  # one that is just being made
            raise StreamError(f"{file}: {error}") from None


# -- what it comes to -------------------------------------------------------------------------------------------------


def failures(shown: Shown) -> list[str]:
    """Which promises were broken, in words; empty where all were kept."""
    watched, found = shown.watched, list[str]()
    if left := sorted(watched.cameras - watched.elsewhere.keys()):
        found.append(f"not scored elsewhere: {', '.join(left)}")
    if (slowest := max(watched.elsewhere.values(), default=0.0)) > WITHIN:
        found.append(f"a camera was scored elsewhere after {slowest:.1f} s; {WITHIN:g} are promised")
    if watched.silent:
        found.append(f"looked well while nobody scored them: {', '.join(sorted(watched.silent))}")
    if watched.missing is None:
        found.append("the outbox of the dead node was never named as missing")
    if shown.lost:
        found.append(f"{shown.lost} committed alert messages are lost")
    if shown.ended[0]:
        found.append(f"the run ended with exit code {shown.ended[0]}")
    return found


def rows(shown: Shown) -> tuple[Row, ...]:
    """The figures, step by step."""
    times = sorted(shown.watched.elsewhere.values())
    least, most = (min(times), max(times)) if times else (None, None)
    return (
        _load_row("before", shown.before, None),
        _load_row("after the death of a node", shown.with_two, most),
        _load_row("after another has joined", shown.after, shown.joined),
        Row(
            "a node dies",
            {
                "cameras": float(len(shown.watched.cameras)),
                "noticed_s": shown.watched.noticed,
                "first_scored_s": least,
                "all_scored_s": most if len(times) == len(shown.watched.cameras) else None,
                "outbox_named_s": shown.watched.missing,
                "silent": float(len(shown.watched.silent)),
            },
        ),
        Row(
            "alert messages",
            {
                "committed": float(shown.committed),
                "on_dead_node": float(shown.on_dead),
                "lost": float(shown.lost),
                "back_after_s": shown.returned,
            },
        ),
    )


def _load_row(name: str, counts: Mapping[str, int], seconds: float | None) -> Row:
    values = list(counts.values()) or [0]
    most, least = float(max(values)), float(min(values))
    figures = {"workers": float(len(counts)), "least": least, "most": most, "seconds": seconds}
    return Row(name, figures, note="least and most cameras of a worker")


def summary(shown: Shown) -> dict[str, Any]:
    """What was promised, and whether it was kept."""
    return {
        "kept": not failures(shown),
        "broken": "; ".join(failures(shown)) or None,
        "end_s": round(shown.ended[1], 1),
        "killed_processes": shown.processes,
    }


def described(options: DemoOptions) -> dict[str, Any]:
    """What was asked for, JSON-able."""
    footage = options.footage
    return {
        "cameras": options.cameras,
        "nodes": options.nodes,
        "picture": "x".join(map(str, footage.picture)),
        "fps": footage.fps,
        "gallery_frames": footage.gallery_frames,
        **{name: dict(section) for name, section in footage.method.items()},
    }


def fresh_folder(folder: Path) -> Path:
    """An empty folder in the place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _counts(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{count}" for count in spread(document).values()) + " cameras"
