"""One test alert for one sink, so that an operator knows that it arrives. For ``programs``.

The message is marked as a test in three places: its id begins with ``test-``, its camera is ``spade-stream-test``, and
its ``segment`` says so in words. It is never in the outbox.
"""

from __future__ import annotations

import cv2
import numpy as np

from stream.messages import Alert, Evidence, Phase, Region, iso_time

CAMERA = "spade-stream-test"
"""Camera of a test alert: none of the user's, so that nothing is switched on that then stays on."""

_WIDTH, _HEIGHT = 320, 180  # pixels of its pictures


def trial_alert(now: float) -> Alert:
    """A test alert of this moment (Unix seconds), number 0 as it was never committed."""
    stamp = iso_time(now).replace("-", "").replace(":", "")
    return Alert(
        seq=0,
        alert_id=f"test-{stamp}",
        phase=Phase.START,
        camera=CAMERA,
        scene=CAMERA,
        segment="test message, nothing was seen",
        started_at=now,
        frame_time=now,
        frame_seq=0,
        score=2.0,
        threshold=1.0,
        regions=(Region((120, 60, 80, 60), ((120, 60), (200, 60), (200, 120), (120, 120)), 4800, 2.0),),
        neighbours=(),
        mask="test.mask.png",
        snapshot="test.jpg",
    )


def trial_evidence() -> Evidence:
    """Its pictures: a grey field with the word TEST, and the mask of its region."""
    picture = np.full((_HEIGHT, _WIDTH, 3), 96, np.uint8)
    cv2.putText(picture, "TEST", (110, 105), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 3)
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    mask[60:120, 120:200] = 255
    return Evidence(cv2.imencode(".png", mask)[1].tobytes(), cv2.imencode(".jpg", picture)[1].tobytes())
