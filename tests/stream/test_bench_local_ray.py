"""Nodes of a local cluster end with all that they have started, however they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.bench.cluster_site import Site
from stream.bench.local_ray import LocalNode, LocalRay
from stream.stopping import StopSignal

# One that starts another one, in a session of its own as our processes are, and says that it has.
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[LocalRay]:
    with LocalRay(tmp_path) as ray:
        yield ray


def node_of(ray: LocalRay, name: str) -> LocalNode:
    folder = ray.folder / name
    environment = {**os.environ, "SPADE_NODE_FOLDER": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    node = ray.nodes[name] = LocalNode(name, folder, (), {}, process=process)
    return node


def test_a_killed_node_leaves_nothing_of_it_running_and_others_alone(ray: LocalRay) -> None:
    first, second = node_of(ray, "one"), node_of(ray, "two")

    assert ray.kill("one") == 2
    assert first.processes() == []
    assert len(second.processes()) == 2


def test_what_has_lost_its_parent_is_found_by_its_folder(ray: LocalRay) -> None:
    node = node_of(ray, "one")
    assert node.process is not None
    node.process.kill()
    node.process.wait()

    assert len(node.processes()) == 1


def test_a_second_ctrl_c_leaves_nothing_of_a_site_running(tmp_path: Path) -> None:
    stop = StopSignal()
    settings = {"cameras": [{"id": "gate", "source": "rtsp://gate/1"}]}
    with Site(tmp_path, settings, stop) as site:
        nodes = [node_of(site.ray, "one"), node_of(site.ray, "two")]
        site.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

        stop._last_act()  # what the handler does before the process dies of the second signal

        assert site.process.wait(20) == -signal.SIGKILL
        until = time.monotonic() + 20
        while any(node.processes() for node in nodes) and time.monotonic() < until:
            time.sleep(0.02)
        assert [node.processes() for node in nodes] == [[], []]
