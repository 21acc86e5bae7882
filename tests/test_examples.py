"""The clients in ``docs/examples``: each runs against a real feed, and needs nothing of ours."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_docs import an_alert, serving

from stream.messages import Evidence, Phase
from stream.outbox import Outbox
from stream.wire import Kind, decode, encode

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
TINY, IN_JAVASCRIPT = EXAMPLES / "tiny_subscriber.py", EXAMPLES / "subscriber.js"
PATIENCE_S = 60.0  # how long a test waits for what must happen


@pytest.fixture
def three_alerts() -> Iterator[Path]:
    """The folder of an outbox that holds three alerts; its name leaves room for a socket's."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    with Outbox(folder / "outbox", folder / "evidence") as outbox:
        for number in (1, 2, 3):
            outbox.commit(an_alert(Phase.START, alert_id=f"a{number}"), Evidence(b"png", b"jpeg"))
        yield folder
    shutil.rmtree(folder)


def lines_of(command: list[str], count: int, environment: dict[str, str] | None = None) -> list[dict[str, object]]:
    """The first lines that a program prints; it is ended then."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE_S, process.kill)  # ends the output, so that no line is waited for in vain
        watchdog.start()
        try:
            return [json.loads(process.stdout.readline()) for _ in range(count)]
        finally:
            watchdog.cancel()
            process.kill()


def test_the_small_client_needs_nothing_but_pyzmq_and_the_standard_library() -> None:
    text = TINY.read_text(encoding="utf-8")
    imported = {
        alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported - sys.stdlib_module_names == {"zmq"}
    assert "from " not in text.partition('"""\n\n')[2]
    code = [line for line in text.rpartition('"""')[2].splitlines() if line.strip()]
    assert len(code) <= 32, "it is said to be thirty lines"


def test_the_small_client_receives_what_came_after_since(three_alerts: Path) -> None:
    with serving(three_alerts):
        got = lines_of([sys.executable, str(TINY), f"ipc://{three_alerts}/feed", "1"], 2)
    assert [(alert["seq"], alert["alert_id"]) for alert in got] == [(2, "a2"), (3, "a3")]


@pytest.fixture(scope="module")
def node() -> dict[str, str]:
    """An environment in which Node.js finds ``zeromq``; the test skips where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node.js here")
    environment = dict(os.environ)
    probe = subprocess.run(
        [found, "-e", 'require("zeromq")'], cwd=EXAMPLES, env=environment, capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("Node.js finds no package zeromq (npm install zeromq@6, and NODE_PATH to its node_modules)")
    return environment


def test_the_client_in_javascript_encodes_as_the_program_does(node: dict[str, str]) -> None:
    program = """
    const { encode, decode } = require(process.argv[1]);
    const ours = process.argv.slice(2).map((part) => Buffer.from(part, "hex"));
    console.log(JSON.stringify([decode(ours).slice(0, 2), encode(22, { seq: 3 }).map((part) => part.toString("hex"))]));
    """
    sent = [bytes(part).hex() for part in encode(Kind.ALERT, {"first": 1}, [b"x"])]
    done = subprocess.run(
        ["node", "-e", program, str(IN_JAVASCRIPT), *sent], env=node, capture_output=True, text=True, check=True
    )
    decoded, encoded = json.loads(done.stdout)
    assert decoded == [Kind.ALERT, {"first": 1}]
    message = decode([bytes.fromhex(part) for part in encoded])
    assert (message.kind, message.meta) == (Kind.ACK, {"seq": 3})


def test_the_client_in_javascript_receives_what_came_after_since(three_alerts: Path, node: dict[str, str]) -> None:
    with serving(three_alerts):
        got = lines_of(["node", str(IN_JAVASCRIPT), f"ipc://{three_alerts}/feed", "1"], 2, node)
    assert [(alert["seq"], alert["alert_id"]) for alert in got] == [(2, "a2"), (3, "a3")]
