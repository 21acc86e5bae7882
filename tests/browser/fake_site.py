"""A made-up site behind the console's real server: cameras, alerts, scores, galleries, and jobs that are quick.

Nothing happens by itself: a test says when a live view or an alert comes.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import gallery_files
import numpy as np
import uvicorn
import yaml
from numpy.typing import NDArray

from stream.config import build_config
from stream.console.app import make_app
from stream.console.launcher import Launcher
from stream.console.parts import Parts
from stream.console.server import build
from stream.live import LiveFrame
from stream.messages import Alert, Evidence, Neighbour, Phase, Region, iso_time
from stream.outbox import Outbox
from stream.reload import WORKER
from stream.scorelog import ScoreLog, ScoreRow

HOSTILE = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
"""What an attacker could get into a reason, a note or a source's name."""

SIZE = (320, 180)  # of all pictures, width and height
THRESHOLD = 0.5
CAMERAS = ("walkway", "quad", "gate")
BLIND = "gate"  # the camera that is not watched
_HEARS = (
    "import signal, time; signal.signal(signal.SIGHUP, signal.SIG_IGN); print('ready', flush=True); time.sleep(3600)"
)
STEP = 10.0  # s between two scores


@dataclass(eq=False)
class Site:
    """What a test may do with it."""

    folder: Path
    parts: Parts
    outbox: Outbox
    base: str = ""  # of all addresses
    seq: int = 0
    _states: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def login(self) -> str:
        """The link that the program prints when it starts."""
        token = (self.parts.config.state / "run" / "console-token").read_text(encoding="utf-8").strip()
        return f"{self.base}/login?token={token}"

    def live(
        self, camera: str = "walkway", *, strength: float | None = 0.4, alert: str | None = None, age: float = 0.0
    ) -> None:
        """A live view comes; somebody must be looking at that camera."""
        self.seq += 1
        deadline = time.monotonic() + 20
        while camera not in self.parts.hub.watched():
            assert time.monotonic() < deadline, f"nobody looks at {camera}"
            time.sleep(0.02)
        score = None if strength is None else strength * THRESHOLD
        heat = np.zeros((18, 32, 4), np.uint8)
        heat[6:12, 12:20] = (0, 120, 255, 180)
        frame = LiveFrame(
            camera=camera,
            scene=camera,
            frame_seq=self.seq,
            frame_time=time.time() - age,
            score=score,
            threshold=THRESHOLD,
            alert=alert,
            problem="",
            source_size=SIZE,
            heat_box=(0.0, 0.0, 1.0, 1.0),
            view_jpeg=picture(camera, self.seq),
            heat_png=png(heat),
        )
        self.parts.watcher.take(frame)

    def cut(self) -> None:
        """Every event stream breaks, as when the network goes."""
        for browser in list(self.parts.hub._browsers):
            browser.close()

    def alert(
        self,
        number: int,
        *,
        camera: str = "walkway",
        ago: float = 0.0,
        strength: float = 1.5,
        clip: bytes = b"",
        outbox: str = "",
    ) -> str:
        """An alert that has ended is committed and told to all browsers. Returns its id."""
        alert_id, now = f"{camera}-{number}", time.time() - ago
        region = Region((120, 60, 80, 60), ((120, 60), (200, 60), (200, 120), (120, 120)), 4800, 0.9)
        other = Region((20, 20, 40, 30), ((20, 20), (60, 20), (60, 50), (20, 50)), 1200, 0.6)
        first = gallery_files.frame_of(1)
        near = (Neighbour(1, 0.12, first.source, first.media_time), Neighbour(2, 0.2, HOSTILE, 1.0))
        for phase, ended in ((Phase.START, None), (Phase.END, now + 6)):
            alert = Alert(
                seq=0,
                alert_id=alert_id,
                phase=phase,
                camera=camera,
                scene=camera,
                started_at=now,
                ended_at=ended,
                frame_time=now,
                frame_seq=number * 10 + (ended is not None),
                score=strength * THRESHOLD,
                threshold=THRESHOLD,
                regions=(region, other),
                neighbours=near,
                why={"appearance": strength, "motion": 0.4, HOSTILE[:60]: 0.1},
                outbox=outbox,
            )
            self._commit(alert, picture(camera, number), clip if phase is Phase.END else b"")
        return alert_id

    def _commit(self, alert: Alert, view: bytes, clip: bytes) -> None:
        mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
        mask[60:120, 120:200] = 255
        stored = self.outbox.commit(alert, Evidence(png(mask), view, clip, view_jpeg=view))
        self.parts.hub.publish("alert", self.parts.store.add(stored).to_json())

    def camera(self, camera: str, **news: Any) -> None:
        """The worker says something else of a camera."""
        self._states[camera].update(news)
        status = {"written": time.time() + 3600, "worker": {"state": "RUNNING", "reason": ""}, "cameras": self._states}
        self.parts.config.status.write_text(json.dumps(status), encoding="utf-8")
        self.parts.board.refresh()


def picture(camera: str, number: int) -> bytes:
    """A view as JPEG: a ground of the camera's colour, with a thing that moves."""
    image: NDArray[np.uint8] = np.full((SIZE[1], SIZE[0], 3), 60 + 40 * CAMERAS.index(camera), np.uint8)
    cv2.rectangle(image, (120, 60), (200, 120), (40, 120, 200), -1)
    cv2.circle(image, (number * 7 % SIZE[0], 150), 12, (200, 200, 60), -1)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def png(image: NDArray[np.uint8]) -> bytes:
    """As PNG."""
    return bytes(cv2.imencode(".png", image)[1].tobytes())


@contextmanager
def running(folder: Path) -> Iterator[Site]:
    """The site, served on a free port of the loopback interface."""
    data = {
        "cameras": [{"id": camera, "source": "campus:"} for camera in CAMERAS],
        "state": "state",
        "gallery": {"folder": "galleries"},
    }
    config_path = folder / "site.yaml"
    config_path.write_text(yaml.safe_dump(data), encoding="utf-8")
    config = build_config(data, where="site.yaml", base=folder, environment={})
    for camera in CAMERAS:
        gallery_files.build(config.gallery_of(camera))
    _log_scores(config.scores)
    program = (sys.executable, str(Path(__file__).with_name("fake_job.py")))
    launcher = Launcher(config_path, folder, config_path, config.processes, program=program)
    with ExitStack() as stack:
        outbox = stack.enter_context(Outbox(config.outbox, config.evidence))
        parts = build(config, launcher, stack=stack)
        site = Site(folder, parts, outbox)
        _begin(site, stack.enter_context(_worker()))
        site.base = stack.enter_context(_served(make_app(parts)))
        stack.callback(parts.hub.close)  # before the server ends: it waits for all answers
        yield site


def _begin(site: Site, worker: int) -> None:
    since = iso_time(time.time() - 4000)
    for camera in CAMERAS:
        said = {
            "state": "LIVE",
            "reason": "",
            "since": since,
            "last_score": 0.2,
            "threshold": THRESHOLD,
            "calibrated_threshold": THRESHOLD,
            "scored": 1234,
            "age_p50": 0.2,
            "age_p95": 0.5,
            "last_frame_time": iso_time(time.time()),
        }
        site._states[camera] = said
    site._states[BLIND] = {"state": "OFFLINE", "reason": f"refused by {HOSTILE}", "since": since}
    site.camera("walkway")
    site.parts.board.hear_feed(connected=True, last_seq=0)
    processes = {
        "written": time.time() + 3600,
        "supervisor": {"state": "RUNNING", "pid": os.getpid()},
        "processes": {WORKER: {"state": "running", "pid": worker, "restarts": 0}},
        "config": {},
    }
    site.parts.config.processes.write_text(json.dumps(processes), encoding="utf-8")


@contextmanager
def _worker() -> Iterator[int]:
    """A process that can be told to reload, as a worker can. Gives its number."""
    process = subprocess.Popen([sys.executable, "-c", _HEARS], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def _log_scores(folder: Path) -> None:
    """Six hours of the walkway: quiet, but for half a minute in each hour, stronger from time to time."""
    log, now = ScoreLog(folder), time.time()
    for index in range(int(6 * 3600 / STEP)):
        time_of = now - 6 * 3600 + index * STEP
        hour, part = divmod(index * STEP, 3600)
        score = THRESHOLD * (1.1 + hour / 10) if part < 30 else 0.2
        log.add("walkway", ScoreRow(time_of, index, index * STEP, "", score, score, THRESHOLD, 1, 0.2, "", ""))
    log.close()


@contextmanager
def _served(app: Any) -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)  # at once: a page may be asked for before the server runs
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()
