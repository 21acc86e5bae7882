"""Real footage with known anomalies: UCSD Ped2. What rides across the walkway raises alerts that mask it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from .helpers import spade, write_config

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(1200)]

BICYCLE, CART = "01", "04"


@pytest.fixture(scope="module")
def alerts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """Alert messages of two test clips, scored with a gallery of the training clips, five frames a second."""
    folder = tmp_path_factory.mktemp("ped2")
    if not (data / "ped2").is_dir():
        pytest.skip(f"{data / 'ped2'} is not there")
    camera = {"id": "walkway", "source": str(data / "ped2" / "train"), "fps": 5}
    config = write_config(folder, [camera], method={"size": 256})
    done = spade("enroll", config, "--capacity", "600", bound=800)
    assert done.code == 0, done.report
    clips = folder / "clips"
    clips.mkdir()
    for clip in (BICYCLE, CART):
        (clips / clip).symlink_to(data / "ped2" / "test" / clip)
    out = folder / "out"
    done = spade("replay", clips, "--gallery", folder / "galleries" / "walkway", "--out", out, "--fps", "5", bound=400)
    assert done.code == 0, done.report
    messages = [json.loads(line) for line in (out / "alerts.jsonl").read_text().splitlines()]
    return [{**message, "mask": str(out / message["mask"])} for message in messages]


@pytest.mark.parametrize("clip", [BICYCLE, CART])
def test_what_rides_is_masked(alerts: list[dict[str, object]], data: Path, clip: str) -> None:
    first = {BICYCLE: 0, CART: len(list((data / "ped2" / "test" / BICYCLE).iterdir()))}[clip]
    shown = [message for message in alerts if message["segment"] == clip]
    assert shown, f"no alert in clip {clip}"
    covered = []
    for message in shown:
        number = int(str(message["frame_seq"])) - first
        truth = sorted((data / "ped2" / "masks" / clip).iterdir())[number]
        true_mask = cv2.imread(str(truth), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(message["mask"]), cv2.IMREAD_GRAYSCALE)
        assert true_mask is not None
        assert mask is not None
        assert mask.shape == true_mask.shape
        if (true_mask > 0).any():
            covered.append(((mask > 0) & (true_mask > 0)).sum() / (true_mask > 0).sum())
    # In the best of its pictures most of the anomaly is inside the mask.
    assert max(covered) > 0.5
