"""Which processes a new configuration touches, and which it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.config import Config, build_config
from stream.errors import ConfigError
from stream.reload import RESTARTED_BY, Plan, plan, poller

CAMERAS = [{"id": "gate", "source": "rtsp://cam/1"}, {"id": "yard", "source": "rtsp://cam/2"}]
SINKS = [{"type": "jsonl", "folder": "alerts"}, {"type": "stdout"}]
BOTH_READERS = {"reader gate", "reader yard"}
BOTH_SINKS = {"sink jsonl", "sink stdout"}


def config(cameras: list[dict[str, Any]] = CAMERAS, **sections: Any) -> Config:
    data = {"cameras": cameras, "sinks": SINKS, "console": {"enabled": False}, **sections}
    return build_config(data, where="site.yaml", base=Path("/site"), environment={})


def gate(**changes: Any) -> list[dict[str, Any]]:
    return [{**CAMERAS[0], **changes}, CAMERAS[1]]


def test_the_same_configuration_touches_nobody_but_the_worker_looks_for_new_galleries() -> None:
    steps = plan(config(), config())

    assert steps == Plan()
    assert steps.tell_worker
    assert steps.in_words == "the configuration has not changed; new versions of galleries are opened"


def test_a_new_camera_touches_no_other_process_but_tells_the_worker() -> None:
    steps = plan(config(), config([*CAMERAS, {"id": "roof", "source": "rtsp://cam/3"}]))

    assert steps == Plan(added=("camera roof",))


def test_a_camera_that_goes_touches_no_other_process_but_tells_the_worker() -> None:
    assert plan(config(), config(CAMERAS[:1])) == Plan(removed=("camera yard",))


@pytest.mark.parametrize("change", [{"source": "rtsp://cam/9"}, {"fps": 2.0}, {"read_timeout": 9.0}, {"mode": "live"}])
def test_a_camera_that_changes_restarts_its_reader_alone(change: dict[str, Any]) -> None:
    steps = plan(config(), config(gate(**change)))

    assert steps == Plan(changed=("camera gate",), restart=frozenset({"reader gate"}))


DAY_AND_NIGHT = [{"scene": "day", "hours": "06:00-20:00"}, {"scene": "night"}]
ROOF = {"name": "roof", "kind": "ignore", "polygon": [[0, 0], [1, 0], [1, 0.2]]}


@pytest.mark.parametrize(
    "change", [{"scene": "north"}, {"scenes": DAY_AND_NIGHT}, {"moved_after": 60.0}, {"zones": [ROOF]}]
)
def test_what_a_camera_sees_is_the_workers_business_alone(change: dict[str, Any]) -> None:
    assert plan(config(), config(gate(**change))) == Plan(changed=("camera gate",))


def test_the_order_of_cameras_says_nothing() -> None:
    steps = plan(config(), config(CAMERAS[::-1]))

    assert (steps.added, steps.removed, steps.restart) == ((), (), set())


@pytest.mark.parametrize(
    ("sections", "restart", "told"),
    [
        ({"alerts": {"cooldown": 60.0}}, set(), True),
        ({"alerts": {"min_duration": 2.0}}, {"worker"}, False),
        ({"backbone": {"device": "cpu"}}, {"worker"}, False),
        ({"worker": {"threads": 1}}, {"worker"}, False),
        ({"method": {"bank": 64}}, {"worker"}, False),
        ({"clips": {"seconds": 5.0}}, {"worker"}, False),
        ({"retention": {"days": 5.0}}, {"feed"}, True),
        ({"log": {"format": "json"}}, {"feed", "worker", *BOTH_SINKS, *BOTH_READERS}, False),
        ({"method": {"size": 128}}, {"worker", *BOTH_READERS}, False),
        ({"method": {"crop": 128}}, {"worker", *BOTH_READERS}, False),
        ({"method": {"motion_memory": 1.0}}, {"worker", *BOTH_READERS}, False),
        ({"security": {"keys": "keys"}}, {"feed", "worker", *BOTH_SINKS, *BOTH_READERS}, False),
        ({"link": {"endpoint": "ipc:///run/link"}}, {"worker", *BOTH_READERS}, False),
        ({"feed": {"endpoint": "ipc:///run/feed"}}, {"feed", *BOTH_SINKS}, True),
        ({"gallery": {"folder": "elsewhere"}}, set(), True),
        ({"drift": {"per_day": 5}}, set(), True),
        ({"scenes": {"gate": {"gallery": "elsewhere"}}}, set(), True),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_section_that_changes_reaches_whom_it_concerns(
    sections: dict[str, Any], restart: set[str], told: bool
) -> None:
    steps = plan(config(), config(**sections))

    assert (steps.restart, steps.tell_worker, steps.changed) == (restart, told, tuple(sections))


def test_a_worker_that_starts_anew_need_not_be_told() -> None:
    steps = plan(config(), config(CAMERAS[:1], worker={"threads": 1}))

    assert steps.restart == {"worker"}
    assert not steps.tell_worker


def test_only_the_sink_that_changes_starts_anew() -> None:
    other = [{"type": "jsonl", "folder": "elsewhere"}, {"type": "stdout"}]

    assert plan(config(), config(sinks=other)) == Plan(changed=("sink jsonl",), restart=frozenset({"sink jsonl"}))


def test_sinks_come_and_go_alone() -> None:
    assert plan(config(), config(sinks=SINKS[:1])) == Plan(removed=("sink stdout",))
    assert plan(config(sinks=SINKS[:1]), config()) == Plan(added=("sink stdout",))


def test_a_new_process_is_started_not_restarted() -> None:
    steps = plan(config(CAMERAS[:1]), config(feed={"endpoint": "ipc:///run/feed"}, method={"size": 128}))

    assert "reader yard" not in steps.restart


def test_another_state_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="state: is /site/state and would be /elsewhere"):
        plan(config(), config(state="/elsewhere"))


def test_every_section_has_its_rule() -> None:
    assert set(Config.model_fields) == {*RESTARTED_BY, "state"}


def test_what_was_done_is_said_in_one_line_without_secrets() -> None:
    secret = gate(source="rtsp://admin:hunter2@cam/1")
    steps = plan(config(), config([*secret[:1], {"id": "roof", "source": "0"}], worker={"threads": 1}))

    assert steps.in_words == ("added camera roof; removed camera yard; changed camera gate, worker; restarted worker")


class Hup:
    """A signal that comes when the test says so."""

    def __init__(self) -> None:
        self.asked, self.confirmed = False, 0

    def __call__(self) -> bool:
        asked, self.asked = self.asked, False
        return asked

    def done(self) -> None:
        self.confirmed += 1


def test_a_new_configuration_is_handed_out_once_and_confirmed_when_it_is_taken() -> None:
    hup, fresh = Hup(), config(CAMERAS[:1])
    poll = poller(hup, lambda: fresh)
    assert poll() is None

    hup.asked = True
    assert poll() is fresh
    assert hup.confirmed == 0, "the caller has it, and works on it"
    assert poll() is None
    assert hup.confirmed == 1
    assert poll() is None
    assert hup.confirmed == 1


def test_a_wrong_configuration_is_logged_and_nothing_is_handed_out(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> Config:
        raise ConfigError("site.yaml", ["cameras: is required"])

    hup = Hup()
    hup.asked = True

    assert poller(hup, load)() is None
    assert "cameras: is required" in caplog.text


CONSOLE: dict[str, Any] = {"console": {"address": "127.0.0.1:9000"}}


@pytest.mark.parametrize(
    "sections",
    [
        {"console": {"address": "127.0.0.1:9001"}},
        {**CONSOLE, "cameras": gate(scene="north")},
        {**CONSOLE, "gallery": {"folder": "elsewhere"}},
        {**CONSOLE, "alerts": {"cooldown": 60.0}},
    ],
)
def test_the_console_starts_anew_with_whatever_it_shows(sections: dict[str, Any]) -> None:
    assert plan(config(**CONSOLE), config(**sections)).restart == {"console"}


@pytest.mark.parametrize("section", [{"retention": {"days": 9.0}}, {"clips": {"seconds": 9.0}}, {"sinks": []}])
def test_the_console_goes_on_with_what_it_does_not_show(section: dict[str, Any]) -> None:
    assert "console" not in plan(config(**CONSOLE), config(**CONSOLE, **section)).restart


def test_a_console_that_comes_or_goes_is_not_started_anew() -> None:
    assert plan(config(), config(**CONSOLE)).restart == set()
    assert plan(config(**CONSOLE), config()).restart == set()
