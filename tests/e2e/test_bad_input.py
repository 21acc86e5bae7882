"""What cannot work says so in words, with the exit code for its kind, and leaves nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from spade_core.backbone import load_backbone

from .helpers import (
    assert_clean_failure,
    camera_status,
    free_port,
    logged_rows,
    score_rows,
    spade,
    started,
    versions,
    write_config,
)

pytestmark = pytest.mark.slow

FAILED, WRONG = 1, 2


def cut(path: Path, to: Path) -> Path:
    """The first 60 % of a file."""
    data = path.read_bytes()
    to.write_bytes(data[: len(data) * 6 // 10])
    return to


@pytest.fixture
def damaged(gallery: Path, tmp_path: Path) -> Path:
    """A copy of the gallery that may be damaged."""
    return Path(shutil.copytree(gallery, tmp_path / "damaged"))


def flip(path: Path) -> None:
    """Flips one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# -- footage ----------------------------------------------------------------------------------------------------------


def enroll_fails(folder: Path, source: str, code: int, *words: str) -> None:
    config = write_config(folder, [{"id": "yard", "source": source, "fps": 5}])
    assert_clean_failure(spade("enroll", config), code, *words)
    made = folder / "galleries" / "yard"
    assert not made.exists() or versions(made) == []


def test_footage_that_is_not_there_cannot_be_enrolled(tmp_path: Path) -> None:
    enroll_fails(tmp_path, "nowhere.mp4", WRONG, "nowhere.mp4", "no such file")


def test_footage_that_is_too_short_cannot_be_enrolled(tmp_path: Path, painted_film: Path) -> None:
    enroll_fails(tmp_path, str(painted_film), FAILED, "held-out", "longer footage")


def test_a_video_that_was_cut_short_cannot_be_enrolled(tmp_path: Path, normal_film: Path) -> None:
    short = cut(normal_film, tmp_path / "short.mp4")
    enroll_fails(tmp_path, str(short), FAILED, "short.mp4", "cut short")


def test_an_avi_that_was_cut_short_cannot_be_enrolled(tmp_path: Path, normal_film_avi: Path) -> None:
    short = cut(normal_film_avi, tmp_path / "short.avi")
    enroll_fails(tmp_path, str(short), FAILED, "short.avi", "cut short")


def test_a_folder_of_files_that_are_no_pictures_cannot_be_enrolled(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(30):
        (folder / f"{index:03}.jpg").write_bytes(b"this is no picture" * index)
    enroll_fails(tmp_path, str(folder), FAILED, "000.jpg")


def test_a_failed_enrolment_leaves_the_gallery_that_was_there(tmp_path: Path, gallery: Path, normal_film: Path) -> None:
    kept = Path(shutil.copytree(gallery, tmp_path / "galleries" / "yard"))
    config = write_config(tmp_path, [{"id": "yard", "source": str(cut(normal_film, tmp_path / "short.mp4")), "fps": 5}])
    assert_clean_failure(spade("enroll", config), FAILED, "short.mp4")
    assert versions(kept) == ["CURRENT", "v000001"]
    assert spade("gallery", "verify", kept).code == 0


def test_a_replay_of_what_is_not_there_makes_no_folder(tmp_path: Path, gallery: Path) -> None:
    done = spade("replay", tmp_path / "nowhere.mp4", "--gallery", gallery, "--out", tmp_path / "out")
    assert_clean_failure(done, WRONG, "nowhere.mp4")
    assert not (tmp_path / "out").exists()


def test_a_replay_of_a_cut_video_scores_what_is_there_and_fails(
    tmp_path: Path, gallery: Path, normal_film_avi: Path
) -> None:
    short, out = cut(normal_film_avi, tmp_path / "short.avi"), tmp_path / "out"
    done = spade("replay", short, "--gallery", gallery, "--out", out, "--fps", "2")
    assert_clean_failure(done, FAILED, "not read to its end")
    assert "cut short" in done.err
    rows = score_rows(out / "scores.csv")
    assert 24 <= len(rows) <= 32  # 60 % of 24 s at 2 a second, give or take what a cut through the bytes takes away
    assert "not complete" in (out / "index.html").read_text(encoding="utf-8")


def test_a_replay_does_not_write_into_a_folder_of_something_else(
    tmp_path: Path, gallery: Path, painted_film: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert_clean_failure(spade("replay", painted_film, "--gallery", gallery, "--out", tmp_path), WRONG, "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


# -- galleries --------------------------------------------------------------------------------------------------------


def replay_fails(gallery: Path, film: Path, out: Path, code: int, *words: str) -> None:
    assert_clean_failure(spade("replay", film, "--gallery", gallery, "--out", out), code, *words)
    assert not (out / "index.html").exists()


def test_a_gallery_that_was_never_made_is_wrong_usage(tmp_path: Path, painted_film: Path) -> None:
    replay_fails(tmp_path / "nowhere", painted_film, tmp_path / "out", WRONG, "nowhere", "spade-stream enroll")


@pytest.mark.parametrize("name", ["manifest.json", "level1.f16", "pooled.f32"])
def test_a_truncated_gallery_is_refused(damaged: Path, painted_film: Path, tmp_path: Path, name: str) -> None:
    cut(damaged / "v000001" / name, damaged / "v000001" / name)
    replay_fails(damaged, painted_film, tmp_path / "out", FAILED, name, "enroll the scene again")


@pytest.mark.parametrize("name", ["manifest.json", "level1.f16", "pooled.f32"])
def test_a_gallery_with_one_flipped_bit_is_refused(
    damaged: Path, painted_film: Path, tmp_path: Path, name: str
) -> None:
    flip(damaged / "v000001" / name)
    replay_fails(damaged, painted_film, tmp_path / "out", FAILED, name, "enroll the scene again")
    assert_clean_failure(spade("gallery", "verify", damaged), FAILED, name)


def site_with(gallery: Path, film: Path, folder: Path, **sections: Any) -> Path:
    """A configuration whose camera has this gallery."""
    camera = {"id": "yard", "source": str(film)}
    return write_config(folder, [camera], scenes={"yard": {"gallery": str(gallery)}}, **sections)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"backbone": {"name": "resnet18"}}, ("backbone.name efficientnet_lite0", "says resnet18")),
        ({"method": {"size": 160}}, ("method.size 128", "says 160")),
        ({"method": {"size": 128, "crop": 96}}, ("method.crop None", "says 96")),
        ({"method": {"size": 128, "name": "spade"}}, ("method.name campus", "says spade")),
    ],
)
def test_a_gallery_that_was_made_otherwise_is_refused_before_anything_starts(
    tmp_path: Path, gallery: Path, painted_film: Path, command: str, sections: dict[str, Any], words: tuple[str, ...]
) -> None:
    config = site_with(gallery, painted_film, tmp_path, **sections)
    assert_clean_failure(spade(command, config), WRONG, *words, "enroll the scene again")
    assert not (tmp_path / "state").exists()


def test_a_gallery_that_was_made_with_other_weights_ends_the_run(
    tmp_path: Path, gallery: Path, painted_film: Path
) -> None:
    weights = tmp_path / "other.pth"
    other = load_backbone("efficientnet_lite0").network.state_dict()
    name = next(iter(other))
    torch.save({**other, name: other[name] + 0.01}, weights)
    config = site_with(gallery, painted_film, tmp_path, backbone={"weights": str(weights)})
    done = spade("run", config)
    assert_clean_failure(done, WRONG, "weights id", "enroll the scene again", "worker cannot work")
    assert list((tmp_path / "state").rglob("*.csv")) == []


def test_a_damaged_gallery_makes_its_camera_not_scored_and_disturbs_no_other(
    tmp_path: Path, damaged: Path, gallery: Path
) -> None:
    flip(damaged / "v000001" / "level1.f16")
    feed = f"tcp://127.0.0.1:{free_port()}"
    cameras = [{"id": name, "source": "campus:?seed=3&size=160x90&fps=5"} for name in ("yard", "gate")]
    scenes = {"yard": {"gallery": str(damaged)}, "gate": {"gallery": str(gallery)}}
    config = write_config(tmp_path, cameras, scenes=scenes, feed={"endpoint": feed})
    with started(tmp_path, "run", config) as run:

        def both_known() -> dict[str, Any]:
            yard, gate = camera_status(feed, "yard"), camera_status(feed, "gate")
            return yard if yard.get("not_scored") and gate.get("scored") else {}

        yard = run.until(both_known, "frames of one camera are scored, those of the other are refused")
        assert (yard["state"], yard["scored"], yard["last_score"]) == ("NOT_SCORED", 0, None)
        assert "level1.f16" in yard["reason"]
        done = run.stop()
    assert (done.code, "Traceback" in done.err) == (0, False), done.report


def test_run_does_not_start_without_any_gallery(tmp_path: Path, painted_film: Path) -> None:
    config = write_config(tmp_path, [{"id": "yard", "source": str(painted_film)}])
    assert_clean_failure(spade("run", config), WRONG, "yard", "spade-stream enroll")
    assert not (tmp_path / "state").exists()


# -- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cameras: [", ("line 1",)),
        ("cameras:\n  - {id: a, source: b.mp4}\nstate: x\nstate: y\n", ("line 4", "duplicate key 'state'")),
        ("cameras:\n  - {id: a, id: b, source: b.mp4}\n", ("line 2", "duplicate key 'id'")),
        (
            "cameras:\n  - {id: gate, source: a.mp4}\n  - {id: gate, source: b.mp4}\n",
            ("cameras[1].id", "'gate' is used twice"),
        ),
        ("cameras:\n  - {id: a, source: b.mp4, fsp: 5}\n", ("cameras[0].fsp", "unknown key")),
        ("cameras:\n  - {id: a, source: b.mp4, fps: -1}\nmethod: {size: 100}\n", ("cameras[0].fps", "method.size")),
        ("cameras: []\n", ("cameras",)),
        ("", ("mapping",)),
        ("\0", ("YAML",)),
    ],
)
def test_a_wrong_configuration_is_named_with_the_place(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(text)
    assert_clean_failure(spade("check", config), WRONG, "site.yaml", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["site.yaml"]


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert_clean_failure(spade("run", tmp_path / "nowhere.yaml"), WRONG, "nowhere.yaml", "No such file")


def test_a_camera_or_sink_that_the_configuration_does_not_have_is_named(tmp_path: Path) -> None:
    config = write_config(tmp_path, [{"id": "yard", "source": "campus:"}])
    assert_clean_failure(spade("read", config, "--camera", "roof"), WRONG, "'roof'", "yard")
    assert_clean_failure(spade("sink", config, "--name", "pager"), WRONG, "'pager'")


def test_check_finds_a_file_that_is_not_there(tmp_path: Path) -> None:
    config = write_config(tmp_path, [{"id": "yard", "source": "nowhere.mp4"}])
    assert_clean_failure(spade("check", config), WRONG, "cameras[0].source", "nowhere.mp4")


def test_a_feed_that_is_not_there_gives_no_status(tmp_path: Path) -> None:
    assert_clean_failure(spade("status", "--connect", f"ipc://{tmp_path}/feed"), FAILED, "no status")


def test_alerts_that_nobody_serves_are_not_waited_for_without_follow(tmp_path: Path) -> None:
    done = spade("alerts", "--connect", f"ipc://{tmp_path}/feed", "--no-follow")
    assert_clean_failure(done, FAILED, "no feed answers")


@pytest.mark.fault("a sink that never works", "the cameras go on; a run over recordings ends as failed, and says so")
def test_a_sink_that_cannot_write_does_not_end_the_run_and_what_it_misses_is_told(
    tmp_path: Path, gallery: Path, painted_film: Path
) -> None:
    (tmp_path / "alerts").write_text("not a folder")
    config = write_config(
        tmp_path,
        [{"id": "yard", "source": str(painted_film), "fps": 5}],
        scenes={"yard": {"gallery": str(gallery)}},
        sinks=[{"type": "jsonl", "folder": "alerts"}],
    )
    done = spade("run", config)

    assert done.code == 1, done.report
    assert "sink jsonl has not taken the last" in done.err, done.report
    assert len(logged_rows(tmp_path / "state" / "scores" / "yard")) == 50, "all of the recording was scored"
