"""``eval --cluster`` with everything but the cluster: what one machine gives, cut into scenes and put together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from evaluation_fakes import SIDE
from nearly import nearly
from task_fakes import GO, InProcess
from test_evaluate_run import score_here
from tiny_extractor import tiny_extractor

from spade_core.gallery import Gallery
from spade_core.gallery_layout import CALIBRATION
from stream import commands
from stream.cluster.eval_tasks import scoring_on
from stream.cluster.tasks import Runner
from stream.errors import StreamError, UsageError
from stream.evaluate import part as part_module
from stream.evaluate import run as run_module
from stream.evaluate.options import EvalOptions
from stream.evaluate.run import Score, run_eval, score_all
from stream.evaluate.scoring import Scoring
from stream.stopping import StopSignal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "no_processes")]

TIMES = ("started_at", "seconds", "frames_per_second")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of grey noise, each of its own grey; in the second half of each test clip a bright square moves."""
    root, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(3)

    def write(path: Path, grey: int, spot: int | None = None) -> None:
        image = random.normal(grey, 4, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
        if spot is not None:
            image[20:36, spot : spot + 16] = 250
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)

    for scene, grey in (("01", 60), ("02", 120)):
        for clip in range(5):
            for index in range(30):
                write(root / "training" / "frames" / f"{scene}_{clip:03d}" / f"{index:03d}.png", grey)
        masks = np.zeros((20, SIDE, SIDE), np.uint8)
        for index in range(20):
            spot = 2 * index if index >= 10 else None
            write(root / "testing" / "frames" / f"{scene}_0001" / f"{index:03d}.jpg", grey, spot)
            if spot is not None:
                masks[index, 20:36, spot : spot + 16] = 1
        for kind, labels in (("pixel", masks), ("frame", masks.any(axis=(1, 2)).astype(np.int8))):
            (root / "testing" / f"test_{kind}_mask").mkdir(exist_ok=True)
            np.save(root / "testing" / f"test_{kind}_mask" / f"{scene}_0001.npy", labels)
    return root


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def score(*words: Any, progress: str = "bar", **values: Any) -> Scoring:
        return score_here(*words, **values)

    monkeypatch.setattr("stream.engine.extractor_of", lambda config: tiny_extractor(side=config.method.side))
    monkeypatch.setattr(run_module, "score_footage", score)
    monkeypatch.setattr(part_module, "score_footage", score)
    yield
    torch.set_num_threads(1)


def options(root: Path, out: Path, **values: Any) -> EvalOptions:
    return EvalOptions("shanghaitech", root, out, parameters={"size": SIDE}, **values)


def on(runner: Runner) -> Score:
    def make(stop: StopSignal, device: str) -> AbstractContextManager[Runner]:
        return nullcontext(runner)

    return scoring_on("auto", cpus=None, runner=make)


def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return {name: value for name, value in found.items() if name not in TIMES}


def checksums(gallery: Path) -> dict[str, str]:
    """Of everything in it but the thresholds, which are compared as numbers."""
    files = Gallery(gallery).manifest["files"]
    return {name: entry["sha256"] for name, entry in files.items() if name != CALIBRATION}


def calibration(gallery: Path) -> Any:
    return json.loads((gallery / Gallery(gallery).version / CALIBRATION).read_bytes())


def table(path: Path) -> list[list[float]]:
    """What numbers stand in a table, row by row."""
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return [[float(cell) for cell in row if re.fullmatch(r"[-+.e0-9]+", cell)] for row in rows]


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if "galleries" not in path.parts)


@pytest.mark.parametrize("method", ["campus", "spade"])
def test_scenes_scored_apart_give_the_figures_of_one_run(root: Path, tmp_path: Path, method: str) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    run_eval(options(root, alone, method=method), stopping=GO)
    runner = InProcess(tmp_path / "node")

    assert run_eval(options(root, spread, method=method), stopping=GO, score=on(runner)) == 0

    assert nearly(metrics(spread), metrics(alone))
    assert metrics(spread)["frames"] == 40
    assert files(spread) == files(alone)
    assert nearly(*(json.loads((out / "curves.json").read_text()) for out in (spread, alone)))
    for name in ("scores/01.csv", "scores/02.csv"):
        assert nearly(table(spread / name), table(alone / name))
    for scene in ("01", "02"):
        assert checksums(spread / "galleries" / scene) == checksums(alone / "galleries" / scene)
        assert nearly(calibration(spread / "galleries" / scene), calibration(alone / "galleries" / scene))
        assert "threshold" in runner.told[scene]


def test_galleries_of_an_earlier_run_are_used_on_nodes_too(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    run_eval(options(root, alone), stopping=GO)
    monkeypatch.setattr(commands, "enroll_camera", None)  # nobody is to call it

    run_eval(options(root, spread, galleries=alone / "galleries"), stopping=GO, score=on(InProcess(tmp_path / "node")))

    assert nearly(metrics(spread), metrics(alone))
    assert not (spread / "galleries").exists()


def test_galleries_made_on_nodes_serve_a_later_run_of_one_machine(root: Path, tmp_path: Path) -> None:
    spread, alone = tmp_path / "spread", tmp_path / "alone"
    run_eval(options(root, spread), stopping=GO, score=on(InProcess(tmp_path / "node")))

    run_eval(options(root, alone, galleries=spread / "galleries"), stopping=GO)

    assert nearly(metrics(spread), metrics(alone))
    assert not (alone / "galleries").exists()


def test_a_scene_whose_node_is_lost_is_named_and_the_others_have_their_figures(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StreamError, match="scene 02: its node died; scene 02: 20 of 20 frame") as raised:
        run_eval(options(root, out), stopping=GO, score=on(InProcess(tmp_path / "node", lost=["02"])))

    assert raised.value.exit_code == 1
    assert metrics(out)["frames"] == 20
    assert metrics(out)["frame_auc_micro"] > 0.9
    assert not (out / "parts").exists()


def test_where_no_scene_came_through_there_are_no_figures(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StreamError, match="scene 01: its node died; scene 02: its node died"):
        run_eval(options(root, out), stopping=GO, score=on(InProcess(tmp_path / "node", lost=["01", "02"])))

    assert not (out / "metrics.json").exists()


def test_what_a_scene_could_not_score_is_said_of_the_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*words: Any, progress: str, **values: Any) -> Scoring:
        return Scoring(("reader: its footage was not read to the end",), score_here(*words, **values).frames_per_second)

    monkeypatch.setattr(part_module, "score_footage", broken)
    with pytest.raises(StreamError, match="not read to the end"):
        run_eval(options(root, tmp_path / "out", scenes=("01",)), stopping=GO, score=on(InProcess(tmp_path / "node")))


@pytest.mark.parametrize("words", [("--task-cpus", "2"), ("--cluster", "auto", "--method", "anomalib:patchcore")])
def test_what_makes_no_sense_is_refused(root: Path, tmp_path: Path, words: Sequence[str]) -> None:
    from stream import cli

    given = ("eval", "--dataset", "shanghaitech", "--root", str(root), "--out", str(tmp_path / "out"), *words)
    with pytest.raises(UsageError, match="--cluster"):
        commands.evaluate(cli._parser().parse_args(given), GO)


def test_one_machine_needs_nothing_of_it() -> None:
    assert (run_eval.__kwdefaults__ or {})["score"] is score_all
