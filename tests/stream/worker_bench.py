"""A worker with stand-ins round it: a link that plays rounds of events, an engine that scores by brightness."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from pipeline_fakes import a_packet
from scoring_fakes import FakeEngine

from stream.assigned import AssignedWatch
from stream.camera import Now, now
from stream.drift import DriftCollector
from stream.link import Joined, LinkEvent, Reported
from stream.live_views import LiveViews
from stream.messages import CameraState, Mode, Phase, StateEvent
from stream.operator_settings import SettingsWatch
from stream.outbox import Outbox
from stream.policy import PolicySettings
from stream.scorelog import ScoreLog, ScoreRow, read_scores
from stream.worker import Worker
from stream.worker_settings import WorkerSettings

SIDE = 32
POLICY = PolicySettings(min_duration=0.1, end_after=0.2, cooldown=0.0)
HIGH, LOW = 200, 1  # brightness of scoring images, which the fake engine takes for their score


class FakeLink:
    """Gives the worker one round of events after the other, and writes down what it does in turn."""

    def __init__(self, rounds: list[list[LinkEvent]], log: list[str]) -> None:
        self.rounds, self.log = rounds, log
        self.malformed = self.forbidden = 0
        self.admitted = set[str]()
        self.dismissed = list[str]()
        self.waits = list[float]()  # that it was asked to wait
        self.gone: list[str] = []  # cameras that fall silent before the last round

    @property
    def empty(self) -> bool:
        return not self.rounds

    def poll(self, timeout: float) -> list[LinkEvent]:
        self.waits.append(timeout)
        return self.rounds.pop(0) if self.rounds else []

    def grant(self, camera: str) -> None:
        self.log.append(f"grant {camera}")

    def mark_scored(self, camera: str, seq: int) -> None:
        self.log.append(f"scored {camera} {seq}")

    def finish(self, camera: str) -> None:
        self.log.append(f"done {camera}")

    def guarded(self) -> dict[str, int]:
        return {}

    def admit(self, cameras: Collection[str]) -> None:
        self.admitted = set(cameras)

    def dismiss(self, camera: str) -> None:
        self.dismissed.append(camera)

    def silent(self) -> list[str]:
        return self.gone if len(self.rounds) == 1 else []


class Bench:
    """A worker and all that it works with; ``run`` plays rounds of events to it and lets it end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, list[str]()
        self.engine = FakeEngine()
        self.outbox = Outbox(folder / "outbox.db", folder / "evidence")
        self._commit = self.outbox.commit
        self.outbox.commit = self._noted_commit  # type: ignore[method-assign]
        self.status_file, self.scores = folder / "status.json", folder / "scores"
        self.gone: list[str] = []

    def _noted_commit(self, alert: Any, evidence: Any) -> Any:
        committed = self._commit(alert, evidence)
        self.log.append(f"commit {alert.camera} {alert.phase}")
        return committed

    def settings(self, **changes: Any) -> WorkerSettings:
        values: dict[str, Any] = {
            "cameras": {"gate": "yard", "back": "yard"},
            "policy": POLICY,
            "size": SIDE,
            "max_batch": 8,
            "maps": None,
            "status": self.status_file,
            "ready_after": 3.5,
            "shared_clock": True,
        }
        return WorkerSettings(**(values | changes))

    def worker(
        self,
        link: Any,
        stopping: Callable[[], bool],
        *,
        clock: Callable[[], Now] = now,
        operator: SettingsWatch | None = None,
        live: LiveViews | None = None,
        drift: DriftCollector | None = None,
        assigned: AssignedWatch | None = None,
        **settings: Any,
    ) -> Worker:
        engine: Any = self.engine
        return Worker(
            self.settings(**settings),
            link=link,
            engine=engine,
            outbox=self.outbox,
            scores=ScoreLog(self.scores),
            stopping=stopping,
            operator=operator,
            live=live,
            drift=drift,
            assigned=assigned,
            clock=clock,
        )

    def run(self, *rounds: list[LinkEvent], more: int = 0, **settings: Any) -> None:
        """Plays the rounds, then ``more`` empty ones, then asks the worker to stop."""
        link = FakeLink([*rounds, *([] for _ in range(more))], self.log)
        link.gone = self.gone
        self.worker(link, lambda: link.empty, **settings).run()

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.status_file.read_text())
        return status

    def camera(self, camera: str = "gate") -> dict[str, Any]:
        found: dict[str, Any] = self.status["cameras"][camera]
        return found

    def rows(self, camera: str = "gate") -> list[ScoreRow]:
        return list(read_scores(self.scores, camera))

    @property
    def phases(self) -> list[Phase]:
        return [alert.phase for alert in self.outbox.read_after(0, limit=100)]


def a_frame(seq: int, level: int, *, camera: str = "gate", **fields: Any) -> Any:
    return a_packet(seq, camera=camera, **({"image": np.full((SIDE, SIDE, 3), level, np.uint8)} | fields))


def joined(camera: str = "gate", mode: Mode = Mode.REPLAY) -> list[LinkEvent]:
    return [Joined(camera, mode), a_state(CameraState.LIVE, camera=camera)]


def a_state(state: CameraState, reason: str = "", *, camera: str = "gate") -> Reported:
    return Reported(StateEvent(camera, state, reason, 1000.0))


class Ticking:
    """A clock that goes on by ``step`` seconds whenever the worker's loop has come round."""

    def __init__(self, step: float = 1.0) -> None:
        self.step, self.mono = step, 1000.0

    def __call__(self) -> Now:
        return Now(self.mono, self.mono)

    def tick(self) -> None:
        self.mono += self.step


def a_placement(*, in_place: bool) -> Any:
    """How a picture lies to the enrolled scene."""
    return SimpleNamespace(
        in_place=in_place,
        displaced=not in_place,
        agreement=0.1,
        normal=(0.6, 0.9),
        shift=(0.0, 0.0) if in_place else (0.1, 0.0),
        turn=0.0,
        zoom=1.0,
    )
