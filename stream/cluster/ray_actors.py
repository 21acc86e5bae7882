"""The actors that Ray runs for us: the control, and on the nodes a worker's or a readers' station. Thin: each is a
shell round a class that knows nothing of Ray.

Ray finds these classes by their names in the package that is installed on every node. What comes in and goes out are
texts and numbers. A station's configuration, with values of environment variables that may be secrets, is told to it
after its start and is in its memory only: Ray keeps the arguments of a start, to repeat it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Protocol

from stream import logs
from stream.cluster.fleet import CONFIGURE, DRAIN, ORDER, REPORT
from stream.cluster.model import ReaderOrders, ReaderReport, StationState, WorkerOrders, WorkerReport
from stream.cluster.ray_connect import whole
from stream.cluster.ray_control import ControlDuty
from stream.cluster.reader_station import ReaderStation
from stream.cluster.settings_text import ClusterSettings
from stream.cluster.station_setting import NODE_FOLDER, StationSetting
from stream.cluster.worker_station import WorkerStation
from stream.errors import StreamError

log = logging.getLogger(__name__)

WAITS = "it waits for its configuration"
"""What a station says that Ray has started anew, until the control has told it its configuration."""


class _Report(Protocol):
    def to_text(self) -> str: ...


class _Station(Protocol):
    """What both kinds of stations can."""

    def configure(self, text: str, environment: Mapping[str, str]) -> None: ...
    def drain(self) -> None: ...
    def report(self) -> _Report: ...


class WorkerActor:
    """One scoring worker.

    Args:
        index: number of the worker on its node.
        gpus: that Ray gives to it.
    """

    def __init__(self, index: int, gpus: int) -> None:
        self._index, self._gpus = index, gpus
        self._station: WorkerStation | None = None

    def ask(self, method: str, *parts: str) -> str:
        """Does what the control asks for, and returns the report as text. Raises StreamError.

        Args:
            method: see ``stream.cluster.fleet``.
            parts: of its text; see ``ray_connect.pieces``.
        """
        text = whole(parts)
        if method == CONFIGURE and self._station is None:
            self._station = WorkerStation(_setting(text), index=self._index, gpus=self._gpus)
        elif method == ORDER:
            _ready(self._station).order(WorkerOrders.from_text(text))
        elif self._station is not None:
            _do(self._station, method, text)
        if self._station is None:
            return WorkerReport("", "", StationState.STARTING, WAITS, 0, "", "", "", ()).to_text()
        return self._station.report().to_text()


class ReaderActor:
    """The readers of one node."""

    def __init__(self) -> None:
        self._station: ReaderStation | None = None

    def ask(self, method: str, *parts: str) -> str:
        """As :meth:`WorkerActor.ask`."""
        text = whole(parts)
        if method == CONFIGURE and self._station is None:
            self._station = ReaderStation(_setting(text))
        elif method == ORDER:
            _ready(self._station).order(ReaderOrders.from_text(text))
        elif self._station is not None:
            _do(self._station, method, text)
        if self._station is None:
            return ReaderReport("", "", StationState.STARTING, WAITS, 0, "").to_text()
        return self._station.report().to_text()


class ControlActor:
    """The control of one cluster.

    Args:
        cluster: its name.
        ray_node: id of the node that it is on, where ``run`` was started.
    """

    def __init__(self, cluster: str, ray_node: str) -> None:
        self._duty = ControlDuty(cluster, ray_node, worker=WorkerActor, readers=ReaderActor)

    def configure(self, *parts: str) -> str:
        """Takes a configuration; see :class:`stream.cluster.settings_text.ClusterSettings`. Returns its health."""
        settings = ClusterSettings.from_text(whole(parts))
        settings.check_version()
        _log_as(settings)
        self._duty.configure(settings)
        return self._duty.health()

    def set_operator(self, token: str, text: str) -> str:
        """What operators have set; "" = nothing. ``token`` is given back by :meth:`health`."""
        self._duty.set_operator(token, text)
        return self._duty.health()

    def health(self) -> str:
        """What it was told last, where its directory is, whether it has drained."""
        return self._duty.health()

    def follow(self) -> str:
        """The same, for the run that has this control: as long as it asks, it is there."""
        self._duty.followed()
        return self._duty.health()

    def document(self) -> str:
        """The state of the whole cluster."""
        return self._duty.document()

    def forget(self, outbox: str) -> str:
        """Drops a missing outbox. Raises StreamError."""
        self._duty.forget(outbox)
        return ""

    def drain(self) -> str:
        """Begins to end all work; :meth:`health` says when that is done."""
        self._duty.drain()
        return self._duty.health()

    def end(self) -> str:
        """Ends every station, and the directory."""
        self._duty.close()
        return ""


def _setting(text: str) -> StationSetting:
    settings = ClusterSettings.from_text(text)
    settings.check_version()
    _log_as(settings)
    return StationSetting(
        text=settings.config,
        address=_address(),
        base=settings.base,
        named=settings.named,
        environment=settings.environment,
        folder=os.environ.get(NODE_FOLDER),
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def _log_as(settings: ClusterSettings) -> None:
    logs.set_up(settings.log_level, process="cluster", form=settings.log_format or settings.parsed().log.format)


def _address() -> str:
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())  # type: ignore[no-untyped-call]


def _do(station: _Station, method: str, text: str) -> None:
    if method == CONFIGURE:
        settings = ClusterSettings.from_text(text)
        settings.check_version()
        station.configure(settings.config, settings.environment)
    elif method == DRAIN:
        station.drain()
    elif method != REPORT:
        raise StreamError(f"a station cannot be asked for {method[:40]!r}")


def _ready(station: Any) -> Any:
    if station is None:
        raise StreamError(WAITS)
    return station
