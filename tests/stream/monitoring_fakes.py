"""How a run stands, as worker, supervisor and outbox tell it: what monitors are shown in tests."""

from __future__ import annotations

from typing import Any

from cluster_document import a_document

from stream.health import CameraHealth
from stream.latency import StageTimes
from stream.messages import CameraState


def a_camera(state: CameraState = CameraState.LIVE, reason: str = "frames arrive", **changes: Any) -> dict[str, Any]:
    """A camera with 3 frames scored, in its worker's words; 8 native frames came, of which 4 were passed over."""
    health = CameraHealth("yard", state, reason, since=1000.0, scored=3, not_scored=1)
    health.drops = {"reader.sampled_out": 4, "link.lost": 0}
    health.last_frame_time, health.last_seq, health.last_score, health.threshold = 1000.5, 7, 4.0, 2.0
    for age, strength in ((0.04, 0.2), (0.08, 1.0), (0.2, 2.0)):
        health.took(age)
        health.strength_histogram.add(strength)
    told = {"threshold_factor": 1.0, "snoozed_until": None, "held_by_snooze": 0}
    return {**health.to_json(), **told, **changes}


def a_status(*, worker: str = "RUNNING", reason: str = "", **cameras: dict[str, Any]) -> dict[str, Any]:
    """A run with these cameras."""
    times = StageTimes()
    times.arrive("gate", 10.0, captured=9.9)
    times.begin("gate", 10.02)
    times.scored("gate", 10.32)
    times.committed(0.02, 0.5)
    process = {"state": "running", "pid": 1, "restarts": 0, "hung": 0, "last_exit": None, "started": None}
    return {
        "written": 1001.0,
        "worker": {
            "state": worker,
            "reason": reason,
            "pid": 7,
            "started": 900.0,
            "malformed_messages": 2,
            "forbidden_messages": 0,
            "pending_messages": 0,
            "lost_messages": {"update": 3},
            "lost_score_rows": 0,
            "clips": {"made": 1, "failed": 0},
            "scene_failures": {"dock": "no gallery"},
            "latency": times.to_json(),
        },
        "cameras": cameras or {"gate": a_camera()},
        "supervisor": {"state": "running", "pid": 1},
        "processes": {"feed": process, "worker": process | {"restarts": 2, "hung": 1}},
        "sinks": {
            "archive": {
                "delivered": 6,
                "rejected": 1,
                "rejected_total": 3,
                "failing_since": "2026-01-01T00:00:00.000Z",
            },
            "phone": {"delivered": 12, "rejected": 0, "rejected_total": 0, "failing_since": None},
        },
        "config": {"loaded": "2026-01-01T00:00:00.000Z", "error": ""},
        "cluster": {"document": a_document({"oak": ["gate"]}, now=1001.0), "fresh": True},
    }


def an_outbox() -> dict[str, Any]:
    """An outbox with 12 alert messages, of which an archive misses 5."""
    return {
        "last_seq": 12,
        "alerts": 10,
        "bytes": 5_000,
        "subscribers": [{"name": "archive", "behind": 5}, {"name": "phone", "behind": 0}],
    }
