"""An outbox whose writer is killed, at every step of a commit and of a removal: what is there is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.messages import Alert, Evidence, Phase
from stream.outbox import Outbox
from stream.retention import STRAY_AFTER, Limits, Retention

PICTURES = Evidence(b"p" * 5000, b"j" * 7000, b"c" * 9000)

# Every call that changes something on the disk is a step. The child kills itself before or after the n-th one that it
# makes once it was told to count, or says how many there were.
CHILD = """
import os, signal, sqlite3, sys
from pathlib import Path

path, evidence, task, when, last = sys.argv[1:]
counting, steps = False, 0

def step(call):
    def counted(*args, **kwargs):
        global steps
        if not counting:
            return call(*args, **kwargs)
        steps += 1
        if (when, int(last)) == ("before", steps):
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*args, **kwargs)
        if (when, int(last)) == ("after", steps):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return counted

for name in ("fsync", "replace", "mkdir", "unlink", "open"):
    setattr(os, name, step(getattr(os, name)))

class Connection(sqlite3.Connection):
    def execute(self, *args):
        return step(super().execute)(*args)

connect = sqlite3.connect
sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs)

from stream.messages import Alert, Evidence, Phase
from stream.outbox import Outbox

def alert(n):
    return Alert(0, f"a{n}", Phase.START, f"camera{n}", "yard", 0.0, 0.0, n, 2.0, 1.0, (), ())

pictures = Evidence(b"p" * 5000, b"j" * 7000, b"c" * 9000)
box = Outbox(Path(path), Path(evidence))
box.commit(alert(1), pictures)
box.commit(alert(2), pictures)
counting = True
box.commit(alert(3), pictures) if task == "commit" else box.remove_through(1)
print(steps)
"""
MOST = {"commit": 40, "remove": 12}  # more steps than there are


def an_alert(n: int) -> Alert:
    return Alert(0, f"a{n}", Phase.START, f"camera{n}", "yard", 0.0, 0.0, n, 2.0, 1.0, (), ())


def run_child(folder: Path, task: str, when: str, last: int) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    words = [sys.executable, "-c", CHILD, str(folder / "outbox.db"), str(folder / "evidence"), task, when, str(last)]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def steps_of(folder: Path, task: str) -> int:
    """How many steps the task has; it is run to its end in ``folder``."""
    done = run_child(folder, task, "never", 0)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def check_whole(box: Outbox) -> list[int]:
    """The numbers that are kept, each alert with all its pictures as they were, and nothing missing in between."""
    alerts = box.read_after(0, limit=99)
    for alert in alerts:
        found = box.evidence_of(alert)
        assert (found.mask_png, found.snapshot_jpeg, found.clip_mp4) == (
            PICTURES.mask_png,
            PICTURES.snapshot_jpeg,
            PICTURES.clip_mp4,
        )
    numbers = [alert.seq for alert in alerts]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return numbers


def files_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.fault(
    "kill -9 of the worker at any step of a commit", "no row without its pictures, no hole; committing again repeats"
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_killed_at_any_step_of_a_commit_leaves_a_whole_outbox(tmp_path: Path, when: str) -> None:
    steps = steps_of(tmp_path / "whole", "commit")
    assert 15 < steps < MOST["commit"]
    outcomes = set()
    for last in range(1, steps + 1):
        folder = tmp_path / str(last)
        done = run_child(folder, "commit", when, last)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with Outbox(folder / "outbox.db", folder / "evidence") as box:
            numbers = check_whole(box)
            assert numbers in ([1, 2], [1, 2, 3])
            outcomes.add(len(numbers))
            again = box.commit(an_alert(3), PICTURES)  # as the next worker does, from the same frame
            assert again.seq == 3
            assert box.commit(an_alert(4), PICTURES).seq == 4
            assert check_whole(box) == [1, 2, 3, 4]
            parts = {name for name in files_under(box.evidence) if name.endswith(".part")}
            assert len(files_under(box.evidence) - parts) == 12
    assert outcomes == ({2} if when == "before" else {2, 3})


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_removal_killed_at_any_step_leaves_a_picture_too_many_and_never_one_too_few(
    tmp_path: Path, when: str
) -> None:
    steps = steps_of(tmp_path / "whole", "remove")
    assert 5 < steps < MOST["remove"]
    for last in range(1, steps + 1):
        folder = tmp_path / str(last)
        done = run_child(folder, "remove", when, last)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with Outbox(folder / "outbox.db", folder / "evidence") as box:
            numbers = check_whole(box)
            assert numbers in ([1, 2], [2])
            sweep(box, folder)
            assert check_whole(box) == numbers
            assert len(files_under(box.evidence)) == 3 * len(numbers)


def sweep(box: Outbox, folder: Path) -> None:
    """What retention does two hours later."""
    for file in box.evidence.rglob("*"):
        os.utime(file, (1000.0, 1000.0))
    no_limits = Limits(days=None, bytes=None, keep_unacknowledged=True, score_days=None)
    Retention(box, no_limits, scores=folder / "scores", wall=lambda: 1000.0 + 2 * STRAY_AFTER).apply()
