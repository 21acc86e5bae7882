"""What a soak found, as JSON for programs and as tables for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stream.bench.soak_checks import Check, Soaked, by_kind, checks, recoveries, restarts
from stream.bench.soak_trends import Trend
from stream.bench.table import aligned, in_words, shown

SOAK_SCHEMA = "spade-stream/soak/1"
"""Name and version of the JSON. The number grows when a field changes its meaning or disappears."""

_VERDICT = {True: "ok", False: "NOT ok", None: "not judged"}


def broken(soaked: Soaked) -> bool:
    """Whether a promise was broken."""
    return any(check.kept is False for check in checks(soaked))


def to_json(soaked: Soaked, *, options: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-able form; single samples are in ``samples.csv``."""
    return {
        "schema": SOAK_SCHEMA,
        "options": dict(options),
        "machine": dict(machine),
        "seconds": round(soaked.seconds, 1),
        "cut_short": soaked.cut_short,
        "kept": not broken(soaked),
        "checks": [asdict(check) for check in checks(soaked)],
        "faults": [{**asdict(fault), "restarts": sorted(fault.restarts)} for fault in soaked.faults],
        "recovery": {
            str(kind): dict(zip(("median_s", "longest_s"), times, strict=True)) if (times := recoveries(done)) else None
            for kind, done in by_kind(soaked.faults).items()
        },
        "processes": [asdict(trend) for trend in soaked.trends],
        "frames": {camera: _frames(account) for camera, account in soaked.frames.items()},
        "alerts": soaked.alerts,
        "messages": soaked.messages,
        "deliveries": [{**asdict(delivery), "equal": delivery.equal} for delivery in soaked.deliveries],
        "restarts": restarts(soaked.births),
        "run_ends": list(soaked.run_ends),
        "exit_code": soaked.exit_code,
        "drain_s": round(soaked.drain_s, 2),
    }


def tables(soaked: Soaked, *, machine: Mapping[str, Any]) -> str:
    """Everything as aligned plain text."""
    early = ", ended early" if soaked.cut_short else ""
    parts = [
        f"{soaked.seconds / 60:.1f} minutes{early}, {len(soaked.faults)} faults, {soaked.alerts} alerts",
        "\n".join(aligned(list(fault_lines(soaked)))) if soaked.faults else "",
        "\n".join(aligned(list(process_lines(soaked)))),
        "\n".join(aligned(list(frame_lines(soaked)))),
        "\n".join(aligned(list(check_lines(checks(soaked))))),
        f"machine: {in_words(machine)}" if machine else "",
    ]
    return "\n\n".join(part for part in parts if part)


def fault_lines(soaked: Soaked) -> Iterator[list[str]]:
    """A heading, and a line for each kind of fault."""
    yield ["fault", "done", "survived", "noticed s", "recovery s", "longest s"]
    for kind, done in by_kind(soaked.faults).items():
        times = recoveries(done) or (None, None)
        noticed = [fault.noticed_s for fault in done if fault.noticed_s is not None]
        survived = sum(not fault.problem for fault in done)
        figures = (max(noticed, default=None), *times)
        yield [str(kind), str(len(done)), str(survived), *map(_tenths, figures)]


def process_lines(soaked: Soaked) -> Iterator[list[str]]:
    """A heading, and a line for each process."""
    yield ["process", "restarts", "cores", "rss MiB", "at end", "own MiB", "at end", "per hour", "files", "at end"]
    again = restarts(soaked.births)
    for trend in soaked.trends:
        yield [trend.role, str(again.get(trend.role, 0)), *map(shown, _process(trend))]


def frame_lines(soaked: Soaked) -> Iterator[list[str]]:
    """A heading, and a line for each camera and for all together."""
    reasons = sorted({reason for account in soaked.frames.values() for reason in account.drops})
    yield ["camera", "captured", "scored", "not scored", *reasons, "unaccounted"]
    total: Counter[int] = Counter()
    for camera, account in sorted(soaked.frames.items()):
        dropped = [account.drops[reason] for reason in reasons]
        figures = [account.captured, account.scored, account.not_scored, *dropped, account.unaccounted]
        total.update(dict(enumerate(figures)))
        yield [camera, *map(str, figures)]
    yield ["all", *(str(total[column]) for column in range(len(reasons) + 4))]


def check_lines(found: Sequence[Check]) -> Iterator[list[str]]:
    """A line for each promise; the words at its end may be long."""
    yield ["promise", "verdict", ""]
    for check in found:
        yield [check.name, _VERDICT[check.kept], check.text]


def _process(trend: Trend) -> tuple[float | None, ...]:
    none = (None, None)
    own = (*(trend.own_mib or none), trend.own_mib_per_hour)
    return (trend.cores, *(trend.rss_mib or none), *own, *(trend.files or none))


def _frames(account: Any) -> dict[str, Any]:
    return {
        "captured": account.captured,
        "scored": account.scored,
        "not_scored": account.not_scored,
        "dropped": dict(account.drops),
        "unaccounted": account.unaccounted,
        "readers_lost": account.readers_lost,
        "workers_lost": account.crossed,
    }


def _tenths(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
