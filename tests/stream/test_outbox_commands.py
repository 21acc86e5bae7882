"""The ``outbox`` actions: what is stored, what goes, and who is forgotten, as a user sees it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stream import outbox_commands
from stream.errors import UsageError
from stream.messages import Alert, CameraState, Evidence, Phase, StateEvent
from stream.outbox import Outbox

CONFIG = "cameras: [{id: gate, source: 'campus:?seed=1'}]\nretention: {days: 1}\n"
LONG_AGO = 1000.0


def run(action: str, config: Path, **options: object) -> int:
    """The exit code of an action; what is not given is as the parser would have it."""
    defaults: dict[str, object] = {"json": False, "include_unacknowledged": False}
    code: int = getattr(outbox_commands, action)(argparse.Namespace(config=config, **defaults | options), lambda: False)
    return code


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def reopened(config: Path) -> Callable[[], Outbox]:
    """Opens the outbox of that configuration; three alerts of long ago are in it, a subscriber has the first."""

    def open_outbox() -> Outbox:
        state = config.parent / "state"
        return Outbox(state / "outbox.sqlite", state / "evidence", clock=lambda: LONG_AGO)

    with open_outbox() as outbox:
        for n in (1, 2, 3):
            alert = Alert(0, f"a{n}", Phase.START, "gate", "yard", 0.0, float(n), n, 2.0, 1.0, (), ())
            outbox.commit(alert, Evidence(b"x" * 60, b"y" * 40))
        outbox.acknowledge("archive", 1)
        outbox.record_event(StateEvent("gate", CameraState.STALLED, "no frame for 5 s", 60.0))
    return open_outbox


@pytest.mark.usefixtures("reopened")
def test_info_says_what_is_there_and_who_is_behind(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", config) == 0
    said = capsys.readouterr().out

    assert "3 alert messages, 0.0 MB of pictures, 1 to 3, the oldest of 1970-01-01T00:16:40.000Z" in said
    assert "archive" in said
    assert "has 1, 2 behind" in said
    assert "STALLED" in said


@pytest.mark.usefixtures("reopened")
def test_info_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", config, json=True) == 0
    found = json.loads(capsys.readouterr().out)

    assert (found["alerts"], found["bytes"], found["first_seq"], found["last_seq"]) == (3, 300, 1, 3)
    assert found["subscribers"] == [{"name": "archive", "seq": 1, "behind": 2}]
    assert found["cameras"][0]["reason"] == "no frame for 5 s"


def test_prune_keeps_what_a_subscriber_waits_for_and_says_so(
    config: Path, reopened: Callable[[], Outbox], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("prune", config) == 1
    said = capsys.readouterr()

    assert said.out.startswith("removed 1 alert messages")
    assert "kept for archive: 2 alert messages" in said.err
    with reopened() as outbox:
        assert [alert.seq for alert in outbox.read_after(0, limit=9)] == [2, 3]


def test_prune_takes_it_too_if_told_so(config: Path, reopened: Callable[[], Outbox]) -> None:
    assert run("prune", config, include_unacknowledged=True) == 0
    with reopened() as outbox:
        assert outbox.usage().alerts == 0


def test_a_subscriber_that_is_forgotten_holds_up_nothing(config: Path, reopened: Callable[[], Outbox]) -> None:
    assert run("forget", config, name="archive") == 0
    assert run("prune", config) == 0
    with reopened() as outbox:
        assert (outbox.acknowledged(), outbox.usage().alerts) == ({}, 0)


@pytest.mark.usefixtures("reopened")
def test_an_unknown_subscriber_is_a_mistake_and_the_known_ones_are_named(config: Path) -> None:
    with pytest.raises(UsageError, match="no subscriber 'archvie' is registered; there are: archive"):
        run("forget", config, name="archvie")


@pytest.mark.parametrize("action", ["info", "prune", "forget"])
def test_looking_makes_no_outbox(config: Path, action: str) -> None:
    with pytest.raises(UsageError, match="there is no outbox yet"):
        run(action, config, name="archive")
    assert not (config.parent / "state").exists()
