"""``spade-stream eval`` as a user runs it: on footage of the project's own making, and on real recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from stream.campus import CampusScene
from stream.campus.script import EventKind, Script, ScriptedEvent, normal_script

from .helpers import assert_clean_failure, json_lines, score_rows, spade

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WIDTH, HEIGHT, FPS = 320, 180, 10
NORMAL, LATE, TEST = 300, 230, 120  # frames of the training clips, where the second one begins, of the test clip
EVENT = (4.0, 10.0)  # s of the test clip
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "metrics.schema.json").read_text(encoding="utf-8"))


def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, SCHEMA)
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walkway in the ``clips`` layout: half a minute of walkers in two clips, then a cart among them."""
    root = tmp_path_factory.mktemp("walkway")
    normal = CampusScene(seed=7, script=normal_script(None, 8), width=WIDTH, height=HEIGHT, fps=FPS)
    for index in range(NORMAL):
        write(root / "train" / ("early" if index < LATE else "late") / f"{index:04d}.jpg", normal.render(index)[0])
    event = ScriptedEvent(EventKind.CART, *EVENT)
    odd = CampusScene(seed=7, script=Script(TEST / FPS, 9, (event,)), width=WIDTH, height=HEIGHT, fps=FPS)
    for index in range(TEST):
        image, mask = odd.render(index)
        write(root / "test" / "cart" / f"{index:04d}.jpg", image)
        write(root / "masks" / "cart" / f"{index:04d}.png", mask)
    return root


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture(scope="module")
def evaluated(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "out"
    done = spade("eval", "--dataset", "clips", "--root", root, "--out", out, "--size", "128", bound=600)
    assert done.code == 0, done.report
    assert f"{TEST} frames: frame_auc_micro" in done.out
    return out


def test_figures_come_from_every_frame_of_the_live_pipeline(evaluated: Path) -> None:
    found = metrics(evaluated)
    assert (found["dataset"], found["method"], found["frames"]) == ("clips", "campus", TEST)
    assert found["incomplete"] == []
    assert found["events"] == 1
    assert found["frames_per_second"] > 0
    assert found["frame_auc_micro"] > 0.8
    assert found["pixel_auc"] > 0.8
    for key in ("pro", "rbdc", "tbdc", "event_recall", "false_alerts_per_hour"):
        assert found[key] is not None, key
    [scores] = (evaluated / "scores").iterdir()
    assert [int(row["frame_seq"]) for row in score_rows(scores)] == list(range(TEST))
    messages = json_lines((evaluated / "alerts.jsonl").read_text())
    assert len({message["alert_id"] for message in messages}) == found["alerts"]


def test_the_report_links_pictures_that_are_there(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    pictures = {name.partition('"')[0] for name in page.split('src="')[1:]}
    assert len(pictures) > 10
    assert [name for name in pictures if not (evaluated / name).is_file()] == []


def test_what_was_only_needed_on_the_way_is_gone(evaluated: Path) -> None:
    assert not (evaluated / "maps").exists()
    assert not (evaluated / "state").exists()


def test_its_galleries_serve_another_run_and_both_stand_side_by_side(
    root: Path, evaluated: Path, tmp_path: Path
) -> None:
    words = ("--dataset", "clips", "--root", root, "--size", "128", "--galleries", evaluated / "galleries")
    done = spade("eval", *words, "--out", tmp_path / "again", bound=600)
    assert done.code == 0, done.report
    assert "enroll" not in done.err
    assert metrics(tmp_path / "again")["frame_auc_micro"] == metrics(evaluated)["frame_auc_micro"]
    done = spade("eval", "--compare", evaluated, tmp_path / "again", "--out", tmp_path / "both")
    assert done.code == 0, done.report
    assert "Pixel AUC" in done.out
    assert (tmp_path / "both" / "compare.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dataset", "clips"), "eval needs --root, --out"),
        (("--dataset", "ped3", "--root", ".", "--out", "out"), "ped2"),
        (("--dataset", "avenue", "--root", "ROOT", "--out", "out"), "looked for"),
        (("--dataset", "clips", "--root", "ROOT", "--out", "out", "--scenes", "attic"), "attic"),
        (("--dataset", "clips", "--root", "ROOT", "--out", "out", "--kappa", "3"), "method.kappa"),
        (("--compare", "ROOT"), "two runs or more"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
def test_what_cannot_be_evaluated_is_refused_in_words(
    root: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    given = [{"ROOT": str(root), "out": str(tmp_path / "out")}.get(word, word) for word in words]
    assert_clean_failure(spade("eval", *given), 2, said)
    assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_real_footage_has_figures_far_above_chance(data: Path, tmp_path: Path) -> None:
    if not (data / "ped2").is_dir():
        pytest.skip(f"{data / 'ped2'} is not there")
    root = tmp_path / "ped2"
    for folder, clips in (("train", ("01", "02", "03")), ("test", ("04",)), ("masks", ("04",))):
        (root / folder).mkdir(parents=True)
        for clip in clips:
            (root / folder / clip).symlink_to(data / "ped2" / folder / clip)
    out = tmp_path / "out"
    words = ("--dataset", "ped2", "--root", root, "--out", out, "--every", "5", "--capacity", "200")
    done = spade("eval", *words, bound=800)
    assert done.code == 0, done.report
    found = metrics(out)
    assert (found["frames"], found["gallery_frames"]) == (36, 200)
    assert found["frame_auc_micro"] > 0.75  # a cart, from the sixth of 36 frames on
    assert found["pixel_auc"] > 0.9
