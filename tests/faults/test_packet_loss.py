"""A real RTSP camera behind a line that loses packets, and one whose server is restarted after a while."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from video_files import make_video

from stream import capture
from stream.messages import CameraState

from .conftest import PATIENCE

pytestmark = [pytest.mark.rtsp, pytest.mark.slow]

Open = Callable[..., Any]

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).parents[1] / "rtsp_server.py"

@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of Motion JPEG, which every GStreamer can decode."""
    return make_video(tmp_path_factory.mktemp("loss") / "recording.avi", codec="mjpeg")


@contextmanager
def rtsp_server(recording: Path, port: int = 0) -> Iterator[int]:
    """A camera; gives its port."""
    command = [SYSTEM_PYTHON, str(SERVER), str(recording), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready and process.stderr is not None and "gi" in (why := process.stderr.read()):
                pytest.skip(f"no RTSP server here: {why.strip().splitlines()[-1]}")
            yield int(ready.rsplit(":", 1)[1].split("/")[0])
        finally:
            process.kill()


class LossyLine:
    """Between camera and reader: of the camera's RTP packets, a part never arrives.

    Over TCP each packet stands between frames ``$ channel length``; losing whole ones is what a camera does that
    cannot keep up, and what a decoder sees of a lossy network.
    """

    def __init__(self, port: int) -> None:
        self.loss = 0.0
        self.lost = 0
        self._port, self._random = port, random.Random(7)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                reader, _ = self._listener.accept()
                camera = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._copy, args=(reader, camera), daemon=True).start()
                threading.Thread(target=self._lose, args=(camera, reader), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _lose(self, camera: socket.socket, reader: socket.socket) -> None:
        with suppress(OSError), camera.makefile("rb") as stream:
            while first := stream.read(1):
                if first != b"$":  # an answer in words
                    reader.sendall(first + stream.readline())
                    continue
                channel, length = struct.unpack("!BH", stream.read(3))
                packet = stream.read(length)
                if channel == 0 and self._random.random() < self.loss:
                    self.lost += 1
                    continue
                reader.sendall(first + struct.pack("!BH", channel, length) + packet)
            reader.shutdown(socket.SHUT_WR)


@pytest.mark.fault("packet loss", "damaged pictures are left out; what comes through is whole; LIVE again by itself")
def test_a_line_that_loses_packets_shows_no_smear_and_recovers(desk: Open, recording: Path) -> None:
    with rtsp_server(recording) as port:
        line = LossyLine(port)
        with desk(f"rtsp://127.0.0.1:{line.port}/cam", fps=None, frozen_after=None, obscured_after=None) as here:
            here.more_frames(10)
            line.loss = 0.2
            here.until(lambda: line.lost > 20, "packets are lost")
            line.loss = 0.0
            seen = len(here.frames)
            here.more_frames(30)
            assert here.states[-1].state is CameraState.LIVE, here.told
        line.close()
    numbers = [frame.seq for frame in here.frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[seen] <= 2 * (len(numbers) - seen), "after the loss all frames come again"


@pytest.mark.fault("RTSP server restarts", "opened as soon as its port answers again, however long it was away")
def test_a_camera_whose_server_was_away_is_opened_when_it_answers_and_not_when_its_turn_comes(
    desk: Open, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "RETRY_FIRST", 10 * PATIENCE)  # by the clock, its turn never comes
    monkeypatch.setattr(capture, "RETRY_MOST", 10 * PATIENCE)
    with rtsp_server(recording) as port:
        pass
    with desk(f"rtsp://127.0.0.1:{port}/cam", frozen_after=None, obscured_after=None) as here:
        here.until_state(CameraState.OFFLINE)
        here.for_a_while(2.0)
        with rtsp_server(recording, port):
            here.until_live_again()
