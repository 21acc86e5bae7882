"""Replay, piece by piece: folders, the configuration that it writes, and what it refuses before it starts anything."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gallery_files
import pytest
import yaml

from spade_core.errors import BackboneError, GalleryMismatch, GalleryNotFound, InputError
from spade_core.preprocess import Preprocess
from stream import replay
from stream.config import build_config, load_config
from stream.errors import SourceNotFound, StreamError, UsageError
from stream.replay import ReplayOptions, finish_folder, method_settings, prepare_folder, run_replay, socket_folder
from stream.results import Results
from stream.scorelog import ScoreLog, ScoreRow, read_scores


def a_gallery(**parameters: Any) -> Any:
    return SimpleNamespace(
        folder=Path("galleries/yard"),
        fingerprint={"backbone": "wide_resnet50_2", "preprocessing": {"size": 224}},
        calibration=SimpleNamespace(
            parameters=parameters or {"method": "campus", "k": 3, "sigma": 2.0, "persistence": 9.0}
        ),
    )


def settings(folder: Path, **options: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"source": "film.mp4", "gallery": Path("galleries/yard"), "out": folder / "out"}
    return replay._settings(ReplayOptions(**(values | options)), a_gallery(), folder / "s")


def source_in(folder: Path, source: str) -> str:
    return str(settings(folder, source=source)["cameras"][0]["source"])


# --- folders


def test_an_output_folder_is_made_with_its_parents(tmp_path: Path):
    prepare_folder(tmp_path / "a" / "b", marker="replay.yaml")
    assert (tmp_path / "a" / "b").is_dir()


def test_an_empty_folder_is_taken(tmp_path: Path):
    prepare_folder(tmp_path, marker="replay.yaml")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_run_of_the_same_command_is_replaced(tmp_path: Path):
    (tmp_path / "replay.yaml").touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "old.png").touch()
    prepare_folder(tmp_path, marker="replay.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["thesis.tex", "demo.yaml"])
def test_what_is_not_of_an_earlier_run_is_left_alone(tmp_path: Path, name: str):
    (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match="is not empty"):
        prepare_folder(tmp_path, marker="replay.yaml")
    assert (tmp_path / name).read_text() == "precious"


def test_a_file_is_no_output_folder(tmp_path: Path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(UsageError, match="is a file"):
        prepare_folder(tmp_path / "out", marker="replay.yaml")
    assert (tmp_path / "out").read_text() == "precious"


def test_sockets_lie_in_a_private_folder_with_a_short_name_that_goes_away():
    with socket_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder / "feed.lock")) < 60 + len(str(folder.parent))
        (folder / "link").touch()
    assert not folder.exists()


def a_row(day: int, seq: int) -> ScoreRow:
    time = datetime(2024, 5, day, tzinfo=UTC).timestamp() + seq
    return ScoreRow(time, seq, float(seq), "", 0.5, 0.25, 1.0, 0, None, "", "")


def test_the_scores_of_all_days_become_one_table_and_the_state_goes(tmp_path: Path):
    state = tmp_path / "state"
    config: Any = SimpleNamespace(scores=state / "scores", state=state)
    rows = [a_row(day, seq) for day, seq in ((1, 0), (1, 1), (2, 2), (3, 3))]
    log = ScoreLog(config.scores)
    for row in rows:
        log.add("replay", row)
    log.close()
    (tmp_path / "out" / "replay").mkdir(parents=True)

    finish_folder(tmp_path / "out", config, "replay")

    table = tmp_path / "out" / "scores.csv"
    assert not state.exists()
    assert table.read_text().count("frame_time") == 1
    table.rename(tmp_path / "out" / "replay" / "all.csv")
    assert list(read_scores(tmp_path / "out", "replay")) == rows


def test_a_run_without_scores_leaves_an_empty_table(tmp_path: Path):
    finish_folder(tmp_path, a_config(tmp_path), "replay")
    assert (tmp_path / "scores.csv").read_bytes() == b""


def a_config(folder: Path) -> Any:
    return SimpleNamespace(scores=folder / "state" / "scores", state=folder / "state")


# --- the configuration


def test_backbone_and_method_are_those_of_the_gallery():
    assert method_settings(a_gallery(), weights=None, device="cpu") == {
        "backbone": {"name": "wide_resnet50_2", "weights": None, "device": "cpu"},
        "method": {
            "name": "campus",
            "size": 224,
            "k": 3,
            "sigma": 2.0,
            "persistence": 9.0,
            "channels": ["appearance", "motion", "persistence"],
            "motion_memory": 0.3,
            "bank": 128,
            "average": 3,
            "reach": 1,
        },
    }


def test_a_faithful_gallery_is_replayed_faithfully():
    parameters = {"k": 2, "kappa": 4, "sigma": 1.0, "levels": [2, 3], "neighbours": "random", "seed": 5}
    found = method_settings(a_gallery(method="spade", **parameters), weights=None, device="auto")
    assert found["method"] == {"name": "spade", "size": 224, **parameters}


@pytest.mark.parametrize("method", ["spade", "campus"])
def test_a_gallery_with_a_crop_is_replayed_with_it(tmp_path: Path, method: str):
    gallery = a_gallery(method=method)
    gallery.fingerprint["preprocessing"] = Preprocess(256, 224).describe()
    options = ReplayOptions("film.mp4", Path("galleries/yard"), tmp_path / "out")
    data = replay._settings(options, gallery, tmp_path / "s")
    section = build_config(data, where="replay", base=tmp_path, environment={}).method
    assert (section.name, section.size, section.crop, section.side) == (method, 256, 224, 224)


def test_weights_are_named_by_their_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found = method_settings(a_gallery(), weights=Path("net.pth"), device="auto")
    assert found["backbone"]["weights"] == str(tmp_path / "net.pth")


@pytest.mark.parametrize("parameters", [{"method": "newer"}, {"method": "campus", "colour": 3}], ids=str)
def test_a_gallery_of_a_method_that_is_not_known_here_is_refused(parameters: dict[str, Any]):
    with pytest.raises(GalleryMismatch, match="galleries/yard: made by another version of this program"):
        method_settings(a_gallery(**parameters), weights=None, device="auto")


@pytest.mark.parametrize("source", ["film.mp4", "clips/day 1", "./7", "12:30.mp4", "clips/a:b.mp4", "x:y"])
def test_a_path_is_written_in_full_for_the_file_lies_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
):
    monkeypatch.chdir(tmp_path)
    assert source_in(tmp_path, source) == str(tmp_path / source)


def test_the_home_folder_is_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert source_in(tmp_path, "~/film.mp4") == str(tmp_path / "film.mp4")


@pytest.mark.parametrize("source", ["0", "campus:?duration=5&seed=2", "rtsp://gate/1", "http://host/film.mp4"])
def test_what_is_no_path_is_written_as_it_is(tmp_path: Path, source: str):
    assert source_in(tmp_path, source) == source


def test_the_file_that_replay_writes_is_a_configuration(tmp_path: Path):
    recorded = datetime(2024, 5, 1, 12, tzinfo=UTC)
    written = settings(tmp_path, fps=5.0, start=2.0, seconds=8.0, folder_fps=25.0, recorded_at=recorded, maps=True)
    path = tmp_path / "replay.yaml"
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    config = load_config(path, {})
    camera = config.camera("replay")
    assert (camera.fps, camera.start, camera.seconds, camera.folder_fps) == (5.0, 2.0, 8.0, 25.0)
    assert camera.recorded_at_unix == recorded.timestamp()
    assert config.gallery_of(camera.scene_name) == Path("galleries/yard").resolve()
    assert (config.method.name, config.method.size, config.method.persistence) == ("campus", 224, 9.0)
    assert config.worker.maps == tmp_path / "maps"
    assert config.link_endpoint == f"ipc://{tmp_path}/s/link"


def test_maps_are_kept_only_where_they_are_asked_for(tmp_path: Path):
    assert settings(tmp_path)["worker"] == {"maps": None, "explain": "always"}


# --- what is refused, and what is reported


def test_a_source_that_is_not_there_is_refused_before_anything_is_touched(tmp_path: Path):
    options = ReplayOptions(str(tmp_path / "film.mp4"), tmp_path / "gallery", tmp_path / "out")
    with pytest.raises(SourceNotFound, match=r"film\.mp4: no such file"):
        run_replay(options, stopping=lambda: False)
    assert not (tmp_path / "out").exists()


def test_a_gallery_that_is_not_there_is_refused_before_anything_is_touched(tmp_path: Path):
    with pytest.raises(GalleryNotFound):
        run_replay(ReplayOptions("campus:", tmp_path / "gallery", tmp_path / "out"), stopping=lambda: False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"weights": Path("none.pth")}, UsageError, r"--weights none\.pth: there is no such file"),
        ({"device": "gpu"}, InputError, "device is 'gpu'"),
        ({"device": "cuda:99"}, BackboneError, "device is 'cuda:99'"),
    ],
)
def test_what_no_worker_could_ever_start_with_is_refused_before_anything_is_touched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    error: type[Exception],
    words: str,
):
    gallery_files.build(tmp_path / "gallery")
    monkeypatch.setattr(replay, "method_settings", lambda gallery, *, weights, device: {"backbone": {"device": device}})
    options = ReplayOptions("campus:", tmp_path / "gallery", tmp_path / "out", seconds=1.0, **given)
    with pytest.raises(error, match=words):
        run_replay(options, stopping=lambda: False)
    assert not (tmp_path / "out").exists()


def summary(rows: tuple[ScoreRow, ...], *, failed: tuple[str, ...] = (), stopped: bool = False) -> int:
    options = ReplayOptions("film.mp4", Path("gallery"), Path("out"))
    outcome: Any = SimpleNamespace(failed=failed)
    return replay._summary(options, Results(rows, ()), outcome, stopped=stopped)


def test_a_complete_replay_is_a_success(capsys: pytest.CaptureFixture[str]):
    assert summary((a_row(1, 0), a_row(1, 1))) == 0
    assert capsys.readouterr().out == "2 frames scored, 0 alert(s): out/index.html\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rows": ()}, "no frame was scored"),
        ({"rows": (a_row(1, 0),), "failed": ("reader replay: cut short",)}, "cut short: the recording was not read"),
        ({"rows": (a_row(1, 0),), "stopped": True}, "stopped before the end"),
        (
            {"rows": (a_row(1, 0), ScoreRow(0, 1, 1.0, "", None, None, None, None, None, "", "damaged"))},
            r"1 frame\(s\) could not be scored; the first: damaged",
        ),
    ],
    ids=["nothing", "broken off", "stopped", "not scored"],
)
def test_an_incomplete_replay_fails_and_says_why(given: dict[str, Any], words: str):
    with pytest.raises(StreamError, match=words):
        summary(**given)
