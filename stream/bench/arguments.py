"""The command line of ``bench``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stream.bench import commands
from stream.cli_arguments import add_command, count, names, rate, seconds, sequence_number
from stream.messages import MAX_FRAME_SIDE


def add_bench(groups: Any) -> None:
    """Adds ``bench`` and its actions to the commands."""
    bench = add_command(
        groups,
        "bench",
        commands.stages,
        "measure what the pipeline costs on this machine",
        "Figures are of this machine at this hour. 'compare' says what carries over to others.\n"
        "Without an action it does what 'bench stages' does.",
    )
    actions = bench.add_subparsers(title="actions", metavar="ACTION")
    _add_stages(actions)
    _add_link(actions)
    _add_gallery(actions)
    _add_cameras(actions)
    _add_soak(actions)
    _add_cluster(actions)
    _add_compare(actions)


def with_action(words: Sequence[str]) -> Sequence[str]:
    """The words of a command line, in which ``bench``, alone or with options, is ``bench stages``: else the value of an
    option would be taken for an action.
    """
    first = words[1] if len(words) > 1 else "--"
    if words[:1] != ["bench"] or not first.startswith("-") or first in ("-h", "--help"):
        return words
    return ["bench", "stages", *words[1:]]


def _add_stages(actions: Any) -> None:
    stages = add_command(
        actions,
        "stages",
        commands.stages,
        "time every step of a frame beside the backbone's forward pass, and beside peers",
        "Renders a little footage and enrolls it (about a minute), then times everything in turn, round after round,\n"
        "so that the ratios hold whatever else the machine does. Peers: SPADE as public implementations compute it,\n"
        "and anomalib's PatchCore where anomalib is installed.",
    )
    stages.add_argument("--gallery-frames", type=count, default=1000, metavar="N", help="of the gallery (1000)")
    stages.add_argument(
        "--batch", type=_counts, default=(1, 2, 4, 8), metavar="N,N", help="cameras scored at once (1,2,4,8)"
    )
    stages.add_argument("--seconds", type=seconds, default=60.0, metavar="X", help="of timing, for all rows (60)")
    stages.add_argument("--out", type=Path, metavar="DIR", help="folder to keep footage and gallery in (temporary)")
    add_json(stages)
    _add_scoring(stages)


def _add_link(actions: Any) -> None:
    link = add_command(
        actions,
        "link",
        commands.link,
        "count how many frames a second go from a reader's process to the worker's",
        "Over ipc, tcp on this machine, and tcp with CURVE; what a reader sends, and whole frames uncompressed.",
    )
    link.add_argument("--picture", type=_picture, default=(1920, 1080), metavar="WxH", help="pixels (1920x1080)")
    link.add_argument("--size", type=count, default=256, metavar="N", help="side of the scoring image (256)")
    link.add_argument("--seconds", type=seconds, default=20.0, metavar="X", help="of timing, for all rows (20)")
    add_json(link)


def _add_gallery(actions: Any) -> None:
    gallery = add_command(
        actions,
        "gallery",
        commands.gallery,
        "time scoring, and see its memory, against galleries of growing size",
        "The galleries are made up from a few real frames; 50,000 of them take 300 MB of disk for a while.",
    )
    gallery.add_argument(
        "--frames", type=_counts, default=(500, 5000, 50000), metavar="N,N", help="sizes to measure (500,5000,50000)"
    )
    gallery.add_argument("--seconds", type=seconds, default=60.0, metavar="X", help="of timing, for all rows (60)")
    add_json(gallery)
    _add_scoring(gallery)


def _add_cameras(actions: Any) -> None:
    cameras = add_command(
        actions,
        "cameras",
        commands.cameras,
        "feed paced synthetic cameras through the real processes",
        "Renders and enrolls two places (about two minutes; --out keeps them for the next time), then runs what\n"
        "'run' runs, with recordings played for ever as cameras. Says for each number of cameras what became of every\n"
        "frame, how old frames were when their alerts were committed, and what the processes took of the machine.",
    )
    cameras.add_argument("--cameras", type=_counts, default=(4,), metavar="N,N", help="numbers to measure (4)")
    cameras.add_argument(
        "--find", action="store_true", help="search the largest number that holds, from the first of them on"
    )
    cameras.add_argument("--limit-ms", type=rate, default=500.0, metavar="X", help="p95 to keep, milliseconds (500)")
    cameras.add_argument("--check", action="store_true", help="exit 1 if a number misses the limit or drops frames")
    cameras.add_argument("--seconds", type=seconds, default=60.0, metavar="X", help="that count, of each number (60)")
    cameras.add_argument("--out", type=Path, metavar="DIR", help="folder for footage, galleries and runs (temporary)")
    add_json(cameras)
    footage = cameras.add_argument_group("cameras and galleries")
    footage.add_argument("--fps", type=rate, default=5.0, metavar="X", help="frames scored per second (5)")
    footage.add_argument("--native-fps", type=rate, metavar="X", help="frames a camera gives per second (as --fps)")
    footage.add_argument("--picture", type=_picture, default=(640, 360), metavar="WxH", help="pixels (640x360)")
    footage.add_argument("--gallery-frames", type=count, default=500, metavar="N", help="of each gallery (500)")
    add_method(cameras)


def _add_soak(actions: Any) -> None:
    soak = add_command(
        actions,
        "soak",
        commands.soak,
        "run many cameras for long, with random faults, and check what was promised",
        "Renders and enrolls two places (minutes; OUT keeps them), then runs what 'run' runs while processes are\n"
        "killed, stopped and hang, the configuration is changed, and strangers talk to the feed. Leaves soak.json,\n"
        "soak.html, samples.csv and run.log in OUT. Exits 1 if a promise was broken. Ctrl-C ends it with a report.",
    )
    soak.add_argument("--minutes", type=rate, default=60.0, metavar="X", help="length (60)")
    soak.add_argument("--cameras", type=count, default=8, metavar="N", help="(8)")
    soak.add_argument("--fps", type=rate, default=3.0, metavar="X", help="frames scored per second (3)")
    soak.add_argument("--seed", type=sequence_number, default=7, metavar="N", help="of the faults (7)")
    soak.add_argument("--every", type=seconds, default=75.0, metavar="X", help="mean s from fault to fault (75)")
    soak.add_argument("--faults", type=names, default=("all",), metavar="NAME,NAME", help="kinds, all or none (all)")
    soak.add_argument("--out", type=Path, default=Path("soak-out"), metavar="DIR", help="(soak-out)")
    soak.add_argument(
        "--rtsp", type=names, default=(), metavar="URL,URL", help="first cameras; each shows that camera's clip of OUT"
    )
    footage = soak.add_argument_group("cameras and galleries")
    footage.add_argument("--picture", type=_picture, default=(640, 360), metavar="WxH", help="pixels (640x360)")
    footage.add_argument("--native-fps", type=rate, metavar="X", help="frames a camera gives per second (as --fps)")
    footage.add_argument("--gallery-frames", type=count, default=300, metavar="N", help="of each gallery (300)")
    footage.add_argument("--event-every", type=seconds, default=30.0, metavar="X", help="s from event to event (30)")
    add_method(soak)


def _add_cluster(actions: Any) -> None:
    cluster = add_command(
        actions,
        "cluster",
        commands.cluster,
        "show what a cluster does when a node dies or joins; measure what it costs and needs",
        "Starts a Ray cluster of several nodes on this machine, runs cameras on it, kills a node with SIGKILL, adds\n"
        "another, and says how long everything took. Exits 1 if a promise was broken. Needs Ray.\n"
        "--overhead runs the same cameras on a cluster and without one, at the same time, and compares.\n"
        "--assignment lets things happen to a cluster that is only reckoned with: nodes die, join and come back. The\n"
        "rules are those of a real one; a camera's takeover takes as long as it is supposed to. Needs no Ray.\n"
        "--cost times frames on this machine, and prints the lines that belong into the configuration.",
    )
    what = cluster.add_mutually_exclusive_group()
    what.add_argument("--overhead", action="store_true", help="measure what the cluster adds to a frame")
    what.add_argument("--assignment", action="store_true", help="reckon with many cameras and nodes")
    what.add_argument("--cost", action="store_true", help="measure 'frame_cost' on this machine (about a minute)")
    cluster.add_argument("--cameras", type=count, metavar="N", help="(24; --overhead 4, --assignment 1000)")
    cluster.add_argument("--nodes", type=count, metavar="N", help="that score, 2 or more (3; --assignment 50)")
    cluster.add_argument("--seed", type=sequence_number, default=7, metavar="N", help="of --assignment (7)")
    cluster.add_argument(
        "--seconds", type=seconds, metavar="X", help="that --overhead or --cost measures (60; --cost 30)"
    )
    cluster.add_argument("--out", type=Path, metavar="DIR", help="folder for footage, nodes and logs (temporary)")
    footage = cluster.add_argument_group("cameras and galleries")
    footage.add_argument("--fps", type=rate, default=1.0, metavar="X", help="frames scored per second (1)")
    footage.add_argument("--native-fps", type=rate, metavar="X", help="frames a camera gives per second (as --fps)")
    footage.add_argument("--picture", type=_picture, default=(320, 180), metavar="WxH", help="pixels (320x180)")
    footage.add_argument("--gallery-frames", type=count, metavar="N", help="of each gallery (150; --cost 1000)")
    add_json(cluster)
    _add_scoring(cluster)


def _add_compare(actions: Any) -> None:
    text = "put two results side by side, with the ratio of each figure"
    compare = add_command(actions, "compare", commands.compare, text)
    compare.add_argument("old", type=Path, metavar="OLD", help="written by --json")
    compare.add_argument("new", type=Path, metavar="NEW", help="written by --json")


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option of every action that measures."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there, for 'compare'")


def add_method(parser: argparse.ArgumentParser) -> None:
    """Options that say what scores."""
    method = parser.add_argument_group("what scores")
    method.add_argument("--backbone", default="efficientnet_lite0", metavar="NAME", help="(efficientnet_lite0)")
    method.add_argument("--size", type=count, default=256, metavar="N", help="side of the scoring image (256)")
    method.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    method.add_argument("--runtime", default="auto", help="what runs the backbone (auto)")


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    """Options that say what scores within this process."""
    add_method(parser)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the backbone (the published ones)")
    parser.add_argument("--threads", type=count, metavar="N", help="cores to use (all)")


def _counts(text: str) -> tuple[int, ...]:
    found = tuple(count(name) for name in names(text))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: must be whole numbers, 1 or more, as 4,8")
    return tuple(dict.fromkeys(found))


def _picture(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: must be WIDTHxHEIGHT in pixels, as 640x360")
    if not (0 < int(width) <= MAX_FRAME_SIDE and 0 < int(height) <= MAX_FRAME_SIDE):
        raise argparse.ArgumentTypeError(f"{text!r}: each side must be 1 to {MAX_FRAME_SIDE} pixels")
    return int(width), int(height)
