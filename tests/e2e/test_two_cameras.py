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

from .helpers import Finished, free_port, logged_rows, started, status, write_config

pytestmark = pytest.mark.slow

FAST, SLOW = 20, 5  # frames a second
PAUSE = 6.0  # seconds that the worker stands still; less than the link's patience with a silent worker
PASSED_OVER = 30  # native frames: far less than either camera shows within PAUSE, far more than a few steps of two


@dataclass(frozen=True, slots=True)
class Served:
    """What was seen while and after both cameras ran."""

    final: dict[str, Any]  # last status of each camera
    rows: dict[str, list[dict[str, str]]]  # score log of each camera
    scored_at_halt: dict[str, int]  # how many rows it had when the worker was halted
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
        halted = {name: len(rows) for name, rows in score_logs(folder).items()}
        time.sleep(PAUSE)  # the pause is what is tested
        os.kill(worker, signal.SIGCONT)
        run.until(lambda: both_scored(15, halted), "both cameras are scored again")
        done = run.stop()
    final = json.loads((folder / "state" / "status.json").read_text(encoding="utf-8"))["cameras"]
    return Served(final, score_logs(folder), halted, done)


def score_logs(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Rows by camera."""
    return {name: logged_rows(folder / "state" / "scores" / name) for name in ("fast", "slow")}


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
    for camera in served.final.values():
        assert camera["drops"]["reader.sampled_out"] >= camera["scored"] - 1  # every second frame
        assert camera["drops"]["reader.overwritten"] >= PASSED_OVER / 2 - 2  # while the worker stood still
        assert camera["scored"] + sum(camera["drops"].values()) >= camera["last_seq"] + 1, "no frame went uncounted"


def test_nothing_ages_in_a_queue(served: Served) -> None:
    for name, rows in served.rows.items():
        numbers = [int(row["frame_seq"]) for row in rows]
        halted = served.scored_at_halt[name]
        # The halted worker may have had one frame in work, one waiting, and one on its way. A queue would now bring
        # what came next, two numbers at a time; newest wins means that what was captured meanwhile is passed over.
        assert numbers[halted + 3] - numbers[halted - 1] >= PASSED_OVER, name
        assert served.final[name]["age_p95"] > 0
