"""Galleries of a store, kept ready on the disk of this machine. For the workers of a cluster.

Each scene has an ordinary gallery folder here, which a worker opens and maps into memory. A thread asks the store what
is in force, fetches what is missing, one scene at a time, and looks again every 15 seconds. What lies here already can
be used at once, before the store has answered and while it does not: an older gallery is better than a camera that is
not scored, and it is said. Several processes of a machine may share the folder.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from spade_core.errors import GalleryBusy, SpadeError
from spade_core.gallery_writer import ROOM_TO_LEAVE
from stream.errors import StreamError
from stream.gallery_shelf import GalleryShelf
from stream.gallery_store import GalleryStore, StoredVersion

log = logging.getLogger(__name__)

POLL = 15.0
"""Seconds between two looks at what the store has in force, and after a failure."""

BUSY = 1.0
"""Seconds until another look while another process of this machine fetches the same gallery."""

_MARK_EVERY = 30.0  # s between two marks that a scene is wanted
_TIDY_EVERY = 60.0  # s between two looks for what is unused
_ROUND = 0.5  # s that the thread sleeps where nothing is due


@dataclass(slots=True)
class _Scene:
    """What is known of a scene here."""

    version: str = ""  # in force in its folder here, and complete; "" = there is none
    digest: str = ""  # of that
    checked: bool = False  # its small files were read, and are right
    distrusted: bool = False  # it was found damaged: what lies here is not used before it was fetched anew
    words: str = "the store is asked for it"  # what is going on; "" = it is what the store has in force
    due: float = float("-inf")  # monotonic: when the store is asked again


class _Closed(StreamError):
    """Nobody waits for it any more."""


class GalleryCache:
    """Galleries of a store on this disk. Any thread may call it; :meth:`start` starts the one that fetches.

    Args:
        folder: of the copies, a gallery folder for each scene; made if needed.
        store: where they come from; used by the fetching thread alone.
        keep_unused: scenes that nobody wants any more whose copies stay, the latest ones.
        clock: monotonic seconds.
        wall: Unix seconds, which all processes of this machine share.
    """

    def __init__(
        self,
        folder: Path,
        store: GalleryStore,
        *,
        keep_unused: int = 8,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._shelf, self._store, self._keep_unused = GalleryShelf(folder, wall=wall), store, keep_unused
        self._clock = clock
        self._lock = threading.Lock()  # of the four below
        self._scenes: dict[str, _Scene] = {}
        self._wanted: tuple[str, ...] = ()
        self._completed = 0
        self._unused: frozenset[str] = frozenset()  # that lie here all the same
        self._mark_due = self._tidy_due = float("-inf")
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts fetching. May be called twice."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gallery-cache", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread; what is half fetched is given up. May be called twice."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)  # where the store hangs, the thread ends with the process

    def want(self, scenes: Collection[str]) -> None:
        """What is to be kept ready from now on, the most urgent first. What lies here already is ready at once."""
        names = tuple(dict.fromkeys(scenes))
        with self._lock:
            if names == self._wanted:
                return
            self._wanted = names
            for scene in names:
                known = self._scenes.setdefault(scene, _Scene())
                if not known.version and not known.distrusted:
                    known.version, known.digest = self._shelf.held(scene)
            self._mark_due = float("-inf")
        self._wake.set()

    def ready(self, scene: str) -> Path | None:
        """The gallery folder of a scene on this disk (``CURRENT`` and a whole version), to be opened now. None: there
        is none yet; :meth:`state` says how far it is.

        It holds what the store has in force, as far as that is known and fetched; else what was in force before, and
        then :meth:`state` says so, too.
        """
        return self._shelf.folder / scene if self.version(scene) else None

    def version(self, scene: str) -> str:
        """Which version lies in that folder, by its name there. When it changes, open the gallery anew; "" = none."""
        with self._lock:
            known = self._scenes.get(scene)
            return "" if known is None else known.version

    @property
    def ready_at(self) -> int:
        """Another number whenever some :meth:`version` has changed."""
        with self._lock:
            return self._completed

    def cached(self) -> frozenset[str]:
        """Scenes whose galleries lie here, wanted or not; those that nobody wants may have become old."""
        with self._lock:
            return frozenset(scene for scene, known in self._scenes.items() if known.version) | self._unused

    def state(self) -> dict[str, str]:
        """What is going on with the scenes that are wanted: how far one is fetched, or what is wrong and when it is
        tried again. A scene that is not in it is ready and in order. One that is in it may be ready all the same, with
        an older version, or one that cannot be compared now: ask :meth:`ready`.
        """
        with self._lock:
            words = {scene: self._scenes[scene].words for scene in self._wanted}
        return {scene: text for scene, text in words.items() if text}

    def distrust(self, scene: str) -> None:
        """Somebody found the copy damaged: it is not ready any more, is read in full, and fetched again if need be."""
        with self._lock:
            known = self._scenes.setdefault(scene, _Scene())
            known.version = known.digest = ""
            known.distrusted, known.due = True, float("-inf")
            known.words = "the copy on this disk is damaged: it is fetched again"
            self._completed += 1
        self._wake.set()

    def step(self) -> None:
        """One round of the thread: asks the store for what is due, fetches what is missing, and tidies up."""
        seen: set[str] = set()  # each once: a store that is slow must not keep it from tidying up
        # Asked anew each time: a camera that comes while spare copies are fetched must not wait for all of them.
        while left := [scene for scene in self._due() if scene not in seen]:
            if self._stop.is_set():
                return
            seen.add(left[0])
            self._mark()
            self._look(left[0])
        self._mark()
        if self._clock() >= self._tidy_due:
            self._tidy_due = self._clock() + _TIDY_EVERY
            self._tidy(self._keep_unused)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self.step()
            except Exception:  # the thread must live on: without it no gallery ever comes
                log.exception("copies of galleries: a round failed")
            self._wake.wait(_ROUND)

    def _due(self) -> list[str]:
        """Scenes to look after, those first that cannot be scored without."""
        with self._lock:
            now = self._clock()
            due = [scene for scene in self._wanted if self._scenes[scene].due <= now]
            return sorted(due, key=lambda scene: self._scenes[scene].version != "")

    def _look(self, scene: str) -> None:
        """Compares a scene with the store, and fetches what is missing. What goes wrong stands in its words."""
        try:
            self._read_disk(scene)
            stored = self._store.current(scene)
            if self._is_here(scene, stored):
                self._settle(scene, "", POLL)
            else:
                self._fetch(stored)
        except GalleryBusy:
            self._settle(scene, "another process of this machine is fetching it", BUSY)
        except _Closed:
            pass
        except (SpadeError, StreamError, OSError) as error:
            self._tell_failure(scene, str(error))

    def _is_here(self, scene: str, stored: StoredVersion) -> bool:
        with self._lock:
            known = self._of(scene)
            same, checked = known.digest == stored.digest, known.checked
        if same and not checked:
            self._check(scene)
            return self.version(scene) != ""
        return same

    def _check(self, scene: str) -> None:
        """Reads the small files of a copy that lay here from before."""
        try:
            self._shelf.check(scene)
        except SpadeError as error:
            log.warning("scene %s: its copy is damaged and is fetched again: %s", scene, error)
            self.distrust(scene)
        else:
            with self._lock:
                self._of(scene).checked = True

    def _fetch(self, stored: StoredVersion) -> None:
        scene = stored.scene
        if self._shelf.free_bytes() < stored.size_bytes + ROOM_TO_LEAVE:
            self._tidy(0)

        def on_progress(done: int, total: int) -> None:
            if self._stop.is_set():
                raise _Closed
            self._mark()  # a fetching may take longer than a mark counts
            part = f"{done / max(total, 1):.0%} of {total / 1e6:.0f} MB"
            self._settle(scene, f"{stored.version} is being fetched: {part}", 0.0)

        on_progress(0, stored.size_bytes)
        version = self._store.fetch(stored, self._shelf.folder / scene, on_progress)
        with self._lock:
            known = self._of(scene)
            known.version, known.digest, known.checked, known.distrusted = version, stored.digest, True, False
            self._completed += 1
        self._settle(scene, "", POLL)
        self._shelf.mark(scene)
        self._shelf.drop_old_versions(scene)
        log.info("scene %s: %s of the store is here, as %s", scene, stored.version, version)

    def _read_disk(self, scene: str) -> None:
        """Takes up what another process of this machine has fetched, or deleted."""
        held = self._shelf.held(scene)
        with self._lock:
            known = self._of(scene)
            if held != (known.version, known.digest) and not known.distrusted:
                known.version, known.digest, known.checked = *held, False
                self._completed += 1

    def _tell_failure(self, scene: str, why: str) -> None:
        used = self.version(scene)
        words = f"{why}. It is tried again every {POLL:.0f} s" + (f"; {used} is used meanwhile" if used else "")
        with self._lock:
            new = self._of(scene).words != words
        if new:
            log.warning("scene %s: %s", scene, words)
        self._settle(scene, words, POLL)

    def _of(self, scene: str) -> _Scene:
        """What is known of it, with the lock held; it may have been forgotten while it was looked after."""
        return self._scenes.setdefault(scene, _Scene())

    def _settle(self, scene: str, words: str, wait: float) -> None:
        with self._lock:
            known = self._of(scene)
            known.words, known.due = words, self._clock() + wait

    def _mark(self) -> None:
        """Says to the other processes of this machine what is wanted."""
        if self._clock() < self._mark_due:
            return
        self._mark_due = self._clock() + _MARK_EVERY
        with self._lock:
            wanted = self._wanted
        for scene in wanted:
            self._shelf.mark(scene)

    def _tidy(self, keep: int) -> None:
        with self._lock:
            wanted = self._wanted
        self._shelf.drop_unused(keep=keep, wanted=wanted)
        unused = frozenset(s for s in self._shelf.scenes() if s not in wanted and self._shelf.held(s)[0])
        with self._lock:
            self._unused = unused
            for scene in [scene for scene in self._scenes if scene not in self._wanted]:
                del self._scenes[scene]
