"""Which scene a camera looks at, and whether it still shows it. One object per camera, used by ``camera``.

It joins two machines that know nothing of each other: ``scene_choice``, which says which scene is in force, and
``view_watch``, which says whether the picture shows what was enrolled. The second always judges by the scene in force,
and begins anew with another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stream.scene_choice import SceneChoice, ScenePlan, Switch
from stream.view_watch import Placed, ViewWatch

Place = Callable[[str], Placed | None]
"""How the picture lies to what was enrolled as a scene; None where that cannot be told."""


class CameraView:
    """The view of one camera.

    Args:
        camera: id.
        scene: that it looks at; of several, one that is in force until something says otherwise.
        plan: its scenes, where it has several.
        moved_after: seconds out of place before it is called moved; None: never.
    """

    def __init__(self, camera: str, scene: str, *, plan: ScenePlan | None, moved_after: float | None) -> None:
        self._scene, self._choice = scene, None if plan is None else SceneChoice(plan)
        self._watch = None if moved_after is None else ViewWatch(camera, moved_after)
        self.moved = ""  # why its scores would mean nothing; empty: nothing is amiss
        self.why = ""  # how the scene in force was chosen; empty: nothing has chosen it

    @property
    def refusal(self) -> str:
        """Why its frames must not be scored now; empty: they may be."""
        return self.moved or ("" if self._choice is None else self._choice.doubt)

    @property
    def scene(self) -> str:
        """In force."""
        return self._scene if self._choice is None else self._choice.scene

    @property
    def scenes(self) -> tuple[str, ...]:
        """All that it may look at."""
        return (self._scene,) if self._choice is None else self._choice.plan.scenes

    def at(self, time: float) -> Switch | None:
        """What a schedule says of a frame. ``time``: of the frame, Unix seconds."""
        return None if self._choice is None else self._entered(self._choice.at(time))

    def due(self, time: float) -> bool:
        """Whether a frame is to be compared with all scenes. ``time``: of the frame, Unix seconds."""
        return self._choice is not None and self._choice.due(time)

    def see(self, time: float, fits: Mapping[str, float]) -> Switch | None:
        """What the picture says. See :meth:`SceneChoice.see`."""
        return None if self._choice is None else self._entered(self._choice.see(time, fits))

    def hear(self, *, above: bool) -> None:
        """Told of each score: whether it is above the threshold."""
        if self._choice is not None:
            self._choice.hear(above=above)

    def look(self, mono: float, place: Place) -> None:
        """Whether the camera shows the scene in force; see :attr:`moved`.

        Args:
            mono: seconds of a monotonic clock.
            place: compares the frame with an enrolled view; asked about once a second.
        """
        if self._watch is None or not self._watch.due(mono):
            return
        placement = place(self.scene)
        # A scene that was enrolled again may be one where nothing can be told.
        fault = self._watch.forget() if placement is None else self._watch.see(mono, placement)
        self.moved = fault.reason + self._shown_instead(place) if fault else ""

    def trust(self) -> None:
        """Whatever it shows is to be scored."""
        self.moved = ""

    def _shown_instead(self, place: Place) -> str:
        others = [scene for scene in self.scenes if scene != self.scene]
        shown = next((scene for scene in others if (found := place(scene)) is not None and found.in_place), None)
        return "" if shown is None else f". It shows scene {shown}, which is not in force"

    def _entered(self, switch: Switch | None) -> Switch | None:
        if switch is not None:
            self.moved, self.why = "", switch.reason
            if self._watch is not None:
                self._watch.forget()  # how the other scene lay says nothing of this one
        return switch
