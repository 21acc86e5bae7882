"""An evaluation that is cut into its scenes, each scored somewhere else: what each is told, and how what they leave
becomes one again, exactly as if one machine had done it all.

``OUT/parts/SCENE`` is what a scene leaves; it is there as a whole, or not at all.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spade_core.gallery import Gallery
from stream.config import Config
from stream.durable import write_durably
from stream.evaluate.galleries import SceneGallery
from stream.evaluate.plan import Plan
from stream.evaluate.scoring import Scoring
from stream.evaluate.workspace import ALERTS
from stream.fields import as_object, read_object, text, whole

PARTS = "parts"
"""Folder in OUT."""

_PATH = 4096
_PICTURES = ("mask", "snapshot", "clip")


@dataclass(frozen=True, slots=True)
class Part:
    """One scene of an evaluation."""

    dataset: str  # as it was asked for
    root: str  # absolute
    scene: str
    every: int
    out: str  # the evaluation's folder, absolute
    reused: bool  # its gallery is there
    values: Mapping[str, Any]  # the configuration with this scene's camera only

    def to_text(self) -> str:
        """As it travels."""
        return json.dumps(
            {
                "dataset": self.dataset,
                "root": self.root,
                "scene": self.scene,
                "every": self.every,
                "out": self.out,
                "reused": self.reused,
                "values": dict(self.values),
            }
        )

    @classmethod
    def from_text(cls, data: str) -> Part:
        """Raises ValueError where it is not well formed."""
        fields = read_object(data.encode())
        return cls(
            text(fields, "dataset", most=_PATH),
            text(fields, "root", most=_PATH),
            text(fields, "scene", most=_PATH),
            whole(fields, "every", least=1),
            text(fields, "out", most=_PATH),
            fields.get("reused") is True,
            as_object(fields.get("values"), "values"),
        )


def part_of(plan: Plan, values: Mapping[str, Any], scene: str) -> Part:
    """What a scene is told.

    Args:
        plan: of the evaluation.
        values: its configuration.
        scene: whose part it is.
    """
    known = values.get("scenes", {})
    own = {
        **values,
        "cameras": [camera for camera in values["cameras"] if camera["id"] == scene],
        "scenes": {scene: known[scene]} if scene in known else {},
    }
    options = plan.options
    return Part(
        dataset=options.dataset,
        root=str(options.root.expanduser().absolute()),
        scene=scene,
        every=options.every,
        out=str(options.out.resolve()),
        reused=scene in known,
        values=own,
    )


def hand_over(folder: Path, part: Part) -> None:
    """Puts what a scene has left in ``folder`` into the evaluation's, all of it at once. Where another attempt at the
    same scene was faster, that stays."""
    target = Path(part.out, PARTS, part.scene)
    staging = target.with_name(f".{part.scene}-{secrets.token_hex(4)}")
    try:
        for name in ("galleries", "maps", "pictures", "state/scores"):
            if (folder / name).is_dir():
                shutil.copytree(folder / name, staging / name)
        staging.mkdir(parents=True, exist_ok=True)
        if (folder / ALERTS).exists():
            shutil.copyfile(folder / ALERTS, staging / ALERTS)
        try:
            os.rename(staging, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def gather(config: Config, out: Path, scenes: Sequence[str]) -> None:
    """Puts the parts of these scenes where one machine would have written them, in the order of the scenes.

    Args:
        config: of the evaluation.
        out: its folder.
        scenes: those that have left something.
    """
    for scene in scenes:
        part = out / PARTS / scene
        _move_all(part / "galleries", Path(config.gallery.folder))
        _move_all(part / "state" / "scores", config.scores)
        _move_all(part / "maps", out / "maps")
    if any((out / PARTS / scene / ALERTS).exists() for scene in scenes):
        write_durably(out / ALERTS, b"".join(_alerts(out, scenes)))
    shutil.rmtree(out / PARTS, ignore_errors=True)


def whole_rate(frames: Mapping[str, int], rates: Mapping[str, float | None]) -> float | None:
    """Frames per second of all scenes one after the other, so that it can be set beside that of one machine.

    Args:
        frames: of each scene.
        rates: frames per second at which each was scored; None = not known.
    """
    known = {scene: rate for scene, rate in rates.items() if rate}
    seconds = sum(frames[scene] / rate for scene, rate in known.items())
    return sum(frames[scene] for scene in known) / seconds if seconds else None


def open_galleries(config: Config, places: Mapping[str, SceneGallery], scenes: Sequence[str]) -> dict[str, Gallery]:
    """The galleries of these scenes, which are there."""
    return {
        scene: Gallery(places[scene].folder if places[scene].reused else config.gallery_of(scene)) for scene in scenes
    }


def scoring_of(frames: Mapping[str, int], results: Mapping[str, Mapping[str, Any]], lost: Sequence[str]) -> Scoring:
    """How all went.

    Args:
        frames: expected of each scene.
        results: what each scene told at its end: ``problems`` and ``frames_per_second``.
        lost: scenes that have left nothing, and why, in words.
    """
    problems = [problem for result in results.values() for problem in result.get("problems", ())]
    rates = {scene: result.get("frames_per_second") for scene, result in results.items()}
    return Scoring((*problems, *lost), whole_rate(frames, rates))


def _move_all(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir()):
            place = target / path.name
            if place.is_dir():  # a gallery made with other settings; "move" would put this one into its folder
                shutil.rmtree(place)
            shutil.move(path, place)


def _alerts(out: Path, scenes: Sequence[str]) -> list[bytes]:
    """The alerts of all scenes under numbers of their own, and their pictures with them."""
    lines: list[bytes] = []
    for scene in scenes:
        path = out / PARTS / scene / ALERTS
        for line in path.read_bytes().splitlines() if path.exists() else ():
            alert = json.loads(line)
            alert["seq"] = len(lines) + 1
            for name in _PICTURES:
                if alert.get(name):
                    alert[name] = _move_picture(path.parent, alert[name], out, alert["seq"])
            lines.append(json.dumps(alert, separators=(",", ":")).encode() + b"\n")
    return lines


def _move_picture(part: Path, name: str, out: Path, seq: int) -> str:
    """A picture is named like its alert's number: ``pictures/000000001.mask.png``."""
    file = Path(name).name
    moved = f"pictures/{seq:09d}.{file.partition('.')[2]}"
    (out / "pictures").mkdir(exist_ok=True)
    if (part / "pictures" / file).exists():
        shutil.move(part / "pictures" / file, out / moved)
    return moved
