"""A crop, from the configuration to the mask: what is scored is the centre, and that is where masks lie."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from spade_core.preprocess import Preprocess

from .footage import FPS, HEIGHT, ONCE, WIDTH, board_box
from .helpers import json_lines, spade, write_config

pytestmark = pytest.mark.slow

SIZE, CROP = 128, 96
X, Y, W, H = Preprocess(SIZE, CROP).part(WIDTH, HEIGHT)


@pytest.mark.parametrize("method", ["campus", "spade"])
def test_masks_of_cropped_frames_lie_on_what_was_painted_and_within_the_crop(
    tmp_path: Path, normal_film: Path, painted_film: Path, method: str
) -> None:
    config = write_config(
        tmp_path,
        [{"id": "yard", "source": str(normal_film), "fps": 5}],
        method={"name": method, "size": SIZE, "crop": CROP},
        # Faithful SPADE knows walkers from one frame alone: at the usual rate half a minute sets too high a threshold.
        gallery={"folder": "galleries", "holdout": 0.4, "false_alarms_per_day": 10_000.0},
    )
    done = spade("enroll", config)
    assert done.code == 0, done.report
    gallery, out = tmp_path / "galleries" / "yard", tmp_path / "out"
    described = json.loads(spade("gallery", "info", gallery, "--json").out)
    assert described["fingerprint"]["preprocessing"]["crop"] == CROP

    done = spade("replay", painted_film, "--gallery", gallery, "--out", out, "--fps", "5")

    assert done.code == 0, done.report
    assert yaml.safe_load((out / "replay.yaml").read_text())["method"]["crop"] == CROP
    alerts = json_lines((out / "alerts.jsonl").read_text(encoding="utf-8"))
    boxes = [board_box(alert["frame_seq"] / FPS, ONCE) for alert in alerts]
    assert any(boxes), done.report
    for alert, box in zip(alerts, boxes, strict=True):
        mask = cv2.imread(str(out / alert["mask"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (HEIGHT, WIDTH)
        outside = mask.copy()
        outside[Y : Y + H, X : X + W] = 0
        assert not outside.any()
        if box is None:  # so many false alarms were asked for that one may come
            continue
        left, top, right, bottom = box
        inside = np.count_nonzero(mask[top:bottom, left:right])
        assert inside > 0.5 * (bottom - top) * (right - left), "half of the board is masked"
        assert inside > 0.5 * np.count_nonzero(mask), "half of what is masked is the board"
