"""Frames that are kept to be scored again: what was scored comes back bit for bit, and nothing else is taken."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.kept_frame import KeptFrame, decode_kept, encode_kept


def kept(**changes: Any) -> KeptFrame:
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    motion = np.full((4, 4), 0.5, np.float16)
    values = {"camera": "gate", "scene": "day", "frame_seq": 7, "frame_time": 1_700_000_000.25} | changes
    return KeptFrame(**({"image": image, "motion": motion} | values))


def packed(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def about(**changes: Any) -> np.ndarray[Any, Any]:
    values = {"format": 1, "camera": "gate", "scene": "day", "frame_seq": 7, "frame_time": 1.0} | changes
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


IMAGE = np.zeros((8, 8, 3), np.uint8)


def test_what_was_kept_comes_back_bit_for_bit() -> None:
    before = kept()
    after = decode_kept(encode_kept(before))

    assert (after.camera, after.scene, after.frame_seq, after.frame_time) == ("gate", "day", 7, 1_700_000_000.25)
    assert np.array_equal(after.image, before.image)
    assert after.image.dtype == np.uint8
    assert before.motion is not None
    assert after.motion is not None
    assert np.array_equal(after.motion, before.motion)
    assert after.motion.dtype == np.float16


def test_motion_that_was_not_known_is_still_not_known() -> None:
    assert decode_kept(encode_kept(kept(motion=None))).motion is None


def test_the_same_frame_is_the_same_file() -> None:
    assert encode_kept(kept()) == encode_kept(kept())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"image": np.zeros((8, 9, 3), np.uint8)}, r"image is uint8 of shape \(8, 9, 3\)"),
        ({"image": np.zeros((8, 8), np.uint8)}, "image"),
        ({"image": np.zeros((8, 8, 3), np.float32)}, "image is float32"),
        ({"image": np.zeros((0, 0, 3), np.uint8)}, "side of the kept image is 0"),
        ({"motion": np.zeros((4, 4), np.float32)}, "motion is float32"),
        ({"motion": np.full((4, 4), np.nan, np.float16)}, "not finite"),
        ({"camera": "x" * 65}, "camera"),
        ({"frame_seq": -1}, "frame_seq"),
        ({"frame_time": float("nan")}, "NaN"),
        ({"frame_time": 1e15}, "well formed"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        encode_kept(kept(**changes))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no readable"),
        (b"PK\x03\x04 and then nothing", "no readable"),
        (packed(image=IMAGE), "holds image"),
        (packed(about=about(), image=IMAGE, extra=IMAGE), "extra"),
        (packed(about=about(format=2), image=IMAGE), "format"),
        (packed(about=about(camera=5), image=IMAGE), "camera"),
        (packed(about=np.zeros(3), image=IMAGE), "description is float64"),
        (packed(about=about(), image=np.zeros((8, 8, 4), np.uint8)), "image"),
        (packed(about=about(), image=IMAGE, motion=np.full((2, 2), np.inf, np.float16)), "not finite"),
        (packed(about=about(), image=np.zeros((2049, 2049, 3), np.uint8)), "image has"),
    ],
)
def test_what_is_no_kept_frame_is_refused_with_the_reason(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        decode_kept(data)


def test_objects_are_never_unpickled() -> None:
    with pytest.raises(ValueError, match="pickle"):
        decode_kept(packed(about=about(), image=np.array([{}], dtype=object)))


def test_a_file_that_was_cut_short_or_altered_is_refused_or_read_whole() -> None:
    data = encode_kept(kept())

    for length in range(0, len(data), 7):
        with pytest.raises(ValueError, match="kept frame"):
            decode_kept(data[:length])


@given(st.integers(min_value=0, max_value=400), st.integers(min_value=0, max_value=255))
def test_a_byte_that_changed_never_raises_anything_else(place: int, value: int) -> None:
    data = bytearray(encode_kept(kept()))
    data[place % len(data)] = value

    with contextlib.suppress(ValueError):
        decode_kept(bytes(data))
