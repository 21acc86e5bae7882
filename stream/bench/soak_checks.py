"""The promises that a soak holds the pipeline to, and whether they were kept. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from stream.bench.soak_accounts import LOST_WITH_WORKER, Delivery, FrameAccount
from stream.bench.soak_faults import Done
from stream.bench.soak_plan import Fault
from stream.bench.soak_trends import ProcessSample, Trend
from stream.bench.soak_watch import Birth, CameraSample

DRAIN_SECONDS = 10.0
"""Seconds within which a run that is told to stop has ended."""

LOST_WITH_EACH_WORKER = 1
"""Frames of each camera that may go uncounted with a killed worker: the one that it is computing. (The one on its way
to it is counted by the reader.)"""

JUDGED_FROM = 600.0
"""Seconds that a role's lives must span before its growth is judged: over less, one buffer more looks like a leak."""

MOST_GROWTH = 30.0
"""MiB an hour of a process's own memory. A leak of 1 KiB a frame from 8 cameras at 3 a second is 84 MiB an hour."""

MOST_FILES = 6.0
"""Open files an hour. One forgotten at every fault would be 40 or more."""

ALERTS_FROM = 120.0
"""Seconds after which a soak must have seen an alert: without any, the equal sets below say nothing."""

_MUST_BE_NOTICED = (Fault.STOP_READER, Fault.HANG_WORKER)
_UNNOTICED_RESTART = 5.0  # s after a fault's end in which a restart that belongs to it may first be seen


@dataclass(frozen=True, slots=True)
class Soaked:
    """Everything that a soak found."""

    seconds: float  # that it really lasted, from the moment when all cameras were scored
    cut_short: bool  # somebody ended it early
    faults: tuple[Done, ...]
    planned: int  # faults that were to be done
    births: tuple[Birth, ...]
    trends: tuple[Trend, ...]
    frames: Mapping[str, FrameAccount]  # by camera
    deliveries: tuple[Delivery, ...]
    messages: int  # committed
    alerts: int  # alerts that these messages are of
    run_ends: tuple[str, ...]  # how often the run ended by itself, and why
    unwatched: tuple[str, ...]  # what did not watch at the end
    troubles: tuple[str, ...]  # of the soak's own subscribers
    exit_code: int | None  # of the run, at its end; None: it had to be killed
    drain_s: float  # from SIGTERM to the end of the run
    samples: tuple[ProcessSample, ...] = ()
    cameras: tuple[CameraSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One promise."""

    name: str
    kept: bool | None  # None: it cannot be judged
    text: str  # the figures behind it


def checks(soaked: Soaked) -> list[Check]:
    """All promises, in the order in which people ask for them."""
    return [
        Check("the run never ended by itself", not soaked.run_ends, "; ".join(soaked.run_ends) or "it went on"),
        *_faults(soaked),
        _restarts(soaked),
        Check("all cameras watched at the end", not soaked.unwatched, "; ".join(soaked.unwatched) or "all LIVE"),
        *_frames(soaked.frames),
        _alerts_seen(soaked),
        *(_delivery(delivery, soaked.messages) for delivery in soaked.deliveries),
        *(Check("subscribers of the soak", False, text) for text in soaked.troubles),
        *_growth(soaked.trends),
        _drain(soaked),
    ]


def by_kind(faults: Sequence[Done]) -> dict[Fault, list[Done]]:
    """Faults by kind, in the order of the kinds."""
    return {kind: done for kind in Fault if (done := [fault for fault in faults if fault.fault is kind])}


def recoveries(faults: Sequence[Done]) -> tuple[float, float] | None:
    """Median and longest recovery, s."""
    times = [fault.recovery_s for fault in faults if fault.recovery_s is not None]
    return (median(times), max(times)) if times else None


def unexplained(births: Sequence[Birth], faults: Sequence[Done]) -> list[Birth]:
    """Restarts that no fault accounts for."""
    seen: set[str] = set()
    found = []
    for birth in births:
        again, role = birth.instance.role in seen, birth.instance.role
        seen.add(role)
        if again and not any(
            role in fault.restarts and fault.at <= birth.at <= fault.until + _UNNOTICED_RESTART for fault in faults
        ):
            found.append(birth)
    return found


def restarts(births: Sequence[Birth]) -> dict[str, int]:
    """How often each role got another process, without zeros."""
    counts = Counter(birth.instance.role for birth in births)
    return {role: count - 1 for role, count in counts.items() if count > 1}


def _faults(soaked: Soaked) -> Iterator[Check]:
    for kind, done in by_kind(soaked.faults).items():
        problems = [f"at {fault.at:.0f} s, {fault.target}: {fault.problem}" for fault in done if fault.problem]
        unseen = [fault for fault in done if kind in _MUST_BE_NOTICED and fault.noticed_s is None and not fault.problem]
        problems += [f"at {fault.at:.0f} s, {fault.target}: no status ever told of it" for fault in unseen]
        survived = len(done) - len(problems)
        yield Check(f"fault {kind}", not problems, "; ".join([f"{survived} of {len(done)} survived", *problems]))
    left = soaked.planned - len(soaked.faults)
    if left:
        yield Check("all planned faults done", None, f"{left} of {soaked.planned} were not: there was no time left")


def _restarts(soaked: Soaked) -> Check:
    odd = unexplained(soaked.births, soaked.faults)
    words = ", ".join(f"{birth.instance.role} at {birth.at:.0f} s" for birth in odd)
    count = sum(restarts(soaked.births).values())
    return Check("no restart but by a fault", not odd, words or f"{count} restart(s), each after a fault")


def _frames(frames: Mapping[str, FrameAccount]) -> Iterator[Check]:
    wrong = [
        f"{camera}: {account.unaccounted} unaccounted"
        for camera, account in frames.items()
        if abs(account.unaccounted) > account.tolerance
    ]
    captured, lost = sum(a.captured for a in frames.values()), sum(a.readers_lost for a in frames.values())
    text = f"{captured} frames; the last counts of {lost} reader(s) went with them"
    yield Check("captured = scored + not scored + dropped", not wrong, "; ".join([text, *wrong]))
    workers = {camera: (a.drops[LOST_WITH_WORKER], a.crossed) for camera, a in frames.items()}
    odd = [
        f"{camera}: {count} with {crossed} worker(s)"
        for camera, (count, crossed) in workers.items()
        if not -crossed <= count <= crossed * LOST_WITH_EACH_WORKER  # below 0: see FrameAccount.tolerance
    ]
    total = sum(count for count, _ in workers.values())
    text = f"{total} frame(s) in hand of killed workers"
    yield Check("at most the frame in hand lost with a worker", not odd, "; ".join([text, *odd]))


def _alerts_seen(soaked: Soaked) -> Check:
    text = f"{soaked.alerts} alert(s), {soaked.messages} message(s)"
    kept = True if soaked.messages else False if soaked.seconds >= ALERTS_FROM else None
    return Check("alerts happened", kept, text)


def _delivery(delivery: Delivery, messages: int) -> Check:
    words = [f"{delivery.received} of {messages} messages"]
    words += [f"{delivery.after_drain} of them only from the next feed"] if delivery.after_drain else []
    words += [f"{delivery.repeated} came again"] if delivery.repeated else []
    words += [f"missing {numbers(delivery.missing)}"] if delivery.missing else []
    words += [f"not in the outbox {numbers(delivery.foreign)}"] if delivery.foreign else []
    words += [f"gaps told: {', '.join(f'{first} to {last}' for first, last in delivery.gaps)}"] if delivery.gaps else []
    return Check(f"{delivery.name} got what was committed", delivery.equal, "; ".join(words))


def _growth(trends: Sequence[Trend]) -> Iterator[Check]:
    judgeable = [trend for trend in trends if trend.observed_s >= JUDGED_FROM]
    memory, files = ({t.role: getattr(t, f"{name}_per_hour") for t in judgeable} for name in ("own_mib", "files"))
    for what, bound, unit, slopes in (
        (f"memory: {MOST_GROWTH:g} MiB", MOST_GROWTH, "MiB", memory),
        (f"open files: {MOST_FILES:g}", MOST_FILES, "files", files),
    ):
        judged = {role: float(slope) for role, slope in slopes.items() if slope is not None}
        over = [f"{role} {slope:+.1f}" for role, slope in judged.items() if slope > bound]
        most = max(judged.items(), key=lambda item: item[1], default=None)
        text = f"fastest {most[0]} {most[1]:+.1f} {unit} an hour" if most else f"no role lived {JUDGED_FROM:.0f} s"
        words = [text, *(f"too fast: {one}" for one in over)]
        yield Check(f"{what} more an hour at most", not over if judged else None, "; ".join(words))


def _drain(soaked: Soaked) -> Check:
    code = "had to be killed" if soaked.exit_code is None else f"exit code {soaked.exit_code}"
    kept = soaked.exit_code == 0 and soaked.drain_s <= DRAIN_SECONDS
    return Check(f"SIGTERM: exit 0 within {DRAIN_SECONDS:.0f} s", kept, f"{code} after {soaked.drain_s:.1f} s")


def numbers(seqs: Sequence[int], *, most: int = 10) -> str:
    """The first of many numbers, and how many there are."""
    shown = ", ".join(map(str, seqs[:most]))
    return shown if len(seqs) <= most else f"{shown} and {len(seqs) - most} more"
