"""Stands in for ``spade-stream`` where the console starts a job: tells progress, and makes or chooses a small gallery.

Arguments as the console gives them: ``gallery normal CONFIG ALERT [--region N] [--dry-run] [--real ALERT] ...``,
``gallery use FOLDER VERSION ...``, ``enroll CONFIG --camera ID ...``.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
SILENCED = [
    {"alert_id": "walkway-2", "before": 1.4, "after": 0.62},
    {"alert_id": "walkway-3", "before": 1.2, "after": 0.9},
]
KEPT = [{"alert_id": "walkway-4", "before": 2.5, "after": 2.4}]


def say(**line: Any) -> None:
    """One JSON line."""
    print(json.dumps(line), flush=True)


def progress(done: int, total: int, **further: Any) -> None:
    """How far it is."""
    say(progress={"stage": "frames", "done": done, "total": total, "text": f"frame {done} of {total}", **further})


def normal(words: list[str]) -> None:
    """A new version with one frame more; nothing on a dry run."""
    galleries = Path(words[2]).parent / "galleries"
    scene = words[3].rpartition("-")[0]
    for done in range(3):
        progress(done, 3)
    named = [word for before, word in itertools.pairwise(words) if before == "--real"]
    version = None if "--dry-run" in words else next_version(galleries / scene)
    say(
        result={
            "scene": scene,
            "from": "v000001",
            "version": version,
            "rescored": 3,
            "not_rescored": 1,
            "silenced": [{**one, "real": True} if one["alert_id"] in named else one for one in SILENCED],
            "kept": KEPT,
        }
    )


def next_version(folder: Path) -> str:
    """Publishes four frames again, with a fifth."""
    sys.path[:0] = [str(TESTS.parent), str(TESTS / "spade_core")]  # pytest's settings are not here
    from gallery_files import build

    return str(build(folder, range(5)).version)


def enroll(words: list[str]) -> None:
    """Its coverage grows until the file ``enrolled`` beside the configuration lets it end."""
    go_on = Path(words[1]).parent / "enrolled"
    for done in range(600):
        progress(done, 600, coverage={"value": min(0.97, done / 10)})
        if go_on.exists():
            break
        time.sleep(0.1)
    say(result={"scene": "walkway", "version": "v000002", "frames": 40})


def main(words: list[str]) -> None:
    """Does what it is told."""
    if words[0] == "enroll":
        enroll(words)
    elif words[1] == "use":
        (Path(words[2]) / "CURRENT").write_text(f"{words[3]}\n", encoding="utf-8")
        say(result={"version": words[3]})
    else:
        normal(words)


main(sys.argv[1:])
