"""What is seen of a cluster while things happen to it, and whether its promises were kept. For ``cluster_demo``.

How cameras are is taken from what the cluster says of itself; alerts are counted in the files of the outboxes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from stream.bench.cluster_site import Site, scored, spread
from stream.bench.result import Row
from stream.errors import StreamError

WITHIN = 15.0
"""Seconds that the cameras of a dead node may go without being scored."""

HONEST_WITHIN = 8.0
"""Seconds from a node's death until nothing may say any more that a camera is scored there: ``cluster.patience``, a
round of questions, and the time that an answer takes on a busy machine."""


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
    unfetched: int = 0  # of those not yet in the outbox of the run's machine at that moment
    lost: int = 0  # of all committed ones not in the outbox of the run's machine, at the end
    returned: float = 0.0  # s from the dead node's return until its alerts were there
    ended: tuple[int, float] = (0, 0.0)  # exit code of the run, and s that its end took


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
                "unfetched": float(shown.unfetched),
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
