"""What browsers are told as it happens. Threads of this process publish; every browser has a bounded queue of its own.

A browser that does not keep up is let go of: it connects again and asks for how things stand. Of live views each gets
the newest only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

MOST_WAITING = 512
"""Events that wait for one browser; after more it is let go of."""

MOST_BROWSERS = 64
"""Event streams at once."""

COMMENT_EVERY = 10.0
"""Seconds between two comment lines, so that whoever is between does not take the connection for dead."""


class TooManyBrowsers(Exception):
    """There are ``MOST_BROWSERS`` already."""


class Browser:
    """One event stream. Made by :meth:`Hub.join`; its methods but ``offer`` belong to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cameras: frozenset[str]) -> None:
        self.cameras = cameras  # whose live views it wants
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque()
        self._live: dict[str, str] = {}  # by camera, the newest that is not sent
        self._wake = asyncio.Event()
        self.closed = False

    def offer(self, text: str) -> None:
        """Queues an event, or gives this browser up. Any thread."""
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.clear()
                self._live.clear()
                self.closed = True
            elif not self.closed:
                self._waiting.append(text)
        self._wake_up()

    def offer_live(self, camera: str, text: str) -> None:
        """Replaces what waits of this camera. Any thread."""
        if camera in self.cameras and not self.closed:
            with self._lock:
                self._live[camera] = text
            self._wake_up()

    def close(self) -> None:
        """Ends the stream. Any thread."""
        self.closed = True
        self._wake_up()

    async def texts(self, *, is_welcome: Callable[[], bool]) -> AsyncIterator[str]:
        """What to send, until the stream ends.

        Args:
            is_welcome: asked every COMMENT_EVERY seconds; the stream ends where it says no.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + COMMENT_EVERY
        while not self.closed:
            if texts := self._take():
                yield "".join(texts)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.05, due - loop.time()))
            self._wake.clear()
            if loop.time() >= due:
                due = loop.time() + COMMENT_EVERY
                if not is_welcome():
                    return
                yield ": still here\n\n"

    def _take(self) -> list[str]:
        with self._lock:
            texts = [*self._waiting, *self._live.values()]
            self._waiting.clear()
            self._live.clear()
        return texts

    def _wake_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake.set)


class Hub:
    """All event streams. ``publish`` and ``publish_live`` are for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._browsers: set[Browser] = set()
        self._closed = False

    def join(self, cameras: frozenset[str]) -> Browser:
        """A new stream; to be called in the event loop. Raises TooManyBrowsers."""
        browser = Browser(asyncio.get_running_loop(), cameras)
        with self._lock:
            self._browsers = {other for other in self._browsers if not other.closed}
            if len(self._browsers) >= MOST_BROWSERS:
                raise TooManyBrowsers
            self._browsers.add(browser)
            browser.closed = self._closed
        return browser

    def leave(self, browser: Browser) -> None:
        """Forgets a stream."""
        browser.close()
        with self._lock:
            self._browsers.discard(browser)

    def publish(self, event: str, data: Mapping[str, Any]) -> None:
        """Tells every browser."""
        text = encode_event(event, data)
        for browser in self._all():
            browser.offer(text)

    def publish_live(self, camera: str, data: Mapping[str, Any]) -> None:
        """Tells who watches this camera; only the newest waits."""
        text = encode_event("live", data)
        for browser in self._all():
            browser.offer_live(camera, text)

    def watched(self) -> frozenset[str]:
        """Cameras whose live views some browser wants."""
        return frozenset(camera for browser in self._all() for camera in browser.cameras if not browser.closed)

    def close(self) -> None:
        """Ends all streams, and those that would still begin."""
        with self._lock:
            self._closed = True
        for browser in self._all():
            browser.close()

    def _all(self) -> list[Browser]:
        with self._lock:
            return list(self._browsers)


def encode_event(event: str, data: Mapping[str, Any]) -> str:
    """An event as the stream carries it. JSON has no line breaks of its own, so no value can begin another event."""
    return f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
