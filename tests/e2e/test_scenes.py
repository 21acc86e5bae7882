"""A camera with several scenes in a real run: by the clock and by the picture, in the status, changed by a reload."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .helpers import free_port, spade, started, status, write_config

pytestmark = pytest.mark.slow

YARD = "campus:?seed=3&size=320x180&fps=10"  # without an end; what the gallery of the session knows
SQUARE = "campus:?seed=11&size=320x180&fps=10"  # another place


def window(*, now: bool) -> str:
    """Hours, by UTC, in which this moment lies, or does not; no end of theirs is near."""
    middle = datetime.now(UTC) + timedelta(hours=0 if now else 12)
    return f"{middle - timedelta(hours=2):%H:%M}-{middle + timedelta(hours=2):%H:%M}"


def by_clock(*, yard_now: bool) -> dict[str, Any]:
    scenes = [{"scene": "yard", "hours": window(now=yard_now)}, {"scene": "square"}]
    return {"id": "clock", "source": YARD, "fps": 5, "scenes": scenes, "timezone": "UTC"}


def by_picture(*scenes: str) -> dict[str, Any]:
    return {"id": "picture", "source": YARD, "fps": 5, "scenes": [{"scene": scene} for scene in scenes]}


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of another place."""
    folder = tmp_path_factory.mktemp("square")
    camera = {"id": "square", "source": f"{SQUARE}&duration=24", "fps": 5}
    done = spade("enroll", write_config(folder, [camera], gallery={"folder": "galleries", "holdout": 0.4}))
    assert done.code == 0, done.report
    return folder / "galleries" / "square"


def test_the_scene_in_force_is_chosen_told_and_changed_by_a_reload(tmp_path: Path, gallery: Path, square: Path) -> None:
    feed = f"tcp://127.0.0.1:{free_port()}"
    galleries = {"yard": {"gallery": str(gallery)}, "square": {"gallery": str(square)}}

    def write(*cameras: dict[str, Any]) -> Path:
        return write_config(tmp_path, cameras, scenes=galleries, feed={"endpoint": feed})

    def shown(scenes: dict[str, str]) -> dict[str, Any]:
        """The status of the cameras, once these scenes are in force."""
        cameras = dict((status(feed) or {}).get("cameras", {}))
        return cameras if {name: camera["scene"] for name, camera in cameras.items()} == scenes else {}

    path = write(by_clock(yard_now=True), by_picture("square", "yard"))
    with started(tmp_path, "run", path) as run:
        # By the picture it is the yard, though the square comes first.
        cameras = run.until(lambda: shown({"clock": "yard", "picture": "yard"}), "both scenes are chosen")
        assert cameras["picture"]["scenes"] == ["square", "yard"]
        assert "by the picture, the first that was seen" in str(
            run.until(lambda: scored(feed, "picture"), "the camera is scored")["reason"]
        )
        assert run.until(lambda: scored(feed, "clock"), "the other one is scored")["not_scored"] == 0

        write(by_clock(yard_now=False), by_picture("square", "yard"))
        run.process.send_signal(signal.SIGHUP)
        cameras = run.until(lambda: shown({"clock": "square", "picture": "yard"}), "the hours are others")
        assert "by schedule" in cameras["clock"]["reason"]


def scored(feed: str, name: str) -> dict[str, Any]:
    """A camera's status, once it is watched."""
    camera = dict((status(feed) or {}).get("cameras", {})).get(name, {})
    return camera if camera.get("state") == "LIVE" and camera["scored"] else {}
