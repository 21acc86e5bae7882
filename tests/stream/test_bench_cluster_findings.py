"""What the demonstration of a cluster sees, and when it says that a promise was broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream.bench.cluster_findings import Shown, Watched, failures, is_even, look, messages, rows
from stream.bench.cluster_overhead import Reading
from stream.bench.cluster_overhead import rows as overhead_rows
from stream.bench.cluster_site import all_scored, spread
from stream.bench.local_ray import LocalNode
from stream.bench.process_tree import descendants
from stream.messages import Alert, Evidence, iso_time
from stream.outbox import Outbox
from stream.sinks.trial import trial_alert, trial_evidence

KILLED = 1_700_000_000.0


def camera(worker: str, *, state: str = "LIVE", frame: float = KILLED + 1, scored: int = 5) -> dict[str, Any]:
    return {"worker": worker, "state": state, "scored": scored, "last_frame_time": iso_time(frame)}


def document(cameras: dict[str, Any], *, dead: str = "RUNNING", outbox: str = "live") -> dict[str, Any]:
    return {
        "cameras": cameras,
        "workers": [{"name": "a:0", "state": dead}, {"name": "b:0", "state": "RUNNING"}],
        "outboxes": [{"id": "1", "node": "a", "state": outbox}],
    }


def seen(found: dict[str, Any], *, after: float) -> Watched:
    watched = Watched(killed=100.0, cameras=frozenset({"gate"}))
    look(watched, found, "a:0", "a", now=100.0 + after, killed=KILLED)
    return watched


def test_a_camera_that_another_worker_scores_is_elsewhere() -> None:
    assert seen(document({"gate": camera("b:0")}), after=5.0).elsewhere == {"gate": 5.0}


@pytest.mark.parametrize(
    "there",
    [
        camera("b:0", state="NOT_SCORED"),
        camera("b:0", scored=0),
        camera("b:0", frame=KILLED - 1),
        camera("a:0"),
    ],
)
def test_a_camera_is_not_elsewhere_before_a_frame_of_after_the_death_was_scored(there: dict[str, Any]) -> None:
    assert seen(document({"gate": there}), after=5.0).elsewhere == {}


def test_a_camera_that_still_looks_well_on_the_dead_worker_is_silent_after_a_while() -> None:
    assert seen(document({"gate": camera("a:0")}), after=3.0).silent == set()
    assert seen(document({"gate": camera("a:0")}), after=9.0).silent == {"gate"}


def test_a_camera_that_says_that_nobody_scores_it_is_not_silent() -> None:
    assert seen(document({"gate": camera("", state="NOT_SCORED")}), after=60.0).silent == set()


def test_the_death_and_the_missing_outbox_are_noticed_when_they_are_told() -> None:
    before = seen(document({}), after=1.0)
    after = seen(document({}, dead="GONE", outbox="missing"), after=2.5)

    assert (before.noticed, before.missing) == (None, None)
    assert (after.noticed, after.missing) == (2.5, 2.5)


def test_a_control_that_does_not_answer_says_nothing() -> None:
    watched = seen({}, after=60.0)

    assert (watched.elsewhere, watched.noticed, watched.silent) == ({}, None, set())


@pytest.mark.parametrize(
    ("counts", "moving", "even"), [((4, 4), [], True), ((5, 4), [], True), ((6, 4), [], False), ((4, 4), [1], False)]
)
def test_a_load_is_even_when_nothing_moves_and_one_camera_is_the_difference(
    counts: tuple[int, int], moving: list[int], even: bool
) -> None:
    cameras = {f"{w}{n}": camera(f"{w}:0") for w, count in zip("ab", counts, strict=True) for n in range(count)}

    assert is_even({**document(cameras), "moves": {"moving": moving, "waiting": 0}}, workers=2) is even


def test_a_dead_worker_has_no_part_in_the_spread() -> None:
    found = document({"gate": camera("b:0"), "yard": camera("b:0")}, dead="GONE")

    assert spread(found) == {"b:0": 2}
    assert all_scored(found, cameras=2)
    assert not all_scored(found, cameras=3)


def kept() -> Shown:
    watched = Watched(0.0, frozenset({"gate"}), elsewhere={"gate": 6.0}, noticed=2.0, missing=2.5)
    return Shown({"a": 1, "b": 1}, watched, 40, with_two={"b": 2}, after={"b": 1, "c": 1}, committed=9, on_dead=2)


def test_no_promise_is_broken_where_all_went_well() -> None:
    assert failures(kept()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.watched.elsewhere.clear(), "not scored elsewhere: gate"),
        (lambda s: s.watched.elsewhere.update(gate=15.1), "after 15.1 s; 15 are promised"),
        (lambda s: s.watched.silent.add("gate"), "looked well while nobody scored them: gate"),
        (lambda s: setattr(s.watched, "missing", None), "never named as missing"),
        (lambda s: setattr(s, "lost", 1), "1 committed alert messages are lost"),
        (lambda s: setattr(s, "ended", (1, 5.0)), "exit code 1"),
    ],
)
def test_each_broken_promise_is_named(change: Any, words: str) -> None:
    shown = kept()
    change(shown)

    (found,) = failures(shown)
    assert words in found


def test_the_rows_tell_the_story() -> None:
    found = {row.name: row.figures for row in rows(kept())}

    assert found["a node dies"]["all_scored_s"] == 6.0
    assert found["after the death of a node"]["most"] == 2.0
    assert found["alert messages"] == {
        "committed": 9.0,
        "on_dead_node": 2.0,
        "unfetched": 0.0,
        "lost": 0.0,
        "back_after_s": 0.0,
    }


def test_messages_of_all_outboxes_under_a_folder_are_counted_once(tmp_path: Path) -> None:
    alert, evidence = trial_alert(KILLED), trial_evidence()
    for place in ("one", "other"):
        commit(tmp_path / place, alert, evidence)

    assert messages(tmp_path) == {(alert.alert_id, str(alert.phase), str(alert.frame_seq))}
    assert messages(tmp_path / "nothing") == set()


def commit(folder: Path, alert: Alert, evidence: Evidence) -> None:
    folder.mkdir()
    with Outbox(folder / "outbox.sqlite", folder / "evidence") as outbox:
        outbox.commit(alert, evidence)


def test_the_overhead_is_processor_time_per_frame_over_that_of_one_machine() -> None:
    plain = (
        Reading(0.0, 100, {"score": 1.0, "read": 2.0, "feed": 0.0}),
        Reading(10.0, 200, {"score": 2, "read": 4, "feed": 0}),
    )
    other = (
        Reading(0.0, 0, {"score": 0.0, "read": 0.0, "feed": 0.0}),
        Reading(10.0, 50, {"score": 1, "read": 1, "feed": 0}),
    )

    found = {row.name: row for row in overhead_rows(plain, other, (3.0, 5.0))}

    assert found["worker, one machine"].figures["cpu_ms_per_frame"] == pytest.approx(10.0)
    assert found["worker, cluster"].ratio == pytest.approx(2.0)
    assert found["readers, cluster"].ratio == pytest.approx(1.0)
    assert found["feed, cluster"].ratio is None
    assert found["besides, cluster"].figures["cores"] == pytest.approx(0.2)


def test_all_processes_of_a_node_are_found_also_those_without_a_parent(tmp_path: Path) -> None:
    start = "p = subprocess.Popen(['sleep', '60'], start_new_session=True)"
    code = f"import subprocess; {start}; print(p.pid, flush=True)"
    environment = {**os.environ, "SPADE_NODE_FOLDER": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code + "; p.wait()"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    node = LocalNode("a", tmp_path, (), {}, process=parent)  # type: ignore[arg-type]
    try:
        assert list(descendants(parent.pid)) == [child]
        assert node.processes() == [parent.pid, child]
        parent.kill()
        parent.wait()
        assert node.processes() == [child]
    finally:
        parent.kill()
        os.kill(child, 9)
        parent.stdout.close()
