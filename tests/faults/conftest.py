"""A desk where the worker would sit: it lets one camera's reader in, gives it credit, and writes down what it hears."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream import programs
from stream.config import build_config
from stream.endpoints import parse_endpoint
from stream.link import Ended, LinkServer, Reported
from stream.messages import CameraState, FramePacket, StateEvent

PATIENCE = 60.0
"""Seconds after which something that is waited for counts as never happening: a busy machine is slow, not wrong."""


class Desk:
    """What has come from the reader so far."""

    def __init__(self, link: LinkServer) -> None:
        self._link = link
        self.frames: list[FramePacket] = []
        self.states: list[StateEvent] = []
        self.drops: dict[str, int] = {}
        self.error: BaseException | None = None  # what the reader ended with
        self.reader: threading.Thread | None = None

    def step(self) -> None:
        """One round of the worker's."""
        for event in self._link.poll(0.02):
            match event:
                case FramePacket():
                    self.frames.append(event)
                    self.drops.update(event.drops)
                    self._link.mark_scored(event.camera, event.seq)
                    self._link.grant(event.camera)
                case Reported():
                    self.states.append(event.event)
                case Ended():
                    self.drops.update(event.drops)
                    self._link.finish(event.camera)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Goes on until a condition holds, and returns its answer."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := condition()):
            assert time.monotonic() < deadline, f"this did not happen: {what}\n{self.told}"
            self.step()
        return answer

    def until_state(self, *states: CameraState, after: int = 0) -> StateEvent:
        """The first report of one of these states."""

        def found() -> StateEvent | None:
            return next((event for event in self.states[after:] if event.state in states), None)

        event = self.until(found, f"the camera is {' or '.join(states)}")
        assert isinstance(event, StateEvent)
        return event

    def until_live_again(self) -> StateEvent:
        """The camera is LIVE, and sends frames, after all that was reported so far."""
        heard = len(self.states)
        event = self.until_state(CameraState.LIVE, after=heard)
        self.more_frames(3)
        return event

    def more_frames(self, count: int) -> None:
        """Waits for so many frames."""
        wanted = len(self.frames) + count
        self.until(lambda: len(self.frames) >= wanted, f"{count} more frames come")

    def for_a_while(self, seconds: float) -> None:
        """Goes on for some seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()

    @property
    def told(self) -> str:
        """What the reader said, for messages."""
        return "\n".join(f"{event.state}: {event.reason}" for event in self.states)


@pytest.fixture
def desk(caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """``with desk(source, **camera) as here``: a reader of this source runs within the block."""

    caplog.set_level(logging.INFO, logger="stream")

    @contextmanager
    def opened(source: str, **camera: Any) -> Iterator[Desk]:
        folder = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
        settings = {"id": "gate", "source": source, "fps": 10.0, "read_timeout": 1.0, "open_timeout": 3.0, **camera}
        data = {"state": str(folder / "state"), "cameras": [settings], "method": {"size": 128}}
        config = build_config(data, where="test", base=folder, environment={})
        stop = threading.Event()
        with LinkServer(parse_endpoint(config.link_endpoint), cameras=["gate"]) as link:
            here = Desk(link)

            def read() -> None:
                try:
                    programs.read(config, "gate", stopping=stop.is_set)
                except BaseException as error:
                    here.error = error

            here.reader = threading.Thread(target=read, daemon=True)
            here.reader.start()
            try:
                yield here
            finally:
                stop.set()
                deadline = time.monotonic() + 10
                while here.reader.is_alive() and time.monotonic() < deadline:
                    here.step()
        shutil.rmtree(folder, ignore_errors=True)

    return opened
