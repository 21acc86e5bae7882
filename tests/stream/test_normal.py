"""What an operator points at, and which stored alerts that would have silenced; the scores are what the test says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from spade_core.preprocess import Preprocess
from stream.errors import UsageError
from stream.kept_frame import KeptFrame, encode_kept
from stream.messages import Alert, Evidence, Phase, Region
from stream.normal import MOST_FRAMES, History, Rescored, chosen_frames, rescored
from stream.outbox import Outbox

SIDE = 64
PREPROCESS = Preprocess(SIDE)
START, UPDATE, END = Phase.START, Phase.UPDATE, Phase.END
LEFT = Region((0, 0, 40, 40), ((0, 0), (40, 0), (40, 40), (0, 40)), 1600, 2.0)
RIGHT = Region((80, 0, 40, 40), ((80, 0), (120, 0), (120, 40), (80, 40)), 1600, 1.5)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", tmp_path / "evidence", clock=Clock()) as outbox:
        yield outbox


class Clock:
    """Commits come a second apart."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def put(
    outbox: Outbox,
    alert_id: str,
    seq: int,
    phase: Phase = START,
    *,
    score: float = 2.0,
    scene: str = "yard",
    frame: bytes | None = None,
    mask: bool = True,
    **fields: Any,
) -> Alert:
    """A stored message whose frame is told by its number."""
    kept = KeptFrame("gate", scene, seq, float(seq), np.zeros((SIDE, SIDE, 3), np.uint8), None)
    png = cv2.imencode(".png", np.zeros((80, 160), np.uint8))[1].tobytes() if mask else b""
    alert = Alert(
        0, alert_id, phase, "gate", scene, 0.0, float(seq), seq, score, 1.0, fields.pop("regions", (LEFT, RIGHT)), (),
        **fields,
    )  # fmt: skip
    return outbox.commit(alert, Evidence(png, b"jpeg", b"", b"view", encode_kept(kept) if frame is None else frame))


def chosen(outbox: Outbox, alert_id: str = "a", **options: Any) -> list[tuple[int, str]]:
    """(number of the frame, phase) of what is chosen."""
    values = {"message": None, "regions": (), **options}
    found = chosen_frames(outbox, alert_id, preprocess=PREPROCESS, **values).chosen
    return [(one.frame.frame_seq, str(one.alert.phase)) for one in found]


def test_every_frame_of_an_alert_is_chosen_once(outbox: Outbox) -> None:
    put(outbox, "a", 1, START)
    put(outbox, "a", 5, UPDATE)
    put(outbox, "a", 5, END)
    put(outbox, "b", 9, START)

    assert [seq for seq, _ in chosen(outbox)] == [1, 5]


def test_one_kind_of_message_can_be_chosen(outbox: Outbox) -> None:
    put(outbox, "a", 1, START)
    put(outbox, "a", 5, UPDATE)
    put(outbox, "a", 6, UPDATE)

    assert chosen(outbox, message=UPDATE) == [(5, "update"), (6, "update")]
    with pytest.raises(UsageError, match="no message 'end'; it has: start, update"):
        chosen(outbox, message=END)


def test_of_a_long_alert_frames_are_spread_from_the_first_to_the_last(outbox: Outbox) -> None:
    for seq in range(1, 31):
        put(outbox, "a", seq, START if seq == 1 else UPDATE)

    seqs = [seq for seq, _ in chosen(outbox)]
    assert (len(seqs), seqs[0], seqs[-1]) == (MOST_FRAMES, 1, 30)


def test_of_an_alert_over_a_change_of_scene_only_the_strongest_frames_scene_is_meant(outbox: Outbox) -> None:
    put(outbox, "a", 1, START, scene="day", score=1.5)
    put(outbox, "a", 2, UPDATE, scene="night", score=4.0)
    put(outbox, "a", 3, UPDATE, scene="night", score=2.0)
    put(outbox, "a", 4, END, scene="day", score=3.0)

    found = chosen_frames(outbox, "a", message=None, regions=(), preprocess=PREPROCESS)

    assert (found.scene, [one.frame.frame_seq for one in found.chosen], found.left_out) == ("night", [2, 3], 2)
    end = chosen_frames(outbox, "a", message=END, regions=(0,), preprocess=PREPROCESS)
    assert (end.scene, [one.frame.frame_seq for one in end.chosen], end.left_out) == ("day", [4], 0)


def test_a_region_is_one_of_the_strongest_message(outbox: Outbox) -> None:
    put(outbox, "a", 1, START, score=1.5, regions=(RIGHT, LEFT))
    put(outbox, "a", 5, UPDATE, score=3.0, regions=(LEFT,))
    put(outbox, "a", 6, UPDATE, score=2.0, regions=(RIGHT,))

    found = chosen_frames(outbox, "a", message=None, regions=(0,), preprocess=PREPROCESS).chosen

    # The start has it too, as its second one; frame 6 has none at that place.
    assert [one.frame.frame_seq for one in found] == [1, 5]
    assert all(one.inside is not None and one.inside[0, 0] and not one.inside[0, 40] for one in found)
    assert chosen(outbox, regions=(0,), message=START) == [(1, "start")]


def test_a_region_of_something_that_moves_is_only_where_it_is_strongest(outbox: Outbox) -> None:
    beside = Region((25, 0, 40, 40), ((25, 0), (65, 0), (65, 40), (25, 40)), 1600, 2.0)  # overlaps by 15 of 65
    put(outbox, "a", 1, START, score=1.5, regions=(beside,))
    put(outbox, "a", 5, END, score=3.0, regions=(LEFT,))

    assert chosen(outbox, regions=(0,)) == [(5, "end")]


def test_where_a_region_joins_is_known_from_the_size_of_the_mask(outbox: Outbox) -> None:
    put(outbox, "a", 1)

    (one,) = chosen_frames(outbox, "a", message=None, regions=(0,), preprocess=PREPROCESS).chosen

    assert one.inside is not None
    # 40 of 160 pixels across are 16 of 64, 40 of 80 down are 32; and an eighth of the side (8) more.
    assert np.flatnonzero(one.inside.any(axis=0)).max() == 16 + 8
    assert np.flatnonzero(one.inside.any(axis=1)).max() == 32 + 8


def test_a_region_is_the_one_that_was_seen_though_the_alert_has_grown_stronger_since(outbox: Outbox) -> None:
    seen = put(outbox, "a", 1, START, score=1.5, regions=(LEFT, RIGHT)).seq
    put(outbox, "a", 5, END, score=3.0, regions=(RIGHT,))

    assert chosen(outbox, regions=(0,), seen=seen) == [(1, "start")]
    assert chosen(outbox, regions=(1,), seen=seen) == [(1, "start"), (5, "end")]
    with pytest.raises(UsageError, match="its message 9 is gone"):
        chosen(outbox, regions=(0,), seen=9)


def test_a_region_that_is_not_there_is_refused(outbox: Outbox) -> None:
    put(outbox, "a", 1)
    put(outbox, "b", 1, regions=())

    with pytest.raises(UsageError, match="no region 2 in its start message; it has 0 to 1"):
        chosen(outbox, regions=(2,))
    with pytest.raises(UsageError, match="it has none"):
        chosen(outbox, "b", regions=(0,))


def test_a_region_cannot_be_placed_without_the_mask(outbox: Outbox) -> None:
    put(outbox, "a", 1, mask=False)

    with pytest.raises(UsageError, match="mask is lost"):
        chosen(outbox, regions=(0,))
    assert chosen(outbox) == [(1, "start")]


def test_an_alert_that_is_not_there_is_named(outbox: Outbox) -> None:
    with pytest.raises(UsageError, match="there is no alert 'a'"):
        chosen(outbox)


@pytest.mark.parametrize("frame", [b"", b"no frame"])
def test_an_alert_whose_frames_were_not_kept_cannot_join(outbox: Outbox, frame: bytes) -> None:
    put(outbox, "a", 1, frame=frame)

    with pytest.raises(UsageError, match="none of its frames was kept"):
        chosen(outbox)


# -- the history -------------------------------------------------------------------------------------------------------

Strengths = Mapping[int, tuple[float, float]]


def history(
    outbox: Outbox, strengths: Strengths, *, lasting: Strengths | None = None, since: float = 0.0, **options: Any
) -> History:
    def judge(frame: KeptFrame, lasts: Any) -> tuple[float, float]:
        if lasts is not None:  # only where its regions were: to 120 of 160 pixels across
            assert lasts[0, 0]
            assert not lasts[-1].any()
        return (strengths if lasts is None else lasting or {})[frame.frame_seq]

    values = {
        "scene": "yard",
        "preprocess": PREPROCESS,
        "always": "a",
        "real": (),
        "on_progress": lambda done, total: None,
        **options,
    }
    return rescored(outbox, since=since, judge=judge, **values)


def test_an_alert_is_silenced_when_none_of_its_frames_is_above_the_threshold_any_more(outbox: Outbox) -> None:
    for number, alert_id in enumerate("abc"):
        put(outbox, alert_id, 10 * number + 1, START)
        put(outbox, alert_id, 10 * number + 2, END)
    strengths = {1: (1.5, 0.1), 2: (2.0, 1.0), 11: (1.5, 0.1), 12: (2.0, 1.1), 21: (1.5, 1.5), 22: (3.0, 3.0)}

    found = history(outbox, strengths)

    assert found.silenced == (Rescored("a", 2.0, 1.0),)
    assert found.kept == (Rescored("c", 3.0, 3.0), Rescored("b", 2.0, 1.1))
    assert (found.rescored, found.not_rescored) == (3, 0)


def test_an_alert_that_the_old_version_would_not_raise_either_is_not_called_silenced(outbox: Outbox) -> None:
    put(outbox, "a", 1)

    found = history(outbox, {1: (0.9, 0.1)})

    assert (found.silenced, found.kept, found.rescored) == ((), (), 1)


def test_real_alerts_come_first(outbox: Outbox) -> None:
    for seq, alert_id in enumerate("abc", start=1):
        put(outbox, alert_id, seq)

    found = history(outbox, {1: (9.0, 0.0), 2: (2.0, 0.0), 3: (3.0, 0.0)}, real={"b"})

    assert found.silenced == (Rescored("b", 2.0, 0.0, real=True), Rescored("a", 9.0, 0.0), Rescored("c", 3.0, 0.0))
    assert found.silenced[0].to_json() == {"alert_id": "b", "before": 2.0, "after": 0.0, "real": True}


def test_alerts_of_other_scenes_and_of_longer_ago_are_left_out_but_never_the_one_it_is_about(outbox: Outbox) -> None:
    put(outbox, "a", 1)  # committed at 1001
    put(outbox, "b", 2)
    put(outbox, "c", 3)
    put(outbox, "d", 4, scene="hall")

    found = history(outbox, dict.fromkeys(range(9), (2.0, 0.0)), since=1003.0)

    assert sorted(one.alert_id for one in found.silenced) == ["a", "c"]


def test_one_that_went_on_in_another_scene_is_not_called_silenced(outbox: Outbox) -> None:
    for seq, alert_id in ((1, "a"), (11, "b")):
        put(outbox, alert_id, seq, START)
        put(outbox, alert_id, seq + 1, END, scene="yard-night")

    found = history(outbox, {1: (2.0, 0.5), 11: (2.0, 1.5)})  # the night's frames are another gallery's

    assert (found.silenced, found.kept, found.not_rescored) == ((), (Rescored("b", 2.0, 1.5),), 1)


@pytest.mark.parametrize("lost", ["start", "end"])
def test_an_alert_of_which_a_frame_is_lost_is_not_judged(outbox: Outbox, lost: str) -> None:
    put(outbox, "a", 1, START, frame=b"" if lost == "start" else None)
    put(outbox, "a", 2, END, frame=b"" if lost == "end" else None)

    found = history(outbox, {1: (2.0, 0.0), 2: (2.0, 0.0)})

    assert (found.silenced, found.rescored, found.not_rescored) == ((), 0, 1)


LASTED = {"persistence": 1.4, "appearance": 0.8}


def test_one_that_lasted_is_silenced_where_it_would_be_even_if_it_lasted_for_ever(outbox: Outbox) -> None:
    put(outbox, "a", 1, why=LASTED)

    found = history(outbox, {1: (0.8, 0.1)}, lasting={1: (1.9, 0.9)})

    assert found.silenced == (Rescored("a", 1.9, 0.9),)


def test_one_that_lasted_is_not_called_silenced_where_nobody_can_tell(outbox: Outbox) -> None:
    put(outbox, "a", 1, why=LASTED)

    found = history(outbox, {1: (0.8, 0.1)}, lasting={1: (1.9, 1.1)})

    assert (found.silenced, found.kept, found.not_rescored) == ((), (), 1)


def test_one_that_lasted_is_kept_where_it_alerts_without_that(outbox: Outbox) -> None:
    put(outbox, "a", 1, why=LASTED)

    assert history(outbox, {1: (2.0, 1.5)}).kept == (Rescored("a", 2.0, 1.5),)


def test_the_progress_goes_from_none_to_all(outbox: Outbox) -> None:
    put(outbox, "a", 1)
    put(outbox, "b", 2)
    told: list[tuple[int, int]] = []

    history(
        outbox,
        dict.fromkeys(range(9), (2.0, 0.0)),
        on_progress=lambda done, total: told.append((done, total)),
    )

    assert told == [(0, 2), (1, 2), (2, 2)]


def test_more_alerts_than_are_read_at_once_are_all_judged(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.normal._BATCH", 3)
    for seq in range(10):
        put(outbox, f"n{seq}", seq)

    assert history(outbox, dict.fromkeys(range(10), (2.0, 0.0)), always="n0").rescored == 10
    assert history(outbox, dict.fromkeys(range(10), (2.0, 0.0)), always="n9", since=1005.0).rescored == 6
