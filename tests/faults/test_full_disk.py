"""The disk that holds alerts, pictures, scores and the status runs full, and is freed again: with the real files."""

from __future__ import annotations

import pytest
from small_disk import SmallDisk
from worker_bench import HIGH, LOW, Bench, FakeLink, Ticking, a_frame, joined

from stream.health import read_status
from stream.messages import Mode, Phase

pytestmark = pytest.mark.slow


@pytest.mark.fault("disk full (small tmpfs)", "DEGRADED is told all the same; alerts wait; recovery without a restart")
def test_on_a_full_disk_the_worker_goes_on_says_so_and_recovers(small_disk: SmallDisk) -> None:
    bench, clock = Bench(small_disk.path / "state"), Ticking()
    rounds = [joined(mode=Mode.LIVE), *([a_frame(seq, HIGH if 3 <= seq < 6 else LOW)] for seq in range(30))]
    link, states, played = FakeLink([*rounds, *[[]] * 10], bench.log), list[str](), len(rounds) + 10

    def stopping() -> bool:
        clock.tick()
        done = played - len(link.rounds)
        if done == 3:
            small_disk.fill()
        if done == 20:
            small_disk.free()
        states.append(read_status(bench.status_file, now=clock.mono)["worker"]["state"])
        return link.empty

    bench.worker(link, stopping, clock=clock).run()

    assert "DEGRADED" in states
    assert states[-1] == "RUNNING", "it has recovered"
    assert bench.phases == [Phase.START, Phase.END]
    assert bench.camera()["scored"] == 30
    status = bench.status["worker"]
    assert status["lost_messages"] == {}
    rows = bench.rows()  # every line is whole; those that had no room are counted
    assert len(rows) + status["lost_score_rows"] == 30
    bench.outbox.close()
