"""What operators set: the file, its bounds, changes by several people, and what a running program is told."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream import lockfile, operator_settings
from stream.errors import OperatorSettingsError, SettingsConflict
from stream.operator_settings import (
    SCHEMA,
    CameraOperator,
    OperatorSettings,
    SettingsWatch,
    change_settings,
    decode_settings,
    encode_settings,
    read_settings,
    with_factor,
    with_snooze,
    with_zones,
    without_snooze,
)
from stream.zones import Zone

ALL = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
TREE = Zone("tree", "ignore", LEFT_HALF)
SET = CameraOperator((TREE,), 1.5, 2000.0, "roadworks")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "operator.json"


def louder(settings: OperatorSettings) -> OperatorSettings:
    return with_factor(settings, "gate", 2.0)


# The file


def test_nothing_is_set_where_there_is_no_file(path: Path) -> None:
    assert read_settings(path) == OperatorSettings(0, {})
    assert read_settings(path).of("gate") == CameraOperator((), 1.0, None, "")


def test_what_is_set_comes_back_as_it_was(path: Path) -> None:
    change_settings(path, lambda settings: settings.put("gate", SET))

    assert read_settings(path) == OperatorSettings(1, {"gate": SET})
    assert json.loads(path.read_bytes())["schema"] == SCHEMA


def test_every_change_makes_a_revision_and_leaves_other_cameras_alone(path: Path) -> None:
    change_settings(path, lambda settings: settings.put("gate", SET))
    settings = change_settings(path, lambda settings: with_factor(settings, "yard", 0.5))

    assert (settings.revision, settings.of("gate"), settings.of("yard").threshold_factor) == (2, SET, 0.5)
    assert read_settings(path) == settings


def test_a_camera_that_is_as_it_was_made_is_not_kept(path: Path) -> None:
    change_settings(path, louder)

    assert change_settings(path, lambda settings: with_factor(settings, "gate", 1.0)).cameras == {}


def test_a_change_that_fails_changes_nothing(path: Path) -> None:
    change_settings(path, louder)
    with pytest.raises(ValueError, match="threshold_factor is 21"):
        change_settings(path, lambda settings: with_factor(settings, "gate", 21.0))

    assert read_settings(path).revision == 1


def test_zones_that_leave_nothing_to_watch_are_never_written(path: Path) -> None:
    blind = CameraOperator((Zone("all", "ignore", ALL),))
    with pytest.raises(ValueError, match="leave nothing of the picture to watch"):
        change_settings(path, lambda settings: settings.put("gate", blind))

    assert not path.exists()


def test_a_change_that_was_made_for_another_revision_is_refused(path: Path) -> None:
    change_settings(path, louder)
    change_settings(path, louder, expected=1)

    with pytest.raises(SettingsConflict, match="at revision 2, your change was made for 1"):
        change_settings(path, louder, expected=1)
    assert read_settings(path).revision == 2


def test_changes_at_the_same_time_are_all_made(path: Path) -> None:
    def add(n: int) -> None:
        change_settings(path, lambda settings: with_factor(settings, f"camera{n}", 2.0))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    settings = read_settings(path)
    assert (settings.revision, len(settings.cameras)) == (8, 8)


def test_a_lock_that_is_never_given_back_is_an_error_that_names_who_has_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_settings, "_LOCK_WAIT", 0.05)
    path.parent.mkdir()
    lock = lockfile.take(path.with_name("operator.json.lock"))
    try:
        with pytest.raises(OperatorSettingsError, match=f"process {os.getpid()} has been changing"):
            change_settings(path, louder)
    finally:
        os.close(lock)
    assert change_settings(path, louder).revision == 1


def test_a_damaged_file_is_not_written_over(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"schema":')

    with pytest.raises(OperatorSettingsError, match=r"operator.json: the operators' settings are damaged.*delete it"):
        change_settings(path, louder)
    assert path.read_bytes() == b'{"schema":'


def test_what_would_be_too_much_to_be_read_again_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_settings(path, lambda settings: settings.put("gate", SET))
    before = path.read_bytes()
    monkeypatch.setattr(operator_settings, "_MOST_BYTES", len(before) + 50)

    with pytest.raises(ValueError, match=r"would take \d+ bytes; \d+ fit: remove zones"):
        change_settings(path, lambda settings: settings.put("yard", SET))
    assert path.read_bytes() == before
    assert read_settings(path).of("gate") == SET


def test_the_file_takes_no_more_room_than_it_must() -> None:
    assert b" " not in encode_settings(OperatorSettings(1, {"gate": SET})).replace(b"roadworks", b"")


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(operator_settings, "write_durably", full)
    with pytest.raises(OperatorSettingsError, match=r"operator.json: the settings cannot be written: No space left"):
        change_settings(path, louder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema": "spade-stream/operator/2"}, "schema is 'spade-stream/operator/2'; this version reads"),
        ({"revision": -1}, "revision is -1"),
        ({"revision": True}, "revision is True"),
        ({"cameras": []}, r"cameras is \[\]; an object"),
        ({"cameras": None}, "cameras is None"),
        ({"camera": {}}, "'camera' is no key of it"),
        ({"cameras": {"": {}}}, "a camera is called ''"),
        ({"cameras": {"gate": {"zone": []}}}, r"cameras\.gate: 'zone' is no key of it"),
        ({"cameras": {"gate": {"zones": [{}]}}}, r"cameras\.gate: zones\[0\]: polygon is missing"),
        ({"cameras": {"gate": {"threshold_factor": "2"}}}, "threshold_factor is '2'"),
        ({"cameras": {"gate": {"threshold_factor": 0.1}}}, "threshold_factor is 0.1; it must be 0.2 to 20"),
        ({"cameras": {"gate": {"snoozed_until": -1}}}, "snoozed_until is -1"),
        ({"cameras": {"gate": {"snoozed_until": 1e11}}}, "before the year 3000"),
        ({"cameras": {"gate": {"snooze_reason": "x" * 201}}}, "at most 200 characters"),
    ],
)
def test_the_file_is_read_strictly(change: dict[str, Any], complaint: str) -> None:
    whole = json.loads(encode_settings(OperatorSettings(3, {"gate": SET})))

    with pytest.raises(ValueError, match=complaint):
        decode_settings(json.dumps(whole | change).encode())


def test_a_camera_of_which_little_is_said_has_the_defaults_for_the_rest() -> None:
    data = {"schema": SCHEMA, "revision": 1, "cameras": {"gate": {"threshold_factor": 2}}}

    assert decode_settings(json.dumps(data).encode()).of("gate") == CameraOperator(threshold_factor=2.0)


# What operators do


def test_a_snooze_lasts_for_its_minutes_and_can_be_ended() -> None:
    settings = with_snooze(OperatorSettings(), "gate", now=1000.0, minutes=10, reason="roadworks")

    assert settings.of("gate") == CameraOperator(snoozed_until=1600.0, snooze_reason="roadworks")
    assert without_snooze(settings, "gate").of("gate") == CameraOperator()


@pytest.mark.parametrize("minutes", [0, -1, 10081, float("nan")])
def test_a_snooze_has_bounds(minutes: float) -> None:
    with pytest.raises(ValueError, match=r"a snooze lasts more than 0 and at most 10080 \(a week\)"):
        with_snooze(OperatorSettings(), "gate", now=0.0, minutes=minutes)


def test_new_zones_take_the_place_of_the_old_and_leave_the_rest() -> None:
    door = Zone("door", "watch", LEFT_HALF)
    settings = with_zones(OperatorSettings(cameras={"gate": SET}), "gate", (door,), fixed=())

    assert settings.of("gate") == replace(SET, zones=(door,))


def test_zones_are_tried_together_with_those_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="'door', 'tree' leave nothing"):
        with_zones(OperatorSettings(), "gate", (TREE,), fixed=(Zone("door", "watch", LEFT_HALF),))
    with pytest.raises(ValueError, match="2 zones are called 'tree'"):
        with_zones(OperatorSettings(), "gate", (TREE,), fixed=(TREE,))


# What a running program is told


def test_a_watch_tells_what_is_set_when_it_is_first_asked_and_then_only_what_is_new(path: Path) -> None:
    watch = SettingsWatch(path)

    assert watch() == OperatorSettings()
    assert watch() is None
    made = change_settings(path, louder)
    assert watch() == made
    assert watch() is None
    assert (watch.current, watch.problem) == (made, "")


def test_a_damaged_file_leaves_the_last_good_settings_in_force_and_says_so(path: Path) -> None:
    watch = SettingsWatch(path)
    good = change_settings(path, louder)
    assert watch() == good

    path.write_text("{")
    assert watch() is None
    assert str(path) in watch.problem
    assert watch.problem.endswith("Until then revision 1 stays in force")
    assert watch.current == good
    assert watch() is None
    assert watch.problem != ""

    path.unlink()
    mended = change_settings(path, louder)
    assert watch() == mended
    assert watch.problem == ""


def test_a_file_that_was_damaged_from_the_beginning_is_told_too(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("[]")
    watch = SettingsWatch(path)

    assert watch() is None
    assert "not an object" in watch.problem
    assert watch.current == OperatorSettings()


def test_a_file_that_is_gone_means_that_nothing_is_set_any_more(path: Path) -> None:
    watch = SettingsWatch(path)
    change_settings(path, louder)
    watch()
    path.unlink()

    assert watch() == OperatorSettings()
