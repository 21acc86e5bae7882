"""The demo, whole: it judges itself against the truth and exits with 1 where an event is missed."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from .helpers import spade


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_finds_every_event_and_leaves_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = spade("demo", "--out", out, bound=800)
    assert done.code == 0, done.report
    figures = json.loads((out / "demo.json").read_text())
    assert figures["events_found"] == {"cyclist": True, "cart": True, "runner": True, "bag": True}
    with av.open(str(out / "campus.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    page = (out / "index.html").read_text()
    messages = [json.loads(line) for line in (out / "alerts.jsonl").read_text().splitlines()]
    assert all(message["alert_id"] in page for message in messages)
    assert all((out / message["mask"]).is_file() and (out / message["snapshot"]).is_file() for message in messages)
    printed = [line for line in done.out.splitlines() if " START " in line]
    started = [message["alert_id"] for message in messages if message["phase"] == "start"]
    assert len(printed) == len(started)
    assert all(alert_id in line for alert_id, line in zip(started, printed, strict=True))
