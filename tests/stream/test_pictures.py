"""Only what its header promises is decoded; the memory that a picture takes is known before it is taken."""

from __future__ import annotations

import io
import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stream.messages import MAX_FRAME_PIXELS, MAX_FRAME_SIDE
from stream.pictures import decode_jpeg, jpeg_size

W, H = 40, 24


def a_picture() -> np.ndarray:
    picture = np.zeros((H, W, 3), np.uint8)
    picture[:, W // 2 :] = (0, 0, 200)  # right half red, in BGR
    return picture


def jpeg(picture: np.ndarray, *flags: int) -> bytes:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95, *flags])
    assert done
    return data.tobytes()


def saved(mode: str, form: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (W, H)).save(buffer, form, **options)
    return buffer.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A picture of W x H whose header says something else."""
    data = jpeg(a_picture())
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack("!HH", height, width) + data[at + 4 :]


def test_a_picture_comes_out_in_bgr_and_of_its_size() -> None:
    found = decode_jpeg(jpeg(a_picture()), size=(W, H))

    assert (found.shape, found.dtype) == ((H, W, 3), np.uint8)
    assert np.abs(found.astype(int) - a_picture()).max() < 40
    assert found[H // 2, W - 2, 2] > 190


def test_a_gray_picture_becomes_three_channels() -> None:
    assert decode_jpeg(saved("L"), size=(W, H)).shape == (H, W, 3)


def test_what_another_program_wrote_with_notes_in_front_is_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "lies on its side": the sides must not be exchanged

    assert decode_jpeg(saved("RGB", exif=exif, comment=b"x" * 300), size=(W, H)).shape == (H, W, 3)


def test_another_size_than_promised_is_refused_with_both() -> None:
    with pytest.raises(ValueError, match="40 x 24 pixels where 24 x 40 belong"):
        decode_jpeg(jpeg(a_picture()), size=(H, W))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "begins with nothing"),
        (b"\xff", "begins with ff"),
        (b"\xff\xd8", "no frame header"),
        (b"\xff\xd8" + b"\xff" * 100, "no frame header"),
        (b"\xff\xd8\xff\xe0\x00\x00" * 5, "no frame header"),
        (b"\xff\xd8\xff\xd9", "no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x02", "no frame header"),
        (saved("RGB", "PNG"), "begins with 89 50 4e 47"),
        (saved("RGB", "GIF"), "begins with 47 49 46 38"),
        (saved("RGB", progressive=True), "progressive"),
        (saved("CMYK"), "4 components"),
        (claiming(W, 0), "40 x 0 pixels"),
        (claiming(MAX_FRAME_SIDE + 1, 1), "16385 x 1 pixels"),
        (claiming(MAX_FRAME_SIDE, MAX_FRAME_SIDE), "16384 x 16384 pixels"),
    ],
)
def test_what_is_no_jpeg_that_may_be_decoded_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_jpeg(data, size=(W, H))


def test_a_picture_that_is_cut_off_is_refused_and_not_filled_with_gray() -> None:
    data = jpeg(np.random.default_rng(0).integers(0, 255, (H, W, 3)).astype(np.uint8))

    with pytest.raises(ValueError, match="cut off"):
        decode_jpeg(data[: len(data) // 2], size=(W, H))


def test_refusing_a_huge_picture_takes_no_memory() -> None:
    data = saved("RGB", "PNG") + claiming(MAX_FRAME_SIDE, MAX_FRAME_PIXELS // MAX_FRAME_SIDE)
    tracemalloc.start()
    try:
        for bomb in (data, claiming(MAX_FRAME_SIDE, MAX_FRAME_PIXELS // MAX_FRAME_SIDE)):
            with pytest.raises(ValueError, match="JPEG"):
                decode_jpeg(bomb, size=(W, H))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_size_is_read_from_the_header_alone() -> None:
    data = jpeg(a_picture())

    assert jpeg_size(data) == (W, H)
    assert jpeg_size(data[: data.index(b"\xff\xc0") + 10]) == (W, H)


WHOLE = jpeg(a_picture())


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255), st.integers(0, len(WHOLE)))
def test_a_damaged_picture_is_refused_with_a_value_error_or_has_the_promised_size(at: int, bits: int, end: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] ^= bits
    for data in (bytes(damaged), bytes(damaged[:end])):
        try:
            found = decode_jpeg(data, size=(W, H))
        except ValueError:
            continue
        assert found.shape == (H, W, 3)
