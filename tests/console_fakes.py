"""A console without a pipeline: made-up cameras, alerts, scores and pictures in a state folder, served for real.

``python -m tests.console_fakes --port 8470`` runs it until Ctrl-C and prints the link that logs in; the tests build the
same folder and ask the application directly.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stream.config import Config, build_config
from stream.console.commands import monitor_routes
from stream.console.follower import Follower
from stream.console.launcher import Launcher
from stream.console.parts import Parts
from stream.console.server import build, serve
from stream.console.token import login_link
from stream.endpoints import parse_endpoint
from stream.live import LiveFrame, LivePublisher
from stream.messages import Alert, CameraState, Evidence, Neighbour, Phase, Region, StateEvent, iso_time
from stream.outbox import Outbox, OutboxReader
from stream.scorelog import ScoreLog, ScoreRow

CAMERAS = ("north-gate", "library-steps", "bicycle-stand", "car-park", "old-cam")
STATES = {
    "north-gate": (CameraState.LIVE, "frames arrive"),
    "library-steps": (CameraState.LIVE, "frames arrive"),
    "bicycle-stand": (CameraState.OBSCURED, "there is nothing to see: black"),
    "car-park": (CameraState.MOVED, "the picture shows another view than the one that was enrolled"),
    "old-cam": (CameraState.OFFLINE, "nothing answers at rtsp://***@192.0.2.15"),
}
SIZE = (640, 360)
THRESHOLD = 2.5


def a_config(folder: Path, *, port: int = 0, cameras: tuple[str, ...] = CAMERAS, **console: Any) -> Config:
    data = {
        "state": str(folder / "state"),
        "cameras": [{"id": name, "source": f"rtsp://viewer:hunter22@192.0.2.1/{name}"} for name in cameras],
        "gallery": {"folder": str(folder / "galleries")},
        "feed": {"endpoint": f"ipc://{folder}/feed.sock"},
        "sinks": [{"type": "stdout", "name": "printer"}],
        "console": {"address": f"127.0.0.1:{port or 8470}", **console},
    }
    return build_config(data, where="fakes", base=folder, environment={})


def a_launcher(config: Config, program: tuple[str, ...]) -> Launcher:
    """Jobs are run by ``program`` instead of the command line."""
    return Launcher(Path("site.yaml"), Path("/"), Path("site.yaml"), config.processes, program=program)


def picture(seed: int, *, person: bool = False, shift: float = 0.0) -> bytes:
    """A JPEG of a made-up place."""
    width, height = SIZE
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), (190, 160, 120), np.uint8)
    image[height // 2 :] = (90, 130, 100)
    cv2.rectangle(image, (60, 80), (260, height // 2), (70, 70, 110), -1)
    cv2.rectangle(image, (120, 120), (150, height // 2), (40, 40, 60), -1)
    if person:
        x = int(width * (0.3 + 0.4 * shift))
        cv2.ellipse(image, (x, 230), (16, 44), 0, 0, 360, (30, 30, 200), -1)
        cv2.circle(image, (x, 172), 14, (150, 170, 210), -1)
    image = np.clip(image.astype(np.int16) + random.integers(-6, 6, image.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1])


def heat(shift: float) -> bytes:
    """A transparent PNG that is red where the person is."""
    image = np.zeros((90, 160, 4), np.uint8)
    cv2.circle(image, (int(160 * (0.3 + 0.4 * shift)), 52), 14, (0, 0, 255, 170), -1)
    return bytes(cv2.imencode(".png", image)[1])


def mask(shift: float) -> bytes:
    image = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    cv2.ellipse(image, (int(SIZE[0] * (0.3 + 0.4 * shift)), 220), (24, 60), 0, 0, 360, 255, -1)
    return bytes(cv2.imencode(".png", image)[1])


def an_alert(number: int, phase: Phase, *, camera: str = "north-gate", at: float, strength: float = 1.6) -> Alert:
    x = int(SIZE[0] * (0.3 + 0.4 * (number % 5) / 5))
    polygon = ((x - 24, 160), (x + 24, 160), (x + 24, 280), (x - 24, 280))
    return Alert(
        seq=0,
        alert_id=f"{camera}-{number:04d}",
        phase=phase,
        camera=camera,
        scene=camera,
        started_at=at,
        frame_time=at + {"start": 1.0, "update": 6.0, "end": 12.0}[str(phase)],
        frame_seq=1000 * number + {"start": 1, "update": 2, "end": 3}[str(phase)],
        score=strength * THRESHOLD,
        threshold=THRESHOLD,
        regions=(Region((x - 24, 160, 48, 120), polygon, 5760, strength * THRESHOLD),),
        neighbours=(Neighbour(3, 0.42, camera, 12.0),),
        ended_at=at + 11.0 if phase is Phase.END else None,
    )


def commit(outbox: Outbox, number: int, *, camera: str = "north-gate", at: float) -> None:
    """One alert in three messages."""
    shift = (number % 5) / 5
    evidence = Evidence(mask(shift), picture(number, person=True, shift=shift))
    for phase, strength in ((Phase.START, 1.3), (Phase.UPDATE, 1.9), (Phase.END, 1.1)):
        outbox.commit(an_alert(number, phase, camera=camera, at=at, strength=strength + number % 4 / 3), evidence)


def write_status(config: Config, *, now: float, strength: float = 0.4, states: Mapping[str, Any] = STATES) -> None:
    """What the worker and the supervisor would have written."""
    cameras = {}
    for camera in config.cameras:
        state, reason = states.get(camera.id, (CameraState.LIVE, "frames arrive"))
        live = state is CameraState.LIVE
        cameras[camera.id] = {
            "scene": camera.scene_name,
            "state": str(state),
            "reason": reason,
            "since": iso_time(now - 3600),
            "scored": 12345,
            "not_scored": 0 if live else 77,
            "drops": {"reader.sampled_out": 400, "reader.overwritten": 3},
            "last_frame_time": iso_time(now),
            "last_seq": 12400,
            "last_score": strength * THRESHOLD if live else None,
            "threshold": THRESHOLD,
            "calibrated_threshold": THRESHOLD,
            "alert": None,
            "age_p50": 0.11,
            "age_p95": 0.23,
        }
    worker = {"state": "RUNNING", "reason": "", "scene_failures": {}}
    config.state.mkdir(parents=True, exist_ok=True)
    config.status.write_text(json.dumps({"written": now, "worker": worker, "cameras": cameras}))


def fill(config: Config, *, now: float, alerts: int = 30, hours: float = 6.0) -> None:
    """Alerts, camera events and scores of the last hours."""
    with Outbox(config.outbox, config.evidence) as outbox:
        for number in range(1, alerts + 1):
            camera = config.cameras[number % min(3, len(config.cameras))].id
            commit(outbox, number, camera=camera, at=now - 60 * (alerts - number) * 11 - 90)
        for camera in config.cameras:
            state, reason = STATES.get(camera.id, (CameraState.LIVE, "frames arrive"))
            outbox.record_event(StateEvent(camera.id, CameraState.CONNECTING, "the source is being opened", now - 5000))
            outbox.record_event(StateEvent(camera.id, state, reason, now - 3600))
    log = ScoreLog(config.scores)
    for camera in config.cameras:
        for number in range(int(hours * 3600)):
            log.add(camera.id, a_row(now - hours * 3600 + number, number))
    log.close()


def a_row(time: float, number: int, *, score: float | None = None) -> ScoreRow:
    value = 1.0 + 0.5 * math.sin(number / 900) + (2.2 if number % 3600 > 3570 else 0.0) if score is None else score
    blind = score is None and 5000 < number % 10_000 < 5200
    return ScoreRow(
        frame_time=time,
        frame_seq=number,
        media_time=float(number),
        segment="",
        score=None if blind else value,
        image_score=None,
        threshold=None if blind else THRESHOLD,
        nearest=None,
        age=None if blind else 0.1,
        alert="",
        problem='there is nothing to see, "black"' if blind else "",
    )


@contextmanager
def built(config: Config, *, program: tuple[str, ...] = ("false",), pages: Path | None = None) -> Iterator[Parts]:
    """The console's parts, without threads."""
    with ExitStack() as stack:
        options = {} if pages is None else {"pages": pages}
        yield build(config, a_launcher(config, program), stack=stack, **options)


def caught_up(config: Config, parts: Parts) -> None:
    """Takes everything that the outbox has."""

    def never(*_: Any) -> Any:
        raise AssertionError("no feed here")

    follower = Follower(
        parts.store,
        outbox=lambda: OutboxReader(config.outbox, config.evidence),
        subscribe=never,
        hub=parts.hub,
        on_event=lambda event: None,
        on_feed=lambda connected, seq: None,
    )
    with OutboxReader(config.outbox, config.evidence) as outbox:
        follower.catch_up(outbox)


def play(config: Config, stop: threading.Event, *, every: float) -> None:
    """Live views, statuses and a new alert now and then."""
    number, frame = 1000, 0
    due = time.time() + every
    with LivePublisher(parse_endpoint(config.live_endpoint)) as live, Outbox(config.outbox, config.evidence) as outbox:
        while not stop.wait(0.2):
            frame, now = frame + 1, time.time()
            shift = (math.sin(frame / 15) + 1) / 2
            write_status(config, now=now, strength=0.3 + shift)
            for camera in config.cameras[:2]:
                if live.wants(camera.id):
                    view = picture(frame, person=camera.id == "north-gate", shift=shift)
                    score = (0.3 + shift) * THRESHOLD
                    hot = heat(shift) if camera.id == "north-gate" else b""
                    box = (0.0, 0.0, 1.0, 1.0)
                    live.publish(
                        LiveFrame(camera.id, camera.id, frame, now, score, THRESHOLD, None, "", SIZE, box, view, hot)
                    )
            if now >= due:
                number, due = number + 1, now + every
                commit(outbox, number, at=now - 12)


_JOB = """
import json, sys, time
for done in range(0, 101, 10):
    said = {"stage": "gallery", "done": done, "total": 100, "text": f"{done} frames"}
    if sys.argv[1] == "enroll":
        said["coverage"] = {"value": done / 100, "covered": done > 80}
    print(json.dumps({"progress": said}), flush=True)
    time.sleep(0.3)
result = {"scene": "north-gate", "from": "v000001", "version": None if "--dry-run" in sys.argv else "v000002",
          "rescored": 12, "not_rescored": 1,
          "silenced": [{"alert_id": "north-gate-0003", "before": 1.4, "after": 0.7}],
          "kept": [{"alert_id": "north-gate-0006", "before": 2.1, "after": 2.0}]}
print(json.dumps({"result": result}), flush=True)
"""


def main() -> None:
    import logging
    import sys

    from stream.feed import FeedServer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8470)
    parser.add_argument("--folder", type=Path, help="to use again; none: a new one")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two new alerts")
    arguments = parser.parse_args()
    logging.basicConfig(level="INFO")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="console"))
    config = a_config(folder, port=arguments.port)
    now = time.time()
    write_status(config, now=now)
    if not config.outbox.exists():
        fill(config, now=now)
    stop = threading.Event()
    reader = OutboxReader(config.outbox, config.evidence)
    feed = FeedServer(config.feed.endpoint, reader, dict)
    threads = [
        threading.Thread(target=feed.run, args=(stop.is_set,)),
        threading.Thread(target=play, args=(config, stop), kwargs={"every": arguments.every}),
    ]
    for thread in threads:
        thread.start()
    print(login_link(config), flush=True)
    try:
        launcher = a_launcher(config, (sys.executable, "-c", _JOB))
        serve(config, launcher, stopping=stop.is_set, routes=lambda parts: monitor_routes(config, parts))
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
