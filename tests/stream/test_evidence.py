"""What belongs to an alert as files: their names, and the way back from a name to the alert."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.durable import safe_name
from stream.errors import AlertRefused
from stream.evidence import PICTURES, name_pictures, named_in, owner_of, pictures_of, size_of, without_local
from stream.messages import Alert, Evidence, Phase
from stream.wire import MAX_PART_BYTES

ALL = Evidence(b"png", b"jpeg", b"clip", b"view", b"npz")
ALERT = Alert(0, "a1", Phase.END, "gate/north", "yard", 0.0, 86_400.0, 7, 2.0, 1.0, (), ())


def test_every_picture_is_named_by_day_camera_and_message() -> None:
    named = name_pictures(ALERT, ALL)

    assert (named.mask, named.snapshot, named.clip) == (
        "1970-01-02/gate%2Fnorth/a1-end-7.mask.png",
        "1970-01-02/gate%2Fnorth/a1-end-7.jpg",
        "1970-01-02/gate%2Fnorth/a1-end-7.mp4",
    )
    assert (named.view, named.frame) == (
        "1970-01-02/gate%2Fnorth/a1-end-7.view.jpg",
        "1970-01-02/gate%2Fnorth/a1-end-7.frame.npz",
    )
    assert [data for _, data in pictures_of(named, ALL)] == [b"png", b"jpeg", b"clip", b"view", b"npz"]
    assert size_of(ALL) == 18


def test_what_receivers_get_has_neither_the_clean_view_nor_the_scoring_input() -> None:
    assert size_of(without_local(ALL)) == 11
    assert without_local(ALL).snapshot_jpeg == b"jpeg"


def test_an_empty_picture_has_no_name() -> None:
    named = name_pictures(replace(ALERT, clip="of another place"), Evidence(b"", b"jpeg"))

    assert (named.mask, named.clip) == (None, None)
    assert [data for _, data in pictures_of(named, ALL)] == [b"jpeg"]


@pytest.mark.parametrize("data", [data for _, data, _ in PICTURES])
def test_a_picture_that_the_feed_cannot_carry_is_refused(data: str) -> None:
    evidence = Evidence(**{"mask_png": b"", "snapshot_jpeg": b"", data: bytes(MAX_PART_BYTES + 1)})

    with pytest.raises(AlertRefused, match="smaller pictures"):
        name_pictures(ALERT, evidence)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(Phase), st.integers(0, 2**63))
def test_a_name_leads_back_to_its_message(alert_id: str, phase: Phase, frame_seq: int) -> None:
    named = name_pictures(replace(ALERT, alert_id=alert_id, phase=phase, frame_seq=frame_seq), ALL)

    for name, _ in pictures_of(named, ALL):
        legible = "=" not in safe_name(alert_id)  # in the name of a long id, or of none, stands a hash
        assert owner_of(name) == ((alert_id, str(phase), frame_seq) if legible else None)


@pytest.mark.parametrize(
    "name",
    ["", "readme.txt", "d/c/a1.jpg", "d/c/a1-start-x.jpg", "d/c/a 1-start-1.jpg", "d/c/" + "a" * 67 + "=0-start-1.jpg"],
)
def test_a_name_that_is_not_ours_leads_nowhere(name: str) -> None:
    assert owner_of(name) is None


@pytest.mark.parametrize("document", ["", "[]", "{", '{"mask": "../x.png", "snapshot": "/etc/x", "clip": 5}'])
def test_what_is_damaged_names_nothing(document: str) -> None:
    assert named_in(document) == []
