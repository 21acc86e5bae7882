"""What a cluster's programs tell each other: it comes back as it went, and what is not well formed is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cluster.model import (
    MAX_NAME,
    MAX_URL,
    MAX_WORDS,
    Access,
    OutboxPlace,
    OutboxState,
    Place,
    ReaderOrders,
    ReaderReport,
    StationState,
    WorkerOrders,
    WorkerReport,
)
from stream.fields import MAX_WHOLE

WORDS = r"\w{3}"  # any error that says something

Message = Place | OutboxPlace | Access | WorkerOrders | WorkerReport | ReaderOrders | ReaderReport

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MANY = st.lists(TEXTS, max_size=3).map(tuple)
WHOLES = st.integers(0, MAX_WHOLE)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.none() | st.booleans() | FINITE | WHOLES | TEXTS
JSON = st.recursive(VALUES, lambda of: st.lists(of, max_size=2) | st.dictionaries(TEXTS, of, max_size=2), max_leaves=4)
DOCUMENTS = st.dictionaries(TEXTS, JSON, max_size=2)
STATES = st.sampled_from(StationState)

PLACES = st.builds(Place, TEXTS, WHOLES, TEXTS, TEXTS, TEXTS, TEXTS)
OUTBOXES = st.builds(OutboxPlace, TEXTS, TEXTS, st.sampled_from(OutboxState), FINITE, WHOLES, TEXTS, TEXTS)
ACCESS = st.builds(
    Access,
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.dictionaries(TEXTS, MANY, max_size=3),
    st.dictionaries(TEXTS, MANY, max_size=3),
)
WORKER_ORDERS = st.builds(WorkerOrders, WHOLES, MANY, MANY, ACCESS, st.none() | TEXTS)
WORKER_REPORTS = st.builds(
    WorkerReport,
    *(TEXTS, TEXTS, STATES, TEXTS, WHOLES, TEXTS, TEXTS, TEXTS, st.lists(OUTBOXES, max_size=3).map(tuple)),
    *(DOCUMENTS, MANY, MANY, st.dictionaries(TEXTS, TEXTS, max_size=3), DOCUMENTS, DOCUMENTS),
)
READER_ORDERS = st.builds(ReaderOrders, WHOLES, MANY, TEXTS, TEXTS)
READER_REPORTS = st.builds(ReaderReport, TEXTS, TEXTS, STATES, TEXTS, WHOLES, TEXTS, DOCUMENTS)

OUTBOX = OutboxPlace("box-1", "gpu-a", OutboxState.LIVE, 1.7e9, 42, "tcp://10.0.0.1:8501", "KEY")
REPORT = WorkerReport(
    "gpu-a:0", "gpu-a", StationState.RUNNING, "", 7, "tcp://10.0.0.1:8500", "KEY", "OWN", (OUTBOX,), ready=("gate",)
)
SAMPLES: tuple[Message, ...] = (
    Place("gate", 7, "gpu-a:0", "tcp://10.0.0.1:8500", "KEY"),
    OUTBOX,
    Access({"gpu-a": "KEY"}, {"READER": ("gate",)}, {"SUBSCRIBER": ("archive",)}),
    WorkerOrders(7, ("gate",), ("yard",), Access({"gpu-a": "KEY"}), '{"revision": 1}'),
    REPORT,
    ReaderOrders(7, ("gate",), "tcp://10.0.0.1:8480", "KEY"),
    ReaderReport("readers:gpu-a", "gpu-a", StationState.DEGRADED, "gate restarts", 7, "OWN", {"gate": {"pid": 1}}),
)
COUNTED = [
    (Place, "generation"),
    (OutboxPlace, "last_seq"),
    (WorkerOrders, "generation"),
    (WorkerReport, "generation"),
    (ReaderOrders, "generation"),
    (ReaderReport, "generation"),
]
LISTS = [
    (WorkerOrders, "cameras"),
    (WorkerOrders, "prefetch"),
    (WorkerReport, "outboxes"),
    (WorkerReport, "ready"),
    (WorkerReport, "cached"),
    (ReaderOrders, "cameras"),
]
OBJECTS = [
    (Access, "nodes"),
    (Access, "readers"),
    (Access, "subscribers"),
    (WorkerOrders, "access"),
    (WorkerReport, "cameras"),
    (WorkerReport, "fetching"),
    (WorkerReport, "status"),
    (WorkerReport, "processes"),
    (ReaderReport, "cameras"),
]


def sample(kind: type[Message]) -> Message:
    return next(message for message in SAMPLES if type(message) is kind)


def sent(message: Message) -> dict[str, Any]:
    """As it travels, read by nobody in particular."""
    if isinstance(message, Place | OutboxPlace | Access):
        return dict(json.loads(json.dumps(message.to_json(), allow_nan=False)))
    return dict(json.loads(message.to_text()))


def received(kind: type[Message], fields: Mapping[str, Any]) -> Message:
    if issubclass(kind, Place | OutboxPlace | Access):
        return kind.from_json(fields)
    return kind.from_text(json.dumps(fields))


@given(st.one_of(PLACES, OUTBOXES, ACCESS, WORKER_ORDERS, WORKER_REPORTS, READER_ORDERS, READER_REPORTS))
def test_every_message_comes_back_as_it_went(message: Message) -> None:
    assert received(type(message), sent(message)) == message


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_what_is_sent_names_every_field_once(message: Message) -> None:
    assert sent(message).keys() == set(type(message).__dataclass_fields__)


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_without_one_of_its_fields_is_refused(message: Message) -> None:
    for name in sent(message).keys() - {"operator"}:
        fields = sent(message)
        del fields[name]
        with pytest.raises(ValueError, match=name):
            received(type(message), fields)


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_field_of_another_kind_is_refused(message: Message) -> None:
    for name, value in sent(message).items():
        for wrong in (True, [1], {"a": [1]}, "x" if not isinstance(value, str) else 1):
            if not fits(message, name, wrong):
                with pytest.raises(ValueError, match=WORDS):
                    received(type(message), {**sent(message), name: wrong})


def fits(message: Message, name: str, value: object) -> bool:
    """Documents hold whatever their makers put there."""
    documents = {"cameras", "status", "processes"} if isinstance(message, WorkerReport) else {"cameras"}
    free = isinstance(message, WorkerReport | ReaderReport) and name in documents and isinstance(value, dict)
    return free or (name == "operator" and isinstance(value, str))


@pytest.mark.parametrize(("kind", "name"), COUNTED)
@pytest.mark.parametrize("wrong", [-1, MAX_WHOLE + 1, 1.0, "1", None])
def test_numbers_that_count_are_whole_and_bounded(kind: type[Message], name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=f"{name} is"):
        received(kind, {**sent(sample(kind)), name: wrong})


@pytest.mark.parametrize(("kind", "name"), LISTS)
@pytest.mark.parametrize("wrong", [None, "gate", {"gate": 1}, [1], [None]])
def test_lists_are_lists_of_what_belongs_there(kind: type[Message], name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=name):
        received(kind, {**sent(sample(kind)), name: wrong})


@pytest.mark.parametrize(("kind", "name"), OBJECTS)
@pytest.mark.parametrize("wrong", [None, "gate", ["gate"], 1])
def test_objects_are_objects(kind: type[Message], name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=name):
        received(kind, {**sent(sample(kind)), name: wrong})


@pytest.mark.parametrize("name", ["readers", "subscribers"])
@pytest.mark.parametrize("wrong", ["gate", None, [1], {"gate": 1}])
def test_what_a_key_may_be_is_a_list_of_names(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=name):
        Access.from_json({"nodes": {}, "readers": {}, "subscribers": {}, name: {"KEY": wrong}})


@pytest.mark.parametrize(
    ("kind", "name", "most"),
    [
        (Place, "camera", MAX_NAME),
        (Place, "endpoint", MAX_URL),
        (Place, "reason", MAX_WORDS),
        (OutboxPlace, "id", MAX_NAME),
        (OutboxPlace, "endpoint", MAX_URL),
        (WorkerReport, "worker", MAX_NAME),
        (WorkerReport, "reason", MAX_WORDS),
        (WorkerReport, "endpoint", MAX_URL),
        (ReaderOrders, "directory", MAX_URL),
        (ReaderReport, "station", MAX_NAME),
    ],
)
def test_texts_have_their_bounds(kind: type[Message], name: str, most: int) -> None:
    fields = sent(sample(kind))

    assert getattr(received(kind, {**fields, name: "x" * most}), name) == "x" * most
    with pytest.raises(ValueError, match=f"at most {most} characters"):
        received(kind, {**fields, name: "x" * (most + 1)})


@pytest.mark.parametrize("wrong", ["", "running", "ASLEEP", "live"])
def test_states_that_nobody_knows_are_refused(wrong: str) -> None:
    for kind in (WorkerReport, ReaderReport):
        with pytest.raises(ValueError, match="StationState"):
            received(kind, {**sent(sample(kind)), "state": wrong})


def test_an_outbox_is_live_or_missing() -> None:
    with pytest.raises(ValueError, match="OutboxState"):
        OutboxPlace.from_json({**OUTBOX.to_json(), "state": "gone"})


READ: tuple[Callable[[str], Message], ...] = (
    WorkerOrders.from_text,
    WorkerReport.from_text,
    ReaderOrders.from_text,
    ReaderReport.from_text,
)


@given(data=st.text(max_size=40) | JSON.map(json.dumps))
def test_what_is_no_message_is_refused_with_a_value_error(data: str) -> None:
    for read in READ:
        with pytest.raises(ValueError, match=WORDS):
            read(data)


@pytest.mark.parametrize("message", [m for m in SAMPLES if not isinstance(m, Place | OutboxPlace | Access)])
def test_a_text_that_was_cut_off_is_refused(message: WorkerOrders | WorkerReport | ReaderOrders | ReaderReport) -> None:
    whole = message.to_text()
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=WORDS):
            received_text(type(message), whole[:length])


def received_text(kind: Any, data: str) -> Message:
    found: Message = kind.from_text(data)
    return found


def test_a_key_that_comes_twice_and_what_is_no_number_are_refused() -> None:
    text = WorkerOrders(7).to_text()

    with pytest.raises(ValueError, match="comes twice"):
        WorkerOrders.from_text(text.replace('"cameras"', '"generation": 8, "cameras"'))
    with pytest.raises(ValueError, match="NaN is no number"):
        WorkerOrders.from_text(text.replace("7", "NaN"))


def test_orders_without_operators_settings_are_told_from_empty_ones() -> None:
    assert WorkerOrders.from_text(WorkerOrders(1).to_text()).operator is None
    assert WorkerOrders.from_text(WorkerOrders(1, operator="").to_text()).operator == ""


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert received(Place, {**sent(sample(Place)), "colour": "red"}) == sample(Place)
    assert received(WorkerReport, {**sent(REPORT), "colour": "red"}) == REPORT


def test_half_a_character_is_refused() -> None:
    text = replace(REPORT, reason="\ud800").to_text()

    with pytest.raises(ValueError, match="no text that UTF-8 can hold"):
        WorkerReport.from_text(text)


def test_a_station_with_more_to_say_than_may_travel_is_still_understood() -> None:
    """Were its report refused, it would count as silent, and its cameras would be taken away for its honesty."""
    many = "; ".join(f"the reader of camera-{n} is waiting" for n in range(500))
    reader = ReaderReport("n1:readers", "n1", StationState.DEGRADED, many, 1, "k")
    worker = WorkerReport("n1:0", "n1", StationState.DEGRADED, many, 1, "", "", "k", (), fetching={"yard": many})

    assert ReaderReport.from_text(reader.to_text()).reason == many[: MAX_WORDS - 3] + "..."
    found = WorkerReport.from_text(worker.to_text())
    assert found.reason == found.fetching["yard"] == many[: MAX_WORDS - 3] + "..."
