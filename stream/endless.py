"""Whether a camera's source has an end of its own: such a one would begin anew where it is opened again. For
``programs`` and the control of a cluster.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from stream.config_sections import CameraSection
from stream.sources import is_live, is_looped


def is_endless(camera: CameraSection) -> bool:
    """Whether the camera's source has no end of its own."""
    if camera.source.startswith("campus:"):
        return camera.seconds is None and "duration" not in parse_qs(camera.source.partition("?")[2])
    if is_looped(camera.source):
        return camera.seconds is None
    return is_live(camera.source)
