"""The wire format under everything that can happen to a message, and everything that somebody may put into one."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import WireError
from stream.messages import MAX_FRAME_SIDE, Alert, Evidence, FramePacket, Neighbour, Phase, Region, iso_time
from stream.wire import LIMITS, Kind, decode, decode_alert, decode_frame, encode, encode_alert, encode_frame

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DATES = st.floats(0, 4e9)  # Unix seconds, up to 2096
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WHOLE = st.integers(0, 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
METAS = st.dictionaries(TEXTS, JSON, max_size=6)


def refuses(parts: list[bytes]) -> bool:
    """Whether ``decode`` refuses these parts; anything but a WireError fails the test."""
    try:
        decode(parts)
    except WireError:
        return True
    return False


def signed(kind: int, meta: bytes, payloads: list[bytes]) -> list[bytes]:
    """A message whose checksum is right, whatever it says."""
    head = struct.pack("!4sBBHI", b"SPDS", 2, kind, len(payloads), len(meta))
    checked = [head, *(struct.pack("!I", len(part)) + part for part in (meta, *payloads))]
    return [head + struct.pack("!I", zlib.crc32(b"".join(checked))), meta, *payloads]


def plain(parts: list[Any]) -> list[bytes]:
    return [bytes(part) for part in parts]


@contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fails where more than so many bytes are allocated at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= limit
    finally:
        tracemalloc.stop()


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """Any message that may be sent, of any kind."""
    kind = draw(st.sampled_from(Kind))
    payloads = draw(st.lists(st.binary(max_size=20), max_size=len(LIMITS[kind].payloads)))
    return plain(encode(kind, draw(METAS), payloads))


@st.composite
def frames(draw: st.DrawFn) -> FramePacket:
    side, (rows, columns) = draw(st.integers(1, 5)), draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    image = np.frombuffer(draw(st.binary(min_size=3 * side**2, max_size=3 * side**2)), np.uint8)
    flow = draw(st.none() | st.binary(min_size=2 * rows * columns, max_size=2 * rows * columns))
    return FramePacket(
        camera=draw(TEXTS),
        seq=draw(WHOLE),
        frame_time=draw(DATES),
        media_time=draw(FINITE),
        captured_mono=draw(FINITE),
        segment=draw(TEXTS),
        source_size=draw(st.tuples(st.integers(1, 8000), st.integers(1, 8000))),
        image=image.reshape(side, side, 3),
        motion=None if flow is None else np.frombuffer(flow, np.float16).reshape(rows, columns),
        view=draw(st.binary(max_size=30)),
        drops=draw(st.dictionaries(TEXTS, WHOLE, max_size=4)),
    )


PIXELS = st.integers(0, MAX_FRAME_SIDE)
REGIONS = st.builds(
    Region,
    bbox=st.tuples(PIXELS, PIXELS, PIXELS, PIXELS),
    polygon=st.lists(st.tuples(PIXELS, PIXELS), max_size=5).map(tuple),
    area=WHOLE,
    peak=FINITE,
)
NEIGHBOURS = st.builds(Neighbour, index=WHOLE, distance=FINITE, source=TEXTS, media_time=FINITE)
MILLISECONDS = st.integers(0, 4 * 10**12).map(lambda n: n / 1000)  # what the published form keeps of a time
ALERTS = st.builds(
    Alert,
    seq=WHOLE,
    alert_id=TEXTS,
    phase=st.sampled_from(Phase),
    camera=TEXTS,
    scene=TEXTS,
    started_at=MILLISECONDS,
    frame_time=MILLISECONDS,
    frame_seq=WHOLE,
    score=FINITE,
    threshold=FINITE,
    regions=st.lists(REGIONS, max_size=3).map(tuple),
    neighbours=st.lists(NEIGHBOURS, max_size=3).map(tuple),
    segment=TEXTS,
    ended_at=st.none() | MILLISECONDS,
    mask=st.none() | TEXTS,
    snapshot=st.none() | TEXTS,
    clip=st.none() | TEXTS,
)


# What goes in comes out


@given(kind=st.sampled_from(Kind), meta=METAS, payload=st.binary(max_size=50))
def test_every_kind_comes_back_as_it_went(kind: Kind, meta: dict[str, Any], payload: bytes) -> None:
    payloads = [payload] * len(LIMITS[kind].payloads)
    envelope = decode(encode(kind, meta, payloads))

    assert (envelope.kind, envelope.meta, plain(list(envelope.payloads))) == (kind, meta, payloads)


@given(frames())
def test_every_frame_comes_back_as_it_went(sent: FramePacket) -> None:
    got = decode_frame(decode(encode_frame(sent)))

    arrays = {"image", "motion"}
    for name in set(FramePacket.__slots__) - arrays:
        assert getattr(got, name) == getattr(sent, name), name
    for name in arrays:  # by their bytes: NaN is like NaN here
        ours, theirs = getattr(sent, name), getattr(got, name)
        assert (ours is None) == (theirs is None), name
        assert ours is None or (ours.shape, ours.tobytes()) == (theirs.shape, theirs.tobytes()), name


@given(ALERTS, st.binary(max_size=20), st.binary(max_size=20))
def test_every_alert_comes_back_as_it_went(alert: Alert, mask: bytes, snapshot: bytes) -> None:
    got, evidence = decode_alert(decode(encode_alert(alert, Evidence(mask, snapshot))))

    assert got.to_json() == alert.to_json()
    assert got.regions == alert.regions
    assert (evidence.mask_png, evidence.snapshot_jpeg) == (mask, snapshot)


# What is damaged is noticed


@pytest.mark.parametrize(
    "parts",
    [
        plain(encode(Kind.BEAT, {})),
        plain(encode(Kind.CREDIT, {"scored": 41})),
        plain(encode(Kind.ALERT, {"seq": 7}, [b"png", b"", b"mp4"])),
    ],
    ids=["no payload", "a number", "payloads"],
)
def test_any_flipped_bit_of_a_small_message_is_noticed(parts: list[bytes]) -> None:
    accepted = []
    for part, data in enumerate(parts):
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            if not refuses([*parts[:part], bytes(flipped), *parts[part + 1 :]]):
                accepted.append((part, bit))
    assert accepted == []


@given(messages(), st.data())
def test_a_flipped_bit_anywhere_is_noticed(parts: list[bytes], data: st.DataObject) -> None:
    part = data.draw(st.sampled_from([n for n, p in enumerate(parts) if p]))
    damaged = bytearray(parts[part])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert refuses([*parts[:part], bytes(damaged), *parts[part + 1 :]])


@given(messages(), st.data())
def test_a_message_that_is_cut_is_noticed(parts: list[bytes], data: st.DataObject) -> None:
    part = data.draw(st.sampled_from([n for n, p in enumerate(parts) if p]))
    cut = parts[part][: data.draw(st.integers(0, len(parts[part]) - 1))]

    assert refuses([*parts[:part], cut, *parts[part + 1 :]])


@given(messages(), st.binary(max_size=9), st.data())
def test_a_part_too_many_or_too_few_is_noticed(parts: list[bytes], extra: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(parts)))
    without = data.draw(st.integers(0, len(parts) - 1))

    assert refuses([*parts[:at], extra, *parts[at:]])
    assert refuses([*parts[:without], *parts[without + 1 :]])


@given(messages(), st.randoms(use_true_random=False))
def test_parts_in_another_order_are_noticed(parts: list[bytes], random: Any) -> None:
    shuffled = parts[:]
    random.shuffle(shuffled)

    assert refuses(shuffled) == (shuffled != parts)


@given(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9), st.data())
def test_a_payload_that_ends_elsewhere_is_noticed(one: bytes, two: bytes, data: st.DataObject) -> None:
    parts = plain(encode(Kind.ALERT, {}, [one, two]))
    at = data.draw(st.integers(0, len(one + two)))
    moved = [*parts[:2], (one + two)[:at], (one + two)[at:]]

    assert refuses(moved) == (at != len(one))


# What is wrong is refused, with a WireError and with no more work than the message is long


@given(st.lists(st.binary(max_size=80), max_size=7))
def test_any_parts_are_refused_with_a_wire_error(parts: list[bytes]) -> None:
    assert refuses(parts)


@given(kind=st.integers(0, 255), meta=METAS, payloads=st.lists(st.binary(max_size=20), max_size=5))
def test_any_meta_with_a_right_checksum_is_a_message_or_a_wire_error(
    kind: int, meta: dict[str, Any], payloads: list[bytes]
) -> None:
    try:
        envelope = decode(signed(kind, json.dumps(meta).encode(), payloads))
    except WireError:
        return
    assert (envelope.kind, envelope.meta) == (kind, meta)


FRAME_META = json.loads(bytes(encode_frame(FramePacket(
    camera="gate", seq=1, frame_time=1.7e9, media_time=4.0, captured_mono=9.0, segment="", source_size=(64, 36),
    image=np.zeros((4, 4, 3), np.uint8), motion=np.zeros((2, 2), np.float16), view=b"view",
))[1]))  # fmt: skip
ALERT_META = Alert(
    seq=1, alert_id="a", phase=Phase.START, camera="gate", scene="yard", started_at=1e9, frame_time=1e9, frame_seq=4,
    score=2.0, threshold=1.0, regions=(Region((1, 2, 3, 4), ((1, 2), (3, 4)), 9, 2.0),),
    neighbours=(Neighbour(1, 0.5, "day", 2.0),),
).to_json()  # fmt: skip
SIDES = st.integers(-3, 1 << 40) | FINITE
NEAR_MISSES = st.one_of(  # values that look like what belongs there
    JSON,
    st.lists(SIDES, max_size=4),
    st.dictionaries(TEXTS, SIDES, max_size=3),
    st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("bbox", "polygon", "area", "peak"), JSON)), max_size=2),
    st.lists(
        st.fixed_dictionaries({"bbox": st.lists(SIDES, max_size=5), "polygon": JSON, "area": SIDES, "peak": SIDES})
    ),
    DATES.map(iso_time),
    st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2020-01-01", "1e5", "NaN"]),
)


@given(st.dictionaries(st.sampled_from(sorted(FRAME_META)), NEAR_MISSES, min_size=1, max_size=4), st.data())
def test_any_values_in_a_frames_fields_make_a_frame_or_a_wire_error(
    changes: dict[str, Any], data: st.DataObject
) -> None:
    payloads = [data.draw(st.binary(max_size=60) | st.just(bytes(size))) for size in (48, 8, 4)]
    envelope = decode(signed(Kind.FRAME, json.dumps(FRAME_META | changes).encode(), payloads))
    try:
        packet = decode_frame(envelope)
    except WireError:
        return
    assert packet.image.nbytes == len(payloads[0])
    assert 0 < packet.source_size[0] <= MAX_FRAME_SIDE
    assert decode_frame(decode(encode_frame(packet))).drops == packet.drops, "what came in may go out"


@given(st.dictionaries(st.sampled_from(sorted(ALERT_META)), NEAR_MISSES, min_size=1, max_size=4))
def test_any_values_in_an_alerts_fields_make_an_alert_or_a_wire_error(changes: dict[str, Any]) -> None:
    envelope = decode(signed(Kind.ALERT, json.dumps(ALERT_META | changes).encode(), [b"", b""]))
    try:
        alert, _ = decode_alert(envelope)
    except WireError:
        return
    again = json.dumps(alert.to_json(), allow_nan=False).encode()  # what came in can be written down again
    assert Alert.from_json(json.loads(again)).regions == alert.regions


@pytest.mark.parametrize(
    "change",
    [
        {"image": [2048, 2048, 3]},
        {"image": [1 << 62, 1 << 62, 3]},
        {"motion": [2048, 2048]},
        {"image": [1] * 5000},
        {"drops": {str(n): n for n in range(3000)}},
        {"segment": "x" * 40_000},
        {"source_size": [10**30, 10**30]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_frame_claims_to_hold_is_not_allocated(change: dict[str, Any]) -> None:
    parts = signed(Kind.FRAME, json.dumps(FRAME_META | change).encode(), [bytes(48), bytes(8), b"view"])

    with at_most(1 << 20), pytest.raises(WireError):
        decode_frame(decode(parts))


@settings(max_examples=20)
@given(st.sampled_from([b"[", b'{"a":', b"[[],", b"[0,"]), st.integers(1, 20_000))
def test_nesting_and_long_lists_cost_no_more_than_their_length(opening: bytes, times: int) -> None:
    meta = (opening * times)[: LIMITS[Kind.BEAT].meta]

    with at_most(64 * len(meta) + (1 << 20)):
        assert refuses(signed(Kind.BEAT, meta, []))


def test_a_key_that_comes_twice_among_many_is_found_in_no_time() -> None:
    keys = ",".join(f'"k{n}":0' for n in range(40_000))
    meta = f"{{{keys},{keys}}}".encode()  # comparing each with each would take minutes

    assert refuses(signed(Kind.ALERT, meta, []))
