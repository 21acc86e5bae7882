"""One scene of an evaluation, on a node of a cluster: enrolled and scored there by the ordinary pipeline, on the node's
own disk, and then handed over to the folder of the evaluation, which all machines see. For ``eval --part``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stream.config import build_config
from stream.errors import StreamError, UsageError
from stream.evaluate.datasets import open_dataset
from stream.evaluate.galleries import SceneGallery, enroll_missing
from stream.evaluate.parts import Part, hand_over
from stream.evaluate.run import CONFIG
from stream.evaluate.scoring import Scoring, score_footage
from stream.evaluate.workspace import SceneFootage, chosen_scenes, link_scene
from stream.progress import tell_result
from stream.replay import socket_folder
from stream.stopping import StopSignal


def run_part(path: Path, *, stopping: StopSignal) -> int:
    """Does it, tells how far it is in JSON lines, and returns the exit code.

    Args:
        path: of a file with a :class:`Part`; its folder is where the work is done.
        stopping: polled.

    Raises:
        UsageError: the file is no part.
        DatasetError: the dataset is not the same on this machine.
        StreamError: told to stop; nothing was handed over.
    """
    try:
        part = Part.from_text(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--part {path}: {error}") from None
    dataset = open_dataset(part.dataset, Path(part.root))
    [scene] = chosen_scenes(dataset, (part.scene,))
    folder = path.resolve().parent
    with socket_folder() as sockets:
        footage = link_scene(folder / "work", scene, folder_fps=dataset.fps)
        scoring = _score(part, footage, folder, sockets, stopping)
    if stopping():
        raise StreamError("stopped; nothing was handed over")
    hand_over(folder, part)
    tell_result({"problems": list(scoring.problems), "frames_per_second": scoring.frames_per_second})
    return 0


def _score(part: Part, footage: SceneFootage, folder: Path, sockets: Path, stopping: StopSignal) -> Scoring:
    values = _values(part, footage, sockets)
    (folder / CONFIG).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    config = build_config(values, where="eval", base=folder, environment={})
    place = SceneGallery(config.gallery_of(part.scene), reused=part.reused, borrowed=False)
    enroll_missing(config, (footage,), {part.scene: place}, stop=stopping, progress="json")
    return score_footage(config, folder / CONFIG, (footage,), every=part.every, stopping=stopping, progress="json")


def _values(part: Part, footage: SceneFootage, sockets: Path) -> dict[str, Any]:
    """The configuration with the places of this machine."""
    [camera] = part.values["cameras"]
    return {
        **part.values,
        "cameras": [{**camera, "source": str(footage.test.resolve())}],
        "link": {"endpoint": f"ipc://{sockets}/link"},
        "feed": {"endpoint": f"ipc://{sockets}/feed"},
    }
