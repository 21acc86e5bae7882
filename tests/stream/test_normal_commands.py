"""``gallery normal`` from the command line to the gallery: with a tiny network, a real gallery and a real outbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_extractor import Footage, a_picture, brief_settings, tiny_extractor

from spade_core.campus import CampusParameters
from spade_core.gallery import Gallery
from stream.cli import main
from stream.enroll import enroll
from stream.kept_frame import KeptFrame, encode_kept
from stream.messages import Alert, Evidence, Phase, Region
from stream.normal_commands import MOST_TOLD, _bounded, in_words
from stream.operator_settings import CameraOperator, OperatorSettings, change_settings
from stream.outbox import Outbox
from stream.stopping import StopSignal
from stream.zones import Zone

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64
FRAMES = 60
SMALL_BANK = CampusParameters(bank=1, persistence=1.0, average=1, reach=0, sigma=1.0)
UPPER_LEFT = Region((0, 0, 32, 32), ((0, 0), (31, 0), (31, 31), (0, 31)), 1024, 2.0)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of one camera, whose scene is enrolled: grey, of brightness 10 to 69."""
    monkeypatch.setattr("stream.engine.extractor_of", lambda config: tiny_extractor(side=SIDE))
    enroll(
        Footage(100),
        tmp_path / "galleries" / "gate",
        settings=brief_settings(capacity=60),
        extractor=tiny_extractor(side=SIDE),
        parameters=SMALL_BANK,
        note={},
        on_progress=lambda progress: None,
    )
    path = tmp_path / "site.yaml"
    path.write_text(
        "state: state\ngallery: {folder: galleries}\nmethod: {size: 64}\nworker: {threads: 1}\n"
        "cameras: [{id: gate, source: gate.mp4}]\n"
    )
    return path


def put(site: Path, alert_id: str, image: np.ndarray, *, seq: int = 1) -> None:
    """An alert of one message, with what was scored."""
    frame = KeptFrame("gate", "gate", seq, float(seq), image, None)
    mask = cv2.imencode(".png", np.zeros((SIDE, SIDE), np.uint8))[1].tobytes()
    alert = Alert(0, alert_id, Phase.START, "gate", "gate", 0.0, float(seq), seq, 2.0, 1.0, (UPPER_LEFT,), ())
    with Outbox(site.parent / "state" / "outbox.sqlite", site.parent / "state" / "evidence") as outbox:
        outbox.commit(alert, Evidence(mask, b"jpeg", b"", b"view", encode_kept(frame)))


def with_square(brightness: int, square: int) -> np.ndarray:
    image = a_picture(brightness, side=SIDE)
    image[:32, :32] = square
    return image


def asked(site: Path, capsys: pytest.CaptureFixture[str], alert_id: str, *words: str) -> dict[str, Any]:
    """The result, as the console gets it."""
    assert main(["gallery", "normal", str(site), alert_id, "--progress", "json", *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"reading", "rescoring"} <= {line["progress"]["stage"] for line in lines[:-1]}
    result: dict[str, Any] = lines[-1]["result"]
    return result


def in_force(site: Path) -> Gallery:
    return Gallery(site.parent / "galleries" / "gate")


def test_a_dry_run_says_what_would_be_silenced_and_writes_nothing(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(site, "bright", with_square(40, 200), seq=1)
    put(site, "like-it", with_square(42, 203), seq=2)
    put(site, "other", np.ascontiguousarray(with_square(40, 200)[::-1]), seq=3)  # at another place

    result = asked(site, capsys, "bright", "--dry-run")

    assert (result["scene"], result["from"], result["version"], result["undo"]) == ("gate", "v000001", None, None)
    assert {one["alert_id"] for one in result["silenced"]} == {"bright", "like-it"}
    assert [one["alert_id"] for one in result["kept"]] == ["other"]
    assert all(one["after"] < 1 < one["before"] for one in result["silenced"])
    assert (result["rescored"], result["not_rescored"]) == (3, 0)
    assert len(list(site.parent.glob("galleries/gate/v*"))) == 1


def test_what_is_normal_joins_as_a_new_version_and_can_be_undone(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(site, "bright", a_picture(200, side=SIDE))
    foreseen = asked(site, capsys, "bright", "--dry-run")

    result = asked(site, capsys, "bright")

    assert (result["from"], result["version"], result["frames"]) == ("v000001", "v000002", 1)
    assert result["silenced"] == foreseen["silenced"]
    assert len(in_force(site)) == FRAMES + 1
    assert in_force(site).manifest["note"]["sources"] == ["alert bright"]
    again = asked(site, capsys, "bright", "--dry-run")
    assert again["silenced"] == [], "the version in force does not raise it any more"

    words = result["undo"].split()
    assert words[:3] == ["spade-stream", "gallery", "use"]
    assert main(words[1:]) == 0
    capsys.readouterr()
    assert asked(site, capsys, "bright", "--dry-run")["silenced"] == foreseen["silenced"]


def test_a_new_enrolment_says_what_was_called_normal_and_is_not_in_it(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.commands._open_to_watch", lambda camera, stop: Footage(400))
    put(site, "bright", a_picture(200, side=SIDE))
    asked(site, capsys, "bright")

    assert main(["enroll", str(site), "--camera", "gate", "--progress", "json"]) == 0
    said = capsys.readouterr().out
    assert "1 frame(s) called normal in v000002 are not in this version" in said
    assert json.loads(said.splitlines()[-1])["result"]["normal_left_out"] == 1

    assert main(["enroll", str(site), "--camera", "gate", "--progress", "json"]) == 0
    said = capsys.readouterr().out
    assert "called normal" not in said
    assert json.loads(said.splitlines()[-1])["result"]["normal_left_out"] == 0


def test_only_a_region_of_it_can_become_normal(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(site, "square", with_square(40, 200), seq=1)
    put(site, "all-of-it", a_picture(200, side=SIDE), seq=2)

    result = asked(site, capsys, "square", "--region", "0")

    assert [one["alert_id"] for one in result["silenced"]] == ["square"]
    assert [one["alert_id"] for one in result["kept"]] == ["all-of-it"]
    assert in_force(site).manifest["note"]["regions"] == [0]


def test_a_real_alert_that_would_be_silenced_comes_first(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(site, "bright", a_picture(202, side=SIDE), seq=1)
    put(site, "burglar", a_picture(200, side=SIDE), seq=2)

    result = asked(site, capsys, "bright", "--dry-run", "--real", "burglar")

    assert [(one["alert_id"], one.get("real", False)) for one in result["silenced"]] == [
        ("burglar", True),
        ("bright", False),
    ]


def test_alerts_are_judged_with_what_is_set_for_their_camera(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(site, "square", with_square(40, 200))
    plain = asked(site, capsys, "square", "--dry-run")["silenced"][0]["before"]

    def setting(operator: CameraOperator) -> None:
        change_settings(
            site.parent / "state" / "operator.json",
            lambda now: OperatorSettings(now.revision, {"gate": operator}),
        )

    setting(CameraOperator(threshold_factor=0.5))
    assert asked(site, capsys, "square", "--dry-run")["silenced"][0]["before"] == pytest.approx(2 * plain)
    setting(CameraOperator(zones=(Zone("tree", "ignore", ((0, 0), (0.6, 0), (0.6, 0.6), (0, 0.6))),)))
    assert asked(site, capsys, "square", "--dry-run")["silenced"] == [], "what is ignored raises no alert now"


def test_people_are_told_in_words(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(site, "bright", a_picture(200, side=SIDE))

    assert main(["gallery", "normal", str(site), "bright", "--real", "bright"]) == 0

    said = capsys.readouterr().out
    assert "1 alerts scored again, 0 could not be" in said
    assert "a REAL alert is silenced: bright" in said
    assert f"undo: spade-stream gallery use {site.parent / 'galleries' / 'gate'} v000001" in said


def test_a_dry_run_says_so(tmp_path: Path) -> None:
    nothing = {"scene": "gate", "from": "v000001", "version": None, "frames": 1, "left_out": 3}
    history = {"rescored": 1, "not_rescored": 2, "already_silent": 1, "silenced": [], "kept": []}

    lines = in_words({**nothing, **history, "undo": None}, tmp_path)

    assert "  1 are silent already, by the threshold and zones of today" in lines
    assert lines[-2] == "  3 frame(s) of the alert show another scene of the camera and are left out"
    assert lines[-1] == f"{tmp_path}: v000001 stays in force; without --dry-run this makes a new version"


def test_stopped_meanwhile_it_adds_nothing(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(site, "bright", a_picture(200, side=SIDE))
    monkeypatch.setattr(StopSignal, "__call__", lambda self: True)

    assert main(["gallery", "normal", str(site), "bright"]) == 1

    assert "stopped; nothing was added" in capsys.readouterr().err
    assert in_force(site).version == "v000001"


def test_without_an_outbox_there_is_no_alert_and_none_is_made(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "normal", str(site), "bright"]) == 2
    assert "there is no outbox yet" in capsys.readouterr().err
    assert not (site.parent / "state" / "outbox.sqlite").exists()


def test_an_alert_that_is_not_there_is_wrong_usage(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(site, "bright", a_picture(200, side=SIDE))

    assert main(["gallery", "normal", str(site), "dark"]) == 2
    assert "there is no alert 'dark'" in capsys.readouterr().err


def test_a_program_is_told_of_so_many_alerts_as_fit_a_line_and_of_all_by_their_number() -> None:
    silenced = [{"alert_id": f"a{n}", "before": 2.0, "after": 0.5, "real": n < 3} for n in range(5000)]
    told = _bounded({"scene": "gate", "silenced": silenced, "kept": silenced[:1]})
    assert told["silenced"] == silenced[:MOST_TOLD]
    assert (told["silenced_count"], told["silenced_real_count"], told["kept_count"]) == (5000, 3, 1)
    assert len(json.dumps(told)) < 100_000
