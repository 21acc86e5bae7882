"""What is known of a whole cluster, in the form in which one worker tells of itself (``status.json``): ``status``,
the console and ``/metrics`` then need not know of clusters. Pure: a document in, a status out. For ``collector``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from stream.cluster.model import OutboxPlace, OutboxState, StationState
from stream.health import CameraHealth
from stream.messages import CameraState, iso_time

_SUMS = ("malformed_messages", "forbidden_messages", "pending_messages", "lost_score_rows")
_COUNTS = ("lost_messages", "clips")
_SAID = ("live_problem", "drift_problem", "operator_problem")
_BAD = (StationState.DEGRADED, StationState.SILENT, StationState.GONE)


def merged_status(
    document: Mapping[str, Any], *, scenes: Mapping[str, str], problems: Sequence[str] = ()
) -> dict[str, Any]:
    """A status as :func:`stream.health.read_status` reads it, as old as the document is.

    Args:
        document: of the cluster, from its control.
        scenes: of every camera of the configuration.
        problems: what the collector itself has to say; each makes the status DEGRADED.

    Raises:
        ValueError: the document is not well formed.
    """
    try:
        reasons = _reasons(document, problems)
        workers = list(document.get("workers", ()))
        worker = {
            "state": str(StationState.DEGRADED if reasons else StationState.RUNNING),
            "reason": "; ".join(reasons),
            **_together([each.get("status") or {} for each in workers]),
        }
        cameras = {
            name: _camera(name, said, scenes.get(name, name)) for name, said in document.get("cameras", {}).items()
        }
        return {"written": float(document["written"]), "worker": worker, "cameras": cameras}
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, OSError) as error:
        raise ValueError(f"the cluster's document is not well formed: {type(error).__name__}: {error}") from error


def missing_in_words(place: OutboxPlace, taken: int | None) -> str:
    """What is not there with an outbox.

    Args:
        place: of the outbox.
        taken: the last of its alerts that was collected; None: not known.
    """
    last = place.last_seq
    if taken is None:
        waits = f"its alerts up to {last}, as far as they were not collected before, come" if last else ""
    else:
        waits = (
            f"its alerts {taken + 1} to {last} or more come" if last > taken else f"what follows alert {taken} comes"
        )
    since = iso_time(place.since)
    waits = waits or "what it may hold comes"
    return f"outbox {place.id} of {place.node} is missing since {since}: {waits} when its disk is back"


def _reasons(document: Mapping[str, Any], problems: Sequence[str]) -> list[str]:
    """Everything that is wrong, each once: what the control says of a node or a worker goes before our own words."""
    said = [str(problem) for problem in (*document.get("problems", ()), *problems)]
    words = {word for reason in said for word in _words(reason)}
    for name, text in _stations(document):
        if name not in words:
            said.append(text)
            words |= _words(text)
    return list(dict.fromkeys(said))


def _words(reason: str) -> set[str]:
    return {word.strip(",;:.()") for word in reason.split()}


def _stations(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name, and what is wrong with it, of nodes, workers and outboxes."""
    for node in document.get("nodes", ()):
        if node.get("state") in _BAD:
            name = node["name"] or node["id"]  # one whose stations have never answered has told no name
            yield name, f"node {name} is {node['state']}{_since(node)}{_because(node)}"
    for worker in document.get("workers", ()):
        if worker.get("state") in _BAD:
            yield worker["name"], f"worker {worker['name']} is {worker['state']}{_since(worker)}{_because(worker)}"
    for data in document.get("outboxes", ()):
        place = OutboxPlace.from_json(data)
        if place.state is OutboxState.MISSING:
            yield place.id, missing_in_words(place, data.get("taken"))


def _since(station: Mapping[str, Any]) -> str:
    return f" since {_iso(station['since'])}" if station.get("since") else ""


def _because(station: Mapping[str, Any]) -> str:
    return f": {station['reason']}" if station.get("reason") else ""


def _iso(time: object) -> str:
    return time if isinstance(time, str) else iso_time(float(str(time)))


def _camera(name: str, said: Mapping[str, Any], scene: str) -> dict[str, Any]:
    """As a worker tells of a camera; of one that no worker has told of, what is known."""
    whole = {**CameraHealth(scene, scenes=(scene,)).to_json(), **said}
    state = CameraState(whole["state"])
    return {**whole, "state": str(state), "reason": str(whole["reason"]), "since": _iso(whole["since"])}


def _together(statuses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the workers tell of themselves, as if they were one."""
    return {
        "started": min((float(each["started"]) for each in statuses if each.get("started")), default=None),
        "ready_after": None,  # each was ready at its own time
        **{name: sum(int(each.get(name) or 0) for each in statuses) for name in _SUMS},
        **{name: _counted(each.get(name) for each in statuses) for name in _COUNTS},
        "latency": _histograms(each.get("latency") for each in statuses),
        **{name: "; ".join(dict.fromkeys(str(t) for each in statuses if (t := each.get(name)))) for name in _SAID},
        # What operators have set is in force when all workers have taken it.
        "operator_revision": min((int(each.get("operator_revision") or 0) for each in statuses), default=0),
        "scene_failures": {
            scene: str(text) for each in statuses for scene, text in (each.get("scene_failures") or {}).items()
        },
    }


def _counted(all_counts: Iterable[Mapping[str, int] | None]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counts in all_counts:
        total.update(counts or {})
    return dict(total)


def _histograms(all_stages: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The histograms of each stage, added up; of another version's bounds only the first."""
    found: dict[str, Any] = {}
    for stages in all_stages:
        for stage, told in (stages or {}).items():
            before = found.get(stage)
            if before is None:
                found[stage] = dict(told)
            elif before["le"] == told["le"]:
                counts = [a + b for a, b in zip(before["counts"], told["counts"], strict=True)]
                sums = {"sum": before["sum"] + told["sum"], "count": before["count"] + told["count"]}
                found[stage] = {**before, "counts": counts, **sums}
    return found
