"""The command line. Parses, sets up logging and signals, calls the program, and turns errors into one line and an exit
code.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from spade_core.errors import GalleryMismatch, GalleryNotFound, InputError, SpadeError, UnknownBackbone
from stream import __version__, commands, feed_commands, gallery_commands, logs, outbox_commands
from stream.bench.arguments import add_bench, with_action
from stream.cli_arguments import (
    add_command,
    add_key,
    add_origin,
    add_progress,
    count,
    from_zero,
    levels,
    names,
    rate,
    seconds,
    seconds_from_zero,
    since,
)
from stream.cluster.collect_command import add_collect
from stream.cluster.status_command import add_cluster
from stream.completion_command import add_completion
from stream.config_sections import DEFAULT_FEED
from stream.errors import StreamError
from stream.follow_command import add_follow
from stream.gallery_store_commands import add_store
from stream.init_command import add_init
from stream.key_commands import add_keys
from stream.normal_commands import add_normal
from stream.operator_commands import add_operator
from stream.pulse import Pulse
from stream.stopping import StopSignal
from stream.tune_command import add_tune

_USAGE_ERRORS = (GalleryNotFound, GalleryMismatch, UnknownBackbone, InputError)

_START = """\
a first run, without a camera:
  spade-stream demo                          renders a campus scene, finds what is odd in it, opens as index.html

with your own cameras (configs/campus.yaml is a commented example with every key):
  spade-stream init                          asks for them, writes spade-stream.yaml
  spade-stream check campus.yaml             is the configuration right, are the galleries there?
  spade-stream enroll campus.yaml --camera north-gate --seconds 600
                                             watch a scene while it is normal; makes its gallery
  spade-stream run campus.yaml               readers, worker, feed and sinks, until Ctrl-C

with recorded video:
  spade-stream replay clip.mp4 --gallery galleries/north-gate --out out/clip

receive alerts in another program:
  spade-stream alerts --since 0              JSON lines on standard output
"""


def entry() -> None:
    """Console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Runs a command and returns its exit code."""
    arguments = _parser().parse_args(with_action(argv))
    # Torch's threads by default spin while they wait for each other. Beside other busy processes (readers, another
    # worker) each then waits for one that the others keep off its core: scoring becomes several times slower. Has to
    # stand in the environment before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # NumPy's do so too, and know no such setting. Its matrices here are too small to be worth a second thread.
    threadpool_limits(limits=1, user_api="blas")
    logs.set_up(
        arguments.log_level,
        process=arguments.process_name,
        form=arguments.log_format or "human",
        camera=arguments.camera if arguments.process_name == "read" else None,
    )
    stop = StopSignal(parent=arguments.supervisor, pulse=None if arguments.pulse is None else Pulse(arguments.pulse))
    stop.install()
    try:
        code: int = arguments.run(arguments, stop)
        return code
    except StreamError as error:
        logs.tell(str(error), level=logging.ERROR)
        return error.exit_code
    except SpadeError as error:
        logs.tell(str(error), level=logging.ERROR)
        return 2 if isinstance(error, _USAGE_ERRORS) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has left
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spade-stream",
        description="Video surveillance that needs no training: enroll a scene while it is normal, get alerts with the "
        "anomalous region masked.",
        epilog=_START,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spade-stream {__version__}")
    parser.set_defaults(supervisor=None, pulse=None, process_name="")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_first_steps(groups)
    add_init(groups)
    _add_pipeline(groups)
    _add_console(groups)
    _add_recordings(groups)
    _add_evaluation(groups)
    _add_integration(groups)
    _add_galleries(groups)
    add_tune(groups)
    add_operator(groups)
    add_keys(groups)
    _add_outbox(groups)
    add_cluster(groups)
    add_bench(groups)
    add_completion(groups, _parser)
    return parser


def _add_first_steps(groups: Any) -> None:
    demo = add_command(
        groups,
        "demo",
        commands.demo,
        "render a campus scene, enroll it, and find what is odd in it",
        "Leaves OUT/index.html, OUT/alerts.jsonl, the pictures and the video. Exits 1 if a required event is missed.",
    )
    demo.add_argument(
        "--out", type=Path, default=Path("demo-out"), help="folder to write (demo-out); replaced if it is one"
    )
    demo.add_argument("--seed", type=int, default=7, help="of the scene (7)")
    demo.add_argument("--method", choices=["campus", "spade"], default="campus", help="scoring method (campus)")

    check = add_command(
        groups,
        "check",
        commands.check,
        "check a configuration without starting anything",
        "Says for every camera what it is, whether its file exists and whether its scene is enrolled.",
    )
    check.add_argument("config", type=Path, metavar="CONFIG")

    enroll = add_command(
        groups,
        "enroll",
        commands.enroll,
        "watch scenes while they are normal and make their galleries",
        "Files and folders are read to their end; a camera is watched for --seconds. The last part of the footage\n"
        "(gallery.holdout) is kept out of the gallery and sets the alert threshold.",
    )
    enroll.add_argument("config", type=Path, metavar="CONFIG")
    enroll.add_argument("--camera", help="only this camera's scene (all)")
    enroll.add_argument("--scene", metavar="NAME", help="which scene the footage shows, where a camera has several")
    enroll.add_argument("--source", help="footage to use instead of the camera itself: URL, file or folder")
    enroll.add_argument("--start", type=seconds_from_zero, help="seconds of it to pass over (0)")
    length = enroll.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=seconds, help="seconds of it to use (all; needed for a live camera)")
    length.add_argument("--minutes", type=seconds, help="the same in minutes")
    enroll.add_argument(
        "--until-covered",
        action="store_true",
        help="of a live camera: stop before that, once new footage has added little for two minutes",
    )
    enroll.add_argument("--capacity", type=count, help="most gallery frames (gallery.capacity)")
    enroll.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="on the nodes of a Ray cluster, each camera on one of them: auto, or HOST:PORT of its head",
    )
    add_progress(enroll)
    add_origin(enroll)


def _add_pipeline(groups: Any) -> None:
    run = add_command(
        groups,
        "run",
        commands.run,
        "run everything on this machine: readers, worker, feed, sinks",
        "Restarts what dies or hangs. Ctrl-C or SIGTERM drains: frames under way are scored, alerts delivered; a\n"
        "second one stops at once. SIGHUP reads CONFIG again; where it is wrong, the old one stays in force.\n"
        "Ends by itself when every source is a file and all are read. With --cluster readers and workers run on the\n"
        "nodes of a Ray cluster, until it is stopped.",
    )
    run.add_argument("config", type=Path, metavar="CONFIG")
    run.add_argument("--cluster", metavar="ADDRESS", help="of Ray: auto, or HOST:PORT of its head")
    read = _add_part(groups, "read", commands.read, "run the reader of one camera (part of 'run')")
    read.add_argument("--camera", required=True, metavar="ID")
    read.add_argument(
        "--cluster", metavar="tcp://HOST:PORT", help="directory of the cluster whose workers score the camera"
    )
    read.add_argument("--directory-key", metavar="KEY", help=argparse.SUPPRESS)  # public; a cluster's readers give it
    for name, program, text in (
        ("score", commands.score, "run the scoring worker (part of 'run')"),
        ("feed", commands.feed, "serve committed alerts to subscribers (part of 'run')"),
    ):
        part = _add_part(groups, name, program, text)
        if name == "score":
            part.add_argument("--assigned", type=Path, help=argparse.SUPPRESS)  # a cluster's station writes it
    add_collect(groups)
    sink = _add_part(groups, "sink", commands.sink, "run one sink (part of 'run')")
    sink.add_argument("--name", required=True, help="of the sink, as in the configuration")
    only = sink.add_mutually_exclusive_group()
    only.add_argument("--test", action="store_true", help="only deliver one test alert, and say whether it was taken")
    only.add_argument("--again", action="store_true", help="only deliver once more what the sink has laid aside")


def _add_console(groups: Any) -> None:
    console = add_command(
        groups,
        "console",
        commands.console,
        "serve the web console (part of 'run'); its login link and its users",
        "spade-stream console CONFIG                       serve it\n"
        "spade-stream console link CONFIG                  print the link that logs a browser in\n"
        "spade-stream console user CONFIG NAME             add a user, or set a new password (asks, or reads stdin)\n"
        "spade-stream console user CONFIG NAME --remove    remove a user",
    )
    console.add_argument("words", nargs="+", metavar="[link|user] CONFIG [NAME]", help="see above")
    console.add_argument("--remove", action="store_true", help="of a user")
    add_origin(console)


def _add_part(
    groups: Any, name: str, run: Callable[[argparse.Namespace, StopSignal], int], help_text: str
) -> argparse.ArgumentParser:
    """A command that ``run`` starts, with a copy of the configuration."""
    parser = add_command(groups, name, run, help_text)
    parser.add_argument("config", type=Path, metavar="CONFIG")
    add_origin(parser)
    return parser


def _add_recordings(groups: Any) -> None:
    replay = add_command(
        groups,
        "replay",
        commands.replay,
        "score a recording through the live pipeline, losslessly",
        "SOURCE is a video file, a folder of images, or a folder of such clips. Leaves OUT/alerts.jsonl,\n"
        "OUT/pictures, OUT/scores.csv (every frame's score) and OUT/index.html.",
    )
    replay.add_argument("source", metavar="SOURCE")
    replay.add_argument("--gallery", type=Path, required=True, metavar="DIR", help="of the scene, made by 'enroll'")
    replay.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; must be new or empty")
    replay.add_argument("--fps", type=rate, help="frames scored per second of video (every frame)")
    replay.add_argument("--folder-fps", type=rate, default=10.0, help="rate at which image folders were recorded (10)")
    replay.add_argument("--start", type=seconds_from_zero, default=0.0, help="seconds to pass over (0)")
    replay.add_argument("--seconds", type=seconds, help="seconds to score (to the end)")
    replay.add_argument(
        "--recorded-at", type=datetime.fromisoformat, metavar="TIME", help="ISO 8601 time of the first frame"
    )
    replay.add_argument(
        "--weights", type=Path, help="backbone weights, where the gallery was made with a file of your own"
    )
    replay.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    replay.add_argument("--maps", action="store_true", help="keep every score map as OUT/maps/replay/FRAME.npy")


def _add_evaluation(groups: Any) -> None:
    evaluate = add_command(
        groups,
        "eval",
        commands.evaluate,
        "score a dataset through the live pipeline and write the field's figures",
        "Enrolls every scene of the dataset from its training clips, scores its test clips, and leaves\n"
        "OUT/metrics.json, OUT/report.html, OUT/alerts.jsonl and OUT/scores. docs/evaluation.md explains the figures.\n"
        "With --compare, puts the results of earlier runs side by side instead.",
    )
    datasets = "clips, ped1, ped2, shanghaitech, avenue, mvtec"
    evaluate.add_argument("--dataset", metavar="NAME", help=datasets)
    evaluate.add_argument("--root", type=Path, metavar="DIR", help="folder that the dataset was unpacked in")
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="folder to write; an earlier run is replaced")
    evaluate.add_argument("--scenes", type=names, default=(), metavar="A,B", help="only these scenes (all)")
    evaluate.add_argument("--every", type=count, default=1, metavar="N", help="score every Nth test frame (1)")
    evaluate.add_argument(
        "--method", metavar="NAME", help="campus (of video), spade (of images), or anomalib:patchcore"
    )
    evaluate.add_argument("--backbone", metavar="NAME", help="feature network (the configuration's default)")
    evaluate.add_argument("--weights", type=Path, metavar="FILE", help="its weights, where they are your own")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parameters = evaluate.add_argument_group("parameters of the method (method.* of the configuration)")
    parameters.add_argument("--size", type=count, metavar="N", help="side of the scoring image in pixels (256)")
    parameters.add_argument("--crop", type=count, metavar="N", help="centre kept of it (none; of images 224)")
    parameters.add_argument("--k", type=count, metavar="N", help="nearest normal frames (1; of images 50)")
    parameters.add_argument("--kappa", type=count, metavar="N", help="nearest features averaged at a place (1)")
    parameters.add_argument("--levels", type=levels, metavar="L", help="pyramid levels, as 1,2,3 (all)")
    parameters.add_argument("--neighbours", choices=["nearest", "random"], help="which K normal frames (nearest)")
    parameters.add_argument("--sigma", type=from_zero, metavar="X", help="Gaussian over the map, pixels (4)")
    gallery = evaluate.add_argument_group("galleries")
    gallery.add_argument("--capacity", type=count, default=5000, metavar="N", help="most frames of a gallery (5000)")
    gallery.add_argument(
        "--false-alarms-per-day", type=rate, metavar="X", help="asked of the threshold (gallery.false_alarms_per_day)"
    )
    gallery.add_argument(
        "--galleries", type=Path, metavar="DIR", help="'galleries' of an earlier run: used again where they match"
    )
    evaluate.add_argument("--keep-maps", action="store_true", help="keep every score map: 128 KB a frame")
    spread = evaluate.add_argument_group("many machines")
    spread.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="on the nodes of a Ray cluster, each scene on one: auto, or HOST:PORT of its head. All see the same root "
        "and out",
    )
    spread.add_argument("--task-cpus", type=count, metavar="N", help="cores that each scene takes of its node (4)")
    evaluate.add_argument("--part", type=Path, help=argparse.SUPPRESS)  # one scene, on a node
    several = evaluate.add_argument_group("several runs")
    several.add_argument(
        "--table",
        choices=["6", "7", "campus", "bank"],
        help="run all variants of a table, and compare: 6 and 7 of the paper, or what each part of campus is worth",
    )
    several.add_argument("--compare", type=Path, nargs="+", metavar="DIR", help="folders of earlier runs")
    several.add_argument("--mixed", action="store_true", help="compare runs even where they are not of the same frames")


def _add_integration(groups: Any) -> None:
    alerts = add_command(
        groups,
        "alerts",
        feed_commands.alerts,
        "subscribe to a running feed and print alerts as JSON lines",
        "Reconnects by itself. With --since N it prints exactly what was committed after sequence number N, then "
        "goes on.",
    )
    where = alerts.add_mutually_exclusive_group()
    where.add_argument("--connect", default=DEFAULT_FEED, metavar="URL", help=f"of the feed ({DEFAULT_FEED})")
    where.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="alerts of all machines of a cluster: tcp://HOST:PORT of its directory, or Ray's address",
    )
    alerts.add_argument(
        "--cluster-name", default="spade-stream", metavar="NAME", help="cluster.name, with Ray's address (spade-stream)"
    )
    alerts.add_argument(
        "--since",
        type=since,
        metavar="N",
        help="first replay what came after N; 0 = all (only new ones). Of a cluster 0, or OUTBOX=N,OUTBOX=N",
    )
    add_key(alerts)
    alerts.add_argument("--name", help="be remembered: go on after what this name has acknowledged")
    alerts.add_argument("--no-follow", action="store_true", help="exit once everything committed so far is printed")
    alerts.add_argument("--events", action="store_true", help="also print what every camera is doing, and each change")
    alerts.add_argument("--save", type=Path, metavar="DIR", help="also write the pictures there")

    status = add_command(groups, "status", feed_commands.status, "show what every camera of a running feed is doing")
    status.add_argument("--connect", default=DEFAULT_FEED, metavar="URL", help=f"of the feed ({DEFAULT_FEED})")
    add_key(status)
    status.add_argument("--json", action="store_true", help="print all there is as JSON")


def _add_outbox(groups: Any) -> None:
    text = "look at stored alerts, remove old ones, forget subscribers"
    outbox = groups.add_parser("outbox", help=text, description=f"{text[:1].upper()}{text[1:]}.")
    actions = outbox.add_subparsers(title="actions", metavar="ACTION", required=True)
    info = add_command(
        actions, "info", outbox_commands.info, "show what is stored and how far every subscriber and sink is"
    )
    info.add_argument("config", type=Path, metavar="CONFIG")
    info.add_argument("--json", action="store_true", help="print it as JSON")
    prune = add_command(
        actions,
        "prune",
        outbox_commands.prune,
        "remove now what the retention of the configuration no longer keeps",
        "A running feed does that by itself. Exits 1 where a subscriber that has not acknowledged holds it up.",
    )
    prune.add_argument("config", type=Path, metavar="CONFIG")
    prune.add_argument(
        "--include-unacknowledged", action="store_true", help="also what a registered subscriber has not had yet"
    )
    forget = add_command(actions, "forget", outbox_commands.forget, "unregister a subscriber that will not come back")
    forget.add_argument("config", type=Path, metavar="CONFIG")
    forget.add_argument("name", metavar="NAME", help="of the subscriber, as 'info' shows it")


def _add_galleries(groups: Any) -> None:
    text = "look at galleries, add frames, go back"
    gallery = groups.add_parser("gallery", help=text, description=f"{text[:1].upper()}{text[1:]}.")
    actions = gallery.add_subparsers(title="actions", metavar="ACTION", required=True)
    info = add_command(actions, "info", gallery_commands.info, "show what a gallery holds and was made with")
    info.add_argument("gallery", type=Path, metavar="DIR")
    info.add_argument("--json", action="store_true", help="print it as JSON")
    info.add_argument("--sheet", type=Path, metavar="FILE", help="write a contact sheet of its frames (JPEG or PNG)")
    verify = add_command(actions, "verify", gallery_commands.verify, "read a gallery in full and compare all checksums")
    verify.add_argument("gallery", type=Path, metavar="DIR")
    versions = add_command(
        actions,
        "versions",
        gallery_commands.versions,
        "list the versions of a gallery; * marks the one in force",
        "Every enrolment and every 'add' makes a version. Exits 1 if one of them is damaged.",
    )
    versions.add_argument("gallery", type=Path, metavar="DIR")
    versions.add_argument("--json", action="store_true", help="print them as JSON, with their notes")
    use = add_command(
        actions,
        "use",
        gallery_commands.use,
        "put another version in force: undo, or redo",
        "Reads all of it first, and refuses one that is damaged.",
    )
    use.add_argument("gallery", type=Path, metavar="DIR")
    use.add_argument("version", metavar="VERSION", help="as 'versions' shows it: v000003, or 3")
    _add_store_of(use)
    add_progress(use)
    add_origin(use)
    add_follow(actions)
    prune = add_command(
        actions,
        "prune",
        gallery_commands.prune_versions,
        "delete old versions of a gallery",
        "The one in force stays, and beside it the newest. Stop workers first that run with an older one.",
    )
    prune.add_argument("gallery", type=Path, metavar="DIR")
    prune.add_argument("--keep", type=count, default=2, metavar="N", help="versions that stay, at least 1 (2)")
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    _add_adding(actions)
    add_normal(actions)
    add_store(actions)


def _add_store_of(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration whose gallery it is: publishes the new version in its gallery.store, too",
    )


def _add_adding(actions: Any) -> None:
    add = add_command(
        actions,
        "add",
        gallery_commands.add,
        "add frames that you call normal to a gallery, as a new version",
        "SOURCE is an image, a video file, a folder of images or of clips, or a camera with --seconds. Thresholds\n"
        "stay as they are. Undo with 'gallery use DIR OLD-VERSION'.",
    )
    add.add_argument("gallery", type=Path, metavar="DIR")
    add.add_argument("source", nargs="+", metavar="SOURCE")
    _add_store_of(add)
    add_origin(add)
    add.add_argument("--start", type=seconds_from_zero, default=0.0, help="seconds of each source to pass over (0)")
    add.add_argument("--seconds", type=seconds, help="seconds of each source to add (all)")
    add.add_argument("--fps", type=rate, help="frames added per second of video (every frame)")
    add.add_argument("--folder-fps", type=rate, default=10.0, help="rate at which image folders were recorded (10)")
    add.add_argument("--capacity", type=count, help="most frames of the new version (as the gallery was made for)")
    add.add_argument(
        "--weights", type=Path, help="backbone weights, where the gallery was made with a file of your own"
    )
    add.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
