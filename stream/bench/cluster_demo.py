"""What a cluster promises, shown on one machine: a node dies by SIGKILL, and its cameras are scored elsewhere in
seconds, no committed alert is lost, no camera is silent; a node joins, and the load evens out.

Every look at the cluster is a question to its directory, as ``cluster status`` asks it. Alerts are counted in the files
of the outboxes themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.bench.clips import Footage, make_films
from stream.bench.cluster_findings import Shown, Watched, account, is_even, look, messages, rows, summary
from stream.bench.cluster_site import Site, all_scored, described, site_settings, spread
from stream.bench.folder import kept_folder
from stream.bench.process_tree import command_of, descendants
from stream.bench.result import BenchResult
from stream.errors import StreamError
from stream.reload import COLLECT

NODE_CORES = 1
"""Of each node, and of its one worker."""

HOLD = 10.0
"""Seconds for which the collector is stopped, at most, so that the node dies with alerts that are nowhere else: fewer
than those after which its supervisor would find that it hangs."""

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
    asked = {"cameras": options.cameras, "nodes": options.nodes, **described(options.footage)}
    return BenchResult("cluster", asked, rows(shown), summary(shown)), shown


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
    having = {name for name, camera in document["cameras"].items() if camera.get("worker") == worker["name"]}
    with _collector_held(site, victim):
        began = time.monotonic()
        processes = site.ray.kill(victim)
        there, here = messages(site.ray.nodes[victim].folder), messages(site.config.state)
    watched = Watched(began, frozenset(having))
    shown = Shown(spread(document), watched, processes, on_dead=len(there), unfetched=len(there - here))
    say(
        f"{victim} killed: {processes} processes, {len(having)} cameras, {len(there)} alert messages on its disk, "
        f"{shown.unfetched} of them nowhere else"
    )
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


@contextmanager
def _collector_held(site: Site, victim: str) -> Iterator[None]:
    """Stops the collector until the node has committed what it has not fetched, or for a while at most."""
    held = [pid for pid in descendants(site.process.pid) if command_of(pid) == COLLECT] if site.process else []
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + HOLD
        while time.monotonic() < until and messages(site.ray.nodes[victim].folder) <= messages(site.config.state):
            time.sleep(0.1)
        yield
    finally:
        for pid in held:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


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


def fresh_folder(folder: Path) -> Path:
    """An empty folder in the place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _counts(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{count}" for count in spread(document).values()) + " cameras"
