"""``eval`` from a dataset to its figures and pages, with a tiny backbone and the processes left out: frames go from the
camera that the configuration names straight into the scoring engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from evaluation_fakes import SIDE, write_clips
from tiny_extractor import tiny_extractor

from spade_core.gallery import Gallery
from spade_core.motion import MotionMeter
from spade_core.preprocess import Preprocess, scoring_image
from stream import commands
from stream.capture import RateSampler
from stream.config import Config
from stream.engine import NotScored, ScoringEngine, ToScore, parameters_of
from stream.errors import StreamError, UsageError
from stream.evaluate import run as run_module
from stream.evaluate.compare import run_compare
from stream.evaluate.options import EvalOptions
from stream.evaluate.run import run_eval
from stream.evaluate.scored import map_file
from stream.evaluate.scoring import Scoring
from stream.evaluate.table import run_table
from stream.evaluate.workspace import SceneFootage
from stream.programs import open_camera
from stream.score_maps import map_to_keep
from stream.scorelog import ScoreLog, ScoreRow
from stream.stopping import StopSignal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "no_processes")]

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "metrics.schema.json").read_text(encoding="utf-8"))
GO = StopSignal(getppid=lambda: 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), train=5, length=30)


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("stream.engine.extractor_of", lambda config: tiny_extractor(side=config.method.side))
    monkeypatch.setattr(run_module, "score_footage", score_here)
    yield
    torch.set_num_threads(1)


def score_here(
    config: Config, path: Path, footage: Sequence[SceneFootage], *, every: int, stopping: Callable[[], bool]
) -> Scoring:
    """What the reader and worker processes do, without them."""
    galleries = {scene.scene.name: config.gallery_of(scene.scene.name) for scene in footage}
    engine = ScoringEngine(tiny_extractor(side=config.method.side), parameters_of(config), galleries)
    assert engine.failures == {}
    log = ScoreLog(config.scores)
    for camera in config.cameras:
        source, meter, sampler = open_camera(camera), MotionMeter(), RateSampler(camera.fps)
        for frame in source.frames():
            meter.see(frame.image, frame.media_time, frame.segment)
            if not sampler.keep(frame.media_time):
                continue
            image = scoring_image(frame.image, Preprocess(config.method.size, config.method.crop))
            asked = ToScore(camera.id, camera.scene_name, frame.media_time, frame.segment, image, meter.measure())
            [found] = engine.score([asked])
            assert not isinstance(found, NotScored), found
            score, threshold = found.score, found.scene.calibration.threshold
            file = map_file(config.state.parent / "maps" / camera.id, frame.index)
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, map_to_keep(score.pixel_scores))
            log.add(
                camera.id,
                ScoreRow(
                    frame.media_time,
                    frame.index,
                    frame.media_time,
                    frame.segment,
                    score.score,
                    score.image_score,
                    threshold,
                    score.neighbours[0][0],
                    0.0,
                    "",
                    "",
                ),
            )
        source.close()
    log.close()
    return Scoring((), 12.5)


def options(root: Path, out: Path, **values: Any) -> EvalOptions:
    parameters = {"size": SIDE, **values.pop("parameters", {})}
    return EvalOptions("clips", root, out, parameters=parameters, **values)


def metrics(out: Path) -> dict[str, Any]:
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, SCHEMA)
    return dict(document)


# --- one run


@pytest.mark.parametrize("method", ["campus", "spade"])
def test_a_dataset_becomes_figures_curves_and_a_page(
    root: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_eval(options(root, out, method=method), stopping=GO) == 0

    found = metrics(out)
    assert (found["dataset"], found["method"], found["frames"]) == ("clips", method, 40)
    assert found["frame_score"] == {"campus": "map", "spade": "image"}[method]
    # A bright square on grey noise: mean colours cannot miss it.
    assert found["frame_auc_micro"] > 0.95
    assert found["frame_auc_micro_map"] > 0.95
    assert found["pixel_auc"] > 0.9
    assert found["pro"] > 0.5
    assert found["events"] == 2
    assert found["frames_per_second"] == 12.5
    assert found["gallery_frames"] == len(Gallery(out / "galleries" / "clips"))
    assert [row["clip"] for row in found["per_clip"]] == ["a", "b"]
    assert [row["anomalous_frames"] for row in found["per_clip"]] == [10, 10]
    assert found["incomplete"] == []
    curves = json.loads((out / "curves.json").read_text())
    assert set(curves) == {"frame_roc", "frame_roc_causal", "pixel_roc", "pro", "rbdc", "tbdc"}
    assert curves["frame_roc"]["x"][-1] == curves["frame_roc"]["y"][-1] == 1.0
    assert "40 frames: frame_auc_micro" in capsys.readouterr().out

    page = (out / "report.html").read_text(encoding="utf-8")
    for words in ("Frames: ROC", "Regions: PRO", "clips/a", "event 1", "Missed most", "Found best", "All figures"):
        assert words in page
    for kind in ("frame", "heat", "mask", "truth", "normal"):
        assert f"pictures/missed-01-{kind}" in page
        assert list((out / "pictures").glob(f"missed-01-{kind}.*"))


def test_maps_go_unless_they_are_to_be_kept(root: Path, tmp_path: Path) -> None:
    run_eval(options(root, tmp_path / "a", every=4), stopping=GO)
    assert not (tmp_path / "a" / "maps").exists()
    assert not (tmp_path / "a" / "state").exists()
    run_eval(options(root, tmp_path / "b", every=4, keep_maps=True), stopping=GO)
    assert len(list((tmp_path / "b" / "maps").rglob("*.npy"))) == 10
    assert len((tmp_path / "b" / "scores" / "clips.csv").read_text().splitlines()) == 1 + 10


def test_a_run_that_is_not_complete_leaves_its_figures_and_fails(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(config: Config, *words: Any, **values: Any) -> Scoring:
        score_here(config, *words, **values)
        [file] = config.scores.rglob("*.csv")
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:31]))
        return Scoring(("reader clips (exit code 1): its footage was not read to the end",), None)

    monkeypatch.setattr(run_module, "score_footage", half)
    with pytest.raises(StreamError, match="not read to the end; scene clips: 10 of 40") as raised:
        run_eval(options(root, tmp_path / "out"), stopping=GO)
    assert raised.value.exit_code == 1
    found = metrics(tmp_path / "out")
    assert (found["frames"], len(found["incomplete"])) == (30, 2)
    assert found["frame_auc_micro"] > 0.9
    assert "10 of 40 frame(s) were not reached" in (tmp_path / "out" / "report.html").read_text()


def test_footage_without_labels_gets_scores_but_no_figures(root: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for part in ("train", "test"):
        (bare / part).symlink_to(root / part)
    assert run_eval(options(bare, tmp_path / "out"), stopping=GO) == 0
    found = metrics(tmp_path / "out")
    for key in ("frame_auc_micro", "frame_auc_macro", "pixel_auc", "pro", "rbdc", "tbdc", "event_recall", "events"):
        assert found[key] is None, key
    assert found["frames"] == 40
    assert "Oddest" in (tmp_path / "out" / "report.html").read_text()


def test_a_folder_of_somebody_else_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="is not empty"):
        run_eval(options(root, tmp_path), stopping=GO)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_wrong_settings_leave_an_earlier_run_as_it_is(root: Path, tmp_path: Path) -> None:
    run_eval(options(root, tmp_path / "out", every=4), stopping=GO)
    with pytest.raises(StreamError, match=r"method\.kappa"):
        run_eval(options(root, tmp_path / "out", parameters={"kappa": 2}), stopping=GO)
    assert metrics(tmp_path / "out")["frames"] == 10


# --- galleries of an earlier run


@pytest.fixture
def enrolled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Scenes, in the order in which they are enrolled."""
    names: list[str] = []
    enroll = commands.enroll_camera

    def counted(config: Config, camera: Any, *words: Any, **values: Any) -> Any:
        names.append(camera.scene_name)
        return enroll(config, camera, *words, **values)

    monkeypatch.setattr("stream.evaluate.galleries.enroll_camera", counted)
    return names


def test_galleries_that_match_are_used_again(root: Path, tmp_path: Path, enrolled: list[str]) -> None:
    run_eval(options(root, tmp_path / "a"), stopping=GO)
    run_eval(options(root, tmp_path / "b", galleries=tmp_path / "a" / "galleries"), stopping=GO)
    assert enrolled == ["clips"]
    assert not (tmp_path / "b" / "galleries").exists()
    a, b = metrics(tmp_path / "a"), metrics(tmp_path / "b")
    assert a["frame_auc_micro"] == b["frame_auc_micro"]
    assert (b["gallery_frames"], b["events"]) == (a["gallery_frames"], 2)


def test_the_galleries_of_the_same_folder_survive_there(root: Path, tmp_path: Path, enrolled: list[str]) -> None:
    out = tmp_path / "out"
    run_eval(options(root, out), stopping=GO)
    run_eval(options(root, out, every=2, galleries=out / "galleries"), stopping=GO)
    assert enrolled == ["clips"]
    assert metrics(out)["frames"] == 20


@pytest.mark.parametrize("change", [{"capacity": 5}, {"false_alarms_per_day": 9.0}, {"method": "spade"}], ids=str)
def test_galleries_made_otherwise_are_not(
    root: Path, tmp_path: Path, enrolled: list[str], change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run_eval(options(root, tmp_path / "a"), stopping=GO)
    run_eval(options(root, tmp_path / "b", galleries=tmp_path / "a" / "galleries", **change), stopping=GO)
    assert enrolled == ["clips", "clips"]
    assert "was made with other" in capsys.readouterr().out


def test_other_parameters_of_spade_borrow_the_features_but_say_nothing_of_alerts(
    root: Path, tmp_path: Path, enrolled: list[str]
) -> None:
    run_eval(options(root, tmp_path / "a", method="spade"), stopping=GO)
    earlier = tmp_path / "a" / "galleries"
    before = Gallery(earlier / "clips").calibration
    run_eval(
        options(root, tmp_path / "b", method="spade", parameters={"levels": (2, 3)}, galleries=earlier), stopping=GO
    )
    assert enrolled == ["clips"]
    borrowed = Gallery(tmp_path / "b" / "galleries" / "clips")
    assert list(borrowed.verify())
    assert list(borrowed.calibration.parameters["levels"]) == [2, 3]
    assert borrowed.calibration.threshold == before.threshold
    assert Gallery(earlier / "clips").calibration == before
    found = metrics(tmp_path / "b")
    assert found["frame_auc_micro_map"] is not None
    assert (found["events"], found["false_alarms_per_day_asked"], found["per_scene"][0]["threshold"]) == (None,) * 3


# --- several runs


def test_a_table_of_the_paper_is_one_run_for_each_line(root: Path, tmp_path: Path, enrolled: list[str]) -> None:
    assert run_table(options(root, tmp_path / "t", every=4), "7", stopping=GO) == 0
    assert enrolled == ["clips"]
    runs = sorted(path.parent for path in (tmp_path / "t").glob("*/metrics.json"))
    assert len(runs) == 2
    assert {metrics(run)["settings"]["method"]["neighbours"] for run in runs} == {"nearest", "random"}
    assert "Table 7" in (tmp_path / "t" / "compare.html").read_text()


def test_a_table_of_the_paper_is_of_spade_alone(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of spade, not 'campus'"):
        run_table(options(root, tmp_path / "t", method="campus"), "6", stopping=GO)


def test_runs_of_the_same_frames_stand_side_by_side(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_eval(options(root, tmp_path / "a", every=4), stopping=GO)
    run_eval(options(root, tmp_path / "b", every=4, method="spade"), stopping=GO)
    capsys.readouterr()
    assert run_compare([tmp_path / "a", tmp_path / "b"], out=tmp_path / "c", mixed=False) == 0
    said = capsys.readouterr().out
    assert "warning" not in said
    [line] = [line for line in said.splitlines() if line.startswith("Pixel AUC")]
    a, b = (metrics(tmp_path / name)["pixel_auc"] for name in "ab")
    assert line.split() == ["Pixel", "AUC", f"{a:.3f}", f"{b:.3f}", f"({b - a:+.3f})"]
    page = (tmp_path / "c" / "compare.html").read_text(encoding="utf-8")
    assert page.count('class="line l1"') == 5  # the second run's line in every chart
    assert "Frame AUC of each clip" in page


def test_runs_of_other_frames_are_refused_unless_that_is_meant(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_eval(options(root, tmp_path / "a", every=4), stopping=GO)
    run_eval(options(root, tmp_path / "b", every=5), stopping=GO)
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(UsageError, match=r"b and a are of different frames \(8 and 10\).*--mixed"):
        run_compare(folders, out=tmp_path / "c", mixed=False)
    assert not (tmp_path / "c").exists()
    capsys.readouterr()
    assert run_compare(folders, out=tmp_path / "c", mixed=True) == 0
    assert capsys.readouterr().out.startswith("warning: b and a are of different frames")


def test_what_is_no_run_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two runs or more"):
        run_compare([tmp_path], out=None, mixed=False)
    with pytest.raises(UsageError, match="holds no finished run"):
        run_compare([tmp_path, tmp_path], out=None, mixed=False)
