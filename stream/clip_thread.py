"""The one thread of a worker that encodes clips, at low priority, so that scoring goes first. For ``clips`` alone.

Every method of :class:`ClipThread` may be called from any thread; none of them encodes, and only those with a timeout
wait. Views wait in a queue per clip; whose end is waited for comes first, else the clips take turns.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream.clip_video import ClipVideo, View

log = logging.getLogger(__name__)

MAX_WAITING = 256
"""Most views of a clip that wait for the encoder: some 50 s of a camera that is scored 5 times a second. When there are
more, the oldest waiting view is left out and counted."""

MAX_WAITING_BYTES = 32 << 20
"""Most bytes of them: as many as a ring of recent views may hold, so that a whole ring can wait."""

MAX_AT_ONCE = 16
"""Most clips in the making: an encoder takes some 20 MB. When all cameras see the lights go out, some get no clip."""

LOSSLESS_WAITING = 32
"""Where no view may be left out, the caller waits while so many views of the clip do: about a second of encoding."""

_NICE = 10  # a tenth of the processor time of an ordinary thread, where both want it
_RATE = 10  # views a second that an encoder does at least while somebody waits for it: one of 4K takes 0.1 s
_SHARE = 0.6  # of the time for finishing, after which the views that still wait are given up for the end of the clip
_CLOSE_S = 5.0  # an encoder that takes longer for one view hangs


@dataclass(slots=True, eq=False)
class Clip:
    """One clip in the making. Only ``ClipThread`` touches it."""

    waiting: deque[View] = field(default_factory=deque)
    waiting_bytes: int = 0
    left_out: int = 0  # views that were dropped or broken
    encoded: int = 0  # views that are in it
    ended: bool = False  # no more views come
    awaited: bool = False  # somebody waits for its end
    turn: int = 0  # when it was worked on last; before that, when it was begun
    data: bytes = b""  # the MP4, when it is done
    problem: str = ""  # why there is none
    done: bool = False


class ClipThread:
    """Makes clips of views. The thread starts with the first clip and ends with :meth:`close`.

    Args:
        video: makes an empty clip; called on the thread.
    """

    def __init__(self, video: Callable[[], ClipVideo]) -> None:
        self._make_video = video
        self._changed = threading.Condition()
        self._open: set[Clip] = set()  # what is asked for and not done
        self._counts: Counter[str] = Counter()
        self._turn = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self) -> Clip:
        """A new clip. One that cannot be made is done at once, with its problem."""
        clip = Clip()
        with self._changed:
            if self._closed:
                return _done(clip, problem="the program is stopping")
            if len(self._open) >= MAX_AT_ONCE:
                return _done(clip, problem=f"{MAX_AT_ONCE} clips are being made already")
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="clips", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system allows no more threads; the next alert tries again
                    return _done(clip, problem=str(error))
                self._thread = thread
            self._turn += 1
            clip.turn = self._turn
            self._open.add(clip)
        return clip

    def add(self, clip: Clip, view: View, *, timeout: float = 0.0) -> None:
        """The next view. Where too many wait, the oldest of them gives way.

        Args:
            clip: that was begun.
            view: later than those before it.
            timeout: s to wait for the encoder instead, so that no view is left out; then the clip is given up.
        """
        with self._changed:
            if timeout > 0 and not self._changed.wait_for(lambda: _has_room(clip), timeout):
                self.drop(clip)
                _done(clip, problem=f"the encoder took nothing for {timeout:.0f} s")
            if clip.done or clip.ended:
                return
            clip.waiting.append(view)
            clip.waiting_bytes += len(view.jpeg)
            while len(clip.waiting) > MAX_WAITING or clip.waiting_bytes > MAX_WAITING_BYTES:
                self._leave_out(clip, "views_dropped")
            self._changed.notify_all()

    def end(self, clip: Clip) -> None:
        """No more views come: the clip is made ready, so that its encoder is free before somebody asks for it."""
        with self._changed:
            clip.ended = True
            self._changed.notify_all()

    def finish(self, clip: Clip, *, timeout: float) -> Clip:
        """The clip as it is when it is done, or after ``timeout`` seconds; then with its problem.

        Where the encoder is behind, it gets only as many of the waiting views as it can do in that time, spread over
        all of them; where time runs short all the same, a clip without its last views is better than none.
        """
        with self._changed:
            clip.ended = clip.awaited = True
            self._thin_out(clip, keep=round(_RATE * timeout))
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: clip.done, timeout * _SHARE):
                while clip.waiting:
                    self._leave_out(clip, "views_dropped")
                self._changed.wait_for(lambda: clip.done, timeout * (1 - _SHARE))
            if not clip.done:
                self.drop(clip)
                _done(clip, problem=f"it was not ready within {timeout:.1f} s")
            self._counts["made" if clip.data else "failed"] += 1
        return clip

    def drop(self, clip: Clip) -> None:
        """Nobody wants the clip any more."""
        with self._changed:
            clip.ended = True
            clip.waiting.clear()
            self._open.discard(clip)  # where it is being worked on, the thread closes its video
            self._changed.notify_all()

    def counts(self) -> Mapping[str, int]:
        """``made`` and ``failed`` clips, ``views_dropped`` and ``views_broken`` of them, so far."""
        with self._changed:
            return {name: self._counts[name] for name in ("made", "failed", "views_dropped", "views_broken")}

    def close(self) -> None:
        """Ends the thread; what is in the making is given up. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _leave_out(self, clip: Clip, reason: str) -> None:
        clip.waiting_bytes -= len(clip.waiting.popleft().jpeg)
        clip.left_out += 1
        self._counts[reason] += 1

    def _thin_out(self, clip: Clip, *, keep: int) -> None:
        views = list(clip.waiting)
        if len(views) > keep:
            clip.waiting = deque(views[n * len(views) // keep] for n in range(keep))
            clip.waiting_bytes = sum(len(view.jpeg) for view in clip.waiting)
            clip.left_out += len(views) - keep
            self._counts["views_dropped"] += len(views) - keep

    # -- on the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        _give_way()
        videos: dict[Clip, ClipVideo] = {}
        while (task := self._next()) is not None:
            clip, view = task
            try:
                video = videos.get(clip) or videos.setdefault(clip, self._make_video())
                self._work(clip, video, view)
            except Exception as error:  # whatever goes wrong in a codec, it must not end the other clips
                self._finished(clip, problem=f"{type(error).__name__}: {error}")
            for gone in videos.keys() - self._still_open():
                _close(videos.pop(gone))
        for video in videos.values():
            _close(video)

    def _next(self) -> tuple[Clip, View | None] | None:
        """What to do next: (clip, its next view, or None for its end); None where the thread is to end."""
        with self._changed:
            while not self._closed:
                ready = [clip for clip in self._open if clip.waiting or clip.ended]
                if ready:
                    clip = min(ready, key=lambda clip: (not clip.awaited, clip.turn))
                    self._turn += 1
                    clip.turn = self._turn
                    if not clip.waiting:
                        return clip, None
                    view = clip.waiting.popleft()
                    clip.waiting_bytes -= len(view.jpeg)
                    self._changed.notify_all()
                    return clip, view
                self._changed.wait()
            return None

    def _work(self, clip: Clip, video: ClipVideo, view: View | None) -> None:
        if view is None:
            data = video.finish()
            self._finished(clip, data=data, problem="" if data else "no view of it could be used")
            return
        try:
            clip.encoded += video.add(view)
        except ValueError as error:
            with self._changed:
                clip.left_out += 1
                self._counts["views_broken"] += 1
            log.debug("a view is left out of a clip: %s", error)

    def _finished(self, clip: Clip, *, data: bytes = b"", problem: str = "") -> None:
        with self._changed:
            self._open.discard(clip)
            _done(clip, data=data, problem=problem)
            self._changed.notify_all()

    def _still_open(self) -> set[Clip]:
        with self._changed:
            return set(self._open)


def _has_room(clip: Clip) -> bool:
    return clip.done or len(clip.waiting) < LOSSLESS_WAITING


def _done(clip: Clip, *, data: bytes = b"", problem: str = "") -> Clip:
    if not clip.done:
        clip.data, clip.problem, clip.done = data, problem, True
        clip.waiting.clear()
    return clip


def _close(video: ClipVideo) -> None:
    try:
        video.close()
    except Exception as error:  # it is thrown away in any case
        log.debug("a clip's encoder did not close: %s", error)


def _give_way() -> None:
    """Lowers the priority of the calling thread, never raises it."""
    me = threading.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, me, max(_NICE, os.getpriority(os.PRIO_PROCESS, me)))
    except OSError as error:
        log.warning("clips are made at ordinary priority: %s", error)
