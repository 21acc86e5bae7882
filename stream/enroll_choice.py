"""Whose footage makes which gallery, when ``enroll`` is told of cameras and scenes. Pure; for the commands."""

from __future__ import annotations

from stream.config import Config
from stream.config_sections import CameraSection
from stream.errors import UsageError


def to_enroll(config: Config, camera_id: str | None, scene: str | None) -> list[CameraSection]:
    """The cameras to watch, each with the one scene whose gallery its footage makes.

    Args:
        config: see there.
        camera_id: only this one; None: all, or the one that sees the scene.
        scene: only this one; None: of each camera its own.

    Raises:
        ConfigError: there is no such camera.
        UsageError: it is not clear whose footage is meant, or of what; says how to say it.
    """
    cameras = list(config.cameras) if camera_id is None else [config.camera(camera_id)]
    if scene is not None:
        return [_looking_at(scene, cameras, camera_id)]
    for camera in cameras:
        if len(camera.scene_names) > 1:
            raise UsageError(
                f"camera {camera.id} has several scenes ({', '.join(camera.scene_names)}): say which of them the "
                f"footage shows, with --camera {camera.id} --scene NAME"
            )
    if camera_id is None:
        _check_one_each(cameras)
    return cameras


def _looking_at(scene: str, cameras: list[CameraSection], camera_id: str | None) -> CameraSection:
    seeing = [camera for camera in cameras if scene in camera.scene_names]
    if not seeing:
        known = ", ".join(dict.fromkeys(name for camera in cameras for name in camera.scene_names))
        who = "no camera looks" if camera_id is None else f"camera {camera_id} does not look"
        raise UsageError(f"--scene {scene!r}: {who} at it; there is: {known}")
    if len(seeing) > 1:
        raise _ambiguous(scene, [camera.id for camera in seeing])
    alone = {"scene": scene, "scenes": None, "choose": None, "timezone": None}
    return seeing[0].model_copy(update=alone)


def _check_one_each(cameras: list[CameraSection]) -> None:
    by_scene: dict[str, list[str]] = {}
    for camera in cameras:
        by_scene.setdefault(camera.scene_name, []).append(camera.id)
    for scene, names in by_scene.items():
        if len(names) > 1:
            raise _ambiguous(scene, names)


def _ambiguous(scene: str, cameras: list[str]) -> UsageError:
    return UsageError(f"scene {scene} is seen by {', '.join(cameras)}: say whose footage to use, with --camera")
