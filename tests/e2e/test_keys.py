"""A whole run with keys: readers, sinks and commands meet worker and feed over TCP, encrypted, and strangers do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .helpers import assert_clean_failure, free_port, json_lines, spade, started, write_config

pytestmark = pytest.mark.slow


def test_with_keys_everything_works_over_tcp_and_without_one_nothing_is_told(
    tmp_path: Path, gallery: Path, painted_film: Path
) -> None:
    keys, feed = tmp_path / "keys", f"tcp://127.0.0.1:{free_port()}"
    assert spade("keys", keys, "--subscriber", "archive").code == 0
    config = write_config(
        tmp_path,
        [{"id": "gate", "source": f"loop:{painted_film}", "fps": 5, "scene": "yard"}],
        scenes={"yard": {"gallery": str(gallery)}},
        feed={"endpoint": feed},
        link={"endpoint": f"tcp://127.0.0.1:{free_port()}"},
        sinks=[{"type": "jsonl", "folder": "alerts"}],
        security={"keys": "keys"},
    )

    def told(key: Path) -> dict[str, Any]:
        answer = spade("status", "--connect", feed, "--key", key, "--json")
        return dict(json.loads(answer.out)) if answer.out else {}

    with started(tmp_path, "run", config) as run:
        written = tmp_path / "alerts" / "alerts.jsonl"
        run.until(lambda: written.exists() and len(json_lines(written.read_text())) >= 2, "the sink has an alert")
        answer = told(keys / "issued" / "archive.key")
        assert (answer["worker"]["state"], answer["cameras"]["gate"]["state"]) == ("RUNNING", "LIVE")
        assert_clean_failure(spade("status", "--connect", feed), 1, "gave no status", "key")
        key = keys / "issued" / "archive.key"
        mine = spade("alerts", "--connect", feed, "--key", key, "--since", "0", "--no-follow")
        assert json_lines(mine.out)[0]["phase"] == "start", mine.report
        assert run.stop().code == 0
