"""``run`` on a camera that is real: scored live, lost, found again by itself, and a clean end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .helpers import camera_status, free_port, is_running, logged_rows, started, status, write_config

pytestmark = [pytest.mark.rtsp, pytest.mark.slow]

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).parents[1] / "rtsp_server.py"
LOST = {"STALLED", "OFFLINE"}


@contextmanager
def rtsp_server(film: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A camera on this port that shows the film over and over."""
    command = [SYSTEM_PYTHON, str(SERVER), str(film), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("READY rtsp://")  # ends too if the server does
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def _gstreamer() -> None:
    imports = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", imports], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{SYSTEM_PYTHON} cannot import GstRtspServer (Debian: gir1.2-gst-rtsp-server-1.0, python3-gi)")


def test_a_camera_that_goes_and_comes_back_is_scored_again_without_anybodys_help(
    tmp_path: Path, gallery: Path, normal_film_avi: Path
) -> None:
    port, feed = free_port(), f"tcp://127.0.0.1:{free_port()}"
    camera = {"id": "gate", "source": f"rtsp://127.0.0.1:{port}/cam", "fps": 5, "read_timeout": 2.0}
    config = write_config(tmp_path, [camera], scenes={"gate": {"gallery": str(gallery)}}, feed={"endpoint": feed})
    with started(tmp_path, "run", config) as run:

        def scored_beyond(count: int) -> int:
            now = camera_status(feed, "gate")
            return int(now["scored"]) if now.get("state") == "LIVE" and now["scored"] > count else 0

        with rtsp_server(normal_film_avi, port) as server:
            before = run.until(lambda: scored_beyond(3), "the camera is LIVE and frames are scored")
            server.kill()
            server.wait()
            lost = run.until(
                lambda: found if (found := camera_status(feed, "gate")).get("state") in LOST else None,
                "the camera is reported as lost",
            )
            assert "next attempt in" in lost["reason"]
        with rtsp_server(normal_film_avi, port):
            run.until(lambda: scored_beyond(max(before, lost["scored"])), "the camera is LIVE and scored again")
            worker = int((status(feed) or {})["worker"]["pid"])
            done = run.stop()
    assert done.code == 0, done.report
    assert "Traceback" not in done.err
    assert not is_running(worker)
    rows = logged_rows(tmp_path / "state" / "scores" / "gate")
    numbers = [int(row["frame_seq"]) for row in rows]
    assert numbers == sorted(set(numbers)), "frame numbers go on over the interruption"
    assert all(row["problem"] == "" for row in rows)


def test_a_camera_that_is_not_there_at_the_start_is_waited_for(
    tmp_path: Path, gallery: Path, normal_film_avi: Path
) -> None:
    port, feed = free_port(), f"tcp://127.0.0.1:{free_port()}"
    camera = {"id": "gate", "source": f"rtsp://127.0.0.1:{port}/cam", "fps": 5}
    config = write_config(tmp_path, [camera], scenes={"gate": {"gallery": str(gallery)}}, feed={"endpoint": feed})
    with started(tmp_path, "run", config) as run:
        run.until(lambda: camera_status(feed, "gate").get("state") == "OFFLINE", "the camera is reported as OFFLINE")
        with rtsp_server(normal_film_avi, port):
            run.until(lambda: camera_status(feed, "gate").get("scored", 0) > 0, "the camera is scored")
            run.process.send_signal(signal.SIGINT)
            done = run.finished()
    assert done.code == 0, done.report
