"""``bench`` as a user runs it, small: what stands in the table and in the file, never how long anything took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from stream.bench.result import BENCH_SCHEMA, BenchResult

from .helpers import Finished, spade

pytestmark = pytest.mark.slow

LITTLE = ("--size", "64", "--gallery-frames", "30", "--seconds", "1", "--batch", "1,2")
WHOLES = ("backbone alone", "campus scorer", "campus scorer, every frame explained", "faithful SPADE, K = 1")
PEERS = ("peer: SPADE by differences", "peer: SPADE by cdist")


@dataclass(frozen=True, slots=True)
class Benched:
    """A benchmark that was run."""

    out: Path
    file: Path
    result: BenchResult
    done: Finished


def bench(folder: Path, *words: str) -> Benched:
    out, file = folder / "out", folder / "stages.json"
    done = spade("bench", *words, "--out", out, "--json", file, *LITTLE)
    assert done.code == 0, done.report
    return Benched(out, file, BenchResult.read(file), done)


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> Benched:
    """Without an action, in a folder whose name is too long for a socket."""
    return bench(tmp_path_factory.mktemp("a-folder-with-a-name-" + 40 * "x"))


def test_every_stage_is_in_the_file(benched: Benched) -> None:
    assert json.loads(benched.file.read_text(encoding="utf-8"))["schema"] == BENCH_SCHEMA
    rows = {row.name: row for row in benched.result.rows}
    for name in (*WHOLES, *PEERS):
        assert (rows[name].figures["median_ms"] or 0) > 0
    for stage, count in (("reader: ", 5), ("worker: ", 4), ("alert: ", 5)):
        assert sum(name.startswith(stage) for name in rows) == count
    assert all(row.ratio for row in rows.values() if row.base)
    assert rows["campus scorer / backbone alone"].figures["at_most"] == 1.3
    patchcore = rows["peer: anomalib PatchCore"]
    assert patchcore.figures["median_ms"] or "pip install anomalib" in patchcore.note


def test_the_table_says_it_too(benched: Benched) -> None:
    for name in (*WHOLES, *PEERS):
        assert f"\n{name}  " in f"\n{benched.done.out}"
    assert "size 64" in benched.done.out
    assert "measuring" in benched.done.err
    assert "Traceback" not in benched.done.err


def test_a_result_compares_with_itself(benched: Benched) -> None:
    done = spade("bench", "compare", benched.file, benched.file)
    assert done.code == 0, done.report
    assert " differ, so" not in done.out


def test_footage_and_gallery_are_kept_where_the_user_says(benched: Benched) -> None:
    assert {"normal.mp4", "test.mp4", "gallery"} <= {path.name for path in benched.out.iterdir()}
    info = spade("gallery", "info", benched.out / "gallery", "--json")
    assert info.code == 0, info.report
    assert json.loads(info.out)["frames"] == 30


def test_an_unknown_backbone_is_refused_by_name() -> None:
    done = spade("bench", "stages", "--backbone", "vgg99")
    assert done.code == 2, done.report
    assert "vgg99" in done.err


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_on_a_gpu_it_names_the_gpu(tmp_path: Path) -> None:
    result = bench(tmp_path, "stages", "--device", "cuda").result
    assert result.machine["gpu"]
    assert result.options["ran_in"].startswith("torch")
