"""``bench soak`` as a user runs it, small: two cameras, three faults, every promise kept, nothing left behind."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .helpers import Finished, spade, started

pytestmark = [pytest.mark.slow, pytest.mark.long]

LITTLE = ("--cameras", "2", "--picture", "128x72", "--size", "128", "--gallery-frames", "110", "--event-every", "15")
"""110 gallery frames are the fewest that leave enough held-out ones beside them."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """A soak that was run."""

    out: Path
    result: dict[str, Any]  # soak.json
    done: Finished


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Soaked:
    """A minute with faults that need no more than this machine."""
    out = tmp_path_factory.mktemp("soak") / "out"
    faults = ("--faults", "kill-worker,kill-reader,kill-feed", "--every", "10", "--minutes", "1")
    done = spade("bench", "soak", "--out", out, *LITTLE, *faults, bound=600)
    assert (out / "soak.json").exists(), done.report
    return Soaked(out, json.loads((out / "soak.json").read_text()), done)


def test_every_promise_is_kept(soaked: Soaked) -> None:
    broken = [check for check in soaked.result["checks"] if check["kept"] is False]
    assert broken == [], soaked.done.report
    assert soaked.done.code == 0, soaked.done.report


def test_faults_were_done_and_recovered_from(soaked: Soaked) -> None:
    faults = soaked.result["faults"]
    assert {fault["fault"] for fault in faults} <= {"kill-worker", "kill-reader", "kill-feed"}
    assert len(faults) >= 2
    assert all(fault["recovery_s"] >= 0 for fault in faults)
    assert sum(soaked.result["restarts"].values()) == len(faults)


def test_all_four_receivers_got_every_message(soaked: Soaked) -> None:
    deliveries = {delivery["name"]: delivery for delivery in soaked.result["deliveries"]}
    assert set(deliveries) == {"first", "second", "slow", "pausing"}
    assert soaked.result["messages"] > 0
    for delivery in deliveries.values():
        assert delivery["equal"]
        assert delivery["received"] == soaked.result["messages"]


def test_every_frame_is_accounted_for(soaked: Soaked) -> None:
    assert set(soaked.result["frames"]) == {"cam-01", "cam-02"}
    for frames in soaked.result["frames"].values():
        assert frames["captured"] > 0
        counted = frames["scored"] + frames["not_scored"] + sum(frames["dropped"].values())
        spans = 1 + frames["readers_lost"] + frames["workers_lost"]
        assert abs(frames["captured"] - counted) <= spans, frames


def test_figures_over_time_and_a_page_are_left(soaked: Soaked) -> None:
    with (soaked.out / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"worker", "feed", "supervisor", "reader cam-01", "sink first"} <= {row["name"] for row in rows}
    assert {"rss_mib", "own_mib", "files", "scored", "age_p95", "committed", "restarts"} <= {r["figure"] for r in rows}
    assert "kill-" in (soaked.out / "soak.html").read_text()
    assert "SIGTERM: exit 0" in soaked.done.out


def test_no_process_is_left(soaked: Soaked) -> None:
    assert processes_naming(soaked.out) == []


def test_one_that_is_stopped_reports_what_there_is(soaked: Soaked, tmp_path: Path) -> None:
    with started(tmp_path, "bench", "soak", "--out", soaked.out, *LITTLE, "--faults", "none") as soak:
        soak.until(lambda: list(soaked.out.glob("run.log")) and "are scored" in soak.out, "all cameras are scored")
        done = soak.stop()
    assert done.code == 0, done.report
    assert "ended early" in done.out
    assert processes_naming(soaked.out) == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    done = spade("bench", "soak", "--out", tmp_path)
    assert done.code == 2, done.report
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def processes_naming(folder: Path) -> list[bytes]:
    """Command lines that name the folder."""
    left = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder).encode() in words:
            left.append(words)
    return left
