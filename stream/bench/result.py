"""What a benchmark found: rows of figures with the machine and the options they belong to, as JSON and as a table.

Absolute times say something of one machine at one hour; ratios taken in one run carry over. So a row may name another
one as its base, and what is compared between two files are the ratios first.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from stream.errors import UsageError

BENCH_SCHEMA = "spade-stream/bench/1"
"""Name and version of the JSON. The number grows when a field changes its meaning or disappears."""

_PACKAGES = ("torch", "openvino", "numpy", "opencv-python-headless", "faiss-cpu", "faiss-gpu", "pyzmq", "av")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured."""

    name: str
    figures: Mapping[str, float | None]  # by name with the unit as its ending: {"median_ms": 9.1, "p95_ms": 11.0}
    base: str | None = None  # name of the row that ``ratio`` is to
    ratio: float | None = None  # this row's median over the base's; above 1 = slower
    note: str = ""  # what a reader must know of it: how it was measured, why there is no figure


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One benchmark's outcome."""

    kind: str  # stages | link | cameras | gallery
    options: Mapping[str, Any]  # what was asked for, JSON-able
    rows: tuple[Row, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)  # figures of the whole run, JSON-able
    machine: Mapping[str, Any] = field(default_factory=dict)  # see :func:`machine`

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"schema": BENCH_SCHEMA, **asdict(self), "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def read(cls, path: Path) -> BenchResult:
        """A result from its file.

        Raises:
            UsageError: there is no such file, or it is no result of this version.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValueError as error:
            raise UsageError(f"{path}: not JSON ({error})") from None
        if not isinstance(data, dict) or data.get("schema") != BENCH_SCHEMA:
            raise UsageError(f"{path}: not written by this version's 'bench --json' (its schema is not {BENCH_SCHEMA})")
        try:
            rows = tuple(
                Row(str(r["name"]), dict(r["figures"]), r.get("base"), r.get("ratio"), str(r.get("note", "")))
                for r in data["rows"]
            )
            return cls(str(data["kind"]), dict(data["options"]), rows, dict(data["summary"]), dict(data["machine"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path}: not well formed ({type(error).__name__}: {error})") from None


def timing(name: str, seconds: Sequence[float], *, base: Row | None = None, note: str = "") -> Row:
    """A row of repeated timings, in milliseconds.

    Args:
        name: of what was timed.
        seconds: N > 0 timings.
        base: row that it is compared with, by the medians; itself timed with this function.
        note: see :class:`Row`.
    """
    ordered = sorted(seconds)
    median = quantile(ordered, 0.5) * 1e3
    figures = {"median_ms": median, "p95_ms": quantile(ordered, 0.95) * 1e3, "least_ms": ordered[0] * 1e3}
    ratio = None if base is None else median / (base.figures["median_ms"] or math.nan)
    return Row(name, {**figures, "runs": float(len(ordered))}, None if base is None else base.name, ratio, note)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The value that the part ``q`` of the others does not exceed (nearest rank); ``ordered`` rises, not empty."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def machine(device: str = "cpu") -> dict[str, Any]:
    """What runs: processor, cores, memory, versions. Names no host and no user.

    Args:
        device: torch device that was measured; of a GPU its name is added.
    """
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "device": device,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
