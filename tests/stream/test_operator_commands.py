"""``operator``: what its actions set, what they say, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream.cli import main
from stream.operator_settings import CameraOperator, change_settings, read_settings, with_factor
from stream.zones import Zone

NOW = 1_000_000.0
LEFT = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
TREE = {"name": "tree", "kind": "ignore", "polygon": LEFT}
CONFIG = """
state: state
cameras:
  - id: gate
    source: /recordings/gate.mp4
  - id: yard
    source: /recordings/yard.mp4
    zones:
      - {name: road, kind: watch, polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
"""


class Site:
    """A configuration, and the command line on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.config = folder / "site.yaml"
        self.config.write_text(CONFIG)
        self.file = folder / "state" / "operator.json"

    def __call__(self, action: str, *arguments: str, camera: str | None = "gate") -> tuple[int, str, str]:
        """Exit code, and what was said on both outputs."""
        named = [] if camera is None else ["--camera", camera]
        code = main(["operator", action, str(self.config), *named, *arguments])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def zones(self, value: Any) -> list[str]:
        path = self.folder / "zones.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return ["--file", str(path)]

    def of(self, camera: str = "gate") -> CameraOperator:
        return read_settings(self.file).of(camera)


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr("stream.operator_commands.time.time", lambda: NOW)
    return Site(tmp_path, capsys)


def test_a_camera_is_snoozed_for_some_minutes_and_woken_again(site: Site) -> None:
    code, said, _ = site("snooze", "--minutes", "10", "--reason", "roadworks")

    assert (code, site.of()) == (0, CameraOperator(snoozed_until=NOW + 600, snooze_reason="roadworks"))
    assert said == ("gate: threshold x 1, no zones, snoozed until 1970-01-12T13:56:40.000Z (roadworks) (revision 1)\n")
    code, said, _ = site("unsnooze")
    assert (code, said, site.of()) == (0, "gate: threshold x 1, no zones (revision 2)\n", CameraOperator())


def test_a_threshold_gets_a_factor(site: Site) -> None:
    code, said, _ = site("sensitivity", "--factor", "1.5")

    assert (code, site.of().threshold_factor, site.of("yard").threshold_factor) == (0, 1.5, 1.0)
    assert said == "gate: threshold x 1.5, no zones (revision 1)\n"


def test_zones_come_from_a_file_and_take_the_place_of_older_ones(site: Site) -> None:
    site("zones", *site.zones({"zones": [TREE]}))
    code, said, _ = site("zones", *site.zones({"zones": [TREE | {"name": "hedge"}]}))

    assert (code, site.of().zones) == (0, (Zone("hedge", "ignore", tuple((x, y) for x, y in LEFT)),))
    assert said == "gate: threshold x 1, zones: ignore hedge (revision 2)\n"
    assert site("zones", "--clear")[0] == 0
    assert site.of().zones == ()


def test_show_tells_of_every_camera_what_is_set(site: Site) -> None:
    site("sensitivity", "--factor", "2")
    code, said, _ = site("show", camera=None)

    assert code == 0
    assert said.splitlines() == [
        f"{site.file}: revision 1",
        "  gate                     threshold x 2, no zones",
        "  yard                     threshold x 1, zones: watch road",
    ]


def test_show_tells_scripts_all_there_is(site: Site) -> None:
    site("zones", *site.zones({"zones": [TREE]}))
    told = json.loads(site("show", "--json", camera=None)[1])

    assert told["revision"] == 1
    assert told["cameras"]["gate"]["zones"] == [TREE]
    assert told["cameras"]["yard"]["threshold_factor"] == 1.0


def test_a_snooze_that_is_over_is_not_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site("snooze", "--minutes", "10")
    monkeypatch.setattr("stream.operator_commands.time.time", lambda: NOW + 601)

    assert "snoozed" not in site("show", camera=None)[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("snooze", "--minutes", "0"), "camera gate: minutes is 0.0; a snooze lasts more than 0"),
        (("snooze", "--minutes", "5", "--reason", "x" * 201), "camera gate: snooze_reason has 201 characters"),
        (("sensitivity", "--factor", "nan"), "camera gate: threshold_factor is nan"),
        (("zones", "--file", "/nowhere/zones.json"), "--file /nowhere/zones.json: No such file"),
    ],
)
def test_what_is_out_of_bounds_is_a_usage_error_and_sets_nothing(
    site: Site, arguments: tuple[str, ...], complaint: str
) -> None:
    code, _, said = site(*arguments)

    assert code == 2
    assert complaint in said
    assert not site.file.exists()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], "a JSON list, not an object"),
        ({"zone": []}, 'it must hold {"zones": [...]} and nothing else'),
        ({"zones": [{"name": "a"}]}, "zones[0]: polygon is missing"),
        ({"zones": [TREE | {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}]}, "leave nothing of the picture to watch"),
        ("{", "zones.json: "),
    ],
)
def test_a_file_of_zones_that_is_wrong_is_a_usage_error(site: Site, value: Any, complaint: str) -> None:
    code, _, said = site("zones", *site.zones(value))

    assert code == 2
    assert complaint in said


def test_zones_are_tried_together_with_those_of_the_configuration(site: Site) -> None:
    code, _, said = site("zones", *site.zones({"zones": [TREE]}), camera="yard")

    assert code == 2
    assert "the zones 'road', 'tree' leave nothing" in said


def test_an_unknown_camera_is_an_error_that_names_those_there_are(site: Site) -> None:
    code, _, said = site("unsnooze", camera="roof")

    assert code == 2
    assert "'roof' is not in the configuration; it has: gate, yard" in said


def test_a_damaged_file_is_an_error_that_names_it(site: Site) -> None:
    site.file.parent.mkdir()
    site.file.write_text("{}")

    for action in ("show", "unsnooze"):
        code, _, said = site(action, camera=None if action == "show" else "gate")
        assert code == 1
        assert str(site.file) in said


def test_a_change_leaves_what_others_have_set(site: Site) -> None:
    change_settings(site.file, lambda settings: with_factor(settings, "yard", 3.0))
    site("snooze", "--minutes", "1")

    assert site.of("yard").threshold_factor == 3.0


def test_an_action_is_required(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["operator"])

    assert stopped.value.code == 2
    assert "ACTION" in capsys.readouterr().err
