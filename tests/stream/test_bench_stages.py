"""``bench stages`` with a network that needs no weights and small pictures: every row is there, beside the one that it
names. What things take is never asserted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_extractor import tiny_extractor

from spade_core.extractor import FeatureExtractor
from stream.bench import material, stages, wholes
from stream.bench.arguments import with_action
from stream.bench.material import Material, Playing, ScoringOptions, make_material
from stream.bench.result import BenchResult, Row
from stream.bench.stages import StageOptions, comparisons_of, rows_of, run_stages, sums_of, synchronizer
from stream.bench.timed import Task, nothing
from stream.cli import main
from stream.config import Config
from stream.engine import Scored
from stream.errors import StreamError, UsageError

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64
FRAMES, ENROLLED = 60, 40
SCORING = ScoringOptions("efficientnet_lite0", None, SIDE, "cpu", "torch", None, FRAMES)
READER = {f"reader: {name}" for name in ("decode", "motion", "scoring image", "JPEG view", "wire encode")}
WORKER = {f"worker: {name}" for name in ("wire decode", "extract (trunk)", "bank search", "memory, fusion, smoothing")}
ALERT = {
    f"alert: {name}"
    for name in ("pooled features (head)", "retrieval (eq. 2)", "detail map", "regions, evidence", "outbox commit")
}


def tiny_one(config: Config, *, at_once: int = 1) -> FeatureExtractor:
    return tiny_extractor(side=config.method.size)


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """A tiny network, tiny pictures, little footage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "extractor_of", tiny_one)
        patch.setattr(wholes, "extractor_of", tiny_one)
        patch.setattr(material, "PICTURE", (128, 72))
        patch.setattr(material, "NORMAL_SECONDS", 16.0)
        yield


@pytest.fixture(scope="module")
def made(small: None, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("material"), SCORING, stopping=lambda: False, normal_seconds=16.0)


@pytest.fixture(scope="module")
def result(small: None, tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    out = tmp_path_factory.mktemp("bench") / "out"
    return run_stages(StageOptions(SCORING, (1, 2), 0.5, out), stopping=lambda: False)


def rows(result: BenchResult) -> dict[str, Row]:
    found = {row.name: row for row in result.rows}
    assert len(found) == len(result.rows), "names are told apart"
    return found


# -- what is scored ----------------------------------------------------------------------------------------------------


def test_frames_to_score_come_with_their_motion(made: Material) -> None:
    assert len(made.samples) > 40
    assert all(sample.motion is not None and np.isfinite(sample.motion).all() for sample in made.samples)
    assert max(sample.motion.max() for sample in made.samples if sample.motion is not None) > 0.5, "somebody walks"


def test_the_gallery_is_filled_up_with_frames_like_those_enrolled(made: Material) -> None:
    gallery = made.gallery
    assert (len(gallery), made.enrolled) == (FRAMES, ENROLLED)
    assert [gallery.frames[index].source for index in (ENROLLED - 1, ENROLLED)] == ["normal.mp4", "filled up"]
    for added, like in zip(gallery.pyramid(ENROLLED + 3), gallery.pyramid(3), strict=True):
        difference = added.astype(np.float32) - like.astype(np.float32)
        assert difference.std() == pytest.approx(material.NOISE * like.astype(np.float32).std(), rel=0.2)
    assert not np.array_equal(gallery.pooled[ENROLLED + 3], gallery.pooled[3])
    assert np.array_equal(gallery.motion[ENROLLED + 3], gallery.motion[3])


def test_playing_goes_on_in_time_and_shows_each_camera_another_frame(made: Material) -> None:
    playing = Playing(made, scene="yard", cameras=2)
    first, second = playing.next(), playing.next()
    assert [frame.camera for frame in first] == ["cam-0", "cam-1"]
    assert second[0].time - first[0].time == pytest.approx(0.2)
    assert not np.array_equal(first[0].image, first[1].image)


def test_they_are_scored_by_the_engine_as_in_the_worker(made: Material) -> None:
    [scored] = wholes.engine_of(made).score(Playing(made, scene=wholes.SCENE).next())
    assert isinstance(scored, Scored)
    assert scored.score.explanation.made is False, "no alert, no retrieval"
    [explained] = wholes.engine_of(made, every=True).score(Playing(made, scene=wholes.SCENE).next())
    assert isinstance(explained, Scored)
    assert explained.score.explanation.made


def test_the_backbone_alone_gives_what_the_extractor_gives(made: Material) -> None:
    [task] = wholes.backbone_tasks(made, [1])
    image = task.prepare()
    pooled, *levels = made.extractor.backbone.runtime.compile(wholes._Whole(made.extractor.backbone.network), image)(
        image
    )
    features = made.extractor.extract(made.images[0][None])
    torch.testing.assert_close(pooled, features.pooled, rtol=1e-4, atol=1e-4)
    for level, expected in zip(levels, features.levels, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)


def test_a_batch_is_of_different_images(made: Material) -> None:
    _, two = wholes.backbone_tasks(made, [1, 2])
    assert two.per == 2
    first, second = two.prepare()
    assert not torch.equal(first, second)


def test_peers_are_given_the_frame_that_is_nearest(made: Material) -> None:
    levels, normal = wholes._features_with_nearest(made)[0]
    features = made.extractor.extract(made.images[0][None])
    distances = np.square(np.asarray(made.gallery.pooled) - features.pooled.numpy()).sum(axis=1)
    expected = made.gallery.pyramid(int(distances.argmin()))
    for level, own, reference, stored in zip(levels, features.levels, normal, expected, strict=True):
        torch.testing.assert_close(level, own[0])
        np.testing.assert_allclose(reference.numpy(), stored.astype(np.float32))


# -- the result --------------------------------------------------------------------------------------------------------


def test_every_stage_and_every_whole_has_its_row(result: BenchResult) -> None:
    wanted = {wholes.BACKBONE, wholes.CAMPUS, wholes.EXPLAINED, wholes.SPADE, *wholes.PEERS} | READER | WORKER | ALERT
    wanted |= {"backbone alone, 2 at once", "campus scorer, 2 at once"}
    found = rows(result)
    assert wanted - found.keys() == set()
    for name in wanted - {wholes.PATCHCORE}:
        figures = found[name].figures
        assert 0 < (figures["least_ms"] or 0) <= (figures["median_ms"] or 0) <= (figures["p95_ms"] or 0), name
        assert (figures["runs"] or 0) >= 3


def test_each_is_beside_the_backbone_alone_for_as_many_frames(result: BenchResult) -> None:
    found = rows(result)
    base = found[wholes.BACKBONE]
    assert (base.base, base.ratio) == (None, None)
    for name in READER | WORKER | ALERT | {wholes.CAMPUS, wholes.SPADE, wholes.CDIST}:
        row = found[name]
        assert row.base == wholes.BACKBONE
        assert row.ratio == pytest.approx((row.figures["median_ms"] or 0) / (base.figures["median_ms"] or 1))
    assert found["campus scorer, 2 at once"].base == "backbone alone, 2 at once"


def test_the_result_says_what_was_measured(result: BenchResult) -> None:
    assert result.kind == "stages"
    assert result.options["size"] == SIDE
    assert result.options["gallery_frames"] == FRAMES
    assert result.options["ran_in"].startswith("torch, ")
    assert result.machine["device"] == "cpu"
    assert {"reader_ms", "worker_ms", "alert_ms"} <= result.summary.keys()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UsageError, match="name another folder"):
        run_stages(StageOptions(SCORING, (1,), 1.0, tmp_path), stopping=lambda: False)


def test_it_ends_where_it_is_stopped(small: None, tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="stopped"):
        run_stages(StageOptions(SCORING, (1,), 1.0, tmp_path / "out"), stopping=lambda: True)


# -- arithmetic --------------------------------------------------------------------------------------------------------

TIMES = {
    wholes.BACKBONE: [0.010, 0.008],
    wholes.CAMPUS: [0.012, 0.010],
    wholes.EXPLAINED: [0.015, 0.015],
    wholes.SPADE: [0.100, 0.100],
    wholes.DIFFERENCES: [1.5, 1.5],
    wholes.CDIST: [0.060, 0.060],
    stages.SEARCH: [0.002, 0.002],
    stages.FUSION: [0.001, 0.001],
    "worker: wire decode": [0.001, 0.001],
    "reader: decode": [0.002, 0.002],
    "reader: motion": [0.003, 0.003],
    "alert: detail map": [0.004, 0.004],
}
"""Seconds. The median of two is the lower one."""

TASKS = [Task(name, lambda _: None) for name in TIMES]


def test_whole_frames_are_compared_with_whole_frames_and_scoring_with_scoring() -> None:
    found = {row.name: row.figures for row in comparisons_of(TIMES)}
    assert found["campus scorer / backbone alone"]["times"] == pytest.approx(10 / 8)
    assert found["campus scorer / backbone alone"]["at_most"] == 1.3
    with_pass = found["peer: SPADE by differences, with the backbone's pass / campus scorer"]
    assert with_pass["times"] == pytest.approx((1500 + 8) / 10)
    assert with_pass["at_least"] == 100
    assert found["peer: SPADE by cdist, with the backbone's pass / campus scorer"]["times"] == pytest.approx(68 / 10)
    assert found["peer: SPADE by cdist / campus scorer, scoring alone"]["times"] == pytest.approx(60 / 3)
    assert not any("PatchCore" in name for name in found), "it was not measured"


def test_a_peer_stands_there_alone_and_with_the_backbones_pass() -> None:
    found = {row.name: row for row in rows_of(TASKS, TIMES, {wholes.PATCHCORE: "not here"})}
    assert found[wholes.CDIST].ratio == pytest.approx(60 / 8)
    whole = found["peer: SPADE by cdist, with the backbone's pass"]
    assert whole.figures["median_ms"] == pytest.approx(68)
    assert whole.ratio == pytest.approx(68 / 8)
    absent = found[wholes.PATCHCORE]
    assert (absent.note, absent.ratio, set(absent.figures.values())) == ("not here", None, {None})
    assert f"{wholes.PATCHCORE}, with the backbone's pass" not in found


def test_sums_are_of_what_happens_to_one_frame() -> None:
    assert sums_of(TIMES) == {"reader_ms": 5.0, "worker_ms": 11.0, "alert_ms": 4.0}


def test_a_gpu_is_waited_for_and_a_cpu_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    assert synchronizer(torch.device("cpu")) is nothing
    synchronizer(torch.device("cuda:1"))()
    assert waited == [torch.device("cuda:1")]


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["bench"], ["bench", "stages"]),
        (["bench", "--json", "f"], ["bench", "stages", "--json", "f"]),
        (["bench", "stages", "--json", "f"], ["bench", "stages", "--json", "f"]),
        (["bench", "cameras"], ["bench", "cameras"]),
        (["bench", "--help"], ["bench", "--help"]),
        (["run", "--help"], ["run", "--help"]),
        ([], []),
    ],
)
def test_bench_without_an_action_is_stages(words: list[str], meant: list[str]) -> None:
    assert with_action(words) == meant


def test_options_before_another_action_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--seconds", "1", "cameras"])
    assert ended.value.code == 2
    assert "unrecognized arguments: cameras" in capsys.readouterr().err
