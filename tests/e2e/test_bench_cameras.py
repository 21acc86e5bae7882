"""``bench cameras`` as a user runs it, small: every frame is accounted for, and nothing is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from stream.bench.result import BenchResult

from .helpers import Finished, spade, started

pytestmark = pytest.mark.slow

LITTLE = ("--picture", "128x72", "--size", "128", "--gallery-frames", "110", "--seconds", "4")
"""110 gallery frames are the fewest that leave enough held-out ones beside them."""


@dataclass(frozen=True, slots=True)
class Benched:
    """A benchmark that was run."""

    out: Path
    file: Path
    result: BenchResult
    done: Finished


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> Benched:
    """Two cameras."""
    folder = tmp_path_factory.mktemp("bench")
    out, file = folder / "out", folder / "two.json"
    done = spade("bench", "cameras", "--cameras", "2", "--out", out, "--json", file, *LITTLE)
    assert done.code == 0, done.report
    return Benched(out, file, BenchResult.read(file), done)


def test_every_frame_is_accounted_for(benched: Benched) -> None:
    rows = {row.name: row.figures for row in benched.result.rows}
    total, each = rows["2 cameras"], [rows[f"2 cameras, cam-0{number}"] for number in (1, 2)]
    for camera in each:
        assert camera["captured"] > 0
        assert camera["captured"] == camera["scored"] + camera["dropped"]
        assert (camera["passed_over"], camera["unaccounted"]) == (0, 0)
    for name in ("captured", "scored", "dropped"):
        assert total[name] == sum(camera[name] for camera in each)


def test_latency_and_processes_are_measured(benched: Benched) -> None:
    rows = {row.name: row.figures for row in benched.result.rows}
    assert 0 < rows["2 cameras"]["p50_ms"] <= rows["2 cameras"]["p95_ms"] <= rows["2 cameras"]["p99_ms"]
    for kind, count in (("worker", 1), ("readers", 2), ("feed", 1)):
        figures = rows[f"2 cameras, {kind}"]
        assert figures["processes"] == count
        assert 0 < figures["pss_end_mib"] <= figures["rss_mib"]
        assert figures["files_end"] > 0
        assert figures["pss_mib_per_hour"] is None, "of seconds it would say nothing"


def test_the_table_says_it_too(benched: Benched) -> None:
    assert "2 cameras, cam-02" in benched.done.out
    assert benched.result.options["picture"] == "128x72"
    assert "picture 128x72" in benched.done.out
    assert "Traceback" not in benched.done.err


def test_a_result_compares_with_itself(benched: Benched) -> None:
    done = spade("bench", "compare", benched.file, benched.file)
    assert done.code == 0, done.report
    assert "differ" not in done.out
    assert [line.split()[-1] for line in done.out.splitlines() if "pss_end_mib" in line] == ["1", "1", "1"]


def test_no_process_is_left(benched: Benched) -> None:
    left = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(benched.out).encode() in words:
            left.append(words)
    assert left == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    done = spade("bench", "cameras", "--out", tmp_path)
    assert done.code == 2, done.report
    assert "name another folder" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_one_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with started(tmp_path, "bench", "cameras", *LITTLE) as bench:
        bench.until(lambda: list(temporary.glob("spade-bench-*/clips/.*.part")), "a clip is being rendered")
        done = bench.stop()
    assert done.code == 1, done.report
    assert "stopped" in done.err
    assert list(temporary.iterdir()) == []
