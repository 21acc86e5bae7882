"""Topics below a prefix, and what Home Assistant has to be told of a camera so that it shows it. Pure; for ``mqtt``.

One device a camera. Where the camera is not watched, its alert is *unavailable*, never "off": nobody knows.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from stream import __version__
from stream.durable import safe_name
from stream.messages import CameraState

ONLINE, OFFLINE = "online", "offline"
"""What stands in the topic of the bridge's own status."""

ON, OFF = "ON", "OFF"
"""What stands in the topic of a camera's alert."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Where what is published. Camera ids need no quoting; other texts get it."""

    prefix: str  # of all topics of ours
    discovery: str | None = None  # prefix of Home Assistant's discovery; None: there is none

    @property
    def status(self) -> str:
        """The bridge's own, retained: ``online`` or ``offline``."""
        return f"{self.prefix}/status"

    def alerts(self, camera: str) -> str:
        """Every message of an alert, not retained."""
        return f"{self.prefix}/alerts/{safe_name(camera)}"

    def of(self, camera: str, what: str) -> str:
        """``state``, ``alert``, ``last`` or ``snapshot`` of a camera, retained."""
        return f"{self.prefix}/cameras/{safe_name(camera)}/{what}"

    def announcement(self, camera: str) -> str:
        """Where Home Assistant looks for the camera's device."""
        return f"{self.discovery}/device/{object_id(self.prefix, camera)}/config"

    def retained(self, camera: str, *, snapshots: bool = True) -> tuple[str, ...]:
        """All topics that the broker keeps something of, for this camera."""
        kept = ("state", "alert", "last", *(("snapshot",) if snapshots else ()))
        own = tuple(self.of(camera, what) for what in kept)
        return own if self.discovery is None else (self.announcement(camera), *own)


def object_id(prefix: str, camera: str) -> str:
    """A word of letters, digits, ``_`` and ``-``, another one for each camera and prefix."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", f"{prefix}_{camera}")
    # Always with a hash: ``a_b`` and ``c`` would else be the same as ``a`` and ``b_c``. No prefix holds a new line.
    return f"{plain}_{hashlib.sha256(f'{prefix}{chr(10)}{camera}'.encode()).hexdigest()[:8]}"


def device(topics: Topics, camera: str, scene: str, *, snapshots: bool) -> bytes:
    """The discovery message of a camera (Home Assistant 2024.11 or later)."""
    own = object_id(topics.prefix, camera)
    components = _components(topics, camera, snapshots=snapshots)
    about = {
        "device": {"identifiers": [own], "name": camera, "manufacturer": "spade-stream", "model": f"scene {scene}"},
        "origin": {"name": "spade-stream", "sw_version": __version__},
        "qos": 1,
        "components": {
            # One without an id has its platform alone, which says that the entity is to go.
            name: {"unique_id": f"{own}_{name}", **part} if len(part) > 1 else part
            for name, part in components.items()
        },
    }
    return json.dumps(about, separators=(",", ":")).encode()


def _components(topics: Topics, camera: str, *, snapshots: bool) -> dict[str, dict[str, Any]]:
    state, last = topics.of(camera, "state"), topics.of(camera, "last")
    bridge = {"topic": topics.status, "payload_available": ONLINE, "payload_not_available": OFFLINE}
    watched = {"topic": state, "value_template": "{{ 'online' if value_json.watched else 'offline' }}"}
    if_watched = {"availability": [bridge, watched], "availability_mode": "all"}
    parts: dict[str, dict[str, Any]] = {
        "alert": {
            "platform": "binary_sensor",
            "name": "Alert",
            "device_class": "safety",
            "state_topic": topics.of(camera, "alert"),
            "payload_on": ON,
            "payload_off": OFF,
            "json_attributes_topic": last,
            **if_watched,
        },
        "strength": {
            "platform": "sensor",
            "name": "Alert strength",
            "icon": "mdi:chart-bell-curve",
            "state_class": "measurement",
            "state_topic": last,
            "value_template": "{{ value_json.strength }}",
            **if_watched,
        },
        "state": {  # readable just when the camera is not watched
            "platform": "sensor",
            "name": "State",
            "device_class": "enum",
            "options": [str(state) for state in CameraState],
            "entity_category": "diagnostic",
            "state_topic": state,
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": state,
            "availability": [bridge],
        },
    }
    parts["snapshot"] = {"platform": "camera"}  # alone: removes what an earlier run may have announced
    if snapshots:
        picture = topics.of(camera, "snapshot")
        parts["snapshot"] |= {"name": "Last alert", "topic": picture, "availability": [bridge]}
    return parts
