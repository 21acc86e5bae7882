"""The evidence: the mask exactly, the frame with the region in it, and nothing drawn where nothing was found."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stream.messages import Region
from stream.overlay import TINT_ALPHA, TINT_BGR, encode, evidence

H, W = 120, 160
BOX = Region(bbox=(60, 50, 40, 40), polygon=((60, 50), (99, 89)), area=1600, peak=3.0)


def jpeg(image: np.ndarray) -> bytes:
    return encode(".jpg", image)


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def a_view(level: int = 100) -> np.ndarray:
    return np.full((H, W, 3), level, np.uint8)


def a_mask() -> np.ndarray:
    mask = np.zeros((H, W), np.uint8)
    mask[50:90, 60:100] = 255
    return mask


def test_the_mask_is_kept_exactly() -> None:
    found = evidence(jpeg(a_view()), a_mask(), [BOX], caption="gate")

    assert found.mask_png.startswith(b"\x89PNG")
    assert (decoded(found.mask_png) == a_mask()).all()


def test_what_is_anomalous_is_tinted_and_still_recognisable() -> None:
    view = a_view()
    view[50:90, 80:100] = 200  # something in the right half of the region
    snapshot = decoded(evidence(jpeg(view), a_mask(), [BOX], caption="").snapshot_jpeg)

    for level, column in ((100, 70), (200, 90)):
        expected = [level * (1 - TINT_ALPHA) + tint * TINT_ALPHA for tint in TINT_BGR]
        assert snapshot[70, column].astype(float) == pytest.approx(expected, abs=12)


def test_the_rest_of_the_frame_stays_as_it_was() -> None:
    snapshot = decoded(evidence(jpeg(a_view()), a_mask(), [BOX], caption="gate").snapshot_jpeg)

    assert snapshot.shape == (H, W, 3)
    assert np.abs(snapshot[100:, :50].astype(int) - 100).max() <= 3
    assert np.abs(snapshot[60:, 120:].astype(int) - 100).max() <= 3


def test_the_caption_stands_in_a_dark_bar_at_the_upper_edge() -> None:
    snapshot = decoded(evidence(jpeg(a_view()), np.zeros((H, W), np.uint8), [], caption="gate  start").snapshot_jpeg)

    assert snapshot[2, 150].max() < 60, "the bar is as wide as the picture"
    assert snapshot[:20, :100].max() > 180, "light letters"
    assert np.abs(snapshot[40:].astype(int) - 100).max() <= 3


def test_the_box_of_a_region_lies_just_around_it() -> None:
    nothing = np.zeros((H, W), np.uint8)
    with_box = decoded(evidence(jpeg(a_view()), nothing, [BOX], caption="").snapshot_jpeg).astype(int)

    assert with_box[70, 58].min() > 130, "left edge, two pixels off"
    assert abs(with_box[70, 80] - 100).max() <= 8, "not filled"


def test_a_region_at_the_very_edge_can_be_drawn() -> None:
    mask = np.full((H, W), 255, np.uint8)
    whole = Region(bbox=(0, 0, W, H), polygon=((0, 0),), area=H * W, peak=1.0)

    assert decoded(evidence(jpeg(a_view()), mask, [whole], caption="gate").snapshot_jpeg).shape == (H, W, 3)


def test_a_tiny_picture_with_a_long_caption_can_be_drawn() -> None:
    mask = np.zeros((8, 8), np.uint8)

    snapshot = evidence(jpeg(a_view()[:8, :8]), mask, [], caption="a caption longer than the picture").snapshot_jpeg
    assert decoded(snapshot).shape == (8, 8, 3)


def test_a_view_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not a JPEG"):
        evidence(b"not a picture", a_mask(), [], caption="")


def test_a_view_in_a_format_that_unfolds_without_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="not a JPEG"):
        evidence(encode(".png", a_view()), a_mask(), [BOX], caption="")


def test_a_view_of_another_size_than_the_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="160 x 120 pixels where 80 x 60 belong"):
        evidence(jpeg(a_view()), a_mask()[::2, ::2], [], caption="")


def test_a_picture_that_cannot_be_encoded_is_refused() -> None:
    with pytest.raises((ValueError, cv2.error)):
        encode(".jpg", np.zeros((0, 0), np.uint8))
