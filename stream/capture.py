"""The capture thread of a reader: keeps a source open, samples it, and leaves frames in the mailbox.

A live camera that fails is opened again for ever, with growing pauses, or as soon as it answers again, and every
change is reported; a file is read once.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from spade_core.motion import MEMORY, MotionMeter
from spade_core.preprocess import Preprocess
from stream.errors import SourceCorrupt, SourceError, SourceStalled, SourceUnauthorized
from stream.lookout import Lookout, Size, Watching
from stream.mailbox import Captured, Mailbox
from stream.messages import CameraState, Mode
from stream.sources.base import Source, SourceFrame
from stream.sources.port_probe import Comeback

RETRY_FIRST = 1.0
"""Seconds before the first attempt to reopen a camera; doubled with every failure."""

RETRY_MOST = 60.0
"""Longest pause between attempts, s. Also the pause after refused credentials: cameras lock out who guesses faster."""

RETRY_JITTER = 0.2
"""Pauses vary by this part, so that a hundred cameras behind one switch do not come back in the same instant."""

PROBE_EVERY = 1.0
"""Seconds between two looks at the port of a camera that is away: seldom enough for any network, and a camera is back
soon after it answers. They vary as the pauses do."""

CLOCK_SLIP = 1.0
"""Seconds by which a live camera's clock may drift from the wall clock before its times are anchored anew."""

_STATE_OF: dict[type[SourceError], CameraState] = {
    SourceUnauthorized: CameraState.AUTH_FAILED,
    SourceStalled: CameraState.STALLED,
    SourceCorrupt: CameraState.CORRUPT,
}


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class RateSampler:
    """Keeps frames at a rate by their media time; one rule for live and replay, so that both score the same frames.

    Args:
        fps: frames a second to keep; None keeps every frame.
    """

    def __init__(self, fps: float | None) -> None:
        self._interval = None if fps is None else 1.0 / fps
        self._due: float | None = None

    def keep(self, media_time: float) -> bool:
        """Whether the frame at this time is kept."""
        if self._interval is None:
            return True
        # Half a millisecond of slack: 0.3 s is 0.30000000000000004 in one clock and 0.3 in another.
        if self._due is not None and media_time < self._due - 5e-4:
            return False
        start = media_time if self._due is None else self._due
        self._due = max(start + self._interval, media_time + self._interval / 2)
        return True


class Capture:
    """Runs a source in a thread of its own.

    Args:
        open_source: opens the camera; raises SourceError.
        mode: LIVE paces sources that are not live by themselves; REPLAY reads once, losslessly.
        endless: the source has no end of its own: where it fails it is opened again, for ever.
        fps: sampling rate, None = every frame.
        recorded_at: Unix seconds of the first frame, for REPLAY.
        mailbox: where sampled frames go.
        report: told of every change of state; called from the thread.
        preprocess: what scoring images are made with; motion is measured in the part that it scores.
        watching: of the pictures, in LIVE only.
        port_open: asks whether a camera that is away answers again; None = it cannot be asked.
    """

    def __init__(
        self,
        *,
        open_source: Callable[[], Source],
        mode: Mode,
        fps: float | None,
        recorded_at: float,
        endless: bool,
        mailbox: Mailbox,
        report: Callable[[CameraState, str], None],
        preprocess: Preprocess | None = None,
        motion_memory: float = MEMORY,
        watching: Watching | None = None,
        port_open: Callable[[], bool] | None = None,
        clocks: Clocks | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self._preprocess, self._motion_memory = preprocess, motion_memory
        self._open, self._mode, self._fps, self._recorded_at = open_source, mode, fps, recorded_at
        self._endless = endless
        self._mailbox, self._report, self._clocks = mailbox, report, clocks or Clocks()
        self._watching, self._port_open = watching or Watching(), port_open
        self._jitter = jitter or random.Random()
        self._stop = threading.Event()
        self._source: Source | None = None
        self._next_seq, self._offset = 0, 0.0  # carried over when the source is opened again
        self._size: Size | None = None  # width, height of the frame seen last
        self._moved_on: float | None = self._clocks.monotonic()  # last progress; None: waits on purpose
        self.captured = 0  # native frames seen
        self.error = ""  # why a finite source broke off, or what the thread itself died of
        self._thread = threading.Thread(target=self._guarded, name="capture", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._moved_on = self._clocks.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Asks the thread to end and lets go of the source. Does not wait."""
        self._stop.set()
        self._mailbox.close()
        if source := self._source:
            source.close()

    def join(self, timeout: float) -> None:
        """Waits for the thread's end."""
        self._thread.join(timeout)

    @property
    def finished(self) -> bool:
        """No more frames will come."""
        return not self._thread.is_alive()

    @property
    def stuck_for(self) -> float:
        """Seconds since the thread last got on: had a frame, began or ended an opening. 0 while it waits on purpose."""
        moved_on = self._moved_on
        return 0.0 if moved_on is None or self.finished else max(0.0, self._clocks.monotonic() - moved_on)

    def _progress(self) -> None:
        self._moved_on = self._clocks.monotonic()

    @contextmanager
    def _on_purpose(self) -> Iterator[None]:
        self._moved_on = None
        try:
            yield
        finally:
            self._progress()

    def _guarded(self) -> None:
        try:
            self._run()
        except SourceError as error:
            self.error = str(error)
        except Exception as error:  # a bug must end as a reported failure, not as a camera that is quietly silent
            self.error = f"{type(error).__name__} in the capture thread: {error}"
        finally:
            if self._source:
                self._source.close()
            self._mailbox.wake()

    def _run(self) -> None:
        pause = RETRY_FIRST
        while not self._stop.is_set():
            self._report(CameraState.CONNECTING, "opening the source")
            seen = self.captured
            try:
                self._progress()
                self._source = self._open()
                self._progress()
                self._pump(self._source)
                failure: SourceError = SourceStalled("the stream ended")
            except SourceError as error:
                if not self._endless:  # a recording that fails will not come back
                    raise
                failure = error
            finally:
                if self._source:
                    self._source.close()
                self._source = None
            if not self._endless or self._stop.is_set():
                return
            if self.captured > seen:
                pause = RETRY_FIRST
            pause = self._wait_to_retry(failure, pause)

    def _wait_to_retry(self, failure: SourceError, pause: float) -> float:
        """Waits. Returns the next pause."""
        refused = isinstance(failure, SourceUnauthorized)
        seconds = (RETRY_MOST if refused else pause) * self._varied()
        state = _STATE_OF.get(type(failure), CameraState.OFFLINE)
        self._report(state, f"{failure}; next attempt in {seconds:.0f} s")
        with self._on_purpose():
            # A camera that refuses us is not asked: it is there.
            if refused or self._port_open is None:
                self._stop.wait(seconds)
            elif self._came_back(Comeback(self._port_open), seconds):
                return RETRY_FIRST  # its stream may take a few seconds more than its port
        return min(pause * 2, RETRY_MOST)

    def _came_back(self, comeback: Comeback, seconds: float) -> bool:
        """Waits; True as soon as the camera's port is open after it was closed."""
        until = self._clocks.monotonic() + seconds
        while not (self._stop.is_set() or comeback.seen()):
            left = until - self._clocks.monotonic()
            if left <= 0:
                return False
            self._stop.wait(min(left, PROBE_EVERY * self._varied()))
        return not self._stop.is_set()

    def _varied(self) -> float:
        return self._jitter.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)

    def _pump(self, source: Source) -> None:
        sampler, first_seq, offset = RateSampler(self._fps), self._next_seq, self._offset
        lookout = Lookout(
            source.info.name,
            new_meter=lambda: MotionMeter(self._preprocess, memory=self._motion_memory),
            watching=self._watching if self._mode is Mode.LIVE else None,
            size=self._size,
            report=self._report,
        )
        for frame, frame_time in self._timed(source):
            self._progress()
            self.captured += 1
            self._next_seq, self._offset = first_seq + frame.index + 1, offset + frame.media_time
            if self._stop.is_set():
                self._mailbox.count_drop("reader.stopped")
                return
            useless = lookout.see(frame, self._clocks.monotonic())
            self._size = lookout.size
            if useless or not sampler.keep(frame.media_time):
                self._mailbox.count_drop(useless or "reader.sampled_out")
                continue
            moved = SourceFrame(first_seq + frame.index, offset + frame.media_time, frame.image, frame.segment)
            with self._on_purpose():  # a replay waits for room
                self._mailbox.put(Captured(moved, frame_time, self._clocks.monotonic(), lookout.motion()))

    def _timed(self, source: Source) -> Iterator[tuple[SourceFrame, float]]:
        """Frames with their wall-clock time, paced where they must be."""
        started_mono, anchor = self._clocks.monotonic(), self._clocks.wall()
        origin: float | None = None  # media time of the first frame: above 0 where a source is read from further on
        latest = -math.inf  # frame time handed out
        for frame in source.frames():
            origin = frame.media_time if origin is None else origin
            if self._mode is Mode.REPLAY:
                yield frame, self._recorded_at + frame.media_time
                continue
            if not source.info.live:
                with self._on_purpose():
                    self._stop.wait(max(0.0, started_mono + frame.media_time - origin - self._clocks.monotonic()))
            now = self._clocks.wall()
            if abs(anchor + frame.media_time - now) > CLOCK_SLIP:
                anchor = now - frame.media_time
            at_time = anchor + frame.media_time
            # What was late comes in a burst, and a camera's clock may gain: to put that right its time stands still.
            # Time that runs backwards ends an open alert, and is for a wall clock that was set.
            latest = latest if 0 < latest - at_time <= 2 * CLOCK_SLIP else at_time
            yield frame, latest
