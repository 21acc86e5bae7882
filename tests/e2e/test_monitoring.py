"""A run as its monitors see it: metrics over HTTP, ready or not, a live view over its socket, and its log as JSON."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from stream.config import load_config
from stream.endpoints import parse_endpoint
from stream.live import LiveSubscriber
from stream.pictures import decode_jpeg

from .helpers import free_port, spade, started, write_config

pytestmark = pytest.mark.slow

SOURCE = "campus:?seed=3&size=160x90&fps=10"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A camera whose scene is enrolled; its console listens, and its log lines are JSON."""
    sections = {
        "console": {"address": f"127.0.0.1:{free_port()}"},
        "log": {"format": "json"},
        "gallery": {"folder": "galleries", "holdout": 0.4},
    }
    return write_config(tmp_path, [{"id": "yard", "source": SOURCE, "fps": 5.0}], **sections)


def asked(address: str, path: str) -> tuple[int, str]:
    """Status code and text; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_a_run_tells_its_monitors_how_it_stands(site: Path) -> None:
    assert spade("enroll", site, "--seconds", "24").code == 0
    config = load_config(site, os.environ)
    address = config.console.address
    with started(site.parent, "run", site) as run, LiveSubscriber(parse_endpoint(config.live_endpoint)) as viewer:
        viewer.watch(["yard"])
        run.until(lambda: asked(address, "/healthz")[0] == 200, "the console answers")
        run.until(lambda: asked(address, "/readyz")[0] == 200, "every camera is watched")
        view = run.until(lambda: viewer.poll(1.0), "a view comes")
        code, metrics = asked(address, "/metrics")
        done = run.stop()

    assert code == 200
    assert 'spade_camera_state{camera="yard",state="LIVE"} 1.0' in metrics
    assert 'spade_stage_seconds_bucket{le="+Inf",stage="score"}' in metrics
    assert 'spade_process_up{process="worker"} 1.0' in metrics
    assert "spade_outbox_up 1.0" in metrics
    assert view is not None
    assert (view.camera, view.source_size, view.problem) == ("yard", (160, 90), "")
    assert decode_jpeg(view.view_jpeg, size=(160, 90)).shape == (90, 160, 3)
    assert view.heat_png.startswith(b"\x89PNG")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert {"run", "feed", "score", "read", "console"} <= {line["process"] for line in lines}
    assert {line["camera"] for line in lines if line["process"] == "read"} == {"yard"}
