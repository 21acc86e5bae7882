"""A picture made smaller until it fits, for a broker that takes only so much at once. Pure; for ``mqtt``."""

from __future__ import annotations

import cv2
import numpy as np

_QUALITY = 80  # of JPEG: regions and their outlines stay readable
_LEAST_SIDE = 64  # pixels; below that nobody sees anything


def fitted(jpeg: bytes, most: int) -> bytes:
    """``jpeg``, or the same picture with smaller sides, of ``most`` bytes at most; empty where that cannot be."""
    if len(jpeg) <= most:
        return jpeg
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    while image is not None and min(image.shape[:2]) >= _LEAST_SIDE:
        smaller = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        if len(smaller) <= most:
            return smaller
        image = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    return b""
