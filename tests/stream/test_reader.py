"""The reader with a real link: what it reads arrives, in order, with what was lost; and it ends as it is told."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pipeline_fakes import HEIGHT, PATIENCE_S, WIDTH, GreySource, short_folder, wait_until

from spade_core.preprocess import Preprocess
from stream.endpoints import parse_endpoint
from stream.errors import LinkLost, SourceCorrupt, SourceStalled
from stream.link import Ended, Joined, LinkEvent, LinkServer, Reported
from stream.messages import CameraState, FramePacket, Mode
from stream.reader import Reader, ReaderSettings, patience_with
from stream.sources.base import DAMAGE_PATIENCE

SIDE = 32  # pixels of the scoring image


class Site:
    """A worker's end of the link that scores whatever comes, unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = parse_endpoint(f"ipc://{folder}/link")
        self.events: list[LinkEvent] = []
        self.serving = True  # whether frames are taken
        self.server: LinkServer | None = LinkServer(self.endpoint, cameras=["gate"])

    def start_worker(self) -> None:
        self.server = LinkServer(self.endpoint, cameras=["gate"])

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def step(self) -> None:
        assert self.server is not None
        for event in self.server.poll(0.01):
            self.events.append(event)
            if isinstance(event, FramePacket) and self.serving:
                self.server.grant(event.camera)
                self.server.mark_scored(event.camera, event.seq)
            if isinstance(event, Ended):
                self.server.finish(event.camera)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def numbers(self) -> list[int]:
        return [packet.seq for packet in self.of(FramePacket)]

    @property
    def states(self) -> list[CameraState]:
        return [reported.event.state for reported in self.of(Reported)]


@pytest.fixture
def site() -> Iterator[Site]:
    with short_folder() as folder:
        here = Site(folder)
        yield here
        here.close()


class Running:
    """A reader in a thread."""

    def __init__(
        self,
        site: Site,
        source: GreySource,
        *,
        mode: Mode = Mode.REPLAY,
        fps: float | None = None,
        camera: str = "gate",
        recorded_at: float = 1000.0,
        stuck_after: float | None = None,
    ) -> None:
        self.stop = threading.Event()
        self.failure: Exception | None = None
        settings = ReaderSettings(
            camera=camera,
            mode=mode,
            fps=fps,
            recorded_at=recorded_at,
            endless=source.info.live,
            preprocess=Preprocess(SIDE),
            stuck_after=stuck_after,
        )
        self.reader = Reader(
            settings, endpoint=site.endpoint, open_source=lambda: source, stopping=self.stop.is_set
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.reader.run()
        except Exception as error:
            self.failure = error

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, site: Site) -> None:
        wait_until(lambda: self.ended, step=site.step)


def test_a_file_arrives_in_full_and_in_order(site: Site) -> None:
    running = Running(site, GreySource(12, segments=["a"] * 6 + ["b"] * 6))
    running.wait(site)

    packets = site.of(FramePacket)
    assert site.numbers == list(range(12))
    assert [packet.segment for packet in packets] == ["a"] * 6 + ["b"] * 6
    assert [packet.frame_time for packet in packets] == pytest.approx([1000 + index / 10 for index in range(12)])
    assert site.of(Ended) == [Ended("gate", "", {})]
    assert (running.reader.sent, running.reader.error, running.failure) == (12, "", None)


def test_a_packet_holds_the_scoring_image_and_the_native_frame(site: Site) -> None:
    Running(site, GreySource(3)).wait(site)

    packet = site.of(FramePacket)[2]
    view = cv2.imdecode(np.frombuffer(packet.view, np.uint8), cv2.IMREAD_COLOR)
    assert packet.image.shape == (SIDE, SIDE, 3)
    assert (packet.image == 12).all()
    assert view.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(view.astype(int) - 12).max() <= 2
    assert packet.source_size == (WIDTH, HEIGHT)
    assert packet.motion is None or packet.motion.ndim == 2


def test_sampled_frames_keep_their_numbers_and_the_others_are_counted(site: Site) -> None:
    Running(site, GreySource(20), fps=4).wait(site)

    assert site.numbers == [0, 3, 5, 8, 10, 13, 15, 18]
    assert site.of(Ended)[0].drops == {"reader.sampled_out": 12}
    assert site.of(FramePacket)[-1].drops["reader.sampled_out"] >= 10, "a frame tells what was lost before it"


def test_the_state_is_told_before_the_end(site: Site) -> None:
    Running(site, GreySource(3)).wait(site)

    kinds = [type(event) for event in site.events]
    assert kinds[0] is Joined
    assert kinds[-1] is Ended
    assert site.states[-1] is CameraState.LIVE


def test_a_source_that_breaks_off_is_scored_up_to_there_and_ends_with_its_error(site: Site) -> None:
    running = Running(site, GreySource(4, error=SourceCorrupt("cut short")))
    running.wait(site)

    assert site.numbers == [0, 1, 2, 3]
    assert site.of(Ended)[0].error == "cut short"
    assert (running.reader.error, running.failure) == ("cut short", None)


def test_a_camera_that_the_worker_does_not_know_ends_its_reader(site: Site) -> None:
    source = GreySource(1000, gate=lambda index: source.closed.wait(PATIENCE_S) if index else None)
    running = Running(site, source, camera="roof")
    running.wait(site)

    assert isinstance(running.failure, LinkLost)
    assert "refuses camera roof: camera 'roof' is not in the worker's configuration" in str(running.failure)
    assert source.closed.is_set()


def test_a_reader_that_is_stopped_says_so_and_leaves(site: Site) -> None:
    source = GreySource(10_000)
    running = Running(site, source)
    wait_until(lambda: len(site.numbers) >= 3, step=site.step)
    running.stop.set()
    running.wait(site)

    assert running.failure is None
    assert site.numbers == list(range(len(site.numbers)))
    assert site.of(Ended)[0].error == ""
    assert source.closed.is_set()


def test_a_reader_that_is_stopped_without_a_worker_leaves_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.reader.STOP_WAIT", 0.2)
    site.close()
    running = Running(site, GreySource(5))
    running.stop.set()
    wait_until(lambda: running.ended)

    assert (running.failure, running.reader.sent) == (None, 0)


@pytest.mark.fault("decoder hangs", "STALLED is told; the reader process ends and is started again")
def test_a_reader_whose_decoder_hangs_says_so_and_ends(site: Site) -> None:
    go_on = threading.Event()
    source = GreySource(3, live=True, gate=lambda index: go_on.wait(PATIENCE_S) if index == 2 else None)
    running = Running(site, source, mode=Mode.LIVE, stuck_after=1.0)
    running.wait(site)
    go_on.set()

    assert isinstance(running.failure, SourceStalled)
    told = site.of(Reported)[-1].event
    assert told.state is CameraState.STALLED
    assert re.fullmatch(
        r"the decoder has made no progress for \d+ s; the reader ends so that it is started again", told.reason
    )
    assert str(running.failure) == f"camera gate: {told.reason}"


def test_a_hung_reader_without_a_worker_ends_too(site: Site) -> None:
    go_on = threading.Event()
    site.close()
    source = GreySource(3, live=True, gate=lambda index: go_on.wait(PATIENCE_S))
    running = Running(site, source, mode=Mode.LIVE, stuck_after=0.5)
    wait_until(lambda: running.ended)
    go_on.set()

    assert isinstance(running.failure, SourceStalled)


HUNG = """
import ctypes, sys
from stream.endpoints import parse_endpoint
from stream.messages import Mode
from stream.reader import Reader, ReaderSettings, patience_with
from stream.sources.base import DAMAGE_PATIENCE
from spade_core.preprocess import Preprocess

def hang():  # in C, without a chance for Python to get in between
    ctypes.CDLL(None).sleep(600)

settings = ReaderSettings("gate", Mode.LIVE, None, 0.0, True, Preprocess(32), stuck_after=0.5)
Reader(settings, endpoint=parse_endpoint(sys.argv[1]), open_source=hang, stopping=lambda: False).run()
"""


def test_the_process_of_a_reader_whose_decoder_hangs_really_ends(site: Site) -> None:
    command = [sys.executable, "-c", HUNG, str(site.endpoint)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()

    assert process.returncode == 1
    assert "SourceStalled: camera gate: the decoder has made no progress" in said


def test_a_camera_that_sends_damage_only_is_slow_and_not_hung() -> None:
    assert patience_with(open_timeout=5.0, read_timeout=2.0) == 10.0 + DAMAGE_PATIENCE


def test_a_replay_waits_for_the_worker(site: Site) -> None:
    site.close()
    running = Running(site, GreySource(5))
    site.start_worker()
    running.wait(site)

    assert site.numbers == [0, 1, 2, 3, 4]


def test_live_only_the_newest_frame_waits_and_the_others_are_counted(site: Site) -> None:
    site.serving = False
    arrived = threading.Event()
    source = GreySource(30, fps=10_000, gate=lambda index: arrived.wait(PATIENCE_S) if index == 1 else None)
    running = Running(site, source, mode=Mode.LIVE)
    wait_until(lambda: site.numbers == [0], step=site.step)
    arrived.set()  # the other 29 come while the worker is busy with the first one
    wait_until(lambda: running.reader._capture.finished, step=site.step)
    site.serving = True
    assert site.server is not None
    site.server.grant("gate")
    running.wait(site)

    assert site.numbers == [0, 29]
    assert site.of(Ended)[0].drops == {"reader.overwritten": 28}


def test_a_new_worker_gets_what_the_old_one_had_not_scored_and_hears_the_state_again(site: Site) -> None:
    site.serving = False
    running = Running(site, GreySource(6))
    wait_until(lambda: site.numbers == [0] and CameraState.LIVE in site.states, step=site.step)
    site.close()
    site.events.clear()
    site.serving = True
    site.start_worker()
    running.wait(site)

    assert site.numbers == [0, 1, 2, 3, 4, 5]
    assert CameraState.LIVE in site.states
    assert site.of(Ended) == [Ended("gate", "", {})]


def test_the_end_is_told_again_to_a_worker_that_comes_after_it(site: Site) -> None:
    running = Running(site, GreySource(2))

    def take_without_confirming() -> None:
        assert site.server is not None
        for event in site.server.poll(0.01):
            site.events.append(event)
            if isinstance(event, FramePacket):
                site.server.grant(event.camera)
                site.server.mark_scored(event.camera, event.seq)

    wait_until(lambda: site.of(Ended), step=take_without_confirming)
    site.close()
    site.start_worker()
    running.wait(site)

    assert len(site.of(Ended)) == 2
    assert running.failure is None
