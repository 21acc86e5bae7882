"""The wire format: what goes in comes out, and whatever else comes in is refused with a WireError."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import WireError
from stream.messages import Alert, Evidence, FramePacket, Neighbour, Phase, Region, iso_time, unix_time
from stream.wire import (
    MAX_META_BYTES,
    MAX_PAYLOADS,
    Kind,
    claimed_kind,
    decode,
    decode_alert,
    decode_frame,
    encode,
    encode_alert,
    encode_frame,
)

HEADER = struct.Struct("!4sBBHII")


def an_alert() -> Alert:
    return Alert(
        seq=7,
        alert_id="a1",
        phase=Phase.UPDATE,
        camera="gate",
        scene="yard",
        started_at=1_700_000_000.25,
        frame_time=1_700_000_001.5,
        frame_seq=42,
        score=3.5,
        threshold=1.25,
        regions=(Region(bbox=(1, 2, 3, 4), polygon=((1, 2), (4, 2), (4, 6)), area=9, peak=3.5),),
        neighbours=(Neighbour(index=5, distance=0.5, source="day1", media_time=12.0),),
        segment="clip-3",
        mask="m.png",
        snapshot="s.jpg",
    )


def a_frame(motion: bool = True) -> FramePacket:
    return FramePacket(
        camera="gate",
        seq=42,
        frame_time=1_700_000_001.5,
        media_time=4.2,
        captured_mono=99.5,
        segment="clip-3",
        source_size=(640, 360),
        image=np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3),
        motion=np.array([[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]], dtype=np.float16) if motion else None,
        view=b"\xff\xd8jpeg",
        drops={"mailbox.overwritten": 3},
    )


def signed(kind: int, meta: bytes, payloads: list[bytes], **header: Any) -> list[bytes]:
    """A message with a right checksum, whatever else is wrong with it."""
    fields = {"magic": b"SPDS", "version": 2, "count": len(payloads), "length": len(meta)} | header
    head = HEADER.pack(fields["magic"], fields["version"], kind, fields["count"], fields["length"], 0)[:12]
    checked = [head, *(struct.pack("!I", len(part)) + part for part in (meta, *payloads))]
    return [head + struct.pack("!I", zlib.crc32(b"".join(checked))), meta, *payloads]


def tampered(parts: list[Any], change: Callable[[dict[str, Any]], Any]) -> list[bytes]:
    """The message with its meta changed and signed again: what a faulty program, not a faulty line, would send."""
    meta = json.loads(bytes(parts[1]))
    change(meta)
    kind = HEADER.unpack(bytes(parts[0]))[2]
    return signed(kind, json.dumps(meta).encode(), [bytes(part) for part in parts[2:]])


def test_a_message_comes_back_as_it_went() -> None:
    envelope = decode(encode(Kind.ALERT, {"camera": "gate", "n": 1}, [b"one", b""]))

    assert envelope.kind is Kind.ALERT
    assert envelope.meta == {"camera": "gate", "n": 1}
    assert [bytes(p) for p in envelope.payloads] == [b"one", b""]


def test_the_header_is_the_documented_sixteen_bytes() -> None:
    head, meta, payload = encode(Kind.FRAME, {}, [b"xy"])

    first = b"SPDS\x02\x05\x00\x01\x00\x00\x00\x02"
    assert bytes(head) == first + struct.pack("!I", zlib.crc32(first + b"\0\0\0\2{}" + b"\0\0\0\2xy"))
    assert (bytes(meta), bytes(payload)) == (b"{}", b"xy")


@pytest.mark.parametrize("motion", [True, False], ids=["with motion", "without motion"])
def test_a_frame_comes_back_as_it_went(motion: bool) -> None:
    sent = a_frame(motion)
    got = decode_frame(decode(encode_frame(sent)))

    for name in (
        "camera",
        "seq",
        "frame_time",
        "media_time",
        "captured_mono",
        "segment",
        "source_size",
        "view",
        "drops",
    ):
        assert getattr(got, name) == getattr(sent, name), name
    assert got.image.dtype == np.uint8
    np.testing.assert_array_equal(got.image, sent.image)
    if sent.motion is None:
        assert got.motion is None
    else:
        assert got.motion is not None
        assert got.motion.dtype == np.float16
        np.testing.assert_array_equal(got.motion, sent.motion)


def test_a_frame_that_is_a_view_of_a_larger_picture_comes_back_as_it_looked() -> None:
    picture = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(6, 6, 3)
    packet = a_frame()
    cut = FramePacket(**{f: getattr(packet, f) for f in packet.__slots__} | {"image": picture[::2, 1:4]})

    np.testing.assert_array_equal(decode_frame(decode(encode_frame(cut))).image, picture[::2, 1:4])


def test_an_alert_comes_back_as_it_went() -> None:
    alert, evidence = decode_alert(decode(encode_alert(an_alert(), Evidence(b"png", b"jpeg"))))

    assert alert == an_alert()
    assert (evidence.mask_png, evidence.snapshot_jpeg, evidence.clip_mp4) == (b"png", b"jpeg", b"")


def test_an_alert_that_has_a_clip_carries_it_as_a_third_payload() -> None:
    envelope = decode(encode_alert(an_alert(), Evidence(b"png", b"jpeg", b"mp4")))
    _, evidence = decode_alert(envelope)

    assert (evidence.mask_png, evidence.snapshot_jpeg, evidence.clip_mp4) == (b"png", b"jpeg", b"mp4")
    assert len(envelope.payloads) == 3
    assert len(decode(encode_alert(an_alert(), Evidence(b"png", b"jpeg"))).payloads) == 2, "none where there is no clip"


@pytest.mark.parametrize("count", [0, 1])
def test_an_alert_without_both_pictures_is_refused(count: int) -> None:
    envelope = decode(encode(Kind.ALERT, an_alert().to_json(), [b"x"] * count))

    with pytest.raises(WireError, match=f"2 or 3 payloads, got ALERT with {count}"):
        decode_alert(envelope)


def test_published_times_are_utc_with_milliseconds() -> None:
    assert iso_time(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert unix_time("2023-11-14T22:13:20.250Z") == 1_700_000_000.25


def test_an_alert_keeps_its_published_json_form() -> None:
    published = an_alert().to_json()

    assert published["schema"] == "spade-stream/alert/1"
    assert published["phase"] == "update"
    assert published["regions"] == [{"bbox": [1, 2, 3, 4], "polygon": [[1, 2], [4, 2], [4, 6]], "area": 9, "peak": 3.5}]
    assert Alert.from_json(json.loads(json.dumps(published)) | {"a_later_field": 1}) == an_alert()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "0 part"),
        ([b"x" * 16], "1 part"),
        ([b"short", b"{}"], "header has 5 bytes"),
        (signed(Kind.BEAT, b"{}", [], magic=b"HTTP"), "magic"),
        (signed(Kind.BEAT, b"{}", [], version=1), "version is 1"),
        (signed(200, b"{}", []), "kind 200"),
        (signed(Kind.BEAT, b"{}", [b"x"], count=0), "payload part"),
        (signed(Kind.BEAT, b"{}", [], count=1), "payload part"),
        (signed(Kind.BEAT, b"{}", [b""] * (MAX_PAYLOADS + 1)), "payload part"),
        (signed(Kind.BEAT, b"{}", [], length=3), "header says 3"),
        (signed(Kind.BEAT, b'"' + b"x" * MAX_META_BYTES + b'"', []), "at most"),
        (signed(Kind.BEAT, b"{", []), "not JSON"),
        (signed(Kind.BEAT, b"\xff\xfe", []), "not JSON"),
        (signed(Kind.BEAT, b"[" * 60_000, []), "nested too deeply"),
        (signed(Kind.BEAT, b"[1]", []), "JSON list"),
    ],
)
def test_a_message_with_a_wrong_field_is_refused_with_the_reason(parts: list[bytes], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode(parts)


def test_of_a_damaged_message_the_kind_that_it_claims_can_be_told() -> None:
    head, meta, image, *rest = (bytes(part) for part in encode_frame(a_frame()))

    assert claimed_kind([head, meta, image[1:], *rest]) is Kind.FRAME
    assert [claimed_kind(parts) for parts in ([], [b"short"], [head[:5] + b"\xc8" + head[6:]])] == [None] * 3


@pytest.mark.parametrize("part", [1, 2, 3])
def test_one_flipped_bit_anywhere_after_the_header_is_noticed(part: int) -> None:
    parts = [bytearray(p) for p in encode_alert(an_alert(), Evidence(b"png", b"jpeg"))]
    parts[part][0] ^= 1

    with pytest.raises(WireError, match="checksum"):
        decode(parts)


def set_to(field: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda meta: meta.__setitem__(field, value)


@pytest.mark.parametrize(
    "change",
    [
        *(lambda meta, f=f: meta.pop(f) for f in ("camera", "seq", "frame_time", "source_size", "image", "drops")),
        set_to("camera", "x" * 65),
        set_to("camera", 5),
        set_to("seq", "many"),
        set_to("seq", "5"),
        set_to("seq", None),
        set_to("seq", True),
        set_to("seq", 5.5),
        set_to("seq", -1),
        set_to("seq", 1 << 63),
        set_to("frame_time", 1e12),
        set_to("frame_time", 253_402_300_799.0),  # a date in UTC, and none in Tokyo
        set_to("frame_time", -62_135_596_800.0),  # a date in UTC, and none in New York
        set_to("frame_time", "now"),
        set_to("media_time", None),
        set_to("captured_mono", True),
        set_to("segment", "x" * 1025),
        set_to("segment", "\ud800"),
        set_to("source_size", [0, 360]),
        set_to("source_size", [16_385, 1]),
        set_to("source_size", [16_384, 8_193]),
        set_to("source_size", [640.0, 360]),
        set_to("source_size", [640]),
        set_to("source_size", 640),
        set_to("image", [4, 4]),
        set_to("image", [4, 4, 4]),
        set_to("image", [4, 5, 3]),
        set_to("image", [0, 4, 3]),
        set_to("image", [-4, -4, 3]),
        set_to("image", [1 << 20, 1 << 20, 3]),
        set_to("motion", [3]),
        set_to("motion", [3, 3]),
        set_to("drops", [1]),
        set_to("drops", {"a": "b"}),
        set_to("drops", {"a": -1}),
        set_to("drops", {"a": 1 << 63}),
        set_to("drops", {"x" * 65: 1}),
        set_to("drops", {str(n): 1 for n in range(65)}),
        set_to("motion", None),
    ],
)
def test_a_frame_with_a_wrong_field_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    envelope = decode(tampered(encode_frame(a_frame()), change))

    with pytest.raises(WireError):
        decode_frame(envelope)


@pytest.mark.parametrize(
    "change",
    [
        *(
            lambda meta, f=f: meta.pop(f)
            for f in ("schema", "seq", "alert_id", "phase", "camera", "started_at", "score", "regions", "neighbours")
        ),
        set_to("schema", "spade-stream/alert/2"),
        set_to("phase", "middle"),
        set_to("phase", ["start"]),
        set_to("started_at", "yesterday"),
        set_to("started_at", 5),
        set_to("started_at", "0001-01-01T00:00:00+23:59"),  # a moment before the calendar begins
        set_to("frame_time", "2020-01-01T00:00:00" + "0" * 100),
        set_to("seq", -1),
        set_to("seq", "7"),
        set_to("frame_seq", 1.5),
        set_to("alert_id", 5),
        set_to("camera", "x" * 4097),
        set_to("scene", "\ud800"),
        set_to("threshold", None),
        set_to("mask", 5),
        set_to("clip", ["c.mp4"]),
        set_to("regions", [{"bbox": [1, 2, 3, 1 << 31], "polygon": [], "area": 1, "peak": 1}]),
        set_to("regions", [{"bbox": [1, 2, 3, 4], "polygon": [[1, 2.5]], "area": 1, "peak": 1}]),
        set_to("regions", [{"bbox": [1, 2, 3, 4], "polygon": [], "area": -1, "peak": 1}]),
        set_to("regions", [5] * 65_537),
        set_to("neighbours", [[]] * 32_769),
        set_to("score", "high"),
        set_to("regions", [{"bbox": [1, 2, 3], "polygon": [], "area": 1, "peak": 1}]),
        set_to("regions", [{"bbox": [1, 2, 3, 4], "polygon": [[1]], "area": 1, "peak": 1}]),
        set_to("regions", 5),
        set_to("neighbours", [{}]),
    ],
)
def test_an_alert_with_a_wrong_field_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    envelope = decode(tampered(encode_alert(an_alert(), Evidence(b"", b"")), change))

    with pytest.raises(WireError):
        decode_alert(envelope)


@pytest.mark.parametrize(
    ("field", "value"),
    [("seq", b"1e999"), ("frame_seq", b"9223372036854775808"), ("score", b"1" + b"0" * 400)],
    ids=["an infinite integer", "an integer beyond 63 bits", "a float beyond floats"],
)
def test_an_alert_with_a_number_beyond_all_bounds_is_refused(field: str, value: bytes) -> None:
    text = json.dumps(an_alert().to_json() | {field: "@"}).encode().replace(b'"@"', value)
    envelope = decode(signed(Kind.ALERT, text, [b"", b""]))

    with pytest.raises(WireError):
        decode_alert(envelope)


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity"])
def test_a_message_with_what_is_no_json_number_is_refused_whatever_its_kind(token: bytes) -> None:
    with pytest.raises(WireError, match="is no number in JSON"):
        decode(signed(Kind.STATE, b'{"at_time":' + token + b"}", []))


def test_a_key_that_comes_twice_is_refused() -> None:
    with pytest.raises(WireError, match="'camera' comes twice"):
        decode(signed(Kind.HELLO, b'{"camera":"gate","mode":"live","camera":"yard"}', []))


def test_a_message_of_another_kind_is_neither_a_frame_nor_an_alert() -> None:
    beat = decode(encode(Kind.BEAT, {}))

    with pytest.raises(WireError, match="expected a FRAME"):
        decode_frame(beat)
    with pytest.raises(WireError, match="expected an ALERT"):
        decode_alert(beat)


@given(st.lists(st.binary(max_size=64), max_size=6))
def test_random_parts_raise_nothing_but_wire_error(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts)


@given(
    kind=st.integers(0, 255),
    meta=st.binary(max_size=64),
    payloads=st.lists(st.binary(max_size=8), max_size=5),
    header=st.fixed_dictionaries(
        {},
        optional={
            "version": st.integers(0, 255),
            "count": st.integers(0, 65535),
            "length": st.integers(0, 2**32 - 1),
        },
    ),
)
def test_random_messages_with_a_right_checksum_raise_nothing_but_wire_error(
    kind: int, meta: bytes, payloads: list[bytes], header: dict[str, int]
) -> None:
    try:
        envelope = decode(signed(kind, meta, payloads, **header))
    except WireError:
        return
    assert envelope.kind == kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(an_alert().to_json())), value=JSON)
def test_an_alert_with_one_random_field_raises_nothing_but_wire_error(field: str, value: Any) -> None:
    parts = tampered(encode_alert(an_alert(), Evidence(b"", b"")), set_to(field, value))
    try:
        decode_alert(decode(parts))
    except WireError:
        return


FRAME_FIELDS = sorted(json.loads(bytes(encode_frame(a_frame())[1])))


@given(field=st.sampled_from(FRAME_FIELDS), value=JSON)
def test_a_frame_with_one_random_field_raises_nothing_but_wire_error(field: str, value: Any) -> None:
    parts = tampered(encode_frame(a_frame()), set_to(field, value))
    try:
        decode_frame(decode(parts))
    except WireError:
        return
