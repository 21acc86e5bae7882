"""One worker or reader station as the control sees it: asked over and over, told what it is to do, started again when
it is gone. For ``roster`` and ``control``.

At most one question is on its way. Whatever a station missed - orders, a configuration - it is told again as soon as it
answers, because its report says which orders it has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from stream.cluster.fleet import CONFIGURE, DRAIN, ORDER, REPORT, Answer, Station
from stream.cluster.model import ReaderReport, StationState, WorkerReport
from stream.errors import StationLost

REPORT_EVERY = 1.0
"""Seconds from an answer to the next question, as long as nothing is about to change."""

REPORT_SOON = 0.2
"""The same while a camera waits for the station."""

AGAIN_AFTER = 0.5
"""Seconds until a station is asked again that could not answer."""

TELL_AGAIN = 2.0
"""Seconds until a station is told again what it has not taken."""

START_AGAIN = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds until a station is started again that died, died twice without an answer in between, and so on."""

LATE_PART = 0.5
"""Part of the patience after which an answer is late, though it may still come."""

LATE = 60.0
"""Seconds without a first answer after which a station's start is a problem: it may wait for cores or GPUs."""

KILL_AFTER = 60.0
"""Seconds of silence after which a station that once answered is killed, and started again: it hangs."""

_log = logging.getLogger(__name__)

AnyReport = TypeVar("AnyReport", WorkerReport, ReaderReport)


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    text: str = field(repr=False)  # it may hold secrets
    answer: Answer
    asked: float  # monotonic seconds


class Post(Generic[AnyReport]):
    """A station, and what was said to and by it.

    Args:
        start: makes sure that it runs; see :class:`stream.cluster.fleet.Fleet`.
        read: its report from text; raises ValueError.
        patience: seconds without an answer after which it counts as silent.
        now: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        start: Callable[[], Station],
        read: Callable[[str], AnyReport],
        *,
        patience: float,
        now: float,
        wall: Callable[[], float],
    ) -> None:
        self._start, self._wall = start, wall
        self._read: Callable[[str], AnyReport] = read
        self.patience = patience
        self.report: AnyReport | None = None  # the last one with a name; it may be old: see ``answering``
        self.configuration = ""  # wanted; "" = what it was started with
        self.draining = False  # wanted
        self.eager = False  # whether somebody waits for what it says next
        self.heard = now  # when it answered last, or was first wanted; monotonic
        self._orders: tuple[int, str] = (0, "")
        self._station: Station | None = None
        self._question: _Question | None = None
        self._due = now  # when it is asked, or started, again
        self._tell_due: dict[str, float] = {}  # by method: when it may be told again; monotonic
        self._trouble: dict[str, str] = {}  # by method: why it could not do what it was told
        self._deaths = 0
        self._configured = ""
        self._drained = False
        self._there = self.began = False  # whether it answered the last time, and at any time
        self.leaving_since: float | None = None  # when it was found to be one too many; monotonic
        self._state, self._reason, self._since = StationState.STARTING, "it has not answered yet", wall()

    @property
    def name(self) -> str:
        """By which it is placed; empty before it is."""
        return "" if self._station is None else self._station.name

    @property
    def state(self) -> StationState:
        """As it says, as long as it answers."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is in this state; empty where all is well."""
        return "; ".join(filter(None, (self._reason, *self._trouble.values())))

    @property
    def since(self) -> float:
        """Unix seconds: when it came into this state."""
        return self._since

    @property
    def answering(self) -> bool:
        """Whether :attr:`report` is what it says now."""
        return self.report is not None and self._there

    def away(self, now: float) -> bool:
        """Whether it does not answer, or is late with an answer: it takes milliseconds otherwise."""
        late = self._question is not None and now - self._question.asked > self.patience * LATE_PART
        return self.began and (late or not self._there)

    def stood_still(self, seconds: float) -> None:
        """For so long nobody could take its answer: that is not held against it."""
        self.heard += seconds
        if self._question is not None:
            self._question = replace(self._question, asked=self._question.asked + seconds)

    @property
    def problem(self) -> str:
        """What somebody should look at; empty where nothing is."""
        late = self._state is StationState.STARTING and self._wall() - self._since > LATE
        if late or self._trouble or self._state in (StationState.SILENT, StationState.GONE, StationState.DEGRADED):
            return f"is {self._state}: {self.reason or 'it does not say why'}"
        return ""

    @property
    def orders(self) -> tuple[int, str]:
        """Generation and text of what it is to do; generation 0: nothing was said yet."""
        return self._orders

    @orders.setter
    def orders(self, orders: tuple[int, str]) -> None:
        if orders != self._orders:
            self._orders = orders
            self._tell_due.pop(ORDER, None)

    @property
    def took_orders(self) -> bool:
        """Whether its last report is that of a station that has its orders of now."""
        return self.report is not None and self.report.generation == self._orders[0]

    def collect(self, now: float) -> None:
        """Takes what it has said meanwhile, or that it is silent."""
        question = self._question
        if question is None:
            return
        if question.answer.done():
            self._question = None
            self._take(question, now)
        elif now - question.asked > self.patience:
            self._keeps_silent(now)

    def send(self, now: float) -> None:
        """Asks it what is to be asked next, or starts it; never waits."""
        if self._question is not None:
            return
        try:
            if self._station is None:
                if now < self._due:
                    return
                self._station = self._start()
            if (next_one := self._next(now)) is not None:
                self._question = _Question(*next_one, self._station.ask(*next_one), now)
        except StationLost as lost:
            self._lost(REPORT, lost, now)

    def leave(self, now: float | None) -> None:
        """It is one too many since this moment, and is to drain; None: it is wanted."""
        self.draining = now is not None
        if now is not None:
            self.leaving_since = now if self.leaving_since is None else self.leaving_since
        elif self.leaving_since is not None:
            self.leaving_since = None
            self.end("it was to leave and is wanted again: it is started anew")  # nothing takes a drain back
            self._begin_anew()

    def end(self, reason: str) -> None:
        """Its node is gone, or it is not wanted any more: what is left of it is ended."""
        self._question, self._there = None, False
        if self._station is not None:
            self._station.kill()
            self._station = None
        self._change(StationState.GONE, reason)

    def _take(self, question: _Question, now: float) -> None:
        try:
            text = question.answer.result()
            report = self._read(text) if text or question.method in (REPORT, ORDER) else None
        except StationLost as lost:
            self._lost(question.method, lost, now)
        except ValueError as error:
            self._retry(StationState.SILENT, f"what it says is not well formed: {error}", now)
        else:
            self._note(question)
            self._there = self.began = True
            self.heard, self._due = now, now + REPORT_EVERY if report else now
            if report is not None:
                self._hear(report)

    def _note(self, question: _Question) -> None:
        self._trouble.pop(question.method, None)
        if question.method == CONFIGURE:
            self._configured = question.text
        elif question.method == DRAIN:
            self._drained = True

    def _hear(self, report: AnyReport) -> None:
        named = bool(report.node)
        if not named or (self.report is not None and report.generation < self.report.generation):
            self._forget_told()  # it was started again, without anybody noticing
        self.report, self._deaths = report if named else None, 0
        self._change(report.state, report.reason)

    def _next(self, now: float) -> tuple[str, str] | None:
        """What it is asked now: method and text. One that does not answer is asked for nothing but its report."""
        for method, text in self._untold() if self._there else ():
            if now >= self._tell_due.get(method, now):
                self._tell_due[method] = now + TELL_AGAIN
                return method, text
        due = min(self._due, self.heard + REPORT_SOON) if self.eager and self.answering else self._due
        return (REPORT, "") if now >= due else None

    def _untold(self) -> Iterator[tuple[str, str]]:
        if self._configured != self.configuration:
            yield CONFIGURE, self.configuration
        if self.report is None:
            return  # without a configuration it can do nothing else
        if self.draining and not self._drained:
            yield DRAIN, ""
        if self._orders[0] and not self.took_orders:
            yield ORDER, self._orders[1]

    def _lost(self, method: str, lost: StationLost, now: float) -> None:
        if lost.dead:
            self._begin_anew()
            self._station = None
            self._due = now + START_AGAIN[min(self._deaths, len(START_AGAIN) - 1)]
            self._deaths += 1
            self._change(StationState.GONE, str(lost))
        elif method == REPORT:
            self._begin_anew()
            self._retry(StationState.SILENT if self.began else StationState.STARTING, str(lost), now)
        else:  # it may be there, and be unable to do that: its report will tell
            self._trouble[method] = str(lost)
            self._due = now

    def _retry(self, state: StationState, reason: str, now: float) -> None:
        self._due, self._there = now + AGAIN_AFTER, False
        self._change(state, reason)
        self._kill_if_hopeless(now)

    def _keeps_silent(self, now: float) -> None:
        quiet = now - self.heard
        if self.began:
            self._there = False
            self._change(StationState.SILENT, f"it has not answered for {self.patience:g} s or longer")
            self._kill_if_hopeless(now)
        elif quiet > LATE:
            reason = f"it has not begun for {LATE:g} s or longer: something else may have its cores or GPUs"
            self._change(StationState.STARTING, reason)

    def _kill_if_hopeless(self, now: float) -> None:
        quiet = now - self.heard
        if not self.began or quiet <= KILL_AFTER:
            return
        _log.warning("station %s has not answered for %.0f s: it is killed and started again", self.name, quiet)
        self.end(f"it did not answer for {KILL_AFTER:g} s and was killed")
        self._begin_anew()
        self._due = self.heard = now

    def _begin_anew(self) -> None:
        self._there = False
        self._tell_due.clear()
        self._trouble.clear()
        self._forget_told()

    def _forget_told(self) -> None:
        """Whatever it was told it may not know any more."""
        self._configured, self._drained = "", False

    def _change(self, state: StationState, reason: str) -> None:
        if state is not self._state:
            self._since = self._wall()
        self._state, self._reason = state, reason
