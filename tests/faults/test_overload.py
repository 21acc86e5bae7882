"""Ten times more frames than can be scored: what gives way is counted to the frame, and nothing grows or ages."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pipeline_fakes import GreySource, short_folder
from scoring_fakes import FakeEngine
from worker_bench import Bench

from spade_core.preprocess import Preprocess
from stream.endpoints import parse_endpoint
from stream.link import LinkServer
from stream.lookout import Watching
from stream.messages import Mode
from stream.reader import Reader, ReaderSettings

pytestmark = pytest.mark.slow

COST = 0.05  # s that scoring a frame takes
OVERLOAD = 10  # times as many frames come
MEMORY = 64 << 20  # bytes that this process may grow by: a few dozen frames are one
AGE = 2.0  # s: far more than the one frame in work and the one that waits, far less than a queue of 10x for 6 s


class SlowEngine(FakeEngine):
    """Takes its time."""

    def score(self, frames: Sequence[Any]) -> list[Any]:
        time.sleep(COST * len(frames))
        return super().score(frames)


def memory() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.fault("10x overload", "newest wins; captured = scored + dropped to the frame; age and memory bounded")
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.long)])
def test_what_cannot_be_scored_is_dropped_and_counted_and_nothing_ages(tmp_path: Path, seconds: int) -> None:
    bench, stop = Bench(tmp_path), threading.Event()
    bench.engine = SlowEngine(lambda scene, image: 1.0)
    count = round(seconds * OVERLOAD / COST)
    begun = memory()
    with short_folder() as folder:
        endpoint = parse_endpoint(f"ipc://{folder}/link")
        settings = ReaderSettings(
            camera="gate",
            mode=Mode.LIVE,
            fps=None,
            recorded_at=0.0,
            endless=False,
            preprocess=Preprocess(32),
            watching=Watching(frozen_after=None, obscured_after=None),  # plain grey pictures show nothing
        )

        def source() -> GreySource:
            return GreySource(count, fps=OVERLOAD / COST, live=True, gate=lambda index: time.sleep(COST / OVERLOAD))

        reader = Reader(settings, endpoint=endpoint, open_source=source, stopping=lambda: False)
        with LinkServer(endpoint, cameras=["gate", "back"]) as link:
            worker = bench.worker(link, stop.is_set)
            thread = threading.Thread(target=worker.run, daemon=True)
            thread.start()
            reader.run()
            stop.set()
            thread.join(30)
    grown = memory() - begun
    camera, rows = bench.camera(), bench.rows()
    dropped = sum(camera["drops"].values())
    assert camera["state"] == "ENDED"
    assert (camera["scored"], camera["not_scored"]) == (len(rows), 0)
    assert camera["scored"] + dropped == count
    assert dropped > count // 2, "there was no overload"
    assert set(camera["drops"]) == {"reader.overwritten"}
    assert max(row.age for row in rows if row.age is not None) < AGE
    assert grown < MEMORY
    bench.outbox.close()
