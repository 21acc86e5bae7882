"""``collect`` as a process, over TCP with CURVE: killed in the middle of its work, and stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from collect_fakes import wait_for
from secure_campus import SecureCampus, a_secure_campus

from stream.outbox import OutboxReader

CONFIG = """\
cameras: [{{id: gate, source: "campus:"}}]
state: state
security: {{keys: "{keys}"}}
"""


@pytest.fixture
def campus(tmp_path: Path) -> Iterator[SecureCampus]:
    with a_secure_campus(tmp_path / "campus") as made:
        yield made


@pytest.fixture
def config(tmp_path: Path, campus: SecureCampus) -> Path:
    path = tmp_path / "campus.yaml"
    path.write_text(CONFIG.format(keys=campus.run.folder / "keys"))
    return path


@contextmanager
def collecting(config: Path, campus: SecureCampus) -> Iterator[subprocess.Popen[bytes]]:
    words = (sys.executable, "-m", "stream", "collect", str(config), "--cluster", campus.run.endpoint)
    process = subprocess.Popen(words)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stored(config: Path) -> list[tuple[str, int]]:
    state = config.parent / "state"
    with OutboxReader(state / "outbox.sqlite", state / "evidence") as outbox:
        return [(alert.outbox, alert.frame_seq) for alert in outbox.read_after(0, limit=10_000)]


def test_a_collector_that_is_killed_goes_on_and_loses_and_doubles_nothing(config: Path, campus: SecureCampus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(*range(1, 201))
    b.commit(*range(1, 101))
    campus.tell()
    for some in (20, 120):  # killed twice, with alerts under way
        with collecting(config, campus):
            wait_for(lambda some=some: len(stored(config)) >= some)  # type: ignore[misc]
    with collecting(config, campus) as process:
        wait_for(lambda: len(stored(config)) >= 300)
        wait_for(lambda: a.disk.outbox.acknowledged() == {"collect": 200})
        wait_for(lambda: b.disk.outbox.acknowledged() == {"collect": 100})
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    found = stored(config)
    assert [seq for outbox, seq in found if outbox == "a"] == list(range(1, 201))
    assert [seq for outbox, seq in found if outbox == "b"] == list(range(1, 101))
    status = json.loads((config.parent / "state" / "status.json").read_text())
    assert status["worker"]["state"] == "STOPPED"


def test_a_collector_waits_for_a_directory_that_is_not_there_yet(config: Path, campus: SecureCampus) -> None:
    a = campus.node("a")
    a.commit(1)
    campus.tell()
    campus.run.stop()
    with collecting(config, campus) as process:
        wait_for(lambda: (config.parent / "state" / "outbox.sqlite").exists())
        campus.run.start()
        wait_for(lambda: stored(config) == [("a", 1)])
        assert process.poll() is None
