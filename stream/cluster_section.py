"""The configuration's section ``cluster``. For ``config``; nothing of it is read where a run has one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from stream.config_values import Identifier, LocalPath, Section
from stream.endpoints import parse_endpoint
from stream.errors import UsageError

DEFAULT_DIRECTORY = "tcp://*:8480"
"""Where readers and subscribers ask which machine they belong to."""


def _as_ports(value: object) -> object:
    """``"8500-8599"`` as (8500, 8599)."""
    if not isinstance(value, str):
        raise ValueError('must be a text such as "8500-8599"')
    first, dash, last = value.partition("-")
    if not dash or not first.isdigit() or not last.isdigit() or not 1024 <= int(first) <= int(last) <= 65535:
        raise ValueError('must be two ports from 1024 to 65535, the first not above the last, such as "8500-8599"')
    return int(first), int(last)


def _tcp(value: str) -> str:
    try:
        endpoint = parse_endpoint(value)
    except UsageError as error:
        raise ValueError(str(error)) from None
    if endpoint.path is not None or endpoint.port == 0:
        raise ValueError("must be tcp://ADDRESS:PORT with a port of its own: other machines have to find it")
    return value


Ports = Annotated[
    tuple[int, int],
    BeforeValidator(_as_ports),
    WithJsonSchema({"type": "string", "format": "ports"}, mode="validation"),
]


class FrameCost(Section):
    """What a frame costs a worker, in seconds of one frame at a time; ``bench cluster --cost`` measures it."""

    cpu: float = Field(0.05, gt=0, le=600)  # on a worker without a GPU
    gpu: float = Field(0.005, gt=0, le=600)  # on a worker with one


class ClusterSection(Section):
    """How a run is spread over the nodes of a Ray cluster."""

    name: Identifier = "spade-stream"  # several runs in one Ray cluster tell each other apart by it
    folder: LocalPath = Path("cluster")  # on every node, on a disk of its own: outboxes, keys, copies of galleries
    directory: Annotated[str, AfterValidator(_tcp)] = DEFAULT_DIRECTORY  # bound where `run` is started
    advertise: str | None = None  # address by which other machines reach the directory; None: the node's own in Ray
    ports: Ports | None = None  # that links and feeds of the nodes are bound to; None: any free ones
    worker_cpus: int = Field(4, ge=1, le=1024)  # cores of one scoring worker, on nodes without a GPU
    gpus: bool = True  # one worker for each GPU, on nodes that have some; False: workers by cores everywhere
    frame_cost: FrameCost = FrameCost()
    fill: float = Field(0.8, gt=0, le=1)  # part of a worker's time that cameras may be given, as long as there is room
    moves: int = Field(4, ge=1, le=1000)  # cameras that are on the move at the same time
    copies: int = Field(2, ge=1, le=100)  # nodes that keep a copy of a scene's gallery ready
    patience: float = Field(4.0, ge=1, le=120)  # s without an answer after which a node counts as gone

    @model_validator(mode="after")
    def _advertise_is_a_host(self) -> ClusterSection:
        if self.advertise is not None and (not self.advertise or any(c in self.advertise for c in "/:@ ")):
            raise ValueError("advertise must be a host name or an IP address, without scheme and port")
        return self
