"""A gallery's life on the command line: enrolled, looked at, added to, undone, pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from .helpers import assert_clean_failure, spade, versions, write_config

pytestmark = pytest.mark.slow

SIDE = (96, 128)


def picture(folder: Path, name: str, seed: int) -> Path:
    """A noisy picture with a bright patch; ``seed`` says where it is."""
    generator = np.random.default_rng(seed)
    image = generator.integers(90, 110, (*SIDE, 3), np.uint8)
    x, y = generator.integers(0, 80, 2)
    image[y : y + 16, x : x + 16] = 220
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), image)
    return folder / name


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of 160 frames from a folder of images."""
    folder = tmp_path_factory.mktemp("site")
    for number in range(200):
        picture(folder / "normal", f"{number:03d}.png", number)
    config = write_config(folder, [{"id": "yard", "source": str(folder / "normal"), "fps": None}])
    done = spade("enroll", config)
    assert done.code == 0, done.report
    return folder / "galleries" / "yard"


def listed(gallery: Path) -> list[dict[str, Any]]:
    return list(json.loads(spade("gallery", "versions", gallery, "--json").out))


def frames(gallery: Path) -> int:
    return int(json.loads(spade("gallery", "info", gallery, "--json").out)["frames"])


def test_frames_are_added_used_undone_and_pruned(yard: Path, tmp_path: Path) -> None:
    info = json.loads(spade("gallery", "info", yard, "--json").out)
    assert info["frames"] == 160
    assert info["bytes_of"]["levels"] == 160 * 2 * (24 * 32 * 32 + 40 * 16 * 16 + 112 * 8 * 8)  # 128 pixels a side
    assert info["note"]["scene"] == "yard"

    first, second = picture(tmp_path, "a.png", 1001), picture(tmp_path, "b.png", 1002)
    added = spade("gallery", "add", yard, first, second)
    assert added.code == 0, added.report
    assert "v000002, 162 frames (2 added)" in added.out
    assert f"undo: spade-stream gallery use {yard} v000001" in added.out
    assert frames(yard) == 162
    old, new = listed(yard)
    assert (old["in_force"], new["in_force"]) == (False, True)
    assert new["note"]["added"] == 2
    assert new["note"]["from"] == "v000001"
    assert new["note"]["sources"] == [str(first), str(second)]
    lines = spade("gallery", "versions", yard).out.splitlines()
    assert lines[0].startswith("  v000001")
    assert lines[1].startswith("* v000002")
    assert "2 frame(s) added to v000001" in lines[1]

    undone = spade("gallery", "use", yard, "v000001")
    assert undone.code == 0, undone.report
    assert frames(yard) == 160

    looked = spade("gallery", "prune", yard, "--keep", "1", "--dry-run")
    assert (looked.code, "1 version(s)" in looked.out, "would be freed" in looked.out) == (0, True, True), looked.report
    assert versions(yard) == ["CURRENT", "v000001", "v000002"]
    pruned = spade("gallery", "prune", yard, "--keep", "1")
    assert pruned.code == 0, pruned.report
    assert versions(yard) == ["CURRENT", "v000001"]
    assert spade("gallery", "verify", yard).code == 0


def test_what_cannot_be_done_says_why_and_changes_nothing(yard: Path, tmp_path: Path) -> None:
    before = versions(yard)
    assert_clean_failure(spade("gallery", "use", yard, "v9"), 2, "no version 'v9'", "v000001")
    assert_clean_failure(spade("gallery", "add", yard, tmp_path / "nowhere.png"), 2, "no such file")
    assert_clean_failure(spade("gallery", "add", yard, "campus:"), 2, "has no end", "--seconds")
    still = picture(tmp_path, "a.png", 1)
    assert_clean_failure(spade("gallery", "add", yard, still, "--capacity", "160"), 2, "160", "--capacity")
    assert_clean_failure(spade("gallery", "prune", tmp_path / "nowhere"), 2, "no gallery here")
    assert versions(yard) == before


def test_a_camera_is_watched_for_minutes_and_says_how_well_its_scene_is_covered(tmp_path: Path) -> None:
    """The synthetic camera is rendered as fast as it is read."""
    camera = {"id": "walkway", "source": "campus:?seed=7&fps=10&size=160x96&events=none", "fps": 2.0}
    done = spade("enroll", write_config(tmp_path, [camera]), "--minutes", "3")
    assert done.code == 0, done.report
    assert "coverage" in done.out
    note = json.loads(spade("gallery", "info", tmp_path / "galleries" / "walkway", "--json").out)["note"]
    assert [minute for minute, _ in note["coverage"]["curve"]] == [1, 2]
    assert note["made"].endswith("+00:00")
