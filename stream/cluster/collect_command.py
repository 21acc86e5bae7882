"""The command ``collect``: part of ``run --cluster``, on the machine where that runs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from stream.cli_arguments import add_command, add_origin
from stream.cluster.collector import NAME, Collector, Files
from stream.cluster.directory_client import DirectoryAddress, DirectoryClient
from stream.cluster.directory_watch import DirectoryWatch
from stream.cluster.run_keys import keys_of
from stream.cluster.subscriber import ClusterSubscriber
from stream.commands import load_part
from stream.config import Config
from stream.endpoints import connect_address
from stream.keys import load_local
from stream.outbox import Outbox
from stream.stopping import StopSignal
from stream.tcp import raise_file_limit

log = logging.getLogger(__name__)


def add_collect(groups: Any) -> None:
    """Adds the command to what ``add_subparsers`` returned."""
    command = add_command(
        groups,
        "collect",
        collect,
        "bring the alerts of a cluster into the outbox of this machine (part of 'run --cluster')",
        "Each worker of the cluster keeps its alerts on its own disk until they are stored here.",
    )
    command.add_argument("config", type=Path, metavar="CONFIG")
    command.add_argument(
        "--cluster",
        metavar="URL",
        help="of the cluster's directory, tcp://HOST:PORT (cluster.directory, on this machine)",
    )
    add_origin(command)


def collect(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """The collector, until it is stopped."""
    config = load_part(arguments)
    # This machine's own programs are let in by all machines of its cluster.
    key = load_local(keys_of(config))
    address = DirectoryAddress(arguments.cluster or connect_address(config.cluster.directory), key)
    raise_file_limit()
    with (
        Outbox(config.outbox, config.evidence) as outbox,
        DirectoryClient(address.endpoint, secure=address.secure()) as client,
    ):
        watch = DirectoryWatch(client, documents=True)
        with ClusterSubscriber(address.endpoint, key=key, name=NAME, watch=watch, collects=True) as subscriber:
            log.info("collecting alerts of the cluster %s", config.cluster.name)
            collector = Collector(
                subscriber,
                outbox,
                document=lambda: watch.document,
                files=files_of(config),
                scenes={camera.id: camera.scene_name for camera in config.cameras},
            )
            collector.run(stop)
    return 0


def files_of(config: Config) -> Files:
    """Where the collector of a run says how things are."""
    return Files(config.status, config.cluster_document, config.state / "cluster" / "collected.json")
