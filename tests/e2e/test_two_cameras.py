"""Two cameras on one worker, one four times as fast: both are served, losses are counted, nothing ages in a queue."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .helpers import Finished, free_port, score_rows, started, status, write_config

pytestmark = pytest.mark.slow

FAST, SLOW = 20, 5  # frames a second
PAUSE = 6.0  # seconds that the worker stands still; less than the link's patience with a silent worker


@dataclass(frozen=True, slots=True)
class Served:
    """What was seen while and after both cameras ran."""

    final: dict[str, Any]  # last status of each camera
    rows: dict[str, list[dict[str, str]]]  # score log of each camera
    done: Finished


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, gallery: Path) -> Served:
    """Runs both, halts the worker once in between, and stops."""
    folder, feed = tmp_path_factory.mktemp("two"), f"tcp://127.0.0.1:{free_port()}"
    cameras = [
        {"id": name, "source": f"campus:?seed=3&size=160x90&fps={2 * rate}", "fps": rate, "scene": "yard"}
        for name, rate in (("fast", FAST), ("slow", SLOW))
    ]
    config = write_config(folder, cameras, scenes={"yard": {"gallery": str(gallery)}}, feed={"endpoint": feed})
    with started(folder, "run", config) as run:

        def both_scored(more: int, than: dict[str, int]) -> dict[str, Any]:
            now = status(feed) or {"cameras": {}}
            counts = {name: camera["scored"] for name, camera in now["cameras"].items()}
            return now if counts and all(counts[name] >= than.get(name, 0) + more for name in counts) else {}

        before = run.until(lambda: both_scored(10, {}), "both cameras are scored")
        worker = int(before["worker"]["pid"])
        os.kill(worker, signal.SIGSTOP)
        time.sleep(PAUSE)  # the pause is what is tested
        os.kill(worker, signal.SIGCONT)
        counts = {name: camera["scored"] for name, camera in before["cameras"].items()}
        run.until(lambda: both_scored(15, counts), "both cameras are scored again")
        done = run.stop()
    state = folder / "state"
    rows = {name: score_rows(next((state / "scores" / name).glob("*.csv"))) for name in ("fast", "slow")}
    return Served(json.loads((state / "status.json").read_text(encoding="utf-8"))["cameras"], rows, done)


def test_both_are_scored_to_a_clean_end(served: Served) -> None:
    assert served.done.code == 0, served.done.report
    assert "Traceback" not in served.done.err
    for name in ("fast", "slow"):
        assert served.final[name]["scored"] == len(served.rows[name])
        assert [row["problem"] for row in served.rows[name]] == [""] * len(served.rows[name])


def test_the_slow_camera_gets_its_share(served: Served) -> None:
    slow, fast = served.rows["slow"], served.rows["fast"]
    offered = (int(slow[-1]["frame_seq"]) - int(slow[0]["frame_seq"])) // 2  # every second frame is sampled
    # Its share is all that it offers, or where that is more than there is time for, as much as the other one gets.
    assert len(slow) >= 0.4 * min(offered, len(fast))


def test_what_is_not_scored_is_counted_by_stage_and_reason(served: Served) -> None:
    for name, rate in (("fast", FAST), ("slow", SLOW)):
        camera = served.final[name]
        assert camera["drops"]["reader.sampled_out"] >= camera["scored"] - 1  # every second frame
        assert camera["drops"]["reader.overwritten"] >= rate * PAUSE / 3  # while the worker stood still
        assert camera["scored"] + sum(camera["drops"].values()) >= camera["last_seq"] + 1, "no frame went uncounted"


def test_nothing_ages_in_a_queue(served: Served) -> None:
    for name, rows in served.rows.items():
        # One frame on its way, one that the worker had taken: what else was captured meanwhile gave way to newer ones.
        old = [float(row["age"]) for row in rows if float(row["age"]) > PAUSE * 0.7]
        assert len(old) <= 2, f"{name}: {old}"
