"""Scenes of an evaluation that were scored apart: what they leave, and how that becomes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream.config import Config, build_config
from stream.errors import UsageError
from stream.evaluate.part import run_part
from stream.evaluate.parts import PARTS, Part, gather, hand_over, scoring_of, whole_rate
from stream.stopping import StopSignal

PICTURES = ("mask", "snapshot")


def part(out: Path, scene: str = "01") -> Part:
    return Part("shanghaitech", "/data", scene, 2, str(out), reused=False, values={"cameras": [{"id": scene}]})


def config(out: Path) -> Config:
    values = {"state": "state", "cameras": [{"id": "01", "source": "x"}], "gallery": {"folder": "galleries"}}
    return build_config(values, where="eval", base=out, environment={})


def worked(folder: Path, scene: str, *, alerts: int = 0) -> Path:
    """What the pipeline leaves in a folder."""
    for name in (
        f"galleries/{scene}/CURRENT",
        f"maps/{scene}/0.npy",
        f"state/scores/{scene}/day.csv",
        "state/x.sqlite",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(scene)
    (folder / "pictures").mkdir()
    lines = []
    for seq in range(1, alerts + 1):
        names = {"mask": f"pictures/{seq:09d}.mask.png", "snapshot": f"pictures/{seq:09d}.jpg", "clip": None}
        for name in PICTURES:
            (folder / str(names[name])).write_text(f"{scene} {seq} {name}")
        lines.append(json.dumps({"seq": seq, "camera": scene, **names}) + "\n")
    if alerts:
        (folder / "alerts.jsonl").write_text("".join(lines))
    return folder


def test_a_part_arrives_as_it_was_sent() -> None:
    sent = part(Path("/out"))

    assert Part.from_text(sent.to_text()) == sent


def test_what_is_handed_over_is_all_that_the_evaluation_needs(tmp_path: Path) -> None:
    (tmp_path / "out" / PARTS).mkdir(parents=True)
    hand_over(worked(tmp_path / "node", "01", alerts=1), part(tmp_path / "out"))

    [left] = (tmp_path / "out" / PARTS).iterdir()
    assert left.name == "01"
    assert sorted(path.name for path in left.rglob("*") if path.is_file()) == [
        "0.npy",
        "000000001.jpg",
        "000000001.mask.png",
        "CURRENT",
        "alerts.jsonl",
        "day.csv",
    ]


def test_a_second_attempt_that_comes_late_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "out" / PARTS).mkdir(parents=True)
    hand_over(worked(tmp_path / "first", "01"), part(tmp_path / "out"))
    second = worked(tmp_path / "second", "01")
    (second / "maps" / "01" / "0.npy").write_text("second")
    hand_over(second, part(tmp_path / "out"))

    assert (tmp_path / "out" / PARTS / "01" / "maps" / "01" / "0.npy").read_text() == "01"
    assert [path.name for path in (tmp_path / "out" / PARTS).iterdir()] == ["01"]


def test_alerts_of_all_scenes_get_numbers_of_their_own_and_keep_their_pictures(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / PARTS).mkdir(parents=True)
    for scene, alerts in (("01", 1), ("02", 2)):
        hand_over(worked(tmp_path / scene, scene, alerts=alerts), part(out, scene))

    gather(config(out), out, ["01", "02"])

    found: list[dict[str, Any]] = [json.loads(line) for line in (out / "alerts.jsonl").read_text().splitlines()]
    assert [(alert["seq"], alert["camera"]) for alert in found] == [(1, "01"), (2, "02"), (3, "02")]
    assert [(out / alert["mask"]).read_text() for alert in found] == ["01 1 mask", "02 1 mask", "02 2 mask"]
    assert [alert["snapshot"] for alert in found] == [f"pictures/{seq:09d}.jpg" for seq in (1, 2, 3)]
    assert (out / "galleries" / "02" / "CURRENT").read_text() == "02"
    assert (out / "state" / "scores" / "01" / "day.csv").read_text() == "01"
    assert (out / "maps" / "02" / "0.npy").read_text() == "02"
    assert not (out / PARTS).exists()


def test_a_gallery_takes_the_place_of_an_earlier_one_that_was_made_with_other_settings(tmp_path: Path) -> None:
    earlier = tmp_path / "galleries" / "01"
    earlier.mkdir(parents=True)
    (earlier / "CURRENT").write_text("earlier")
    worked(tmp_path / PARTS / "01", "01")

    gather(config(tmp_path), tmp_path, ["01"])

    assert [(path.name, path.read_text()) for path in earlier.iterdir()] == [("CURRENT", "01")]


def test_scenes_of_single_images_have_no_alerts(tmp_path: Path) -> None:
    (tmp_path / PARTS).mkdir()
    hand_over(worked(tmp_path / "node", "01"), part(tmp_path))

    gather(config(tmp_path), tmp_path, ["01"])

    assert not (tmp_path / "alerts.jsonl").exists()


def test_the_rate_of_the_whole_is_that_of_all_scenes_one_after_the_other() -> None:
    # 100 frames in 10 s and 300 in 10 s; of the third it is not known.
    assert whole_rate({"a": 100, "b": 300, "c": 5}, {"a": 10.0, "b": 30.0, "c": None}) == 20.0
    assert whole_rate({"c": 5}, {"c": None}) is None


def test_problems_of_all_scenes_are_problems_of_the_whole() -> None:
    results = {"a": {"problems": ["one"], "frames_per_second": 4.0}, "b": {"problems": []}}
    found = scoring_of({"a": 8, "b": 8}, results, ["scene c: lost"])

    assert (found.problems, found.frames_per_second) == (("one", "scene c: lost"), 4.0)


def test_a_file_that_is_no_part_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part.json").write_text("{}")
    with pytest.raises(UsageError, match=r"part\.json: dataset"):
        run_part(tmp_path / "part.json", stopping=StopSignal())
