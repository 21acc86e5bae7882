"""A synthetic campus walkway, seen by a fixed camera: footage with exact truth where no recording may be shipped.

Used by the demo, by ``stream.sources.campus`` and by tests. Everything is drawn here, from one seed; nothing is loaded.
"""

from __future__ import annotations

from stream.campus.scene import CampusScene
from stream.campus.script import EventKind, Script, ScriptedEvent, normal_script, random_script, test_script

__all__ = ["CampusScene", "EventKind", "Script", "ScriptedEvent", "normal_script", "random_script", "test_script"]
