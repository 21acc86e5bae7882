"""What the control plane of a cluster adds to a frame: the same cameras, scored by a plain ``run`` and by a cluster of
one node, at the same time on the same machine. Both have the same cameras, threads and transport (tcp with CURVE).

Both see the same minutes, so whatever else the machine does hits both; what is compared is processor time per frame of
the processes that a frame goes through. What the cluster has besides (its actors, Ray, the collector) takes its time
however many frames there are, and is told per second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stream import machine
from stream.bench.clips import Footage, make_films
from stream.bench.cluster_demo import fresh_folder
from stream.bench.cluster_site import Site, all_scored, described, make_sensitive, site_settings
from stream.bench.folder import kept_folder
from stream.bench.local_ray import free_port
from stream.bench.process_stats import usage
from stream.bench.process_tree import command_of, descendants
from stream.bench.result import BenchResult, Row
from stream.config import build_config
from stream.errors import StreamError
from stream.health import read_status
from stream.key_making import make_folder

FRAME_PARTS = ("score", "read", "feed")
"""Commands of the processes that a frame or its alert goes through, on one machine and on a node alike."""

START_WAIT = 180.0
"""Seconds until both score all cameras."""

_NAMES = {"score": "worker", "read": "readers", "feed": "feed"}
_WARM_UP = 15.0  # s: the plain run is the younger one, and its programs are to be at rest as well


@dataclass(frozen=True, slots=True)
class OverheadOptions:
    """What is measured."""

    cameras: int
    seconds: float
    footage: Footage
    out: Path | None  # None: a temporary folder


@dataclass(frozen=True, slots=True)
class Reading:
    """What had been used and done at one moment."""

    time: float  # monotonic seconds
    frames: int  # scored so far
    cpu_s: Mapping[str, float]  # processor time so far, by command


def run_overhead(options: OverheadOptions, *, stopping: Callable[[], bool]) -> BenchResult:
    """Measures it.

    Raises:
        StreamError: one of the two did not score its cameras; says what it said.
    """
    with kept_folder(options.out) as folder:
        films = make_films(folder, options.footage, cameras=options.cameras, stopping=stopping)
        site_folder = fresh_folder(folder / "overhead")
        settings = site_settings(films, options.footage, site_folder)
        with Site(site_folder, settings, stopping) as site:
            site.start({"node-1": 1})
            site.wait(lambda d: all_scored(d, cameras=options.cameras), "every camera is scored", seconds=START_WAIT)
            plain, clustered, beside = _measure(site, _alone(settings), options, stopping)
    asked = {"cameras": options.cameras, "seconds": options.seconds, **described(options.footage)}
    return BenchResult("cluster-overhead", asked, rows(plain, clustered, beside))


def _alone(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same for one machine, beside the other: with a state folder, keys and ports of its own."""
    alone = {name: value for name, value in settings.items() if name != "cluster"}
    # As in a cluster: what is compared is who decides, neither the transport nor the number of threads.
    return {
        **alone,
        "state": "alone",
        "security": {"keys": "alone-keys"},
        "link": {"endpoint": f"tcp://127.0.0.1:{free_port()}"},
        "feed": {"endpoint": f"tcp://127.0.0.1:{free_port()}"},
        "worker": {"threads": settings["cluster"]["worker_cpus"]},
    }


def _measure(
    site: Site, settings: Mapping[str, Any], options: OverheadOptions, stopping: Callable[[], bool]
) -> tuple[tuple[Reading, Reading], tuple[Reading, Reading], tuple[float, float]]:
    config = build_config(dict(settings), where="bench cluster", base=site.folder.resolve(), environment={})
    path = site.folder / "alone.yaml"
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
    make_folder(site.folder / "alone-keys")
    make_sensitive(config)
    found: list[tuple[Reading, Reading, float]] = []
    due, began = float("inf"), time.monotonic()

    def look() -> None:
        nonlocal due
        now = time.monotonic()
        cameras = read_status(config.status, now=time.time())["cameras"]
        if due == float("inf") and all_scored({"cameras": cameras}, cameras=options.cameras):
            due = now + _WARM_UP
        if due == float("inf") and now - began > START_WAIT:
            raise StreamError(f"the plain run does not score all cameras after {START_WAIT:g} s")
        if now < due or len(found) == 2:
            return
        due = now + options.seconds
        alone = Reading(now, _frames(cameras), parts_of(supervisor.process_ids.values()))
        theirs = site.ray.nodes["node-1"].processes()
        other = Reading(time.monotonic(), _frames(site.document()["cameras"]), parts_of(theirs))
        everything = usage([*theirs, *site.ray.nodes["head"].processes(), *_run(site)]).cpu_s
        found.append((alone, other, everything - sum(other.cpu_s.values())))

    supervisor = machine.supervisor_of(config, path, on_tick=look, log_level="error")
    supervisor.run(lambda: len(found) == 2 or stopping())
    if len(found) < 2:
        raise StreamError("stopped")
    (alone_1, other_1, beside_1), (alone_2, other_2, beside_2) = found
    return (alone_1, alone_2), (other_1, other_2), (beside_1, beside_2)


def _run(site: Site) -> Sequence[int]:
    return [] if site.process is None else [site.process.pid, *descendants(site.process.pid)]


def _frames(cameras: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(int(camera["scored"]) for camera in cameras.values())


def parts_of(pids: Any) -> dict[str, float]:
    """Processor time so far of our processes among some, in seconds by command."""
    found = dict.fromkeys(FRAME_PARTS, 0.0)
    for pid in pids:
        if (command := command_of(pid)) in found:
            found[command] += usage([pid]).cpu_s
    return found


def rows(
    plain: tuple[Reading, Reading], clustered: tuple[Reading, Reading], beside: tuple[float, float]
) -> tuple[Row, ...]:
    """Processor time per frame, part by part, of both; and what the cluster takes besides.

    Args:
        plain: of one machine, at the beginning and the end.
        clustered: of the cluster, likewise.
        beside: processor seconds of all its other processes, likewise.
    """
    found = []
    for part in FRAME_PARTS:
        name = _NAMES[part]
        base, other = _per_frame(plain, part), _per_frame(clustered, part)
        found.append(Row(f"{name}, one machine", {"cpu_ms_per_frame": base, "frames": _count(plain)}))
        ratio = other / base if base else None
        figures: dict[str, float | None] = {"cpu_ms_per_frame": other, "frames": _count(clustered)}
        found.append(Row(f"{name}, cluster", figures, f"{name}, one machine", ratio))
    seconds = clustered[1].time - clustered[0].time
    cores = (beside[1] - beside[0]) / seconds if seconds else None
    note = "Ray of two nodes, control, stations, collector; however many frames there are"
    found.append(Row("besides, cluster", {"cores": cores}, note=note))
    return tuple(found)


def _per_frame(readings: tuple[Reading, Reading], part: str) -> float:
    first, last = readings
    frames = last.frames - first.frames
    return (last.cpu_s[part] - first.cpu_s[part]) / frames * 1e3 if frames else float("nan")


def _count(readings: tuple[Reading, Reading]) -> float:
    return float(readings[1].frames - readings[0].frames)
