"""What an evaluation asks for, the folders and configuration it gives the pipeline, and what it reads back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from evaluation_fakes import write_clips
from video_files import make_video

from stream.capture import RateSampler
from stream.config import Config, build_config
from stream.errors import ConfigError, UsageError
from stream.evaluate.datasets import open_dataset
from stream.evaluate.datasets.model import Dataset
from stream.evaluate.options import EvalOptions
from stream.evaluate.scored import frames_digest, load_scene
from stream.evaluate.scoring import ScoringClock
from stream.evaluate.workspace import SceneFootage, check_settings, chosen_scenes, link_scene, settings
from stream.messages import Alert, Phase
from stream.programs import open_camera
from stream.scorelog import ScoreLog, ScoreRow

PNG = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset("clips", write_clips(tmp_path_factory.mktemp("clips"), length=12))


def options(out: Path, **values: Any) -> EvalOptions:
    return EvalOptions("clips", out, out, **values)


def prepared(dataset: Dataset, out: Path, **values: Any) -> tuple[Config, SceneFootage]:
    footage = link_scene(out / "work", dataset.scenes[0], folder_fps=dataset.fps)
    plain = settings(options(out, **values), dataset, [footage], sockets=out)
    return build_config(plain, where="eval", base=out, environment={}), footage


# --- options


def test_video_is_scored_by_campus_and_images_as_in_the_paper(tmp_path: Path) -> None:
    assert options(tmp_path).method_section("video") == {"name": "campus"}
    assert options(tmp_path).method_section("images") == {"name": "spade", "k": 50, "crop": 224}
    assert options(tmp_path, parameters={"k": 3}).method_section("images")["k"] == 3
    # Another method than the kind's own has none of its defaults.
    assert options(tmp_path, method="spade").method_section("video") == {"name": "spade"}
    assert options(tmp_path, method="campus").method_section("images") == {"name": "campus"}


def test_the_peer_gets_frames_of_the_same_size(tmp_path: Path) -> None:
    peer = options(tmp_path, method="anomalib:patchcore", parameters={"size": 128, "k": 9})
    assert peer.method_section("video") == {"name": "spade", "size": 128}
    assert peer.method_section("images") == {"name": "spade", "crop": 224, "size": 128}


@pytest.mark.parametrize(
    ("values", "words"),
    [({"method": "magic"}, "magic"), ({"every": 0}, "--every 0"), ({"capacity": 0}, "--capacity 0")],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options(tmp_path, **values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"parameters": {"kappa": 2}}, r"method\.kappa: has no effect"),
        ({"parameters": {"size": 100}}, r"method\.size"),
        ({"false_alarms_per_day": 1e9}, r"gallery\.false_alarms_per_day"),
        ({"backbone": "resnet999"}, "resnet999.*efficientnet_lite0"),
        ({"weights": Path("nowhere.pth")}, r"nowhere\.pth: there is no such file"),
    ],
)
def test_wrong_settings_are_found_before_anything_is_touched(
    dataset: Dataset, tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    with pytest.raises((ConfigError, UsageError), match=words):
        check_settings(options(tmp_path, **values), dataset)


def test_scenes_are_chosen_by_name(dataset: Dataset) -> None:
    [scene] = dataset.scenes
    assert chosen_scenes(dataset, ()) == chosen_scenes(dataset, (scene.name,)) == (scene,)
    with pytest.raises(UsageError, match=f"--scenes attic: clips has {scene.name}"):
        chosen_scenes(dataset, ("attic",))


# --- folders and configuration


def test_the_clips_of_a_scene_become_one_source_that_knows_where_each_begins(dataset: Dataset, tmp_path: Path) -> None:
    config, footage = prepared(dataset, tmp_path)
    assert footage.train_frames == 24
    assert (footage.starts, footage.counts) == ({"a": 0, "b": 20}, {"a": 20, "b": 20})
    source = open_camera(config.cameras[0])
    found = [(frame.segment, frame.index) for frame in source.frames()]
    source.close()
    assert found == [("a", i) for i in range(20)] + [("b", i) for i in range(20, 40)]


def test_video_files_are_named_without_their_ending_and_come_in_natural_order(tmp_path: Path) -> None:
    for name, count in (("train/x.avi", 5), ("test/2.avi", 5), ("test/10.avi", 8)):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        make_video(tmp_path / "in" / name, codec="mjpeg", count=count)
    footage = link_scene(tmp_path / "work", open_dataset("clips", tmp_path / "in").scenes[0], folder_fps=25)
    assert (footage.starts, footage.counts, footage.fps) == ({"2": 0, "10": 5}, {"2": 5, "10": 8}, 10.0)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7])
def test_exactly_every_nth_frame_is_scored(dataset: Dataset, tmp_path: Path, every: int) -> None:
    config, footage = prepared(dataset, tmp_path, every=every)
    sampler = RateSampler(config.cameras[0].fps)
    kept = [index for index in range(40) if sampler.keep(index / footage.fps)]
    assert kept == list(range(0, 40, every))
    assert footage.expected(every) == len(kept)


def test_what_was_asked_for_stands_in_the_configuration(dataset: Dataset, tmp_path: Path) -> None:
    config, _ = prepared(
        dataset, tmp_path, method="spade", parameters={"k": 4, "levels": (2, 3)}, capacity=99, false_alarms_per_day=5.0
    )
    assert (config.method.name, config.method.k, config.method.levels) == ("spade", 4, (2, 3))
    assert (config.gallery.capacity, config.gallery.false_alarms_per_day) == (99, 5.0)
    assert config.gallery.folder == tmp_path / "galleries"
    assert config.worker.maps == tmp_path / "maps"
    assert config.clips.seconds == 0


def test_of_images_little_is_held_out_and_nobody_waits_for_alerts(tmp_path: Path) -> None:
    for folder, count in (("train/good", 300), ("test/good", 1), ("test/bent", 1)):
        (tmp_path / "in" / "nut" / folder).mkdir(parents=True)
        for index in range(count):
            (tmp_path / "in" / "nut" / folder / f"{index}.png").write_bytes(PNG)
    images = open_dataset("mvtec", tmp_path / "in")
    footage = link_scene(tmp_path / "work", images.scenes[0], folder_fps=images.fps)
    plain = settings(options(tmp_path), images, [footage], sockets=tmp_path)
    assert plain["gallery"]["holdout"] == pytest.approx(30 / 300)
    assert plain["sinks"] == []


@pytest.mark.parametrize(("frames", "part"), [(150, 0.2), (1000, 0.2), (100, 0.3), (60, 0.5), (40, 0.5)])
def test_of_short_footage_enough_for_a_threshold_is_held_out(
    dataset: Dataset, tmp_path: Path, frames: int, part: float
) -> None:
    footage = replace(prepared(dataset, tmp_path)[1], train_frames=frames)
    plain = settings(options(tmp_path), dataset, [footage], sockets=tmp_path)
    config = build_config(plain, where="eval", base=tmp_path, environment={})
    assert config.gallery.holdout == pytest.approx(part)


# --- what is read back


def a_row(index: int, segment: str, score: float | None) -> ScoreRow:
    problem = "" if score is not None else "no gallery"
    image = None if score is None else score / 2
    return ScoreRow(index / 10, index, index / 10, segment, score, image, 1.0, 3, 0.1, "", problem)


def rows(score: float = 1.0, *, every: int = 1) -> list[ScoreRow]:
    return [a_row(index, "a" if index < 20 else "b", score) for index in range(0, 40, every)]


def log_of(config: Config, *given: ScoreRow) -> None:
    log = ScoreLog(config.scores)
    for row in given:
        log.add(config.cameras[0].id, row)
    log.close()


def an_alert(phase: Phase, seconds: float, *, camera: str, ended: float | None = None) -> Alert:
    return Alert(
        seq=1,
        alert_id="x",
        phase=phase,
        camera=camera,
        scene=camera,
        started_at=2.9,
        frame_time=seconds,
        frame_seq=round(seconds * 10),
        score=2.0,
        threshold=1.0,
        regions=(),
        neighbours=(),
        segment="b",
        ended_at=ended,
    )


def test_scores_are_sorted_into_their_clips_by_native_frame(dataset: Dataset, tmp_path: Path) -> None:
    config, footage = prepared(dataset, tmp_path, every=5)
    log_of(config, *(a_row(i, "a" if i < 20 else "b", i / 10) for i in range(0, 40, 5)))
    scene = load_scene(config, footage, out=tmp_path, every=5, gallery_frames=9, alerting=True)
    a, b = scene.clips
    assert (a.name, b.name) == (f"{footage.camera}/a", f"{footage.camera}/b")
    assert b.indices.tolist() == [0, 5, 10, 15]
    assert b.peaks.tolist() == [2.0, 2.5, 3.0, 3.5]
    assert b.image_scores.tolist() == [1.0, 1.25, 1.5, 1.75]
    assert b.times.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert b.labels is not None
    assert b.labels.tolist() == [False, False, True, True]
    assert [path.name for path in b.maps] == [f"{i:08d}.npy" for i in (20, 25, 30, 35)]
    assert (scene.threshold, scene.gallery_frames, scene.problems) == (1.0, 9, ())


def test_an_alert_counts_from_when_it_was_raised_within_its_clip(dataset: Dataset, tmp_path: Path) -> None:
    config, footage = prepared(dataset, tmp_path)
    log_of(config, *rows())
    messages = [
        an_alert(Phase.START, 3.2, camera=footage.camera),
        an_alert(Phase.END, 3.4, camera=footage.camera, ended=3.6),
        an_alert(Phase.START, 3.2, camera="another"),
    ]
    (tmp_path / "alerts.jsonl").write_text("\n".join(json.dumps(message.to_json()) for message in messages[:2]))
    a, b = load_scene(config, footage, out=tmp_path, every=1, gallery_frames=9, alerting=True).clips
    assert a.alerts == ()
    [alert] = b.alerts
    assert (alert.clip, alert.start, alert.end) == (b.name, pytest.approx(1.2), pytest.approx(1.6))
    (tmp_path / "alerts.jsonl").write_text(json.dumps(messages[2].to_json()))
    assert load_scene(config, footage, out=tmp_path, every=1, gallery_frames=9, alerting=True).clips[1].alerts == ()


def test_a_threshold_that_means_nothing_raises_no_alerts(dataset: Dataset, tmp_path: Path) -> None:
    config, footage = prepared(dataset, tmp_path)
    log_of(config, *rows())
    message = an_alert(Phase.START, 3.2, camera=footage.camera)
    (tmp_path / "alerts.jsonl").write_text(json.dumps(message.to_json()))
    scene = load_scene(config, footage, out=tmp_path, every=1, gallery_frames=9, alerting=False)
    assert (scene.clips[1].alerts, scene.threshold) == ((), None)


def test_frames_that_were_not_scored_or_not_reached_are_no_scores_of_zero(dataset: Dataset, tmp_path: Path) -> None:
    config, footage = prepared(dataset, tmp_path)
    log_of(config, a_row(0, "a", 1.0), a_row(1, "a", None), a_row(2, "a", 2.0))
    scene = load_scene(config, footage, out=tmp_path, every=1, gallery_frames=9, alerting=True)
    assert scene.clips[0].indices.tolist() == [0, 2]
    assert scene.clips[1].indices.tolist() == []
    unscored, missing = scene.problems
    assert "1 frame(s) could not be scored; the first: no gallery" in unscored
    assert "37 of 40 frame(s) were not reached" in missing


def test_two_runs_have_one_digest_where_they_scored_the_same_frames(dataset: Dataset, tmp_path: Path) -> None:
    digests = []
    for name, given in (("x", rows(1.0)), ("y", rows(2.0)), ("z", rows(1.0, every=2))):
        config, footage = prepared(dataset, tmp_path / name)
        log_of(config, *given)
        scene = load_scene(config, footage, out=tmp_path / name, every=1, gallery_frames=9, alerting=True)
        digests.append(frames_digest([scene]))
    assert digests[0] == digests[1] != digests[2]


def test_the_rate_of_scoring_is_that_of_the_log(tmp_path: Path) -> None:
    clock = ScoringClock(tmp_path)
    file = tmp_path / "yard" / "1970-01-01.csv"
    file.parent.mkdir()
    clock.look()
    file.write_text("head\n")
    clock.look()
    file.write_text("head\n" + "row\n" * 3)
    os.utime(file, (100, 100))
    clock.look()
    file.write_text("head\n" + "row\n" * 43)
    os.utime(file, (110, 110))
    clock.look()
    assert clock.frames_per_second() == pytest.approx(4.0)
    assert ScoringClock(tmp_path / "none").frames_per_second() is None
