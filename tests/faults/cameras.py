"""A camera that does what a test tells it to: Motion JPEG over HTTP, which is what many cameras send besides RTSP."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240

Picture = Callable[[int], NDArray[np.uint8] | bytes]
"""The n-th picture (BGR), or the bytes to send as it."""


def scene(*, width: int = WIDTH, height: int = HEIGHT, seed: int = 1) -> NDArray[np.uint8]:
    """A place with edges and corners all over, as places have."""
    random = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 110, np.uint8)
    for _ in range(40):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        w, h = int(random.integers(width // 16, width // 5)), int(random.integers(height // 16, height // 4))
        colour = [int(c) for c in random.integers(30, 230, 3)]
        cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
    return cv2.GaussianBlur(picture, (3, 3), 0)  # type: ignore[return-value]


def noisy(picture: NDArray[np.uint8], seed: int, *, sigma: float = 3.0) -> NDArray[np.uint8]:
    """The same as a sensor sees it: never twice alike."""
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def quiet_place(seed: int = 1, **size: int) -> Picture:
    """A place where nothing happens."""
    place = scene(seed=seed, **size)
    return lambda n: noisy(place, n)


def encoded(picture: NDArray[np.uint8] | bytes) -> bytes:
    """As JPEG, unless it is bytes already."""
    return picture if isinstance(picture, bytes) else cv2.imencode(".jpg", picture)[1].tobytes()


@dataclass(slots=True)
class Camera:
    """What a running camera does; a test may change it at any time."""

    picture: Picture  # what it shows
    fps: float = 10.0
    stalled: bool = False  # connected, and sends nothing
    closed: bool = False  # hangs up, and takes nobody in
    password: str = ""  # of the user "viewer"; empty = none is needed
    port: int = 0
    sent: int = 0  # pictures
    opened: int = 0  # connections that got a stream
    refused: int = 0  # connections that were told 401
    server: Any = field(default=None, repr=False)

    def url(self, password: str = "") -> str:
        """Its address, with credentials where they are given."""
        credentials = f"viewer:{password}@" if password else ""
        return f"http://{credentials}127.0.0.1:{self.port}/video.mjpg"

    def allows(self, header: str | None) -> bool:
        """Whether a request's credentials are right."""
        wanted = "Basic " + base64.b64encode(f"viewer:{self.password}".encode()).decode()
        return not self.password or header == wanted


class _Handler(BaseHTTPRequestHandler):
    camera: Camera
    stopping: threading.Event

    def do_GET(self) -> None:
        camera = self.camera
        if camera.closed:
            return
        if not camera.allows(self.headers.get("Authorization")):
            camera.refused += 1
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        camera.opened += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            while not (self.stopping.is_set() or camera.closed):
                if not camera.stalled:
                    self._send(encoded(camera.picture(camera.sent)))
                    camera.sent += 1
                time.sleep(1 / camera.fps)
        except OSError:
            pass  # the reader has left

    def _send(self, data: bytes) -> None:
        self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
        self.wfile.write(data + b"\r\n")
        self.wfile.flush()

    def log_message(self, *words: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def camera(picture: Picture | None = None, **settings: Any) -> Iterator[Camera]:
    """A camera within the block; on a port of its own unless ``port`` names one."""
    made = Camera(picture or quiet_place(), **settings)
    stopping = threading.Event()
    handler = type("Handler", (_Handler,), {"camera": made, "stopping": stopping})
    server = _Server(("127.0.0.1", made.port), handler)
    made.server, made.port = server, server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield made
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
