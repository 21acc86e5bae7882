"""The evidence of an alert: the frame with its anomalous regions drawn in, and the mask. Pictures for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.messages import Evidence, Region
from stream.pictures import decode_jpeg

TINT_BGR = (40, 40, 235)  # red: over vegetation, paving and night pictures alike it stands out
TINT_ALPHA = 0.38  # what is under the tint must stay recognisable
_QUALITY = 88


def evidence(view_jpeg: bytes, mask: NDArray[np.uint8], regions: Sequence[Region], *, caption: str) -> Evidence:
    """Draws the regions into the view.

    Args:
        view_jpeg: the native frame, a JPEG of the mask's size.
        mask: (H, W) uint8 of the frame's size, 255 = anomalous.
        regions: drawn as boxes with the strength beside them.
        caption: one line of ASCII in a bar under the picture's upper edge.

    Raises:
        ValueError: the view is not such a JPEG (see :func:`stream.pictures.decode_jpeg`).
    """
    height, width = mask.shape
    view = decode_jpeg(view_jpeg, size=(width, height))
    return Evidence(encode(".png", mask), encode(".jpg", _draw(view, mask, regions, caption)))


def encode(suffix: str, image: NDArray[np.uint8]) -> bytes:
    """A picture as PNG or JPEG bytes, by suffix."""
    done, data = cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else [])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be encoded as {suffix}")
    return bytes(np.asarray(data).tobytes())


def _draw(
    view: NDArray[np.uint8], mask: NDArray[np.uint8], regions: Sequence[Region], caption: str
) -> NDArray[np.uint8]:
    picture = view.copy()
    inside = mask > 0
    picture[inside] = (picture[inside] * (1 - TINT_ALPHA) + np.array(TINT_BGR) * TINT_ALPHA).astype(np.uint8)
    scale = max(0.4, view.shape[1] / 1600)  # text stays readable from 360 to 4K pixels across
    line = max(1, round(2 * scale))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, contours, -1, (255, 255, 255), line + 1, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, TINT_BGR, line, cv2.LINE_AA)
    for region in regions:
        x, y, w, h = region.bbox
        cv2.rectangle(picture, (x - 2, y - 2), (x + w + 1, y + h + 1), (255, 255, 255), 1, cv2.LINE_AA)
    return _with_caption(picture, caption, scale)


def _with_caption(picture: NDArray[np.uint8], caption: str, scale: float) -> NDArray[np.uint8]:
    (_, height), baseline = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    bar = height + baseline + 6
    picture[:bar] = (picture[:bar] * 0.35).astype(np.uint8)
    cv2.putText(picture, caption, (6, height + 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
