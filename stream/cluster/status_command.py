"""``spade-stream cluster``: how a cluster stands, and what a person has to decide about it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.bench.table import aligned
from stream.cli_arguments import add_command
from stream.cluster.directory_client import DirectoryAddress, DirectoryClient
from stream.cluster.ray_connect import ask, connected, control_of, document_of, is_directory
from stream.cluster.ray_fleet import kill_all
from stream.errors import LinkLost, UsageError
from stream.messages import iso_time
from stream.security import command_key
from stream.stopping import StopSignal

DEFAULT_CLUSTER = "spade-stream"
"""``cluster.name`` where the configuration says nothing."""

WATCH_EVERY = 2.0
"""Seconds between two pictures of ``--watch``."""

RUN_SILENT = 6.0
"""Seconds after which a run that has died is not there any more as far as the control knows; above its FOLLOWED_WITHIN,
which this command does not load."""

STOP_WAIT = 15.0
"""Seconds that ``cluster stop`` gives the nodes to commit what is open."""

_ASK_WAIT = 5.0  # s for the directory
_BAR = 10  # characters of a worker's load
_WELL = ("LIVE", "ENDED")  # states of a camera that is watched, or has nothing left to watch
_CLEAR = "\x1b[H\x1b[2J"


def add_cluster(groups: Any) -> None:
    """Adds the command to what ``add_subparsers`` returned."""
    text = "look at a cluster that runs, and end it"
    cluster = groups.add_parser("cluster", help=text, description=f"{text[:1].upper()}{text[1:]}.")
    actions = cluster.add_subparsers(title="actions", metavar="ACTION", required=True)
    status = add_command(
        actions,
        "status",
        cluster_status,
        "show nodes, workers, their cameras and load, and what is not well",
        "Exits 1 if a camera is not watched, a node or a worker is gone, or an outbox is missing.",
    )
    _add_address(status)
    status.add_argument("--key", type=Path, metavar="FILE", help="a subscriber's key, or local.key; for tcp://")
    shown = status.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print all there is as JSON")
    shown.add_argument("--watch", action="store_true", help="print it anew every two seconds")
    forget = add_command(
        actions,
        "forget",
        cluster_forget,
        "drop a missing outbox whose disk will not come back",
        "Subscribers are no longer told that its alerts are missing. Should the disk come back after all, it is known\n"
        "again.",
    )
    forget.add_argument("outbox", metavar="ID", help="as 'cluster status' shows it")
    _add_address(forget)
    stop = add_command(
        actions,
        "stop",
        cluster_stop,
        "end a cluster whose run has died, on all its nodes",
        "What is open is committed first. A run that lives is ended with Ctrl-C or SIGTERM instead.",
    )
    _add_address(stop)


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "address",
        nargs="?",
        default="auto",
        metavar="ADDRESS",
        help="of Ray: auto, HOST:PORT; or tcp:// of a directory",
    )
    command.add_argument("--name", default=DEFAULT_CLUSTER, help=f"cluster.name of the run ({DEFAULT_CLUSTER})")


def cluster_status(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """How the cluster stands. Exits 1 if something is not well, or nobody says how it is."""
    with _asked(arguments, stop) as ask_it:
        if arguments.watch:
            return _watch(ask_it, stop)
        document = ask_it()
    print(json.dumps(document, indent=1) if arguments.json else "\n".join(lines(document)))
    return 1 if trouble(document) else 0


def _watch(ask_it: Callable[[], Mapping[str, Any]], stop: StopSignal) -> int:
    while True:
        try:
            document = ask_it()
            text, bad = "\n".join(lines(document)), bool(trouble(document))
        except LinkLost as error:  # it may be back in a moment, and that is what one watches for
            text, bad = f"! {error}", True
        print(_CLEAR + text, flush=True)
        if _stopped(stop, WATCH_EVERY):
            return 1 if bad else 0


def _stopped(stop: StopSignal, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop():
        time.sleep(0.1)
    return stop()


def cluster_forget(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Drops an outbox."""
    _need_ray(arguments.address, "forget")
    with connected(arguments.address) as ray:
        ask(ray, control_of(ray, arguments.name), "forget", arguments.outbox)
    print(f"outbox {arguments.outbox} is forgotten")
    return 0


def cluster_stop(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Ends all actors of a cluster."""
    _need_ray(arguments.address, "stop")
    with connected(arguments.address) as ray:
        stop.install()  # Ray has taken the signals over for itself
        try:
            control = control_of(ray, arguments.name)
            _need_no_run(ray, control, arguments.name)
            _drain(ray, control, stop)
        except LinkLost as error:
            print(f"not drained: {error}")
        ended = kill_all(ray, arguments.name)
    print(f"{len(ended)} actor(s) of {arguments.name} ended" if ended else f"nothing of {arguments.name} runs")
    return 0


def _need_no_run(ray: Any, control: Any, name: str) -> None:
    """One that has just died is told from one that lives by what it does in the next seconds."""
    until = time.monotonic() + RUN_SILENT
    while json.loads(ask(ray, control, "health")).get("followed"):
        if time.monotonic() > until:
            raise UsageError(f"a run has the cluster {name!r}, and would start all of it again: stop that run instead")
        time.sleep(0.2)


def _drain(ray: Any, control: Any, stop: StopSignal) -> None:
    told = json.loads(ask(ray, control, "drain"))
    until = time.monotonic() + STOP_WAIT
    while not told["drained"] and time.monotonic() < until and not stop():
        time.sleep(0.2)
        told = json.loads(ask(ray, control, "health"))


def _need_ray(address: str, action: str) -> None:
    if is_directory(address):
        raise UsageError(f"cluster {action}: needs Ray's address (auto, HOST:PORT); {address} is a directory's")


@contextmanager
def _asked(arguments: argparse.Namespace, stop: StopSignal) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """What asks a cluster how it stands, over one connection."""
    if not is_directory(arguments.address):
        with connected(arguments.address) as ray:
            stop.install()  # Ray has taken the signals over for itself
            yield lambda: document_of(ray, arguments.name)
        return
    if arguments.key is None:
        raise UsageError(f"{arguments.address}: a directory wants a key: give --key FILE")
    address = DirectoryAddress(arguments.address, command_key(arguments.key))
    with DirectoryClient(address.endpoint, secure=address.secure()) as client:
        yield lambda: client.fetch_cluster(_ASK_WAIT)


# -- in words ---------------------------------------------------------------------------------------------------------


def trouble(document: Mapping[str, Any]) -> list[str]:
    """What is not well, one line each; empty where all is."""
    found = [str(problem) for problem in document.get("problems", ())]
    for kind in ("nodes", "workers", "readers"):
        found += [
            f"{kind[:-1]} {each['name']} is {each['state']}{_because(each)}"
            for each in document.get(kind, ())
            if each["state"] not in ("RUNNING", "ALIVE", "STARTING", "")
        ]
    for name, camera in sorted(document.get("cameras", {}).items()):
        if camera.get("state") not in _WELL:
            found.append(f"camera {name} is {camera.get('state')}{_because(camera)}")
    for outbox in document.get("outboxes", ()):
        if outbox["state"] != "live":
            found.append(f"outbox {outbox['id']} of {outbox['node']} is missing since {iso_time(outbox['since'])}")
    return list(dict.fromkeys(found))


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The state of a cluster for people. What a camera or a node says cannot do anything to their terminal."""
    return ("".join(c if c.isprintable() else " " for c in line) for line in _lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    cameras = document.get("cameras", {})
    watched = sum(camera.get("state") in _WELL for camera in cameras.values())
    moves = document.get("moves", {})
    yield f"cluster {document.get('name')}: {watched} of {len(cameras)} cameras watched" + _moves(moves)
    yield ""
    rows = [["node", "state", "address", "cores", "GPUs", "labels"]]
    rows += [
        [
            str(node.get("name") or node.get("id", ""))[:32],
            str(node["state"]),
            str(node.get("address", "")),
            f"{float(node.get('cpus') or 0):g}",
            f"{float(node.get('gpus') or 0):g}",
            " ".join(f"{k}={v}" for k, v in sorted(node.get("labels", {}).items()) if k.startswith("spade-")) or "-",
        ]
        for node in document.get("nodes", ())
    ]
    yield from aligned(rows)
    yield ""
    rows = [["worker", "state", "cameras", "load", "capacity/s", "galleries"]]
    rows += [_worker(worker) for worker in document.get("workers", ())]
    yield from aligned(rows)
    yield ""
    outboxes = document.get("outboxes", ())
    live = sum(outbox["state"] == "live" for outbox in outboxes)
    yield f"outboxes: {live} of {len(outboxes)} live"
    if bad := trouble(document):
        yield ""
        yield from (f"! {line}" for line in bad)


def _worker(worker: Mapping[str, Any]) -> list[str]:
    load = float(worker.get("load") or 0.0)
    return [
        str(worker["name"]),
        str(worker["state"]),
        str(len(worker.get("cameras", ()))),
        f"{bar(load)} {load * 100:3.0f} %",
        f"{float(worker.get('capacity') or 0):.4g}",
        str(len(worker.get("cached", ()))) + (f" (+{len(fetching)})" if (fetching := worker.get("fetching")) else ""),
    ]


def bar(load: float) -> str:
    """A worker's load as a bar; above 1 it is full."""
    full = max(0, min(_BAR, round(load * _BAR)))
    return "#" * full + "." * (_BAR - full)


def _moves(moves: Mapping[str, Any]) -> str:
    under_way, waiting = moves.get("moving") or (), moves.get("waiting") or 0
    return f", {len(under_way)} on the move, {waiting} waiting" if under_way or waiting else ""


def _because(each: Mapping[str, Any]) -> str:
    return f": {each['reason']}" if each.get("reason") else ""
