"""Threads for one kind of work, so that what takes long holds nothing else up. Used by the routes and the guard.

The server's own threads are forty for everything: forty requests that read a week of scores each would be all of them,
and then nobody could even log in.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

from stream.errors import StreamError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Crowded(StreamError):
    """Too many want the same; try again."""


class Lane:
    """Runs work in threads, a few at a time. Belongs to the event loop.

    Args:
        what: is being done, for people.
        at_once: threads.
        most_waiting: requests that may wait for one; more are refused at once.
        patience: seconds that a request waits for its turn.
    """

    def __init__(self, what: str, *, at_once: int, most_waiting: int, patience: float) -> None:
        self._what, self._at_once, self._most_waiting, self._patience = what, at_once, most_waiting, patience
        self._limiter: anyio.CapacityLimiter | None = None  # is made in the event loop
        self._waiting = 0

    async def run(self, work: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
        """What the work returns, which is called in a thread. Raises Crowded: there was no turn."""
        async with self._turn():
            return await _in_thread(partial(work, *given, **named))

    async def run_for(
        self, request: Request | None, work: Callable[_P, _T], *given: _P.args, **named: _P.kwargs
    ) -> _T | None:
        """The same; None where the browser has gone before its turn: nothing is done for nobody."""
        async with self._turn():
            if request is not None and await request.is_disconnected():
                return None
            return await _in_thread(partial(work, *given, **named))

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._at_once)
        limiter, turn = self._limiter, object()
        await self._await_turn(limiter, turn)
        try:
            yield
        finally:
            limiter.release_on_behalf_of(turn)

    async def _await_turn(self, limiter: anyio.CapacityLimiter, turn: object) -> None:
        if self._waiting >= self._most_waiting and limiter.available_tokens <= 0:
            raise Crowded(f"too many ask for {self._what} already: try again in some seconds")
        self._waiting += 1
        try:
            with anyio.fail_after(self._patience):
                await limiter.acquire_on_behalf_of(turn)
        except TimeoutError:
            raise Crowded(f"others wait for {self._what} already: try again in some seconds") from None
        finally:
            self._waiting -= 1


async def _in_thread(work: Callable[[], _T]) -> _T:
    return await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))  # free: whose turn it is was settled
